"""gunicorn."""

import os
import signal
import socket
import tempfile
import time
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from service import logs, rolling_restart, worker
from service.config import ConfigError
from service.launch import Launch
from service.signals import HangUp

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def run(launch: Launch, on_hang_up: HangUp) -> None:
    """Run gunicorn until it is told to stop; SystemExit carries its exit code."""
    settings = {
        "bind": str(launch.address),
        "workers": launch.workers,
        "worker_class": _Worker,
        "threads": launch.threads,
        "keepalive": 75,  # longer than a proxy keeps a connection: then it is the one that closes
        "limit_request_line": 8190,
        "control_socket_disable": True,
        "worker_tmp_dir": _heartbeat_directory(),
        # It believes nobody: the application knows the trusted proxies.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        "when_ready": lambda _arbiter: on_hang_up.take_over(),
        "logconfig_dict": logs.config(),
    }
    _Gunicorn(settings, launch.drain_seconds).run()


def _heartbeat_directory() -> str:
    # In memory, where there is such a place: a container's disk may be slow, or read-only.
    if os.access("/dev/shm", os.W_OK | os.X_OK):  # noqa: S108 - the file has no name there
        return "/dev/shm"  # noqa: S108
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            "gunicorn has no directory to write to; make /dev/shm or /tmp writable (a tmpfs will "
            "do), set TMPDIR, or take SERVER=granian"
        ) from error


class _Gunicorn(BaseApplication):  # type: ignore[misc] # it is not typed
    """gunicorn's own way of being run from Python."""

    its_end: socket.socket | None = None  # by which a worker says that it is ready

    def __init__(self, settings: dict[str, Any], drain_seconds: float) -> None:
        self._settings = settings
        self._parent = os.getpid()
        self.drain_seconds = drain_seconds
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)
        # What sets it takes whole seconds; what reads it takes any.
        self.cfg.settings["graceful_timeout"].value = self.drain_seconds

    def load(self) -> Any:
        app = worker.load(self._parent, self.drain_seconds)
        if self.its_end:
            rolling_restart.tell_ready(self.its_end)
        return app

    def run(self) -> None:
        _Arbiter(self).run()


class _Worker(ThreadWorker):  # type: ignore[misc] # it is not typed
    """gunicorn's worker with threads."""

    def set_accept_enabled(self, enabled: Any) -> None:
        """Close the socket when it is not listened on any more.

        As long as it is open, the system takes connections that nobody answers.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()


class _Arbiter(Arbiter):  # type: ignore[misc] # it is not typed
    """gunicorn's main process, except for the rolling restart."""

    def __init__(self, app: _Gunicorn) -> None:
        self.is_stopping = False
        self._gunicorn = app
        super().__init__(app)

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Note that the service has been told to stop, also while its workers are replaced."""
        self.is_stopping = self.is_stopping or sig in STOP_SIGNALS
        super().signal(sig, frame)

    def reload(self) -> None:
        """Replace each worker; gunicorn would stop all as soon as it has started others."""
        for pid in sorted(self.WORKERS, key=lambda pid: self.WORKERS[pid].age):
            if self.is_stopping or not self._replace(pid):
                return

    def _replace(self, pid: int) -> bool:
        end, self._gunicorn.its_end = rolling_restart.channel()
        with end:
            with self._gunicorn.its_end:
                new = _Process(self, self.spawn_worker())
            self._gunicorn.its_end = None
            if not rolling_restart.comes_up(new, end, lambda: self.is_stopping):
                return False
        rolling_restart.goes(
            _Process(self, pid), self._gunicorn.drain_seconds, lambda: self.is_stopping
        )
        return True


class _Process:
    """A worker, as the rolling restart takes it."""

    def __init__(self, arbiter: _Arbiter, pid: int) -> None:
        self._arbiter = arbiter
        self._pid = pid

    def ends(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._pid not in self._arbiter.WORKERS

    def stop_accepting(self) -> float:
        return 0  # it does so when it is told to stop, and reads what others have sent

    def stop(self) -> None:
        self._arbiter.kill_worker(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        self._arbiter.kill_worker(self._pid, signal.SIGKILL)
        self.ends(within=1.0)

    def _has_ended(self) -> bool:
        # gunicorn's own way of finding out would end the service where a new worker has failed.
        if self._pid in self._arbiter.WORKERS and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._arbiter.WORKERS.pop(self._pid).tmp.close()
        return self._pid not in self._arbiter.WORKERS
