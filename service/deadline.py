"""HTTP connections whose answers are read until a deadline, and not longer.

The timeouts of urllib3 are for each wait: a server that sends one byte a second holds its caller
for ever. Here each wait is also cut to what is left until the deadline of the calling thread.
"""

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Deadline(threading.local):
    at = float("inf")


_deadline = _Deadline()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what this thread reads meanwhile raise TimeoutError after so many seconds."""
    _deadline.at = time.monotonic() + seconds
    try:
        yield
    finally:
        del _deadline.at


class _Raw(io.RawIOBase):
    """The bytes of a socket, until the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self._timeout = sock.gettimeout() or float("inf")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        left = min(_deadline.at - time.monotonic(), self._timeout)
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._socket.settimeout(left if left < float("inf") else None)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Raw(self.fp.detach(), sock))


class BoundedConnection(HTTPConnection):
    """A connection whose answers are read until the deadline."""

    response_class = _Response


class BoundedTLSConnection(HTTPSConnection):
    """The same over TLS."""

    response_class = _Response
