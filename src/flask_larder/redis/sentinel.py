"""The master that Sentinels watch over, wherever it is at the moment."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import redis

from flask_larder.per_process import PerProcess
from flask_larder.redis.connection import Address
from flask_larder.redis.exchange import Connection
from flask_larder.threads import Single

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
        self._looking = PerProcess(lambda: Single("sentinel"))
        self.name = f"Redis master {master!r}"
        self.timeout = address.timeout
        self.connect_timeout = address.connect_timeout
        self.most_connections = address.most_connections

    def __str__(self) -> str:
        return f"master {self._master!r} of {', '.join(map(str, self._sentinels))}"

    def connect(self, deadline: float) -> Connection:
        """See :class:`~flask_larder.redis.connection.Place`.

        A Sentinel may be wrong for a while: who is no master (any more) is not taken for one.
        """
        host, port = self._find(deadline)
        connection = self._address.connect_to({"host": host, "port": port}, deadline)
        try:
            role = connection.ask(("ROLE",), deadline)[0].decode()
        except BaseException:
            connection.close()
            raise
        if role != "master":
            connection.close()
            raise redis.ConnectionError(f"{host}:{port} is no master, but a {role}")
        return connection

    def is_current(self, connection: Connection) -> bool:
        """See :class:`~flask_larder.redis.connection.Place`."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._looking().start(self._look)
        return (connection.host, connection.port) == self._found

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # nobody knows better: it is where it was
            self._find(time.monotonic() + self.connect_timeout)

    def _find(self, deadline: float) -> tuple[str, int]:
        """Where the master is, from the first Sentinel that knows. They share the time."""
        answers = []
        sentinels = self._sentinels
        for number, sentinel in enumerate(sentinels):
            now = time.monotonic()
            share = (deadline - now) / (len(sentinels) - number + 1)  # and one for the master
            try:
                found = self._ask(sentinel, now + share)
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

    def _ask(self, sentinel: Address, deadline: float) -> tuple[str, int] | None:
        connection = sentinel.connect(deadline)
        try:
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
            found: Any = connection.ask(command, deadline)
        finally:
            connection.close()
        return None if found is None else (found[0].decode(), int(found[1]))
