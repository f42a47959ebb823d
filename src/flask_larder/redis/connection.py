"""How Redis is reached: address, timeouts, and connections of each process's own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.retry import Retry

from flask_larder.errors import InvalidConfig

SCHEMES: Final = ("redis", "rediss", "unix")

MOST_CONNECTIONS: Final = 100
"""The connections of one process."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is. *url* has one of :data:`SCHEMES`.

    *connect_timeout* and *timeout* (for each reply) are in seconds. *options* are further
    keyword arguments for :class:`redis.Connection`, which stand above the rest; what the URL
    says stands above them. Raises ``InvalidConfig`` for what redis-py would not take.
    """

    url: str = field(repr=False)
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    connect_timeout: float = 1.0
    timeout: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _check_url(self.url)
        _check_options(self)

    def __str__(self) -> str:
        return without_secrets(self.url)


def without_secrets(url: str) -> str:
    """*url* without user, password and options, fit to be shown, however malformed it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "(not a URL)"
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    return scheme + separator + rest.partition("?")[0]


def _check_url(url: str) -> None:
    shown = without_secrets(url)
    parts = _split(url)
    if parts is None:
        raise InvalidConfig(
            f"the Redis URL {shown!r} is malformed; give for example redis://localhost:6379/0, "
            f"and write a password percent-encoded: # as %23, / as %2F, ? as %3F, @ as %40"
        )
    if parts.scheme not in SCHEMES or "://" not in url:
        accepted = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InvalidConfig(
            f"the Redis URL {shown!r} has the scheme {parts.scheme!r}; give one of {accepted}"
        )
    database = parts.path.strip("/")
    if parts.scheme != "unix" and not (database == "" or database.isdecimal()):
        raise InvalidConfig(
            f"the Redis URL {shown!r} has the database {database!r}; give a number from 0"
        )


def _split(url: str) -> SplitResult | None:
    """The parts of *url*; ``None``, rather than an error that would show it, if it has none."""
    try:
        parts = urlsplit(url)
        is_odd = parts.port == 0 or parts.fragment or "@" in parts.path + parts.query
    except ValueError:
        return None
    return None if is_odd else parts


def connect(address: Address, **overrides: Any) -> redis.Redis:
    """A client that does nothing on its own: no retries, no waiting beyond the timeouts.

    *overrides* stand above all that *address* says. It has at most :data:`MOST_CONNECTIONS`; a
    thread that finds all of them taken waits for one, for as long as for a reply.
    """
    arguments: dict[str, Any] = {
        "db": address.db,
        "socket_connect_timeout": address.connect_timeout,
        "socket_timeout": address.timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,  # no CLIENT SETINFO: two round trips less for each connection
        "max_connections": MOST_CONNECTIONS,
        "timeout": address.timeout,  # to wait for a connection of the pool
        **({"username": address.username} if address.username else {}),
        **({"password": address.password} if address.password else {}),
        **address.options,
    }
    pool = BlockingConnectionPool.from_url(address.url, **arguments)
    pool.connection_kwargs.update(overrides)  # also above what the URL says
    return redis.Redis.from_pool(pool)


def _check_options(address: Address) -> None:
    """Make a connection, without connecting it, to hear of options that it would not take."""
    try:
        pool = connect(address).connection_pool
        options = pool.connection_kwargs
        connection = pool.connection_class(**options)
        times = [options[name] + 0.0 for name in ("socket_timeout", "socket_connect_timeout")]
        int(options["db"])
        str(options.get("host", "")).encode("idna")
    except (TypeError, ValueError, redis.RedisError) as error:
        raise InvalidConfig(
            f"the options for Redis at {address} are not accepted: {error}"
        ) from error
    if not all(0 < seconds < math.inf for seconds in times):
        raise InvalidConfig(f"a timeout for Redis at {address} is {times}; give seconds above 0")
    if connection.encoder.decode_responses:
        raise InvalidConfig(
            "the option decode_responses cannot be used, since entries are bytes; remove it from "
            "CACHE_OPTIONS and from the URL"
        )
