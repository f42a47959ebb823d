"""A real nginx with the configuration and the start script of deploy/nginx."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.redis_nodes import free_port
from tests.service.processes import ROOT, wait_until

SOURCE = ROOT / "deploy" / "nginx"

# Where the names of a network are looked up: a file, which a test changes.
GETENT = """#!/bin/sh
echo >>"$NAMES.asked"
exec sed 's/$/ STREAM/' "$NAMES"
"""


class Proxy:
    """nginx in a directory of its own, on a port of its own."""

    def __init__(self, app_port: int, changes: dict[str, str]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nginx-", dir="/tmp"))
        self.port, self.health_port = free_port(), free_port()
        self.log = self.directory / "log"
        self._names = self.directory / "names"
        (self.directory / "bin").mkdir()
        getent = self.directory / "bin" / "getent"
        getent.write_text(GETENT)
        getent.chmod(0o755)
        self.configuration = self.directory / "nginx.conf"
        text = (SOURCE / "nginx.conf").read_text()
        changes = changes | {
            "/tmp/": f"{self.directory}/",
            "listen 8000 ": f"listen 127.0.0.1:{self.port} ",
            "listen 127.0.0.1:8001": f"listen 127.0.0.1:{self.health_port}",
            "/dev/stdout": str(self.log),
            "/dev/stderr": str(self.log),
        }
        for before, after in changes.items():
            assert before in text, before
            text = text.replace(before, after)
        self.configuration.write_text(text)
        self._environ = os.environ | {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}:/usr/sbin",
            "NAMES": str(self._names),
            "APP_PORT": str(app_port),
            "RUN_DIR": str(self.directory),
            "CONF": str(self.configuration),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def names(self, *addresses: str) -> None:
        """Let the app's name lead to these addresses from now on."""
        new = self.directory / "names.new"
        new.write_text("".join(f"{address}\n" for address in addresses))
        new.rename(self._names)

    @property
    def lookups(self) -> int:
        """How often the app's name was looked up."""
        return len(Path(f"{self._names}.asked").read_text())

    @property
    def replicas(self) -> str:
        """What nginx was told of the replicas."""
        return (self.directory / "replicas.conf").read_text()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", str(SOURCE / "start")],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._listens)

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        """Stop it as an engine does; return its exit code."""
        assert self._process
        self._process.send_signal(signal.SIGQUIT)
        return self._process.wait(10)

    def kill(self) -> None:
        """Kill nginx, and nothing else of it."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def processes(self, containing: str = "") -> list[str]:
        """Return its processes whose command contains that."""
        assert self._process
        found = ["pgrep", "-g", str(self._process.pid), "-f", containing or "."]
        return subprocess.run(found, capture_output=True, text=True, check=False).stdout.split()

    def remove(self) -> None:
        """End what is left of it, and remove its directory."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
