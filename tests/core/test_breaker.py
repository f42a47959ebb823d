"""The circuit breaker, with a clock that is set by hand."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_larder.breaker import PATIENCE, Breaker

AWAY = OSError("connection refused")
REFUSED = RuntimeError("READONLY")
THREADS = 50


class Clock:
    """Shows what it was set to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def allows(breaker: Breaker) -> bool:
    return breaker.admit() is not None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, "Redis")


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="flask_larder")


def test_while_redis_answers_everybody_may_ask(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is logged."""
    for _ in range(100):
        assert allows(breaker)
        breaker.succeeded(clock())
        clock.now += 0.001

    assert caplog.messages == []


def test_after_a_failure_one_a_second_may_try(breaker: Breaker, clock: Clock) -> None:
    """The first second belongs to nobody; then one caller tries, and all others do not wait."""
    breaker.failed(AWAY, clock())

    clock.now += 0.99
    assert [allows(breaker) for _ in range(3)] == [False, False, False]
    clock.now += 0.01
    assert [allows(breaker) for _ in range(3)] == [True, False, False]
    clock.now += 0.5
    breaker.failed(AWAY, clock())
    clock.now += 0.99
    assert [allows(breaker) for _ in range(3)] == [False, False, False]
    clock.now += 0.01
    assert [allows(breaker) for _ in range(3)] == [True, False, False]


def test_a_try_that_never_ends_does_not_keep_others_from_trying(
    breaker: Breaker, clock: Clock
) -> None:
    """Whoever tries may die; a second later somebody else may."""
    breaker.failed(AWAY, clock())
    clock.now += 1.0
    assert allows(breaker)

    clock.now += 1.0
    assert allows(breaker)
    assert not allows(breaker)


def test_one_success_lets_everybody_ask_again(breaker: Breaker, clock: Clock) -> None:
    """The one who tried is answered."""
    breaker.failed(AWAY, clock())
    clock.now += 1.0
    asked_at = breaker.admit()
    assert asked_at is not None
    breaker.succeeded(asked_at)

    assert all(allows(breaker) for _ in range(10))


def test_an_answer_from_before_the_outage_does_not_end_it(breaker: Breaker, clock: Clock) -> None:
    """What was under way when Redis went may still arrive."""
    asked_at = breaker.admit()
    assert asked_at is not None
    clock.now += 0.1
    breaker.failed(AWAY, clock())
    breaker.succeeded(asked_at)

    assert not allows(breaker)


def test_late_replies_are_an_outage_only_in_a_row(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One reply in twenty that is late does not keep the others from the cache."""
    for _ in range(20):
        for _ in range(PATIENCE - 1):
            breaker.failed(AWAY, clock(), is_late=True)
            assert allows(breaker)
        breaker.succeeded(clock())
    (line,) = caplog.messages
    assert line.startswith("Redis did not answer in time, views answer without it: 2 since")

    for _ in range(PATIENCE):
        breaker.failed(AWAY, clock(), is_late=True)
    assert not allows(breaker)
    assert len(caplog.messages) == 2


def test_an_outage_is_one_line_and_its_end_another(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests fail meanwhile. The second line says how long it took."""
    for _ in range(200):
        breaker.failed(AWAY, clock())
        clock.now += 0.5
    breaker.succeeded(clock())
    breaker.succeeded(clock())

    assert caplog.messages == [
        "Redis is away, views answer without it: connection refused",
        "Redis is back after 100.0 s",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_each_outage_has_its_lines(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A second outage is told as the first was."""
    for seconds in (2.0, 3.5):
        breaker.failed(AWAY, clock())
        clock.now += seconds
        breaker.succeeded(clock())

    away = "Redis is away, views answer without it: connection refused"
    assert caplog.messages == [
        away,
        "Redis is back after 2.0 s",
        away,
        "Redis is back after 3.5 s",
    ]


def test_a_refusal_is_no_outage(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis answered; whoever asks next may, and one line a minute is enough."""
    for _ in range(10):
        breaker.refused(REFUSED, clock())
        assert allows(breaker)
        clock.now += 5.9
    assert caplog.messages == ["Redis refuses something, views answer without that: READONLY"]

    clock.now += 1.0
    breaker.refused(REFUSED, clock())
    assert len(caplog.messages) == 2


def test_each_kind_of_refusal_has_its_line(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has mended one may else not hear of another for a minute."""
    for error in (REFUSED, LookupError("no memory"), REFUSED):
        breaker.refused(error, clock())
    assert [line.rpartition(": ")[2] for line in caplog.messages] == ["READONLY", "no memory"]


def test_a_refusal_ends_an_outage(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who refuses is there."""
    breaker.failed(AWAY, clock())
    clock.now += 4.0
    breaker.refused(REFUSED, clock())

    assert allows(breaker)
    assert caplog.messages[1] == "Redis is back after 4.0 s"


def test_who_was_not_asked_has_not_answered(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Late replies are still in a row, and an outage goes on."""
    for _ in range(PATIENCE):
        assert allows(breaker)
        breaker.failed(AWAY, clock(), is_late=True)
        breaker.not_asked(REFUSED)
    assert not allows(breaker)
    assert [" refuses something, " in line for line in caplog.messages] == [True, False]


def test_of_many_threads_one_tries_and_one_tells(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty threads at a barrier: one line when it begins, one try, one line when it is over."""
    barrier = threading.Barrier(THREADS)

    def outage(_: int) -> bool:
        barrier.wait()
        breaker.failed(AWAY, clock())
        if barrier.wait() == 0:
            clock.now += 1.0
        barrier.wait()
        allowed = allows(breaker)
        barrier.wait()
        breaker.succeeded(clock())
        return allowed

    with ThreadPoolExecutor(THREADS) as threads:
        allowed = list(threads.map(outage, range(THREADS)))

    assert allowed.count(True) == 1
    assert caplog.messages == [
        "Redis is away, views answer without it: connection refused",
        "Redis is back after 1.0 s",
    ]


def test_a_store_that_is_replaced_has_its_last_line(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Others serve in its place; those who still wait for it say nothing."""
    breaker.failed(AWAY, clock())
    clock.now += 2.5

    breaker.retire()

    breaker.succeeded(clock())
    breaker.failed(AWAY, clock())
    breaker.refused(REFUSED, clock())
    assert caplog.messages[1:] == ["Redis is replaced after 2.5 s"]


def test_a_store_that_is_left_in_peace_has_no_line(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was wrong with it, and what goes wrong afterwards is nobody's concern."""
    breaker.retire()

    breaker.failed(AWAY, clock())
    clock.now += 1.0
    breaker.succeeded(clock())
    assert caplog.messages == []


def test_what_was_too_late_is_told_once_the_store_answers(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a minute, with the number; by itself it is no outage."""
    breaker.missed()
    breaker.failed(AWAY, clock(), is_late=True)
    assert caplog.messages == []

    breaker.succeeded(clock())
    assert caplog.messages == [
        "Redis did not answer in time, views answer without it: 2 since the last such line"
    ]

    for _ in range(3):
        breaker.missed()
        clock.now += 15
        breaker.succeeded(clock())
    assert len(caplog.messages) == 1
    clock.now += 15
    breaker.succeeded(clock())
    assert caplog.messages[1:] == [
        "Redis did not answer in time, views answer without it: 3 since the last such line"
    ]
    clock.now += 120
    breaker.succeeded(clock())
    assert len(caplog.messages) == 2


def test_what_was_too_late_in_an_outage_is_part_of_it(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Which has its own two lines."""
    breaker.missed()
    breaker.failed(AWAY, clock())
    breaker.missed()
    clock.now += 5
    breaker.succeeded(clock())
    breaker.succeeded(clock())

    assert caplog.messages == [
        "Redis is away, views answer without it: connection refused",
        "Redis is back after 5.0 s",
    ]


def test_what_was_asked_before_the_end_of_an_outage_does_not_begin_another(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that breaks late belongs to the outage that is over."""
    asked_at = clock()
    breaker.failed(AWAY, clock())
    clock.now += 2
    breaker.succeeded(clock())
    breaker.failed(AWAY, asked_at)
    assert allows(breaker)
    assert len(caplog.messages) == 2

    breaker.failed(AWAY, clock())
    assert not allows(breaker)
