"""Starts the service as a user does, in processes of its own, and finds what is left of it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import redis
import requests

from service.config import ROOT
from service.state import read_state, state_file
from tests.redis_nodes import free_port

MARK = "LARDER_TEST_MARK"
OURS = re.compile(
    "(CACHE|UNIVERSITIES|LARDER|FLASK|WERKZEUG|TRUSTED)_"
    "|(HOST|PORT|WORKERS|THREADS|SERVER|DRAIN_SECONDS|MAKE.*)$"
)


def wait_until(what: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class Sandbox:
    """A directory and an environment in which processes can be told from all others."""

    def __init__(self, **settings: str) -> None:
        # Short, since the path of a unix socket is, and pytest's own directories are not.
        self.directory = Path(tempfile.mkdtemp(prefix="sandbox-", dir="/tmp"))
        self.temporary = self.directory / "tmp"
        self.temporary.mkdir()
        (self.directory / ".env").touch()  # so that the one of the checkout is not read
        self.log = self.directory / "log"
        self.port = free_port()
        self._started: list[subprocess.Popen[bytes]] = []
        self._inherited: tuple[int, ...] = ()
        self._mark = uuid.uuid4().hex
        self.environ = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        # The machine may be busy with other tests; those of a Redis that is away say otherwise.
        self.environ |= {"CACHE_REDIS_TIMEOUT": "5", "CACHE_BUDGET_SECONDS": "5"}
        self.environ |= {
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),
            "PORT": str(self.port),
            MARK: self._mark,
        }
        self.environ |= settings

    def run(self, *module_and_arguments: str, seconds: float = 20.0) -> tuple[int, str]:
        """Run a module to its end; return its exit code and what it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", *module_and_arguments],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self, *command: str, wrapper: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a process that leads a session of its own, which has no terminal.

        A wrapper is a command that does something, and then becomes the one after it.
        """
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*wrapper, sys.executable, *command],
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self._inherited,
            )
        self._started.append(process)
        return process

    @contextlib.contextmanager
    def terminal(self, *, nohup: bool = False) -> Iterator[Sequence[str]]:
        """Open a terminal, and yield the wrapper for the process that it controls."""
        terminal, its_end = os.openpty()
        self._inherited = (its_end,)
        ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN);" if nohup else ""
        take = f"fcntl.ioctl({its_end}, termios.TIOCSCTTY, 0); os.close({its_end})"
        become = "os.execv(sys.argv[1], sys.argv[1:])"
        script = f"import fcntl, os, signal, sys, termios; {ignore} {take}; {become}"
        try:
            yield [sys.executable, "-c", script]
        finally:
            self._inherited = ()
            os.close(its_end)
            os.close(terminal)

    def processes(self, containing: str = "") -> list[int]:
        """Return the ids of the processes of this sandbox that live.

        They are known by their environment. Where Valkey's was, its title stands: it names the
        socket.
        """
        mark, socket_of, found = f"{MARK}={self._mark}".encode(), str(self.temporary), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_text("utf-8", "replace")
                ours = socket_of in command or mark in (entry / "environ").read_bytes().split(b"\0")
                if ours and containing in command:
                    found.append(int(entry.name))
        return sorted(found)

    def is_empty(self) -> bool:
        """Tell whether neither a process nor a file in the temporary directory is left."""
        return not self.processes() and not list(self.temporary.iterdir())

    def remove(self) -> None:
        """Kill what is left, and remove the directory."""
        deadline = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for process in self._started:
            process.wait()
        state_file(self.port).unlink(missing_ok=True)  # what was killed could not remove it
        shutil.rmtree(self.directory, ignore_errors=True)


class Service:
    """A running service."""

    def __init__(self, sandbox: Sandbox, process: subprocess.Popen[bytes]) -> None:
        self.sandbox = sandbox
        self.process = process
        self.url = f"http://127.0.0.1:{sandbox.port}"

    def get(self, path: str, **options: object) -> requests.Response:
        """Ask over a new connection, which any of the workers may accept."""
        arguments = {"timeout": 20, "allow_redirects": False, **options}
        return requests.get(self.url + path, **arguments)

    def lines(self, containing: str = "") -> list[str]:
        """Return the lines of its log."""
        text = self.sandbox.log.read_text("utf-8")
        return [line for line in text.split("\n") if containing in line]

    def answers(self) -> bool:
        """Tell whether it answers."""
        assert self.process.poll() is None, "\n".join(self.lines())
        with contextlib.suppress(requests.ConnectionError):
            return self.get("/healthz").status_code == 200
        return False

    def workers(self) -> list[int]:
        """Return the process ids of the workers: the children that are no guardian."""
        (master, *_), found = [self.process.pid], []
        for pid in self.sandbox.processes():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == master and pid not in self.guardians():
                    found.append(pid)
        return found

    def all_workers_answer(self, count: int = 2) -> bool:
        """Tell whether so many workers have answered: to be asked until they have."""
        self.get("/healthz")
        return len({line.split()[2] for line in self.lines(" GET /healthz 200 ")}) >= count

    def guardians(self) -> list[int]:
        """Return the process id of the guardian of the embedded server."""
        return self.sandbox.processes("service.guardian")

    def stores(self) -> list[int]:
        """Return the process id of the embedded server."""
        return self.sandbox.processes("valkey-server")

    @contextlib.contextmanager
    def store(self) -> Iterator[redis.Redis]:
        """Connect to its store."""
        address = read_state(self.sandbox.port)
        assert address
        with redis.Redis.from_url(address, socket_timeout=10) as client:
            yield client

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the main process, or to its process group as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, number)


def start_service(
    sandbox: Sandbox, module: str = "service", wrapper: Sequence[str] = ()
) -> Service:
    """Start the service and wait until it answers."""
    # It ends with this process, also if that is killed: nothing is left of a test run.
    service = Service(sandbox, sandbox.start("-m", module, "--with-parent", wrapper=wrapper))
    wait_until(service.answers, 20)
    return service


def hanging_client(service: Service, name: str = "hangs") -> "HangingClient":
    """Ask for universities in a process, which is killed at the end of the block."""
    script = f"import urllib.request as r; r.urlopen('{service.url}/universities?name={name}')"
    return HangingClient([sys.executable, "-c", script], stderr=subprocess.DEVNULL)


class HangingClient(subprocess.Popen[bytes]):
    """A process that is killed when its block is left."""

    def __exit__(self, *error: object) -> None:
        self.kill()
        super().__exit__(*error)  # type: ignore[arg-type]
