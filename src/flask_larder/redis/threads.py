"""Threads for what requests do not wait for."""

import threading
from collections.abc import Callable


def start(name: str, target: Callable[[], None]) -> bool:
    """Run *target* in a thread; false where the machine lets no more threads start."""
    thread = threading.Thread(target=target, name=f"flask-larder-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # a limit of processes, or of memory: the caller goes on without
        return False
    return True
