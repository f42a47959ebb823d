"""What the values of settings and options may be: each parser takes one, or raises.

It takes texts, too, as they come from ``.env``. What it raises is a ``ValueError``, a ``TypeError``
and the like.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from flask_larder.freshness import LONGEST_LIFETIME
from flask_larder.headers import is_field_name
from flask_larder.key import FORMAT
from flask_larder.signing import SHORTEST_SECRET

TYPES: Final = {
    "RedisCache": "redis",
    "redis": "redis",
    "SimpleCache": "simple",
    "simple": "simple",
    "FileSystemCache": "filesystem",
    "filesystem": "filesystem",
    "MemcachedCache": "memcached",
    "memcached": "memcached",
    "NullCache": "null",
    "null": "null",
    "RedisSentinelCache": "redissentinel",
    "redissentinel": "redissentinel",
    "RedisClusterCache": "rediscluster",
    "rediscluster": "rediscluster",
}
"""The values of ``CACHE_TYPE``, and what each means."""

_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})

LONGEST_WAIT: Final = 60.0
"""The longest time, in seconds, that a request may be made to wait for a store."""

Parser = Callable[[Any], Any]
"""Makes a setting of what was given, maybe a text from ``.env``. Raises ValueError, TypeError."""


def seconds(value: Any) -> float:
    """Seconds from a number, a ``timedelta``, or a text with a number.

    As in Flask-Caching 0, and -1 too, mean "for ever", which here is a year.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if number in {0, -1}:
        return LONGEST_LIFETIME
    if number < 0:
        raise ValueError
    return min(number, LONGEST_LIFETIME)


def stale_seconds(value: Any) -> float:
    """Seconds as above, of which 0 is none; at most a year."""
    number = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if number < 0:
        raise ValueError
    return min(number, LONGEST_LIFETIME)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def wait(value: Any) -> float:
    """Takes seconds above 0 that a request may wait."""
    number = _number(value)
    if not 0 < number <= LONGEST_WAIT:
        raise ValueError
    return number


def between(low: float, high: float) -> Parser:
    """Takes a number from *low* to *high*."""

    def parse(value: Any) -> float:
        number = _number(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


fraction: Final = between(0, 0.9)
"""Takes a part of something, of which some is left."""


def integer(low: int, high: int | None = None) -> Parser:
    """Takes a whole number from *low* to *high*."""

    def parse(value: Any) -> int:
        number = int(value) if isinstance(value, str) else _number(value)
        if number != int(number) or number < low or (high is not None and number > high):
            raise ValueError
        return int(number)

    return parse


def flag(value: Any) -> bool:
    """Takes true or false, also as words."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise ValueError
    return word in _YES


def text(value: Any) -> str:
    """Takes a text."""
    if not isinstance(value, str):
        raise TypeError
    return value


def one_of(*words: str) -> Parser:
    """Takes one of *words*, in any case."""

    def parse(value: Any) -> str:
        word = text(value).strip().lower()
        if word not in words:
            raise ValueError
        return word

    return parse


def key_prefix(value: Any) -> str:
    """Takes what keys may begin with."""
    if FORMAT in text(value):  # another cache's clear() would reach into this one's keys
        raise ValueError
    value.encode()  # raises a ValueError for half a character
    return str(value)


def host_name(value: Any) -> str:
    """Takes the name or the address of a host."""
    text(value).encode("idna")  # raises a ValueError for what cannot be looked up
    is_with_port = value.count(":") == 1
    if any(char in value for char in "/@?#[]") or is_with_port or value.strip() != value:
        raise ValueError
    return str(value)


def servers(value: Any) -> tuple[str, ...]:
    """Addresses of memcached, from a sequence or from a text with commas between them."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not value:
        raise TypeError
    return tuple(_server(part) for part in value)


def field_names(value: Any) -> tuple[str, ...]:
    """Names of header fields in lower case, from a sequence or a text with commas between them."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        raise TypeError
    names = tuple(text(name).strip().lower() for name in value)
    if not all(map(is_field_name, names)):
        raise ValueError
    return names


def _server(value: Any) -> str:
    if isinstance(value, list | tuple):
        host, port = value
    else:
        given = text(value).strip()
        if given.startswith(("/", "unix:/")):
            return given
        found = re.fullmatch(r"(\[[^\]]+\]|[^:]+)(?::(\d+))?", given)
        if found is None:
            raise ValueError
        host, port = found[1].removeprefix("[").removesuffix("]"), found[2] or 11211
    return _address(host, port)


def nodes(default_port: int) -> Parser:
    """Each as ``host:port``, from a text with commas between them, or a list of these or pairs."""

    def parse(value: Any) -> tuple[str, ...]:
        given = value.split(",") if isinstance(value, str) else list(value)
        if not given:
            raise ValueError
        return tuple(_node(node, default_port) for node in given)

    return parse


def _node(value: Any, default_port: int) -> str:
    if isinstance(value, str):
        host, colon, port = value.strip().rpartition(":")
        if not colon or port.endswith("]"):
            host, port = value.strip(), str(default_port)
        host = host.removeprefix("[").removesuffix("]")
    else:
        host, port = value
    return _address(host, port)


def _address(host: Any, port: Any) -> str:
    if not host_name(host):
        raise ValueError
    return f"{f'[{host}]' if ':' in host else host}:{integer(1, 65535)(port)}"


def directory(value: Any) -> Path:
    """Takes the path of a directory."""
    path = Path(text(os.fspath(value))).expanduser().absolute()  # holds where that changes
    if "\0" in str(path) or (path.exists() and not path.is_dir()):
        raise ValueError
    return path


def store_type(value: Any) -> str:
    """Takes one of :data:`TYPES`."""
    # A team that comes from Flask-Caching may have the whole path of its class.
    name = text(value)
    if name.startswith("flask_caching.backends."):
        name = name.rpartition(".")[2]
    return TYPES[name]


def hash_method(value: Any) -> Any:
    """A constructor like ``hashlib.sha256``, from itself or from its name."""
    method = getattr(hashlib, value) if isinstance(value, str) else value
    method(b"").hexdigest()
    return method


def secrets(value: Any) -> tuple[bytes, ...]:
    """The keys that sign: from one, from a sequence, or from a text with commas between them."""
    if isinstance(value, str):
        value = [part for part in (part.strip() for part in value.split(",")) if part]
    elif isinstance(value, bytes):
        value = [value]
    if not isinstance(value, Sequence) or not value:
        raise TypeError
    # An error of str.encode() would hold the text.
    keys = tuple(
        part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in value
    )
    if not all(isinstance(key, bytes) for key in keys):
        raise TypeError
    if min(map(len, keys)) < SHORTEST_SECRET:
        raise ValueError
    return keys


def options(value: Any) -> dict[str, Any]:
    """Takes a mapping, or its JSON."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, Mapping):
        raise TypeError
    return dict(value)


def nothing(value: Any) -> None:
    """Takes nothing that says something."""
    if value:
        raise ValueError
