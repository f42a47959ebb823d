"""The ``CACHE_*`` settings: their names, what they take, and their defaults, in one table."""

import difflib
import hashlib
import inspect
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from flask_larder.errors import InvalidConfig
from flask_larder.freshness import LONGEST_LIFETIME
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

Parser = Callable[[Any], Any]
"""Makes a setting of what was given, maybe a text from ``.env``. Raises ValueError, TypeError."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is read. *accepts* completes the sentence "give ..." in an error."""

    parse: Parser
    default: Any
    accepts: str


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


def _wait(value: Any) -> float:
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


def _integer(low: int, high: int | None = None) -> Parser:
    def parse(value: Any) -> int:
        number = int(value) if isinstance(value, str) else _number(value)
        if number != int(number) or number < low or (high is not None and number > high):
            raise ValueError
        return int(number)

    return parse


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise ValueError
    return word in _YES


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _one_of(*words: str) -> Parser:
    def parse(value: Any) -> str:
        word = _text(value).strip().lower()
        if word not in words:
            raise ValueError
        return word

    return parse


def _key_prefix(value: Any) -> str:
    if FORMAT in _text(value):  # another cache's clear() would reach into this one's keys
        raise ValueError
    value.encode()  # raises a ValueError for half a character
    return str(value)


def _host(value: Any) -> str:
    _text(value).encode("idna")  # raises a ValueError for what cannot be looked up
    is_with_port = value.count(":") == 1
    if any(char in value for char in "/@?#[]") or is_with_port or value.strip() != value:
        raise ValueError
    return str(value)


def _servers(value: Any) -> tuple[str, ...]:
    """Addresses of memcached, from a sequence or from a text with commas between them."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not value:
        raise TypeError
    return tuple(_server(part) for part in value)


def _server(value: Any) -> str:
    if isinstance(value, list | tuple):
        host, port = value
    else:
        text = _text(value).strip()
        if text.startswith(("/", "unix:/")):
            return text
        found = re.fullmatch(r"(\[[^\]]+\]|[^:]+)(?::(\d+))?", text)
        if found is None:
            raise ValueError
        host, port = found[1].removeprefix("[").removesuffix("]"), found[2] or 11211
    return _address(host, port)


def _nodes(default_port: int) -> Parser:
    """Each as ``host:port``, from a text with commas between them, or a list of these or pairs."""

    def parse(value: Any) -> tuple[str, ...]:
        nodes = value.split(",") if isinstance(value, str) else list(value)
        if not nodes:
            raise ValueError
        return tuple(_node(node, default_port) for node in nodes)

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
    if not _host(host):
        raise ValueError
    return f"{f'[{host}]' if ':' in host else host}:{_integer(1, 65535)(port)}"


def _directory(value: Any) -> Path:
    path = Path(_text(os.fspath(value))).expanduser().absolute()  # holds where that changes
    if "\0" in str(path) or (path.exists() and not path.is_dir()):
        raise ValueError
    return path


def _type(value: Any) -> str:
    # A team that comes from Flask-Caching may have the whole path of its class.
    name = _text(value)
    if name.startswith("flask_caching.backends."):
        name = name.rpartition(".")[2]
    return TYPES[name]


def hash_method(value: Any) -> Any:
    """A constructor like ``hashlib.sha256``, from itself or from its name."""
    method = getattr(hashlib, value) if isinstance(value, str) else value
    method(b"").hexdigest()
    return method


def _secrets(value: Any) -> tuple[bytes, ...]:
    """The keys that sign: from one, from a sequence, or from a text with commas between them."""
    if isinstance(value, str):
        value = [part for part in (part.strip() for part in value.split(",")) if part]
    elif isinstance(value, bytes):
        value = [value]
    if not isinstance(value, Sequence) or not value:
        raise TypeError
    # An error of str.encode() would hold the text.
    secrets = tuple(
        part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in value
    )
    if not all(isinstance(secret, bytes) for secret in secrets):
        raise TypeError
    if min(map(len, secrets)) < SHORTEST_SECRET:
        raise ValueError
    return secrets


def _options(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, Mapping):
        raise TypeError
    return dict(value)


def _nothing(value: Any) -> None:
    if value:
        raise ValueError


LONGEST_WAIT: Final = 60.0
"""The longest time, in seconds, that a request may be made to wait for a store."""

_WAIT: Final = f"seconds above 0, at most {LONGEST_WAIT:g}"
_NO_SASL: Final = "nothing: SASL is not spoken; let none but the app reach memcached"
_NODES: Final = "a text host:port,host:port or a list of (host, port)"
_WINDOW: Final = "seconds from 0, or a timedelta"
_SECONDS: Final = "seconds above 0, a timedelta, or 0 for no end (a year)"

SETTINGS: Final[Mapping[str, Setting]] = {
    "CACHE_TYPE": Setting(_type, "null", f"one of {', '.join(TYPES)}"),
    "CACHE_NO_NULL_WARNING": Setting(_flag, False, "true or false"),
    "CACHE_DEFAULT_TIMEOUT": Setting(seconds, 300.0, _SECONDS),
    "CACHE_KEY_PREFIX": Setting(_key_prefix, "flask_cache_", f"a text without {FORMAT!r}"),
    "CACHE_REDIS_URL": Setting(_text, None, "a URL, for example redis://localhost:6379/0"),
    "CACHE_REDIS_HOST": Setting(
        _host, "localhost", "a host name or an address, or set CACHE_REDIS_URL"
    ),
    "CACHE_REDIS_PORT": Setting(_integer(1, 65535), 6379, "a port from 1 to 65535"),
    "CACHE_REDIS_DB": Setting(_integer(0), 0, "a whole number from 0"),
    "CACHE_REDIS_USERNAME": Setting(_text, None, "a text"),
    "CACHE_REDIS_PASSWORD": Setting(_text, None, "a text"),
    "CACHE_REDIS_SENTINELS": Setting(_nodes(26379), ("127.0.0.1:26379",), _NODES),
    "CACHE_REDIS_SENTINEL_MASTER": Setting(_text, "mymaster", "the name of a master"),
    "CACHE_REDIS_SENTINEL_USERNAME": Setting(_text, None, "a text"),
    "CACHE_REDIS_SENTINEL_PASSWORD": Setting(_text, None, "a text"),
    "CACHE_REDIS_CLUSTER": Setting(_nodes(6379), None, _NODES),
    "CACHE_REDIS_CONNECT_TIMEOUT": Setting(_wait, 2.0, _WAIT),
    "CACHE_REDIS_TIMEOUT": Setting(_wait, 0.1, _WAIT),
    "CACHE_BUDGET_SECONDS": Setting(_wait, 0.1, _WAIT),
    "CACHE_WAIT_SECONDS": Setting(_wait, 10.0, _WAIT),
    "CACHE_LEASE_SECONDS": Setting(between(0.5, LONGEST_WAIT), 2.0, "seconds from 0.5 to 60"),
    "CACHE_LEASE_MAX_SECONDS": Setting(between(0.5, 3600), 60.0, "seconds from 0.5 to 3600"),
    "CACHE_STALE_WHILE_REVALIDATE": Setting(stale_seconds, 0.0, _WINDOW),
    "CACHE_STALE_IF_ERROR": Setting(stale_seconds, 0.0, _WINDOW),
    "CACHE_JITTER": Setting(fraction, 0.0, "a fraction from 0 to 0.9"),
    "CACHE_PURGE_LOG": Setting(_integer(1000, 10_000_000), 100_000, "a whole number from 1000"),
    "CACHE_UNWATCHED_SECONDS": Setting(between(1, 3600), 5.0, "seconds from 1 to 3600"),
    "CACHE_AFTER_FAILOVER": Setting(_one_of("clear", "keep"), "clear", "clear or keep"),
    "CACHE_SEND_TAGS": Setting(_flag, False, "true or false"),
    "CACHE_DIR": Setting(_directory, None, "the path of a directory"),
    "CACHE_FILE_HASH_METHOD": Setting(_nothing, None, "nothing: names of files are SHA-256"),
    "CACHE_MEMCACHED_SERVERS": Setting(
        _servers, ("127.0.0.1:11211",), "addresses like 127.0.0.1:11211 or /path/to/socket"
    ),
    "CACHE_MEMCACHED_CONNECT_TIMEOUT": Setting(_wait, 1.0, _WAIT),
    "CACHE_MEMCACHED_TIMEOUT": Setting(_wait, 0.1, _WAIT),
    "CACHE_MEMCACHED_USERNAME": Setting(_nothing, None, _NO_SASL),
    "CACHE_MEMCACHED_PASSWORD": Setting(_nothing, None, _NO_SASL),
    "CACHE_OPTIONS": Setting(_options, {}, "a dict of arguments for the store, or its JSON"),
    "CACHE_ARGS": Setting(_nothing, None, "nothing: use CACHE_OPTIONS, which has names"),
    "CACHE_THRESHOLD": Setting(_integer(1), 500, "a whole number from 1"),
    "CACHE_MEMORY_BYTES": Setting(_integer(1), 64 * 1024 * 1024, "a number of bytes from 1"),
    "CACHE_MAX_BODY_BYTES": Setting(_integer(0), 1024 * 1024, "a number of bytes from 0"),
    "CACHE_SEND_STATUS": Setting(_flag, True, "true or false"),
    "CACHE_IGNORE_ERRORS": Setting(_flag, False, "true or false"),
    "CACHE_SOURCE_CHECK": Setting(_flag, False, "true or false"),
    "CACHE_ENABLE_SIGNALS": Setting(_flag, False, "true or false"),
    "CACHE_HASH_METHOD": Setting(
        hash_method, hashlib.sha256, "a constructor of hashlib, or its name, for example sha256"
    ),
    "CACHE_SIGNING_KEY": Setting(
        _secrets,
        None,
        f"a random key of at least {SHORTEST_SECRET} bytes, or several, the first of which signs",
    ),
    "CACHE_SERIALIZER": Setting(
        _nothing, None, "nothing: values are stored as plain data, never pickled"
    ),
}

# What Flask-Caching takes in CACHE_OPTIONS although it has a setting of its own.
_SETTING_OF_OPTION: Final = {
    "default_timeout": "CACHE_DEFAULT_TIMEOUT",
    "key_prefix": "CACHE_KEY_PREFIX",
    "threshold": "CACHE_THRESHOLD",
    "ignore_delete_many_errors": "CACHE_IGNORE_ERRORS",
}

# A value that must not be shown where it is wrong.
_SECRET: Final = frozenset(
    {
        "CACHE_MEMCACHED_PASSWORD",
        "CACHE_MEMCACHED_SERVERS",
        "CACHE_OPTIONS",
        "CACHE_REDIS_CLUSTER",
        "CACHE_REDIS_HOST",
        "CACHE_REDIS_PASSWORD",
        "CACHE_REDIS_SENTINELS",
        "CACHE_REDIS_SENTINEL_PASSWORD",
        "CACHE_REDIS_URL",
        "CACHE_SIGNING_KEY",
    }
)


class Settings(dict[str, Any]):
    """The settings of one cache in one app: every name of :data:`SETTINGS`, parsed.

    *given* holds the names that were set to something. None of the values is shown.
    """

    given: frozenset[str]

    def __init__(self, config: Mapping[str, Any]) -> None:
        own = {name: value for name, value in config.items() if name.startswith("CACHE_")}
        _warn_of_unknown(own)
        given = _with_options({n: value for n, value in own.items() if value not in (None, "")})
        self.given = frozenset(given)
        super().__init__(
            (name, _parse(name, given[name]) if name in given else setting.default)
            for name, setting in SETTINGS.items()
        )

    def __repr__(self) -> str:
        return f"<Settings {', '.join(sorted(self.given))}>"


def _with_options(given: dict[str, Any]) -> dict[str, Any]:
    if "CACHE_OPTIONS" not in given:
        return given
    options = _parse("CACHE_OPTIONS", given["CACHE_OPTIONS"])
    moved = {n: options[option] for option, n in _SETTING_OF_OPTION.items() if option in options}
    left = {option: v for option, v in options.items() if option not in _SETTING_OF_OPTION}
    return {**given, **moved, "CACHE_OPTIONS": left}


def _parse(name: str, value: Any) -> Any:
    setting = SETTINGS[name]
    try:
        return setting.parse(value)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        shown = "not usable" if name in _SECRET else repr(value)
        raise InvalidConfig(f"{name} is {shown}; give {setting.accepts}") from error


def _warn_of_unknown(config: Mapping[str, Any]) -> None:
    for name in sorted(config.keys() - SETTINGS.keys()):
        near = difflib.get_close_matches(name, SETTINGS, n=1)
        nearest = f"; the nearest is {near[0]}" if near else ""
        warn_caller(f"{name} is not a setting of Flask-Larder and has no effect{nearest}")


def warn_caller(message: str) -> None:
    """Warn, in the name of the line outside of this package that led here."""
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").startswith("flask_larder"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
