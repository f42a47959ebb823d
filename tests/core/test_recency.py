"""What is recent enough for who waits, by when who made it came, and what was seen of purges."""

from dataclasses import dataclass

import pytest

from flask_larder.entry import Position, Targets
from flask_larder.local_purges import LocalPurges
from flask_larder.purges import Purge
from flask_larder.recency import Recency
from tests.targets import targets

CAT = targets("cat")


@dataclass
class Work:
    """What another one does."""

    since: Position | None

    def expects(self) -> Targets:
        return CAT


def log_with(*purged: str) -> tuple[LocalPurges, list[Position]]:
    """A log, and its positions: that before any of these, and that after each."""
    log = LocalPurges(100_000, lambda: 1.0)
    positions = [log.known().last]
    for tag in purged:
        log.add(Purge((("tag", tag),)))
        positions.append(log.known().last)
    return log, [position for position in positions if position is not None]


@pytest.mark.parametrize(
    ("since", "seen", "is_too_old"),
    [(0, 0, False), (0, 1, True), (1, 1, False), (1, 2, False), (0, 2, True)],
)
def test_work_is_too_old_for_who_has_seen_what_hits_it(
    since: int, seen: int, is_too_old: bool
) -> None:
    """What was purged last hits something else."""
    log, at = log_with("cat", "dog")
    recency = Recency(log, is_heard_enough=True)
    assert recency.is_too_old(Work(at[since]), at[seen]) is is_too_old
    assert recency.is_as_new(at[since], at[seen], CAT) is not is_too_old


def test_work_of_which_nobody_can_tell_is_waited_for() -> None:
    """But what it makes is not taken, unless it is found to be valid."""
    log, at = log_with("dog")
    for number in range(200):
        log.add(Purge(tuple(("tag", f"{number} {each}") for each in range(99))))
    latest = log.known().last
    recency = Recency(log, is_heard_enough=True)
    assert not recency.is_too_old(Work(at[0]), latest)
    assert not recency.is_as_new(at[0], latest, CAT)


def test_work_that_tells_nothing_of_itself_is_waited_for() -> None:
    """As of who knew of no purges."""
    log, at = log_with("cat")
    recency = Recency(log, is_heard_enough=True)
    assert not recency.is_too_old(Work(None), at[1])
    assert not recency.is_too_old(Work(at[0]), None)
