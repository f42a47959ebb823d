"""Forget what a request has changed by an unsafe method (RFC 9111 section 4.4)."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from flask import Flask, Response, current_app, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from flask_larder.budget import Counts
from flask_larder.entry import Request
from flask_larder.errors import StoreUnavailable
from flask_larder.flask.asking import core_request, host_is_refused, path_of
from flask_larder.flask.call import Call
from flask_larder.flask.current import request_context
from flask_larder.flask.endpoints import decorated_in, functions_of
from flask_larder.flask.responses import fields_of
from flask_larder.flask.tracking import caches_of
from flask_larder.flask.wiring import Wiring
from flask_larder.invalidation import SAFE_METHODS, invalidated, target_of
from flask_larder.key import stored_key
from flask_larder.purges import Purge

_log = logging.getLogger("flask_larder")

_LONGEST_TOLD: Final = 200
"""In characters; the client chooses them."""

_FAILURE: Final = "invalidation"  # no function is called so: their names have dots

_Cached: TypeAlias = tuple[Request, Any]
"""A request that may have been answered from a cache, and the decorated function."""


def register_invalidation(app: Flask) -> None:
    """Have *app* call :func:`invalidate_unsafe` once for each response, behind all others.

    Flask calls first what was registered last, and takes no registrations while it serves; to make
    a new list is safe also then.
    """
    functions = app.after_request_funcs.get(None, [])
    if invalidate_unsafe not in functions:
        app.after_request_funcs[None] = [invalidate_unsafe, *functions]


def invalidate_unsafe(response: Response) -> Response:
    """Have the caches of the app forget what the current request has changed. Raises nothing."""
    context = request_context()
    if context is not None and context.request.method not in SAFE_METHODS:
        _invalidate(response)
    return response


def _invalidate(response: Response) -> None:
    for cache, wiring in list(caches_of(current_app).items()):
        if wiring.enabled and wiring.settings["CACHE_INVALIDATE_UNSAFE"]:
            try:
                _forget(wiring, list(_cached(wiring, response)), cache)
            except Exception as error:  # noqa: BLE001 - the response goes out, whatever that is
                with suppress(Exception):  # what writes lines may raise, too
                    _tell(wiring, error)


def _cached(wiring: Wiring, response: Response) -> Iterator[_Cached]:
    """What the current request has made out of date, as far as one cache may have it."""
    if host_is_refused(current_app, request):
        return
    fields = fields_of(response).to_wsgi_list()
    for asked in invalidated(core_request(request), response.status_code, fields):
        for function in functions_of(_view_of(asked), "GET"):
            decorated = decorated_in(function, wiring.options)
            if decorated is not None:
                yield asked, decorated


def _view_of(asked: Request) -> Any:
    """The view that would answer *asked*, a GET of the current host; ``None`` if there is none."""
    adapter = request_ctx.url_adapter
    if adapter is None:
        return None
    try:
        endpoint, _ = adapter.match(unquote(asked.path), method="GET")
    except HTTPException:  # no such path, or for other methods only, or a redirect
        return None
    return current_app.view_functions.get(endpoint)


def _forget(wiring: Wiring, cached: list[_Cached], cache: object) -> None:
    """Forget *cached*, by one record of the log where there is one. May raise anything."""
    if not cached:
        return
    if wiring.has_purges:
        targets = tuple(dict.fromkeys(target_of(asked) for asked, _ in cached))
        wiring.purges.add(Purge(targets), counts=Counts.ALWAYS)
        return
    keys = [_plain_key(wiring, asked, decorated, cache) for asked, decorated in cached]
    if computed := [key for key in keys if key is not None]:
        wiring.store.delete(computed)


def _plain_key(wiring: Wiring, asked: Request, decorated: Any, cache: object) -> str | None:
    """Under which key the answer to *asked* is, unless only the developer's functions know.

    They may look at the current request, which is another one.
    """
    options = wiring.options[decorated]
    if options.asks_for_key:
        return None
    call = Call(cache, wiring, options, 0.0, decorated, decorated.uncached, (), {})
    digest = options.hash_method or wiring.settings["CACHE_HASH_METHOD"]
    return stored_key(call.asked(asked, is_view=True).key, digest)


def _tell(wiring: Wiring, error: Exception) -> None:
    if wiring.may_tell(_FAILURE):
        path = path_of(request)
        _log.warning(
            "What %s %s has changed is still stored, and may be sent: %s",
            request.method[:_LONGEST_TOLD],
            path[:_LONGEST_TOLD],
            error,
            exc_info=None if isinstance(error, StoreUnavailable) else error,
        )
