"""Threads for what requests do not wait for."""

import threading
from collections.abc import Callable


class Single:
    """Runs one thing at a time in a thread called *name*."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way = threading.Lock()

    def start(self, target: Callable[[], None]) -> None:
        """Run *target*, unless what was run before goes on, or no thread can start."""
        if self._under_way.acquire(blocking=False) and not start(self._name, self._run(target)):
            self._under_way.release()

    def _run(self, target: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                target()
            finally:
                self._under_way.release()

        return run


def start(name: str, target: Callable[[], None]) -> bool:
    """Run *target* in a thread; false where the machine lets no more threads start."""
    thread = threading.Thread(target=target, name=f"flask-larder-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # a limit of processes, or of memory: the caller goes on without
        return False
    return True
