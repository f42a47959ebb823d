"""Know what a view looks at: cookies, the session, ``Authorization``, ``Accept*``.

A response that depends on who asks must not be handed to somebody else, and only the reading
tells that it does. The requests of an app with a cache are therefore of a class that notes
which header fields were read. What a view takes from ``request.environ`` itself is not seen.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Self

from flask import Flask, has_request_context, request
from flask import Request as FlaskRequest
from flask.ctx import RequestContext
from werkzeug.datastructures import Authorization, EnvironHeaders, ImmutableMultiDict
from werkzeug.routing import Rule

from flask_larder.entry import Reads
from flask_larder.flask.options import Options

_ALL: Final = "*"


class _TrackedHeaders(EnvironHeaders):
    """Header fields that note which of them were asked for, in lower case; ``*`` for all."""

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        self.names_read: set[str] = set()

    def __getitem__(self, key: str) -> str:  # type: ignore[override]
        self._note(key)
        return super().__getitem__(key)

    def _get_key(self, key: str) -> str:  # what `get` and `in` use
        self._note(key)
        return super()._get_key(key)

    def _note(self, key: str) -> None:
        self.names_read.add(str(key).lower().replace("_", "-"))

    def getlist(self, key: str, type: Callable[[str], Any] | None = None) -> list[Any]:  # noqa: A002
        # Werkzeug goes through all fields for this one, which would look like reading all.
        value = self.get(key, type=type) if type else self.get(key)
        return [] if value is None else [value]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.names_read.add(_ALL)
        return super().__iter__()


class TrackedRequest(FlaskRequest):
    """A request that notes what is read of it, once its URL has been matched.

    What is read before is not the app's doing: the session interface reads its own cookie, and
    whether the session is then used, the session tells.
    """

    headers: _TrackedHeaders
    _url_rule: Rule | None = None

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        self.headers = _TrackedHeaders(environ)

    @property
    def url_rule(self) -> Rule | None:
        """The rule that matched the URL."""
        return self._url_rule

    @url_rule.setter
    def url_rule(self, rule: Rule | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._url_rule = rule
        self.headers.names_read.clear()

    # Werkzeug parses these two once; a second reading has to be noted as well.

    @property
    def cookies(self) -> ImmutableMultiDict[str, str]:
        """The cookies. Asking for any of them counts as reading all."""
        self.headers.names_read.add("cookie")
        return super().cookies

    @property
    def authorization(self) -> Authorization | None:
        """The credentials in the ``Authorization`` field."""
        self.headers.names_read.add("authorization")
        return super().authorization


def _tracked(request_class: type[FlaskRequest]) -> type[FlaskRequest]:
    return type(request_class.__name__, (TrackedRequest, request_class), {})


def track_requests(app: Flask) -> None:
    """Let the requests of *app* note what is read of them."""
    if not issubclass(app.request_class, TrackedRequest):
        app.request_class = _tracked(app.request_class)


def credentials_read(context: RequestContext) -> frozenset[str]:
    """What has identified the user in this request until now; see ``Reads.credentials``."""
    names = _headers_of(context).names_read & {"cookie", "authorization"}
    return frozenset(names | {"session"}) if _session_accessed(context) else frozenset(names)


# What a header field that the key holds tells apart.
_COVERED_BY_FIELD: Final = {
    "cookie": frozenset({"cookie", "session"}),
    "authorization": frozenset({"authorization"}),
}


def covered_credentials(options: Options, context: RequestContext) -> frozenset[str]:
    """What identifies the user and is part of the key, once the key has been made.

    A function that makes the key, or a part of it, covers what was read until it returned: it
    says who is asking, and a user whom a hook or a decorator loaded before is the same one.
    """
    covered: frozenset[str] = frozenset()
    for name in options.vary_fields:
        covered |= _COVERED_BY_FIELD.get(name, frozenset())
    if options.vary_by or options.has_own_key:
        covered |= credentials_read(context)
    return covered


def is_anonymous(context: RequestContext) -> bool:
    """Whether the request carries neither cookies nor ``Authorization``."""
    environ = context.request.environ
    return "HTTP_COOKIE" not in environ and "HTTP_AUTHORIZATION" not in environ


def note_selecting(names: Iterable[str]) -> None:
    """Note as read the header fields by which a stored entry was selected.

    What is answered from the cache reads nothing, but whoever called for it, perhaps another
    cached view, depends on these fields all the same.
    """
    if has_request_context() and isinstance(request.headers, _TrackedHeaders):
        request.headers.names_read.update(names)


class Watch:
    """Tells what is read within its ``with`` block from what was read before it.

    Watches nest: what is read under an inner one is read under the outer one too.
    *ours* is the function that the cache itself registers with ``after_this_request``.
    *harmless* are credentials whose reading before the block means nothing for the response.
    """

    def __init__(
        self,
        context: RequestContext,
        ours: Callable[..., Any],
        harmless: frozenset[str] = frozenset(),
    ) -> None:
        self._context = context
        self._ours = ours
        # Where a request carries it, storing needs the response's explicit word in any case
        # (RFC 9111 section 3.5), and a hook that only checks it does not take that away.
        self._harmless = harmless | {"authorization"}

    def __enter__(self) -> Self:
        context = self._context
        self._credentials_before = credentials_read(context)
        self._functions_before = self._functions()
        self._names_before = frozenset(_headers_of(context).names_read)
        _headers_of(context).names_read = set()
        _set_session_accessed(context, accessed=False)
        return self

    def __exit__(self, *_: object) -> None:
        context = self._context
        _headers_of(context).names_read |= self._names_before
        if "session" in self._credentials_before:
            _set_session_accessed(context, accessed=True)

    def credentials(self) -> frozenset[str]:
        """What has identified the user within the block. ``headers`` stands for all fields."""
        found = credentials_read(self._context)
        return found | {"headers"} if _ALL in _headers_of(self._context).names_read else found

    def reads(self) -> Reads:
        """What the response depends on.

        A cookie or a session that was read before the block counts too: a hook may have put the
        user into ``flask.g``.
        """
        names = _headers_of(self._context).names_read | self._names_before
        return Reads(
            credentials=self.credentials() | (self._credentials_before - self._harmless),
            selecting=frozenset(name for name in names if name.startswith("accept")),
            after_this_request=self._functions() != self._functions_before,
        )

    def _functions(self) -> list[Callable[..., Any]]:
        registered = self._context._after_request_functions  # noqa: SLF001 - no public name
        return [function for function in registered if function is not self._ours]


def _headers_of(context: RequestContext) -> _TrackedHeaders:
    headers = context.request.headers
    assert isinstance(headers, _TrackedHeaders)  # noqa: S101 - only tracked requests get here
    return headers


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
