"""Threads for what requests do not wait for."""

import threading
from collections.abc import Callable
from functools import partial


class Single:
    """Runs one thing at a time in a thread called *name*.

    It *is_busy* while that goes on: for who asks often, and can ask again.
    """

    def __init__(self, name: str) -> None:
        self.is_busy = False
        self._name = name
        self._under_way = threading.Lock()

    def start(self, target: Callable[[], None]) -> None:
        """Run *target*, unless what was run before goes on, or no thread can start."""
        if self.is_busy:
            return
        is_started = False
        try:
            self.is_busy = True
            is_started = start(self._name, partial(self._run, target))
        finally:
            if not is_started:  # or it is, and an exception came just then: the lock tells
                self.is_busy = False

    def _run(self, target: Callable[[], None]) -> None:
        if not self._under_way.acquire(blocking=False):
            return
        self.is_busy = True
        try:
            target()
        finally:
            self._under_way.release()
            self.is_busy = False  # after that: who came too early for the lock has set it, too


def start(name: str, target: Callable[[], None]) -> bool:
    """Run *target* in a thread; false where the machine lets no more threads start."""
    thread = threading.Thread(target=target, name=f"flask-larder-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # a limit of processes, or of memory: the caller goes on without
        return False
    return True
