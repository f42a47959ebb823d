"""A universities API of the tests' own, on this machine, whose manners the tests choose."""

import contextlib
import gzip
import json
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

UNIVERSITIES = json.loads(Path(__file__).with_name("universities.json").read_text("utf-8"))

TOO_MUCH = b"[" + b" " * (8 * 1024 * 1024) + b"]"
BOMB = gzip.compress(TOO_MUCH + b" " * (32 * 1024 * 1024), 1)


def search(country: str = "", name: str = "") -> list[dict[str, object]]:
    """Answer as the public API does: the whole country, a part of the name, in any case."""
    return [
        university
        for university in UNIVERSITIES
        if country.lower() in {"", university["country"].lower()}
        and name.lower() in university["name"].lower()
    ]


class Handler(BaseHTTPRequestHandler):
    """Answers a search in the manner that the server was told."""

    protocol_version = "HTTP/1.1"
    server: "UniversitiesTwin"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        assert url.path.endswith("/search")
        self.server.paths.append(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.calls.append(query)
        body = json.dumps(search(**query), ensure_ascii=False).encode()
        with contextlib.suppress(OSError):  # the client does not wait for all of it
            getattr(self, f"answer_{self.server.manner}")(body)

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (fields | {n.replace("_", "-"): v for n, v in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    answer_well = answer

    def answer_gzipped(self, body: bytes) -> None:
        self.answer(gzip.compress(body), Content_Encoding="gzip")

    def answer_slowly(self, body: bytes) -> None:
        self.server.awake.wait(self.server.delay)
        self.answer(body)

    def answer_never(self, body: bytes) -> None:
        self.server.awake.wait()

    def answer_with_a_slow_body(self, body: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
        while not self.server.awake.wait(0.05):
            self.wfile.write(b" ")

    def answer_with_status_500(self, body: bytes) -> None:
        self.answer(b"", 500)

    def answer_with_status_503(self, body: bytes) -> None:
        self.answer(b'["not for you"]', 503, Retry_After="1")

    def answer_with_status_404(self, body: bytes) -> None:
        self.answer(body, 404)

    def answer_with_a_redirect(self, body: bytes) -> None:
        self.answer(b"[]", 302, Location=f"{self.server.url}/search?name=elsewhere")

    def answer_by_closing(self, body: bytes) -> None:
        self.close_connection = True

    def answer_by_resetting(self, body: bytes) -> None:
        # A socket that does not linger is closed by a RST.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def answer_in_part(self, body: bytes) -> None:
        self.answer(body[:-2], Content_Length=str(len(body)))
        self.close_connection = True

    def answer_with_html(self, body: bytes) -> None:
        self.answer(b"<!doctype html><title>Down for maintenance</title>", Content_Type="text/html")

    def answer_with_broken_json(self, body: bytes) -> None:
        self.answer(body[:-2])

    def answer_with_nan(self, body: bytes) -> None:
        self.answer(b"[NaN]")

    def answer_with_undecodable_text(self, body: bytes) -> None:
        self.answer(b'["\xff"]')

    def answer_with_deep_json(self, body: bytes) -> None:
        self.answer(b"[" * 100_000 + b"]" * 100_000)

    def answer_with_an_object(self, body: bytes) -> None:
        self.answer(b'{"error": "no"}')

    def answer_with_nothing(self, body: bytes) -> None:
        self.answer(b"")

    def answer_with_too_much(self, body: bytes) -> None:
        self.answer(TOO_MUCH)

    def answer_with_a_bomb(self, body: bytes) -> None:
        self.answer(BOMB, Content_Encoding="gzip")

    def answer_without_http(self, body: bytes) -> None:
        self.wfile.write(b"220 mail.example.org ESMTP\r\n")
        self.close_connection = True


MANNERS = {name.removeprefix("answer_") for name in vars(Handler) if name.startswith("answer_")}


class UniversitiesTwin(ThreadingHTTPServer):
    """The server. ``calls`` are the searches that reached it, since it was last told something."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.calls: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.connections = 0
        self.manner = "well"
        self.delay = 0.0
        self.awake = threading.Event()

    def handle_error(self, *args: object) -> None:
        pass

    @contextlib.contextmanager
    def answering(self, manner: str, delay: float = 0.0) -> Iterator[None]:
        """Answer in this manner meanwhile, then well again."""
        assert manner in MANNERS
        self.calls.clear()
        self.awake.clear()
        self.manner, self.delay = manner, delay
        try:
            yield
        finally:
            self.manner = "well"
            self.awake.set()
            self.calls.clear()


@contextlib.contextmanager
def running_twin() -> Iterator[UniversitiesTwin]:
    """Run a server in this process."""
    with UniversitiesTwin() as twin:
        thread = threading.Thread(target=twin.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield twin
        finally:
            twin.awake.set()
            twin.shutdown()
            thread.join()
