"""Requests that note what is read of them.

What a view takes from ``request.environ`` itself is not seen.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import IO, Any, Final, Protocol

from flask import Flask
from flask import Request as FlaskRequest
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSessionInterface
from werkzeug.datastructures import (
    EnvironHeaders,
    Headers,
)
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule, converters

from flask_larder.credentials import may_tell_who_asks
from flask_larder.entry import Position
from flask_larder.environ import paths_of
from flask_larder.flask.current import request_context
from flask_larder.flask.endpoints import tell_misplaced
from flask_larder.flask.named_reads import (
    ARGS,
    HEADERS,
    SESSION_PART,
    NamedReads,
    Read,
    name_mapping,
    name_reads,
    read_of_field,
    wants_names,
)
from flask_larder.flask.read_log import ReadLog
from flask_larder.flask.shared_globals import shares_with_who_told
from flask_larder.flask.tracked_fields import ALL_FIELDS, REMOTE_USER, TrackedHeaders
from flask_larder.flask.tracked_session import SESSION, session_of, track_session
from flask_larder.headers import selects_by_itself
from flask_larder.purges import PurgeLog

# Stand among the names of header fields for what is none.
BODY: Final = ":body"
_QUERY: Final = ":query"
OUTER: Final = ":outer"  # another request that has the same flask.g

UNKEYED: Final = {
    "cookie": "cookie",
    "authorization": "authorization",
    REMOTE_USER: "remote-user",
    SESSION: "session",
    ALL_FIELDS: "headers",
    BODY: "body",
    OUTER: "outer-request",
}
"""What no key holds by itself, by the name under which its reading is noted."""


def _reads_around(environ: dict[str, Any]) -> ReadLog[str] | None:
    """What notes the reads of the request in which *environ* was made of that request's own."""
    context = request_context()
    if context is None or not isinstance(context.request, TrackedRequest):
        return None
    of_both = environ.get("wsgi.input"), context.request.environ.get("wsgi.input")
    return context.request.larder_reads if of_both[0] is of_both[1] is not None else None


def _has_told(context: RequestContext) -> bool:
    """Whether the app may have found out by now who asks, or what that one wants."""
    request = context.request
    if not isinstance(request, TrackedRequest):
        return True
    track_session(context, request.larder_reads)
    return any(
        name in UNKEYED or selects_by_itself(name) or may_tell_who_asks(name)
        for name in request.larder_reads.since()
    )


class Wired(Protocol):
    """What a cache has in an app."""

    @property
    def purges(self) -> PurgeLog:
        """Its log of purges."""
        ...

    @property
    def options(self) -> Iterable[Any]:
        """The functions that it decorates, in any app."""
        ...


class _Matched:
    """What the URL was found to be, in the request's own dict, where Flask often reads it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, request: "TrackedRequest", found: Rule | HTTPException | None) -> None:
        own = request.__dict__
        if found is not None:
            request.larder_paths = paths_of(request.environ)
        # It is set again whenever the context is pushed again, as for a streamed body.
        if own["url_rule"] is None and own["routing_exception"] is None:
            request.larder_begin(found if isinstance(found, Rule) else None)
        own[self._name] = found


class TrackedRequest(FlaskRequest):
    """A request that notes what is read of it.

    What the session interface reads before the URL is matched is not the app's doing: it opens the
    session, and whether that is then used, the session tells. Names of ours begin with ``larder``,
    since apps put what they like onto a request.
    """

    larder_caches: Mapping[object, Wired] = {}
    """The caches of the app, and what each has."""

    larder_is_first = True
    """Whether the app has answered none as yet."""

    larder_reads: ReadLog[str]
    """What was read."""

    larder_paths: tuple[str, str] | None = None
    """The mount and the path by which the URL was matched; the environ may have others by now."""

    larder_named_reads: NamedReads | None = None
    """What was read, by name, where that is noted."""

    url_rule = _Matched()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    routing_exception = _Matched()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(url_rule=None, routing_exception=None)
        self.larder_reads = ReadLog(_reads_around(environ))
        # Before anything is read, by hooks or by the view, that a purge may be about.
        self._larder_positions = {
            cache: has.purges.position() for cache, has in self.larder_caches.items()
        }
        super().__init__(environ, *args, **kwargs)
        self._larder_read_in_init = self.larder_reads.since()

    def larder_position(self, cache: object) -> Position | None:
        """The latest purge of *cache* that was known when the request came, if any was."""
        return self._larder_positions.get(cache)

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self._headers

    @headers.setter
    def headers(self, fields: Headers) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if type(fields) is EnvironHeaders:
            fields = TrackedHeaders(fields, self.larder_reads)
        self._headers = fields

    def larder_begin(self, rule: Rule | None) -> None:
        """Note what the app reads, now that *rule* matches the URL: next to nothing as yet."""
        context = request_context()
        read = self._larder_read_in_init | self._larder_read_in_matching(rule, context)
        if context is not None and shares_with_who_told(context, _has_told):
            read |= {OUTER}
        self.larder_reads.forget_all_but(read)
        if self.larder_reads.outer is not None and context is not None:
            track_session(context, self.larder_reads)
        if self.larder_is_first:
            self._larder_begin_first()
        if None in self._larder_positions.values():
            self._larder_load_positions()
        if context is not None and wants_names(context.app):
            self._larder_name_reads(context)

    def _larder_read_in_matching(
        self, rule: Rule | None, context: RequestContext | None
    ) -> frozenset[str]:
        """What the app may have read to match the URL: all by which Flask opened no session."""
        read = self.larder_reads.since()
        if not read or context is None:
            return frozenset()
        if not (has_converters_of_app(rule) or _has_own_adapter(context.app)):
            return frozenset()
        is_by_session = _opens_as_flask(context.app) and "cookie" not in self.larder_reads.again()
        return read - {"cookie"} if is_by_session else read

    def _larder_begin_first(self) -> None:
        """Now all views of the app are known."""
        type(self).larder_is_first = False
        if context := request_context():
            with suppress(Exception):  # somebody may decorate now, and what writes lines may raise
                for has in self.larder_caches.values():
                    tell_misplaced(context.app, has.options)

    def _larder_name_reads(self, context: RequestContext) -> None:
        """Note by name, too, what is read from now on."""
        fields = self._headers
        if context.request is not self or not isinstance(fields, TrackedHeaders):
            return
        reads = fields.named_reads = name_reads(self)
        for name in self._larder_read_in_init:
            if read := _read_in_init(name):
                reads.note(read)
        track_session(context, self.larder_reads)
        name_mapping(session_of(context), reads, SESSION_PART)

    def _larder_load_positions(self) -> None:
        """Read the logs of which nothing is known, before hooks run, and within the budget."""
        for cache, position in self._larder_positions.items():
            if position is None:
                purges = self.larder_caches[cache].purges
                purges.load()
                self._larder_positions[cache] = purges.position()

    @property
    def larder_is_watched(self) -> bool:
        """Whether readings are noted; not so if the app has put in header fields of its own."""
        return isinstance(self._headers, TrackedHeaders)

    @property
    def stream(self) -> IO[bytes]:
        """The body. Over HTTP/2 only reading tells whether there is one."""
        self._larder_note_body()
        return super().stream

    @property
    def input_stream(self) -> IO[bytes]:  # type: ignore[override]
        """The same, as the server gives it."""
        self._larder_note_body()
        return super().input_stream

    def _larder_note_body(self) -> None:
        if not self.environ.get("SERVER_PROTOCOL", "HTTP/1.1").startswith("HTTP/1."):
            self.larder_reads.note(BODY)


def has_converters_of_app(rule: Rule | None) -> bool:
    """Whether URLs of *rule* are matched by converters of the app's own, whatever these look at."""
    kinds = [] if rule is None else map(type, rule._converters.values())  # noqa: SLF001
    return any(kind.__module__ != converters.__name__ for kind in kinds)


def _has_own_adapter(app: Flask) -> bool:
    """Whether the app looks at a request in its own way before its URL is matched."""
    adapter, context = app.create_url_adapter, app.request_context
    return (
        getattr(adapter, "__func__", None) is not Flask.create_url_adapter
        or getattr(context, "__func__", None) is not Flask.request_context
    )


def _opens_as_flask(app: Flask) -> bool:
    """Whether the app's session was opened as Flask does that, by one look at the cookies."""
    own, flasks = type(app.session_interface), SecureCookieSessionInterface
    is_flasks = (own.open_session, getattr(own, "get_signing_serializer", None)) == (
        flasks.open_session,
        flasks.get_signing_serializer,
    )
    return is_flasks and bool(app.secret_key)


def _read_in_init(name: str) -> Read | None:
    """What was read in the making of a request, when nothing is noted by name as yet."""
    if name == _QUERY:
        return Read(ARGS)
    if name == ALL_FIELDS:
        return Read(HEADERS)
    return None if name.startswith(":") else read_of_field(name)


class _Noted:
    """An attribute that Werkzeug computes once; every later reading of it is noted as well."""

    def __init__(self, attribute: str, name: str) -> None:
        self._attribute = attribute
        self._name = name

    def __get__(self, request: TrackedRequest | None, owner: type) -> Any:
        if request is None:
            return self
        request.larder_reads.note(self._name)
        return getattr(super(TrackedRequest, request), self._attribute)

    def __set__(self, request: TrackedRequest, value: Any) -> None:
        request.__dict__[self._attribute] = value


for _attribute, _name in {
    "cookies": "cookie",  # asking for any of them counts as reading all
    "authorization": "authorization",
    "args": _QUERY,
    "values": _QUERY,
    "remote_user": REMOTE_USER,
    "accept_mimetypes": "accept",
    "accept_charsets": "accept-charset",
    "accept_encodings": "accept-encoding",
    "accept_languages": "accept-language",
}.items():
    setattr(TrackedRequest, _attribute, _Noted(_attribute, _name))


def track_requests(app: Flask) -> None:
    """Let the requests of *app* note what is read of them, and what was purged before."""
    own, caches = app.request_class, caches_of(app)
    if not issubclass(own, TrackedRequest):
        own = type(own.__name__, (TrackedRequest, own), {"larder_caches": caches})
    elif own.larder_caches is not caches:  # it is that of another app
        own = type(own.__name__, (own,), {"larder_caches": caches, "larder_is_first": True})
    app.request_class = own


def caches_of(app: Flask) -> dict[Any, Any]:
    """The caches of *app*, and what each has."""
    found: dict[Any, Any] = app.extensions.setdefault("flask_larder", {})
    return found
