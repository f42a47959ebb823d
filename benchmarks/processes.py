"""Processes that the benchmark starts, and ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

KEEPER = Path(__file__).with_name("keeper.py")
ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0


class NoStartError(Exception):
    """A server ended, or did not answer in time, with what it said last."""


def free_port() -> int:
    """A port of the loopback interface that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A server with its workers, which ends when the benchmark ends, however that ends."""

    def __init__(
        self, name: str, words: Sequence[str], environ: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-IS", str(KEEPER), *words],
                cwd=ROOT,
                env={**_own_environ(), **environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )
        assert self._keeper.stdout is not None  # noqa: S101 - it is a pipe
        self.pid = int(self._keeper.stdout.readline() or 0)

    def await_answer(self, answers: Callable[[], bool]) -> Self:
        """Return when it answers; raise NoStartError if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if self._keeper.poll() is not None or time.monotonic() > deadline:
                raise NoStartError(f"{self.name} does not start: {self.last_line()}")
            time.sleep(0.05)
        return self

    def last_line(self) -> str:
        """What it said last."""
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it says nothing"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server itself."""
        os.kill(self.pid, number)

    def tell_to_end(self) -> None:
        """Have it end, and do not wait for that."""
        assert self._keeper.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            self._keeper.stdin.close()

    def end(self) -> None:
        """End it and its workers."""
        self.tell_to_end()
        self._keeper.wait()
        assert self._keeper.stdout is not None  # noqa: S101 - it is a pipe
        self._keeper.stdout.close()


def _own_environ() -> dict[str, str]:
    """The environment without settings that are meant for somebody else."""
    other = ("CACHE_", "BENCH_", "GRANIAN_", "GUNICORN_", "FLASK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(other)}
