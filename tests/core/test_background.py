"""Work that nobody waits for: bounded, one at a time for a key, and done before the end."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from flask_larder import background as background_module
from flask_larder import threads
from flask_larder.background import MOST_THREADS, MOST_WAITING, Background
from tests.core.test_coalesce import SOON, Ended, until


class Gate:
    """Work that goes on until the gate is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.under_way = 0
        self.most_under_way = 0
        self.done: list[str] = []

    def work(self, name: str) -> Callable[[], float]:
        def work() -> float:
            with self._lock:
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
            self._open.wait(SOON)
            with self._lock:
                self.under_way -= 1
                self.done.append(name)
            return 0.0

        return work

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def test_work_is_done_and_its_threads_end() -> None:
    """Nothing is left over."""
    background, done = Background(), threading.Event()
    assert background.offer("k", lambda: float(done.set() is not None))
    assert done.wait(SOON)
    until(lambda: not background._here()._threads)
    assert not background._here()._under_way


def test_a_key_is_worked_on_once_at_a_time(gate: Gate) -> None:
    """And then again."""
    background = Background()
    assert background.offer("k", gate.work("k"))
    assert not background.offer("k", gate.work("again"))
    gate.open()
    until(lambda: background.offer("k", gate.work("k")))
    assert background.drain(SOON)
    assert gate.done == ["k", "k"]


def test_threads_and_queue_are_bounded(gate: Gate) -> None:
    """What does not fit in is not taken, and what was taken is done."""
    background = Background()
    taken = [background.offer(str(number), gate.work(str(number))) for number in range(200)]
    until(lambda: gate.under_way == MOST_THREADS)
    assert MOST_WAITING <= sum(taken) <= MOST_WAITING + MOST_THREADS
    gate.open()
    assert background.drain(SOON)
    assert len(gate.done) == sum(taken)
    assert gate.most_under_way == MOST_THREADS


def test_what_had_nothing_to_do_rests() -> None:
    """So that a key whose leader is elsewhere is not asked for at each request."""
    background = Background()
    assert background.offer("k", lambda: 0.1)
    until(lambda: not background._here()._threads)
    assert not background.offer("k", lambda: 0.0)
    until(lambda: background.offer("k", lambda: 0.0))


def test_rests_are_bounded() -> None:
    """Made-up keys cannot fill the memory."""
    background = Background()
    workers = background._here()
    for number in range(2000):
        workers._done(str(number), 1.0)
    assert len(workers._rests) == 1000


def test_what_raises_is_told_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    """A thread outlives its work."""

    def fail() -> float:
        raise LookupError

    def cancel() -> float:
        raise asyncio.CancelledError

    background, done = Background(), threading.Event()
    background.offer("bad", fail)
    background.offer("exit", sys.exit)
    background.offer("cancelled", cancel)
    background.offer("good", lambda: float(done.set() is not None))
    assert done.wait(SOON)
    assert background.drain(SOON)
    assert caplog.text.count("Work in the background failed") == 3


def test_the_end_waits_for_a_time_and_takes_nothing_more(gate: Gate) -> None:
    """What takes longer is left."""
    background = Background()
    background.offer("k", gate.work("k"))
    assert not background.drain(0.01)
    assert not background.offer("other", gate.work("other"))
    gate.open()
    assert background.drain(SOON)


def test_a_machine_that_lets_no_thread_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken, and it is tried again."""
    background, done = Background(), threading.Event()
    with monkeypatch.context() as patch:

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threads.threading.Thread, "start", refuse)
        assert not background.offer("k", lambda: float(done.set() is not None))
    assert background.offer("k", lambda: float(done.set() is not None))
    assert done.wait(SOON)


def test_the_end_does_not_wait_for_a_thread_that_did_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be about to start when the process ends."""
    background, drained = Background(), list[bool]()
    ending = threading.Thread(target=lambda: drained.append(background.drain(10 * SOON)))

    def refuse(*_: object) -> bool:
        ending.start()
        return False

    monkeypatch.setattr(background_module, "start", refuse)
    assert not background.offer("k", lambda: 0.0)
    ending.join(SOON)
    assert drained == [True]


@pytest.mark.parametrize("starts", [False, True])
def test_who_is_ended_while_a_thread_starts_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, starts: bool
) -> None:
    """Neither a thread that does not run, nor work that waits for one; one that runs may do it."""
    background, done = Background(), threading.Event()

    def end(name: str, target: Callable[[], None]) -> bool:
        if starts:
            threads.start(name, target)
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(background_module, "start", end)
        for number in range(MOST_THREADS):
            with pytest.raises(Ended):
                background.offer(number, lambda: 0.0)
    until(lambda: all(background.takes(number) for number in range(MOST_THREADS)))
    until(lambda: not background._here()._threads)
    assert background.offer("k", lambda: float(done.set() is not None))
    assert done.wait(SOON)
    assert background.drain(SOON)


def test_a_forked_child_has_threads_of_its_own(gate: Gate) -> None:
    """Also where those of its parent are at work."""
    background = Background()
    background.offer("k", gate.work("k"))
    until(lambda: gate.under_way)
    child = os.fork()
    if child == 0:
        is_taken = background.offer("k", lambda: 0.0)
        os._exit(0 if is_taken and background.drain(SOON) else 1)
    assert os.waitpid(child, 0)[1] == 0


ENDING = """
import multiprocessing, sys, time
from flask_larder.background import Background

background = Background()


def run():
    def work():
        time.sleep(0.2)
        print("done", flush=True)
        return 0.0

    background.offer("k", work)


if sys.argv[1] == "worker":  # as granian's: it runs no atexit
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
else:
    run()
"""


@pytest.mark.parametrize("kind", ["script", "worker"])
def test_a_process_that_ends_does_what_it_has_taken(kind: str) -> None:
    """At the end of a script, as of a server's worker."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDING, kind], capture_output=True, timeout=SOON, check=True
    )
    assert ended.stdout == b"done\n"
