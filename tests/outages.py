"""What the tests of outages share: how long an outage holds up, and servers that talk as told."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from flask_larder.errors import StoreUnavailable
from flask_larder.store import Store

LONG = 600.0
TIMEOUT = 0.25

OPERATIONS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("k"),
    "get_many": lambda store: store.get_many(["k", "l"]),
    "set": lambda store: store.set("k", b"v", LONG),
    "add": lambda store: store.add("k", b"v", LONG),
    "delete": lambda store: store.delete(["k"]),
    "clear": lambda store: store.clear(),
    "ping": lambda store: store.ping(TIMEOUT),
}


def seconds_of(operate: Callable[[], object]) -> float:
    """How long it takes until *operate* raises ``StoreUnavailable``."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        operate()
    return time.monotonic() - started


def await_answer(operate: Callable[[], object], seconds: float = 10.0) -> object:
    """What *operate* returns once the store is back."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return operate()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of 127.0.0.1, where each connection is over when *talk* returns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                talk(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def saying(answer: bytes | None) -> Callable[[socket.socket], None]:
    """Answers the first question so, and hangs up; ``None``: hangs up without being asked."""

    def talk(connection: socket.socket) -> None:
        if answer is not None:
            connection.recv(4096)
            connection.sendall(answer)

    return talk


def answering_each(answer: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Has *answer* reply to each question."""

    def talk(connection: socket.socket) -> None:
        while connection.recv(65536):
            answer(connection)

    return talk
