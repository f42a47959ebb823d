"""What Redis alone does in an outage, and where it refuses or is full.

What each store on a server does is in ``tests/contract/test_outages.py``.
"""

import gc
import logging
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from flask_larder import breaker
from flask_larder.breaker import PATIENCE
from flask_larder.budget import Budget, Counts
from flask_larder.errors import StoreUnavailable
from flask_larder.redis import Address, Links, RedisStore, exchange
from flask_larder.redis import pool as pool_module
from flask_larder.redis.connection import MOST_CONNECTIONS
from flask_larder.redis.exchange import Connection
from flask_larder.redis.pool import OutOfTime, Pool
from tests.conftest import RedisServer
from tests.core.test_coalesce import Ended
from tests.outages import (
    LONG,
    OPERATIONS,
    TIMEOUT,
    answering_each,
    await_answer,
    listening,
    saying,
    seconds_of,
)


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    """A server of the test's own."""
    return start_redis()


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    """A store on it."""
    return RedisStore(Links(Address(server.url, timeout=TIMEOUT)), "p_")


def store_at(port: int, *, timeout: float) -> RedisStore:
    return RedisStore(Links(Address(f"redis://127.0.0.1:{port}", timeout=timeout)), "")


def test_a_database_that_is_not_there_is_no_outage_that_ends(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server answers whoever connects, and that it refuses; so it is away, and told of once."""
    links = Links(Address(server.url, db=99, timeout=TIMEOUT))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="away"):
            links.ask("GET", "k")
        with pytest.raises(StoreUnavailable, match="DB index is out of range"):
            links.ping(5.0)
    (line,) = caplog.messages
    assert line.endswith(" is away, views answer without it: DB index is out of range")


@pytest.mark.usefixtures("_rests_briefly")
def test_a_server_that_is_always_late_is_away_once(caplog: pytest.LogCaptureFixture) -> None:
    """A probe is not more patient than a request: what is too slow for these does not come back."""
    answered = threading.Semaphore(0)

    def late(connection: socket.socket) -> None:
        time.sleep(1.5 * TIMEOUT)
        with suppress(OSError):  # nobody waits for it any more
            connection.sendall(b"+PONG\r\n")
        answered.release()

    with listening(answering_each(late)) as port:
        store = store_at(port, timeout=TIMEOUT)
        for _ in range(PATIENCE):
            seconds_of(lambda: store.get("k"))
        for _ in range(PATIENCE + 3):
            while not answered.acquire(timeout=0.01):
                assert seconds_of(lambda: store.get("k")) < TIMEOUT
    assert len(caplog.messages) == 1


def test_a_connection_that_is_cut_is_no_outage(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is there, and the next request has another one."""
    await_answer(lambda: store.get("k"))
    for _ in range(3 * PATIENCE):
        links = store._links
        (connection,) = links._here().pool._idle  # type: ignore[union-attr]
        connection._sock.shutdown(socket.SHUT_WR)  # so that it is ended as it is asked
        connection._poll = type("Deaf", (), {"poll": lambda *_: []})()
        with pytest.raises(StoreUnavailable):
            store.get("k")
        assert store.get("k") is None
    assert not any("is away" in line for line in caplog.messages)


def test_waiting_for_another_request_is_not_taken_from_the_budget(server: RedisServer) -> None:
    """But where it asked in vain how far that one is, then that is."""
    budget = Budget(60.0)
    links = Links(Address(server.url, timeout=TIMEOUT), lambda: budget)
    await_answer(lambda: links.ask("GET", "k"))

    for counts in Counts:
        budget.left = 60.0
        links.ask("GET", "k", counts=counts)
        assert (budget.left < 60.0) == (counts is Counts.ALWAYS)

    server.suspend()
    budget.left = 60.0
    waited = seconds_of(lambda: links.ask("GET", "k", counts=Counts.UNLESS_ANSWERED))
    assert TIMEOUT * 0.9 < 60.0 - budget.left <= waited


def test_a_request_without_time_costs_no_connection(server: RedisServer) -> None:
    """It does not even begin to ask."""
    budget = Budget(60.0)
    links = Links(Address(server.url, timeout=TIMEOUT), lambda: budget)
    await_answer(lambda: links.ask("GET", "k"))
    made = server.connections_made()

    budget.left = 0.0
    with pytest.raises(StoreUnavailable, match="has used up"):
        links.ask("GET", "k")
    budget.left = 60.0
    links.ask("GET", "k")

    assert server.connections_made() == made + 1  # which is that of the question itself


def test_a_request_without_time_is_not_the_servers_fault(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What little is left of its budget is no measure of how slow Redis is."""
    budget = Budget(60.0)
    links = Links(Address(server.url, timeout=TIMEOUT), lambda: budget)
    await_answer(lambda: links.ask("GET", "k"))

    server.suspend()
    for left in (0.02, 0.01, 0.0) * PATIENCE:
        budget.left = left
        assert seconds_of(lambda: links.ask("GET", "k")) < TIMEOUT
    server.resume()
    budget.left = 60.0
    links.ask("GET", "k")

    (line,) = caplog.messages
    assert line.endswith(
        f" did not answer in time, views answer without it: {3 * PATIENCE} since the last such line"
    )


def test_a_log_that_fails_does_not_keep_connections_from_being_made(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells of the failure may fail itself; there is a next time all the same."""
    logger = logging.getLogger("flask_larder")
    told = threading.Event()
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())

    def fail(_: logging.LogRecord) -> bool:
        if told.is_set():
            return True
        told.set()
        raise OSError("no space left on device")

    server.kill()
    monkeypatch.setattr(logger, "filters", [fail])
    seconds_of(lambda: store.get("k"))
    assert ended.wait(10)
    server.start()
    assert await_answer(lambda: store.get("k")) is None


def test_what_a_request_held_is_let_go(tmp_path: Path) -> None:
    """A failure that is kept in mind holds nothing of the requests that met it."""

    class Secret:
        pass

    links = Links(Address(f"unix://{tmp_path}/nobody.sock", timeout=5.0))

    def visit() -> "weakref.ref[Secret]":
        secret = Secret()
        with pytest.raises(StoreUnavailable):
            RedisStore(links, "").get("k")
        return weakref.ref(secret)

    held = visit()
    gc.collect()
    assert held() is None


def test_a_node_that_was_replaced_keeps_no_connections(server: RedisServer) -> None:
    """They would stay open on its side."""
    links = Links(Address(server.url, timeout=5.0))
    links.ask("GET", "k")
    with server.client() as client:
        before = len(client.client_list())
        links.retire()
        deadline = time.monotonic() + 10
        while len(client.client_list()) == before:
            assert time.monotonic() < deadline


def test_one_probe_at_a_time(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where looking a name up hangs, threads do not pile up."""
    monkeypatch.setattr(breaker, "REST_SECONDS", 0.0)
    began, ends = [], threading.Event()

    class Place(Address):
        def connect(self, deadline: float) -> Connection:
            began.append(threading.current_thread().name)
            if len(began) > 1:
                ends.wait(10)
            raise redis.ConnectionError("no such name")

    links = Links(Place(server.url, timeout=5.0))
    for _ in range(50):
        seconds_of(lambda: links.ask("GET", "k"))
    ends.set()
    assert len(began) <= 2


def test_one_connection_that_is_slow_to_make_does_not_keep_others_from_waiting(
    server: RedisServer,
) -> None:
    """Those that there are become free in a moment."""
    taken, connecting = threading.Event(), threading.Event()

    class Place(Address):
        def connect(self, deadline: float) -> Connection:
            if taken.is_set():
                connecting.set()
                time.sleep(max(0.0, deadline - time.monotonic()))
            return super().connect(deadline)

    pool = Pool(Place(server.url, timeout=1.0, connect_timeout=4.0), lambda *_: None)
    first = pool.take(time.monotonic() + 5)
    taken.set()
    with pytest.raises(OutOfTime):
        pool.take(time.monotonic() + 1.1)
    assert connecting.is_set()

    timer = threading.Timer(0.1, pool.give, [first])
    timer.start()
    assert pool.take(time.monotonic() + 1.0) is first
    timer.join()


def test_who_waits_for_a_connection_gets_it_when_it_is_given_back(server: RedisServer) -> None:
    """And not when the waiting is over."""
    pool = Pool(Address(server.url, options={"max_connections": 1}), lambda *_: None)
    taken = pool.take(time.monotonic() + 5)
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(pool.take, time.monotonic() + 30)
        while not pool._waiting:
            time.sleep(0.001)
        pool.give(taken)
        assert waiter.result(timeout=10) is taken


class Busy:
    """A socket whose thread comes to read only *late* seconds after there is something to read."""

    def __init__(self, sock: socket.socket, late: float) -> None:
        self._sock = sock
        self._late = late

    def send(self, data: bytes) -> int:
        sent = self._sock.send(data)
        assert select.select([self._sock], [], [], LONG)[0]
        time.sleep(self._late)  # as if other threads ran
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def ask_late(port: int) -> Any:
    """The reply, which is there in time, to a thread that comes too late."""
    connection = Address(f"redis://127.0.0.1:{port}").connect(time.monotonic() + LONG)
    connection._sock = Busy(connection._sock, 0.1)
    try:
        return connection.ask(("GET", "k"), time.monotonic() + 0.05)
    finally:
        connection.close()


def test_a_reply_that_is_there_is_taken_however_late_it_is() -> None:
    """The server was in time."""
    with listening(answering_each(lambda each: each.sendall(b"$5\r\nvalue\r\n"))) as port:
        assert ask_late(port) == b"value"


def test_one_piece_of_a_late_reply_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a server that sends without end could hold up a request for ever."""
    monkeypatch.setattr(exchange, "_MOST_BYTES", 4)
    with (
        listening(answering_each(lambda each: each.sendall(b"$5\r\nvalue\r\n"))) as port,
        pytest.raises(redis.TimeoutError),
    ):
        ask_late(port)


def test_what_the_process_is_late_is_not_taken_from_the_budget(server: RedisServer) -> None:
    """So what the view makes can still be stored; and no server is told to be slow for that."""
    budget = Budget(0.2)
    links = Links(Address(server.url, timeout=TIMEOUT), lambda: budget)
    await_answer(lambda: links.ask("GET", "k"))
    pool = links._here().pool
    connection = pool.take(time.monotonic() + LONG)
    connection._sock = Busy(connection._sock, 0.3)
    pool.give(connection)
    budget.left = 0.2
    for _ in range(PATIENCE + 1):
        assert links.ask("GET", "k") is None
    assert budget.left == 0.2
    assert links._here().breaker.away_since is None
    connection._sock = connection._sock._sock
    links.ask("GET", "k")
    assert budget.left < 0.2


def test_a_connection_that_is_free_too_late_is_kept(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was asked on it, so that the next one need not be made."""
    links = Links(Address(server.url, timeout=TIMEOUT))
    await_answer(lambda: links.ask("GET", "k"))
    pool = links._here().pool
    take = pool.take

    def take_late(deadline: float) -> Connection:
        connection = take(deadline)
        time.sleep(max(0.0, deadline - time.monotonic()) + 0.01)
        return connection

    made = server.connections_made()
    monkeypatch.setattr(pool, "take", take_late)
    with pytest.raises(StoreUnavailable, match="out of time: a connection was free too late"):
        links.ask("GET", "k")
    monkeypatch.undo()
    links.ask("GET", "k")
    assert server.connections_made() == made + 1  # which is that of the question itself


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_closed_idle_connection_is_replaced(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """A server, or a firewall, closes what has been idle; the next request does not suffer."""
    store.set("k", b"v", LONG)
    with server.client() as client:
        assert client.client_kill_filter(_type="normal", skipme=True) >= 1

    OPERATIONS[operation](store)

    assert caplog.messages == []


def test_a_connection_with_something_left_to_read_is_not_used_again() -> None:
    """Whatever it is, it is no answer to the next question."""
    replies = [b"*1\r\n$1\r\na\r\n*1\r\n$5\r\nwrong\r\n", b"*1\r\n$1\r\nb\r\n"]
    talked = 0

    def talk(connection: socket.socket) -> None:
        nonlocal talked
        talked += 1
        connection.recv(4096)
        connection.sendall(replies[talked - 1])
        connection.recv(4096)

    with listening(talk) as port:
        store = store_at(port, timeout=5.0)
        assert [store.get("k"), store.get("k")] == [b"a", b"b"]
    assert talked == 2


def test_a_full_server_refuses_and_still_answers(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Without memory to spare nothing new is kept; what is there is found and may be deleted."""
    store.set("k", b"v", LONG)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)

        assert store.set("l", b"x" * 100, LONG) is False
        assert store.add("l", b"x" * 100, LONG) is False
        assert store.set("k", b"other", LONG) is False
        assert store.get("k") == b"v"
        assert store.get("k") is not None
        store.ping(timeout=5.0)
        assert store.delete(["k"]) == 1

        client.config_set("maxmemory", 0)
    assert store.set("l", b"x", LONG) is True
    (line,) = caplog.messages
    assert " refuses something, views answer without that: command not allowed" in line


def test_a_server_that_may_only_be_read_is_read(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica answers reads and refuses writes: no outage, and one line for all of them."""
    store.set("k", b"v", LONG)
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")

        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="refuses"):
                store.set("k", b"other", LONG)
            assert store.get("k") == b"v"
        assert len(caplog.messages) == 1

        client.execute_command("REPLICAOF", "NO", "ONE")
    assert store.set("k", b"other", LONG) is True


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_wrong_password_is_told_once(
    server: RedisServer, caplog: pytest.LogCaptureFixture, password: str | None
) -> None:
    """Each operation says so, one line is logged, and the right password would have done."""
    with server.client() as client:
        client.config_set("requirepass", "right")
    store = RedisStore(Links(Address(server.url, password=password, timeout=5.0)), "")

    for operate in OPERATIONS.values():
        seconds_of(lambda operate=operate: operate(store))
    assert len(caplog.messages) == 1
    assert (
        RedisStore(Links(Address(server.url, password="right", timeout=5.0)), "").get("k") is None
    )


def test_a_server_without_the_rights_refuses(server: RedisServer, store: RedisStore) -> None:
    """A user of the ACL who may read but not write: reads go on."""
    with server.client() as client:
        client.acl_setuser("default", enabled=True, nopass=True, reset=True, keys=["*"],
                           commands=["+@read", "+ping", "+acl"])  # fmt: skip

        assert store.get("k") is None
        with pytest.raises(StoreUnavailable, match="refuses"):
            store.set("k", b"v", LONG)
        assert store.get("k") is None


WRONG_SHAPES = [
    b":1\r\n", b"+OK\r\n", b"$3\r\nabc\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n",
    b"*1\r\n:5\r\n", b"*1\r\n*0\r\n", b"*1\r\n-ERR no\r\n", b"*3\r\n$-1\r\n$-1\r\n$-1\r\n",
    b"*2\r\n$1\r\n0\r\n:1\r\n",
]  # fmt: skip


@pytest.mark.parametrize("answer", WRONG_SHAPES)
def test_a_reply_to_another_question_is_no_answer(answer: bytes) -> None:
    """It is well formed, and nothing that MGET answers: so the stream is out of step."""
    for keys in (["k"], ["k", "l"]):
        with listening(saying(answer)) as port, pytest.raises(StoreUnavailable):
            store_at(port, timeout=5.0).get_many(keys)


@pytest.mark.parametrize("answer", WRONG_SHAPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_reply_of_any_shape_raises_nothing_else(answer: bytes, operation: str) -> None:
    """What fits by chance is taken; whatever does not is an outage, and never a TypeError."""
    with listening(saying(answer)) as port, suppress(StoreUnavailable):
        OPERATIONS[operation](store_at(port, timeout=TIMEOUT))


def test_a_machine_that_lets_no_thread_start_is_an_outage(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it does again, connections are made again, however often it was tried before."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(10):
            with pytest.raises(StoreUnavailable, match="no thread can be started"):
                store.get("k")
    assert await_answer(lambda: store.set("k", b"v", LONG)) is True
    assert store.get("k") == b"v"


def test_who_is_ended_as_it_gets_a_connection_leaves_room_for_another(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know of it; else all would be gone some day."""
    options = {"max_connections": 1}
    links = Links(Address(server.url, timeout=5.0, connect_timeout=5.0, options=options))
    links.ask("GET", "k")
    pool, take = links._here().pool, Pool.take

    def take_and_end(self: Pool, deadline: float) -> None:
        assert take(self, deadline)
        raise Ended

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "take", take_and_end)
        with suppress(Ended):
            links.ask("GET", "k")
    assert not pool._idle
    assert links.ask("MGET", "k") == [None]


def test_a_timeout_of_the_apps_own_is_not_one_of_redis(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler of a signal raises it while the reply has time; one of the socket has a number."""
    links = Links(Address(server.url, timeout=5.0))
    await_answer(lambda: links.ask("GET", "k"))

    def keep_to(*_: object) -> None:
        raise TimeoutError("the job's time is over")

    for _ in range(PATIENCE + 1):
        with monkeypatch.context() as patched:
            patched.setattr(exchange.Connection, "_keep_to", keep_to)
            with pytest.raises(TimeoutError, match="the job's time is over"):
                links.ask("GET", "k")
        await_answer(lambda: links.ask("GET", "k"))
    assert caplog.messages == []


def test_who_asks_a_server_that_is_not_there_tells_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It refuses the connection, which is no reply that was cut."""
    with listening(saying(b"")) as port:
        pass
    with pytest.raises(StoreUnavailable, match="is away"):
        store_at(port, timeout=TIMEOUT).ping(5.0)
    (line,) = caplog.messages
    assert "is away, views answer without it" in line


def test_a_pool_is_not_locked_by_way_of_its_condition(server: RedisServer) -> None:
    """That is Python's own code: a signal that comes within it would leave the pool locked."""

    class Condition(threading.Condition):
        def __enter__(self) -> bool:
            raise Ended

    pool = Pool(Address(server.url), lambda *_: None)
    pool._changed = Condition(pool._lock)
    pool.discard(pool.take(time.monotonic() + 5))
    pool.give(pool.take(time.monotonic() + 5))


def test_who_waits_does_not_find_the_pool_locked_while_a_thread_starts(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under gevent that lets others run, and one who is ended as it waits for the lock has none."""
    pool, is_free = Pool(Address(server.url), lambda *_: None), list[bool]()
    start = pool_module.start

    def try_lock() -> None:
        is_free.append(pool._lock.acquire(timeout=0.1))
        if is_free[-1]:
            pool._lock.release()

    def start_and_try(name: str, target: Callable[[], None]) -> bool:
        other = threading.Thread(target=try_lock)
        other.start()
        other.join()
        return start(name, target)

    monkeypatch.setattr(pool_module, "start", start_and_try)
    pool.give(pool.take(time.monotonic() + 5))
    assert is_free == [True]


def test_the_end_of_a_job_is_no_fault_of_redis(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time limit is an exception that a handler of a signal raises, wherever that comes."""
    links = Links(Address(server.url, timeout=TIMEOUT, options={"max_connections": 1}))
    await_answer(lambda: links.ask("GET", "k"))

    class TimeIsOver(Exception):
        pass

    def receive(*_: object, **__: object) -> None:
        raise TimeIsOver

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "_receive", receive)
        with pytest.raises(TimeIsOver):
            links.ask("GET", "k")
    assert links._here().breaker.away_since is None
    assert await_answer(lambda: links.ask("MGET", "k")) == [None]


@pytest.mark.parametrize("starts", [False, True])
def test_who_is_ended_while_a_connection_is_begun_leaves_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, starts: bool
) -> None:
    """Else others would wait for a connection that nobody makes."""
    pool = Pool(Address(server.url, options={"max_connections": 1}), lambda *_: None)
    begun = list[threading.Thread]()

    def end(_: str, target: Callable[[], None]) -> bool:
        if starts:
            begun.append(threading.Thread(target=target))
            begun[-1].start()
        raise Ended

    with monkeypatch.context() as patched:
        patched.setattr(pool_module, "start", end)
        with pytest.raises(Ended):
            pool.take(time.monotonic() + 5)
    for thread in begun:
        thread.join()
    for _ in range(2):
        pool.give(pool.take(time.monotonic() + 5))
    assert (len(pool._made), len(pool._idle), pool._connecting) == (1, 1, [])


@pytest.mark.usefixtures("_rests_briefly")
def test_a_probe_that_cannot_start_is_an_outage(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later one finds out that it is back."""
    server.kill()
    seconds_of(lambda: store.get("k"))
    server.start()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        time.sleep(0.05)  # its rest
        with pytest.raises(StoreUnavailable):
            store.get("k")
    assert await_answer(lambda: store.get("k")) is None


def test_connections_of_a_process_are_bounded(server: RedisServer) -> None:
    """Twice as many threads share them and wait for each other; nobody is turned away."""
    store = RedisStore(Links(Address(server.url, timeout=20.0, connect_timeout=20.0)), "")
    barrier = threading.Barrier(2 * MOST_CONNECTIONS)

    def work(number: int) -> list[bytes | None]:
        barrier.wait()
        store.set(f"k{number}", str(number).encode(), LONG)
        return [store.get(f"k{number}") for _ in range(20)]

    with ThreadPoolExecutor(2 * MOST_CONNECTIONS) as threads:
        found = list(threads.map(work, range(2 * MOST_CONNECTIONS)))

    assert found == [[str(number).encode()] * 20 for number in range(2 * MOST_CONNECTIONS)]
    with server.client() as client:
        assert len(client.client_list()) - 1 <= MOST_CONNECTIONS
