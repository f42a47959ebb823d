"""Clients that ask a service all the time, and count what they get."""

import collections
import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Self

from tests.service.processes import Service

PAUSE_SECONDS = 0.002  # between two requests of a client: the service has other things to do, too


class ClosedError(Exception):
    """The connection was closed before any byte of a response."""


class Connection:
    """A connection, over which one request is sent after another."""

    def __init__(self, port: int, seconds: float = 10.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.has_answered = False
        self.is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def get(self, path: str) -> int:
        """Return the status of the answer, once all of it is there."""
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"
        received = b""
        try:
            self._socket.sendall(head.encode())
            while not self._is_whole(received):
                received += self._receive()
        except ConnectionError as error:
            if received:
                raise
            raise ClosedError from error
        self.has_answered = True
        self.is_open = b"\r\nconnection: close" not in received.lower()
        return int(received.split()[1])

    def _receive(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("closed")
        return part

    def _is_whole(self, received: bytes) -> bool:
        head, end, body = received.lower().partition(b"\r\n\r\n")
        if not end:
            return False
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return len(body) >= int(length)


class Clients:
    """Threads that ask; ``count`` says how often they were answered, and what went wrong."""

    NEW = 3
    KEPT = 2

    def __init__(self, service: Service) -> None:
        self._port = service.sandbox.port
        self._stopped = threading.Event()
        self.count: collections.Counter[str] = collections.Counter()

    def ask_over_new_connections(self) -> None:
        """Send each request over a connection of its own."""
        for path in self._paths():
            with self._counted("new"), Connection(self._port) as connection:
                assert connection.get(path) == 200

    def ask_over_kept_connections(self) -> None:
        """Use connections again; retry where one was closed meanwhile (RFC 9112, 9.3.1)."""
        connection: Connection | None = None
        for path in self._paths():
            with self._counted("kept"):
                connection = self._kept(connection, path)
        if connection:
            connection.__exit__()

    def _kept(self, connection: Connection | None, path: str) -> Connection | None:
        connection = connection or Connection(self._port)
        try:
            assert connection.get(path) == 200
        except ClosedError:
            connection.__exit__()
            if not connection.has_answered:
                raise
            self.count["kept: retried"] += 1
            connection = Connection(self._port)
            assert connection.get(path) == 200
        if connection.is_open:
            return connection
        connection.__exit__()
        return None

    def _paths(self) -> Iterator[str]:
        for number in itertools.count():
            if self._stopped.wait(PAUSE_SECONDS):
                return
            yield ("/square/4", "/healthz", f"/square/{number}")[number % 3]

    @contextlib.contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - all of them count
            self.count[f"{kind}: {error!r}"] += 1
        else:
            self.count[kind] += 1

    @contextlib.contextmanager
    def asking(self) -> Iterator[Self]:
        """Let them ask meanwhile."""
        targets = [self.ask_over_new_connections] * self.NEW
        targets += [self.ask_over_kept_connections] * self.KEPT
        threads = [threading.Thread(target=target) for target in targets]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
