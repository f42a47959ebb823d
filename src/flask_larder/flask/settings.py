"""The ``CACHE_*`` settings: their names, what they take, and their defaults, in one table."""

import difflib
import hashlib
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask_larder.errors import InvalidConfig
from flask_larder.flask import parsers
from flask_larder.flask.parsers import LONGEST_WAIT, TYPES, Parser
from flask_larder.key import FORMAT
from flask_larder.signing import SHORTEST_SECRET


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is read. *accepts* completes the sentence "give ..." in an error."""

    parse: Parser
    default: Any
    accepts: str


_WAIT: Final = f"seconds above 0, at most {LONGEST_WAIT:g}"
_NO_SASL: Final = "nothing: SASL is not spoken; let none but the app reach memcached"
_NODES: Final = "a text host:port,host:port or a list of (host, port)"
_WINDOW: Final = "seconds from 0, or a timedelta"
_SECONDS: Final = "seconds above 0, a timedelta, or 0 for no end (a year)"

SETTINGS: Final[Mapping[str, Setting]] = {
    "CACHE_TYPE": Setting(parsers.store_type, "null", f"one of {', '.join(TYPES)}"),
    "CACHE_NO_NULL_WARNING": Setting(parsers.flag, False, "true or false"),
    "CACHE_DEFAULT_TIMEOUT": Setting(parsers.seconds, 300.0, _SECONDS),
    "CACHE_KEY_PREFIX": Setting(parsers.key_prefix, "flask_cache_", f"a text without {FORMAT!r}"),
    "CACHE_REDIS_URL": Setting(parsers.text, None, "a URL, for example redis://localhost:6379/0"),
    "CACHE_REDIS_HOST": Setting(
        parsers.host_name, "localhost", "a host name or an address, or set CACHE_REDIS_URL"
    ),
    "CACHE_REDIS_PORT": Setting(parsers.integer(1, 65535), 6379, "a port from 1 to 65535"),
    "CACHE_REDIS_DB": Setting(parsers.integer(0), 0, "a whole number from 0"),
    "CACHE_REDIS_USERNAME": Setting(parsers.text, None, "a text"),
    "CACHE_REDIS_PASSWORD": Setting(parsers.text, None, "a text"),
    "CACHE_REDIS_SENTINELS": Setting(parsers.nodes(26379), ("127.0.0.1:26379",), _NODES),
    "CACHE_REDIS_SENTINEL_MASTER": Setting(parsers.text, "mymaster", "the name of a master"),
    "CACHE_REDIS_SENTINEL_USERNAME": Setting(parsers.text, None, "a text"),
    "CACHE_REDIS_SENTINEL_PASSWORD": Setting(parsers.text, None, "a text"),
    "CACHE_REDIS_CLUSTER": Setting(parsers.nodes(6379), None, _NODES),
    "CACHE_REDIS_CONNECT_TIMEOUT": Setting(parsers.wait, 2.0, _WAIT),
    "CACHE_REDIS_TIMEOUT": Setting(parsers.wait, 0.1, _WAIT),
    "CACHE_BUDGET_SECONDS": Setting(parsers.wait, 0.1, _WAIT),
    "CACHE_WAIT_SECONDS": Setting(parsers.wait, 10.0, _WAIT),
    "CACHE_LEASE_SECONDS": Setting(
        parsers.between(0.5, LONGEST_WAIT), 2.0, "seconds from 0.5 to 60"
    ),
    "CACHE_LEASE_MAX_SECONDS": Setting(
        parsers.between(0.5, 3600), 60.0, "seconds from 0.5 to 3600"
    ),
    "CACHE_STALE_WHILE_REVALIDATE": Setting(parsers.stale_seconds, 0.0, _WINDOW),
    "CACHE_STALE_IF_ERROR": Setting(parsers.stale_seconds, 0.0, _WINDOW),
    "CACHE_KEEP_STALE": Setting(parsers.stale_seconds, 3600.0, _WINDOW),
    "CACHE_TARGETED_FIELDS": Setting(
        parsers.field_names, (), "names of header fields, or a text with commas between them"
    ),
    "CACHE_JITTER": Setting(parsers.fraction, 0.0, "a fraction from 0 to 0.9"),
    "CACHE_REQUEST_DIRECTIVES": Setting(parsers.flag, False, "true or false"),
    "CACHE_INVALIDATE_UNSAFE": Setting(parsers.flag, True, "true or false"),
    "CACHE_PURGE_LOG": Setting(
        parsers.integer(1000, 10_000_000), 100_000, "a whole number from 1000 to 10000000"
    ),
    "CACHE_UNWATCHED_SECONDS": Setting(parsers.between(1, 3600), 5.0, "seconds from 1 to 3600"),
    "CACHE_AFTER_FAILOVER": Setting(parsers.one_of("clear", "keep"), "clear", "clear or keep"),
    "CACHE_SEND_TAGS": Setting(parsers.flag, False, "true or false"),
    "CACHE_DIR": Setting(parsers.directory, None, "the path of a directory"),
    "CACHE_FILE_HASH_METHOD": Setting(parsers.nothing, None, "nothing: names of files are SHA-256"),
    "CACHE_MEMCACHED_SERVERS": Setting(
        parsers.servers, ("127.0.0.1:11211",), "addresses like 127.0.0.1:11211 or /path/to/socket"
    ),
    "CACHE_MEMCACHED_CONNECT_TIMEOUT": Setting(parsers.wait, 1.0, _WAIT),
    "CACHE_MEMCACHED_TIMEOUT": Setting(parsers.wait, 0.1, _WAIT),
    "CACHE_MEMCACHED_USERNAME": Setting(parsers.nothing, None, _NO_SASL),
    "CACHE_MEMCACHED_PASSWORD": Setting(parsers.nothing, None, _NO_SASL),
    "CACHE_OPTIONS": Setting(parsers.options, {}, "a dict of arguments for the store, or its JSON"),
    "CACHE_ARGS": Setting(parsers.nothing, None, "nothing: use CACHE_OPTIONS, which has names"),
    "CACHE_THRESHOLD": Setting(parsers.integer(1), 500, "a whole number from 1"),
    "CACHE_MEMORY_BYTES": Setting(parsers.integer(1), 64 * 1024 * 1024, "a number of bytes from 1"),
    "CACHE_L1_BYTES": Setting(parsers.integer(0), 64 * 1024 * 1024, "a number of bytes, or 0"),
    "CACHE_L1_SECONDS": Setting(parsers.between(0.1, 3600), 10.0, "seconds from 0.1 to 3600"),
    "CACHE_BEFORE_FLASK": Setting(parsers.flag, True, "true or false"),
    "CACHE_MAX_BODY_BYTES": Setting(parsers.integer(0), 1024 * 1024, "a number of bytes from 0"),
    "CACHE_SEND_STATUS": Setting(parsers.flag, True, "true or false"),
    "CACHE_IGNORE_ERRORS": Setting(parsers.flag, False, "true or false"),
    "CACHE_SOURCE_CHECK": Setting(parsers.flag, False, "true or false"),
    "CACHE_ENABLE_SIGNALS": Setting(parsers.flag, False, "true or false"),
    "CACHE_HASH_METHOD": Setting(
        parsers.hash_method,
        hashlib.sha256,
        "a constructor of hashlib, or its name, for example sha256",
    ),
    "CACHE_SIGNING_KEY": Setting(
        parsers.secrets,
        None,
        f"a random key of at least {SHORTEST_SECRET} bytes, or several, the first of which signs",
    ),
    "CACHE_SERIALIZER": Setting(
        parsers.nothing, None, "nothing: values are stored as plain data, never pickled"
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
        words = set(name.split("_"))
        longer = [known for known in SETTINGS if words <= set(known.split("_"))]
        longer = longer or [known for known in SETTINGS if known.startswith(name)]
        near = longer or difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.75)
        nearest = f"; near to it: {', '.join(near[:3])}" if near else ""
        warn_caller(f"{name} is not a setting of Flask-Larder and has no effect{nearest}")


def warn_caller(message: str) -> None:
    """Warn, in the name of the line outside of this package that led here."""
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").startswith("flask_larder"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
