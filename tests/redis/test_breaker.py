"""The circuit breaker, with a clock that is set by hand."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_larder.redis.breaker import Breaker

AWAY = OSError("connection refused")
REFUSED = RuntimeError("READONLY")
THREADS = 50


class Clock:
    """Shows what it was set to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="flask_larder")


def test_while_redis_answers_everybody_may_ask(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is logged."""
    for _ in range(100):
        assert breaker.allows()
        breaker.succeeded()
        clock.now += 0.001

    assert caplog.messages == []


def test_after_a_failure_one_a_second_may_try(breaker: Breaker, clock: Clock) -> None:
    """The first second belongs to nobody; then one caller tries, and all others do not wait."""
    breaker.failed(AWAY)

    clock.now += 0.99
    assert [breaker.allows() for _ in range(3)] == [False, False, False]
    clock.now += 0.01
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    clock.now += 0.5
    breaker.failed(AWAY)
    clock.now += 0.99
    assert [breaker.allows() for _ in range(3)] == [False, False, False]
    clock.now += 0.01
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_try_that_never_ends_does_not_keep_others_from_trying(
    breaker: Breaker, clock: Clock
) -> None:
    """Whoever tries may die; a second later somebody else may."""
    breaker.failed(AWAY)
    clock.now += 1.0
    assert breaker.allows()

    clock.now += 1.0
    assert breaker.allows()
    assert not breaker.allows()


def test_one_success_lets_everybody_ask_again(breaker: Breaker, clock: Clock) -> None:
    """Also when it is the answer to a question from before the failure."""
    breaker.failed(AWAY)
    breaker.succeeded()

    assert all(breaker.allows() for _ in range(10))


def test_an_outage_is_one_line_and_its_end_another(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests fail meanwhile. The second line says how long it took."""
    for _ in range(200):
        breaker.failed(AWAY)
        clock.now += 0.5
    breaker.succeeded()
    breaker.succeeded()

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
        breaker.failed(AWAY)
        clock.now += seconds
        breaker.succeeded()

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
        breaker.refused(REFUSED)
        assert breaker.allows()
        clock.now += 5.9
    assert caplog.messages == ["Redis refuses, views answer without it: READONLY"]

    clock.now += 1.0
    breaker.refused(REFUSED)
    assert len(caplog.messages) == 2


def test_a_refusal_ends_an_outage(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who refuses is there."""
    breaker.failed(AWAY)
    clock.now += 4.0
    breaker.refused(REFUSED)

    assert breaker.allows()
    assert caplog.messages[1] == "Redis is back after 4.0 s"


def test_of_many_threads_one_tries_and_one_tells(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty threads at a barrier: one line when it begins, one try, one line when it is over."""
    barrier = threading.Barrier(THREADS)

    def outage(_: int) -> bool:
        barrier.wait()
        breaker.failed(AWAY)
        if barrier.wait() == 0:
            clock.now += 1.0
        barrier.wait()
        allowed = breaker.allows()
        barrier.wait()
        breaker.succeeded()
        return allowed

    with ThreadPoolExecutor(THREADS) as threads:
        allowed = list(threads.map(outage, range(THREADS)))

    assert allowed.count(True) == 1
    assert caplog.messages == [
        "Redis is away, views answer without it: connection refused",
        "Redis is back after 1.0 s",
    ]
