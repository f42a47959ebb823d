"""What the service starts ends with it, however it ends; and it survives what it depends on."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_larder.breaker import PATIENCE
from service.state import state_file
from tests.service.clients import ClosedError, Connection
from tests.service.conftest import SERVERS
from tests.service.processes import (
    Sandbox,
    Service,
    hanging_client,
    start_service,
    wait_until,
)
from tests.service.universities_twin import UniversitiesTwin

STOP_SECONDS = 5.0
PATIENT = {"UNIVERSITIES_READ_TIMEOUT": "60", "UNIVERSITIES_TOTAL_TIMEOUT": "60"}

Start = Callable[..., Service]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
    ids=["SIGTERM", "SIGTERM to all", "Ctrl-C"],
)
def test_told_to_stop(start: Start, server: str, number: signal.Signals, *, group: bool) -> None:
    """Within 5 s nothing is left: no process, no socket, no state file."""
    service = start(SERVER=server)
    assert service.get("/square/4").status_code == 200
    # The main one, two workers, the guardian and the store.
    wait_until(lambda: len(service.sandbox.processes()) == 5)
    assert state_file(service.sandbox.port).exists()
    service.signal(number, group=group)
    wait_until(service.sandbox.is_empty, STOP_SECONDS)
    assert not state_file(service.sandbox.port).exists()
    assert service.process.wait() == 0
    assert service.lines("Traceback") == []


@pytest.mark.parametrize("server", SERVERS)
def test_told_to_stop_by_several(start: Start, server: str) -> None:
    """As by make, by timeout and by whoever ends all of the group: a signal amid the handling."""
    service = start(SERVER=server)
    for _ in range(200):
        service.signal(signal.SIGTERM)
    wait_until(service.sandbox.is_empty, STOP_SECONDS)
    assert service.process.wait() == 0


@pytest.mark.parametrize("server", SERVERS)
def test_terminal_closed(sandbox: Sandbox, server: str) -> None:
    """The service goes with the terminal that it was started in."""
    sandbox.environ["SERVER"] = server
    with sandbox.terminal() as wrapper:
        service = start_service(sandbox, wrapper=wrapper)
        wait_until(lambda: len(sandbox.processes()) == 5)
    wait_until(sandbox.is_empty, STOP_SECONDS)
    assert service.process.wait() == 0
    assert service.lines("Traceback") == []


@pytest.mark.parametrize("server", SERVERS)
def test_terminal_closed_after_nohup(sandbox: Sandbox, server: str) -> None:
    """That is what nohup is for."""
    sandbox.environ["SERVER"] = server
    with sandbox.terminal(nohup=True) as wrapper:
        service = start_service(sandbox, wrapper=wrapper)
        wait_until(lambda: len(sandbox.processes()) == 5)
        before = sandbox.processes()
    service.signal(signal.SIGHUP, group=True)
    for number in range(10):
        assert service.get(f"/square/{number}").status_code == 200
    assert sandbox.processes() == before
    service.signal(signal.SIGTERM)
    wait_until(sandbox.is_empty, STOP_SECONDS)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stops_while_a_request_hangs(
    start: Start, twin: UniversitiesTwin, server: str, number: signal.Signals
) -> None:
    """So long does a client that waits hold the service up, and not longer."""
    service = start(SERVER=server, DRAIN_SECONDS="0.6", **PATIENT)
    with twin.answering("never"), hanging_client(service):
        wait_until(lambda: twin.calls)
        service.signal(number)
        began = time.monotonic()
        wait_until(service.sandbox.is_empty, 0.6 + 3)
        assert time.monotonic() - began > 0.5
    if number == signal.SIGTERM:
        assert service.process.wait() == 0


@pytest.mark.parametrize("server", SERVERS)
def test_nobody_hangs_during_the_drain(start: Start, twin: UniversitiesTwin, server: str) -> None:
    """Who comes then is refused, or answered, and at once; who is there is answered."""
    service = start(SERVER=server, DRAIN_SECONDS="2")
    statuses: list[int] = []
    with twin.answering("slowly", delay=1.2), Connection(service.sandbox.port) as kept:
        assert kept.get("/healthz") == 200
        ask = lambda: statuses.append(service.get("/universities?name=x").status_code)  # noqa: E731
        client = threading.Thread(target=ask)
        client.start()
        wait_until(lambda: twin.calls)
        service.signal(signal.SIGTERM)
        tries = 0
        while client.is_alive():
            assert try_to_get(service, "/healthz") in {200, None}
            tries += 1
        client.join()
    assert statuses == [200]
    assert tries > 3
    wait_until(service.sandbox.is_empty, STOP_SECONDS)
    assert service.process.wait() == 0


@pytest.mark.parametrize("server", SERVERS)
def test_answers_what_is_under_way(start: Start, twin: UniversitiesTwin, server: str) -> None:
    """SIGTERM lets a request that has begun come to its end."""
    service = start(SERVER=server)
    statuses: list[int] = []
    with twin.answering("slowly", delay=1.0):
        ask = lambda: statuses.append(service.get("/universities?name=x").status_code)  # noqa: E731
        client = threading.Thread(target=ask)
        client.start()
        wait_until(lambda: twin.calls)
        service.signal(signal.SIGTERM)
        client.join()
    assert statuses == [200]
    wait_until(service.sandbox.is_empty, STOP_SECONDS)


def try_to_get(service: Service, path: str) -> int | None:
    """Return the status, None if the connection is refused or closed."""
    try:
        with Connection(service.sandbox.port, seconds=0.5) as connection:
            return connection.get(path)
    except (ConnectionError, ClosedError):
        return None


@pytest.mark.parametrize("server", SERVERS)
def test_killed(start: Start, server: str) -> None:
    """SIGKILL of the main process leaves no process and no socket directory behind."""
    service = start(SERVER=server)
    assert service.get("/square/4").status_code == 200
    service.signal(signal.SIGKILL)
    wait_until(service.sandbox.is_empty, STOP_SECONDS)


def test_parent_killed(sandbox: Sandbox) -> None:
    """The service ends with make, also when that is killed."""
    # Stands for make, which starts its command in the same way and waits.
    parent = sandbox.start(
        "-c",
        "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])",
        *("-m", "service", "--with-parent"),
    )
    service = Service(sandbox, parent)
    wait_until(service.answers)
    parent.kill()
    wait_until(sandbox.is_empty, STOP_SECONDS)


def test_killed_before_it_serves(sandbox: Sandbox) -> None:
    """Also while it starts, nothing is left behind."""
    process = sandbox.start("-m", "service")
    wait_until(lambda: sandbox.processes("valkey-server"))
    process.kill()
    wait_until(sandbox.is_empty, STOP_SECONDS)


def test_stopped_before_it_serves(sandbox: Sandbox) -> None:
    """SIGTERM while it starts is no reason for a traceback."""
    process = sandbox.start("-m", "service")
    wait_until(lambda: sandbox.processes("valkey-server"))
    process.terminate()
    wait_until(sandbox.is_empty, STOP_SECONDS)
    assert "Traceback" not in sandbox.log.read_text()
    assert not state_file(sandbox.port).exists()


@pytest.mark.parametrize("server", SERVERS)
def test_stopped_where_python_drops_the_exception(sandbox: Sandbox, server: str) -> None:
    """The server hears of it as soon as it has taken over."""
    sandbox.environ["SERVER"] = server
    script = """
import os, signal, sys
from service import launcher, signals

class Dropping:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def read_launch():
    Dropping()
    return kept()

kept, launcher.read_launch = launcher.read_launch, read_launch
sys.exit(launcher.main([], os.getppid()))
"""
    process = sandbox.start("-c", script)
    assert process.wait(10) == 0
    assert "Exception ignored in" in sandbox.log.read_text()
    wait_until(sandbox.is_empty, STOP_SECONDS)


def test_socket_is_private(start: Start) -> None:
    """Nobody else can enter the directory of the store, which has no TCP port."""
    service = start()
    (directory,) = service.sandbox.temporary.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "valkey.sock").stat().st_mode & 0o777 == 0o700
    assert state_file(service.sandbox.port).stat().st_mode & 0o777 == 0o600
    assert str(directory / "valkey.sock") in service.lines("The store:")[0]
    with service.store() as store:
        assert store.config_get("port") == {"port": "0"}
        assert store.config_get("save") == {"save": ""}
        assert store.config_get("maxmemory") == {"maxmemory": str(256 * 1024 * 1024)}


@pytest.mark.parametrize("server", SERVERS)
def test_killed_worker_is_replaced(start: Start, server: str) -> None:
    """Another takes its place, and finds what is stored."""
    service = start(SERVER=server)
    service.get("/square/4")
    wait_until(lambda: len(service.workers()) == 2)
    first, second = service.workers()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(service.workers()) == 2 and first not in service.workers())
    assert second in service.workers()
    wait_until(service.answers)
    for _ in range(10):
        assert service.get("/square/4").headers["Cache-Status"].startswith("larder; hit")


@pytest.mark.parametrize("server", SERVERS)
def test_workers_leave_stopping_to_the_main_process(start: Start, server: str) -> None:
    """A terminal sends its signals to them, too; they answer on until they are told to stop."""
    service = start(SERVER=server)
    wait_until(lambda: len(service.workers()) == 2)
    wait_until(lambda: all(blocks(pid, signal.SIGINT) for pid in service.workers()))
    before = service.workers()
    for pid in before:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    for number in range(30):
        assert service.get(f"/square/{number}").status_code == 200
    assert service.workers() == before


def blocks(pid: int, number: signal.Signals) -> bool:
    """Tell whether the main thread of a process blocks a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16) >> (number - 1) & 1)  # type: ignore[index]


@pytest.mark.parametrize("server", SERVERS)
def test_killed_store_is_started_again(start: Start, server: str) -> None:
    """Meanwhile views are answered uncached; then they are cached again."""
    service = start(SERVER=server)
    service.get("/square/4")
    (before,) = service.stores()
    os.kill(before, signal.SIGKILL)
    assert service.get("/square/4").json() == {"computed": 16}
    wait_until(lambda: service.stores() not in ([], [before]))
    wait_until(lambda: is_hit(service, "/square/4"))
    wait_until(lambda: service.get("/readyz").status_code == 200)


@pytest.mark.parametrize("server", SERVERS)
def test_store_hangs(start: Start, server: str) -> None:
    """A store that does not answer makes no view fail, and none slow for long."""
    service = start(SERVER=server)
    service.get("/square/4")
    (store,) = service.stores()
    os.kill(store, signal.SIGSTOP)
    try:
        slow = []  # a few of each worker, until it knows that the store is away
        for number in range(30):
            answer = service.get(f"/square/{number}")
            assert answer.json() == {"computed": number**2}
            assert "hit" not in answer.headers["Cache-Status"]
            slow += [number] * (answer.elapsed.total_seconds() >= 0.5)
        assert len(slow) <= 2 * PATIENCE
        assert service.get("/healthz").status_code == 200
        unready = service.get("/readyz")
        assert unready.status_code == 503
        assert unready.headers["Content-Type"] == "application/problem+json"
        assert unready.elapsed.total_seconds() < 2
    finally:
        os.kill(store, signal.SIGCONT)
    wait_until(lambda: is_hit(service, "/square/11"))
    wait_until(lambda: service.get("/readyz").status_code == 200)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_killed_guardian_takes_the_store_along(start: Start) -> None:
    """No store survives its guardian; the service goes on without, and cleans up at its end."""
    service = start()
    (guardian,) = service.guardians()
    os.kill(guardian, signal.SIGKILL)
    wait_until(lambda: not service.stores())
    assert service.get("/square/4").json() == {"computed": 16}
    service.signal(signal.SIGTERM)
    wait_until(service.sandbox.is_empty, STOP_SECONDS)


def is_hit(service: Service, path: str) -> bool:
    return service.get(path).headers["Cache-Status"].startswith("larder; hit")
