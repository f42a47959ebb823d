"""What is recent enough for who waits, by when who made it came, and what was seen of purges."""

from dataclasses import dataclass

import pytest

from flask_larder.entry import Position, Targets
from flask_larder.local_purges import LocalPurges
from flask_larder.purges import ALL, GONE, VALID, Purge, Verdict
from flask_larder.recency import Recency
from tests.core.test_engine_purges import Known
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


def test_what_is_shared_is_judged_by_what_was_heard_while_nobody_can_tell() -> None:
    """So it does unless a purge was heard of since it was begun."""
    log = Known(LocalPurges(10, lambda: 1000.0))
    recency, made = Recency(log, is_heard_enough=True), log.position()
    log.is_away = True
    assert recency.verdict(made, made, CAT) == VALID
    log.add(Purge((ALL,)))
    assert recency.verdict(made, log.position(), CAT) == GONE


def test_what_was_made_while_nobody_knew_of_purges_is_for_who_came_then() -> None:
    """Whoever has come since may know of one that hits it."""
    log, at = log_with("cat")
    recency = Recency(log, is_heard_enough=True)
    assert recency.verdict(None, None, CAT) == VALID
    assert recency.verdict(None, at[0], CAT) == GONE


def test_what_is_as_new_as_was_seen_is_shared() -> None:
    """What a later purge hits, too; else it is judged as what is stored."""
    log, at = log_with("cat", "dog")
    recency = Recency(log, is_heard_enough=True)
    assert recency.verdict_on_shared(at[0], at[0], at[0], CAT) == VALID
    assert recency.verdict_on_shared(at[0], at[0], at[1], CAT) == GONE
    assert recency.verdict_on_shared(at[1], at[0], None, CAT) == VALID


def test_what_is_hit_since_is_asked_for_only_if_anything_was_purged() -> None:
    """To ask may cost something. Who knows of no purges knows of none since."""
    log, at = log_with("cat")
    away, asked = Known(log), list[Targets]()

    def told() -> Targets:
        asked.append(CAT)
        return CAT

    recency = Recency(away, is_heard_enough=True)
    assert recency.verdict_since(at[1], told) == recency.verdict_since(None, told) == VALID
    assert not asked
    assert recency.verdict_since(at[0], told) == GONE
    log.add(Purge((("tag", "cat"),), soft=True))
    assert recency.verdict_since(at[1], told) == Verdict(stale_since=1.0)
    away.is_away = True
    assert recency.verdict_since(at[0], told) == VALID
