"""What each process has for itself: locks, threads and sockets must not be shared over a fork."""

import os
from collections.abc import Callable
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
        pid = os.getpid()  # each time: servers in C fork, and some run no hooks of Python's
        found = self._made.get(pid)
        return self._made.setdefault(pid, self._make()) if found is None else found
