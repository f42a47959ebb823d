"""Requests and sessions that note what is read of them.

What a view takes from ``request.environ`` itself is not seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any, Final, Protocol

from flask import Flask
from flask import Request as FlaskRequest
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from werkzeug.datastructures import (
    EnvironHeaders,
    Headers,
)
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule, converters

from flask_larder.entry import Position
from flask_larder.environ import environ_name
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
    reducing,
    sets_attributes_itself,
    wants_names,
)
from flask_larder.flask.read_log import ReadLog
from flask_larder.headers import is_field_name
from flask_larder.purges import PurgeLog

# Stand among the names of header fields for what is none.
ALL_FIELDS: Final = "*"
BODY: Final = ":body"
_QUERY: Final = ":query"
REMOTE_USER: Final = ":remote-user"
SESSION: Final = ":session"


_LONGEST_FIELD_NAME: Final = 100
"""In characters; what is read under a longer one counts as all fields."""


class TrackedHeaders(EnvironHeaders):
    """Header fields that note in *reads* which of them were asked for, in lower case."""

    def __init__(self, fields: EnvironHeaders, reads: ReadLog[str]) -> None:
        self.__dict__.update(fields.__dict__)
        self.reads = reads
        self.named_reads: NamedReads | None = None

    def __getitem__(self, key: str) -> str:  # type: ignore[override]
        self.note(key)
        return super().__getitem__(key)

    def _get_key(self, key: str) -> str:  # what `get` and `in` use
        self.note(key)
        return super()._get_key(key)

    def getlist(self, key: str, type: Callable[[str], Any] | None = None) -> list[Any]:  # noqa: A002
        """The field's value, in a list. Werkzeug goes through all fields, as if reading all."""
        if type is not None or len(str(key)) > _LONGEST_FIELD_NAME:
            value = self.get(key, type=type)  # type: ignore[arg-type] # as it is by default
        else:  # not by an exception where it is missing: Flask asks for cookies in each request
            self.note(key)
            value = self.environ.get(environ_name(str(key)))
        return [] if value is None else [value]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.reads.note(ALL_FIELDS)
        if self.named_reads is not None:
            self.named_reads.note(Read(HEADERS))
        return super().__iter__()

    def note(self, name: str) -> None:
        """Note that the field was read.

        What no field is called is told nowhere, since a client may have made it up.
        """
        name = _noted_name(str(name))
        self.reads.note(name)
        if self.named_reads is not None:
            self.named_reads.note(Read(HEADERS) if name == ALL_FIELDS else read_of_field(name))


@lru_cache
def _noted_name(name: str) -> str:
    """Under which name it is noted that the field *name* was read."""
    name = name.lower().replace("_", "-")
    is_name = len(name) <= _LONGEST_FIELD_NAME and is_field_name(name)
    return name if is_name else ALL_FIELDS


_OF_ALL: Final = frozenset(
    {
        *("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL"),
        *("SERVER_NAME", "SERVER_PORT", "CONTENT_TYPE", "CONTENT_LENGTH"),
    }
)
"""What an environ has that tells of nobody."""


class NotedEnviron(dict[str, Any]):
    """An environ of which is noted, in *reads*, what is read that tells who asks."""

    def __init__(self, environ: dict[str, Any], reads: ReadLog[str]) -> None:
        super().__init__(environ)
        self._reads = reads

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As that of a dict; so are the others."""
        self._note(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:  # noqa: D102
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:  # noqa: D102
        self._note(key)
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[str]:
        self._note_all()
        return super().__iter__()

    def keys(self) -> Any:  # noqa: D102
        self._note_all()
        return super().keys()

    def items(self) -> Any:  # noqa: D102
        self._note_all()
        return super().items()

    def values(self) -> Any:  # noqa: D102
        self._note_all()
        return super().values()

    def copy(self) -> dict[str, Any]:  # noqa: D102
        self._note_all()
        return super().copy()

    def _note(self, key: str) -> None:
        if key.startswith("HTTP_"):
            self._reads.note(key.removeprefix("HTTP_").replace("_", "-").lower())
        elif not (key in _OF_ALL or key.startswith("wsgi.")):
            self._note_all()  # what the server or middleware has put there

    def _note_all(self) -> None:
        for name in (ALL_FIELDS, "cookie", REMOTE_USER):
            self._reads.note(name)


def _reads_around(environ: dict[str, Any]) -> ReadLog[str] | None:
    """What notes the reads of the request in which *environ* was made of that request's own."""
    context = request_context()
    if context is None or not isinstance(context.request, TrackedRequest):
        return None
    of_both = environ.get("wsgi.input"), context.request.environ.get("wsgi.input")
    return context.request.larder_reads if of_both[0] is of_both[1] is not None else None


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

    larder_named_reads: NamedReads | None = None
    """What was read, by name, where that is noted."""

    url_rule = _Matched()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    routing_exception = _Matched()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(url_rule=None, routing_exception=None)
        self.larder_reads: ReadLog[str] = ReadLog(_reads_around(environ))
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
        read_in_matching = self._larder_read_in_matching(rule, context)
        self.larder_reads.forget_all_but(self._larder_read_in_init | read_in_matching)
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
        name_mapping(_session_of(context), reads, SESSION_PART)

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
        if not self.environ.get("SERVER_PROTOCOL", "HTTP/1.1").startswith("HTTP/1."):
            self.larder_reads.note(BODY)
        return super().stream


def has_converters_of_app(rule: Rule | None) -> bool:
    """Whether URLs of *rule* are matched by converters of the app's own, whatever these look at."""
    kinds = [] if rule is None else map(type, rule._converters.values())  # noqa: SLF001
    return any(kind.__module__ != converters.__name__ for kind in kinds)


def _has_own_adapter(app: Flask) -> bool:
    """Whether the app looks at a request in its own way before its URL is matched."""
    return type(app).create_url_adapter is not Flask.create_url_adapter


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


class _TrackedSession(SessionMixin):
    """Mixed into the class of a session: notes each use, of which Flask keeps only whether."""

    _reads: ReadLog[str]

    @property
    def accessed(self) -> bool:
        return bool(self.__dict__.get("accessed", False))

    @accessed.setter
    def accessed(self, accessed: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.__dict__["accessed"] = accessed
        if accessed:
            self._reads.note(SESSION)


_tracked_kinds: dict[type[Any], type[Any]] = {}


def _tracked_kind(kind: type[Any]) -> type[Any]:
    if kind not in _tracked_kinds:
        # An interface may pickle it.
        reduce_ex = reducing(kind, "_reads", lambda _: None)
        own = {"__module__": kind.__module__, "__reduce_ex__": reduce_ex}
        _tracked_kinds[kind] = type(kind.__name__, (_TrackedSession, kind), own)
    return _tracked_kinds[kind]


def track_session(context: RequestContext, reads: ReadLog[str]) -> None:
    """Let the session note in *reads* when it is used. One that cannot counts as used, always."""
    session = _session_of(context)
    if sets_attributes_itself(session):
        was_used = True
    elif isinstance(session, _TrackedSession):
        if session._reads is reads:  # noqa: SLF001
            return
        was_used = True  # by another request, to which the same object was handed out
        session._reads = reads  # noqa: SLF001
    else:
        was_used = getattr(session, "accessed", True)
        try:
            session.__class__ = _tracked_kind(type(session))
            session.__dict__["accessed"] = was_used
            session._reads = reads  # noqa: SLF001
        except (AttributeError, TypeError):
            was_used = True
    if was_used:
        reads.note(SESSION)


def _session_of(context: RequestContext) -> Any:
    """The session, without the public property, which would count as using it."""
    return context.__dict__["_session" if "_session" in context.__dict__ else "session"]


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
