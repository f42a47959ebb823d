"""The log: one line for each event, whatever a client sends."""

import logging
import pickle
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from service import logs
from service.access_log import STATUS_KEY, AccessLog
from tests.service.processes import Service, wait_until

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 (INFO|WARNING|ERROR) \[\d+\] [\w.]+: \S.*"
)


def format_line(message: str, *arguments: object, **options: Any) -> str:
    """Format a record as the handler does."""
    record = logging.LogRecord("service", logging.INFO, "", 0, message, arguments, None)
    record.__dict__.update(options)
    return logs.LineFormatter("%(levelname)s %(name)s: %(message)s").format(record)


def test_access_line(service: Service, number: int) -> None:
    """Time, level, process, client, method, path, query, status, duration, outcome."""
    service.get(f"/square/{number}?a=b%20c")
    wait_until(lambda: service.lines(f"/square/{number}?"))
    (line,) = service.lines(f"/square/{number}?")
    assert LINE.fullmatch(line)
    assert re.search(
        rf"service.access: 127\.0\.0\.1 GET /square/{number}\?a=b%20c 200 \d+\.\dms "
        "larder; fwd=uri-miss; stored; ttl=50$",
        line,
    )


def test_every_line_is_one_event(service: Service) -> None:
    """After the words of the launcher, which are for people."""
    service.get("/square/4")
    lines = service.lines()
    assert all(LINE.fullmatch(line) for line in lines[lines.index("Stop it with Ctrl-C.") + 2 : -1])


@pytest.mark.parametrize(
    "target",
    [
        b"/forged%0A2026-01-01T00:00:00.000+00:00%20INFO%20[1]%20service:%20forged",
        b"/forged%0D%1B[2J%C2%85%E2%80%A8",
        b"/square/4?forged=%0Aforged",
        b"/square/4?forged=\x1b[2J\xc2\x85\xe2\x80\xa8forged",
        b"/forged\xe2\x80\xa8\xc2\x9b",
    ],
)
def test_client_cannot_write_lines(service: Service, target: bytes) -> None:
    """What is not plain is percent-encoded; some of it the server refuses itself."""
    with socket.create_connection(("127.0.0.1", service.sandbox.port), timeout=10) as client:
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 ")
    text = service.sandbox.log.read_text("utf-8")
    assert not re.search(
        r"^forged|^2026-01-01|[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", text, re.MULTILINE
    )


def test_control_characters_are_escaped() -> None:
    """Also those that the application itself logs."""
    assert format_line("a\nb\r\x1b[0m\x7f\x85\u2028ü\t") == (
        "INFO service: a\\x0ab\\x0d\\x1b[0m\\x7f\\x85\\u2028ü\\x09"
    )


def test_traceback_is_indented() -> None:
    """Its lines cannot be taken for lines of the log, and neither can those of its message."""
    try:
        int("first\nINFO forged")
    except ValueError:
        text = format_line("It failed", exc_info=sys.exc_info())
    first, *rest = text.split("\n")
    assert first == "INFO service: It failed"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)


class Answer:
    """A WSGI application, what it was asked, and what is said of its answer."""

    def __init__(self, body: Iterable[bytes], *headers: tuple[str, str], status: str = "200 OK"):
        self.body, self.headers, self.status = body, list(headers), status
        self.started: list[Any] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ[STATUS_KEY] = "larder; hit\n"
        start_response(self.status, self.headers)
        return self.body

    def ask(self, **environ: str) -> Iterable[bytes]:
        request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/x", **environ}
        return AccessLog(self)(request, lambda *given: self.started.append(given))


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the middleware logs."""
    caplog.set_level(logging.INFO, "service.access")
    return caplog


def test_body_is_handed_on_as_it_is(access: pytest.LogCaptureFixture) -> None:
    """A server sends a list in a single write, if it is given the list."""
    for body, headers in ((b"x",), ()), ([b"x"], ()), (iter([b"x"]), [("Content-Length", "1")]):
        answer = Answer(body, *headers)
        assert answer.ask() is body or isinstance(body, tuple)
        assert answer.started == [("200 OK", list(headers))]
    assert len(access.messages) == 3
    assert re.fullmatch(r"- GET /x 200 \d\.\dms larder; hit\\x0a", access.messages[0])


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 NOT MODIFIED")])
def test_answer_without_a_body(access: pytest.LogCaptureFixture, method: str, status: str) -> None:
    """Nothing is waited for."""
    body = iter(())
    assert Answer(body, status=status).ask(REQUEST_METHOD=method) is body
    assert len(access.messages) == 1


def test_stream_is_logged_at_its_end(access: pytest.LogCaptureFixture) -> None:
    """Also when its client goes away before, and then it is closed, too."""
    closed: list[bool] = []

    def stream() -> Iterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    body = Answer(stream()).ask()
    chunks = iter(body)
    assert next(chunks) == b"a"
    assert access.messages == []
    body.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert len(access.messages) == 1


def test_error_is_logged_and_raised(access: pytest.LogCaptureFixture) -> None:
    """The server answers 500 then."""

    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        AccessLog(broken)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)  # type: ignore[arg-type]
    assert access.messages[0].startswith("- GET / 500 ")


def test_target_is_percent_encoded(access: pytest.LogCaptureFixture) -> None:
    """Where the server decoded it, it is encoded again; what is encoded stays so."""
    Answer([]).ask(PATH_INFO='/a b\n"\xe2\x80\xa8', QUERY_STRING='q=%0A&r=\x1b "')
    assert access.messages[0].startswith("- GET /a%20b%0A%22%E2%80%A8?q=%0A&r=%1B%20%22 200 ")


def test_client_is_percent_encoded(access: pytest.LogCaptureFixture) -> None:
    """A proxy may hand on what its client wrote."""
    Answer([]).ask(REMOTE_ADDR="::1 GET /forged\n\x1b")
    assert access.messages[0].startswith("::1%20GET%20/forged%0A%1B GET /x 200 ")


def test_long_target_is_cut(access: pytest.LogCaptureFixture) -> None:
    """A line stays a line."""
    Answer([]).ask(QUERY_STRING="q" * 100_000)
    assert 2000 < len(access.messages[0]) < 2100


def test_configuration_can_be_handed_to_a_new_process() -> None:
    """Where processes are spawned, as on macOS, granian's workers get it pickled."""
    assert pickle.loads(pickle.dumps(logs.config())) == logs.config()
