"""One leader for each key: of many callers that want the same, one does the work.

In a process the callers wait for the leader in memory. Over processes it holds a lease; then one
caller of each process looks now and then whether that lease is gone, and the others wait for it.
This module knows neither HTTP nor Redis.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from flask_larder.chance import CHANCE
from flask_larder.errors import StoreUnavailable
from flask_larder.flights import Flight, Flights, Work
from flask_larder.per_process import PerProcess
from flask_larder.store import UNASKED, Lease, Leases, Unasked

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

MOST_LEADERS: Final = 2
"""Behind how many leaders one caller waits, before it does the work itself."""

LOOK_SECONDS: Final = 1.0
"""How long a caller waits for one who only looks, before it leads."""


class Task(Work, Protocol[T, R_co]):
    """What one caller wants. *T* is what callers can share, *R* what this one returns."""

    @property
    def key(self) -> str:
        """Who has the same key can share a result. May change with each :meth:`look`."""
        ...

    @property
    def is_for_one(self) -> bool:
        """Whether what it makes is for this caller alone. Known after :meth:`find`."""
        ...

    @property
    def finds_nothing(self) -> bool:
        """Whether the last look, which has not failed, found nothing that would do for anybody."""
        ...

    @property
    def is_overtaken(self) -> bool:
        """Whether a purge since the request came hits what it makes, as far as that is known."""
        ...

    def is_too_old(self, work: Work) -> bool:
        """Whether what another's *work* makes is certainly older than what it would make."""
        ...

    def find(self) -> R_co | None:
        """The answer that is stored, or ``None``: the first look."""
        ...

    def look(self) -> T | None:
        """What is stored by now and answers this caller, or ``None``."""
        ...

    def adopt(self, shared: T) -> R_co | None:
        """The answer made of what another caller got, or ``None`` where it is not for this one."""
        ...

    def settle(self) -> R_co | None:
        """What will do for a caller who would work beside others; ``None`` where nothing will."""
        ...

    def lead(self) -> tuple[R_co, T | None]:
        """Do the work. Returns the answer, and what others may share; raises as it likes."""
        ...


def poll_delays() -> Iterator[float]:
    """Seconds to wait before each look at a foreign lease: 5 to 50 ms, growing, with jitter.

    The jitter keeps the processes that wait for one lease from asking all at the same time.
    """
    delay = 0.01
    while True:
        yield delay * CHANCE.uniform(0.5, 1.0)
        delay = min(delay * 1.5, 0.05)


class _Unshared:
    """The lease of a process that has a key to itself."""

    def release(self) -> None:
        """There is nothing to give back."""


UNSHARED: Final = _Unshared()


class LocalLeases:
    """For stores that no other process sees, and those that cannot tell who leads."""

    def acquire(self, key: str) -> Lease:  # noqa: ARG002
        """See :class:`~flask_larder.store.Leases`."""
        return UNSHARED

    def acquire_and_look(self, key: str, look: Callable[[], T]) -> tuple[Lease, T]:  # noqa: ARG002
        """See :class:`~flask_larder.store.Leases`."""
        return UNSHARED, look()

    def look_and_acquire(self, key: str, look: Callable[[], T]) -> tuple[Lease, T]:  # noqa: ARG002
        """See :class:`~flask_larder.store.Leases`."""
        return UNSHARED, look()

    def holder(self, key: str) -> None:
        """See :class:`~flask_larder.store.Leases`."""

    def is_own(self, holder: object) -> bool:  # noqa: ARG002
        """See :class:`~flask_larder.store.Leases`."""
        return False


@dataclass(slots=True)
class Claim(Generic[T]):
    """The right to work on *key* for all, of who does not wait for that; and what came of it.

    It *has_worked* where that has begun: then no result is a failure.
    """

    key: str
    result: T | None = None
    has_worked: bool = False


class Coalescer(Generic[T]):
    """Lets one caller at a time work on a key.

    *leases* tell leaders of other processes; *clock* returns seconds on a scale that only goes
    forward. A caller waits for at most *wait_seconds*.
    """

    def __init__(
        self,
        leases: Leases,
        clock: Callable[[], float],
        *,
        wait_seconds: float,
        delays: Callable[[], Iterator[float]] = poll_delays,
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._delays = delays
        self._flights: PerProcess[Flights[T]] = PerProcess(Flights)

    def find_or_run(self, task: Task[T, R]) -> R:
        """The answer that is stored for *task*, or that of :meth:`run`.

        Where that is likely not stored, the first of its process asks for the lease in the same go
        as it looks, so that it can work at once. Where it finds nothing, the others of its process
        look only when something was made; they do look, since a purge that they came after counts.
        """
        here, key, deadline = self._flights(), task.key, self._deadline()
        flight: Flight[T] | None = None
        if not (task.is_for_one or here.is_likely_stored(key) or here.rests(key, self._clock())):
            joined, leads = here.join(key, task, is_look=True, is_too_old=task.is_too_old)
            flight = joined if leads else None
            if self._clock() < joined.nothing_until:
                return self.run(task, has_looked=False)
        lease: Lease | Unasked | None = UNASKED
        try:
            if flight is None:
                answer = task.find()
            else:
                lease, answer = self._leases.look_and_acquire(key, task.find)
            if answer is not None:
                here.guess(key, is_stored=True)
                return answer
            if flight is None:  # else it was likely not, and who leads tells
                here.guess(key, is_stored=False)
            may_lead = flight is not None and task.key == key and not task.is_for_one
            if flight is not None and may_lead and here.begins(key, flight):
                led, flight = flight, None
                return self._lead(here, key, led, task, deadline, lease)
        finally:
            if flight is not None:
                self._end(here, key, flight, None if lease is UNASKED else lease, None)
        return task.lead()[0] if task.is_for_one else self.run(task)

    def run(self, task: Task[T, R], *, has_looked: bool = True) -> R:
        """The answer of *task*: from a leader whose result is for it, else from its own work.

        Whatever goes wrong on the way to a leader's result ends in its own work, or in what will
        do. What the work raises is raised, and one of those who waited tries next. Who has not
        *has_looked* does so when something was made.
        """
        here = self._flights()
        deadline = self._deadline()
        leaders, has_let_look = 0, False
        while leaders < MOST_LEADERS and not here.rests(task.key, self._clock()):
            key = task.key
            flight, leads = here.join(
                key, task, leaders, passes_looks=has_let_look, is_too_old=task.is_too_old
            )
            if leads:
                return self._lead(here, key, flight, task, deadline)
            if flight.leader == threading.get_ident():  # the work wants its own result
                return task.lead()[0]
            if flight.is_look:  # it does not work as yet, and perhaps never will
                here.lands(flight, min(LOOK_SECONDS, self._left(deadline)))
                has_let_look = True
                if flight.is_look:
                    continue
            if not here.lands(flight, self._left(deadline)):
                break
            leaders += flight.leaders - flight.before
            answer = self._after(flight, task, has_looked=has_looked)
            if answer is not None:
                return answer
            has_looked = has_looked or flight.result is not None
        if not has_looked and (answer := self._found(task)) is not None:
            return answer
        return self._alone(task)

    def _deadline(self) -> float:
        return self._clock() + self._wait_seconds

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock())

    @contextmanager
    def claim(self, key: str) -> Iterator[Claim[T] | None]:
        """The lead for *key* while the block runs; ``None`` if another has it, or has just failed.

        Who comes meanwhile waits for its result.
        """
        if self._flights().rests(key, self._clock()):
            yield None
            return
        with self._free_lead(key) as claim:
            yield claim

    @contextmanager
    def _free_lead(self, key: str) -> Iterator[Claim[T] | None]:
        here = self._flights()
        flight, leads = here.join(key, passes_looks=True)
        if not leads:
            yield None
            return
        lease: Lease | None = None
        claim: Claim[T] = Claim(key)
        try:
            lease = self._acquire(key)
            if lease is None:
                yield None
            else:
                flight.leaders += 1
                yield claim
        finally:
            if claim.has_worked or claim.result is not None:
                here.note(key, self._clock(), failed=claim.result is None)
            self._end(here, key, flight, lease, claim.result)

    def _alone(self, task: Task[T, R]) -> R:
        """Work that nobody waits for; or what will do, if there is that and another works."""
        spare = task.settle()
        if spare is None:
            return task.lead()[0]
        with self._free_lead(task.key) as claim:
            if claim is None:
                return spare
            claim.has_worked = True
            answer, claim.result = task.lead()
            return answer

    def _after(self, flight: Flight[T], task: Task[T, R], *, has_looked: bool) -> R | None:
        """The answer from a flight that has landed, from what it has stored, or what will do."""
        if flight.result is None:
            return task.settle()
        answer = None if has_looked else self._found(task)
        if answer is None:
            answer = task.adopt(flight.result)
        return self._found(task) if answer is None else answer

    @staticmethod
    def _found(task: Task[T, R]) -> R | None:
        """The answer from what is stored by now."""
        found = task.look()
        return None if found is None else task.adopt(found)

    def _lead(
        self,
        here: Flights[T],
        key: str,
        flight: Flight[T],
        task: Task[T, R],
        deadline: float,
        asked: Lease | Unasked | None = UNASKED,
    ) -> R:
        """Work for this process, when it is its turn; whatever happens, the flight lands.

        *asked* is the lease, or ``None``, where it was asked for already, with a look.
        """
        lease: Lease | None = None
        shared: T | None = None
        has_led = False
        try:
            while True:
                may_lead = flight.leaders < MOST_LEADERS
                # Who has just gone, here or elsewhere, may have left a result.
                if asked is not UNASKED:
                    lease, shared, asked = asked, None, UNASKED
                elif task.is_overtaken:  # it is for those who wait here, and no others
                    lease, shared = UNSHARED, task.look()
                elif may_lead:
                    lease, shared = self._leases.acquire_and_look(key, task.look)
                else:
                    lease, shared = None, task.look()
                if shared is not None and (answer := task.adopt(shared)) is not None:
                    return answer
                is_nothing = task.finds_nothing and task.key == key
                flight.nothing_until = self._clock() + LOOK_SECONDS if is_nothing else 0.0
                if flight.leaders > flight.before:
                    here.note(key, self._clock(), failed=True)
                if lease is not None:
                    flight.leaders += 1
                    has_led, shared = True, None
                    answer, shared = task.lead()
                    return answer
                if not may_lead or not self._foreign_leader_ends(here, key, flight, task, deadline):
                    break
                flight.leaders += not task.is_overtaken
        finally:
            if has_led or shared is not None:
                here.note(key, self._clock(), failed=shared is None)
                here.guess(key, is_stored=shared is not None)
            self._end(here, key, flight, lease, shared)
        return self._alone(task)  # nobody waits behind a third leader

    @staticmethod
    def _end(
        here: Flights[T], key: str, flight: Flight[T], lease: Lease | None, shared: T | None
    ) -> None:
        """Land, also where what ends a greenlet comes in between; else nobody ever leads again."""
        try:
            # Where nothing came of it, those who are freed must find the lease free, too.
            if lease is not None and shared is None:
                lease.release()
        finally:
            here.land(key, flight, shared)
        if lease is not None and shared is not None:
            lease.release()

    def _acquire(self, key: str) -> Lease | None:
        """The lease for *key*, or ``None`` while another process has it."""
        try:
            return self._leases.acquire(key)
        except StoreUnavailable:
            return UNSHARED  # while the store is away, each process leads for itself

    def _foreign_leader_ends(
        self, here: Flights[T], key: str, flight: Flight[T], task: Task[T, R], deadline: float
    ) -> bool:
        """Wait until who has the lease has it no more; false if that is not so at *deadline*.

        What this one makes is of no use to others once a purge has hit it: then it need not wait.
        """
        try:
            holder = self._leases.holder(key)
            if self._leases.is_own(holder):
                return False
            for delay in self._delays():
                left = deadline - self._clock()
                if holder is None or left <= 0:
                    break
                here.lands(flight, min(delay, left))
                if task.is_overtaken or self._leases.holder(key) != holder:
                    return True
        except StoreUnavailable:
            return True  # nobody knows, so it is our turn
        return holder is None
