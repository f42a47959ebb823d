"""The :class:`~flask_larder.store.Store` on memcached, through pymemcache, given bytes only."""

import hashlib
import math
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)
from pymemcache.pool import ObjectPool

from flask_larder.breaker import Breaker
from flask_larder.budget import BudgetSource, Counts, unbounded
from flask_larder.deadline import DeadlineSocket
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess

MOST_CONNECTIONS: Final = 100
"""The connections of one process to one server."""

LONGEST_KEY: Final = 250
"""In bytes; memcached takes no longer one."""

_PLAIN: Final = re.compile(r"[!-~]{1,250}", re.ASCII)
_MARK: Final = "#memcached="  # stands in every name that is not the key itself, and in no other
_KEPT_OF_OTHERS: Final = 120
_SAFE_IN_NAME: Final = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"

_THIRTY_DAYS: Final = 30 * 24 * 3600
"""In seconds. What is more, memcached takes for a time since the epoch."""


@dataclass(frozen=True, slots=True)
class _Link:
    """What one process has of one server: its connections, and a breaker."""

    connections: "ObjectPool[_Connection]"
    breaker: Breaker


class MemcachedStore:
    """Keeps bytes in the memcached *servers*, under keys that begin with *prefix*.

    A server is ``host:port`` or the path of a unix socket. Each key has one of them, whose absence
    makes it a miss: if another took its place, what was deleted there could come back. Timeouts
    are in seconds. *budget* tells how long the present request may still be held up.
    """

    def __init__(
        self,
        servers: Sequence[str],
        prefix: str,
        *,
        connect_timeout: float = 1.0,
        timeout: float = 0.1,
        budget: BudgetSource = unbounded,
    ) -> None:
        self._servers = tuple(servers)
        self._prefix = prefix
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._budget = budget
        self._links = PerProcess(
            lambda: {server: self._make_link(server) for server in self._servers}
        )

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`. Asks each server once."""
        names = [self._name(key) for key in keys]
        by_server: dict[str, list[str]] = {}
        for name in names:
            by_server.setdefault(self._server_of(name), []).append(name)
        found: dict[str, bytes] = {}
        for server, asked in by_server.items():
            with self._asking(server) as client:
                found.update(cast("dict[str, bytes]", client.get_many(asked)))
        return [found.get(name) for name in names]

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`. Not kept where it is too large for memcached.

        It may be kept for two seconds longer.
        """
        return self._put("set", key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        return self._put("add", key, value, ttl)

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        deleted = 0
        for key in keys:
            name = self._name(key)
            with self._asking(self._server_of(name), counts=Counts.NEVER) as client:
                deleted += client.delete_surely(name)
        return deleted

    def clear(self) -> None:
        """Raise ``StoreUnavailable``: memcached can forget all keys, and no fewer."""
        raise StoreUnavailable(
            f"memcached cannot forget the keys that begin with {self._prefix!r} without those of "
            f"others; delete keys by name, change CACHE_KEY_PREFIX, or restart a memcached that "
            f"nobody else uses"
        )

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`. Asks all servers, over connections of its own."""
        wait = timeout / len(self._servers) / 2  # to connect, and for the reply
        for server in self._servers:
            client = _connection(server, connect_timeout=wait, timeout=wait)
            with self._reporting(server, self._link(server).breaker, time.monotonic()):
                try:
                    client.version()
                finally:
                    client.close()

    def _put(self, command: str, key: str, value: bytes, ttl: float) -> bool:
        name = self._name(key)
        server = self._server_of(name)
        with self._asking(server) as client:
            try:
                return bool(getattr(client, command)(name, value, expire=_expiry(ttl)))
            except MemcacheServerError as error:  # too large, or no memory left
                if isinstance(error, MemcacheUnexpectedCloseError):
                    raise
                self._link(server).breaker.refused(error, time.monotonic())
                return False

    def _name(self, key: str) -> str:
        """What *key* is called in memcached: itself where that is possible, else one of its own."""
        whole = self._prefix + key
        if _PLAIN.fullmatch(whole) and _MARK not in whole:
            return whole
        readable = quote(whole, safe=_SAFE_IN_NAME, errors="surrogatepass")[:_KEPT_OF_OTHERS]
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{readable}{_MARK}{digest}"

    def _server_of(self, name: str) -> str:
        """The server of a key, which stays the same where servers are added or left out.

        That is so for most keys (rendezvous hashing): each has the server that it scores highest.
        """
        if len(self._servers) == 1:
            return self._servers[0]
        return max(
            self._servers,
            key=lambda server: hashlib.blake2b(f"{server} {name}".encode(), digest_size=8).digest(),
        )

    def _link(self, server: str) -> _Link:
        return self._links()[server]

    def _make_link(self, server: str) -> _Link:
        def connect() -> "_Connection":
            return _connection(server, connect_timeout=self._connect_timeout, timeout=self._timeout)

        connections = ObjectPool(
            connect, after_remove=lambda client: client.close(), max_size=MOST_CONNECTIONS
        )
        return _Link(connections, Breaker(time.monotonic, f"memcached at {server}"))

    @contextmanager
    def _asking(self, server: str, *, counts: Counts = Counts.ALWAYS) -> Iterator["_Connection"]:
        """A connection, if *server* may be asked now. *counts*: whether for the budget."""
        budget = None if counts is Counts.NEVER else self._budget()
        left = math.inf if budget is None else budget.left
        link = self._link(server)
        asked_at = link.breaker.admit()
        if asked_at is None:
            raise StoreUnavailable(f"memcached at {server} is away")
        if left <= 0:
            link.breaker.missed()
            raise StoreUnavailable(f"memcached at {server} is out of time")
        try:
            with (
                self._reporting(server, link.breaker, asked_at),
                _taken(link.connections) as client,
            ):
                client.prepare(self._connect_timeout, self._timeout, asked_at + left)
                yield client
        finally:
            if budget is not None:
                budget.left -= time.monotonic() - asked_at

    @contextmanager
    def _reporting(self, server: str, breaker: Breaker, asked_at: float) -> Iterator[None]:
        """Tell *breaker* how it went, and raise errors as our own."""
        try:
            yield
        except Exception as error:
            # Whatever it is, for instance a host name that cannot be looked up: the view answers.
            if _is_refusal(error):
                breaker.refused(error, asked_at)
                raise StoreUnavailable(f"memcached at {server} refuses: {error}") from error
            breaker.failed(error, asked_at, is_late=isinstance(error, TimeoutError))
            raise StoreUnavailable(f"memcached at {server} is away: {error}") from error
        breaker.succeeded(asked_at)


@contextmanager
def _taken(connections: "ObjectPool[_Connection]") -> Iterator["_Connection"]:
    """A connection that nobody else has meanwhile."""
    client: _Connection = connections.get()  # type: ignore[no-untyped-call]
    try:
        yield client
    except BaseException:  # also what gevent raises to end a request
        connections.destroy(client)
        raise
    connections.release(client)


def _expiry(ttl: float) -> int:
    """What tells memcached to keep a value for *ttl* seconds at least.

    It counts whole seconds, the first of which may be almost over.
    """
    seconds = math.ceil(ttl) + 1
    return seconds if seconds <= _THIRTY_DAYS else int(time.time()) + seconds


def _is_refusal(error: Exception) -> bool:
    """Whether memcached answered with an error, or all connections to it are taken."""
    if isinstance(error, MemcacheUnexpectedCloseError):
        return False
    # pymemcache's pool has no error of its own.
    return isinstance(error, MemcacheServerError | MemcacheClientError | RuntimeError)


class _Connection(Client):
    """One connection, which does nothing on its own: no retries, no unpickling."""

    sock: DeadlineSocket | None  # type: ignore[assignment]
    connect_timeout: float
    timeout: float
    ends = math.inf

    def __del__(self) -> None:
        self.close()

    def _connect(self) -> None:
        """Connect to the first address that answers; pymemcache tries one, often the wrong one."""
        try:
            opened = self._open()
        except TimeoutError as error:  # which would look like a late reply
            raise ConnectionError(f"no connection within {self.connect_timeout} s") from error
        self.sock = DeadlineSocket(opened, self._deadline())

    def _open(self) -> socket.socket:
        if isinstance(self.server, tuple):
            return self._open_first(*self.server)
        return _opened(socket.AF_UNIX, self.server, self.connect_timeout)

    def _open_first(self, host: str, port: int) -> socket.socket:
        deadline = time.monotonic() + self.connect_timeout
        failure: OSError = ConnectionError(f"{host} has no address")
        for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                opened = _opened(family, address, max(deadline - time.monotonic(), 0.001))
            except OSError as error:
                failure = error
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
        raise failure

    def _deadline(self) -> float:
        """Of the reply to what is asked now."""
        return min(time.monotonic() + self.timeout, self.ends)

    def delete_surely(self, name: str) -> bool:
        """Whether *name* was there; pymemcache takes whatever else is answered for a no."""
        reply = self.raw_command(f"delete {name}")
        if reply not in {b"DELETED", b"NOT_FOUND"}:
            raise MemcacheUnknownError(reply[:32])
        return reply == b"DELETED"

    def prepare(self, connect_timeout: float, timeout: float, ends: float) -> None:
        """Set the timeouts of what comes next, and close a connection that is of no use for it.

        That is one that memcached has closed since its last use, or on which there is something to
        read: it would be taken for the next reply. No reply comes after the time *ends*.
        """
        self.connect_timeout = min(connect_timeout, max(ends - time.monotonic(), 0.001))
        self.timeout, self.ends = timeout, ends
        if self.sock is None:
            return
        self.sock.deadline = None
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self.sock.deadline = self._deadline()
            return
        except OSError:
            pass
        self.close()


def _opened(family: int, address: Any, seconds: float) -> socket.socket:
    opened = socket.socket(family)
    try:
        opened.settimeout(seconds)
        opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened


def _connection(server: str, *, connect_timeout: float, timeout: float) -> _Connection:
    return _Connection(
        server,
        connect_timeout=connect_timeout,
        timeout=timeout,
        default_noreply=False,  # else whatever is stored counts as kept
    )
