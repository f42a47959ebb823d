"""For which views hits may be answered before Flask: those around which the app runs nothing.

Answering ahead of Flask must not skip anything that the app relies on. One rule, one function,
which returns its reason, or ``None`` where it does not object. The rules that may change while the
app serves are asked at each hit: :class:`Surroundings`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from flask import Flask, Request, Response
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSessionInterface
from flask.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from werkzeug.routing import Rule

from flask_larder.ask import Ask, key_in_store
from flask_larder.environ import environ_name
from flask_larder.flask.call import Call
from flask_larder.flask.invalidation import invalidate_unsafe
from flask_larder.flask.named_reads import wants_names
from flask_larder.flask.options import Options
from flask_larder.flask.placement import EXTENSION
from flask_larder.flask.purging import name_of
from flask_larder.flask.tagging import open_tags
from flask_larder.flask.tracking import TrackedRequest, has_converters_of_app
from flask_larder.key import origin_of
from flask_larder.learned import DIRECTIVES, FOR_FLASK, Lesson
from flask_larder.policy import Reason
from flask_larder.rendered import Additions
from flask_larder.wsgi import LESSON, PLACED

_log = logging.getLogger("flask_larder")

_ALMOST_SURE: Final = 21.0
"""So many times its cost before its end, chance makes a response due once in a billion times."""


_METHODS: Final = (
    *("request_context", "app_context", "create_url_adapter", "full_dispatch_request"),
    *("preprocess_request", "dispatch_request", "ensure_sync", "finalize_request"),
    *("make_response", "process_response", "do_teardown_request", "raise_routing_exception"),
)
"""What runs in the course of a request that is answered from the cache."""

_methods_of: Final = attrgetter(*_METHODS)
_OF_FLASK: Final = _methods_of(Flask)


def teach(call: Call, context: RequestContext, ask: Ask, names: frozenset[str]) -> bool:
    """Have what is stored for *ask*, which *names* select, be sent before Flask, if that may be.

    Returns false where the app wants hits of this view inside Flask.
    """
    try:
        return _teach(call, context, ask, names)
    except Exception:  # noqa: BLE001 - the answer is there, and Flask sends it
        call.tell_fault("Hits are answered inside Flask")
        return True


def _teach(call: Call, context: RequestContext, ask: Ask, names: frozenset[str]) -> bool:
    environ = context.request.environ
    pupil = environ.get(PLACED)
    if pupil is None:
        return False
    app = context.app
    if pupil.learner is not app.extensions.get(EXTENSION):
        return False
    endpoint, blueprints = context.request.endpoint or "", context.request.blueprints
    is_forced = call.options.before_flask is True
    around = Surroundings(app, endpoint, call.decorated, blueprints, is_forced=is_forced)
    is_bare = around.are_bare()
    if not (is_bare or _log.isEnabledFor(logging.DEBUG)):
        return False  # as in most apps
    session = _session_of(app)
    if "HTTP_HOST" not in environ or session in environ.get("HTTP_COOKIE", ""):
        return True  # to which no lesson would apply, and most of what is asked inside Flask has it
    reason = why_inside(app, call, context.request.url_rule, None if is_bare else around)
    if reason is not None:
        call.tell_inside(reason)
        return False
    lesson = lesson_of(call, ask, names, around.are_bare, session)
    if pupil.can_learn(lesson, environ):
        environ[LESSON] = lesson
    return True


class Surroundings:
    """What the app runs around a view, asked anew at each hit: it can change at any time.

    The *view* of an *endpoint* is called without any decorator, and nothing is registered to run
    before or after it, for the app or its *blueprints*, or to hear of it. Nothing is being made of
    its answer, which would get its tags. Where it *is_forced*, the developer does without what is
    registered.
    """

    __slots__ = ("_app", "_endpoint", "_is_forced", "_scopes", "_view")

    def __init__(
        self,
        app: Flask,
        endpoint: str,
        view: Callable[..., Any],
        blueprints: Iterable[str],
        *,
        is_forced: bool,
    ) -> None:
        self._app = app
        self._endpoint = endpoint
        self._view = view
        self._scopes: tuple[str | None, ...] = (None, *blueprints)
        self._is_forced = is_forced

    def are_bare(self) -> bool:
        """Whether a hit needs nothing of them."""
        app = self._app
        if app.view_functions.get(self._endpoint) is not self._view:
            return False
        if open_tags() is not None:
            return False
        if self._is_forced:
            return True
        if _started or _finished or _tearing_down or _pushed or _context_tearing_down or _popped:
            return False
        if app.before_request_funcs or app.teardown_request_funcs or app.url_value_preprocessors:
            return self._have_no_functions()
        return app.after_request_funcs in _NONE_OR_ONLY_OWN or self._have_no_functions()

    def why_not_bare(self) -> Reason | None:
        """Why a hit needs something of them, or ``None``."""
        if self.are_bare():
            return None
        if self._app.view_functions.get(self._endpoint) is not self._view:
            return "a decorator is around it, or its endpoint has another view"
        if open_tags() is not None:
            return "something is being made of its answer"
        for scope in self._scopes:
            for kind in _KINDS:
                for function in getattr(self._app, kind).get(scope, []):
                    if function is not invalidate_unsafe:
                        return f"{kind.removesuffix('_funcs')} has {name_of(function)}"
        return "a signal of requests or contexts has a receiver"

    def _have_no_functions(self) -> bool:
        """Whether none is registered that concerns the view."""
        kinds: list[Mapping[str | None, list[Any]]] = [getattr(self._app, kind) for kind in _KINDS]
        for scope in self._scopes:
            if any(kind.get(scope, []) not in _NONE_OR_OWN for kind in kinds):
                return False
        return True


_KINDS: Final = (
    *("before_request_funcs", "teardown_request_funcs", "url_value_preprocessors"),
    "after_request_funcs",
)
"""What Flask runs around views, as its attributes are called."""

# Of the signals that tell of requests. Blinker keeps these dicts.
_started, _finished, _tearing_down = (
    signal.receivers for signal in (request_started, request_finished, request_tearing_down)
)
_pushed, _context_tearing_down, _popped = (
    signal.receivers for signal in (appcontext_pushed, appcontext_tearing_down, appcontext_popped)
)

# It does nothing after a GET or HEAD.
_NONE_OR_OWN: Final[tuple[list[Any], ...]] = ([], [invalidate_unsafe])
_NONE_OR_ONLY_OWN: Final[tuple[dict[Any, Any], ...]] = ({None: [invalidate_unsafe]}, {})


def why_inside(
    app: Flask, call: Call, rule: Rule | None, around: Surroundings | None
) -> Reason | None:
    """Why hits of a view are answered inside Flask, or ``None``."""
    return (
        is_switched_off(call)
        or needs_functions(call.options)
        or needs_signals(call)
        # First of those that take longer: it is what most apps have.
        or (around and around.why_not_bare())
        or is_overridden(app)
        or has_other_sessions(app)
        or has_own_converters(rule)
        or is_observed(app)
    )


def is_switched_off(call: Call) -> Reason | None:
    """The developer does not want it."""
    is_off = call.options.before_flask is False or not call.wiring.settings["CACHE_BEFORE_FLASK"]
    return "it is switched off" if is_off else None


def needs_functions(options: Options) -> Reason | None:
    """They may look at the request, as Flask knows it."""
    for name, function in zip(_FUNCTIONS, _functions_of(options), strict=True):
        if function is not None:
            return f"{name.removesuffix('_by')} is a function"
    return "key_prefix is a function" if callable(options.key_prefix) else None


_FUNCTIONS: Final = ("make_cache_key", "vary_by", "unless", "forced_update", "is_stale")
_functions_of: Final = attrgetter(*_FUNCTIONS)


def needs_signals(call: Call) -> Reason | None:
    """A signal of each hit is sent by an app that has a context."""
    return "CACHE_ENABLE_SIGNALS is on" if call.wiring.settings["CACHE_ENABLE_SIGNALS"] else None


def is_overridden(app: Flask) -> Reason | None:
    """The app, or its class for requests or responses, does something of its own."""
    if _methods_of(type(app)) != _OF_FLASK or not vars(app).keys().isdisjoint(_METHODS):
        return "a method of the app is overridden"
    if not _is_plain(app.request_class, Request):
        return "the app has a request class of its own"
    if not _is_plain(app.response_class, Response):
        return "the app has a response class of its own"
    return None


def has_other_sessions(app: Flask) -> Reason | None:
    """Another interface than Flask's may know a user by more than its cookie."""
    is_own = type(app.session_interface) is SecureCookieSessionInterface
    return None if is_own else "the session interface is not Flask's own"


def has_own_converters(rule: Rule | None) -> Reason | None:
    """A converter of the app may refuse a URL that it took before."""
    has_own = has_converters_of_app(rule)
    return "the URL has a converter of the app's own" if has_own else None


def is_observed(app: Flask) -> Reason | None:
    """Debug mode tells of each answer what it has read, and the log how it came about."""
    if wants_names(app):
        return "it is debugged"
    return "the log has a line for each answer" if _log.isEnabledFor(logging.DEBUG) else None


def _is_plain(kind: type, base: type) -> bool:
    """Whether *kind* does as *base* does: nothing that *base* has is another function."""
    if base not in kind.__mro__:
        return False
    for own in kind.__mro__[: kind.__mro__.index(base)]:
        if own is TrackedRequest or own.__module__ == TrackedRequest.__module__:
            continue
        if any(hasattr(base, name) and not _is_data(held) for name, held in vars(own).items()):
            return False
    return True


def _is_data(held: Any) -> bool:
    return not (callable(held) or hasattr(held, "__get__"))


def _session_of(app: Flask) -> str:
    """The name of the session cookie, as environs have it: in Latin-1."""
    return app.session_interface.get_cookie_name(app).encode().decode("latin-1")


@lru_cache(maxsize=256)  # the same one for all that is learned of a view
def _for_flask(selecting: tuple[str, ...], *, heeds_directives: bool) -> frozenset[str]:
    """What the environ of a request for Flask has, where answers vary by *selecting*."""
    cookie = {"HTTP_COOKIE"} if "cookie" in selecting else set[str]()
    return FOR_FLASK | cookie | (DIRECTIVES if heeds_directives else set[str]())


def lesson_of(
    call: Call,
    ask: Ask,
    names: frozenset[str],
    is_open: Callable[[], bool],
    session: str | None = None,
) -> Lesson:
    """What there is to learn from a hit for *ask*, which *names* select."""
    options, settings = call.options, call.wiring.settings
    selecting = tuple(sorted(names.union(options.vary_fields)))
    heeds_directives = options.by_response or settings["CACHE_REQUEST_DIRECTIVES"]
    beta = ask.policy.early_refresh if ask.policy.may_revalidate else None
    return Lesson(
        tier=call.wiring.tier,
        key=key_in_store(ask, names),
        variants=(key_in_store(ask, frozenset()), tuple(sorted(names))) if names else None,
        origin=origin_of(ask.request),
        url=ask.url,
        additions=Additions(
            vary=frozenset(options.vary_fields),
            status=settings["CACHE_SEND_STATUS"],
            tags=settings["CACHE_SEND_TAGS"],
            hit_indication=options.response_hit_indication,
        ),
        is_open=is_open,
        by_query=not (options.is_template and options.query.is_empty),
        fields=tuple(map(environ_name, selecting)),
        for_flask=_for_flask(selecting, heeds_directives=heeds_directives),
        session=session,
        early_factor=(beta or 0.0) * _ALMOST_SURE,
        is_checked=options.before_flask is not True,
    )
