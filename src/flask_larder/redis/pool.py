"""Connections to one server, made by threads of their own, so that no request waits for long."""

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from flask_larder.redis.connection import Place
from flask_larder.redis.exchange import Connection
from flask_larder.threads import start

MOST_CONNECTORS: Final = 4
"""How many of them are being made at a time."""


class NoneFree(Exception):
    """All connections are taken, and none became free in time."""


class NotConnected(Exception):
    """No connection could be made; says why."""


class OutOfTime(Exception):
    """The time of who asks is over, which is not to say that Redis hangs."""


class Pool:
    """Hands out connections to *place* that are ready, and has those made that are lacking.

    Making one may take its time; where it fails, *failed* is told why and since when it was tried,
    and whoever waits hears of it.
    Nobody waits for one that has been in the making for longer than a reply may take.

    What was used last is taken first, without the lock while nobody waits.
    """

    def __init__(self, place: Place, failed: Callable[[BaseException, float], None]) -> None:
        self._place = place
        self._failed = failed
        self._patience = place.timeout
        self._most = place.most_connections
        self._lock = threading.RLock()  # with a Condition, a signal may come before it is entered
        self._changed = threading.Condition(self._lock)
        self._idle: list[Connection] = []
        # Idle, or taken. Who is ended just as it takes one cannot give it back: then it goes.
        self._made: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._waiting = set[object]()  # by what stands for each
        self._connecting: list[float] = []  # since when each is being made
        self._failures = 0
        self._last_failure = ""
        # Garbage is collected in any order: a socket might go before what closes it.
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def take(self, deadline: float) -> Connection:
        """A connection for this thread alone, for :meth:`give` or :meth:`discard`.

        Raises, when the monotonic clock shows *deadline* at the latest, why there is none:
        :class:`NoneFree`, :class:`OutOfTime` or :class:`NotConnected`.
        """
        while True:
            connection = None if self._waiting else self._idle_one()
            if connection is None:
                connection = self._awaited(deadline)
            is_usable = False
            try:
                is_usable = self._place.is_current(connection) and connection.is_ready
            finally:
                if not is_usable:
                    self.discard(connection)
            if is_usable:
                return connection

    def give(self, connection: Connection) -> None:
        """Take back a connection that has nothing more to read."""
        self._idle.append(connection)
        if self._waiting:  # who begins to wait after this finds it by itself
            with self._lock:  # all of them: one may have been ended just as it began to wait
                self._changed.notify_all()

    def discard(self, connection: Connection) -> None:
        """Close a connection of which it is not known what it will read next."""
        connection.close()
        with self._lock:
            self._made.discard(connection)
            self._changed.notify_all()

    def _awaited(self, deadline: float) -> Connection:
        me, failures, may_start = object(), self._failures, True
        try:
            with self._lock:
                self._waiting.add(me)
            while True:
                with self._lock:
                    if (connection := self._idle_one()) is not None:
                        return connection
                    if self._failures != failures:
                        raise NotConnected(self._last_failure)
                    if not (may_start and self._is_lacking()):
                        self._wait(deadline)
                        continue
                may_start = self._starts_to_connect()
        finally:
            with self._lock:
                self._waiting.discard(me)
                if self._idle:  # who was woken for it, and is ended by gevent, did not take it
                    self._changed.notify_all()

    def _wait(self, deadline: float) -> None:
        """Wait until something has changed. Raises why there is no connection where nothing has."""
        if not (self._made or self._connecting):
            raise OutOfTime("no thread can be started to make a connection")
        if not self._changed.wait(self._worth_waiting(deadline)) and not self._idle:
            if len(self._made) < self._most or self._connecting:
                raise OutOfTime("a connection is still being made")
            raise NoneFree("all connections are taken")

    def _idle_one(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _worth_waiting(self, deadline: float) -> float:
        if self._connecting and not self._made:  # there is no other that could become free
            deadline = min(deadline, self._connecting[0] + self._patience)
        return max(0.0, deadline - time.monotonic())

    def _is_lacking(self) -> bool:
        """Whether one is to be made for somebody who waits, as far as there may be more."""
        lacking = min(len(self._waiting), MOST_CONNECTORS) - len(self._connecting)
        return lacking > 0 and len(self._made) + len(self._connecting) < self._most

    def _starts_to_connect(self) -> bool:
        """Have one made that is lacking, if a thread can be started, and not under the lock.

        Where greenlets are threads, to start one lets others run: who would wait for the lock then,
        and is ended there, would leave without it.
        """
        began, is_started = time.monotonic(), False
        try:
            with self._lock:
                if not self._is_lacking():  # somebody was faster
                    return True
                self._connecting.append(began)
            is_started = start("connect", partial(self._connect, began))
        finally:
            if not is_started:  # it may be made all the same, where an exception came just then
                with self._lock:
                    self._no_longer_connecting(began)
        return is_started

    def _no_longer_connecting(self, began: float) -> None:
        with suppress(ValueError):
            self._connecting.remove(began)

    def _connect(self, began: float) -> None:
        try:
            connection = self._place.connect(began + self._place.connect_timeout)
        except BaseException as error:  # no such name, a wrong password, whatever
            try:
                self._failed(error, began)
            finally:  # whatever becomes of that, which may write to a log
                with self._lock:
                    self._no_longer_connecting(began)
                    self._failures += 1
                    self._last_failure = str(error)
                    self._changed.notify_all()
            if not isinstance(error, Exception):
                raise
            return
        with self._lock:
            self._no_longer_connecting(began)
            self._made.add(connection)
            self._idle.append(connection)
            self._changed.notify_all()

    def discard_idle(self) -> None:
        """Close what nobody uses."""
        while (connection := self._idle_one()) is not None:
            self.discard(connection)


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
