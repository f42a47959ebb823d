"""Threads that run one thing at a time, whatever comes while they start."""

import threading
from collections.abc import Callable

import pytest

from flask_larder import threads
from flask_larder.threads import Single
from tests.core.test_coalesce import SOON, Ended, until


class Runs:
    """Counts how often it was run, and goes on until it is *let go*."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.count = 0
        self.most_at_once = 0
        self._at_once = 0

    def __call__(self) -> None:
        self.count += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.let_go.wait(SOON)
        self._at_once -= 1


def test_one_thing_runs_at_a_time() -> None:
    """And another one after that."""
    single, runs = Single("test"), Runs()
    for _ in range(3):
        single.start(runs)
    assert single.is_busy
    runs.let_go.set()
    until(lambda: not single.is_busy)
    assert runs.count == 1
    single.start(runs)
    until(lambda: runs.count == 2 and not single.is_busy)


def test_who_is_ended_before_it_starts_leaves_it_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a signal, for example."""
    single, runs = Single("test"), Runs()
    runs.let_go.set()
    with monkeypatch.context() as patch:
        patch.setattr(threads, "start", _ended)
        with pytest.raises(Ended):
            single.start(runs)
    assert not single.is_busy
    single.start(runs)
    until(lambda: runs.count == 1 and not single.is_busy)


def test_who_is_ended_after_it_has_started_lets_it_run_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who starts it again need not know that it runs."""
    single, runs, started = Single("test"), Runs(), list[threading.Thread]()

    def start_and_end(name: str, target: Callable[[], None]) -> bool:
        started.append(threading.Thread(target=target, name=name))
        started[-1].start()
        raise Ended

    monkeypatch.setattr(threads, "start", start_and_end)
    for _ in range(2):
        with pytest.raises(Ended):
            single.start(runs)
        until(lambda: runs.count)
    started[1].join(SOON)
    runs.let_go.set()
    started[0].join(SOON)
    assert (runs.count, runs.most_at_once) == (1, 1)
    assert not single.is_busy


def _ended(*_: object) -> bool:
    raise Ended
