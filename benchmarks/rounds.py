"""Contenders in turn: each once in a round, in another order each time, the same in each run."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
SEED = 9111


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: rounds, the seconds of each run, and whether it is only a trial.

    Many short rounds say more than a few long ones: a machine is faster in one minute than in the
    next, and a round holds all contenders side by side.
    """

    rounds: int
    seconds: float
    is_quick: bool


FULL = Effort(rounds=11, seconds=1.0, is_quick=False)
QUICK = Effort(rounds=3, seconds=1.0, is_quick=True)


def interleaved(contenders: Sequence[T], rounds: int) -> Iterator[T]:
    """Each of them *rounds* times."""
    chance = random.Random(SEED)  # noqa: S311 - an order, no secret
    for _ in range(rounds):
        yield from chance.sample(contenders, len(contenders))
