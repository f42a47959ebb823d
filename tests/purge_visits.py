"""Pages that are asked for in stories of purges, what is made for them, and what purges hit."""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from flask_larder.ask import Ask
from flask_larder.engine import _Attempt  # noqa: TC001 - in a dataclass
from flask_larder.entry import NO_TARGETS, Position, Request, Targets
from flask_larder.key import NO_QUERY, WHOLE_QUERY, named_view_key, url_key, url_targets
from flask_larder.policy import Policy
from flask_larder.purges import Purge, Target, call_of
from tests.core.test_engine import Answer

HOST: Final = "api.example"
SITE: Final = f"http://{HOST}"
TIMEOUT: Final = 20.0

TAGS: Final = ("cat", "dog", "user:7")
TAGGED: Final = ((), ("cat",), ("dog", "cat"), ("cat", "user:7", "dog"))
QUERIES: Final = ("", "a=1", "b=2")


@dataclass(frozen=True)
class Page:
    """A path with the view behind it, and what stands in the key: that, or a *name* for several.

    *window* is for how many seconds what is made may be sent stale.
    """

    path: str
    view: str
    arguments: str
    has_query: bool = True
    name: str = ""
    window: float = 0.0


PAGES: Final = (
    Page("/square/4", "square", "number=4"),
    Page("/square/40", "square", "number=40", window=4.0),
    Page("/list", "list", "", has_query=False, window=4.0),
    Page("/home", "home", "", has_query=False, name="home"),
    Page("/", "home", "", has_query=False, name="home"),
)

ALL_TARGETS: Final[tuple[Target, ...]] = (
    ("prefix", "/"),
    ("tag", TAGS[0]),
    ("all", ""),
    *(("tag", tag) for tag in TAGS[1:]),
    *(("view", view) for view in ("square", "list", "home", "square(number=4)")),
    *(("path", site + page.path) for site in ("", SITE) for page in PAGES),
    *(("url", f"{page.path}{query}") for page in PAGES for query in ("", "?a=1")),
    ("url", f"{SITE}/square/4?b=2"),
    *(("prefix", prefix) for prefix in ("/square", "/square/40", f"{SITE}/l")),
)


@dataclass(eq=False)
class Visit:
    """A request, and what is made for it: it *began* when it came, and then its data were *read*.

    *knew* are the purges that its process knew then. It *is_certain* where the store and the log
    could be asked for it.
    """

    number: int
    page: Page
    query: str
    began: int
    began_at: float
    knew: frozenset[int]
    position: Position | None
    read: int
    attempt: "_Attempt[Made]" = field(init=False, repr=False)
    is_certain: bool = False
    fails: bool = False
    tags: tuple[str, ...] = ()
    waiting: "list[Visit]" = field(default_factory=list, repr=False)


class ViewFailed(Exception):
    """What a view raises."""


class Made(Answer):
    """What a view answers. The *late* tags are given while its body is made."""

    page: Page = PAGES[0]
    url: Targets = NO_TARGETS
    late: tuple[str, ...] = ()

    def read_body(self, limit: int) -> bytes | None:
        self.tagged += self.late
        return super().read_body(limit)

    def targets(self) -> Targets:
        query = self.url.query if self.page.has_query else None
        return replace(
            self.url,
            tags=self.tagged,
            view=self.page.view,
            arguments=self.page.arguments,
            query=query,
        )


def is_hit(purge: Purge, made: Visit, asked: Visit) -> bool:
    """Whether *purge* names what was *made*, or the URL for which it is *asked*."""
    page = made.page
    names: set[Target] = {("all", ""), ("view", page.view)}
    names |= {("view", call_of(page.view, page.arguments))}
    names |= {("tag", tag) for tag in made.tags}
    for path in (page.path, asked.page.path):
        names |= {("path", path), ("path", SITE + path)}
    for visit in (made, asked) if page.has_query else (asked,):
        url = visit.page.path + (f"?{visit.query}" if visit.query else "")
        names |= {("url", url), ("url", SITE + url)}
    for kind, name in purge.targets:
        if (kind, name) in names:
            return True
        if kind == "url" and not page.has_query and name.partition("?")[0].endswith(page.path):
            return name.partition("?")[0] in {page.path, SITE + page.path}
        if kind == "prefix" and any(
            (site + visit.page.path).startswith(name)
            for site in ("", SITE)
            for visit in (made, asked)
        ):
            return True
    return False


def url_of(visit: Visit) -> Targets:
    return url_targets(request_of(visit))


def request_of(visit: Visit) -> Request:
    return Request("GET", "http", HOST, "", visit.page.path, visit.query.encode(), {})


def asked(visit: Visit) -> Ask:
    """What the adapter to Flask would ask for *visit*."""
    page, request = visit.page, request_of(visit)
    rule = WHOLE_QUERY if page.has_query else NO_QUERY
    return Ask(
        request=request,
        policy=Policy(
            timeout=TIMEOUT, stale_while_revalidate=page.window / 2, stale_if_error=page.window
        ),
        key=named_view_key(page.name) if page.name else url_key(request, rule),
        hash_method=hashlib.sha256,
        url=url_targets(request),
        position=visit.position,
    )
