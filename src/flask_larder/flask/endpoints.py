"""What Flask calls for an endpoint, and what is beneath its decorators."""

import logging
from collections.abc import Callable, Container, Iterable
from typing import Any

from flask import Flask

from flask_larder.flask.purging import name_of

_log = logging.getLogger("flask_larder")


def functions_of(view: Any, method: str) -> list[Any]:
    """What may answer a *method* at a *view*: itself and, where it is a class, what that has."""
    functions = [view]
    if view_class := getattr(view, "view_class", None):
        names = (method.lower(), "get", "dispatch_request")
        functions += [vars(kind).get(name) for kind in view_class.__mro__ for name in names]
    return functions


def decorated_in(outer: Any, known: Container[Any]) -> Any | None:
    """Which of the *known* functions *outer* is, or is a decorator around; ``None`` if of none."""
    while callable(outer) and outer not in known:
        outer = getattr(outer, "__wrapped__", None)
    return outer if callable(outer) else None


def wraps(outer: Any, function: Callable[..., Any]) -> bool:
    """Whether *outer* is *function*, or a decorator around it."""
    while outer is not None and outer is not function:
        outer = getattr(outer, "__wrapped__", None)
    return outer is not None


def tell_misplaced(app: Flask, decorated: Iterable[Any]) -> None:
    """Log which of those *decorated* stand above their routes: Flask never calls these."""
    views = [each for view in app.view_functions.values() for each in functions_of(view, "GET")]
    for each in decorated:
        is_below = any(view is each.uncached for view in views)
        if is_below and not any(wraps(view, each) for view in views):
            _log.warning(
                "%s is not cached: the cache stands above its route; put it below, next to the "
                "function",
                name_of(each.uncached),
            )
