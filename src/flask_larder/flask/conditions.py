"""What a request makes its answer depend on: the client's conditions, and the cache's own."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from flask import Request

from flask_larder.environ import environ_name
from flask_larder.headers import Fields
from flask_larder.policy import GET_AND_HEAD

# By their names in the environ, those under which Werkzeug keeps what it has parsed of them.
_CONDITIONS: Final = {
    "HTTP_IF_MODIFIED_SINCE": "if_modified_since",
    "HTTP_IF_NONE_MATCH": "if_none_match",
    "HTTP_IF_RANGE": "if_range",
    "HTTP_RANGE": "range",
}
_PARSED: Final = frozenset(_CONDITIONS.values())


def is_conditional(request: Request) -> bool:
    """Whether the client makes its request depend on anything."""
    return not request.environ.keys().isdisjoint(_CONDITIONS.keys())


_AS_IT_IS: Final = nullcontext()


def on_condition(request: Request, conditions: Fields) -> AbstractContextManager[None]:
    """Set aside what the client makes its request depend on, and send *conditions* instead.

    The view makes a whole response, which can be stored, or says that what is stored is still the
    same; then it is judged whether the client has that already (RFC 9111 section 4.3.2), and which
    part of it it wants. Other methods than GET and HEAD are for the view alone to judge.
    """
    if request.method in GET_AND_HEAD and (conditions or is_conditional(request)):
        return _exchanged(request, conditions)
    return _AS_IT_IS


@contextmanager
def _exchanged(request: Request, conditions: Fields) -> Iterator[None]:
    aside = _taken_out(request)
    sent = {environ_name(name): value for name, value in conditions}
    request.environ.update(sent)
    try:
        yield
    finally:
        _taken_out(request)
        environ, parsed = aside
        request.environ.update(environ)
        request.__dict__.update(parsed)


def _taken_out(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request's conditions as they arrived, and as they were parsed; it has them no more."""
    return _popped(request.environ, _CONDITIONS.keys()), _popped(request.__dict__, _PARSED)


def _popped(mapping: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    if mapping.keys().isdisjoint(names):  # as in most requests
        return {}
    return {name: mapping.pop(name) for name in names if name in mapping}
