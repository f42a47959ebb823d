"""What Flask calls for an endpoint, and what is beneath its decorators."""

import inspect
import logging
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from flask import Flask
from flask.ctx import RequestContext
from flask.views import View

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


def answers_request(function: Callable[..., Any], context: RequestContext) -> bool:
    """Whether *function* is the view of the request in *context*, maybe beneath further decorators.

    What it is decorated with does not tell a view from a function that a view calls.
    """
    if is_view(function, context):
        return True
    return any(wraps(view, function) for view in _views_of(context))


def is_view(function: Callable[..., Any], context: RequestContext) -> bool:
    """Whether Flask itself calls *function* for the request in *context*, undecorated."""
    return context.app.view_functions.get(context.request.endpoint or "") is function


def is_method_of_view(function: Any) -> bool:
    """Whether it is a method of an object that answers requests, or a decorator around one.

    Extensions decorate such methods anew for each request (``method_decorators``).
    """
    return _is_held([function], lambda held: isinstance(getattr(held, "__self__", None), View))


def may_answer_request(function: Callable[..., Any], context: RequestContext) -> bool:
    """Whether *function* may be that view beneath a decorator that does not say what it decorates.

    Such a decorator, without ``functools.wraps``, takes any arguments, and holds the function, in
    whatever way; but it may hold others, too, which it calls.
    """
    return _is_held(_views_of(context), lambda held: held is function)


def _is_held(candidates: list[Any], is_it: Callable[[Any], bool]) -> bool:
    """Whether one of them *is it*, or may be a decorator around it."""
    seen = set[int]()
    while candidates and len(seen) < _MOST_HELD:
        outer = candidates.pop()
        if is_it(outer):
            return True
        if id(outer) not in seen:
            seen.add(id(outer))
            candidates += [getattr(outer, "__wrapped__", None), *_held_by(outer)]
    return False


_MOST_HELD: Final = 100
"""At how many objects is looked for a function that one of them may hold."""


def _held_by(outer: Any) -> list[Any]:
    """What *outer* holds, where that may be what it decorates: it takes any arguments."""
    if isinstance(outer, partial):
        return [outer.func, *outer.args]
    if isinstance(outer, MethodType):
        return [*_held_by(outer.__func__), *_attributes(outer.__self__)]
    if isinstance(outer, list | tuple | dict):
        return list(outer.values() if isinstance(outer, dict) else outer)
    if isinstance(outer, FunctionType):
        return _captured(outer) if _takes_any(outer) else []
    return _attributes(outer) if _takes_any(getattr(type(outer), "__call__", None)) else []  # noqa: B004


def _captured(function: FunctionType) -> list[Any]:
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is empty
            held.append(cell.cell_contents)
    return held


def _takes_any(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS))


def _attributes(instance: Any) -> list[Any]:
    slots = [name for kind in type(instance).__mro__ for name in vars(kind).get("__slots__", ())]
    own = [getattr(instance, name, None) for name in slots if isinstance(name, str)]
    return [*getattr(instance, "__dict__", {}).values(), *own]


def _views_of(context: RequestContext) -> list[Any]:
    """What Flask calls for the request in *context*, or may come to call for it in the end."""
    view = context.app.view_functions.get(context.request.endpoint or "")
    return functions_of(view, context.request.method)
