"""Follows the log of purges, so that each process knows them within milliseconds."""

import contextlib
import logging
import math
import os
import re
import time
from functools import partial
from typing import Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from flask_larder.chance import CHANCE
from flask_larder.errors import StoreUnavailable
from flask_larder.purges import Purge
from flask_larder.redis.cluster import AnyLinks
from flask_larder.redis.exchange import Command, Connection
from flask_larder.redis.purge_reader import MOST_TRIES, Ask, PurgeReader
from flask_larder.redis.purge_record import id_of
from flask_larder.redis.replies import fitting
from flask_larder.redis.watch import Watch
from flask_larder.threads import Single

_log = logging.getLogger("flask_larder")

BLOCK_SECONDS: Final = 0.5
"""How long the server waits for a purge before it says that there was none."""

PATIENCE_SECONDS: Final = 1.0
"""How long the server may take for a reply, beyond that."""

BREATH_SECONDS: Final = 0.003
"""How long purges are let gather, so that many of them wake no process for each."""

GREETING_SECONDS: Final = 1.0
"""How often a replica is asked who it is: it may be promoted while it is connected to.

A master is not. Its id changes also where nothing is lost, as with the first replica it gets.
"""

SHORTEST_REST: Final = 0.05
LONGEST_REST: Final = 0.5

_SERVER: Final = re.compile(rb"\bmaster_replid:([0-9a-f]{8})")


class Follower:
    """Has *reader* know each purge soon, in one thread, over a connection of its own.

    With *clears*, everything is forgotten when another server is found to have the log: it may have
    lost purges, as may one that was started again.
    """

    def __init__(self, links: AnyLinks, reader: PurgeReader, watch: Watch, *, clears: bool) -> None:
        self._links = links
        self._reader = reader
        self._watch = watch
        self._clears = clears
        self.thread: Final = Single("purges")
        self._is_stopped = False
        self._connected: tuple[int, Connection] | None = None  # with the process that it is of
        self._failures = 0
        self._server = ""  # the last one
        self._is_replica = False
        self._refused: set[str] = set()

    def start(self) -> None:
        """Follow, unless that is under way, or no thread can be started now."""
        if not (self.thread.is_busy or self._is_stopped):
            self.thread.start(self._run)

    def stop(self) -> None:
        """Take in nothing more, and end soon, and for good; at once where it waits for a purge."""
        self._is_stopped = True  # and no lock, since whoever collects garbage may call this
        connected = self._connected
        if connected is not None and connected[0] == os.getpid():  # a child shares its parent's
            connected[1].interrupt()

    def _run(self) -> None:
        while not self._is_stopped:
            with contextlib.suppress(Exception):  # also what is raised where the log is written
                self._try_to_follow()
            if not self._is_stopped:
                time.sleep(self._rest())

    def _try_to_follow(self) -> None:
        try:
            self._follow()
        except Exception as error:  # whatever it is, the next connection may be better
            self._failures += 1
            if not self._is_stopped:
                self._watch.tell(error)
            raise

    def _rest(self) -> float:
        most: float = min(LONGEST_REST, SHORTEST_REST * 2 ** min(self._failures, 10))
        return most * CHANCE.uniform(0.5, 1.0)  # so that processes part

    def _follow(self) -> None:
        """Connect, and read on until the connection fails, or leads to who no longer serves."""
        place = self._links.place_of(self._reader.key)
        connection = place.connect(time.monotonic() + place.connect_timeout)
        self._connected = (os.getpid(), connection)
        try:
            if self._is_stopped:  # before it could be interrupted
                return
            ask, greeted_at = partial(_ask, connection), -math.inf
            while place.is_current(connection) and not self._is_stopped:
                is_known = greeted_at > -math.inf and not self._is_replica
                if not is_known and time.monotonic() - greeted_at >= GREETING_SECONDS:
                    self._greet(ask)
                    greeted_at = time.monotonic()
                is_news = self._await_news(connection)
                self._catch_up(ask)
                self._failures = 0
                self._watch.tell()
                if is_news:
                    time.sleep(BREATH_SECONDS)
        finally:
            self._reader.server = ""
            self._connected = None
            connection.close()

    def _await_news(self, connection: Connection) -> bool:
        """Return when there is a purge that is not known yet, or after a while."""
        last = id_of(self._reader.table.last or (0, 0))
        block = ("BLOCK", str(int(BLOCK_SECONDS * 1000)))
        command = ("XREAD", "COUNT", "1", *block, "STREAMS", self._reader.key, last)
        try:
            return _ask(connection, command, BLOCK_SECONDS + PATIENCE_SECONDS) is not None
        except NoPermissionError as error:
            self._tell_refusal("XREAD", error)
            time.sleep(BLOCK_SECONDS)
            return False

    def _catch_up(self, ask: Ask, server: str = "") -> None:
        with self._reader.turn:
            self._reader.catch_up(ask, server)

    def _greet(self, ask: Ask) -> None:
        """Read the log, and look whether another server has it now.

        Until that is settled, no purge of this process names the server: it would seem to be so.
        """
        server = self._server_asked(ask)
        self._catch_up(ask, server)
        if self._clears and server:
            self._settle(ask, server)
            self._name(ask, server)
        self._server = server or self._server
        self._reader.server = server

    def _server_asked(self, ask: Ask) -> str:
        """The id of the server's data, which another one, or the same started again, has not."""
        self._is_replica = False
        try:
            told = ask(("INFO", "replication"))
        except NoPermissionError as error:
            self._tell_refusal("INFO", error)
            return ""
        found, self._is_replica = _SERVER.search(told), b"role:slave" in told
        return found[1].decode() if found else ""

    def _settle(self, ask: Ask, server: str) -> None:
        """Have everything forgotten where *server* is another one, once for all processes."""
        for _ in range(MOST_TRIES):
            if (self._reader.table.server or self._server) in {"", server}:
                return
            if self._reader.forget_all(ask, server):
                _log.warning(
                    "%s is on another server, or on one that was started again, so everything that "
                    "was stored before is forgotten",
                    self._reader.key,
                )
            self._catch_up(ask, server)
        raise StoreUnavailable(f"{self._reader.key} does not name its server")

    def _name(self, ask: Ask, server: str) -> None:
        """Have the log name *server*, for those who come when another one has it."""
        if not self._reader.table.server:
            with contextlib.suppress(ResponseError):  # it is full, or a replica
                ask(self._reader.addition(Purge((), server=server)))
            self._catch_up(ask, server)

    def _tell_refusal(self, command: str, error: NoPermissionError) -> None:
        if command not in self._refused:
            self._refused.add(command)
            _log.warning(
                "%s is followed without %s, so that not all is noticed at once: %s",
                *(self._reader.key, command, error),
            )


def _ask(connection: Connection, command: Command, seconds: float = PATIENCE_SECONDS) -> Any:
    """The reply to *command*, within *seconds*."""
    return fitting(command, connection.ask(command, time.monotonic() + seconds))
