"""What each process has of Redis: its own connections, and a circuit breaker."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
from redis.exceptions import InvalidResponse, MovedError, ReadOnlyError, ResponseError

from flask_larder.breaker import Breaker
from flask_larder.budget import BudgetSource, Counts, unbounded
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess
from flask_larder.redis.connection import Place, exchange
from flask_larder.redis.pool import NoneFree, OutOfTime, Pool
from flask_larder.redis.threads import Single


@dataclass(frozen=True, slots=True)
class _Link:
    """What one process has."""

    pool: Pool
    breaker: Breaker
    probe: Single


class Links:
    """The links of one process after another to the Redis at *place*.

    A request that asks is never the one that connects, nor the one that finds out whether Redis
    is back: threads of their own do that. *budget* tells how long the present request may still
    be held up.
    """

    def __init__(self, place: Place, budget: BudgetSource = unbounded) -> None:
        self._place = place
        self._budget = budget
        self._here = PerProcess(self._link)

    def ask(self, *command: Any, counts: Counts = Counts.ALWAYS, first: str | None = None) -> Any:
        """The reply to *command*. Raises ``StoreUnavailable`` where there is none in time.

        *counts* tells whether that draws on the request's budget. *first* is a command that goes
        ahead of it, over the same connection.
        """
        budget = None if counts is Counts.NEVER else self._budget()
        timeout = self._place.timeout
        usual = timeout if budget is None else min(timeout, budget.whole)
        limit = usual if budget is None else min(usual, budget.left)
        link = self._here()
        asked_at = self._admit(link)
        is_answered = False
        try:
            with self._reporting(link.breaker, asked_at):
                reply = _ask(link.pool, command, asked_at + limit, usual / 2, first)
            is_answered = True
        finally:
            if budget is not None and not (is_answered and counts is Counts.UNLESS_ANSWERED):
                budget.left -= time.monotonic() - asked_at
        return reply

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

    def _admit(self, link: _Link) -> float:
        """The time, if Redis may be asked now."""
        is_away = link.breaker.is_open
        asked_at = link.breaker.admit()
        if asked_at is not None and not is_away:
            return asked_at
        if asked_at is not None:  # somebody is to try, but not at a request's expense
            link.probe.start(partial(self._probe, asked_at))
        raise StoreUnavailable(f"{self._place.name} is away")

    def _probe(self, asked_at: float) -> None:
        # It has no more patience than requests: who is too slow for these is not back.
        with contextlib.suppress(StoreUnavailable):
            deadline = time.monotonic() + self._place.connect_timeout
            self._ping(asked_at, deadline, self._place.timeout)

    def _ping(self, asked_at: float, deadline: float, patience: float) -> None:
        """Connect, and have an answer, before *deadline*; the answer within *patience* seconds."""
        with self._reporting(self._here().breaker, asked_at):
            connection = self._place.connect(deadline)
            try:
                self._check(connection, min(deadline, time.monotonic() + patience))
            finally:
                connection.disconnect()  # type: ignore[no-untyped-call]

    def _check(self, connection: redis.Connection, deadline: float) -> None:
        """Raise an error if the server does not answer, or says that it cannot serve."""
        exchange(connection, ("PING",), deadline)

    def _refused(self, breaker: Breaker, error: Exception, asked_at: float) -> None:
        """Tell *breaker* that the server has answered with an error."""
        if isinstance(error, MovedError):
            error = ResponseError("it is a node of a Cluster; set CACHE_TYPE to RedisClusterCache")
        breaker.refused(error, asked_at)

    @contextlib.contextmanager
    def _reporting(self, breaker: Breaker, asked_at: float) -> Iterator[None]:
        """Tell *breaker* how it went, and raise errors as our own."""
        try:
            yield
        except OutOfTime as error:  # whoever makes the connections will tell if that fails
            breaker.missed()
            raise StoreUnavailable(f"{self._place.name} is out of time: {error}") from error
        except (ResponseError, NoneFree) as error:
            self._refused(breaker, error, asked_at)
            raise StoreUnavailable(f"{self._place.name} refuses: {error}") from error
        except Exception as error:  # whatever it is, the view answers
            breaker.failed(error, asked_at, is_late=isinstance(error, redis.TimeoutError))
            raise StoreUnavailable(f"{self._place.name} is away: {error}") from error
        breaker.succeeded(asked_at)


def fits(command: tuple[Any, ...], reply: Any) -> bool:
    """Whether *reply* has the shape of an answer to *command*, as far as that is used here.

    One that has not means that the stream is out of step, and each reply belongs to another.
    """
    match command[0]:
        case "MGET":
            is_list = isinstance(reply, list) and len(reply) == len(command) - 1
            return is_list and all(isinstance(item, bytes | None) for item in reply)
        case "GET":
            return isinstance(reply, bytes | None)
        case "SET":
            return reply is None or reply == b"OK"
        case "SCAN":
            return (
                isinstance(reply, list)
                and len(reply) == 2
                and isinstance(reply[0], bytes)
                and isinstance(reply[1], list)
                and all(isinstance(key, bytes) for key in reply[1])
            )
        case "EXISTS" | "UNLINK" | "EVAL":
            return isinstance(reply, int)
    raise AssertionError(f"nobody has said what {command[0]} answers")


def _fitting(command: tuple[Any, ...], reply: Any) -> Any:
    if not fits(command, reply):
        raise InvalidResponse(f"the reply to {command[0]} is that to another question")
    return reply


def _ask(
    pool: Pool, command: tuple[Any, ...], deadline: float, fair: float, first: str | None
) -> Any:
    """The reply to *command*, before *deadline*. Who has had *fair* seconds for it may be late."""
    if time.monotonic() >= deadline:
        raise OutOfTime("the request has used up what it may wait for its store")
    connection = pool.take(deadline)
    began = time.monotonic()
    try:
        if first is not None:
            exchange(connection, (first,), deadline)
        reply = _fitting(command, exchange(connection, command, deadline))
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
    pool.give(connection)
    return reply
