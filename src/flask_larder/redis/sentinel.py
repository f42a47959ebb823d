"""The master that Sentinels watch over, wherever it is at the moment."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import redis

from flask_larder.redis.connection import Address, exchange
from flask_larder.redis.threads import start

LOOK_SECONDS: Final = 1.0
"""How long the Sentinels' last answer holds, while there are requests."""


class SentinelMaster:
    """The place of the master that the *sentinels* call by the name *master*.

    *address* tells how to connect to it, but for host and port. The Sentinels are asked before
    each connection is made, and once in :data:`LOOK_SECONDS` whether it still is where it was:
    an old master that is cut off from the others does not know that it is one.
    """

    def __init__(self, master: str, sentinels: Sequence[Address], address: Address) -> None:
        self._master = master
        self._sentinels = list(sentinels)  # the one that answered last comes first
        self._address = address
        self._found: tuple[str, int] | None = None
        self._next_look = 0.0
        self.name = f"Redis master {master!r}"
        self.timeout = address.timeout
        self.connect_timeout = address.connect_timeout
        self.most_connections = address.most_connections

    def __str__(self) -> str:
        return f"master {self._master!r} of {', '.join(map(str, self._sentinels))}"

    def connect(self, wait: float | None = None) -> redis.Connection:
        """See :class:`~flask_larder.redis.connection.Place`."""
        host, port = self._find(wait or self.connect_timeout)
        return self._address.connect_to({"host": host, "port": port}, wait)

    def is_current(self, connection: redis.Connection) -> bool:
        """See :class:`~flask_larder.redis.connection.Place`."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            start("sentinel", self._look)
        return (connection.host, connection.port) == self._found

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # nobody knows better: it is where it was
            self._find(self.connect_timeout)

    def _find(self, wait: float) -> tuple[str, int]:
        """Where the master is, from the first Sentinel that knows. They share *wait* seconds."""
        answers = []
        sentinels = self._sentinels
        for sentinel in sentinels:
            try:
                found = self._ask(sentinel, wait / len(sentinels))
            except Exception as error:  # noqa: BLE001 - away, no rights, something else: the next
                answers.append(f"{sentinel}: {error}")
                continue
            if found is None:
                answers.append(f"{sentinel}: no such master, see CACHE_REDIS_SENTINEL_MASTER")
                continue
            self._sentinels = sorted(sentinels, key=lambda other: other is not sentinel)
            self._found = found
            self._next_look = time.monotonic() + LOOK_SECONDS
            return found
        raise redis.ConnectionError(f"no Sentinel knows where it is: {'; '.join(answers)}")

    def _ask(self, sentinel: Address, wait: float) -> tuple[str, int] | None:
        connection = sentinel.connect(wait)
        try:
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
            found: Any = exchange(connection, command, wait)
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]
        return None if found is None else (found[0].decode(), int(found[1]))
