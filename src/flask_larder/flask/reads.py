"""Know what a view looks at: cookies, the session, ``Authorization``, ``Accept*``.

A response that depends on who asks must not be handed to somebody else, and only the reading
tells that it does. The requests of an app with a cache are therefore of a class that notes what
is read of them. What a view takes from ``request.environ`` itself is not seen.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final, Self

from flask import Flask, has_request_context, request
from flask import Request as FlaskRequest
from flask.ctx import RequestContext
from werkzeug.datastructures import (
    Authorization,
    EnvironHeaders,
    Headers,
    ImmutableMultiDict,
    MultiDict,
)
from werkzeug.routing import Rule

from flask_larder.flask.options import Options

# Stand among the names of header fields for what is none.
_ALL_FIELDS: Final = "*"
_BODY: Final = ":body"
_QUERY: Final = ":query"
_REMOTE_USER: Final = ":remote-user"

_UNKEYED: Final = {
    "cookie": "cookie",
    "authorization": "authorization",
    _REMOTE_USER: "remote-user",
    _ALL_FIELDS: "headers",
    _BODY: "body",
}
"""What no key holds by itself, by the name under which its reading is noted."""


class ReadLog:
    """The names of what was read, each with the number of its latest reading.

    It only grows, so that several threads that share a request cannot take a reading from each
    other.
    """

    __slots__ = ("_count", "_latest")

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._latest: dict[str, int] = {}

    def note(self, name: str) -> None:
        """Note that *name* was read."""
        self._latest[name] = next(self._count)

    def now(self) -> int:
        """A number above that of every reading until now."""
        return next(self._count)

    def since(self, number: int = 0) -> frozenset[str]:
        """What was read after *number*, a result of :meth:`now`."""
        return frozenset(name for name, latest in dict(self._latest).items() if latest > number)


class _TrackedHeaders(EnvironHeaders):
    """Header fields that note in *reads* which of them were asked for, in lower case."""

    def __init__(self, environ: dict[str, Any], reads: ReadLog) -> None:
        super().__init__(environ)
        self.reads = reads

    def __getitem__(self, key: str) -> str:  # type: ignore[override]
        self.note(key)
        return super().__getitem__(key)

    def _get_key(self, key: str) -> str:  # what `get` and `in` use
        self.note(key)
        return super()._get_key(key)

    def getlist(self, key: str, type: Callable[[str], Any] | None = None) -> list[Any]:  # noqa: A002
        # Werkzeug goes through all fields for this one, which would look like reading all.
        value = self.get(key, type=type) if type else self.get(key)
        return [] if value is None else [value]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.reads.note(_ALL_FIELDS)
        return super().__iter__()

    def note(self, name: str) -> None:
        """Note that the field was read."""
        self.reads.note(str(name).lower().replace("_", "-"))


class TrackedRequest(FlaskRequest):
    """A request that notes what is read of it.

    What is read between its making and the matching of its URL is not the app's doing: the
    session interface reads its own cookie, and whether the session is then used, the session
    tells.
    """

    _url_rule: Rule | None = None

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self.reads = ReadLog()
        super().__init__(environ, *args, **kwargs)
        self._read_in_init = self.reads.since()

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self._headers

    @headers.setter
    def headers(self, fields: Headers) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert isinstance(fields, EnvironHeaders)  # noqa: S101 - Werkzeug sets them, once
        self._headers = _TrackedHeaders(fields.environ, self.reads)

    @property
    def url_rule(self) -> Rule | None:
        """The rule that matched the URL."""
        return self._url_rule

    @url_rule.setter
    def url_rule(self, rule: Rule | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        # It is set again whenever the context is pushed again, as for a streamed body.
        if self._url_rule is None:
            self.reads = self._headers.reads = ReadLog()
            for name in self._read_in_init:
                self.reads.note(name)
        self._url_rule = rule

    # Werkzeug computes these once; a second reading has to be noted as well.

    @property
    def cookies(self) -> ImmutableMultiDict[str, str]:
        """The cookies. Asking for any of them counts as reading all."""
        self.reads.note("cookie")
        return super().cookies

    @property
    def authorization(self) -> Authorization | None:
        """The credentials in the ``Authorization`` field."""
        self.reads.note("authorization")
        return super().authorization

    @property
    def args(self) -> MultiDict[str, str]:
        """The parameters of the query."""
        self.reads.note(_QUERY)
        return super().args

    @property
    def stream(self) -> IO[bytes]:
        """The body. Over HTTP/2 only reading tells whether there is one."""
        if not self.environ.get("SERVER_PROTOCOL", "HTTP/1.1").startswith("HTTP/1."):
            self.reads.note(_BODY)
        return super().stream

    @property
    def remote_user(self) -> str | None:  # type: ignore[override]
        """The user whom the server has authenticated."""
        self.reads.note(_REMOTE_USER)
        return super().remote_user


def track_requests(app: Flask) -> None:
    """Let the requests of *app* note what is read of them."""
    own = app.request_class
    if not issubclass(own, TrackedRequest):
        app.request_class = type(own.__name__, (TrackedRequest, own), {})


def note_selecting(names: Iterable[str]) -> None:
    """Note as read the header fields by which a stored entry was selected.

    What is answered from the cache reads nothing, but whoever called for it, perhaps another
    cached view, depends on these fields all the same.
    """
    if has_request_context() and isinstance(request.headers, _TrackedHeaders):
        for name in names:
            request.headers.note(name)


def is_anonymous(context: RequestContext) -> bool:
    """Whether the request carries neither cookies nor ``Authorization``."""
    environ = context.request.environ
    return "HTTP_COOKIE" not in environ and "HTTP_AUTHORIZATION" not in environ


class Watch:
    """Tells what is read within its ``with`` block from what was read before it.

    Watches nest: what is read under an inner one is read under the outer one too.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        assert isinstance(context.request, TrackedRequest)  # noqa: S101 - others are not watched
        self._log = context.request.reads

    def __enter__(self) -> Self:
        self._session_before = _session_accessed(self._context)
        self._names_before = self._log.since()
        self._start = self._log.now()
        _set_session_accessed(self._context, accessed=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._session_before:
            _set_session_accessed(self._context, accessed=True)

    def names(self) -> frozenset[str]:
        """The names of the header fields, and of the rest, that were read within the block."""
        return self._log.since(self._start)

    def unkeyed(self) -> frozenset[str]:
        """What was read within the block that no key holds by itself; see ``Reads.unkeyed``."""
        return _unkeyed(self.names(), session=_session_accessed(self._context))

    def unkeyed_before(self) -> frozenset[str]:
        """What was read so before the block.

        A hook that only logs all header fields tells nobody apart who carries no credential.
        """
        found = _unkeyed(self._names_before, session=self._session_before)
        return found - {"headers"} if is_anonymous(self._context) else found

    def selecting(self) -> frozenset[str]:
        """The ``Accept*`` fields that were read, within the block or before."""
        names = self.names() | self._names_before
        return frozenset(name for name in names if name.startswith("accept"))


def _unkeyed(names: frozenset[str], *, session: bool) -> frozenset[str]:
    found = {_UNKEYED[name] for name in names & _UNKEYED.keys()}
    return frozenset(found | {"session"} if session else found)


# What a header field that the key holds tells apart.
_COVERED_BY_FIELD: Final = {
    "cookie": frozenset({"cookie", "session"}),
    "authorization": frozenset({"authorization"}),
}


def covered_by(options: Options, making_key: Watch) -> frozenset[str]:
    """What the key holds of :attr:`Reads.unkeyed <flask_larder.entry.Reads>`.

    A function that makes the key covers what it read itself. A ``vary`` function says who is
    asking, and so covers also what was read before: a user whom a hook or a decorator loaded is
    the same one. *making_key* is the watch under which the key was made.
    """
    covered: frozenset[str] = frozenset()
    for name in options.vary_fields:
        covered |= _COVERED_BY_FIELD.get(name, frozenset())
    if options.has_own_key or options.vary_by:
        covered |= making_key.unkeyed()
    if options.vary_by:
        covered |= making_key.unkeyed_before()
    return covered


def registered_functions(context: RequestContext) -> list[Callable[..., Any]]:
    """What was given to ``flask.after_this_request``."""
    return list(context._after_request_functions)  # noqa: SLF001 - there is no public name


def _session_of(context: RequestContext) -> Any:
    """The session, without the public property, which would count as using it."""
    return context.__dict__["_session" if "_session" in context.__dict__ else "session"]


def _session_accessed(context: RequestContext) -> bool:
    """Whether the session was used; a kind that does not tell counts as used, as in Flask."""
    return bool(getattr(_session_of(context), "accessed", True))


def _set_session_accessed(context: RequestContext, *, accessed: bool) -> None:
    session = _session_of(context)
    if hasattr(session, "accessed"):
        session.accessed = accessed
