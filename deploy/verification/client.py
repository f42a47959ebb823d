"""An HTTP client, and the load that many of them make. Only for this machine."""

import http.client
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from deploy.verification.report import wait_for

LONGEST_LOAD = 180  # seconds; a load ends then, also when nobody ends it
CLOSED = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, its header fields in lower case."""

    status: int
    fields: dict[str, str]
    body: str
    seconds: float

    @property
    def cache(self) -> str:
        """What the cache said."""
        return self.fields.get("cache-status", "")


class Client:
    """One connection to a port of this machine, kept alive, and opened again where need be."""

    def __init__(self, port: int, *, timeout: float = 20.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def get(self, target: str, fields: dict[str, str] | None = None) -> Answer:
        """Send a GET request.

        A connection that was used before may be closed by the server at any time; then, and only
        if nothing of a response has come, the request is sent once more (RFC 9112, 9.3.1).
        """
        used_before = self._connection.sock is not None
        try:
            return self._get(target, fields or {})
        except CLOSED:
            self._connection.close()
            if not used_before:
                raise
            return self._get(target, fields or {})

    def _get(self, target: str, fields: dict[str, str]) -> Answer:
        began = time.monotonic()
        try:
            self._connection.request("GET", target, headers=fields)
            response = self._connection.getresponse()
            body = response.read().decode()
        except Exception:
            self._connection.close()
            raise
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, body, time.monotonic() - began)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def get(port: int, target: str, fields: dict[str, str] | None = None) -> Answer:
    """Send a GET request on a connection of its own."""
    client = Client(port)
    try:
        return client.get(target, fields)
    finally:
        client.close()


def answers(port: int, target: str = "/healthz") -> Callable[[], bool]:
    """Return a question: whether it is answered with 200 now."""

    def ask() -> bool:
        try:
            return get(port, target).status == 200
        except (OSError, http.client.HTTPException):
            return False

    return ask


class Load:
    """Clients that ask for squares, one request after the other, while the block runs.

    Half of them keep their connection, half open one for each request. They are spread over the
    *ports*. A subclass may ask for something else.
    """

    def __init__(self, *ports: int, clients: int = 8, pause: float = 0.002) -> None:
        self._pause = pause
        self._ends = threading.Event()
        self._numbers = itertools.count()
        self._threads = [
            threading.Thread(
                target=self._ask,
                args=(ports[index % len(ports)],),
                kwargs={"keep": index // len(ports) % 2 == 0},
                daemon=True,
            )
            for index in range(clients)
        ]
        self.count = 0
        self.slowest = 0.0
        self.failures: list[str] = []

    def target(self, number: int) -> str:
        """What the request of this *number* asks for."""
        return f"/square/{number % 1000}"

    def is_right(self, number: int, answer: Answer) -> bool:
        """Whether that is its answer."""
        expected = f'{{"computed":{(number % 1000) ** 2}}}'
        return answer.status == 200 and answer.body.strip() == expected

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def __str__(self) -> str:
        failed = f"{len(self.failures)} failed"
        if self.failures:
            failed += f" (the first: {self.failures[0]})"
        return f"{self.count} requests, {failed}, the slowest took {self.slowest:.2f} s"

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more requests have ended."""
        enough = self.count + count
        wait_for(f"{count} more requests", lambda: self.count > enough)

    def _ask(self, port: int, *, keep: bool) -> None:
        client = Client(port)
        deadline = time.monotonic() + LONGEST_LOAD
        while not self._ends.wait(self._pause) and time.monotonic() < deadline:
            number = next(self._numbers)
            try:
                answer = client.get(self.target(number))
                if not self.is_right(number, answer):
                    self.failures.append(f"{answer.status} {answer.body[:80]!r}")
                self.slowest = max(self.slowest, answer.seconds)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.count += 1
            if not keep:
                client.close()
        client.close()
        if not self._ends.is_set():
            self.failures.append(f"the load ended by itself after {LONGEST_LOAD} s")
