"""What a process has learned of a URL from Flask, and how it answers hits for it by that."""

import os
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from msgspec import Struct

from flask_larder.ask import LookedUp
from flask_larder.conditional import is_not_modified
from flask_larder.entries import Entries
from flask_larder.entry import Entry, StoredResponse, Targets, Variants
from flask_larder.environ import Environ, EnvironFields
from flask_larder.errors import StoreUnavailable
from flask_larder.freshness import remaining_lifetime
from flask_larder.memory import L1, Recent, Remembered
from flask_larder.purges import VALID, PurgeLog, PurgeTable
from flask_larder.rendered import Additions, Rendered, Sent

LOOKED_UP: Final = "flask_larder.looked_up"
"""Where the environ holds what was found in the store and does not answer the request."""

LEARNED_BYTES: Final = 16 * 1024 * 1024
"""How much memory is used at one place for the URLs that were learned: about 10,000."""

_SIZE_BYTES: Final = 1350
"""What a URL takes beside its texts, as measured: they count by their length."""

_CONDITIONS: Final = frozenset({"HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH"})

DIRECTIVES: Final = frozenset({"HTTP_CACHE_CONTROL", "HTTP_PRAGMA"})
"""What a request has if it tells caches what it wants."""

FOR_FLASK: Final = frozenset(
    {
        "HTTP_AUTHORIZATION",
        "HTTP_IF_MATCH",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_RANGE",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_UPGRADE",  # by which Werkzeug tells the views of WebSockets from others
        "werkzeug.debug.preserve_context",  # a test that looks at Flask's context afterwards
    }
)
"""What a request for Flask has, whatever it asks for."""

_SPECIAL: Final = FOR_FLASK | _CONDITIONS | DIRECTIVES | {"CONTENT_LENGTH", "HTTP_COOKIE"}

# Of one answer, or of one moment.
_CHANGING: Final = frozenset({"age", "cache-status", "server-timing"})


@dataclass(frozen=True, slots=True)
class Tier:
    """Where hits of one cache are found.

    *asking* keeps the time that asking the store takes within the budget of the request with an
    environ. *clock* returns seconds since the epoch, *monotonic* those that only go forward.
    """

    entries: Entries
    memory: L1 | None
    purges: PurgeLog
    asking: Callable[[Environ], AbstractContextManager[None]]
    clock: Callable[[], float]
    monotonic: Callable[[], float]


class Lesson(Struct, frozen=True):
    """What Flask teaches of a URL: that hits are answered with what *tier* has under *key*.

    What that varies by, *variants* tells: where the list of names is, and which they are. The
    request is that for *origin*, and *url* tells by what purges it is hit. *is_open* tells,
    each time, whether that may be done still. *by_query* and *fields*, names
    in the environ, tell what else selects. A request that has anything *for_flask*, names in the
    environ, too, or the cookie of the *session*, where that is told, needs Flask. Within
    *early_factor* times its cost of its end, a response may be due to be made anew. With
    *is_checked*, Flask is to have sent just what would be sent before it.
    """

    tier: Tier
    key: str
    variants: tuple[str, tuple[str, ...]] | None
    origin: str
    url: Targets
    additions: Additions
    is_open: Callable[[], bool]
    by_query: bool
    fields: tuple[str, ...]
    for_flask: frozenset[str]
    session: str | None
    early_factor: float
    is_checked: bool

    def is_for(self, environ: Environ) -> bool:
        """Whether nothing that a request has in particular is for Flask."""
        return (
            environ.keys().isdisjoint(self.for_flask)
            and environ.get("CONTENT_LENGTH", "") in {"", "0"}
            and (self.session is None or self.session not in environ.get("HTTP_COOKIE", ""))
        )

    def can_be_learned_from(self, environ: Environ) -> bool:
        """Whether Flask sends to this request what it would send to any that this is for."""
        return environ.keys().isdisjoint(_CONDITIONS) and self.is_for(environ)


class Selecting:
    """Stands at a *url* that has several answers, by its query or by header *fields*.

    They are beside it, in *answers*.
    """

    __slots__ = ("_answers", "_by_query", "_fields", "_url", "is_used", "size_bytes")

    def __init__(
        self,
        answers: "Recent[Hashable, Learned | Selecting]",
        url: Hashable,
        fields: tuple[str, ...],
        *,
        by_query: bool,
    ) -> None:
        self._answers = answers
        self._url = url
        self._fields = fields
        self._by_query = by_query
        self.is_used = False
        self.size_bytes = _SIZE_BYTES + _length_of(url)

    def selects_as(self, lesson: Lesson) -> bool:
        """Whether answers are told apart by what *lesson* names."""
        return self._by_query == lesson.by_query and self._fields == lesson.fields

    def key_of(self, environ: Environ) -> Hashable:
        """What stands for the answer that a request for the URL selects."""
        query = environ.get("QUERY_STRING") if self._by_query else None
        if not self._fields:
            return (self._url, query)
        return (self._url, query, *map(environ.get, self._fields))

    def selected(self, environ: Environ) -> "Learned | None":
        """What is known for the request, if anything."""
        self.is_used = True
        selected = self._answers.get(self.key_of(environ))
        return selected if isinstance(selected, Learned) else None

    def find(self, environ: Environ) -> Sent | None:
        """What to send, or ``None`` where Flask is to answer."""
        selected = self.selected(environ)
        return None if selected is None else selected.find(environ)


@dataclass(slots=True, eq=False)
class _Current:
    """*rendered* is what *of* sends *until* then, by the monotonic clock.

    Or until something is purged: while *table* has this *version*.
    """

    of: "Learned"
    rendered: Rendered
    until: float
    table: PurgeTable
    version: int


class Learned:
    """A *lesson* in use, for a *url*.

    *observed* is what Flask has sent when it taught that, where the same is to be sent before it.
    Answers vary by the fields *names*.
    """

    __slots__ = (
        *("_is_head", "_is_open", "_key", "_lesson", "_monotonic", "_observed", "_pid"),
        *("_records", "_tier", "is_used", "names", "size_bytes"),
    )

    def __init__(
        self, lesson: Lesson, environ: Environ, observed: Sent | None, url: Hashable
    ) -> None:
        memory = lesson.tier.memory
        self._lesson = lesson
        self._tier = lesson.tier
        self._key, self._is_open = lesson.key, lesson.is_open  # what each hit needs, at hand
        self._monotonic = lesson.tier.monotonic
        self._pid = os.getpid()
        self._is_head = environ["REQUEST_METHOD"] == "HEAD"
        self._observed = None if observed is None else _digest_of(observed)
        self._records: Recent[str, Remembered] | None = memory.here() if memory else None
        self.is_used = False
        self.names = frozenset(() if lesson.variants is None else lesson.variants[1])
        told = lesson.url
        texts = (lesson.key, lesson.origin, told.site, told.path, told.query, told.key)
        self.size_bytes = _SIZE_BYTES + _length_of((url, texts))

    def selected(self, environ: Environ) -> "Learned":  # noqa: ARG002 - as that of Selecting
        """It: there is one answer for all."""
        return self

    def find(self, environ: Environ) -> Sent | None:
        """What to send, or ``None`` where Flask is to answer."""
        is_plain = environ.keys().isdisjoint(_SPECIAL)
        hit = self.hit(environ, is_plain=is_plain)
        if hit is None:
            return None
        if not is_plain and self._is_not_modified(hit.stored, environ):
            return hit.not_modified
        return hit.head if self._is_head else hit.whole

    def hit(self, environ: Environ, *, is_plain: bool = False) -> Rendered | None:
        """The hit for a request, whatever its conditions, or ``None`` where it is for others.

        One that *is_plain* has nothing that is to be looked at.
        """
        if not (is_plain or self._lesson.is_for(environ)) or not self._is_open():
            return None
        self.is_used = True
        record = self._records.get(self._key) if self._records is not None else None
        current = None if record is None else record.rendered
        if (
            record is None
            or current is None
            or current.of is not self
            or current.until <= self._monotonic()
            or current.version != current.table.version
        ):
            return self._renewed(environ, record)
        record.is_used = True
        rendered: Rendered = current.rendered
        return rendered

    def _is_not_modified(self, stored: StoredResponse, environ: Environ) -> bool:
        if stored.status != 200 or environ.keys().isdisjoint(_CONDITIONS):
            return False
        client, now = EnvironFields(environ), self._tier.clock()
        return is_not_modified(client, stored.fields, now, stored.stored_at)

    def _renewed(self, environ: Environ, record: Remembered | None) -> Rendered | None:
        """What to send, if there is a hit; from now on, where that is remembered."""
        started, tier, lesson = perf_counter(), self._tier, self._lesson
        if os.getpid() != self._pid:  # another process has learned that, and may know more by now
            return None
        if lesson.variants is not None and not self._is_listed(environ, *lesson.variants):
            return None
        if record is None or record.until <= tier.monotonic():
            entry = self._read(environ, lesson.key)
            record = self._records.get(lesson.key) if self._records is not None else None
        else:
            entry = record.entry
        table = tier.purges.known()
        if table is None:
            return None
        # Both before the verdict: what happens meanwhile is not to be missed.
        version, began, now = table.version, tier.monotonic(), tier.clock()
        fresh_for = self._fresh_for(entry, table, now)
        if fresh_for <= 0:
            return None
        assert isinstance(entry, StoredResponse)  # noqa: S101 - others are never fresh
        hit = Rendered(entry, lesson.additions, now, (perf_counter() - started) * 1000)
        if self._observed is not None and not self._is_confirmed(hit):
            return None
        if record is not None and record.entry is entry:
            same_for = min(hit.changes_in, fresh_for)
            until = min(began + same_for, record.until, tier.purges.known_until())
            record.rendered = _Current(self, hit, until, table, version)
            record.is_used = True
        return hit

    def _is_listed(self, environ: Environ, at: str, names: tuple[str, ...]) -> bool:
        """Whether answers still vary by *names*: with their list, which may go, they go."""
        entry = self._tier.entries.remembered(at) or self._read(environ, at)
        return isinstance(entry, Variants) and entry.names == names

    def _read(self, environ: Environ, key: str) -> Entry | None:
        """What the store has. Flask is told of that, so that it need not ask again."""
        try:
            with self._tier.asking(environ):
                entry = self._tier.entries.read(key)
        except StoreUnavailable:
            return None
        environ[LOOKED_UP] = LookedUp(key, entry)
        return entry

    def _fresh_for(self, entry: Entry | None, table: PurgeTable, now: float) -> float:
        """For how many seconds *entry* answers any request for the URL; 0 if it does not."""
        lesson = self._lesson
        if not isinstance(entry, StoredResponse) or entry.origin != lesson.origin:
            return 0.0
        if entry.anonymous:  # who may have it, all header fields tell
            return 0.0
        position = entry.position
        if position is None or table.verdict(position, entry.targets, lesson.url) != VALID:
            return 0.0
        return remaining_lifetime(entry, now) - lesson.early_factor * entry.cost

    def _is_confirmed(self, hit: Rendered) -> bool:
        """Whether Flask has sent the same; asked until it is known."""
        is_same = self._observed == _digest_of(hit.whole)
        if is_same:
            self._observed = None
        return is_same


def learn(
    here: Recent[Hashable, Learned | Selecting],
    url: Hashable,
    lesson: Lesson,
    environ: Environ,
    observed: Sent | None,
) -> None:
    """Keep *here* what a *lesson* tells of a *url*; see :class:`Learned`."""
    key = url
    if lesson.by_query or lesson.fields:
        known = here.get(url)
        if not (isinstance(known, Selecting) and known.selects_as(lesson)):
            known = Selecting(here, url, lesson.fields, by_query=lesson.by_query)
            here.put(url, known)
        key = known.key_of(environ)
    here.put(key, Learned(lesson, environ, observed, key))


def _length_of(texts: Hashable) -> int:
    """Of all of them, or somewhat more: whoever asks may make them long."""
    return len(repr(texts))


def _digest_of(sent: Sent) -> int:
    """Of what does not change from one answer to the next. The order of names says nothing.

    The fields themselves may be long, and would stay until there is a hit.
    """
    status, fields, *_ = sent
    kept = [(n, value) for name, value in fields if (n := name.lower()) not in _CHANGING]
    return hash((status, *sorted(kept)))
