"""How Redis is reached: address, timeouts, and connections of each process's own."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.retry import Retry

from flask_larder.deadline import DeadlineSocket
from flask_larder.errors import InvalidConfig
from flask_larder.redis.exchange import Connection

MOST_CONNECTIONS: Final = 100
"""The connections of one process to one server, unless ``max_connections`` says otherwise."""

SCHEMES: Final = ("redis", "rediss", "unix")

_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class Place(Protocol):
    """Where a server is, at the moment: what connections lead to. Its text has no secrets."""

    @property
    def name(self) -> str:
        """What lines in the log call it."""
        ...

    @property
    def timeout(self) -> float:
        """How long, in seconds, a reply may take."""
        ...

    @property
    def connect_timeout(self) -> float:
        """How long, in seconds, a connection may take, usually."""
        ...

    @property
    def most_connections(self) -> int:
        """How many connections one process may have to it."""
        ...

    def connect(self, deadline: float) -> Connection:
        """A connection, ready for commands when the monotonic clock shows *deadline*.

        To look up the name of its host may take longer.
        """
        ...

    def is_current(self, connection: Connection) -> bool:
        """Whether *connection* leads to where it is now, as far as is known. Does not wait."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """The :class:`Place` of a server that does not move. *url* has one of :data:`SCHEMES`.

    *connect_timeout* and *timeout* (for each reply) are in seconds. *options* are further
    keyword arguments for :class:`redis.Connection`, which stand above the rest; what the URL
    says stands above them. Raises ``InvalidConfig`` for what redis-py would not take.
    """

    url: str = field(repr=False)
    called: str | None = field(default=None, kw_only=True)
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    connect_timeout: float = 2.0
    timeout: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _check_url(self.url)
        _check_options(self)

    def __str__(self) -> str:
        return without_secrets(self.url)

    @property
    def name(self) -> str:
        """See :class:`Place`. It is *called* so, or by its URL."""
        return self.called or f"Redis at {self}"

    @property
    def most_connections(self) -> int:
        """See :class:`Place`."""
        return maker(self).most

    def connect(self, deadline: float) -> Connection:
        """See :class:`Place`."""
        return self.connect_to({}, deadline)

    def connect_to(self, where: Mapping[str, Any], deadline: float) -> Connection:
        """As :meth:`connect`, where *where* stands above the host and the port of the URL."""
        make = maker(self, **where)
        made = make(deadline)
        try:
            made.connect()  # type: ignore[no-untyped-call]
            if isinstance(made, redis.SSLConnection):
                # After the handshake the server sends session tickets; nobody else would read them.
                made.send_command("PING", check_health=False)  # type: ignore[no-untyped-call]
                made.read_response()
            return Connection(made)
        except BaseException as error:
            made.disconnect()  # type: ignore[no-untyped-call]
            if not _may_lack_certificate(error, make):
                raise
            raise redis.ConnectionError(
                f"{error} (after the TLS handshake; if the server asks for a client certificate, "
                f"give ssl_certfile and ssl_keyfile)"
            ) from error

    def is_current(self, connection: Connection) -> bool:  # noqa: ARG002
        """See :class:`Place`."""
        return True


def _may_lack_certificate(error: BaseException, make: "Maker") -> bool:
    """Whether that may be why the server has ended the connection, of which it says nothing."""
    is_with_tls = issubclass(make.kind, redis.SSLConnection)
    is_dropped = type(error) is redis.ConnectionError and "connecting to" not in str(error)
    return is_with_tls and is_dropped and not make.options.get("ssl_certfile")


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
            f"CACHE_REDIS_URL is {shown!r}, with no scheme that is known; begin it with one of "
            f"{accepted}, or redis+cluster:// or rediss+cluster:// with the RedisClusterCache"
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


class _UpToDeadline:
    """Makes a kind of connection keep to a deadline: its timeouts are what is left of the time."""

    deadline = math.inf

    @property
    def socket_timeout(self) -> float:
        return max(self.deadline - time.monotonic(), 0.001)  # 0 would mean not to wait at all

    @socket_timeout.setter
    def socket_timeout(self, _: float) -> None:
        """Ignore it."""

    @property
    def socket_connect_timeout(self) -> float:
        most: float = super().socket_connect_timeout  # type: ignore[misc]
        return min(most, self.socket_timeout)

    def _connect(self) -> DeadlineSocket:
        return DeadlineSocket(super()._connect(), self.deadline)  # type: ignore[misc]


_KINDS: Final[Mapping[type, Any]] = {
    kind: type(kind.__name__, (_UpToDeadline, kind), {})
    for kind in (redis.Connection, redis.SSLConnection, redis.UnixDomainSocketConnection)
}


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes connections, not yet connected, and says how many there may be."""

    kind: type[redis.Connection]
    options: dict[str, Any]
    most: int

    def __call__(self, deadline: float = math.inf) -> redis.Connection:
        """A connection, not yet connected, with time for that up to *deadline*."""
        connection = self.kind(**self.options)
        connection.deadline = deadline  # type: ignore[attr-defined]
        return connection


def maker(address: Address, **overrides: Any) -> Maker:
    """What makes connections that do nothing on their own.

    They do not retry, and wait no longer than the timeouts. *overrides* stand above all that
    *address* says.
    """
    arguments: dict[str, Any] = {
        "db": address.db,
        "socket_connect_timeout": address.connect_timeout,
        "socket_timeout": address.timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "max_connections": MOST_CONNECTIONS,
        # No CLIENT SETINFO: two round trips less. Not every redis-py takes None for that.
        "driver_info": DriverInfo(name="", lib_version=""),
        **({"username": address.username} if address.username else {}),
        **({"password": address.password} if address.password else {}),
        **address.options,
    }
    pool = redis.ConnectionPool.from_url(address.url, **arguments)
    options = {**pool.connection_kwargs, **overrides}  # also above what the URL says
    return Maker(_KINDS[pool.connection_class], options, pool.max_connections)


def _check_options(address: Address) -> None:
    """Make a connection, without connecting it, to hear of options that it would not take."""
    try:
        make = maker(address)
        connection, options = make(), make.options
        times = [options[name] + 0.0 for name in ("socket_timeout", "socket_connect_timeout")]
        int(options["db"])
        str(options.get("host", "")).encode("idna")
    except (TypeError, ValueError, redis.RedisError) as error:
        raise InvalidConfig(
            f"an option for Redis at {address}, from CACHE_OPTIONS or from the URL, is not "
            f"accepted: {error}"
        ) from error
    if not all(0 < seconds < math.inf for seconds in times):
        raise InvalidConfig(f"a timeout for Redis at {address} is {times}; give seconds above 0")
    for name in _FILES:
        path = options.get(name)
        if path is not None and not Path(path).is_file():
            raise InvalidConfig(
                f"{name} for Redis at {address} is {path!r}, which is no file that can "
                f"be read; give the path of a PEM file"
            )
    if connection.encoder.decode_responses:
        raise InvalidConfig(
            "the option decode_responses cannot be used, since entries are bytes; remove it from "
            "CACHE_OPTIONS and from the URL"
        )
    if str(options["protocol"]) != "2":
        raise InvalidConfig(
            f"the option protocol is {options['protocol']!r}, but replies are read as those of "
            f"RESP2; remove it from CACHE_OPTIONS and from the URL"
        )
