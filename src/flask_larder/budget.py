"""How long one request may be held up by its store."""

from collections.abc import Callable
from enum import Enum, auto
from typing import TypeAlias


class Budget:
    """The time that a request may wait for its store, in seconds: the *whole*, and what is left.

    All that the request asks draws on the same budget; waiting for another request does not.
    """

    __slots__ = ("left", "whole")

    def __init__(self, whole: float) -> None:
        self.whole = self.left = whole


BudgetSource: TypeAlias = Callable[[], Budget | None]
"""Returns the budget of the request that is being answered; ``None`` outside of requests."""


def unbounded() -> None:
    """The source where there are no requests."""


class Counts(Enum):
    """When the time that a store takes to answer draws on the budget of the request."""

    ALWAYS = auto()
    UNLESS_ANSWERED = auto()
    """Of who waits for another request, and asks how far that is: the wait is not the store's."""
    NEVER = auto()
    """Of who wants it done, however long it takes."""
