"""Several processes, one log of purges, and what rule 5 of the design promises of them."""

import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest

from flask_larder.ask import Ask, Hit, Miss, Shared
from flask_larder.coalesce import Coalescer, LocalLeases
from flask_larder.codec import decode_entry
from flask_larder.engine import Engine, _Attempt
from flask_larder.entries import Entries
from flask_larder.entry import Position, StoredResponse
from flask_larder.errors import StoreUnavailable
from flask_larder.headers import Fields
from flask_larder.key import stored_key
from flask_larder.memory import L1
from flask_larder.purges import ALL, Purge
from flask_larder.redis import RedisPurges, RedisStore
from flask_larder.redis.purge_record import purge_of
from flask_larder.status import CacheStatus
from tests.core.test_engine import Clock
from tests.purge_processes import LOG, PREFIX
from tests.purge_visits import TIMEOUT, Made, Page, ViewFailed, Visit, asked, is_hit, url_of
from tests.simulated_redis import SimulatedLinks, SimulatedRedis

UNWATCHED: Final = 5.0
BATCH: Final = 4

LOSSES: Final = ("log", "log", "trim", "snapshot", "snapshot", "failover", "failover", "flush")


class Time:
    """Stands for the module: a monotonic clock that is set by hand."""

    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


class Numbers:
    """Stands for the module ``secrets``: the same numbers in each run."""

    source = random.Random(0)

    @classmethod
    def randbelow(cls, limit: int) -> int:
        return cls.source.randrange(limit)


def use_simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the log of purges read clocks that are set by hand, and few records at a time."""
    for module in ("purge_log", "purge_reader", "watch"):
        monkeypatch.setattr(f"flask_larder.redis.{module}.time", Time)
    monkeypatch.setattr("flask_larder.redis.purge_reader.secrets", Numbers)
    monkeypatch.setattr("flask_larder.redis.purge_reader.BATCH", BATCH)


@dataclass
class Promise:
    """A purge that has returned. *changed* and *returned* are moments of the story.

    It *is_lost* while a server answers that has not heard of it.
    """

    purge: Purge
    changed: int
    returned: int
    returned_at: float
    position: Position
    is_lost: bool = False


class Process:
    """One process: the real engine, over the real reading of the log, in steps.

    *knows* are the purges that it must have heard of since it was started. It *remembers* what it
    has read.
    """

    def __init__(self, redis: SimulatedRedis, *, most: int, parts: bool, remembers: bool) -> None:
        self.redis = redis
        self.links = SimulatedLinks(redis, parts=parts)
        self.purges = RedisPurges(self.links, PREFIX, most=most, unwatched_seconds=UNWATCHED)
        self.purges.stop()
        self.clock = Clock()
        self.clock.now = redis.ms / 1000
        store = RedisStore(self.links, PREFIX, self.purges)
        coalescer: Coalescer[Shared] = Coalescer(LocalLeases(), Time.monotonic, wait_seconds=9)
        memory = L1(max_bytes=10**6, seconds=10.0, clock=Time.monotonic) if remembers else None
        self.engine = Engine(
            Entries(store, memory), self.purges, self.clock, lambda: 1.0, coalescer
        )
        self.followed = ""
        self.knows: set[int] = set()
        self.leading: list[Visit] = []

    @property
    def is_reading(self) -> bool:
        """Whether it is in the midst of reading the log."""
        return self.purges._here().reader.turn._is_owned()  # in one thread, whoever has it

    def position(self) -> Position | None:
        """Where a request is that comes now."""
        if self.purges.position() is None:
            self.purges.load()
        return self.purges.position()

    def follow(self) -> bool:
        """What the follower does when it has heard something, or has to connect."""
        here, server = self.purges._here(), self.redis.server

        def ask(command: Any) -> Any:
            if self.redis.server != server:
                raise StoreUnavailable("the connection is broken")
            return self.links.ask(*command)

        try:
            if self.followed == server:
                here.follower._catch_up(ask)
            else:
                here.reader.server = ""
                here.follower._greet(ask)
                self.followed = server
        except StoreUnavailable:
            here.reader.server, self.followed = "", ""
        return self.followed == server


class World:
    """A server, three processes, the story so far, and the promises that were made in it.

    Data change right before they are purged, and a request reads its data when it comes. What it
    makes may not show them, once the purge has returned, to any request that comes after that, if

    - that request could ask the store and the log, and the server has not lost the purge;
    - or its process knew of the purge when it came, whatever is lost or cannot be asked.

    With *parts*, as on a Cluster, where the log cannot be asked along, and where a process
    *remembers* what it has read, what is promised to those who have not heard of it holds
    ``UNWATCHED`` seconds later. A failover loses purges. As soon as
    one process has greeted the server that answers now, where the log last named another, all that
    was made of data from before the failover is purged, for everybody. What *is_calm* has no
    faults: there all misses are looked into, too.
    """

    def __init__(
        self,
        *,
        most: int = 1000,
        parts: bool = False,
        remembers: bool = False,
        is_calm: bool = True,
    ) -> None:
        Time.now, Numbers.source = 0.0, random.Random(0)
        self.redis = SimulatedRedis()
        self.most, self.parts, self.is_calm = most, parts, is_calm
        self.remembers = remembers
        self.processes = [self._process() for _ in range(3)]
        self.promises: list[Promise] = []
        self.visits: list[Visit] = []
        self.moment = 0
        self.snapshot = self.redis.snapshot()
        self.failed_over = 0
        self.lookups = self.hits = self.stale = self.needless = self.wasted = 0
        self._latest: dict[str, tuple[Visit, float]] = {}

    def _process(self) -> Process:
        return Process(self.redis, most=self.most, parts=self.parts, remembers=self.remembers)

    def _next(self) -> int:
        self.moment += 1
        return self.moment

    def come(
        self, process: Process, page: Page, query: str = "", tags: tuple[str, ...] = ()
    ) -> Visit:
        """A request comes, and is answered, waits, or has the view begin."""
        visit = Visit(
            *(len(self.visits), page, query, self._next(), Time.now),
            knew=frozenset(process.knows),
            position=process.position(),
            read=self._next(),
            tags=tags,
        )
        self.visits.append(visit)
        ask = asked(visit)
        found = self._look_up(process, visit, ask)
        if isinstance(found, Hit):
            self._serve(visit, found)
            return visit
        visit.attempt = _Attempt(process.engine, ask, found, partial(self._made, visit))
        for leader in process.leading:
            if leader.attempt.key == visit.attempt.key:
                leader.waiting.append(visit)
                return visit
        self._lead(process, visit)
        return visit

    def _look_up(self, process: Process, visit: Visit, ask: Ask) -> Hit | Miss:
        stored = self._stored(ask)
        found = process.engine.lookups.find(ask)
        self._know(process, visit, found)
        self.lookups += 1
        if isinstance(found, Hit):
            self.hits += 1
        elif visit.is_certain and self.is_calm:
            self.wasted += self._was_made(process, visit, ask)
            if stored is not None:
                self._refused(process, stored, visit, found)
        return found

    def _was_made(self, process: Process, visit: Visit, ask: Ask) -> bool:
        """Whether what was made last for this key would do: it is fresh, and no purge hits it."""
        made, made_at = self._latest.get(ask.key, (visit, -TIMEOUT))
        return process.clock.now < made_at + TIMEOUT and not any(
            made.read < promise.changed and is_hit(promise.purge, made, visit)
            for promise in self.promises
        )

    def _know(self, process: Process, visit: Visit, found: Hit | Miss) -> None:
        """Note what the process knows by now, if it could ask the log along."""
        uncertain = {"store-unavailable", "purges-unknown"}
        visit.is_certain = found.status.detail not in uncertain
        if visit.is_certain and not (self.parts or self.remembers):
            process.knows |= self._returned_before(visit.began)

    def _returned_before(self, moment: int) -> set[int]:
        return {
            number
            for number, promise in enumerate(self.promises)
            if promise.returned < moment and not promise.is_lost
        }

    def _stored(self, ask: Ask) -> StoredResponse | None:
        data = self.redis._get(PREFIX + stored_key(ask.key, ask.hash_method))
        entry = None if data is None else decode_entry(data)
        return entry if isinstance(entry, StoredResponse) else None

    def _lead(self, process: Process, visit: Visit) -> None:
        shared = visit.attempt.look()
        if shared is not None and (answer := visit.attempt.adopt(shared)) is not None:
            self._answered(visit, answer)
        else:
            process.leading.append(visit)

    def _answered(self, visit: Visit, answer: tuple[Hit | Made, CacheStatus]) -> None:
        if isinstance(answer[0], Hit):
            self._serve(visit, answer[0])

    def finish(self, process: Process, visit: Visit, *, fails: bool = False) -> None:
        """The view returns; who has waited gets what it made, or has the view run, too.

        Where it *fails*, what is stale may be sent.
        """
        process.leading.remove(visit)
        visit.fails, shared = fails, None
        with suppress(ViewFailed):
            answer, shared = visit.attempt.lead()
            assert visit.position is not None or not answer[1].stored
            self._answered(visit, answer)
        if not fails:
            self._latest[asked(visit).key] = visit, process.clock.now
        for waiting in visit.waiting:
            self._adopt(process, waiting, shared)

    def _adopt(self, process: Process, visit: Visit, shared: Shared | None) -> None:
        answer = visit.attempt.settle() if shared is None else visit.attempt.adopt(shared)
        if answer is None:
            self._lead(process, visit)
        else:
            self._answered(visit, answer)

    def _made(self, visit: Visit, status: CacheStatus, _: Fields) -> Made:
        if visit.fails:
            raise ViewFailed
        half = len(visit.tags) // 2
        return Made(
            body=str(visit.number).encode(),
            tagged=visit.tags[:half],
            page=visit.page,
            url=url_of(visit),
            late=visit.tags[half:],
        )

    def _serve(self, visit: Visit, hit: Hit) -> None:
        made = self.visits[int(hit.response.body)]
        self.stale += hit.status.detail in {"stale-while-revalidate", "stale-if-error"}
        for number, promise in enumerate(self.promises):
            if (
                made.read < promise.changed
                and promise.returned < visit.began
                and is_hit(promise.purge, made, visit)
                and self._holds(number, promise, visit)
                and not (promise.purge.soft and self._is_open(made, visit))
            ):
                raise AssertionError(f"{visit} got what was made for {made}, despite {promise}")

    def _is_open(self, made: Visit, visit: Visit) -> bool:
        """Whether what was *made* may still be sent stale, to *visit*.

        Its time begins with the latest soft purge. By clocks that step, nobody can tell.
        """
        window = made.page.window
        if not window or not self.is_calm:
            return window > 0
        return any(
            promise.purge.soft
            and is_hit(promise.purge, made, visit)
            and Time.now - promise.returned_at <= window
            for promise in self.promises
        )

    def _holds(self, number: int, promise: Promise, visit: Visit) -> bool:
        """Whether *promise* is one for this visit."""
        if number in visit.knew:
            return True
        if not visit.is_certain or promise.is_lost:
            return False
        is_told_later = self.parts or self.remembers
        return not is_told_later or promise.returned_at < visit.began_at - UNWATCHED

    def _refused(self, process: Process, stored: StoredResponse, visit: Visit, miss: Miss) -> None:
        """Count a miss of something that no later purge has hit. What soft ones hit is stale."""
        if stored.stored_at + stored.lifetime <= process.clock.now or stored.position is None:
            return
        latest = process.purges.position()
        if latest is not None and stored.position > latest:  # it has not heard of that yet
            assert self.parts or self.remembers
            return
        made = self.visits[int(stored.body)]
        later = [
            purge
            for position, fields in self.redis.contents.streams[LOG].records
            if position > stored.position and is_hit(purge := purge_of(fields), made, visit)
        ]
        self.needless += not later
        if all(purge.soft for purge in later) and later:
            assert miss.status.fwd == "stale"

    def purge(self, process: Process, purge: Purge) -> None:
        """Data change, and all that shows them is purged."""
        changed = self._next()
        try:
            process.purges.add(purge)
        except StoreUnavailable:
            return
        returned = self._next()
        stream = self.redis.contents.streams.get(LOG)
        position = process.purges.position()
        assert stream is not None
        assert position is not None
        process.knows |= self._returned_before(changed)
        process.knows.add(len(self.promises))
        self.promises.append(Promise(purge, changed, returned, Time.now, position))

    def follow(self, process: Process) -> None:
        """Have the follower of *process* read the log, or greet a server."""
        began, is_other = self._next(), self._is_told_of_another_server()
        if process.follow():
            process.knows |= self._returned_before(began)
            if is_other:
                self._promise_all(process)

    def _is_told_of_another_server(self) -> bool:
        """Whether the log names a server last that is not the one that answers."""
        stream = self.redis.contents.streams.get(LOG)
        purges = [purge_of(fields) for _, fields in stream.records] if stream else []
        named = [purge.server for purge in purges if purge.server]
        return bool(named) and named[-1] != self.redis.server

    def _promise_all(self, process: Process) -> None:
        position = process.purges.position()
        assert position is not None
        purge = Purge((ALL,))
        self.promises.append(Promise(purge, self.failed_over, self._next(), Time.now, position))

    def restart(self, number: int) -> None:
        """Have a process end with all that it has under way, and another one begin."""
        self.processes[number] = self._process()

    def lose(self, loss: str) -> None:
        """Have the server lose something, or note what it may come back to."""
        match loss:
            case "log":
                self.redis.drop(LOG)
            case "trim":
                self.redis.trim(LOG, 1)
            case "flush":
                self.redis.flush()
            case "snapshot":
                self.snapshot = self.redis.snapshot()
            case "failover":
                self._fail_over()

    def _fail_over(self) -> None:
        """Have another server answer, which has what the last snapshot has."""
        self.redis.fail_over(self.snapshot)
        self.failed_over = self._next()
        stream = self.redis.contents.streams.get(LOG)
        for promise in self.promises:
            promise.is_lost |= stream is not None and promise.position > stream.last

    def pass_by(self, seconds: float) -> None:
        """Have all clocks go on."""
        Time.now += seconds
        self.redis.ms += round(seconds * 1000)
        for process in self.processes:
            process.clock.now += seconds
