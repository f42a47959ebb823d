"""SIGHUP without a terminal: new workers, and no request is lost."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable

import pytest

from service.config import ROOT
from service.state import state_file
from tests.service.clients import Clients, Connection
from tests.service.conftest import SERVERS
from tests.service.processes import (
    Sandbox,
    Service,
    hanging_client,
    start_service,
    wait_until,
)
from tests.service.universities_twin import UniversitiesTwin

Start = Callable[..., Service]

RESTARTS = 2
PATIENT = {"UNIVERSITIES_READ_TIMEOUT": "60", "UNIVERSITIES_TOTAL_TIMEOUT": "60"}


def restart(service: Service) -> None:
    """Restart the workers, and wait until others have taken the place of all."""
    wait_until(lambda: len(service.workers()) == 2)
    before = service.workers()
    service.signal(signal.SIGHUP)
    wait_until(lambda: len(service.workers()) == 2 and not set(before) & set(service.workers()), 30)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_no_request_is_lost(start: Start, server: str) -> None:
    """Whether it comes over a new connection or over one that is used again."""
    service = start(SERVER=server)
    clients = Clients(service)
    with clients.asking():
        for _ in range(RESTARTS):
            restart(service)
    assert set(clients.count) <= {"new", "kept", "kept: retried"}
    assert clients.count["new"] > 100
    assert clients.count["kept"] > 100
    # Each kept connection may meet the end of a worker.
    assert clients.count["kept: retried"] <= clients.KEPT * 2 * RESTARTS
    assert service.lines("Traceback") == []
    assert service.lines(" ERROR ") == []


@pytest.mark.parametrize("server", SERVERS)
def test_store_and_state_stay(start: Start, server: str) -> None:
    """They belong to the main process, also where a worker ends by itself."""
    service = start(SERVER=server)
    service.get("/square/4")
    restart(service)
    assert state_file(service.sandbox.port).exists()
    for _ in range(10):
        assert service.get("/square/4").headers["Cache-Status"].startswith("larder; hit")
    (one, _other) = service.workers()
    os.kill(one, signal.SIGTERM)
    wait_until(lambda: one not in service.workers() and len(service.workers()) == 2)
    wait_until(lambda: service.get("/readyz").status_code == 200)
    for _ in range(10):
        assert service.get("/square/4").headers["Cache-Status"].startswith("larder; hit")
    assert state_file(service.sandbox.port).exists()
    service.signal(signal.SIGTERM)
    wait_until(service.sandbox.is_empty, 5)
    assert service.process.wait() == 0


@pytest.fixture(params=SERVERS)
def copy(request: pytest.FixtureRequest, sandbox: Sandbox) -> Service:
    """A service on a copy of its code that may be edited."""
    for name in ("service", "src"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, sandbox.directory / name, ignore=ignore)
    sandbox.environ["PYTHONPATH"] = str(sandbox.directory / "src")
    sandbox.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "SERVER": request.param}
    service = start_service(sandbox)
    wait_until(service.all_workers_answer)
    return service


def edit(service: Service, path: str, old: str, new: str) -> None:
    """Edit a file of the copy."""
    file = service.sandbox.directory / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_code_is_loaded_again(copy: Service) -> None:
    """That of the application, and that of the library."""
    assert copy.get("/square/1").json() == {"computed": 1}
    edit(copy, "service/square.py", '"computed"', '"edited"')
    edit(copy, "src/flask_larder/key.py", '"larder1:"', '"larder2:"')
    restart(copy)
    for number in range(2, 12):
        assert copy.get(f"/square/{number}").json() == {"edited": number**2}
    assert all(
        "larder2:" in line for line in copy.sandbox.run("service.keys")[1].splitlines()[-10:]
    )


def test_code_that_does_not_load_is_not_taken(copy: Service) -> None:
    """The old workers stay; corrected, it is taken."""
    before = copy.workers()
    edit(copy, "service/square.py", "import logging\n", "import logging (\n")
    copy.signal(signal.SIGHUP)
    wait_until(lambda: copy.lines("A new worker does not come up; the old ones stay"))
    wait_until(lambda: copy.workers() == before)
    for number in range(10):
        assert copy.get(f"/square/{number}").json() == {"computed": number**2}
    edit(copy, "service/square.py", "import logging (\n", "import logging\n")
    edit(copy, "service/square.py", '"computed"', '"edited"')
    restart(copy)
    assert copy.get("/square/11").json() == {"edited": 121}
    assert copy.process.poll() is None


@pytest.mark.parametrize("server", SERVERS)
def test_request_under_way_is_answered(start: Start, twin: UniversitiesTwin, server: str) -> None:
    """One that takes less than DRAIN_SECONDS; one that takes longer is cut off."""
    service = start(SERVER=server, DRAIN_SECONDS="2.5", WORKERS="1")
    statuses: list[int] = []
    with twin.answering("slowly", delay=1.0):
        ask = lambda: statuses.append(service.get("/universities?name=x").status_code)  # noqa: E731
        client = threading.Thread(target=ask)
        client.start()
        wait_until(lambda: twin.calls)
        (before,) = service.workers()
        service.signal(signal.SIGHUP)
        client.join()
        wait_until(lambda: before not in service.workers())
    assert statuses == [200]


@pytest.mark.parametrize("server", SERVERS)
def test_request_that_takes_too_long_is_cut_off(
    start: Start, twin: UniversitiesTwin, server: str
) -> None:
    """After DRAIN_SECONDS, whoever waits; the new worker answers meanwhile."""
    service = start(SERVER=server, DRAIN_SECONDS="0.5", WORKERS="1", **PATIENT)
    with twin.answering("never"), hanging_client(service):
        wait_until(lambda: twin.calls)
        (before,) = service.workers()
        service.signal(signal.SIGHUP)
        wait_until(lambda: len(service.workers()) == 1 and before not in service.workers())
        assert service.get("/square/4").status_code == 200
    assert service.lines("An old worker is ended after 0.5 s with requests under way")


@pytest.mark.parametrize("server", SERVERS)
def test_sigterm_during_a_restart(start: Start, twin: UniversitiesTwin, server: str) -> None:
    """It does not wait for the end of the restart, and no worker is left."""
    service = start(SERVER=server, DRAIN_SECONDS="2", WORKERS="3", **PATIENT)
    with twin.answering("never"), hanging_client(service, "a"), hanging_client(service, "b"):
        wait_until(lambda: len(twin.calls) == 2)
        wait_until(lambda: len(service.workers()) == 3)
        service.signal(signal.SIGHUP)
        service.signal(signal.SIGHUP)
        wait_until(lambda: len(service.workers()) == 4)
        service.signal(signal.SIGTERM)
        wait_until(service.sandbox.is_empty, 2 + 4)
        assert service.process.wait() == 0


@pytest.mark.slow
def test_workers_that_are_not_forked(sandbox: Sandbox) -> None:
    """With granian they are started anew on macOS, and from Python 3.14 on everywhere."""
    launcher = sandbox.directory / "launcher.py"
    launcher.write_text("""
import multiprocessing, os, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    from service.launcher import main
    sys.exit(main(["--with-parent"], os.getppid()))
""")
    service = Service(sandbox, sandbox.start(os.fspath(launcher)))
    wait_until(service.answers, 20)
    started = lambda: set(service.workers()) & set(sandbox.processes("spawn_main"))  # noqa: E731
    before = started()
    assert len(before) == 2
    clients = Clients(service)
    with clients.asking():
        service.signal(signal.SIGHUP)
        wait_until(lambda: len(started()) == 2 and not before & started(), 30)
    assert set(clients.count) <= {"new", "kept", "kept: retried"}
    service.signal(signal.SIGTERM)
    assert service.process.wait(10) == 0


def test_granian_leaves_connections_to_others(start: Start) -> None:
    """Before a worker of granian is stopped: else it would drop those of which it has read nothing.

    Who connects then waits in the queue that all workers share, and is answered by the next one.
    """
    service = start(SERVER="granian", WORKERS="1")
    (worker,) = service.workers()

    def is_deaf() -> bool:
        os.kill(worker, signal.SIGUSR1)  # again: Python heeds one when its main thread next runs
        return not answers_within(service, 0.3)

    wait_until(is_deaf)
    with Connection(service.sandbox.port) as connection:
        service.signal(signal.SIGHUP)
        assert connection.get("/square/4") == 200
    wait_until(lambda: worker not in service.workers())


def answers_within(service: Service, seconds: float) -> bool:
    """Tell whether a new connection is answered in time."""
    try:
        with Connection(service.sandbox.port, seconds) as connection:
            return connection.get("/healthz") == 200
    except TimeoutError:
        return False


@pytest.mark.parametrize("server", SERVERS)
def test_a_worker_that_is_killed_meanwhile_is_no_crash_loop(
    start: Start, twin: UniversitiesTwin, server: str
) -> None:
    """One worker answers what is under way, another is killed: the service goes on."""
    service = start(SERVER=server, DRAIN_SECONDS="2", **PATIENT)
    wait_until(lambda: len(service.workers()) == 2)
    before = service.workers()
    with twin.answering("never"), contextlib.ExitStack() as clients:
        for _ in range(6):
            clients.enter_context(hanging_client(service))
        wait_until(lambda: twin.calls)
        service.signal(signal.SIGHUP)
        wait_until(lambda: len(service.workers()) == 3)
        os.kill(before[1], signal.SIGKILL)
        wait_until(lambda: not set(before) & set(service.workers()), 20)
    wait_until(lambda: len(service.workers()) == 2 and service.answers(), 20)
    assert service.process.poll() is None
    assert not service.lines("crash loop")
