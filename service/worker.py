"""What each worker process does before it serves."""

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

POLL_SECONDS = 0.5


def load(parent: int, drain_seconds: float) -> "WSGIApplication":
    """Return the application for a worker of the server with the process id ``parent``."""
    prepare(parent, drain_seconds)
    from service.wsgi import app  # noqa: PLC0415 - made in the worker, after the fork

    return app


def prepare(parent: int, drain_seconds: float) -> None:
    """Make this worker stop when its parent tells it to, or is gone, and on nothing else."""
    # Ctrl-C and the end of a terminal reach the whole process group. Only the parent acts on them,
    # by SIGTERM to its workers; one that ended by itself would look like one that crashed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    end_with(parent, drain_seconds=drain_seconds)


def end_with(parent: int, *, drain_seconds: float = 2.0) -> None:
    """End this process soon after its parent has ended, also when that was killed.

    The process is asked by SIGTERM, so that it answers the requests that are under way, and after
    ``drain_seconds`` it is ended.
    """
    thread = threading.Thread(target=_watch, args=(parent, drain_seconds), daemon=True)
    thread.name = "parent-watch"
    thread.start()


def _watch(parent: int, drain_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(drain_seconds)
    os._exit(1)
