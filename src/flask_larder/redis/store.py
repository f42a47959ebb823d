"""The :class:`~flask_larder.store.Store` on Redis. Each value has a TTL."""

import itertools
import math
import os
import queue
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast

import redis
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as LateReply

from flask_larder.errors import StoreUnavailable
from flask_larder.key import FORMAT
from flask_larder.redis.breaker import Breaker
from flask_larder.redis.connection import Address, connect

_BATCH: Final = 500
_GLOB: Final = re.compile(r"([*?\[\]\\^-])")


@dataclass(frozen=True, slots=True)
class _Link:
    """What one process has of Redis: a client with its pool of connections, and a breaker."""

    client: redis.Redis
    breaker: Breaker


class RedisStore:
    """Keeps bytes in the Redis at *address*, under keys that begin with *prefix*.

    While Redis is away, every method raises ``StoreUnavailable``, mostly at once.
    """

    def __init__(self, address: Address, prefix: str) -> None:
        self._address = address
        self._prefix = prefix
        self._links: dict[int, _Link] = {}

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`. A key of another Redis type has no value."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return []
        with self._guard() as client:
            # MGET, unlike GET, answers nil for a key of another type.
            return cast("list[bytes | None]", client.mget(self._prefixed(keys)))

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`. Not kept where Redis has no memory left."""
        return self._put(key, value, ttl, only_new=False)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        return self._put(key, value, ttl, only_new=True)

    def has(self, key: str) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        with self._guard() as client:
            return bool(client.exists(self._prefix + key))

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return 0
        with self._guard() as client:
            return int(client.unlink(*self._prefixed(keys)))

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Store`. Takes its time where there are many keys."""
        pattern = _GLOB.sub(r"\\\1", self._prefix + FORMAT) + "*"
        with self._guard() as client:
            keys = client.scan_iter(match=pattern, count=_BATCH)
            while batch := list(itertools.islice(keys, _BATCH)):
                client.unlink(*batch)

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`. Always asks, over a connection of its own."""
        # It waits up to four times: to connect, for AUTH, SELECT and PING.
        wait = timeout / 4
        client = connect(self._address, socket_connect_timeout=wait, socket_timeout=wait)
        with client, self._reporting(self._link().breaker, time.monotonic()):
            client.ping()

    def _put(self, key: str, value: bytes, ttl: float, *, only_new: bool) -> bool:
        milliseconds = max(1, math.ceil(ttl * 1000))
        with self._guard() as client:
            try:
                return bool(client.set(self._prefix + key, value, px=milliseconds, nx=only_new))
            except OutOfMemoryError as error:
                self._link().breaker.refused(error, time.monotonic())
                return False

    def _prefixed(self, keys: Sequence[str]) -> list[str]:
        return [self._prefix + key for key in keys]

    def _link(self) -> _Link:
        """The link of the process that asks. Sockets and locks must not be shared over a fork."""
        link = self._links.get(os.getpid())
        if link is None:
            made = _Link(connect(self._address), Breaker(time.monotonic))
            # Two threads may both make one; one is kept, and none has connected yet.
            link = self._links.setdefault(os.getpid(), made)
        return link

    @contextmanager
    def _guard(self) -> Iterator[redis.Redis]:
        """The client, if Redis may be asked now."""
        link = self._link()
        asked_at = link.breaker.admit()
        if asked_at is None:
            raise StoreUnavailable(f"Redis at {self._address} is away")
        with self._reporting(link.breaker, asked_at):
            yield link.client

    @contextmanager
    def _reporting(self, breaker: Breaker, asked_at: float) -> Iterator[None]:
        """Tell *breaker* how it went, and raise errors as our own."""
        try:
            yield
        except ResponseError as error:
            breaker.refused(error, asked_at)
            raise StoreUnavailable(f"Redis at {self._address} refuses: {error}") from error
        except Exception as error:
            # Whatever it is, for instance a host name that cannot be looked up: the view answers.
            if isinstance(error.__context__, queue.Empty):  # all its connections are taken
                breaker.refused(error, asked_at)
            else:
                breaker.failed(error, is_late=_is_late_reply(error))
            raise StoreUnavailable(f"Redis at {self._address} is away: {error}") from error
        breaker.succeeded(asked_at)


def _is_late_reply(error: Exception) -> bool:
    """Whether Redis, once connected, did not reply in time. redis-py tells it by its text only."""
    return isinstance(error, LateReply) and "connecting" not in str(error)
