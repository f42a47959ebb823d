"""Revalidate a stored response in the background: the request is made again, for nobody."""

import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Flask, got_request_exception
from werkzeug.exceptions import HTTPException

from flask_larder.ask import Ask, Hit, Shared, key_in_store
from flask_larder.coalesce import Claim
from flask_larder.credentials import is_credential
from flask_larder.flask.call import Call
from flask_larder.flask.current import this_app

REVALIDATION: Final = "flask_larder.revalidation"

_OF_ONE_TRANSFER: Final = frozenset(
    {
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "HTTP_CACHE_CONTROL",
        "HTTP_CONNECTION",
        "HTTP_EXPECT",
        "HTTP_PRAGMA",
        "HTTP_RANGE",
        "HTTP_TE",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_UPGRADE",
    }
)
_OF_REQUESTS: Final = frozenset(
    {
        "PATH_INFO",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "SCRIPT_NAME",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
    }
)
"""What an environ has, though the environment of the process may have the same."""

_OF_OTHERS: Final = ("HTTP_IF_", "flask", "werkzeug.", "wsgi.")


LEFT_OUT_SECONDS: Final = 60.0
"""How long a view is left out where a request without its user has come to nothing."""

_BUSY_SECONDS: Final = 0.1
"""How long a key is left to another process that has its lease."""


_FAILED_BEFORE: Final = "a hook or a decorator has failed without its user"


@dataclass(slots=True)
class Revalidation:
    """What a request is made for that nobody has sent: to replace what was stored at *stored_at*.

    *decorated* is the cached view, *key* that of the request by its policy. *failure* tells why
    nothing can be replaced, in the words of the log.
    """

    claim: Claim[Shared]
    decorated: Callable[..., Any]
    key: str
    stored_at: float
    failure: str | None = "a hook or a decorator has answered without its user"


def revalidation_of(
    environ: Mapping[str, Any], decorated: Callable[..., Any]
) -> Revalidation | None:
    """What the request is made for, if it is one that nobody has sent to *decorated*."""
    found = environ.get(REVALIDATION)
    return found if isinstance(found, Revalidation) and found.decorated is decorated else None


def revalidate_later(call: Call, environ: Mapping[str, Any], ask: Ask, hit: Hit) -> None:
    """Have what *hit* found made anew in the background, if nobody does that already."""
    key, background = key_in_store(ask, hit.names), call.wiring.background
    owned = (call.wiring.number, key)
    if not background.takes(owned):
        return
    app, stored_at, replay = this_app(), hit.response.stored_at, replayed(environ)

    def work() -> float:
        with call.wiring.engine.claim(key) as claim:
            if claim is None:
                return _BUSY_SECONDS
            revalidation = Revalidation(claim, call.decorated, ask.key, stored_at)
            has_ended = _has_ended(app, {**replay, REVALIDATION: revalidation})
        # Whoever goes by that is not to find the claim, and wait for what does not come.
        if revalidation.failure is not None:  # the view was not reached, or could replace nothing
            failure = revalidation.failure if has_ended else _FAILED_BEFORE
            call.leave_out(failure, LEFT_OUT_SECONDS)
        return 0.0

    background.offer(owned, work)


def replayed(environ: Mapping[str, Any]) -> dict[str, Any]:
    """*environ* for the same GET, sent by nobody: without credentials, conditions and body.

    Objects that middleware has put there stay behind, as does the environment of the process, which
    some servers put there, too.
    """
    kept = {name: value for name, value in environ.items() if _is_replayed(name, value)}
    return {
        **kept,
        "REQUEST_METHOD": "GET",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": environ["wsgi.url_scheme"],
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": environ.get("wsgi.multiprocess", True),
        "wsgi.run_once": False,
    }


def _is_replayed(name: str, value: Any) -> bool:
    if is_credential(name) or name in _OF_ONE_TRANSFER or name.startswith(_OF_OTHERS):
        return False
    if name in _OF_REQUESTS or name.startswith("HTTP_"):
        return True
    return isinstance(value, str | int | None) and os.environ.get(name) != value


def _has_ended(app: Flask, environ: dict[str, Any]) -> bool:
    """Dispatch a request as Flask does, as far as to the view; false if something fails.

    What it answers is for nobody.
    """
    with app.request_context(environ):
        try:
            answer = app.preprocess_request()
            if answer is None:
                answer = app.dispatch_request()
            app.make_response(answer).close()
        except HTTPException as error:
            response: Any = error.response
            if response is not None:
                response.close()
        except Exception as error:  # noqa: BLE001 - it is told as that of any request
            return _is_answer(app, error)
    return True


def _is_answer(app: Flask, error: Exception) -> bool:
    """Whether the app has a handler that makes an answer of *error*; if not, it is told."""
    try:
        app.make_response(app.handle_user_exception(error)).close()
    except Exception as unhandled:  # noqa: BLE001 - that, or what the handler has raised
        tell_error(unhandled)
        return False
    return True


def tell_error(error: Exception) -> None:
    """Tell the app of an *error* that no client sees, as Flask tells of those that clients see."""
    app = this_app()
    got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    app.log_exception((type(error), error, error.__traceback__))  # type: ignore[arg-type]
