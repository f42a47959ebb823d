"""Flask's current context, taken once.

``request`` and ``current_app`` look for it at each attribute, which takes longer than most of what
the cache does with that.
"""

from contextvars import ContextVar
from typing import Any, Final

from flask import Flask, current_app
from flask.ctx import AppContext, RequestContext
from flask.globals import app_ctx, request_ctx

_proxy: Any = request_ctx
_current: Final[ContextVar[RequestContext]] = _proxy.__wrapped__
_proxy_of_app: Any = app_ctx
_current_app: Final[ContextVar[AppContext]] = _proxy_of_app.__wrapped__


def this_app() -> Flask:
    """The app itself, and not what stands for it: signals have it as their sender.

    Raises ``RuntimeError`` where there is no context.
    """
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return app


def app_context() -> AppContext | None:
    """The context of the app, or ``None`` where there is none."""
    return _current_app.get(None)


def request_context() -> RequestContext | None:
    """The context of the current request, or ``None`` outside of requests."""
    return _current.get(None)
