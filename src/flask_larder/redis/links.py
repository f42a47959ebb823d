"""What each process has of Redis: its own connections, and a circuit breaker."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import redis
from redis.exceptions import MovedError, ReadOnlyError, ResponseError

from flask_larder.breaker import Breaker
from flask_larder.budget import BudgetSource, Counts, unbounded
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess
from flask_larder.redis.connection import Place
from flask_larder.redis.exchange import Command, Connection, Deferred, Tried, Word, packed
from flask_larder.redis.pool import NoneFree, NotConnected, OutOfTime, Pool
from flask_larder.redis.replies import all_fitting
from flask_larder.threads import Single

T = TypeVar("T")

_FAULTS: Final = (
    *(redis.RedisError, OSError, NoneFree, NotConnected, OutOfTime),
    *(ValueError, MemoryError),  # of what is sent or received
)
"""What asking raises by itself: then the view answers. All else is the application's own.

Such as what a handler of a signal raises when the time of a job is over.
"""


@dataclass(frozen=True, slots=True)
class _Link:
    """What one process has.

    *ahead* has what goes ahead of a thread's next question, *behind* what goes behind a key's SET.
    """

    pool: Pool
    breaker: Breaker
    probe: Single
    ahead: dict[int, Deferred] = field(default_factory=dict)
    behind: dict[str, Deferred] = field(default_factory=dict)


class Links:
    """The links of one process after another to the Redis at *place*.

    A request that asks is never the one that connects, nor the one that finds out whether Redis
    is back: threads of their own do that. *budget* tells how long the present request may still
    be held up.
    """

    are_many: Final = False
    """Whether keys may live on different servers, so that no script can have two of them."""

    def __init__(self, place: Place, budget: BudgetSource = unbounded) -> None:
        self._place = place
        self._budget = budget
        self._here = PerProcess(self._link)

    def ask(self, *command: Word, counts: Counts = Counts.ALWAYS) -> Any:
        """The reply to *command*. Raises ``StoreUnavailable`` where there is none in time.

        *counts* tells whether that draws on the request's budget.
        """
        return self.ask_all(command, counts=counts)[0]

    def ask_both(self, command: Command, then: Command) -> tuple[Any, Any | None]:
        """The replies to *command* and to *then*, which is asked after it in the same go."""
        reply, reply_to_then = self.ask_all(command, then)
        return reply, reply_to_then

    def ask_all(self, *commands: Command, counts: Counts = Counts.ALWAYS) -> Sequence[Any]:
        """The replies to *commands*, in order, from one server over one connection, in one go.

        As :meth:`ask`; it raises also where only one of them is refused.
        """
        link = self._here()
        ahead = link.ahead.pop(threading.get_ident(), None) if link.ahead else None
        if ahead is None:
            return self._replies(link, commands, counts)
        return self._replies_along(link, (ahead, *commands), ahead, counts)[1:]

    def ahead_of(self, look: Callable[[], T], deferred: Deferred) -> T:
        """What *look* returns, with *deferred* ahead of what it asks first, if anything."""
        waiting, thread = self._here().ahead, threading.get_ident()
        outer = waiting.get(thread)
        waiting[thread] = deferred
        try:
            return look()
        finally:
            waiting.pop(thread, None)
            if outer is not None:
                waiting[thread] = outer

    def put_behind(self, key: str, deferred: Deferred) -> None:
        """Have *deferred* go behind the next :meth:`ask_to_set` of *key*, if there is one."""
        self._here().behind[key] = deferred

    def take_back(self, key: str, deferred: Deferred) -> None:
        """Let *deferred* no longer wait."""
        waiting = self._here().behind
        if waiting.get(key) is deferred:
            waiting.pop(key, None)

    def ask_to_set(self, key: str, *command: Word) -> Any:
        """As :meth:`ask`, with what was to go behind that for *key*."""
        link = self._here()
        behind = link.behind.pop(key, None)
        if behind is None:
            return self.ask(*command)
        return self._replies_along(link, (command, behind), behind, Counts.ALWAYS)[0]

    def _replies_along(
        self, link: _Link, commands: Sequence[Command], deferred: Deferred, counts: Counts
    ) -> Sequence[Any]:
        """The replies to *commands*, of which *deferred* is one."""
        asked_at = time.monotonic()
        try:
            replies = self._replies(link, commands, counts)
        except StoreUnavailable as error:
            deferred.was_asked = error.__cause__ is not None
            raise
        deferred.was_asked = True
        for command, reply in zip(commands, replies, strict=True):
            if command is deferred:
                deferred.reply = reply
        if isinstance(deferred.reply, ResponseError) and not isinstance(deferred, Tried):
            self._refused(link.breaker, deferred.reply, asked_at)
        return replies

    def _replies(self, link: _Link, commands: Sequence[Command], counts: Counts) -> Sequence[Any]:
        budget = None if counts is Counts.NEVER else self._budget()
        limit = usual = self._place.timeout
        if budget is not None:
            usual = min(usual, budget.whole)
            limit = min(usual, budget.left)
        if link.breaker.away_since is not None:
            self._try_again(link)
        asked_at, is_charged = time.monotonic(), True
        try:
            replies, was_late = _ask(link.pool, commands, asked_at, limit, usual / 2)
            # Who waits for another request, or for its own process, is not held up by the store.
            is_charged = not (was_late or counts is Counts.UNLESS_ANSWERED)
        except _FAULTS as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise  # as above: those of ours are redis.TimeoutError
            raise self._told(link.breaker, error, asked_at) from error
        finally:
            if budget is not None and is_charged:
                budget.left -= time.monotonic() - asked_at
        link.breaker.succeeded(asked_at)
        return replies

    def place_of(self, key: str) -> Place:  # noqa: ARG002 - all keys are in one place
        """Where *key* is, for a connection of one's own."""
        return self._place

    def parted(self, keys: Sequence[str]) -> Iterable[Sequence[str]]:
        """*keys*, in order, in parts of which each may stand in one command."""
        return (keys,)

    def everywhere(self) -> Sequence["Links"]:
        """Links of which each leads to a part of all keys, and all of them to all keys."""
        return (self,)

    def retire(self) -> None:
        """Be asked no more, since others serve what was here."""
        link = self._here()
        link.breaker.retire()
        link.pool.discard_idle()

    def ping(self, timeout: float) -> None:
        """Ask in any case, over a connection of its own, and return within *timeout* seconds."""
        now = time.monotonic()
        self._ping(now, now + timeout, timeout)

    def _link(self) -> _Link:
        breaker = Breaker(time.monotonic, self._place.name)
        return _Link(Pool(self._place, breaker.failed), breaker, Single("probe"))

    def _try_again(self, link: _Link) -> NoReturn:
        """Have it tried whether Redis is back, when it is time, but not at a request's expense."""
        asked_at = link.breaker.admit()
        if asked_at is not None:
            link.probe.start(partial(self._probe, asked_at))
        raise StoreUnavailable(f"{self._place.name} is away")

    def _probe(self, asked_at: float) -> None:
        # It has no more patience than requests: who is too slow for these is not back.
        with contextlib.suppress(StoreUnavailable):
            deadline = time.monotonic() + self._place.connect_timeout
            self._ping(asked_at, deadline, self._place.timeout)

    def _ping(self, asked_at: float, deadline: float, patience: float) -> None:
        """Connect, and have an answer, before *deadline*; the answer within *patience* seconds."""
        breaker, is_connected = self._here().breaker, False
        try:
            connection = self._place.connect(deadline)
            is_connected = True
            try:
                self._check(connection, min(deadline, time.monotonic() + patience))
            finally:
                connection.close()
        except Exception as error:
            raise self._told(breaker, error, asked_at, is_connected=is_connected) from error
        breaker.succeeded(asked_at)

    def _check(self, connection: Connection, deadline: float) -> None:
        """Raise an error if the server does not answer, or says that it cannot serve."""
        connection.ask(("PING",), deadline)

    def _refused(self, breaker: Breaker, error: Exception, asked_at: float) -> None:
        """Tell *breaker* that the server has answered with an error."""
        if isinstance(error, MovedError):
            error = ResponseError("it is a node of a Cluster; set CACHE_TYPE to RedisClusterCache")
        breaker.refused(error, asked_at)

    def _told(
        self, breaker: Breaker, error: Exception, asked_at: float, *, is_connected: bool = True
    ) -> StoreUnavailable:
        """Tell *breaker* of *error*, and return one of our own.

        A server that refuses something is there; one that refuses to be connected to is not.
        """
        name = self._place.name
        if isinstance(error, OutOfTime):  # whoever makes the connections will tell if that fails
            breaker.missed()
            return StoreUnavailable(f"{name} is out of time: {error}")
        if isinstance(error, NoneFree):
            breaker.not_asked(error)
            return StoreUnavailable(f"{name} refuses: {error}")
        if is_connected and isinstance(error, ResponseError):
            self._refused(breaker, error, asked_at)
            return StoreUnavailable(f"{name} refuses: {error}")
        # Or it was cut, which happens to one connection while the server is there.
        is_late = isinstance(error, redis.TimeoutError | redis.ConnectionError | OSError)
        breaker.failed(error, asked_at, is_late=is_late and is_connected)
        return StoreUnavailable(f"{name} is away: {error}")


def _ask(
    pool: Pool, commands: Sequence[Command], asked_at: float, limit: float, fair: float
) -> tuple[Sequence[Any], bool]:
    """The replies to *commands*, within *limit* seconds. Who has had *fair* ones may be late.

    Comes with whether the thread was late, and the replies there.
    """
    if limit <= 0:
        raise OutOfTime("the request has used up what it may wait for its store")
    deadline = asked_at + limit
    message = packed(commands)
    connection = pool.take(deadline)
    began = time.monotonic()
    if began >= deadline:
        pool.give(connection)  # nothing was asked on it
        raise OutOfTime("a connection was free too late")
    try:
        found = connection.exchange(message, len(commands), deadline)
        replies = all_fitting(commands, found)
    except ReadOnlyError:  # a master that has become a replica; a new connection may lead elsewhere
        pool.discard(connection)
        raise
    except ResponseError:
        pool.give(connection)
        raise
    except redis.TimeoutError as error:
        pool.discard(connection)
        if deadline - began < fair:
            raise OutOfTime("little was left of what the request may wait for its store") from error
        raise
    except BaseException:
        pool.discard(connection)
        raise
    was_late = connection.was_late
    pool.give(connection)
    return replies, was_late
