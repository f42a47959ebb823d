"""How one process reads the log of purges, and notices that the log has lost some."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flask_larder.entry import Position
from flask_larder.errors import StoreUnavailable
from flask_larder.purges import ALL, Purge, PurgeTable
from flask_larder.redis.exchange import Command, Repeated
from flask_larder.redis.purge_record import Record, fields_of, id_of, record_of
from flask_larder.redis.scripts import script
from flask_larder.redis.watch import Watch

_log = logging.getLogger("flask_larder")

_FORGET_ALL: Final = script("forget_all")

BATCH: Final = 100
"""How many records one reply has at most. They may be long, and a reply has to come in time."""

LOSS_SECONDS: Final = 60.0
"""For how long, after a loss was told, others are only counted: a server may lose many logs."""

MOST_TRIES: Final = 3
"""How often a log that does not go on is asked again."""

Ask: TypeAlias = Callable[[Command], Any]
"""Has Redis answer a command."""


@dataclass(frozen=True, slots=True)
class Question:
    """A command that asks for what follows *since*, with *since* itself, or for all."""

    since: Position | None
    command: Command


class PurgeReader:
    """Reads the log called *key*, which keeps about the *most* recent purges, into *table*.

    Any thread may ask and have the reply taken. Those that have to ask several times take *turn*.
    *server* is the id of the server that has the log, while that is known.
    """

    def __init__(self, key: str, most: int, watch: Watch) -> None:
        self.key = key
        self.table = PurgeTable(most)
        self.turn = threading.RLock()  # which only its owner can release
        self.server = ""
        self._most = most
        self._watch = watch
        self._taking = threading.Lock()
        self._latest: Question | None = None
        self._losses = 0  # since one was told
        self._loss_told_at = -math.inf

    def question(self) -> Question:
        """What to ask. The reply is for :meth:`take`."""
        since, latest = self.table.last, self._latest
        if latest is None or latest.since != since:
            start = b"-" if since is None else id_of(since)
            command = Repeated("XRANGE", self.key, start, "+", "COUNT", str(BATCH))
            latest = self._latest = Question(since, command)
        return latest

    def take(self, question: Question, reply: Sequence[Any], asked_at: float) -> bool:
        """Take in the *reply* to what was *asked at* that time, by the monotonic clock.

        Returns whether everything is known now that was asked for.
        """
        is_known = len(reply) == 1 and reply[0][0] == question.command[2]
        if is_known or (self._read(question.since, reply) and len(reply) < BATCH):
            self._watch.answered(asked_at)
            return True
        return False

    def _read(self, since: Position | None, reply: Sequence[Any]) -> bool:
        """Take in records. Returns whether they go on from what is known, or begin anew."""
        records = [record_of(item) for item in reply]
        with self._taking:
            is_read = self.table.read(since, records)
        if is_read and since is not None and records[0][0] != since and not _is_told(records[0]):
            self._tell_loss()
        return is_read

    def catch_up(self, ask: Ask, server: str = "") -> None:
        """Ask until everything is known. The caller has the *turn*.

        A log that does not go on from what was known begins anew, at *server*: nobody can say what
        it has lost. Raises ``StoreUnavailable`` if it cannot even do that.
        """
        tries = 0
        while True:
            question, asked_at = self.question(), time.monotonic()
            reply = ask(question.command)
            if self.take(question, reply, asked_at):
                return
            if self.table.last != question.since:  # there was more than one reply can hold
                continue
            tries += 1
            if tries > MOST_TRIES:
                raise StoreUnavailable(f"the log of purges {self.key} does not go on")
            if not reply and self.forget_all(ask, server) and question.since is not None:
                self._tell_loss()

    def forget_all(self, ask: Ask, server: str = "") -> bool:
        """Add a purge of everything, unless the log goes on from what is known.

        Returns whether it was added. It is not known here yet. Its id is above all that were given
        until now, as far as the server's clock tells, and its number is none that a lost purge may
        have had: who knows that one would take the two for the same.
        """
        last = self.table.last
        behind = b"-" if last is None else b"(" + id_of(last)
        ms, number = last or (0, 0)
        number += 1 + secrets.randbelow(2**32)
        numbers = (str(ms), str(number), str(self._most))
        fields = fields_of(Purge((ALL,), server=server or self.server))
        command: Command = ("EVAL", _FORGET_ALL, "1", self.key, behind, *numbers, *fields)
        return bool(ask(command))

    def _tell_loss(self) -> None:
        now = time.monotonic()
        self._losses += 1
        if now - self._loss_told_at < LOSS_SECONDS:
            return
        times = f", {self._losses} times since the last such line" if self._losses > 1 else ""
        self._losses, self._loss_told_at = 0, now
        line = "%s has lost purges, so everything that was stored before is forgotten%s"
        _log.warning(line, self.key, times)

    def addition(self, purge: Purge) -> Command:
        """The command that adds *purge*; its reply is the id."""
        named = Purge(purge.targets, purge.soft, purge.server or self.server)
        return ("XADD", self.key, "MAXLEN", "~", str(self._most), "*", *fields_of(named))


def _is_told(record: Record) -> bool:
    """Whether that begins a log anew: whoever has added it knew that it had lost some."""
    return ALL in record[1].targets
