"""What stands behind nginx in these tests: a server that keeps what it was asked."""

import contextlib
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str | None:
        """Return the only value of a field, None if it is not there."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, values
        return values[0] if values else None


@dataclass
class Upstream:
    """A server and what happened to it."""

    address: str = "127.0.0.1"
    port: int = 0
    status: int = 200
    fields: dict[str, str] = field(default_factory=dict)
    body: Callable[[str], bytes] = str.encode  # of the target
    drops: bool = False  # it closes the connection instead of answering
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    answered: int = 0
    held: threading.Event | None = None  # an answer waits for it
    saw_end: bool = False  # the one who asked has closed the connection before the answer

    @contextlib.contextmanager
    def running(self) -> Iterator["Upstream"]:
        """Listen until the block ends."""
        server = _Server((self.address, self.port), type("H", (_Handler,), {"of": self}))
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            if self.held:
                self.held.set()
            server.shutdown()
            server.server_close()


def squared(target: str) -> bytes:
    """What the service answers for /square/<number>."""
    number = int(target.rpartition("/")[2])
    return f'{{"computed":{number * number}}}'.encode()


class _Server(ThreadingHTTPServer):
    # With the five of the base class the kernel drops what comes while the machine is busy, and a
    # client that is dropped tries again after a second: later than nginx waits.
    request_queue_size = 1024


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Upstream

    def setup(self) -> None:
        super().setup()
        self.of.connections += 1

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.of.asked.append(Asked(self.command, self.path, self.headers.items(), body))
        if self.of.drops:
            self.close_connection = True
            return
        if self.of.held:
            self.of.held.wait(20)
            self.of.saw_end = bool(select.select([self.connection], [], [], 0)[0])
        body = b"" if self.of.status in {204, 304} else self.of.body(self.path)
        self.send_response_only(self.of.status)
        fields = {"Content-Length": str(len(body))} if self.of.status != 304 else {}
        for name, value in (fields | self.of.fields).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)
        self.of.answered += 1

    do_GET = do_HEAD = do_POST = handle_any  # noqa: N815 - the names that are called

    def log_message(self, *_: Any) -> None:
        pass
