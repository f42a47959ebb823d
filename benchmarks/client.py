"""A client that keeps its connection, and costs little itself."""

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: names of header fields in lower case, and how many seconds it took."""

    status: int
    fields: Mapping[str, str]
    body: bytes
    seconds: float


def parse_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    """The status and the header fields of a response, from what stands before its body."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return int(first.split()[1]), [(name, value.strip()) for name, value in pairs]


class Client:
    """Asks one server over one connection, which it opens anew where the server has closed it.

    Responses must have a Content-Length, which all contenders send.
    """

    def __init__(self, port: int, *, timeout: float = 30) -> None:
        self._port = port
        self._timeout = timeout
        self._connection: socket.socket | None = None

    def get(self, path: str, method: str = "GET") -> Answer:
        """Ask. Raises OSError where there is no answer within the timeout."""
        began = time.perf_counter()
        try:
            status, fields, body = self._ask_anew(method, path)
        except OSError:
            self.close()
            raise
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, fields, body, time.perf_counter() - began)

    def runs(self) -> int:
        """How often the views of the application have run."""
        return int(json.loads(self.get("/runs").body)["runs"])

    def _ask_anew(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Ask; once more where the server has closed the connection since it was used last."""
        if self._connection is not None:
            try:
                return self._ask(method, path)
            except ConnectionError:
                self.close()
        return self._ask(method, path)

    def _ask(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if self._connection is None:
            address = ("127.0.0.1", self._port)
            self._connection = socket.create_connection(address, self._timeout)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
        length = "" if method == "GET" else "Content-Length: 0\r\n"
        self._connection.sendall(f"{head}{length}\r\n".encode())
        return self._receive(self._connection)

    def _receive(self, connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        status, pairs = parse_head(head)
        fields = {name.lower(): value for name, value in pairs}
        length = int(fields["content-length"])
        while len(body) < length:
            body += self._more(connection)
        return status, fields, body

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        data = connection.recv(262_144)
        if not data:
            raise ConnectionError("the server has closed the connection")
        return data

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def answers(port: int, path: str = "/runs") -> bool:
    """Whether a server answers there with 200."""
    with contextlib.suppress(OSError, ValueError, KeyError), Client(port, timeout=2) as client:
        return client.get(path).status == 200
    return False
