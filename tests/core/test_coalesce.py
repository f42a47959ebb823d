"""One leader for each key: exact counts, with threads that meet at barriers."""

import inspect
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import TypeVar

import pytest

from flask_larder import coalesce, flights
from flask_larder.coalesce import (
    LOOK_SECONDS,
    UNSHARED,
    Coalescer,
    LocalLeases,
)
from flask_larder.entry import NO_TARGETS, Position, Targets
from flask_larder.errors import StoreUnavailable
from flask_larder.flights import MOST_FAILURES, REST_SECONDS, Flight, Flights
from flask_larder.store import UNASKED, Lease, Leases, Unasked

T = TypeVar("T")

SOON = 20.0  # seconds after which a test has failed


class Clock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Looking:
    """Leases that are asked for before a look, in a go of their own."""

    def acquire_and_look(self, key: str, look: Callable[[], T]) -> tuple[Lease | None, T]:
        try:
            lease = self.acquire(key)
        except StoreUnavailable:
            lease = UNSHARED
        return lease, look()

    def look_and_acquire(self, key: str, look: Callable[[], T]) -> tuple[Lease | Unasked | None, T]:
        lease, found = self.acquire_and_look(key, look)
        if found is None:
            return lease, found
        if lease is not None:
            lease.release()
        return UNASKED, found

    def leave(self, key: str) -> None:
        """Nothing is given unheard."""


class SharedLeases(Looking):
    """The leases of several processes, which are coalescers here."""

    def __init__(self) -> None:
        self.held: dict[str, object] = {}
        self.pollers: list[int] = []
        self.own: set[object] = set()
        self.asked: list[str] = []
        self.is_away = False
        self._lock = threading.Lock()

    def acquire(self, key: str) -> "_Held | None":
        self.asked.append(key)
        if self.is_away:
            raise StoreUnavailable("away")
        with self._lock:
            if key in self.held:
                return None
            lease = self.held[key] = _Held(self, key)
            return lease

    def holder(self, key: str) -> object | None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.pollers.append(threading.get_ident())
        return self.held.get(key)

    def is_own(self, holder: object) -> bool:
        return holder in self.own

    def leave(self, key: str) -> None:
        held = self.held.get(key)
        if isinstance(held, _Held) and held.thread == threading.get_ident():
            held.release()


class _Held:
    def __init__(self, leases: SharedLeases, key: str) -> None:
        self.thread = threading.get_ident()
        self._leases = leases
        self._key = key

    def release(self) -> None:
        with self._leases._lock:
            if self._leases.held.get(self._key) is self:
                del self._leases.held[self._key]


class Work:
    """What all tasks of a test do: *make* one thing under a key, kept in *stored*.

    *spare* will do for who would work beside others.
    """

    def __init__(self, make: Callable[[], str] = lambda: "made", *, storable: bool = True) -> None:
        self.make = make
        self.storable = storable
        self.stored: dict[str, str] = {}
        self.purged: Position = (0, 0)
        self.spare: str | None = None
        self.runs: list[tuple[float, float]] = []  # begin and end of each
        self.begun = threading.Semaphore(0)

    def task(self, key: str = "k", wants: str | None = None, since: Position = (1, 0)) -> "Wish":
        return Wish(self, key, wants, since)


class Wish:
    """One caller's task. *wants* is the only result that is for it, or ``None`` for any."""

    def __init__(self, work: Work, key: str, wants: str | None, since: Position = (1, 0)) -> None:
        self.key = key
        self.since = since
        self.is_for_one = False
        self.finds_nothing = False
        self.looks = 0
        self._work = work
        self._wants = wants

    def expects(self) -> Targets:
        return NO_TARGETS

    @property
    def is_overtaken(self) -> bool:
        return self.since < self._work.purged

    def is_too_old(self, work: flights.Work) -> bool:
        return work.since is not None and work.since < self.since

    def find(self) -> str | None:
        found = self.look()
        return None if found is None else f"found {found}"

    def look(self) -> str | None:
        self.looks += 1
        found = self._work.stored.get(self.key)
        self.finds_nothing = found is None
        return found

    def adopt(self, shared: str) -> str | None:
        return f"adopted {shared}" if self._wants in {None, shared} else None

    def settle(self) -> str | None:
        return self._work.spare

    def lead(self) -> tuple[str, str | None]:
        began = time.monotonic()
        self._work.begun.release()
        try:
            made = self._work.make()
        finally:
            self._work.runs.append((began, time.monotonic()))
        if self._work.storable and not self.is_overtaken:
            self._work.stored[self.key] = made
        return made, made if self._work.storable else None


def coalescer(leases: Leases | None = None, **options: object) -> Coalescer[str]:
    settings = {"wait_seconds": SOON, "delays": impatiently, **options}
    return Coalescer(leases or LocalLeases(), settings.pop("clock", time.monotonic), **settings)


def impatiently() -> Iterator[float]:
    while True:
        yield 0.002


class Crowd:
    """Callers in threads of their own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.calls: list[Future[str]] = []

    def call(self, by: Coalescer[str], *tasks: Wish) -> None:
        self.calls += [self._pool.submit(by.run, task) for task in tasks]

    def come(self, by: Coalescer[str], *tasks: Wish) -> None:
        self.calls += [self._pool.submit(by.find_or_run, task) for task in tasks]

    def results(self) -> list[str]:
        return [call.result(SOON) for call in self.calls]

    def errors(self) -> list[BaseException | None]:
        return [call.exception(SOON) for call in self.calls]


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ThreadPoolExecutor(64) as pool:
        yield Crowd(pool)


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiting(by: Coalescer[str], key: str = "k") -> int:
    """How many callers wait in this process for a flight to land."""
    flight = by._flights()._under_way.get(key)
    landing = flight.landing if flight else None
    return len(landing._cond._waiters) if landing else 0  # type: ignore[attr-defined]


def test_fifty_callers_and_one_run(crowd: Crowd) -> None:
    """All but the leader get what it made."""
    go = threading.Event()
    work, by = Work(lambda: "made" if go.wait(SOON) else "late"), coalescer()
    crowd.call(by, *(work.task() for _ in range(50)))
    until(lambda: waiting(by) == 49)
    go.set()
    assert sorted(crowd.results()) == ["adopted made"] * 49 + ["made"]
    assert len(work.runs) == 1


def test_other_keys_do_not_wait(crowd: Crowd) -> None:
    """Each key has its own leader."""
    both = threading.Barrier(2, timeout=SOON)
    work, by = Work(lambda: "made" if both.wait() >= 0 else ""), coalescer()
    crowd.call(by, work.task("a"), work.task("b"))
    assert crowd.results() == ["made", "made"]


def test_what_was_stored_meanwhile_is_not_made_again() -> None:
    """Who becomes leader just after another one has gone looks before it works."""
    work, by = Work(), coalescer()
    work.stored["k"] = "there"
    assert by.run(work.task()) == "adopted there"
    assert not work.runs


def test_nothing_is_left_of_a_flight() -> None:
    """Neither after an answer nor after an error."""
    work, by = Work(), coalescer()
    by.run(work.task())
    with pytest.raises(ZeroDivisionError):
        by.run(Work(lambda: str(1 / 0)).task("e"))
    assert not by._flights()._under_way


def test_a_leader_that_raises_frees_the_others_and_one_of_them_tries(crowd: Crowd) -> None:
    """The error is the leader's own; the next one's result is for all who still wait."""
    go, turns = threading.Event(), iter(["error", "made"])

    def make() -> str:
        go.wait(SOON)
        if next(turns) == "error":
            raise LookupError
        return "made"

    work, by = Work(make), coalescer()
    crowd.call(by, *(work.task() for _ in range(20)))
    until(lambda: waiting(by) == 19)
    go.set()
    assert sum(isinstance(error, LookupError) for error in crowd.errors()) == 1
    results = [call.result() for call in crowd.calls if not call.exception()]
    assert sorted(results) == ["adopted made"] * 18 + ["made"]
    assert len(work.runs) == 2


@pytest.mark.parametrize("storable", [True, False])
def test_after_two_that_come_to_nothing_the_others_go_in_parallel(
    crowd: Crowd, storable: bool
) -> None:
    """Neither do they queue up one behind the other, nor rush before that."""

    def fail() -> str:
        time.sleep(0.05)
        if storable:
            raise LookupError
        return "unstorable"

    work, by = Work(fail, storable=storable), coalescer()
    crowd.call(by, *(work.task() for _ in range(30)))
    crowd.errors()
    assert len(work.runs) == 30
    first, second, *others = sorted(work.runs)
    assert first[1] <= second[0]
    assert all(second[1] <= begin for begin, _ in others)
    assert others[-1][0] - others[0][0] < 28 * 0.05  # one after the other they would take longer


def test_a_key_that_failed_twice_rests_for_a_second(crowd: Crowd) -> None:
    """Meanwhile nobody waits; then it is tried again, and a success forgets the failures."""
    clock, both = Clock(), threading.Barrier(2, timeout=SOON)
    by = coalescer(clock=clock, wait_seconds=10 * SOON)
    failing = Work(storable=False)
    for _ in range(MOST_FAILURES):
        by.run(failing.task())
    meeting = Work(lambda: "met" if both.wait() >= 0 else "", storable=False)
    crowd.call(by, meeting.task(), meeting.task())  # they meet, so they ran in parallel
    assert crowd.results() == ["met", "met"]

    clock.now += REST_SECONDS
    by.run(Work().task())
    assert not by._flights()._failures


def test_one_failure_is_no_reason_to_rest() -> None:
    """Only failures in a row count."""
    by = coalescer(clock=Clock())
    for _ in range(5):
        by.run(Work(storable=False).task())
        assert not by._flights().rests("k", 1000.0)
        by.run(Work().task())


def test_failures_are_kept_for_a_bounded_number_of_keys() -> None:
    """Made-up keys cannot fill the memory."""
    by = coalescer()
    for number in range(10_010):
        by.run(Work(storable=False).task(str(number)))
    assert len(by._flights()._failures) == 10_000


def test_a_result_for_others_is_not_taken(crowd: Crowd) -> None:
    """A caller that the leader's result is not for does its own work, after two such leaders."""
    go = threading.Event()
    work, by = Work(lambda: "made" if go.wait(SOON) else ""), coalescer()
    crowd.call(by, work.task())
    assert work.begun.acquire(timeout=SOON)
    crowd.call(by, work.task(wants="else"))
    until(lambda: waiting(by) == 1)
    go.set()
    assert crowd.results() == ["made", "made"]
    assert len(work.runs) == 2


def test_who_cannot_use_a_result_looks_for_its_own(crowd: Crowd) -> None:
    """The leader's was for others, and what this caller wants was stored meanwhile."""
    go = threading.Event()
    work, by = Work(lambda: "made" if go.wait(SOON) else ""), coalescer()

    class Choosy(Wish):
        def adopt(self, shared: str) -> str | None:
            return None if shared == "made" else shared

        def look(self) -> str:
            return "mine"

    crowd.call(by, work.task())
    assert work.begun.acquire(timeout=SOON)
    crowd.call(by, Choosy(work, "k", None))
    until(lambda: waiting(by) == 1)
    go.set()
    assert crowd.results() == ["made", "mine"]


def test_results_for_others_are_waited_for_twice_at_most(crowd: Crowd) -> None:
    """However many others come in between, a caller does its own work after two of them."""
    by, go = coalescer(wait_seconds=10 * SOON), threading.Event()
    go.set()
    others = Work(lambda: "made" if go.wait(SOON) else "late")

    class Overtaken(Wish):
        """After each result that is not for it, another leader is there before it."""

        adopted = 0

        def adopt(self, shared: str) -> None:
            self.adopted += 1
            if self.adopted <= 3:
                others.stored.clear()
                go.clear()
                crowd.call(by, others.task())
                assert others.begun.acquire(timeout=SOON)
                if self.adopted < 2:
                    threading.Timer(0.05, go.set).start()

    own = Work(lambda: "own")
    go.clear()
    crowd.call(by, others.task())
    assert others.begun.acquire(timeout=SOON)
    threading.Timer(0.05, go.set).start()
    task = Overtaken(own, "k", None)
    assert by.run(task) == "own"
    assert task.adopted == 2
    go.set()
    crowd.results()


def test_who_has_waited_long_enough_works(crowd: Crowd) -> None:
    """The deadline ends in the caller's own work, whatever the leader does."""
    go, turns = threading.Event(), iter(["slow", "quick"])

    def make() -> str:
        turn = next(turns)
        if turn == "slow":
            go.wait(SOON)
        return turn

    work, by = Work(make), coalescer(wait_seconds=0.05)
    crowd.call(by, work.task())
    assert work.begun.acquire(timeout=SOON)
    assert by.run(work.task()) == "quick"
    go.set()
    assert crowd.results() == ["slow"]


def test_work_that_wants_its_own_result_does_not_wait_for_itself() -> None:
    """A view that asks for itself recurses, as without a cache."""
    by = coalescer()
    inner = Work(lambda: "inner")
    outer = Work(lambda: by.run(inner.task()))
    began = time.monotonic()
    assert by.run(outer.task()) == "inner"
    assert time.monotonic() - began < SOON / 2


def test_work_knows_itself_where_greenlets_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preloaded application is imported before gevent patches, and used after that."""
    monkeypatch.setattr(threading, "get_ident", lambda: 4711)
    test_work_that_wants_its_own_result_does_not_wait_for_itself()


def test_a_fork_leaves_flights_behind(crowd: Crowd) -> None:
    """A child does not wait for a leader that is a thread of its parent."""
    go = threading.Event()
    work, by = Work(lambda: "made" if go.wait(SOON) else ""), coalescer()
    crowd.call(by, work.task())
    assert work.begun.acquire(timeout=SOON)
    child = os.fork()
    if child == 0:
        os._exit(0 if by.run(Work(lambda: "child").task()) == "child" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    assert crowd.results() == ["made"]


LATER: Position = (2, 0)


def test_who_comes_after_a_purge_leads_past_what_is_being_made(crowd: Crowd) -> None:
    """It and those after it share what it makes; those before share what was being made."""
    go, names = threading.Event(), iter(["old", "new"])

    def make() -> str:
        name = next(names)
        return name if go.wait(SOON) else ""

    work, by = Work(make), coalescer()
    crowd.call(by, *(work.task() for _ in range(10)))
    until(lambda: waiting(by) == 9)
    work.purged = LATER
    for come in (crowd.call, crowd.come):
        come(by, *(work.task(since=LATER) for _ in range(10)))
    until(lambda: waiting(by) == 19)
    go.set()
    results = crowd.results()
    assert sorted(results[:10]) == ["adopted old"] * 9 + ["old"]
    assert sorted(results[10:]) == ["adopted new"] * 19 + ["new"]
    assert not by._flights()._under_way


def test_who_does_not_know_since_when_waits_as_ever(crowd: Crowd) -> None:
    """As for who revalidates, whose result may be one for all."""
    work, by = Work(), coalescer()
    work.purged = LATER
    with by.claim("k") as claim:
        assert claim
        crowd.call(by, *(work.task(since=LATER) for _ in range(5)))
        until(lambda: waiting(by) == 5)
        claim.result = work.stored["k"] = "anew"
    assert crowd.results() == ["adopted anew"] * 5


def test_work_that_purges_what_it_makes_still_does_not_wait_for_itself() -> None:
    """It would hold the lease for which it waits."""
    leases, work = SharedLeases(), Work()
    by = coalescer(leases)
    inner = work.task(since=LATER)

    def make() -> str:
        work.purged = LATER
        work.make = lambda: "inner"
        return f"outer {by.run(inner)}"

    work.make = make
    assert by.run(work.task()) == "outer inner"
    assert not leases.pollers


def test_before_a_purge_a_process_waits_for_no_other(crowd: Crowd) -> None:
    """What the other makes is stored for nobody: each process makes its own, for who waits there.

    It takes no lease, by which it would keep waiting who came later; nor is that a failure.
    """
    leases, go = SharedLeases(), threading.Event()
    foreign = leases.acquire("k")
    work, by = Work(lambda: "old" if go.wait(SOON) else "", storable=True), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(10)))
    until(lambda: len(leases.pollers) > 3 and waiting(by) == 10)
    work.purged = LATER
    assert work.begun.acquire(timeout=SOON)
    assert leases.held["k"] is foreign
    assert not by._flights()._failures
    go.set()
    assert sorted(crowd.results()) == ["adopted old"] * 9 + ["old"]
    assert len(work.runs) == 1


def test_before_a_purge_a_process_still_takes_what_is_newer(crowd: Crowd) -> None:
    """Where that is stored by then, nothing is made."""
    leases = SharedLeases()
    leases.acquire("k")
    work, by = Work(), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(5)))
    until(lambda: len(leases.pollers) > 3 and waiting(by) == 5)
    work.stored["k"] = "new"
    work.purged = LATER
    assert crowd.results() == ["adopted new"] * 5
    assert not work.runs


def test_who_comes_after_a_purge_waits_for_one_who_does_elsewhere(crowd: Crowd) -> None:
    """However many made something older before that: they lead nobody who came later."""
    leases, go = SharedLeases(), threading.Event()
    foreign = leases.acquire("k")
    assert foreign
    work, by = Work(lambda: "old" if go.wait(SOON) else ""), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(5)))
    until(lambda: len(leases.pollers) > 3 and waiting(by) == 5)
    work.purged = LATER
    assert work.begun.acquire(timeout=SOON)
    polled = len(leases.pollers)
    crowd.call(by, *(work.task(since=LATER) for _ in range(5)))
    until(lambda: len(leases.pollers) > polled + 3)
    new = leases.held["k"] = _Held(leases, "k")
    foreign.release()
    polled = len(leases.pollers)
    until(lambda: len(leases.pollers) > polled + 3)
    work.stored["k"] = "new"
    new.release()
    assert [call.result(SOON) for call in crowd.calls[5:]] == ["adopted new"] * 5
    go.set()
    assert sorted(crowd.results()[:5]) == ["adopted old"] * 4 + ["old"]
    assert len(work.runs) == 1


def test_four_processes_and_one_run(crowd: Crowd) -> None:
    """The lease tells the leader of all of them."""
    go, leases = threading.Event(), SharedLeases()
    work = Work(lambda: "made" if go.wait(SOON) else "")
    processes = [coalescer(leases) for _ in range(4)]
    for by in processes:
        crowd.call(by, *(work.task() for _ in range(10)))
    until(lambda: sum(map(waiting, processes)) >= 36)
    go.set()
    assert sorted(crowd.results()) == ["adopted made"] * 39 + ["made"]
    assert len(work.runs) == 1
    assert not leases.held


def test_who_leads_elsewhere_in_the_same_thread_is_not_waited_for() -> None:
    """As where two caches share a Redis, and one decorates what the other has decorated."""
    leases = SharedLeases()
    leases.own.add(leases.acquire("k"))
    work, by = Work(), coalescer(leases)
    assert by.find_or_run(work.task()) == "made"
    assert not by._flights()._failures
    assert len(leases.pollers) == 1


def test_one_caller_of_a_process_polls_for_all(crowd: Crowd) -> None:
    """The others wait in memory."""
    leases = SharedLeases()
    foreign = leases.acquire("k")
    assert foreign
    work, by = Work(), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(20)))
    until(lambda: len(leases.pollers) > 20 and waiting(by) >= 20)
    work.stored["k"] = "foreign"
    foreign.release()
    assert crowd.results() == ["adopted foreign"] * 20
    assert len(set(leases.pollers)) == 1
    assert not work.runs


def test_a_leader_that_was_killed_is_replaced_by_one(crowd: Crowd) -> None:
    """When its lease has run out, one of those who wait takes it."""
    leases = SharedLeases()
    leases.acquire("k")
    work, processes = Work(), [coalescer(leases) for _ in range(3)]
    for by in processes:
        crowd.call(by, *(work.task() for _ in range(5)))
    until(lambda: len(leases.pollers) > 10)
    del leases.held["k"]
    assert sorted(crowd.results()) == ["adopted made"] * 14 + ["made"]
    assert len(work.runs) == 1


def test_the_second_of_two_foreign_leaders_answers(crowd: Crowd) -> None:
    """One elsewhere was killed, another took over and stored: what it stored is taken."""
    leases = SharedLeases()
    leases.acquire("k")
    work, by = Work(), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(5)))
    until(lambda: len(leases.pollers) > 3)
    leases.held["k"] = _Held(leases, "k")
    looks = len(leases.pollers)
    until(lambda: len(leases.pollers) > looks + 3)
    work.stored["k"] = "second"
    del leases.held["k"]
    assert crowd.results() == ["adopted second"] * 5
    assert not by._flights()._failures


def test_nobody_waits_behind_a_third_leader(crowd: Crowd) -> None:
    """One elsewhere and one here that come to nothing are enough."""
    leases = SharedLeases()
    foreign = leases.acquire("k")
    assert foreign
    turns, others = iter([True]), threading.Barrier(4, timeout=SOON)

    def make() -> str:
        if next(turns, False):
            raise LookupError
        others.wait()
        return "met"

    work, by = Work(make), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(5)))
    until(lambda: len(leases.pollers) > 3 and waiting(by) == 5)
    foreign.release()
    assert sum(error is not None for error in crowd.errors()) == 1
    assert [call.result() for call in crowd.calls if not call.exception()] == ["met"] * 4


def test_two_foreign_failures_let_all_go(crowd: Crowd) -> None:
    """The callers then do not even wait for one of their own."""

    class Elusive(SharedLeases):
        """Somebody else always has the lease, and no sooner asked for, it is over."""

        def acquire(self, key: str) -> None:
            return None

        def holder(self, key: str) -> None:
            return None

    both = threading.Barrier(5, timeout=SOON)
    work = Work(lambda: "met" if both.wait() >= 0 else "")
    by = coalescer(Elusive(), clock=Clock())
    crowd.call(by, *(work.task() for _ in range(5)))
    assert crowd.results() == ["met"] * 5
    assert by._flights().rests("k", 1000.0)  # so that those who come now do not wait either


def test_a_leader_that_another_one_follows_at_once_is_noticed(crowd: Crowd) -> None:
    """Between two looks at the lease it has changed hands."""
    leases = SharedLeases()
    leases.acquire("k")
    both = threading.Barrier(5, timeout=SOON)
    work = Work(lambda: "met" if both.wait() >= 0 else "")
    by = coalescer(leases, wait_seconds=10 * SOON)
    crowd.call(by, *(work.task() for _ in range(5)))
    for _ in range(2):
        looks = len(leases.pollers)
        until(lambda looks=looks: len(leases.pollers) > looks + 3)
        leases.held["k"] = _Held(leases, "k")
    assert crowd.results() == ["met"] * 5


def test_leaders_here_and_elsewhere_are_counted_together(crowd: Crowd) -> None:
    """One here has failed and one elsewhere has followed: nobody waits for a third, here."""

    class Overtaking(SharedLeases):
        """When the first lease is given back, another process is faster than ours."""

        def acquire(self, key: str) -> "_Held | None":
            lease = super().acquire(key)
            if lease:
                give_back = lease.release

                def lose() -> None:
                    give_back()
                    self.held[key] = _Held(self, key)

                lease.release = lose  # type: ignore[method-assign]
            return lease

    go, leases = threading.Event(), Overtaking()
    both = threading.Barrier(2, timeout=SOON)
    turns = iter([True])

    def make() -> str:
        if next(turns, False):
            go.wait(SOON)
            raise LookupError
        both.wait()
        return "met"

    work, by = Work(make), coalescer(leases, wait_seconds=10 * SOON)
    crowd.call(by, work.task(), work.task(), work.task())
    until(lambda: waiting(by) == 2)
    go.set()
    until(lambda: len(leases.pollers) > 3)
    del leases.held["k"]
    assert sum(error is not None for error in crowd.errors()) == 1
    assert [call.result() for call in crowd.calls if not call.exception()] == ["met"] * 2


def test_one_failure_counts_once(crowd: Crowd) -> None:
    """Who follows does not take the lease that its own process is giving back for another's."""
    released = threading.Event()

    class Slow(SharedLeases):
        def acquire(self, key: str) -> "_Held | None":
            lease = super().acquire(key)
            if lease and not released.is_set():
                give_back = lease.release

                def slowly() -> None:
                    time.sleep(0.05)
                    give_back()
                    released.set()

                lease.release = slowly  # type: ignore[method-assign]
            return lease

    go, second = threading.Event(), threading.Event()
    turns = iter(["error", "made"])

    def make() -> str:
        if next(turns) == "error":
            go.wait(SOON)
            raise LookupError
        second.wait(SOON)
        return "made"

    work, by = Work(make), coalescer(Slow())
    crowd.call(by, work.task(), work.task(), work.task())
    until(lambda: waiting(by) == 2)
    go.set()
    until(lambda: len(work.runs) == 1)
    assert released.wait(SOON)
    assert work.begun.acquire(timeout=SOON)
    assert work.begun.acquire(timeout=SOON)
    assert by._flights()._failures["k"].count == 1
    second.set()
    assert sum(error is not None for error in crowd.errors()) == 1


def test_while_the_store_is_away_each_process_leads_for_itself(crowd: Crowd) -> None:
    """Collapsing inside a process goes on."""
    go, leases = threading.Event(), SharedLeases()
    leases.is_away = True
    work = Work(lambda: "made" if go.wait(SOON) else "")
    processes = [coalescer(leases) for _ in range(3)]
    for by in processes:
        crowd.call(by, *(work.task(f"k{id(by)}") for _ in range(10)))
    until(lambda: sum(waiting(by, f"k{id(by)}") for by in processes) == 27)
    go.set()
    crowd.results()
    assert len(work.runs) == 3


def test_a_store_that_goes_away_while_polling_ends_the_wait(crowd: Crowd) -> None:
    """Whoever polled leads for its process, and the others wait for that."""
    leases, go = SharedLeases(), threading.Event()
    leases.acquire("k")
    work, by = Work(lambda: "made" if go.wait(SOON) else ""), coalescer(leases)
    crowd.call(by, *(work.task() for _ in range(5)))
    until(lambda: len(leases.pollers) > 3 and waiting(by) >= 4)
    leases.is_away = True
    assert work.begun.acquire(timeout=SOON)
    assert not work.begun.acquire(timeout=0.1)
    go.set()
    assert sorted(crowd.results()) == ["adopted made"] * 4 + ["made"]


def test_a_foreign_leader_that_never_ends_is_left_at_the_deadline() -> None:
    """And counts as no failure: it may still be at work."""
    leases = SharedLeases()
    leases.acquire("k")
    by = coalescer(leases, wait_seconds=0.03)
    assert by.run(Work().task()) == "made"
    assert not by._flights()._failures


def test_a_lease_is_given_back_whatever_happens() -> None:
    """Also when the work raises something that is no Exception."""
    leases = SharedLeases()

    def leave() -> str:
        raise SystemExit

    with pytest.raises(SystemExit):
        coalescer(leases).run(Work(leave).task())
    assert not leases.held


def test_fakes_are_what_they_stand_for() -> None:
    """The types agree with the ports."""
    leases: Leases = SharedLeases()
    lease: Lease | None = leases.acquire("k")
    assert lease


class Ended(BaseException):
    """As gevent ends a greenlet: from outside, and wherever it is."""


def test_a_leader_that_is_ended_while_it_gives_its_lease_back_still_lands() -> None:
    """Otherwise everybody who comes later would wait for it."""

    class EndingLeases(Looking, LocalLeases):
        def acquire(self, key: str) -> Lease:
            return self

        def release(self) -> None:
            raise Ended

    work, one = Work(storable=False), coalescer(EndingLeases(), wait_seconds=2.0)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(Ended):
            one.run(work.task())
        assert time.monotonic() - began < 1.0
    assert len(work.runs) == 2


def is_ended_at(moment: int, work: Callable[[], object]) -> bool:
    """Whether *work* comes so far that an exception of a signal ends it at that *moment*.

    Such come where a function is entered or left, here one of the coalescer's or of the leases.
    """
    left = itertools.count(moment, -1)

    def end(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_ours = code.co_filename.endswith(("coalesce.py", "flights.py"))
        # A generator is closed by who raises: what it raises then is lost.
        is_ours = is_ours and not code.co_flags & inspect.CO_GENERATOR
        if is_ours and event in {"call", "return"} and next(left) == 0:
            raise Ended

    sys.setprofile(end)
    try:
        work()
    except Ended:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.mark.parametrize("is_elsewhere", [False, True])
@pytest.mark.parametrize("likely_stored", [False, True])
@pytest.mark.parametrize("storable", [False, True])
def test_whoever_is_ended_leaves_nothing(
    is_elsewhere: bool, likely_stored: bool, storable: bool
) -> None:
    """Wherever it is just then, as by a signal: nobody waits for what it has begun."""
    for moment in itertools.count():
        leases, work = SharedLeases(), Work(storable=storable)
        by = coalescer(leases, wait_seconds=0.001)
        by._flights().guess("k", is_stored=likely_stored)
        if is_elsewhere:
            leases.held["k"] = object()
        is_ended = is_ended_at(moment, partial(by.find_or_run, work.task()))
        assert not by._flights()._under_way
        assert not by._flights()._led
        assert not any(isinstance(held, _Held) for held in leases.held.values())
        if not is_ended:
            break
    assert moment > 20


@pytest.mark.parametrize("name", ["acquire", "note"])
def test_a_claim_that_is_ended_leaves_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither as it begins nor as it ends."""
    leases = SharedLeases()
    by = coalescer(leases)
    owner = SharedLeases if name == "acquire" else Flights
    function = getattr(owner, name)

    def end(*arguments: object, **options: object) -> None:
        function(*arguments, **options)
        raise Ended

    def claim_and_work() -> None:
        with by.claim("k") as claim:
            assert claim
            claim.has_worked = True

    monkeypatch.setattr(owner, name, end)
    with pytest.raises(Ended):
        claim_and_work()
    assert not by._flights()._under_way
    assert not leases.held


def test_what_is_stored_is_found() -> None:
    """Then nobody works, and no lease is kept; the next time, none is asked for."""
    leases, work = SharedLeases(), Work()
    by = coalescer(leases)
    work.stored["k"] = "there"
    for asked in (1, 1):
        assert by.find_or_run(work.task()) == "found there"
        assert len(leases.asked) == asked
    assert not work.runs
    assert not leases.held
    assert not by._flights()._under_way


def test_who_finds_nothing_works_at_once() -> None:
    """The first look has brought the lease; afterwards, it is likely to be stored."""
    leases, work = SharedLeases(), Work()
    by, first, second = coalescer(leases), work.task(), work.task()
    assert by.find_or_run(first) == "made"
    assert first.looks == 1
    assert not leases.held
    assert by.find_or_run(second) == "found made"
    assert leases.asked == ["k"]


def test_a_wrong_guess_costs_one_look() -> None:
    """It was stored, and is no more: who looks in vain asks for the lease then, and looks again."""
    leases, work = SharedLeases(), Work()
    by, task = coalescer(leases), work.task()
    by.find_or_run(work.task())
    work.stored.clear()
    assert by.find_or_run(task) == "made"
    assert task.looks == 2
    assert len(work.runs) == 2


def test_fifty_who_come_at_once_and_one_run(crowd: Crowd) -> None:
    """One of them asks for the lease; each of the others looks for itself, and waits."""
    go, leases = threading.Event(), SharedLeases()
    work, by = Work(lambda: "made" if go.wait(SOON) else "late"), coalescer(leases)
    tasks = [work.task() for _ in range(50)]
    crowd.come(by, *tasks)
    until(lambda: waiting(by) == 49)
    go.set()
    assert sorted(crowd.results()) == ["adopted made"] * 49 + ["made"]
    assert leases.asked == ["k"]
    assert [task.looks for task in tasks] == [1] * 50


def test_who_comes_while_another_process_leads_waits(crowd: Crowd) -> None:
    """The first look tells that there is a leader."""
    go, leases = threading.Event(), SharedLeases()
    work = Work(lambda: "made" if go.wait(SOON) else "late")
    crowd.come(coalescer(leases), work.task())
    assert work.begun.acquire(timeout=SOON)
    crowd.come(coalescer(leases), work.task())
    until(lambda: leases.pollers)
    go.set()
    assert crowd.results() == ["made", "adopted made"]
    assert len(work.runs) == 1


@pytest.mark.parametrize("is_known_before", [True, False])
def test_who_wants_an_answer_of_its_own_waits_for_nobody(is_known_before: bool) -> None:
    """Nor does anybody wait for it."""
    leases = SharedLeases()
    by, held = coalescer(leases), []
    work = Work(lambda: held.append((dict(leases.held), waiting(by))) or "made")  # type: ignore[func-returns-value]

    class Alone(Wish):
        def find(self) -> None:
            self.is_for_one = True

    alone = Alone(work, "k", None)
    alone.is_for_one = is_known_before
    assert by.find_or_run(alone) == "made"
    assert held == [({}, 0)]
    assert not by._flights()._under_way
    assert leases.asked == ([] if is_known_before else ["k"])


def test_who_finds_that_its_key_is_another_leads_for_that() -> None:
    """As where a URL has variants. The lease for the first key is given back."""
    leases = SharedLeases()
    by, held = coalescer(leases), []
    work = Work(lambda: held.append(list(leases.held)) or "made")  # type: ignore[func-returns-value]

    class Varying(Wish):
        def find(self) -> None:
            self.key = "variant"

    assert by.find_or_run(Varying(work, "k", None)) == "made"
    assert held == [["variant"]]
    assert not leases.held
    assert not by._flights()._under_way


def test_a_look_that_raises_ends_the_flight() -> None:
    """Otherwise everybody who comes later would wait for it."""
    leases = SharedLeases()
    by = coalescer(leases)

    class Broken(Wish):
        def find(self) -> str:
            raise LookupError

    with pytest.raises(LookupError):
        by.find_or_run(Broken(Work(), "k", None))
    assert not by._flights()._under_way


def test_keys_that_share_a_guess_are_still_told_apart() -> None:
    """A guess decides what is asked first, and never what is answered."""
    leases, work = SharedLeases(), Work()
    by = coalescer(leases)
    for place in range(2**16):
        by._flights()._guesses[place] = True
    assert by.find_or_run(work.task("new")) == "made"
    for place in range(2**16):
        by._flights()._guesses[place] = False
    assert by.find_or_run(work.task("new")) == "found made"


def test_a_key_that_rests_is_looked_for_all_the_same() -> None:
    """Without a lease; who finds nothing works."""
    leases, clock = SharedLeases(), Clock()
    by = coalescer(leases, clock=clock)
    for _ in range(MOST_FAILURES):
        by.find_or_run(Work(storable=False).task())
    leases.asked.clear()
    work = Work()
    work.stored["k"] = "there"
    assert by.find_or_run(work.task()) == "found there"
    work.stored.clear()
    assert by.find_or_run(work.task()) == "made"
    assert not leases.asked


class Looker(Wish):
    """Begins to look, goes on when it may, and then wants an answer of its own."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, "k", None)
        self.begun, self.go = threading.Event(), threading.Event()

    def find(self) -> str | None:
        self.begun.set()
        assert self.go.wait(SOON)
        self.is_for_one = True
        return None


def test_who_has_only_looked_is_no_leader_that_failed(crowd: Crowd) -> None:
    """Who has waited for it works, though something would do; and nobody rests for that."""
    by, own = coalescer(SharedLeases()), Work(lambda: "own")
    work = Work()
    work.spare = "spare"
    looker = Looker(own)
    crowd.come(by, looker)
    assert looker.begun.wait(SOON)
    crowd.come(by, work.task())
    until(lambda: waiting(by) == 1)
    looker.go.set()
    assert crowd.results() == ["own", "made"]
    assert not by._flights()._failures


def test_nobody_waits_for_one_look_after_the_other(crowd: Crowd) -> None:
    """Who has waited for one leads past the next."""
    by, work, looker = coalescer(SharedLeases()), Work(), Looker(Work(lambda: "own"))
    crowd.come(by, looker)
    assert looker.begun.wait(SOON)
    crowd.come(by, work.task())
    until(lambda: waiting(by) == 1)
    flights = by._flights()
    with flights._lock:  # another one looks as soon as the first one has gone
        flights._under_way["k"] = type(flights._under_way["k"])(0, None, is_look=True)
    looker.go.set()
    assert crowd.results() == ["own", "made"]
    assert not flights._under_way


def test_who_was_gone_past_waits_for_who_leads(crowd: Crowd) -> None:
    """It gives the lease back that its look has brought."""
    leases, work = SharedLeases(), Work()
    by = coalescer(leases)
    flights = by._flights()

    def goes_past() -> bool:
        own = Flight[str](0, None)
        return flights.join("k", own, passes_looks=True) is own

    class Passed(Wish):
        def find(self) -> None:
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(goes_past).result(SOON)

    crowd.come(by, Passed(work, "k", None))
    until(lambda: waiting(by) == 1)
    assert leases.asked == ["k"]
    assert not leases.held
    flights._under_way["k"].result = "landed"
    flights.land("k", flights._under_way["k"])
    assert crowd.results() == ["adopted landed"]
    assert not work.runs


def test_a_look_keeps_nobody_from_a_claim() -> None:
    """Where the lease is free, who claims leads."""
    by = coalescer()

    class Watched(Wish):
        def find(self) -> str:
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(self._claims).result(SOON)
            return "found"

        def _claims(self) -> bool:
            with by.claim("k") as claim:
                return claim is not None

    assert by.find_or_run(Watched(Work(), "k", None)) == "found"
    assert not by._flights()._under_way


def test_a_look_that_takes_long_is_gone_past(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where what the app asks while it looks waits for a lock that the other caller holds."""
    monkeypatch.setattr(coalesce, "LOOK_SECONDS", 0.01)
    by, work, looker = coalescer(), Work(), Looker(Work(lambda: "own"))
    crowd.come(by, looker)
    assert looker.begun.wait(SOON)
    assert by.find_or_run(work.task()) == "made"
    looker.go.set()
    assert crowd.results() == ["own"]


@pytest.mark.parametrize("was_stored", [False, True])
def test_who_comes_while_the_view_runs_looks_when_something_is_there(
    crowd: Crowd, was_stored: bool
) -> None:
    """Also where it was stored before, so that the leader has looked beside others."""
    by, go, work = coalescer(SharedLeases()), threading.Event(), Work()
    if was_stored:
        by.find_or_run(work.task())
        work.stored.clear()
        assert work.begun.acquire(timeout=SOON)
    work.make = lambda: "new" if go.wait(SOON) else "late"
    crowd.come(by, work.task())
    assert work.begun.acquire(timeout=SOON)
    later = work.task()
    crowd.come(by, later)
    until(lambda: waiting(by) == 1)
    assert later.looks == 0
    go.set()
    assert crowd.results() == ["new", "adopted new"]
    assert later.looks == 1  # by now, it may have been purged


def test_what_is_stored_by_then_stands_above_the_result(crowd: Crowd) -> None:
    """The look may find something newer, and that the result was purged."""
    by, go, work = coalescer(), threading.Event(), Work()

    def make() -> str:
        made = "made" if go.wait(SOON) else "late"
        work.storable = False
        work.stored["k"] = "newer"
        return made

    work.make = make
    crowd.come(by, Shared(work, "k", None))
    assert work.begun.acquire(timeout=SOON)
    crowd.come(by, work.task())
    until(lambda: waiting(by) == 1)
    go.set()
    assert crowd.results() == ["made", "adopted newer"]


class Shared(Wish):
    """Its result is for all, whether it is stored or not."""

    def lead(self) -> tuple[str, str | None]:
        made, _ = super().lead()
        return made, made


def at_work(by: Coalescer[str], crowd: Crowd, leader: Wish, work: Work) -> threading.Event:
    """Have the *leader* work until what is returned is set."""
    go = threading.Event()
    work.make = lambda: "new" if go.wait(SOON) else "late"
    crowd.come(by, leader)
    assert work.begun.acquire(timeout=SOON)
    return go


def test_who_comes_while_what_is_stored_is_made_anew_looks(crowd: Crowd) -> None:
    """As where it is stale, and only some may have it so: those do not wait."""
    by, work = coalescer(), Work()
    work.stored["k"] = "stale"

    class Fastidious(Wish):
        def find(self) -> None:
            assert super().find() == "found stale"

    go = at_work(by, crowd, Fastidious(work, "k", None), work)
    assert by.find_or_run(work.task()) == "found stale"
    go.set()
    assert crowd.results() == ["new"]


def test_who_comes_while_another_variant_is_made_looks(crowd: Crowd) -> None:
    """A leader may learn by its second look that it wants something else."""
    by, work = coalescer(), Work()
    by.find_or_run(work.task())
    work.stored.clear()
    assert work.begun.acquire(timeout=SOON)

    class Varying(Wish):
        def look(self) -> str | None:
            if self.looks:
                self.key = "variant"
            return super().look()

    go = at_work(by, crowd, Varying(work, "k", None), work)
    work.stored["k"] = "there"
    assert by.find_or_run(work.task()) == "found there"
    go.set()
    assert crowd.results() == ["new"]


def test_who_comes_after_a_foreign_leader_has_made_a_variant_looks(crowd: Crowd) -> None:
    """Before, there was nothing at all; then there is what the leader does not want."""
    leases, work = SharedLeases(), Work()
    foreign = leases.acquire("k")
    by = coalescer(leases)

    class Varying(Wish):
        def look(self) -> str | None:
            if work.stored:
                self.key = "variant"
            return super().look()

    crowd.come(by, Varying(work, "k", None))
    until(lambda: leases.pollers)
    assert foreign is not None
    go = threading.Event()
    work.make = lambda: "new" if go.wait(SOON) else "late"
    work.stored["k"] = "there"
    foreign.release()
    assert work.begun.acquire(timeout=SOON)
    assert by.find_or_run(work.task()) == "found there"
    go.set()
    assert crowd.results() == ["new"]


def test_who_comes_while_a_view_takes_long_looks(crowd: Crowd) -> None:
    """Somebody else may have stored it since."""
    clock = Clock()
    by, work = coalescer(clock=clock), Work()
    go = at_work(by, crowd, work.task(), work)
    clock.now += LOOK_SECONDS
    work.stored["k"] = "there"
    assert by.find_or_run(work.task()) == "found there"
    go.set()
    assert crowd.results() == ["new"]


def test_who_has_waited_in_vain_looks_before_it_works(crowd: Crowd) -> None:
    """What is there by then, from another process, need not be made."""
    by, work = coalescer(wait_seconds=0.01), Work()
    go = at_work(by, crowd, work.task(), work)
    work.stored["k"] = "theirs"
    assert by.find_or_run(work.task()) == "adopted theirs"
    go.set()
    assert crowd.results() == ["new"]


def test_what_will_do_saves_the_others_from_a_leader_that_fails(crowd: Crowd) -> None:
    """All who waited for it get that, and nobody else tries."""
    go = threading.Event()
    work, by = Work(lambda: str(1 / 0) if go.wait(SOON) else ""), coalescer()
    work.spare = "spare"
    crowd.call(by, *(work.task() for _ in range(20)))
    until(lambda: waiting(by) == 19)
    go.set()
    assert sum(isinstance(error, ZeroDivisionError) for error in crowd.errors()) == 1
    assert [call.result() for call in crowd.calls if not call.exception()] == ["spare"] * 19
    assert len(work.runs) == 1


def test_what_will_do_ends_a_wait(crowd: Crowd) -> None:
    """At the deadline, and behind a third leader."""
    leases = SharedLeases()
    leases.acquire("k")
    by = coalescer(leases, wait_seconds=0.05)
    work = Work()
    work.spare = "spare"
    crowd.call(by, *(work.task() for _ in range(10)))
    assert crowd.results() == ["spare"] * 10
    assert not work.runs


def test_a_claim_is_the_lead(crowd: Crowd) -> None:
    """Who comes meanwhile gets its result, also in another process that looks then."""
    leases = SharedLeases()
    here, there = coalescer(leases), coalescer(leases)
    work = Work()
    with here.claim("k") as claim, here.claim("k") as again, there.claim("k") as foreign:
        assert claim is not None
        assert (again, foreign) == (None, None)
        crowd.call(here, work.task())
        until(lambda: waiting(here) == 1)
        claim.result = "claimed"
    assert crowd.results() == ["adopted claimed"]
    assert not work.runs
    assert not leases.held


def test_claims_that_come_to_nothing_rest() -> None:
    """Two in a row, as for any leader."""
    clock = Clock()
    by = coalescer(clock=clock)
    for _ in range(MOST_FAILURES):
        with by.claim("k") as claim:
            assert claim is not None
            claim.has_worked = True
    with by.claim("k") as claim:
        assert claim is None
    clock.now += REST_SECONDS
    with by.claim("k") as claim:
        assert claim is not None
        claim.result = "made"
    assert not by._flights()._failures


def test_a_claim_that_was_not_used_is_no_failure() -> None:
    """Nobody has tried."""
    by = coalescer(clock=Clock())
    for _ in range(5):
        with by.claim("k") as claim:
            assert claim is not None


def test_who_waits_for_claims_waits_twice_at_most(crowd: Crowd) -> None:
    """A claim that comes to nothing counts as a leader."""
    by, work = coalescer(clock=Clock()), Work()
    with by.claim("k"):
        crowd.call(by, work.task())
        until(lambda: waiting(by) == 1)
        flight = by._flights()._under_way["k"]
    assert flight.leaders == 1
    assert crowd.results() == ["made"]


def test_what_a_claim_raises_ends_it() -> None:
    """Nobody waits for ever."""
    leases = SharedLeases()
    by = coalescer(leases)
    with pytest.raises(ZeroDivisionError), by.claim("k"):
        raise ZeroDivisionError
    assert not by._flights()._under_way
    assert not leases.held


def test_without_leases_each_process_claims_for_itself() -> None:
    """While the store is away."""
    leases = SharedLeases()
    leases.is_away = True
    with coalescer(leases).claim("k") as claim:
        assert claim is not None


def test_what_has_landed_is_not_waited_for() -> None:
    """Also where nobody had waited for it before."""
    flights = Coalescer[str](LocalLeases(), time.monotonic, wait_seconds=1)._flights()
    flight = Flight[str](0, None)
    assert flights.join("k", flight) is flight
    flights.land("k", flight)
    assert flights.lands(flight, 0)
    other = Flight[str](0, None)
    assert flights.join("k", other) is other
