"""Many clients at the same time that cost little, so that what is measured is the servers."""

import heapq
import json
import re
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Self

from tests.concurrency.servers import HOST


class Reply(NamedTuple):
    """What a caller got, and when it had asked and got that. *status* is 0 without an answer."""

    caller: int
    began: float
    ended: float
    status: int
    cache: str
    body: bytes

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def is_hit(self) -> bool:
        """Whether it came from the cache at once: neither from the view nor after a wait for it."""
        return "; hit" in self.cache

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class _Caller:
    """One client with a connection that it keeps."""

    def __init__(self, number: int, port: int, target: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = number
        self._request = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        self._received = b""
        self._began = 0.0

    def send(self) -> Reply | None:
        """Ask. Returns an answer only where there will be none."""
        self._received, self._began = b"", time.monotonic()
        try:
            self.socket.sendall(self._request)
        except OSError as error:
            return self._broken(error)
        return None

    def receive(self) -> Reply | None:
        """The answer, if all of it is there."""
        try:
            received = self.socket.recv(65536)
        except OSError as error:
            return self._broken(error)
        if not received:
            return self._broken(EOFError())
        self._received += received
        head, is_over, body = self._received.partition(b"\r\n\r\n")
        if not is_over or len(body) < int(_field(head, "Content-Length")):
            return None
        status, cache = int(head.split(b" ", 2)[1]), _field(head, "Cache-Status")
        return Reply(self._number, self._began, time.monotonic(), status, cache, body)

    def _broken(self, error: Exception) -> Reply:
        return Reply(self._number, self._began, time.monotonic(), 0, repr(error), b"")


def _field(head: bytes, name: str) -> str:
    found = re.search(rb"\r\n%s: ?([^\r]*)" % name.encode(), head, re.IGNORECASE)
    return found[1].decode() if found else ""


class Callers:
    """So many clients that each ask for *target* again *pause* seconds after an answer.

    They are spread over the *ports*, and run while :meth:`ask_until` does, in the thread of who
    calls that: threads would wait for each other and not for the servers. One whose connection
    breaks asks no more.
    """

    def __init__(self, ports: list[int], count: int, target: str, pause: float) -> None:
        self.replies: list[Reply] = []
        self.lateness: list[float] = []  # of each request: what the machine has taken from us
        self.count = count
        self._pause = pause
        self._gone: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._callers = [_Caller(n, ports[n % len(ports)], target) for n in range(count)]
        for number, caller in enumerate(self._callers):
            self._selector.register(caller.socket, selectors.EVENT_READ, number)
        # Evenly over the time, and each server in turn.
        began = time.monotonic()
        self._due = [(began + pause * number / count, number) for number in range(count)]

    def ask_until(self, holds: Callable[[], object], seconds: float = 20.0) -> None:
        """Ask until it *holds*; fail if it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            self._ask_for(0.05)

    def _ask_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            while self._due and self._due[0][0] <= now:
                due, number = heapq.heappop(self._due)
                if number not in self._gone:
                    self.lateness.append(time.monotonic() - due)
                    self._take(number, self._callers[number].send())
            next_due = self._due[0][0] if self._due else end
            for key, _ in self._selector.select(max(0.0, min(next_due, end) - now)):
                self._take(key.data, self._callers[key.data].receive())

    def _take(self, number: int, reply: Reply | None) -> None:
        if reply is None:
            return
        self.replies.append(reply)
        if reply.status:
            heapq.heappush(self._due, (reply.ended + self._pause, number))
        else:
            self._gone.add(number)
            self._selector.unregister(self._callers[number].socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for caller in self._callers:
            with suppress(OSError):
                caller.socket.close()
