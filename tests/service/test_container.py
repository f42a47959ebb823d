"""The service as it runs in a container: process 1, without a terminal, on a read-only disk."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.service.conftest import SERVERS
from tests.service.processes import Sandbox, Service, wait_until

UNSHARE = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
READ_ONLY = "mount --make-rprivate / && mount -o remount,bind,ro /"
NO_SHM = "mount -t tmpfs -o ro none /dev/shm"


def can_unshare() -> bool:
    """Tell whether this user may make namespaces, of which containers are made."""
    command = [*UNSHARE, "sh", "-c", f"{READ_ONLY} && {NO_SHM}"]
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        return False
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_unshare(), reason="needs unshare and setpriv")


class Container:
    """The service as process 1."""

    def __init__(self, sandbox: Sandbox, *mounts: str) -> None:
        self.sandbox = sandbox
        script = " && ".join([*mounts, 'exec "$@"'])
        # With this process, unshare is killed, and with it process 1, and with that all others.
        wrapper = ["setpriv", "--pdeathsig", "KILL", *UNSHARE, "sh", "-c", script, "sh"]
        self.unshare = sandbox.start("-m", "service", wrapper=wrapper)
        self.service = Service(sandbox, self.unshare)

    def wait(self) -> "Container":
        wait_until(self.service.answers, 20)
        return self

    @property
    def first(self) -> int:
        """The id that process 1 has outside."""
        return children(self.unshare.pid)[0]

    def workers(self) -> set[int]:
        return {pid for pid in children(self.first) if is_worker(pid)}

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.first, number)

    def stop(self) -> int:
        """Tell it to stop; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.unshare.wait(10)  # as long as Docker waits


def children(pid: int) -> Sequence[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_worker(pid: int) -> bool:
    return b"service.guardian" not in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, sandbox: Sandbox, redis_url: str) -> str:
    """The settings of a container: the store is elsewhere."""
    sandbox.environ |= {"SERVER": request.param, "CACHE_REDIS_URL": redis_url}
    return str(request.param)


def test_process_one(sandbox: Sandbox, server: str) -> None:
    """SIGHUP replaces the workers, SIGTERM ends all, with exit code 0."""
    container = Container(sandbox).wait()
    wait_until(lambda: len(container.workers()) == 2)
    before = container.workers()
    container.signal(signal.SIGHUP)
    wait_until(lambda: len(container.workers()) == 2 and not before & container.workers())
    assert container.service.get("/square/4").json() == {"computed": 16}
    assert container.stop() == 0
    assert sandbox.is_empty()


@pytest.mark.parametrize("seconds_later", [0, 0.2, 0.7])
def test_sigterm_while_it_starts(sandbox: Sandbox, server: str, seconds_later: float) -> None:
    """The system keeps signals from a process 1 that has no handler; it has one from the start."""
    container = Container(sandbox)
    wait_until(lambda: len(children(container.unshare.pid)) == 1)
    wait_until(lambda: catches_sigterm(container.first))
    time.sleep(seconds_later)  # whatever it is doing then
    assert container.stop() == 0
    assert "Traceback" not in sandbox.log.read_text()
    assert sandbox.is_empty()


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_read_only_disk(sandbox: Sandbox, server: str, redis_url: str) -> None:
    """Only /dev/shm can be written, as in every container."""
    container = Container(sandbox, READ_ONLY).wait()
    assert container.service.get("/square/4").json() == {"computed": 16}
    wait_until(
        lambda: container.service.get("/square/4").headers["Cache-Status"][:11] == "larder; hit"
    )
    assert sandbox.run("service.healthcheck") == (0, "")
    wait_until(lambda: len(container.workers()) == 2)
    before = container.workers()
    container.signal(signal.SIGHUP)
    wait_until(lambda: len(container.workers()) == 2 and not before & container.workers())
    assert container.stop() == 0
    assert container.service.lines("Traceback") == []
    assert container.service.lines("Read-only") == []
    code, output = sandbox.run("service.keys")
    assert code == 0
    assert "/square/4" in output


def test_nothing_to_write_to_at_all(sandbox: Sandbox, server: str) -> None:
    """With granian the service needs nothing; gunicorn says what it needs."""
    container = Container(sandbox, READ_ONLY, NO_SHM)
    if server == "granian":
        assert container.wait().service.get("/square/4").json() == {"computed": 16}
        assert container.stop() == 0
    else:
        assert container.unshare.wait(20) == 2
        (line,) = container.service.lines("error: ")
        assert line.startswith(
            "error: gunicorn has no directory to write to; make /dev/shm or /tmp"
        )


def test_embedded_server_has_nothing_to_write_to(sandbox: Sandbox) -> None:
    """It says which setting helps."""
    container = Container(sandbox, READ_ONLY, NO_SHM)
    assert container.unshare.wait(20) == 2
    (line,) = container.service.lines()[:-1]
    assert line.startswith(
        "error: there is no directory to write to for the socket of the embedded"
    )
    assert "set CACHE_REDIS_URL to a server that runs, for instance redis://redis:6379/0" in line
