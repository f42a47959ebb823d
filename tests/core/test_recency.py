"""What is recent enough for who waits, by when each came, began, and had seen of purges."""

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
    began: Position | None = None

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
    ("since", "began", "came", "seen", "is_too_old"),
    [
        (0, None, 1, 1, True),  # it came before the purge, and the other one after it
        (0, None, 0, 1, False),  # it has not begun, and may still see what was purged
        (0, 0, 0, 0, False),
        (0, 0, 0, 1, True),  # it began before what the other one has seen
        (0, 1, 0, 1, False),
        (0, 1, 1, 1, True),
        (1, 1, 1, 1, False),
        (1, 1, 2, 2, False),  # what was purged last hits something else
    ],
)
def test_work_is_too_old_for_who_would_make_something_newer(
    since: int, began: int | None, came: int, seen: int, is_too_old: bool
) -> None:
    """By its coming, or by when it began."""
    log, at = log_with("cat", "dog")
    work = Work(at[since], None if began is None else at[began])
    recency = Recency(log, is_heard_enough=True)
    assert recency.is_too_old(work, at[came], at[seen]) is is_too_old
    made = at[since], at[since] if began is None else at[began]
    if began is not None:
        assert recency.is_as_new(*made, at[came], at[seen], CAT) is not is_too_old


def test_work_of_which_nobody_can_tell_is_waited_for() -> None:
    """But what it makes is not taken, unless it is found to be valid."""
    log, at = log_with("dog")
    for number in range(200):
        log.add(Purge(tuple(("tag", f"{number} {each}") for each in range(99))))
    latest = log.known().last
    recency = Recency(log, is_heard_enough=True)
    assert not recency.is_too_old(Work(at[0], at[0]), latest, latest)
    assert not recency.is_as_new(at[0], at[0], latest, latest, CAT)


def test_work_that_tells_nothing_of_itself_is_waited_for() -> None:
    """As of who knew of no purges."""
    log, at = log_with("cat")
    recency = Recency(log, is_heard_enough=True)
    assert not recency.is_too_old(Work(None), at[1], at[1])
    assert not recency.is_too_old(Work(at[0]), None, at[1])
