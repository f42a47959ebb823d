"""The rolling restart: each worker is replaced once its successor has loaded the application.

Both servers can restart their workers by themselves. But they stop the old ones whether the new
ones come up or not, and do not heed SIGTERM meanwhile.
"""

import logging
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

BOOT_SECONDS = 30.0  # that a new worker has to load the application
POLL_SECONDS = 0.05

logger = logging.getLogger("service")

IsStopping = Callable[[], bool]
"""Tells whether the service has been told to stop: then nothing is waited for any more."""


class Worker(Protocol):
    """A worker process of a server."""

    def ends(self, within: float) -> bool:
        """Wait for its end for so many seconds; tell whether it has ended."""
        ...

    def stop_accepting(self) -> float:
        """Leave new connections to others; return the seconds until it has done so."""
        ...

    def stop(self) -> None:
        """Let it answer what is under way, and end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


def channel() -> tuple[socket.socket, socket.socket]:
    """Make what a new worker says by that it is ready: the main process's end, and its own."""
    return socket.socketpair()


def tell_ready(end: socket.socket) -> None:
    """Say that this worker is ready."""
    with end:
        end.sendall(b"ready")


def comes_up(new: Worker, end: socket.socket, is_stopping: IsStopping) -> bool:
    """Wait until a new worker says that it is ready; end one that does not come up."""
    deadline = time.monotonic() + BOOT_SECONDS
    while not select.select([end], [], [], POLL_SECONDS)[0]:
        if is_stopping():
            return False  # whoever stops the service stops this worker, too
        if time.monotonic() > deadline:
            break
    else:
        if end.recv(1):  # it has ended otherwise
            return True
    logger.error("A new worker does not come up; the old ones stay")
    new.kill()
    return False


def goes(old: Worker, drain_seconds: float, is_stopping: IsStopping) -> bool:
    """Let an old worker answer what is under way; tell whether it has ended.

    It has not if the service is being stopped: whoever does that stops this worker, too.
    """
    _wait(old, old.stop_accepting(), is_stopping)
    old.stop()
    if _wait(old, drain_seconds, is_stopping):
        return True
    if is_stopping():
        return False
    logger.warning("An old worker is ended after %s s with requests under way", drain_seconds)
    old.kill()
    return True


def _wait(worker: Worker, seconds: float, is_stopping: IsStopping) -> bool:
    deadline = time.monotonic() + seconds
    while not (ended := worker.ends(POLL_SECONDS)):
        if is_stopping() or time.monotonic() > deadline:
            break
    return ended
