"""Whether anything may have been read for a request before its view, which is old by now.

What a view makes is as old as the oldest that it is made of. The time of that is the coming of the
request, unless it is certain that only Flask itself has run since then: what is not known to be
harmless counts. Middleware does not: a request comes when it is through that.
"""

from flask import Flask, Request, g
from flask.ctx import RequestContext, _AppCtxGlobals
from flask.signals import appcontext_pushed, request_started
from werkzeug.routing import Map, Rule, converters

from flask_larder.flask.before_flask import (
    METHODS_BEFORE_VIEW,
    has_other_sessions,
    is_plain,
    needs_functions,
    session_cookie_of,
)
from flask_larder.flask.call import Call, is_view
from flask_larder.flask.tracking import TrackedRequest
from flask_larder.wsgi import OUTCOME, PLACED


def may_have_read(call: Call, context: RequestContext) -> bool:
    """Whether something may have been read for the request before the view of *call*."""
    try:
        return (
            needs_functions(call.options) is not None
            or not _is_first(call, context)
            or _has_hooks(context)
            or _has_own_parts(context.app)
            or _has_session(context)
            or _has_loading_converters(context.request.url_rule)
        )
    except Exception:  # noqa: BLE001 - the view is still to run
        call.tell_fault("What was read before a view cannot be told")
        return True


def _is_first(call: Call, context: RequestContext) -> bool:
    """Whether Flask itself calls the view, at once, for a request that has come from outside.

    Not a second time, as an error handler may, nor within something else that the app does, whose
    ``flask.g`` it may share.
    """
    request, environ = context.request, context.request.environ
    is_from_outside = isinstance(request, TrackedRequest) and not request.shares_context
    return (
        is_view(call.decorated, context)
        and is_from_outside
        and PLACED in environ
        and OUTCOME not in environ
        and next(iter(g), None) is None
    )


def _has_hooks(context: RequestContext) -> bool:
    """Whether functions of the app, or of the blueprints of the view, run before it."""
    app, scopes = context.app, (None, *context.request.blueprints)
    if any(signal.has_receivers_for(app) for signal in (request_started, appcontext_pushed)):
        return True
    kinds = app.before_request_funcs, app.url_value_preprocessors
    return any(kind.get(scope) for kind in kinds for scope in scopes)


def _has_own_parts(app: Flask) -> bool:
    """Whether the app does something of its own where Flask finds the view, and what that has."""
    return (
        METHODS_BEFORE_VIEW.is_any_own(app)
        or not is_plain(app.request_class, Request)
        or app.app_ctx_globals_class is not _AppCtxGlobals
        or type(app.url_map) is not Map
    )


def _has_session(context: RequestContext) -> bool:
    """Whether there is a session, which may have been loaded from anywhere."""
    app = context.app
    if has_other_sessions(app) is not None or vars(app.session_interface):
        return True
    return session_cookie_of(app) in context.request.environ.get("HTTP_COOKIE", "")


def _has_loading_converters(rule: Rule | None) -> bool:
    """Whether the app has made converters for the URL that do more than to match it."""
    used = [] if rule is None else rule._converters.values()  # noqa: SLF001
    return any(each.to_python.__module__ != converters.__name__ for each in used)
