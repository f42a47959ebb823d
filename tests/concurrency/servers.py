"""Production servers that run the application of the proofs, and crowds that ask them."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.leash import LEASH
from tests.redis_nodes import free_port
from tests.service.processes import ROOT, wait_until

APP = "tests.concurrency.proof_app:app"
HOST = "api.example"  # the same on all ports, so that all servers mean the same responses

COMMANDS = {
    "granian": [
        *("granian", "--interface", "wsgi", "--workers", "1", "--blocking-threads", "64"),
        *("--no-ws", "--backlog", "1024", "--host", "127.0.0.1", "--port", "{port}", "{app}"),
    ],
    "gunicorn": [
        *("gunicorn", "--worker-class", "gthread", "--threads", "64", "--bind"),
        *("127.0.0.1:{port}", "--no-control-socket", "{app}"),
    ],
}
COMMANDS["gunicorn sync"] = [
    *("gunicorn", "--worker-class", "sync", "--bind", "127.0.0.1:{port}"),
    *("--no-control-socket", "{app}"),
]
COMMANDS["gunicorn --preload"] = [*COMMANDS["gunicorn"], "--preload"]
COMMANDS["gunicorn gevent"] = [
    "gevent" if word == "gthread" else word for word in COMMANDS["gunicorn"]
]
COMMANDS["gunicorn gevent --preload"] = [*COMMANDS["gunicorn gevent"], "--preload"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of a crowd got. *status* is 0 where the connection broke."""

    status: int
    cache: str
    body: bytes
    seconds: float


class Server:
    """One server with one worker."""

    def __init__(self, kind: str, environ: dict[str, str], app: str = APP) -> None:
        self.kind = kind
        self.port = free_port()
        words = [word.format(port=self.port, app=app) for word in COMMANDS[kind]]
        words[0] = str(Path(sys.executable).with_name(words[0]))
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._process = subprocess.Popen(
            [sys.executable, "-IS", "-c", LEASH, str(os.getpid()), *words],
            cwd=ROOT,
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def answers(self) -> bool:
        """Whether it answers."""
        assert self._process.poll() is None, self.said()
        return ask(self.port, "/healthz").status == 200

    def said(self) -> str:
        """What it has printed."""
        self.log.seek(0)
        return self.log.read().decode()

    def terminate(self) -> None:
        """Ask it to end in order, as whoever deploys does."""
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Wait until it has ended; its exit code. Fails if it does not in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"runs on after {seconds} s\n{self.said()}") from None

    def end(self) -> None:
        """End it and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.log.close()


PATIENT = {"CACHE_REDIS_TIMEOUT": "5", "CACHE_BUDGET_SECONDS": "5"}
"""For a machine that is busy, where the proof is about something else."""


@contextlib.contextmanager
def running(
    *kinds: str, redis_url: str, view_seconds: float, app: str = APP, **settings: str
) -> Iterator["Proof"]:
    """Start servers of *app* that share a Redis; end them afterwards."""
    with tempfile.NamedTemporaryFile(prefix="runs-") as runs:
        environ = {
            "CACHE_TYPE": "RedisCache",
            "CACHE_REDIS_URL": redis_url,
            "PROOF_RUNS": runs.name,
            "PROOF_SECONDS": str(view_seconds),
            **settings,
        }
        servers: list[Server] = []
        try:
            servers += [Server(kind, environ, app) for kind in kinds]
            for server in servers:
                wait_until(server.answers, 20)
            yield Proof(servers, Path(runs.name))
        finally:
            for server in servers:
                server.end()


class Proof:
    """The servers, and what their views have written down."""

    def __init__(self, servers: list[Server], runs: Path) -> None:
        self.servers = servers
        self._runs = runs

    def runs(self) -> Counter[str]:
        """How often the view ran, by key."""
        return Counter(line.split()[0] for line in self.lines())

    def pids(self, key: str) -> list[int]:
        """The processes in which the view ran for a key, in order."""
        return [int(line.split()[1]) for line in self.lines() if line.split()[0] == key]

    def lines(self) -> list[str]:
        """All that was written down, in order."""
        return self._runs.read_text().splitlines()

    def crowd(self, target: str, count: int) -> "Crowd":
        """Let so many clients ask at the same time, evenly over the servers."""
        return Crowd([self.servers[n % len(self.servers)].port for n in range(count)], target)


class Crowd:
    """Clients that all ask at the same time."""

    def __init__(self, ports: list[int], target: str) -> None:
        self._answers: list[Answer] = []
        start = threading.Barrier(len(ports), timeout=30)

        def client(port: int) -> None:
            start.wait()
            self._answers.append(ask(port, target))

        self._threads = [threading.Thread(target=client, args=(port,)) for port in ports]
        for thread in self._threads:
            thread.start()

    def answers(self) -> list[Answer]:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join()
        return self._answers


def ask(port: int, target: str, **fields: str) -> Answer:
    """Send one request with these header *fields*, on a connection of its own."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        connection.request("GET", target, headers={"Host": HOST, **fields})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return Answer(0, "", b"", time.monotonic() - began)
    finally:
        connection.close()
    cache = response.getheader("Cache-Status", "")
    return Answer(response.status, cache, body, time.monotonic() - began)
