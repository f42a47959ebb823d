"""The :class:`~flask_larder.purges.PurgeLog` on Redis: a stream that all processes follow."""

import math
import time
import weakref
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.exceptions import OutOfMemoryError, ResponseError

from flask_larder.budget import Budget, BudgetSource, Counts, unbounded
from flask_larder.entry import Position
from flask_larder.errors import StoreUnavailable
from flask_larder.key import FORMAT
from flask_larder.per_process import PerProcess
from flask_larder.purges import Purge, PurgeTable
from flask_larder.redis.cluster import AnyLinks
from flask_larder.redis.exchange import Command, Word
from flask_larder.redis.follower import Follower
from flask_larder.redis.purge_reader import PurgeReader
from flask_larder.redis.purge_record import position_of
from flask_larder.redis.watch import Watch

NAME: Final = f"{FORMAT}purges"
"""The key of the log, behind the prefix."""

_LONGEST_TURN: Final = 10.0
"""How long who is in no hurry waits for those that read the log just now, in seconds."""


class RedisPurges:
    """The log in the Redis that *links* lead to, under a key that begins with *prefix*.

    It keeps about the *most* recent purges. What is known of it holds for *unwatched_seconds* where
    it cannot be heard of. With *clears*, everything is forgotten when another server has it.
    *budget* is that of the links.
    """

    def __init__(
        self,
        links: AnyLinks,
        prefix: str,
        *,
        most: int,
        unwatched_seconds: float,
        clears: bool = True,
        budget: BudgetSource = unbounded,
    ) -> None:
        self._links = links
        self._budget = budget
        self._here = PerProcess(
            lambda: _Here(links, prefix + NAME, most, unwatched_seconds, clears=clears)
        )

    def known(self) -> PurgeTable | None:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        here = self._following()
        return here.reader.table if time.monotonic() <= here.watch.holds_until else None

    def position(self) -> Position | None:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        return self._following().reader.table.last

    is_local: Final = False
    reaches: Final = True

    def known_until(self) -> float:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        return self._here().watch.holds_until

    def load(self) -> None:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        here = self._following()
        if here.reader.table.last is None:
            with suppress(StoreUnavailable):  # who looks something up asks again
                self._catch_up(here, Counts.ALWAYS)

    def ask_with(self, *command: Word) -> Any:
        """The reply to *command*. Raises ``StoreUnavailable``.

        All purges are known then that the log had when the command was answered, where one server
        has both; else those that the follower has heard of.
        """
        here = self._following()
        question, asked_at = here.reader.question(), time.monotonic()
        reply, of_log = self._links.ask_both(command, question.command)
        if of_log is None:
            is_known = here.watch.is_loaded
        else:
            is_known = here.reader.take(question, of_log, asked_at)
        if not is_known:
            self._catch_up(here, Counts.ALWAYS)
        return reply

    def add(self, *purges: Purge, counts: Counts = Counts.NEVER) -> None:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        here = self._following()
        try:
            if not here.watch.is_loaded:  # who adds to a log that is gone would hide that
                self._catch_up(here, counts)
            for purge in purges:
                self._add(here, purge, counts)
        except StoreUnavailable as error:
            raise StoreUnavailable(_explained(error)) from error.__cause__

    def stop(self) -> None:
        """Follow the log no more, in this process."""
        self._here().follower.stop()

    def _following(self) -> "_Here":
        here = self._here()
        if not here.follower.thread.is_busy:
            here.follower.start()
        return here

    def _add(self, here: "_Here", purge: Purge, counts: Counts) -> None:
        position = position_of(self._ask(counts, here.reader.addition(purge)))
        self._catch_up(here, counts)
        last = here.reader.table.last
        if last is None or last < position:
            raise StoreUnavailable("it is no longer in the log, which another server may have now")

    def _catch_up(self, here: "_Here", counts: Counts) -> None:
        reader, budget = here.reader, None if counts is Counts.NEVER else self._budget()
        until = math.inf if budget is None else time.monotonic() + budget.left
        try:
            self._await_turn(reader, budget)
            reader.catch_up(partial(self._ask_in_time, counts, budget, until))
        finally:
            # An exception of a signal may have come before it was known that it was acquired.
            try:  # noqa: SIM105 - or may come before that suppresses
                reader.turn.release()
            except RuntimeError:  # it is another's
                pass
            _charge(budget, until)

    def _await_turn(self, reader: PurgeReader, budget: Budget | None) -> None:
        """Acquire the reader's turn; no request waits longer for it than its *budget* allows."""
        began = time.monotonic()
        has_turn = reader.turn.acquire(
            timeout=_LONGEST_TURN if budget is None else max(0.0, budget.left)
        )
        if budget is not None:
            budget.left -= time.monotonic() - began
        if not has_turn:
            raise StoreUnavailable("the log of purges is still being read")

    def _ask_in_time(
        self, counts: Counts, budget: Budget | None, until: float, command: Command
    ) -> Any:
        _charge(budget, until)
        return self._ask(counts, command)

    def _ask(self, counts: Counts, command: Command) -> Any:
        return self._links.ask(*command, counts=counts)


class _Here:
    """What one process has of the log."""

    def __init__(
        self, links: AnyLinks, key: str, most: int, unwatched_seconds: float, *, clears: bool
    ) -> None:
        self.watch = Watch(key, unwatched_seconds)
        self.reader = PurgeReader(key, most, self.watch)
        self.follower = Follower(links, self.reader, self.watch, clears=clears)
        # The thread does not keep alive what nobody uses any more.
        weakref.finalize(self, self.follower.stop).atexit = False


def _charge(budget: Budget | None, until: float) -> None:
    """Leave a request no more than until then: to take in what was read takes time, too."""
    if budget is not None:
        budget.left = min(budget.left, until - time.monotonic())


def _explained(error: StoreUnavailable) -> str:
    """What became of a purge that has met *error*, and what to do."""
    if isinstance(error.__cause__, OutOfMemoryError):
        return (
            f"not all is purged, since Redis has no memory left: raise its maxmemory, or choose a "
            f"maxmemory-policy that evicts, and repeat the purge ({error})"
        )
    if isinstance(error.__cause__, ResponseError):
        return f"not all is purged: {error}; mend that, and repeat the purge"
    return f"the purge may have been noted, or not; repeat it ({error})"
