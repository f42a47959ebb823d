"""What each process has for itself: locks, threads and sockets must not be shared over a fork."""

import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class _Process:
    """Stands for this process; a child has another one as soon as it runs Python."""

    __slots__ = ("itself",)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.itself = object()


_PROCESS: Final = _Process()
os.register_at_fork(after_in_child=_PROCESS.renew)  # to ask for the pid each time costs more


class PerProcess(Generic[T]):
    """Has *make* make one thing for each process, when that asks for the first time.

    Two threads may both make one at that time; one is kept, so *make* is to start nothing.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[object, T] = {}

    def __call__(self) -> T:
        """The thing of the process that asks."""
        process = _PROCESS.itself
        found = self._made.get(process)
        return self._made.setdefault(process, self._make()) if found is None else found
