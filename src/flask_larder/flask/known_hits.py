"""Hits inside Flask that need no engine: what was a hit before is one for as long as it is fresh.

Where the app runs something around a view, Flask is needed for that. What the cache answers is the
same all the same, and is found as before Flask (:mod:`flask_larder.learned`).
"""

import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from flask import Flask, Request, Response
from flask.ctx import RequestContext
from werkzeug.exceptions import HTTPException

from flask_larder.ask import Ask
from flask_larder.flask.before_flask import (
    is_observed,
    lesson_of,
    needs_functions,
    needs_signals,
)
from flask_larder.flask.call import Call
from flask_larder.flask.responses import response_of
from flask_larder.flask.revalidation import REVALIDATION
from flask_larder.flask.tagging import is_collecting
from flask_larder.flask.wiring import Wiring
from flask_larder.learned import FOR_FLASK, learn
from flask_larder.wsgi import OUTCOME

_log = logging.getLogger("flask_larder")


def find_known(
    wiring: Wiring, view: Callable[..., Any], context: RequestContext
) -> Response | None:
    """What *view* answers, where that is known; ``None`` where the engine is to be asked."""
    if view not in wiring.known_views:  # such as a function that a view calls, maybe often
        return None
    try:
        return _find(wiring, view, context)
    except HTTPException:  # the request has no host that could be known
        return None
    except Exception:  # noqa: BLE001 - whatever it is, the engine answers
        _tell_failure(wiring)
        return None


def _find(wiring: Wiring, view: Callable[..., Any], context: RequestContext) -> Response | None:
    request = context.request
    environ = request.environ
    known = wiring.known_hits().get(_url_of(view, request))
    if known is None or not _is_as_it_came(request):
        return None
    # Who makes something of this answer depends on its tags, and on what it varies by; and who
    # makes it anew does not want what is stored.
    if is_collecting(environ) or REVALIDATION in environ:
        return None
    sent = known.find(environ)
    if sent is None:
        return None
    status, fields, body, environ[OUTCOME] = sent
    return response_of(context.app, status, fields, body)


def know(call: Call, context: RequestContext, ask: Ask, names: frozenset[str]) -> None:
    """Know from now on what is stored for *ask*, which *names* select, if nothing forbids that."""
    try:
        _know(call, context, ask, names)
    except Exception:  # noqa: BLE001 - the answer is there
        _tell_failure(call.wiring)


def _know(call: Call, context: RequestContext, ask: Ask, names: frozenset[str]) -> None:
    request, app = context.request, context.app
    environ = request.environ
    is_open = partial(_is_open, app, request.endpoint, call.decorated)
    if not (is_open() and _is_as_it_came(request)) or not environ.keys().isdisjoint(FOR_FLASK):
        return  # it would not be found for the next request like this one
    if needs_functions(call.options) or needs_signals(call):
        return
    lesson = lesson_of(call, ask, names, is_open)
    call.wiring.known_views.add(call.decorated)
    learn(call.wiring.known_hits(), _url_of(call.decorated, request), lesson, environ, None)


def _is_open(app: Flask, endpoint: str | None, view: Callable[..., Any]) -> bool:
    """Whether Flask itself calls *view*, and no decorator around it; and nobody wants to be told.

    Asked at each hit: both can change at any time.
    """
    return app.view_functions.get(endpoint or "") is view and is_observed(app) is None


def _url_of(view: Callable[..., Any], request: Request) -> Hashable:
    """As the engine takes it: the path as the environ has it now, and the rest as Flask has it."""
    environ = request.environ
    script_name, path = environ.get("SCRIPT_NAME"), environ.get("PATH_INFO")
    return view, request.method, request.scheme, request.host, script_name, path


def _is_as_it_came(request: Request) -> bool:
    """Whether no hook has changed the query, which the engine takes from Flask's request."""
    return bool(request.environ.get("QUERY_STRING", "").encode("latin-1") == request.query_string)


def _tell_failure(wiring: Wiring) -> None:
    line = "Hits inside Flask are left to the engine"
    if line not in wiring.warned:
        wiring.warned.add(line)
        _log.exception("%s", line)
