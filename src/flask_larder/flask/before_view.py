"""Whether an app runs anything for a request before its view, which may have read what is old."""

from flask.ctx import RequestContext
from flask.signals import appcontext_pushed, request_started

from flask_larder.flask.before_flask import (
    has_other_sessions,
    has_own_converters,
    is_overridden,
    needs_functions,
)
from flask_larder.flask.call import Call, is_view


def runs_before_view(call: Call, context: RequestContext) -> bool:
    """Whether functions of the app, or of the options of *call*, have run since the request came.

    They may have put into ``flask.g``, the session or the view's arguments what a later purge is
    about. Middleware does not count: the request comes when it is through that.
    """
    app, request = context.app, context.request
    if not is_view(call.decorated, context) or needs_functions(call.options):
        return True
    if request_started.receivers or appcontext_pushed.receivers:
        return True
    hooks = app.before_request_funcs, app.url_value_preprocessors
    if any(kind.get(scope) for kind in hooks for scope in (None, *request.blueprints)):
        return True
    rules = is_overridden(app), has_other_sessions(app), has_own_converters(request.url_rule)
    return any(rules)
