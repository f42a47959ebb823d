"""What a purge names, from what its caller writes."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit
from uuid import UUID
from weakref import WeakKeyDictionary

from flask_larder.errors import InvalidPurge
from flask_larder.key import (
    WHOLE_QUERY,
    digest_of,
    encode_path,
    named_key,
    named_view_key,
    site_of_url,
    stored_key,
)
from flask_larder.purges import LONGEST_NAME, MOST_TARGETS, Purge, Target, call_of

_OWNERS: Final = frozenset({"self", "cls"})
_PLAIN: Final = frozenset({type(None), bool, int, float, Decimal, str, bytes, date, datetime, UUID})
_MOST_ITEMS: Final = 10
"""How many a tuple has at most that is an argument of a purge."""


def checked_soft(soft: Any) -> bool:
    """*soft* as it is. Raises ``InvalidPurge`` for what is neither true nor false."""
    if not isinstance(soft, bool):
        raise InvalidPurge(
            f"soft is {soft!r}; give True or False. A view with an argument of this name can be "
            f"purged without arguments, or by purge_path"
        )
    return soft


def purges_of(targets: Sequence[Target], *, soft: bool) -> list[Purge]:
    """The purges that hit *targets*, none of which names too many for one record of the log."""
    parts = range(0, len(targets), MOST_TARGETS)
    return [Purge(tuple(targets[start : start + MOST_TARGETS]), soft=soft) for start in parts]


def url_target(url: str) -> Target:
    """The answers to one *url*, such as ``/universities?country=Turkey``, in whatever order."""
    site, path, query = _parts(url, "url")
    canonical = WHOLE_QUERY.canonical(query)
    return "url", _bounded(f"{site}{path}?{canonical}" if canonical else f"{site}{path}", "url")


def path_target(path: str) -> Target:
    """The answers to a *path*, whatever the query."""
    site, encoded, query = _parts(path, "path")
    if query:
        raise InvalidPurge(f"path is {path!r}, which has a query; use purge_url for that")
    return "path", _bounded(site + encoded, "path")


def prefix_target(prefix: str) -> Target:
    """The answers to all paths that begin with *prefix*."""
    site, encoded, query = _parts(prefix, "prefix")
    if query:
        raise InvalidPurge(f"prefix is {prefix!r}; give the beginning of a path, without a query")
    return "prefix", _bounded(site + encoded, "prefix")


def key_targets(name: str) -> list[Target]:
    """What is kept under a *name* of the developer's, whatever else selects: views and values."""
    return [("key", stored_key(make(name))) for make in (named_view_key, named_key)]


def _parts(url: Any, name: str) -> tuple[str, str, bytes]:
    """Site, path and query of *url*: the site is empty where that begins with its path."""
    if not isinstance(url, str):
        raise InvalidPurge(f"{name} is {url!r}; give a text")
    _bounded(url, name)
    try:
        url.encode()
        if url.startswith("/"):
            rest = url.partition("#")[0]
            path, _, query = rest.partition("?")
            return "", _canonical(path), query.encode()
        parts = urlsplit(url)
        site = site_of_url(parts)
    except ValueError:
        site = None
    if site is None:
        raise InvalidPurge(
            f"{name} is {url!r}; give what begins with / or with http:// or https:// and a host"
        )
    return site, _canonical(parts.path or "/"), parts.query.encode()


def _bounded(url: str, name: str) -> str:
    if len(url) > LONGEST_NAME:
        raise InvalidPurge(
            f"{name} has {len(url)} bytes; give {LONGEST_NAME} at most, or its beginning to "
            f"purge_prefix"
        )
    return url


def _canonical(path: str) -> str:
    return encode_path(unquote_to_bytes(path))


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, for purges, keys and logs; the same in all processes."""
    module = function.__module__
    if module in {"__main__", "__mp_main__"}:
        module = _main_module()
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"


@functools.cache
def _main_module() -> str:
    """The name by which others import the module that was started."""
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def view_target(function: Callable[..., Any], arguments: dict[str, Any]) -> Target:
    """What *function* has answered: with these *arguments*, or all of it if there are none."""
    return call_target(function, arguments) if arguments else ("view", name_of(function))


def call_target(function: Callable[..., Any], arguments: dict[str, Any]) -> Target:
    """What *function* has answered with these *arguments*, be it none."""
    _check_arguments(function, arguments)
    digest = arguments_of(function, (), arguments)
    if not digest:
        kinds = {name: type(value).__name__ for name, value in arguments.items()}
        raise InvalidPurge(
            f"the purge gives {name_of(function)} the arguments {kinds}, and by these or by its "
            f"defaults no call can be named; give texts, numbers, dates, UUIDs or None, or purge "
            f"all its answers, without arguments"
        )
    return "view", call_of(name_of(function), digest)


def arguments_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """A digest of the arguments of a call, by name and as texts: 4 and "4" are the same.

    Empty, which no purge names, where one is not plain: to make a text of a query would run it.
    """
    try:
        named = _named(function, args, kwargs)
        pairs = [(str(key), _text(each)) for key, each in named.items() if key not in _OWNERS]
    except Exception:  # noqa: BLE001 - what the function has returned is not lost for that
        return ""
    return digest_of([part for pair in sorted(pairs) for part in pair])


def defaults_of(function: Callable[..., Any]) -> str | None:
    """What tells it from others of its name by the defaults of its arguments, if it has any.

    ``None`` where one of them is not plain.
    """
    defaults = getattr(function, "__defaults__", None) or ()
    named = getattr(function, "__kwdefaults__", None) or {}
    if not (defaults or named):
        return ""
    try:
        return digest_of(map(_text, (*defaults, *named.values())))
    except TypeError:
        return None


def is_plain(value: Any) -> bool:
    """Whether a purge can name it by itself."""
    return type(value) in _PLAIN


def _text(value: Any) -> str:
    """A plain *value* as a text. Raises ``TypeError`` for others."""
    if type(value) is tuple and len(value) <= _MOST_ITEMS and {*map(type, value)} <= _PLAIN:
        return digest_of(map(_text, value))
    if type(value) not in _PLAIN:
        raise TypeError(f"{type(value)} is not plain")
    return repr(value) if type(value) is bytes else str(value)


def _named(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[Any, Any]:
    """The arguments of a call by their names, with defaults."""
    named: dict[Any, Any] = {}
    try:
        parameters = _parameters_of(function)
        if not args and parameters.are_names and kwargs.keys() <= parameters.names:
            return {**parameters.defaults, **kwargs}  # as Flask calls most views
        signature = parameters.signature
        bound = signature.bind_partial(*args, **kwargs)
        bound.apply_defaults()
    except (TypeError, ValueError):
        return {**dict(enumerate(args)), **kwargs}
    for name, value in bound.arguments.items():
        is_rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        named |= value if is_rest else {name: value}
    return named


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Those of a function. They *are names* where a call by names alone binds each of them."""

    signature: inspect.Signature
    names: frozenset[str]
    defaults: Mapping[str, Any]
    are_names: bool


def _parameters_of(function: Callable[..., Any]) -> _Parameters:
    try:
        known: _Parameters | None = _known_parameters.get(function)
        if known is None:
            known = _known_parameters[function] = _looked_at(function)
    except TypeError:  # it cannot be hashed, or kept so
        return _looked_at(function)
    return known


def _looked_at(function: Callable[..., Any]) -> _Parameters:
    signature = inspect.signature(function)
    each = signature.parameters
    return _Parameters(
        signature,
        frozenset(each),
        {name: one.default for name, one in each.items() if one.default is not one.empty},
        all(one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY} for one in each.values()),
    )


# A call costs less than the look at what it binds. A function may hold all that a request had.
_known_parameters: Final = WeakKeyDictionary[Callable[..., Any], _Parameters]()


def _check_arguments(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Raise ``InvalidPurge`` where no call can have these arguments: nothing would be hit."""
    parameters = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind is not each.VAR_POSITIONAL and each.name not in _OWNERS
    ]
    rest = {each.name for each in parameters if each.kind is each.VAR_KEYWORD}
    names = {each.name for each in parameters} - rest
    needed = {each.name for each in parameters if each.default is each.empty} - rest
    given = arguments.keys()
    if not needed <= given or not (rest or given <= names):
        raise InvalidPurge(
            f"the arguments of {name_of(function)} are {sorted(names)}, and the purge names "
            f"{sorted(given)}; name all of them that have no default, or purge all its answers"
        )
