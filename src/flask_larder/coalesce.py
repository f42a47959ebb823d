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

    def leave(self, key: str) -> None:
        """See :class:`~flask_larder.store.Leases`."""

    def holder(self, key: str) -> None:
        """See :class:`~flask_larder.store.Leases`."""

    def is_own(self, holder: object) -> bool:  # noqa: ARG002
        """See :class:`~flask_larder.store.Leases`."""
        return False


class _OwnFlight(Flight[T]):
    """A flight with the *lease* of who leads it.

    That is ``None`` where another process has it, and not known until it was asked for.
    """

    __slots__ = ("lease",)

    def __init__(self, before: int, work: Work | None, *, is_look: bool = False) -> None:
        super().__init__(before, work, is_look=is_look)
        self.lease: Lease | Unasked | None = UNASKED


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
        here, key = self._flights(), task.key
        if not (task.is_for_one or here.is_likely_stored(key) or here.rests(key, self._clock())):
            return self._look_first(here, key, task)
        answer = task.find()
        here.guess(key, is_stored=answer is not None)
        return self._forwarded(task) if answer is None else answer

    def _look_first(self, here: Flights[T], key: str, task: Task[T, R]) -> R:
        """As :meth:`find_or_run`, where nothing is stored, so far as that can be guessed."""
        own: _OwnFlight[T] = _OwnFlight(0, task, is_look=True)
        deadline = self._deadline()
        try:
            flight = here.join(key, own, is_too_old=task.is_too_old)
            if self._clock() < flight.nothing_until:
                return self.run(task, has_looked=False)
            if flight is own:
                own.lease, answer = self._leases.look_and_acquire(key, task.find)
            else:
                answer = task.find()
            if answer is not None or flight is not own:  # else who leads tells
                here.guess(key, is_stored=answer is not None)
            if answer is not None:
                return answer
            may_lead = flight is own and task.key == key and not task.is_for_one
            leads = may_lead and here.begins(key, own)
            answer = self._lead(here, key, own, task, deadline) if leads else None
            if answer is not None:
                return answer
        finally:
            try:  # twice: the exception of a signal may come as the first one is entered
                self._end(here, key, own)
            finally:
                self._end(here, key, own)
        return self._alone(task) if leads else self._forwarded(task)

    def _forwarded(self, task: Task[T, R]) -> R:
        """The answer of who has looked, and found nothing."""
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
            own: _OwnFlight[T] = _OwnFlight(leaders, task)
            flight, answer = self._join_or_lead(
                here, key, own, task, deadline, passes_looks=has_let_look
            )
            if flight is own:
                return self._alone(task) if answer is None else answer
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

    def _join_or_lead(
        self,
        here: Flights[T],
        key: str,
        own: _OwnFlight[T],
        task: Task[T, R],
        deadline: float,
        *,
        passes_looks: bool,
    ) -> tuple[Flight[T], R | None]:
        """The flight for *key*; where it is the caller's *own*, it has landed, with an answer."""
        try:
            flight = here.join(key, own, passes_looks=passes_looks, is_too_old=task.is_too_old)
            return flight, self._lead(here, key, own, task, deadline) if flight is own else None
        finally:
            try:  # as above
                self._end(here, key, own)
            finally:
                self._end(here, key, own)

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
        here, claim = self._flights(), Claim[T](key)
        own: _OwnFlight[T] = _OwnFlight(0, None)
        try:
            if here.join(key, own, passes_looks=True) is own:
                own.lease = self._acquire(key)
            if own.lease is UNASKED or own.lease is None:
                yield None
            else:
                own.leaders += 1
                yield claim
        finally:
            try:
                own.result = claim.result
                if claim.has_worked or claim.result is not None:
                    here.note(key, self._clock(), failed=claim.result is None)
            finally:
                try:  # as above
                    self._end(here, key, own)
                finally:
                    self._end(here, key, own)

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
        self, here: Flights[T], key: str, own: _OwnFlight[T], task: Task[T, R], deadline: float
    ) -> R | None:
        """Work for this process, when it is its turn.

        ``None`` where it has waited for enough leaders: nobody waits behind a third one. The lease
        may have been asked for already, with a look.
        """
        shared: T | None = None
        has_led = False
        try:
            while True:
                may_lead = own.leaders < MOST_LEADERS
                if own.lease is UNASKED:
                    own.lease, shared = self._lease_and_look(key, task, may_lead=may_lead)
                # Who has just gone, here or elsewhere, may have left a result.
                if shared is not None and (answer := task.adopt(shared)) is not None:
                    return answer
                is_nothing = task.finds_nothing and task.key == key
                own.nothing_until = self._clock() + LOOK_SECONDS if is_nothing else 0.0
                if own.leaders > own.before:
                    here.note(key, self._clock(), failed=True)
                if own.lease is not None:
                    own.leaders += 1
                    has_led, shared = True, None
                    answer, shared = task.lead()
                    return answer
                if not may_lead or not self._foreign_leader_ends(here, key, own, task, deadline):
                    return None
                own.leaders += not task.is_overtaken
                own.lease = UNASKED
        finally:
            own.result = shared
            if has_led or shared is not None:
                here.note(key, self._clock(), failed=shared is None)
                here.guess(key, is_stored=shared is not None)

    def _lease_and_look(
        self, key: str, task: Task[T, R], *, may_lead: bool
    ) -> tuple[Lease | None, T | None]:
        if task.is_overtaken:  # what it makes is for those who wait here, and no others
            return UNSHARED, task.look()
        if may_lead:
            return self._leases.acquire_and_look(key, task.look)
        return None, task.look()

    def _end(self, here: Flights[T], key: str, own: _OwnFlight[T]) -> None:
        """Land, and give the lease back, whatever comes in between: else nobody leads again.

        *own* need not have begun, nor the lease have been heard of. Nothing is done twice.
        """
        has_lease_left = own.has_landed and own.lease is not None
        if not (here.is_led(key, own) or has_lease_left):
            return
        try:
            # Where nothing came of it, those who are freed must find the lease free, too.
            if own.result is None:
                self._give_back(key, own)
        finally:
            try:
                here.land(key, own)
            finally:
                self._give_back(key, own)

    def _give_back(self, key: str, own: _OwnFlight[T]) -> None:
        if own.lease is UNASKED:
            self._leases.leave(key)
        elif own.lease is not None:
            own.lease.release()
        own.lease = None

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
