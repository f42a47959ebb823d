"""A log of purges that cannot be reached, refuses, or answers oddly."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from flask_larder.errors import StoreUnavailable
from flask_larder.redis import Address, Links
from tests.conftest import RedisServer
from tests.outages import answering_each, await_answer, listening, saying
from tests.purge_processes import (
    CATS,
    LOG,
    Process,
    alls,
    process_at,
)
from tests.redis_nodes import wait_until


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    """A server of the test's own."""
    return start_redis()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of it."""
    with server.client() as client:
        yield client


def test_a_follower_whose_connection_ends_makes_another(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """So soon that there is nothing to tell."""
    ours, others = process_at(server), process_at(server)
    wait_until(lambda: others.is_followed)
    assert client.client_kill_filter(_type="normal", skipme=True) >= 1
    wait_until(lambda: not others.purges._here().reader.server)

    ours.purges.add(CATS)
    wait_until(lambda: others.last == ours.last, 5.0)
    assert caplog.messages == []
    assert alls(client) == 1


def test_who_cannot_hear_of_purges_does_not_know_them_for_long(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins, and one when it is over, however long it takes."""
    caplog.set_level(logging.INFO, logger="flask_larder")
    ours = process_at(server, unwatched_seconds=2.0)
    wait_until(lambda: ours.is_followed)

    server.suspend()
    suspended_at = time.monotonic()
    wait_until(lambda: ours.purges.known() is None)
    assert time.monotonic() - suspended_at > 1.4
    wait_until(lambda: caplog.messages)
    (line,) = caplog.messages
    assert line.startswith(f"Purges in {LOG} are not heard of, what is stored is used for another ")

    server.resume()
    wait_until(lambda: ours.purges.known() is not None)
    wait_until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[1].startswith(f"Purges in {LOG} are heard of again after ")


def test_a_log_that_fails_does_not_end_the_follower(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What writes lines may raise, such as where a disk is full."""
    failed = threading.Event()

    def fail(_: logging.LogRecord) -> bool:
        failed.set()
        raise OSError("no space left on device")

    ours = process_at(server)
    wait_until(lambda: ours.is_followed)
    monkeypatch.setattr(logging.getLogger("flask_larder"), "filters", [fail])
    # A thread that connects may be the first to tell, and ends with what that raises.
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    server.kill()
    assert failed.wait(10)
    server.start()
    wait_until(lambda: ours.is_followed)


def test_a_purge_that_cannot_be_made_is_an_error(server: RedisServer) -> None:
    """Nobody is made believe that it was."""
    ours = process_at(server)
    server.kill()
    with pytest.raises(StoreUnavailable, match=r"may have been noted, or not; repeat it \(Redis "):
        ours.purges.add(CATS)
    server.start()
    await_answer(lambda: ours.purges.add(CATS))


def test_a_full_server(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """What is stored is found as long as nobody purges, which says what to do."""
    ours = process_at(server)
    ours.store.set("k", b"v", 600.0)
    assert ours.store.get("k") == b"v"
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)

    assert ours.store.set("l", b"w", 600.0) is False
    with pytest.raises(StoreUnavailable, match=r"not all is purged, .* raise its maxmemory"):
        ours.purges.add(CATS)
    assert ours.store.get("k") == b"v"
    assert ours.purges.known() is not None
    assert len(caplog.messages) == 1


def test_a_replica_takes_no_purges(server: RedisServer, client: redis.Redis) -> None:
    """It says so."""
    ours = process_at(server)
    ours.purges.add(CATS)
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match=r"not all is purged: .*replica"):
        ours.purges.add(CATS)


RECORD = b"*1\r\n*2\r\n$3\r\n%d-0\r\n*2\r\n$3\r\nall\r\n$0\r\n\r\n"
OF_MGET = b"*1\r\n$-1\r\n"
ODD_REPLIES = [
    b"*-1\r\n",
    b"+OK\r\n",
    b"*1\r\n$3\r\n5-0\r\n",
    b"*1\r\n*2\r\n$3\r\nfiv\r\n*0\r\n",
    b"*1\r\n*2\r\n$3\r\n5-0\r\n*-1\r\n",
    b"*1\r\n*2\r\n$3\r\n5-0\r\n*1\r\n:1\r\n",
    b"-ERR no\r\n",
]


@pytest.mark.parametrize("odd", ODD_REPLIES)
def test_a_log_that_answers_oddly_is_an_outage(odd: bytes) -> None:
    """Whatever the server says, it is no other error."""
    with listening(saying(OF_MGET + odd)) as port:
        ours = Process(Links(Address(f"redis://127.0.0.1:{port}", timeout=5.0))).without_follower()
        with pytest.raises(StoreUnavailable):
            ours.store.get("k")
        assert ours.purges.known() is None


def test_a_log_that_never_goes_on_is_an_outage() -> None:
    """A server that always names an earlier purge than it did before is not asked for ever."""
    asked = 0

    def answer(connection: socket.socket) -> None:
        nonlocal asked
        asked += 1
        record = RECORD % (5 if asked == 1 else 4)
        connection.sendall(OF_MGET + record if asked <= 2 else record)

    with listening(answering_each(answer)) as port:
        ours = Process(Links(Address(f"redis://127.0.0.1:{port}", timeout=5.0))).without_follower()
        ours.store.get("k")
        with pytest.raises(StoreUnavailable, match="does not go on"):
            ours.store.get("k")
    assert asked < 10


def test_a_reply_is_looked_at_though_the_one_before_it_was_right() -> None:
    """To the same question, whose usual answer is known."""
    replies = iter([RECORD % 5, RECORD % 5, RECORD % 5, b"*1\r\n:5\r\n"])

    def answer(connection: socket.socket) -> None:
        connection.sendall(OF_MGET + next(replies))

    with listening(answering_each(answer)) as port:
        ours = Process(Links(Address(f"redis://127.0.0.1:{port}", timeout=5.0))).without_follower()
        for _ in range(3):
            assert ours.store.get("k") is None
        with pytest.raises(StoreUnavailable, match="the reply to XRANGE"):
            ours.store.get("k")


def test_a_refusal_leaves_the_connection_in_step(server: RedisServer, client: redis.Redis) -> None:
    """The reply to the other question has been read, too."""
    links = Links(Address(server.url, timeout=5.0, options={"max_connections": 1}))
    client.set("text", "x")
    range_of_text = ("XRANGE", "text", "-", "+", "COUNT", "1")
    for commands in ([range_of_text, ("GET", "text")], [("GET", "text"), range_of_text]):
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            links.ask_all(*commands)
        assert links.ask_all(("GET", "text"), ("MGET", "text")) == [b"x", [b"x"]]
    assert len(client.client_list()) == 2
