"""Threads for what requests do not wait for."""

import threading
from collections.abc import Callable


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
        if not self._under_way.acquire(blocking=False):
            return
        self.is_busy = True
        if not start(self._name, self._run(target)):
            self._end()

    def _run(self, target: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                target()
            finally:
                self._end()

        return run

    def _end(self) -> None:
        self.is_busy = False
        self._under_way.release()


def start(name: str, target: Callable[[], None]) -> bool:
    """Run *target* in a thread; false where the machine lets no more threads start."""
    thread = threading.Thread(target=target, name=f"flask-larder-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # a limit of processes, or of memory: the caller goes on without
        return False
    return True
