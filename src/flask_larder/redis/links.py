"""What each process has of Redis: a client with its own connections, and a circuit breaker."""

import os
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as LateReply

from flask_larder.errors import StoreUnavailable
from flask_larder.redis.breaker import Breaker
from flask_larder.redis.connection import Address, connect


@dataclass(frozen=True, slots=True)
class _Link:
    """What one process has. Sockets and locks must not be shared over a fork."""

    client: redis.Redis
    breaker: Breaker


class Links:
    """The links of one process after another to the Redis at *address*."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._links: dict[int, _Link] = {}

    @contextmanager
    def asking(self) -> Iterator[redis.Redis]:
        """The client, if Redis may be asked now; else, and if it fails, ``StoreUnavailable``."""
        link = self._here()
        asked_at = link.breaker.admit()
        if asked_at is None:
            raise StoreUnavailable(f"Redis at {self._address} is away")
        with self._reporting(link.breaker, asked_at):
            yield link.client

    def ping(self, timeout: float) -> None:
        """Ask in any case, over a connection of its own, and return within *timeout* seconds."""
        # It waits up to four times: to connect, for AUTH, SELECT and PING.
        wait = timeout / 4
        client = connect(self._address, socket_connect_timeout=wait, socket_timeout=wait)
        with client, self._reporting(self._here().breaker, time.monotonic()):
            client.ping()

    def note_refusal(self, error: Exception) -> None:
        """Redis refused one thing, which is no reason to raise."""
        self._here().breaker.refused(error, time.monotonic())

    def _here(self) -> _Link:
        """The link of the process that asks."""
        link = self._links.get(os.getpid())
        if link is None:
            made = _Link(connect(self._address), Breaker(time.monotonic))
            # Two threads may both make one; one is kept, and none has connected yet.
            link = self._links.setdefault(os.getpid(), made)
        return link

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
