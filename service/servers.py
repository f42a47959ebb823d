"""The two production servers, each run inside the process that calls it."""

import functools
import os
import signal
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from service import logs, worker
from service.launch import Launch

THREADS = 64  # per worker: they wait for Redis and for another HTTP API most of the time
DRAIN_SECONDS = 3  # what is still under way after that is cut off


def serve(launch: Launch) -> None:
    """Run the server until it is told to stop; SystemExit carries its exit code."""
    run = {"granian": _run_granian, "gunicorn": _run_gunicorn}[launch.server]
    run(launch)


def _stop_on_hang_up(before: Any) -> None:
    # Both servers reload on SIGHUP. Here it says that the terminal was closed, and the service
    # stops, unless it was started by nohup.
    stop = before if before == signal.SIG_IGN else lambda *_: signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, stop)


def _run_granian(launch: Launch) -> None:
    server = Granian(
        "service.wsgi:app",
        address=launch.address.ip,
        port=launch.address.port,
        interface=Interfaces.WSGI,
        websockets=False,
        workers=launch.workers,
        blocking_threads=THREADS,
        workers_kill_timeout=DRAIN_SECONDS,
        respawn_failed_workers=True,
        respawn_interval=0.5,
        log_dictconfig=logs.config(),
    )
    hang_up = signal.getsignal(signal.SIGHUP)
    server.on_startup(lambda: _stop_on_hang_up(hang_up))
    server.serve(target_loader=functools.partial(worker.load, os.getpid()), wrap_loader=False)


class _Gunicorn(BaseApplication):  # type: ignore[misc] # it is not typed
    """gunicorn's own way of being run from Python."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._parent = os.getpid()
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return worker.load(self._parent)


def _run_gunicorn(launch: Launch) -> None:
    hang_up = signal.getsignal(signal.SIGHUP)
    settings = {
        "bind": str(launch.address),
        "workers": launch.workers,
        "worker_class": "gthread",
        "threads": THREADS,
        "graceful_timeout": DRAIN_SECONDS,
        "limit_request_line": 8190,
        "control_socket_disable": True,
        "when_ready": lambda _arbiter: _stop_on_hang_up(hang_up),
        "logconfig_dict": logs.config(),
    }
    _Gunicorn(settings).run()
