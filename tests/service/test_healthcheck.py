"""``python -m service.healthcheck``: whether the service of this container answers."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from service.config import ROOT
from tests.service.conftest import SERVERS
from tests.service.processes import Sandbox, Service

Start = Callable[..., Service]

CHECK = "service.healthcheck"


@contextlib.contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """Listen, and give everybody this answer; with None, never any."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(answer or b"")
                        while answer is None and connection.recv(1000):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_it_answers(service: Service) -> None:
    """Then nothing is said."""
    assert service.sandbox.run(CHECK) == (0, "")


def test_host(start: Start) -> None:
    """It is asked where it listens; on one of its addresses, if it listens on all."""
    service = start(HOST="::", WORKERS="1")
    for host in ("::", "::1", "0.0.0.0", "127.0.0.1", "localhost"):
        service.sandbox.environ["HOST"] = host
        assert service.sandbox.run(CHECK) == (0, "")


@pytest.mark.parametrize("server", SERVERS)
def test_trusted_hosts(start: Start, server: str) -> None:
    """It is asked for a host that may be asked for; others are refused, and leave nothing."""
    service = start(SERVER=server, TRUSTED_HOSTS=".example.org, example.net,127.0.0.1")
    assert service.sandbox.run(CHECK) == (0, "")
    for host in ("example.org", "a.b.example.org:8000", "example.net"):
        assert service.get("/square/4", headers={"Host": host}).status_code == 200
    with service.store() as store:
        before = sorted(store.scan_iter())
        for host in ("a.example.net", "badexample.org", "localhost", "example.org.evil", "x y"):
            refused = service.get("/square/4", headers={"Host": host})
            assert refused.status_code == 400
            assert b"computed" not in refused.content
        assert sorted(store.scan_iter()) == before


def test_nobody_listens(sandbox: Sandbox) -> None:
    """One line says so."""
    assert sandbox.run(CHECK) == (
        1,
        f"unhealthy: 127.0.0.1, port {sandbox.port}: Connection refused\n",
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "it answers 'HTTP/1.1 503 Service Unavailab"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "it answers"),
        (b"SSH-2.0-x\r\n", "it answers 'SSH-2.0-x'"),
        (b"\x1b[2J\n\n", "it answers '\\x1b[2J'"),
        (b"", "it answers ''"),
        (b"x" * 100_000, "it answers 'xxx"),
    ],
)
def test_something_else_listens(sandbox: Sandbox, answer: bytes, says: str) -> None:
    """Anything but 200 is unhealthy."""
    with listener(answer) as port:
        sandbox.environ["PORT"] = str(port)
        code, output = sandbox.run(CHECK)
    assert code == 1
    assert output.startswith(f"unhealthy: {says}")
    assert len(output.splitlines()) == 1


def test_no_answer(sandbox: Sandbox) -> None:
    """After two seconds it is unhealthy."""
    with listener(None) as port:
        sandbox.environ["PORT"] = str(port)
        began = time.monotonic()
        code, output = sandbox.run(CHECK)
    assert code == 1
    assert re.fullmatch(r"unhealthy: (no answer within 2 s|127.* timed out)\n", output)
    assert 1.9 < time.monotonic() - began < 4


@pytest.mark.parametrize(("name", "text"), [("PORT", "http"), ("TRUSTED_HOSTS", "a b")])
def test_wrong_setting(sandbox: Sandbox, name: str, text: str) -> None:
    """The service does not run with it either."""
    sandbox.environ[name] = text
    code, output = sandbox.run(CHECK)
    assert code == 1
    assert output.startswith(f"unhealthy: {name} ")
    assert len(output.splitlines()) == 1


def test_env_file(service: Service, sandbox: Sandbox) -> None:
    """The settings are those of the service, also where they stand in .env."""
    del sandbox.environ["PORT"]
    (sandbox.directory / ".env").write_text(f"PORT={service.sandbox.port}\n")
    assert sandbox.run(CHECK) == (0, "")


def test_imports_the_standard_library_alone() -> None:
    """It is started every few seconds."""
    script = (
        "import sys, service.healthcheck; "
        "print(*(getattr(module, '__file__', None) for module in sys.modules.values()))"
    )
    command = [sys.executable, "-c", script]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not re.search("site-packages/(?!_distutils_hack)", files)
