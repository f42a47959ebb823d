"""The embedded server, as seen by the process that uses it."""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self
from urllib.parse import quote

from service.config import ROOT, ConfigError
from service.guardian import SOCKET_NAME, START_SECONDS

STOP_SECONDS = 1.8  # the guardian gives the server one second


class EmbeddedServer:
    """One Valkey server on a private unix socket, which lives as long as this process.

    Forked children hold its life line, too: it goes when the last of them has ended.
    """

    def __init__(self, guardian: subprocess.Popen[str], directory: Path) -> None:
        self._guardian = guardian
        self._pid = os.getpid()
        self.directory = directory

    @classmethod
    def start(cls) -> Self:
        """Start the server; raise ConfigError if there is none to start."""
        guardian = subprocess.Popen(
            [sys.executable, "-m", "service.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C goes to the service, which stops the server last
        )
        word, _, rest = cls._first_line(guardian).partition(" ")
        if word != "ready":
            _end(guardian)
            raise ConfigError(rest or "the embedded server's guardian ended without a word")
        return cls(guardian, Path(rest))

    @staticmethod
    def _first_line(guardian: subprocess.Popen[str]) -> str:
        assert guardian.stdout is not None  # noqa: S101 - it is a pipe, made above
        with guardian.stdout as output:
            if select.select([output], [], [], START_SECONDS + 5)[0]:
                return output.readline().removesuffix("\n")
        return ""

    @property
    def socket(self) -> Path:
        """The path of its unix socket."""
        return self.directory / SOCKET_NAME

    @property
    def url(self) -> str:
        """The address for CACHE_REDIS_URL."""
        return f"unix://{quote(str(self.socket))}?db=0"

    def stop(self) -> None:
        """Stop the server and remove its directory; not in a forked child, where others use it."""
        if os.getpid() != self._pid:
            return
        _end(self._guardian)
        shutil.rmtree(self.directory, ignore_errors=True)  # if the guardian was killed


def _end(guardian: subprocess.Popen[str]) -> None:
    """End the guardian as it is meant to end, by the end of its input; else by force."""
    assert guardian.stdin is not None  # noqa: S101 - it is a pipe, made above
    guardian.stdin.close()
    try:
        guardian.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()
