"""What was read of a request, and in which order."""

import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


class ReadLog(Generic[Name]):
    """The names of what was read, each with the numbers of its first and latest reading.

    It only grows, so that several threads that share a request cannot take a reading from each
    other. What is noted here is noted in *outer* as well, if there is one.
    """

    __slots__ = ("_count", "_first", "_latest", "outer")

    def __init__(self, outer: "ReadLog[Name] | None" = None) -> None:
        self.outer = outer
        self._count = itertools.count(1)
        self._first: dict[Name, int] = {}
        self._latest: dict[Name, int] = {}

    def note(self, name: Name) -> None:
        """Note that *name* was read."""
        number = next(self._count)
        self._first.setdefault(name, number)
        self._latest[name] = number
        if self.outer is not None:
            self.outer.note(name)

    def now(self) -> int:
        """A number above that of every reading until now, and below that of every later one."""
        return next(self._count)

    def before(self, number: int) -> frozenset[Name]:
        """What was read before *number*, a result of :meth:`now`."""
        if not self._first:
            return frozenset()
        return frozenset(name for name, first in self._first.copy().items() if first < number)

    def since(self, number: int = 0) -> frozenset[Name]:
        """What was read after *number*."""
        if not self._latest:
            return frozenset()
        return frozenset(name for name, latest in self._latest.copy().items() if latest > number)

    def again(self) -> frozenset[Name]:
        """What was read more than once. A second reading at once belongs to the first."""
        first = self._first
        return frozenset(name for name, latest in self._latest.items() if latest > first[name] + 1)

    def forget_all_but(self, names: frozenset[Name]) -> None:
        """Begin anew, as if only *names* had been read."""
        self._first = dict.fromkeys(names, next(self._count))
        self._latest = self._first.copy()
