"""An HTTP server whose responses are written out byte by byte, whole or not."""

import threading
from collections import defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Origin:
    """Sends what it is told to for each path, the last of it again and again.

    *asked* has the header fields of each request, by path, with their names in lower case.
    """

    def __init__(self) -> None:
        self.asked: dict[str, list[dict[str, str]]] = defaultdict(list)
        self._answers: dict[str, list[bytes]] = defaultdict(list)
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline()
                if self.raw_requestline and self.parse_request():
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    path = self.path.partition("?")[0]
                    fields = {name.lower(): value for name, value in self.headers.items()}
                    self.wfile.write(origin.next_answer(path, fields))
                self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next_answer(self, path: str, fields: Mapping[str, str]) -> bytes:
        """What is sent next for *path*, to a request with these *fields*."""
        self.asked[path].append(dict(fields))
        answers = self._answers[path]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def will_send(
        self, path: str, *fields: str, status: str = "200 OK", body: bytes = b"x"
    ) -> None:
        """One more response for *path*; with its length, unless *fields* give one."""
        lines = [f"HTTP/1.1 {status}", *fields, "Connection: close"]
        if not any(line.lower().startswith("content-le") for line in fields):
            lines.append(f"Content-Length: {len(body)}")
        self.will_write(path, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def will_write(self, path: str, data: bytes) -> None:
        """As :meth:`will_send`, byte by byte; the connection is closed after them."""
        self._answers[path].append(data)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def chunked(*chunks: bytes, is_whole: bool) -> Any:
    """A body in chunks, with the last one that says that it is whole, or without."""
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(parts) + (b"0\r\n\r\n" if is_whole else b"")
