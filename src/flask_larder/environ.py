"""The environ of a WSGI request (PEP 3333), as far as the cache looks into it by itself."""

import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

Environ: TypeAlias = dict[str, Any]


class EnvironFields:
    """The header fields of the request that has *environ*.

    As :class:`~flask_larder.entry.RequestFields`. Werkzeug's way to them is longer, and they are
    asked for often.
    """

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def get(self, name: str, /) -> str | None:
        """The value of the field, or ``None``."""
        value: str | None = self._environ.get(environ_name(name))
        return value

    def keys(self) -> list[str]:
        """The names of all of them, in lower case."""
        return [field_name(name) for name in self._environ if name.startswith("HTTP_")]


def paths_of(environ: Mapping[str, Any]) -> tuple[str, str]:
    """The mount and the path, as they came."""
    return environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")


@functools.lru_cache(maxsize=256)  # asked for several times in a request
def environ_name(field: str) -> str:
    """Under which name an environ has a header field."""
    name = field.upper().replace("-", "_")
    return name if name in {"CONTENT_LENGTH", "CONTENT_TYPE"} else f"HTTP_{name}"


def field_name(name: str) -> str:
    """What the header field is called that an environ has under *name*, in lower case."""
    return name.removeprefix("HTTP_").replace("_", "-").lower()
