"""How long one request may be held up by its store."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(slots=True)
class Budget:
    """What is left, in seconds, of the time that a request may wait for its store.

    All that the request asks draws on the same budget; waiting for another request does not.
    """

    left: float


BudgetSource: TypeAlias = Callable[[], Budget | None]
"""Returns the budget of the request that is being answered; ``None`` outside of requests."""


def unbounded() -> None:
    """The source where there are no requests."""
