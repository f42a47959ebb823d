"""One compose project: what ``docker compose`` is asked to do, and what the engine tells of it."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.verification.report import Failure, wait_for

LONGEST = 300  # seconds that one command may take

KILL = "import os, sys; os.kill(int(sys.argv[1]), 9)"
WORKERS = """
import os
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    except OSError:
        continue
    if state[1] == "1" and b"service" in open(f"/proc/{pid}/cmdline", "rb").read():
        print(pid)
"""


def docker(*arguments: str, cwd: Path | None = None, environ: dict[str, str] | None = None) -> str:
    """Run docker and return what it printed."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=cwd,
        env=os.environ | (environ or {}),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Failure(f"docker {' '.join(arguments)[:200]!r} says: {said[-400:]}")
    return done.stdout


class Project:
    """A project of the given compose files, run in *directory* with *environ* on top."""

    def __init__(
        self, name: str, directory: Path, files: list[str], environ: dict[str, str]
    ) -> None:
        self.name = name
        self.environ = environ
        self._directory = directory
        self._files = [part for file in files for part in ("-f", file)]

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose``."""
        return docker(
            "compose",
            "-p",
            self.name,
            *self._files,
            *arguments,
            cwd=self._directory,
            environ=self.environ,
        )

    def up(self, *arguments: str) -> None:
        """Start what is not running, and wait until all of it is healthy."""
        self.compose("up", "-d", "--wait", *arguments)

    @contextlib.contextmanager
    def scaled(self, count: int) -> Iterator[None]:
        """Have so many containers of the app meanwhile, and one afterwards, whatever happens."""
        self.up("--no-recreate", "--scale", f"app={count}")
        try:
            yield
        finally:
            self.up("--no-recreate", "--scale", "app=1")

    def containers(self, service: str, *, stopped: bool = False) -> list[str]:
        """Return the ids of the service's containers."""
        every = ["-a"] if stopped else []
        return self.compose("ps", "-q", *every, service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return all that the engine knows of a container."""
        (known,) = json.loads(docker("inspect", container))
        return dict(known)

    def run(self, service: str, *command: str) -> str:
        """Run a command in the first container of a service."""
        return self.compose("exec", "-T", service, *command)

    def logs(self, service: str) -> str:
        """Return what a service's containers have printed."""
        return self.compose("logs", "--no-color", "--no-log-prefix", service)

    def workers(self) -> set[str]:
        """Return the ids of the app's worker processes, in its first container."""
        return set(self.run("app", "python", "-c", WORKERS).split())

    def crash(self, container: str) -> None:
        """Kill the container's first process as the kernel would, so that it is started again.

        ``docker kill`` counts as being stopped by hand, after which nothing is started again.
        """
        before = self.inspect(container)
        docker(
            *("run", "--rm", "--pid=host", "--user=0", "--network=none"),
            *("python:3.12-slim-bookworm", "python", "-c", KILL, str(before["State"]["Pid"])),
        )

        def has_gone() -> bool:
            now = self.inspect(container)
            return bool(now["RestartCount"] > before["RestartCount"])

        wait_for("the killed container is started again", has_gone)

    def down(self) -> None:
        """Remove everything of the project, its images too."""
        self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5")

    def left(self) -> list[str]:
        """Return what is left of the project."""
        mine = f"label=com.docker.compose.project={self.name}"
        kinds = {
            "container": ["ps", "-a"],
            "network": ["network", "ls"],
            "volume": ["volume", "ls"],
        }
        return [
            f"{kind} {identity}"
            for kind, command in kinds.items()
            for identity in docker(*command, "-q", "--filter", mine).split()
        ]
