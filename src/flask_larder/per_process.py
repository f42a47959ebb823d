"""What each process has for itself: locks, threads and sockets must not be shared over a fork."""

from collections.abc import Callable
from os import getpid
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Has *make* make one thing for each process, when that asks for the first time.

    Two threads may both make one at that time; one is kept, so *make* is to start nothing.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def __call__(self) -> T:
        """The thing of the process that asks."""
        try:  # the pid is asked each time: servers in C fork, and some run no hooks of Python's
            return self._made[getpid()]
        except KeyError:
            return self._made.setdefault(getpid(), self._make())
