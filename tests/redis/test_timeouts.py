"""How long a socket waits, be it the system that waits, Python, or gevent."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from flask_larder.redis.timeouts import TIME_IS_OVER, timeout_of

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the way of Linux")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets that are connected, of which the second one takes and says nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Odd(socket.socket):
    """As something around sockets has made it: nobody knows how it waits."""


@pytest.mark.parametrize("seconds", [0.05, 1e-7, 1.02])
def test_what_is_never_sent_is_not_waited_for(
    pair: tuple[socket.socket, socket.socket], seconds: float
) -> None:
    ours, _ = pair
    timeout_of(ours)(seconds)

    began = time.monotonic()
    with pytest.raises(TIME_IS_OVER):
        ours.recv(1)

    assert seconds - 0.005 <= time.monotonic() - began < seconds + 1.0


def test_what_is_never_taken_is_not_waited_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    timeout_of(ours)(0.05)

    began = time.monotonic()
    with pytest.raises(TIME_IS_OVER):
        ours.sendall(bytes(50_000_000))

    assert time.monotonic() - began < 1.0


def test_the_time_can_be_set_anew(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    set_timeout = timeout_of(ours)
    set_timeout(0.01)
    with pytest.raises(TIME_IS_OVER):
        ours.recv(1)

    set_timeout(60.0)
    theirs.send(b"x")

    assert ours.recv(1) == b"x"


@on_linux
def test_the_system_waits_for_an_ordinary_socket(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    ours.settimeout(5.0)  # as redis-py leaves it

    timeout_of(ours)(0.05)

    assert ours.getblocking()
    assert ours.gettimeout() is None


def test_another_kind_of_socket_waits_in_its_own_way() -> None:
    with Odd() as odd:
        timeout_of(odd)(0.05)

        assert odd.gettimeout() == 0.05


GREEN = """
from gevent import monkey
monkey.patch_all()
import gevent
import redis
import socket
import time
from flask_larder.redis import Address

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
accepted = gevent.spawn(listener.accept)
connection = Address(f"redis://127.0.0.1:{port}").connect(time.monotonic() + 5.0)
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1

gevent.spawn(tick)
try:
    connection.ask(("GET", "k"), time.monotonic() + 0.3)
except redis.TimeoutError:
    print("late", ticks > 5)
"""


def test_other_greenlets_go_on_while_one_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GREEN], capture_output=True, check=False, text=True
    )

    assert (done.returncode, done.stdout) == (0, "late True\n"), done.stderr
