"""How Redis is reached: address, timeouts, and connections of each process's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.retry import Retry

from flask_larder.errors import InvalidConfig

SCHEMES: Final = ("redis", "rediss", "unix")

MOST_CONNECTIONS: Final = 50
"""The connections of one process."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is. *url* has one of :data:`SCHEMES`; what it says stands above the rest.

    *connect_timeout* and *timeout* (for each reply) are in seconds. *options* are further
    keyword arguments for :class:`redis.Connection`; they stand above everything else.
    """

    url: str
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    connect_timeout: float = 1.0
    timeout: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = _split(self.url)
        if parts.scheme not in SCHEMES:
            accepted = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise InvalidConfig(
                f"the Redis URL {without_password(self.url)!r} has the scheme "
                f"{parts.scheme!r}; give one of {accepted}"
            )
        _check_options(self)

    def __str__(self) -> str:
        return without_password(self.url)


def without_password(url: str) -> str:
    """*url* with its password hidden, fit to be shown."""
    try:
        parts = urlsplit(url)
        if parts.password is None and "password" not in parse_qs(parts.query):
            return url
    except ValueError:
        return "(a malformed URL)"
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    return urlunsplit(parts._replace(netloc=f"{user}:***@{host}", query=""))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidConfig(
            f"the Redis URL {without_password(url)!r} is malformed: {error}; "
            f"give for example redis://localhost:6379/0"
        ) from error
    return parts


def connect(address: Address, **overrides: Any) -> redis.Redis:
    """A client that does nothing on its own: no retries, no waiting beyond the timeouts.

    It has at most :data:`MOST_CONNECTIONS`; a thread that finds all of them taken waits for one,
    for as long as for a reply.
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
        **overrides,
    }
    return redis.Redis.from_pool(BlockingConnectionPool.from_url(address.url, **arguments))


def _check_options(address: Address) -> None:
    """Make a connection, without connecting it, to hear of options that it would not take."""
    try:
        pool = connect(address).connection_pool
        connection = pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise InvalidConfig(
            f"the options for Redis at {address} are not accepted by redis-py: {error}"
        ) from error
    if connection.encoder.decode_responses:
        raise InvalidConfig("the option decode_responses cannot be used: values are bytes")
