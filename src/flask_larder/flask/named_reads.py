"""Which header field, parameter, cookie or part of the session was read, by its name.

Each hit and each view would pay for that; so it is noted where somebody wants to know: in debug,
and in a test that asks (:mod:`flask_larder.testing`). What may be stored never depends on it.
"""

import copyreg
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, NamedTuple, Protocol

from flask import Flask

from flask_larder.flask.read_log import ReadLog

HEADERS: Final = "headers"
ARGS: Final = "args"
COOKIES: Final = "cookies"
SESSION_PART: Final = "session"
WITH_QUERY: Final = ("query_string", "full_path", "url")
"""What of a request has the whole query in it."""

_COLLECTORS: Final = "flask_larder_unkeyed"

_is_unnamed: ContextVar[bool] = ContextVar("flask_larder.is_unnamed", default=False)


class Read(NamedTuple):
    """What was read: *name* in that *part* of the request, or, where it is ``None``, all of it."""

    part: str
    name: str | None = None

    def __str__(self) -> str:
        if self.name is not None:
            name = self.name.title() if self.part == HEADERS else self.name
            return f"{self.part}[{name!r}]"
        return f"the query in {self.part}" if self.part in WITH_QUERY else f"all of {self.part}"


def read_of_field(name: str) -> Read:
    """The reading of a header field, of which *name* is in lower case."""
    return Read(COOKIES) if name == "cookie" else Read(HEADERS, name)


@contextmanager
def unnamed() -> Iterator[None]:
    """Note nothing by name meanwhile: it is the cache that reads, or Werkzeug."""
    token = _is_unnamed.set(True)
    try:
        yield
    finally:
        _is_unnamed.reset(token)


class NamedReads(ReadLog[Read]):
    """What was read, by name."""

    __slots__ = ()

    def note(self, name: Read) -> None:
        """Note that it was read, unless that is :func:`unnamed`."""
        if not _is_unnamed.get():
            super().note(name)


class Collector(Protocol):
    """Who wants to know what was read that no key holds."""

    def add(self, read: Read, line: str) -> None:
        """Take what was *read*, and the *line* of the log about it."""
        ...


def collectors_of(app: Flask) -> list[Collector]:
    """Who wants to know it of *app* just now, beside the log."""
    found: list[Collector] = app.extensions.setdefault(_COLLECTORS, [])
    return found


def wants_names(app: Flask) -> bool:
    """Whether anybody wants to know."""
    return app.debug or bool(app.extensions.get(_COLLECTORS))


class _OfNames:
    """A mapping that belongs to the request, which notes what is taken from it."""

    def __init__(self, part: str) -> None:
        self._part = part

    def __get__(self, request: Any, owner: type) -> Any:
        if request is None:
            return self
        with unnamed():
            mapping = getattr(super(NamingRequest, request), self._part)
        return name_mapping(mapping, request.larder_named_reads, self._part)

    def __set__(self, request: Any, mapping: Any) -> None:
        request.__dict__[self._part] = mapping


class _WithQuery:
    """An attribute with the whole query in it."""

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute

    def __get__(self, request: Any, owner: type) -> Any:
        if request is None:
            return self
        request.larder_named_reads.note(Read(self._attribute))
        if self._attribute in request.__dict__:
            return request.__dict__[self._attribute]
        with unnamed():
            return getattr(super(NamingRequest, request), self._attribute)

    def __set__(self, request: Any, value: Any) -> None:
        request.__dict__[self._attribute] = value


class NamingRequest:
    """Mixed into the class of a request that notes by name what is read of it."""

    larder_named_reads: NamedReads
    args = _OfNames(ARGS)
    cookies = _OfNames(COOKIES)
    query_string = _WithQuery("query_string")
    full_path = _WithQuery("full_path")
    url = _WithQuery("url")


def name_reads(request: Any) -> NamedReads:
    """Let *request* note by name what is read of it from now on."""
    kind = type(request)
    if "_naming_kind" not in vars(kind):
        kind._naming_kind = type(kind.__name__, (NamingRequest, kind), {})  # noqa: SLF001
    request.__class__ = kind._naming_kind  # noqa: SLF001
    reads = request.larder_named_reads = NamedReads()
    return reads


def query_of(request: Any) -> bytes:
    """The query string of *request*, for the cache's own use."""
    if isinstance(request, NamingRequest):
        with unnamed():
            return bytes(request.query_string)
    query: bytes = request.query_string
    return query


_OF_ONE: Final = (
    "__contains__",
    "__getitem__",
    "get",
    "getlist",
    "pop",
    "poplist",
    "setdefault",
    "setlistdefault",
)
_OF_ALL: Final = (
    "__eq__",
    "__hash__",
    "__iter__",
    "__len__",
    "__ne__",
    "__or__",
    "__repr__",
    "__reversed__",
    "__ror__",
    "copy",
    "deepcopy",
    "items",
    "keys",
    "lists",
    "listvalues",
    "popitem",
    "popitemlist",
    "to_dict",
    "values",
)

_naming_kinds: dict[type[Any], type[Any]] = {}


def name_mapping(mapping: Any, reads: NamedReads, part: str) -> Any:
    """*mapping*, which from now on notes in *reads* what is taken from it.

    It stays the object that it is, of a class that is one of its class. One that cannot counts as
    read, all of it.
    """
    if sets_attributes_itself(mapping):
        reads.note(Read(part))
        return mapping
    try:
        if not hasattr(type(mapping), "_noted_in"):
            mapping.__class__ = _naming_kind(type(mapping))
        mapping.__dict__["_noted_in"] = (reads, part)
    except (AttributeError, TypeError):
        reads.note(Read(part))
    return mapping


def sets_attributes_itself(thing: object) -> bool:
    """Whether its class decides what setting an attribute does: it may store that as data."""
    plain: object = object.__setattr__
    return type(thing).__setattr__ is not plain


def _naming_kind(kind: type[Any]) -> type[Any]:
    if kind not in _naming_kinds:
        methods = {name: getattr(kind, name, None) for name in _OF_ONE + _OF_ALL}
        noting = {
            name: _noting(method, of_all=name in _OF_ALL)
            for name, method in methods.items()
            if callable(method)
        }
        reduce_ex = reducing(kind, "_noted_in", lambda mapping: _note(mapping, None))
        own = {"__module__": kind.__module__, "__reduce_ex__": reduce_ex, "_noted_in": None}
        _naming_kinds[kind] = type(kind.__name__, (kind,), noting | own)
    return _naming_kinds[kind]


def _noting(method: Callable[..., Any], *, of_all: bool) -> Callable[..., Any]:
    @wraps(method)
    def noting(mapping: Any, *args: Any, **kwargs: Any) -> Any:
        _note(mapping, None if of_all else str(args[0] if args else kwargs.get("key")))
        return method(mapping, *args, **kwargs)

    return noting


def _note(mapping: Any, name: str | None) -> None:
    if mapping._noted_in is not None:  # noqa: SLF001 - not so in a copy
        reads, part = mapping._noted_in  # noqa: SLF001
        reads.note(Read(part, name))


def reducing(kind: type[Any], log: str, note: Callable[[Any], None]) -> Callable[..., Any]:
    """What pickles and copies an object as one of *kind*, without its attribute *log*."""

    def reduce_ex(mapping: Any, protocol: Any) -> Any:
        note(mapping)
        reduced: Any = kind.__reduce_ex__(mapping, protocol)  # type: ignore[call-arg]
        function, arguments, *rest = reduced
        if rest and isinstance(rest[0], dict):
            rest[0] = {name: value for name, value in rest[0].items() if name != log}
        if function is copyreg.__newobj__:  # type: ignore[attr-defined]
            # It is made by a function of our own, since pickle wants that of the object's class.
            return (_new, (kind, *arguments[1:]), *rest)
        return (kind if function is type(mapping) else function, arguments, *rest)

    return reduce_ex


def _new(kind: type[Any], *arguments: Any) -> Any:
    return kind.__new__(kind, *arguments)
