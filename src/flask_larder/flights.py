"""The flights of one process: who works on which key, who waits for that, and what came of it."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from flask_larder.entry import Position, Targets

T = TypeVar("T")

MOST_FAILURES: Final = 2
"""After how many failures in a row nobody waits for a key any more."""

REST_SECONDS: Final = 1.0
"""How long nobody waits for it then."""

_MOST_MARKS: Final = 10_000

_MOST_GUESSES: Final = 2**16


class Work(Protocol):
    """What a leader does, as others see it that would wait for it."""

    @property
    def since(self) -> Position | None:
        """The latest purge that was known when the request came."""
        ...

    def expects(self) -> Targets:
        """By what purges is hit what it makes, as far as that is known by now."""
        ...


class Flight(Generic[T]):
    """Work under way in this process.

    *leaders* are those that it has waited for or had, *before* those of its leader's earlier wait.
    While it *is_look*, its leader has only begun to look, and may find that there is nothing to do.
    Its *work* is not known where it is only claimed.
    Until *nothing_until*, by the coalescer's clock, nobody else need look: there was nothing.
    *landing* is for who waits, and there where somebody does.
    """

    __slots__ = (
        *("before", "has_landed", "is_look", "landing", "leader", "leaders", "nothing_until"),
        *("result", "work"),
    )

    def __init__(self, before: int, work: Work | None, *, is_look: bool = False) -> None:
        self.work = work
        self.before = self.leaders = before
        self.is_look = is_look
        self.nothing_until = 0.0
        self.leader = threading.get_ident()  # that of the greenlet, where gevent has patched
        self.has_landed = False
        self.landing: threading.Event | None = None
        self.result: T | None = None


@dataclass(slots=True)
class _Failures:
    """How often in a row a key has come to nothing, and until when nobody waits for it."""

    count: int = 0
    rest_until: float = 0.0


class Flights(Generic[T]):
    """The flights of one process, and its failures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Flight[T]] = {}
        self._led: dict[tuple[int, str], Flight[T]] = {}  # by leader, also if gone past
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._guesses = bytearray(_MOST_GUESSES)

    def is_likely_stored(self, key: str) -> bool:
        """Whether *key* was stored when that was last known; a guess, since keys share places."""
        return self._guesses[hash(key) % _MOST_GUESSES] == 1

    def guess(self, key: str, *, is_stored: bool) -> None:
        """Remember for the next time whether *key* is stored now."""
        self._guesses[hash(key) % _MOST_GUESSES] = is_stored

    def join(
        self,
        key: str,
        own: Flight[T],
        *,
        passes_looks: bool = False,
        is_too_old: Callable[[Work], bool] = lambda _: False,
    ) -> Flight[T]:
        """The flight for *key*, which is the caller's *own* where there is none.

        So it is where the work of another *is too old*, and, with *passes_looks*, where another
        one only looks. Who leads one already gets that.
        """
        led = self._led.get((own.leader, key))
        if led is not None and not led.has_landed:
            return led
        flight, passed = self._under_way.get(key), None
        if flight is not None and flight.work is not None and is_too_old(flight.work):
            passed = flight
        with self._lock:
            flight = self._under_way.get(key)
            goes_past = flight is passed or (passes_looks and flight is not None and flight.is_look)
            if flight is not None and not (goes_past or flight.has_landed):
                return flight
            self._under_way[key] = self._led[own.leader, key] = own
            return own

    def is_led(self, key: str, flight: Flight[T]) -> bool:
        """Whether *flight* is still to land."""
        return self._led.get((flight.leader, key)) is flight

    def lands(self, flight: Flight[T], seconds: float) -> bool:
        """Wait for *flight*, and tell whether it has landed after so many *seconds*."""
        with self._lock:
            if flight.has_landed:
                return True
            landing = flight.landing = flight.landing or threading.Event()
        return landing.wait(seconds)

    def begins(self, key: str, flight: Flight[T]) -> bool:
        """Whether who has only looked leads from now on: not so where another has gone past it."""
        with self._lock:
            if self._under_way.get(key) is not flight:
                return False
            flight.is_look = False
            return True

    def land(self, key: str, flight: Flight[T]) -> None:
        """End the flight: those who wait go on, those who come begin another."""
        with self._lock:
            flight.has_landed, landing = True, flight.landing
            if self._under_way.get(key) is flight:  # else another one has gone past it
                del self._under_way[key]
        if landing is not None:
            landing.set()
        self._led.pop((flight.leader, key), None)  # last: until then it is still to land

    def rests(self, key: str, now: float) -> bool:
        """Whether nobody is to wait for *key* now."""
        failures = self._failures.get(key)  # without the lock: mostly there is none
        return failures is not None and now < failures.rest_until

    def note(self, key: str, now: float, *, failed: bool) -> None:
        """Remember how it went."""
        if not failed and key not in self._failures:
            return
        with self._lock:
            failures = self._failures.pop(key, None) or _Failures()
            if not failed:
                return
            failures.count += 1
            if failures.count >= MOST_FAILURES:
                failures.rest_until = now + REST_SECONDS
            self._failures[key] = failures
            if len(self._failures) > _MOST_MARKS:
                self._failures.popitem(last=False)
