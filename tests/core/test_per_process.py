"""One thing for each process, whatever threads and forks do."""

import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from flask_larder.per_process import PerProcess


def test_a_process_has_one() -> None:
    """The same at each time, also where many threads ask first."""
    barrier = threading.Barrier(20)

    def make() -> object:
        barrier.wait(20)  # all of them find none, and make one
        return object()

    mine = PerProcess(make)
    with ThreadPoolExecutor(20) as threads:
        assert len(set(threads.map(lambda _: mine(), range(20)))) == 1


def test_a_child_has_its_own() -> None:
    """And the parent keeps what it has."""
    mine = PerProcess(object)
    before = mine()
    child = os.fork()
    if child == 0:
        os._exit(0 if mine() is not before and mine() is mine() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine() is before


def test_what_is_empty_counts_as_made() -> None:
    """A thing need not be true."""
    mine: PerProcess[list[int]] = PerProcess(list)
    mine().append(1)
    mine().clear()
    assert mine() is mine()


def test_a_child_that_runs_no_hooks_has_its_own() -> None:
    """As under servers that fork in C."""
    mine = PerProcess(object)
    before = mine()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        os._exit(0 if mine() is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
