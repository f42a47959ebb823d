"""Hits inside Flask that need no engine: what was a hit before is one for as long as it is fresh.

Where the app runs something around a view, Flask is needed for that. What the cache answers is the
same all the same, and is found as before Flask (:mod:`flask_larder.learned`).
"""

from collections.abc import Callable, Hashable
from typing import Any, Final

from flask import Request
from flask.ctx import RequestContext
from werkzeug.exceptions import HTTPException

from flask_larder.ask import Ask, Hit
from flask_larder.flask.asking import host_is_refused, paths_of_match
from flask_larder.flask.before_flask import lesson_of, needs_functions, needs_signals
from flask_larder.flask.call import Call
from flask_larder.flask.named_reads import query_of
from flask_larder.flask.reads import is_watched
from flask_larder.flask.revalidation import revalidation_of
from flask_larder.learned import FOR_FLASK, LOOKED_UP, learn
from flask_larder.reuse import candidate

_FAULT: Final = "Hits inside Flask are left to the engine"


def find_known(call: Call, context: RequestContext) -> Hit | None:
    """The hit for the request that is known already; ``None`` where the engine is to be asked."""
    try:
        return _find(call, context)
    except HTTPException:  # the request has no host that could be known
        return None
    except Exception:  # noqa: BLE001 - whatever it is, the engine answers
        call.tell_fault(_FAULT)
        return None


def _find(call: Call, context: RequestContext) -> Hit | None:
    request = context.request
    if revalidation_of(request.environ, call.decorated) is not None or not is_watched(context):
        return None
    if host_is_refused(context.app, request):
        return None
    known = call.wiring.known_hits().get(_url_of(call.decorated, request))
    if known is None or not _is_as_it_came(request):
        return None
    selected = known.selected(request.environ)
    found = None if selected is None else selected.hit(request.environ)
    if selected is None or found is None:
        return None
    # Else the next cache that is asked in this request would take it for what it has itself.
    request.environ.pop(LOOKED_UP, None)
    return candidate(found.stored, selected.names, call.wiring.tier.clock())


def know(call: Call, context: RequestContext, ask: Ask, names: frozenset[str]) -> None:
    """Know from now on what is stored for *ask*, which *names* select, if nothing forbids that."""
    try:
        _know(call, context, ask, names)
    except Exception:  # noqa: BLE001 - the answer is there
        call.tell_fault(_FAULT)


def _know(call: Call, context: RequestContext, ask: Ask, names: frozenset[str]) -> None:
    request = context.request
    environ = request.environ
    if not environ.keys().isdisjoint(FOR_FLASK) or not _is_as_it_came(request):
        return  # it would not be found for the next request like this one
    if needs_functions(call.options) or needs_signals(call):
        return
    lesson, url = lesson_of(call, ask, names, _always), _url_of(call.decorated, request)
    learn(call.wiring.known_hits(), url, lesson, environ, None)


def _always() -> bool:
    """Flask runs what is around the view."""
    return True


def _url_of(view: Callable[..., Any], request: Request) -> Hashable:
    """As the engine takes it."""
    return view, request.method, request.scheme, request.host, *paths_of_match(request)


def _is_as_it_came(request: Request) -> bool:
    """Whether no hook has changed the query, which the engine takes from Flask's request."""
    return bool(request.environ.get("QUERY_STRING", "").encode("latin-1") == query_of(request))
