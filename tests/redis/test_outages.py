"""The store on a Redis that is away, hangs, comes back, refuses, or is full."""

import gc
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import redis

from flask_larder import breaker
from flask_larder.breaker import PATIENCE
from flask_larder.budget import Budget, Counts
from flask_larder.errors import StoreUnavailable
from flask_larder.redis import Address, Links, RedisStore
from flask_larder.redis.connection import MOST_CONNECTIONS
from flask_larder.redis.pool import OutOfTime, Pool
from tests.conftest import RedisServer

LONG = 600.0
THREADS = 50
TIMEOUT = 0.25

OPERATIONS: dict[str, Callable[[RedisStore], object]] = {
    "get": lambda store: store.get("k"),
    "get_many": lambda store: store.get_many(["k", "l"]),
    "set": lambda store: store.set("k", b"v", LONG),
    "add": lambda store: store.add("k", b"v", LONG),
    "has": lambda store: store.has("k"),
    "delete": lambda store: store.delete(["k"]),
    "clear": lambda store: store.clear(),
    "ping": lambda store: store.ping(TIMEOUT),
}


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    """A server of the test's own."""
    return start_redis()


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    """A store on it."""
    return RedisStore(Links(Address(server.url, timeout=TIMEOUT)), "p_")


@pytest.fixture
def _rests_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A breaker that tries again after 20 ms, so that a test need not wait for a second."""
    monkeypatch.setattr(breaker, "REST_SECONDS", 0.02)


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


# --- nobody is there ---


@pytest.mark.parametrize("operation", OPERATIONS)
def test_where_nobody_listens_each_operation_says_so(tmp_path: Path, operation: str) -> None:
    """Nothing but ``StoreUnavailable`` is raised, with the address in it, and without waiting."""
    # With time for a thread that finds it out, on a busy machine.
    store = RedisStore(Links(Address(f"unix://{tmp_path}/nobody.sock", timeout=0.5)), "")

    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"Redis at unix://.*/nobody\.sock is "):
            OPERATIONS[operation](store)
        assert time.monotonic() - started < 1.0


def test_a_closed_port_says_so_at_once() -> None:
    """No timeout has to pass."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    address = Address(f"redis://127.0.0.1:{port}", connect_timeout=30.0, timeout=30.0)
    assert seconds_of(lambda: RedisStore(Links(address), "").get("k")) < 5.0


def test_a_host_that_does_not_exist_says_so() -> None:
    """A name without an address is an outage like any other."""
    store = RedisStore(Links(Address("redis://no-such-host.invalid")), "")

    with pytest.raises(StoreUnavailable):
        store.get("k")


# --- it hangs ---


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_hanging_server_costs_few_timeouts(
    server: RedisServer, store: RedisStore, operation: str
) -> None:
    """The first callers wait for the timeout, those after them do not wait at all."""
    store.get("k")
    server.suspend()

    assert seconds_of(lambda: OPERATIONS[operation](store)) < TIMEOUT + 1.0
    assert sum(seconds_of(lambda: store.get("k")) for _ in range(50)) < 5 * TIMEOUT


def test_a_server_that_hangs_from_the_beginning_costs_few_timeouts(
    server: RedisServer, store: RedisStore
) -> None:
    """The same where nobody has been connected before."""
    server.suspend()

    assert TIMEOUT * 0.9 < seconds_of(lambda: store.get("k")) < TIMEOUT + 1.0
    assert sum(seconds_of(lambda: store.get("k")) for _ in range(50)) < 5 * TIMEOUT


def test_many_threads_wait_for_one_timeout_together(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty callers that meet a hanging server get away in one timeout, with one line."""
    store.get("k")
    server.suspend()
    barrier = threading.Barrier(THREADS)

    def ask(_: int) -> float:
        barrier.wait()
        return seconds_of(lambda: store.get("k"))

    with ThreadPoolExecutor(THREADS) as threads:
        waited = list(threads.map(ask, range(THREADS)))

    assert max(waited) < TIMEOUT + 2.0
    assert len(caplog.messages) == 1


def test_for_a_second_after_a_failure_nobody_tries(server: RedisServer, store: RedisStore) -> None:
    """A server that hangs is left alone: not a single connection is made to it meanwhile."""
    store.get("k")
    with server.client() as client:
        connected = client.info("stats")["total_connections_received"]
        server.suspend()
        for _ in range(PATIENCE):
            seconds_of(lambda: store.get("k"))
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            seconds_of(lambda: store.get("k"))
            time.sleep(0.005)
        server.resume()

        received = client.info("stats")["total_connections_received"]
        assert received < connected + PATIENCE  # each but the first, before it counted as away


@pytest.mark.usefixtures("_rests_briefly")
def test_after_a_hang_replies_belong_to_their_questions(
    server: RedisServer, store: RedisStore
) -> None:
    """The late reply to a question that was given up is not taken for that to the next one."""
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        store.set(key, key.encode(), LONG)
    for key in keys[:3]:
        server.suspend()
        seconds_of(lambda key=key: store.get(key))
        server.resume()
        assert await_answer(lambda: store.get("k19")) == b"k19"

    assert [store.get(key) for key in keys] == [key.encode() for key in keys]


def test_a_hang_is_told_once_and_so_is_its_end(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for the outage, however many ask, and one when it is over, with its duration."""
    store.set("k", b"v", LONG)
    server.suspend()
    for _ in range(20):
        seconds_of(lambda: store.get("k"))
    server.resume()

    assert await_answer(lambda: store.get("k")) == b"v"

    away, back = caplog.messages
    assert " is away, views answer without it: " in away
    assert " is back after " in back


@pytest.fixture
def slow() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Starts something that answers each question as the test says; returns its URL."""
    listeners: list[socket.socket] = []

    def start(answer: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while connection.recv(65536):
                    answer(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_reply_that_trickles_in_is_late(
    slow: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    """Each part comes in time, and the whole does not."""

    def trickle(connection: socket.socket) -> None:
        for byte in b"*1\r\n$40\r\n" + b"x" * 40 + b"\r\n":
            connection.sendall(bytes([byte]))
            time.sleep(TIMEOUT / 5)

    store = RedisStore(Links(Address(slow(trickle), timeout=TIMEOUT)), "")
    assert seconds_of(lambda: store.get("k")) < 2 * TIMEOUT


def test_a_server_that_reads_slowly_is_late(server: RedisServer) -> None:
    """A large value does not have the whole time for each part of it."""
    patient = RedisStore(Links(Address(server.url, timeout=5.0)), "")
    patient.ping(5.0)
    links = Links(Address(server.url, timeout=TIMEOUT))
    store = RedisStore(links, "")
    assert await_answer(lambda: store.get("k")) is None
    server.suspend()
    try:
        assert seconds_of(lambda: store.set("k", b"x" * 50_000_000, LONG)) < TIMEOUT + 0.5
    finally:
        server.resume()


@pytest.mark.usefixtures("_rests_briefly")
def test_a_server_that_is_always_late_is_away_once(
    slow: Callable[[Callable[[socket.socket], None]], str], caplog: pytest.LogCaptureFixture
) -> None:
    """A probe is not more patient than a request: what is too slow for these does not come back."""
    answered = threading.Semaphore(0)

    def late(connection: socket.socket) -> None:
        time.sleep(1.5 * TIMEOUT)
        with suppress(OSError):  # nobody waits for it any more
            connection.sendall(b"+PONG\r\n")
        answered.release()

    store = RedisStore(Links(Address(slow(late), timeout=TIMEOUT)), "")
    for _ in range(PATIENCE):
        seconds_of(lambda: store.get("k"))
    for _ in range(PATIENCE + 3):
        while not answered.acquire(timeout=0.01):
            assert seconds_of(lambda: store.get("k")) < 0.1
    assert len(caplog.messages) == 1


def test_what_a_request_waits_is_taken_from_its_budget(server: RedisServer) -> None:
    """Also where it waited in vain, and where it asked how far another request is."""
    budget = Budget(60.0)
    links = Links(Address(server.url, timeout=TIMEOUT), lambda: budget)
    await_answer(lambda: links.ask("EXISTS", "k"))

    for counts in Counts:
        budget.left = 60.0
        links.ask("EXISTS", "k", counts=counts)
        assert (budget.left < 60.0) == (counts is Counts.ALWAYS)

    server.suspend()
    for counts in (Counts.ALWAYS, Counts.UNLESS_ANSWERED):
        budget.left = 60.0
        waited = seconds_of(lambda counts=counts: links.ask("EXISTS", "k", counts=counts))
        assert TIMEOUT * 0.9 < 60.0 - budget.left <= waited


def test_a_request_without_time_is_not_the_servers_fault(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What little is left of its budget is no measure of how slow Redis is."""
    budget = Budget(60.0)
    links = Links(Address(server.url, timeout=TIMEOUT), lambda: budget)
    await_answer(lambda: links.ask("EXISTS", "k"))

    server.suspend()
    for left in (0.02, 0.01, 0.0) * PATIENCE:
        budget.left = left
        assert seconds_of(lambda: links.ask("EXISTS", "k")) < TIMEOUT
    server.resume()
    budget.left = 60.0
    links.ask("EXISTS", "k")

    (line,) = caplog.messages
    assert line.endswith(
        f"had no time to answer, views answer without it: {3 * PATIENCE} since the last such line"
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
    links.ask("EXISTS", "k")
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
        def connect(self, deadline: float) -> redis.Connection:
            began.append(threading.current_thread().name)
            if len(began) > 1:
                ends.wait(10)
            raise redis.ConnectionError("no such name")

    links = Links(Place(server.url, timeout=5.0))
    for _ in range(50):
        seconds_of(lambda: links.ask("EXISTS", "k"))
    ends.set()
    assert len(began) <= 2


def test_one_connection_that_is_slow_to_make_does_not_keep_others_from_waiting(
    server: RedisServer,
) -> None:
    """Those that there are become free in a moment."""
    taken, connecting = threading.Event(), threading.Event()

    class Place(Address):
        def connect(self, deadline: float) -> redis.Connection:
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


# --- it dies and comes back ---


@pytest.mark.usefixtures("_rests_briefly")
def test_a_server_that_was_killed_and_started_again_is_used_again(
    server: RedisServer, store: RedisStore
) -> None:
    """Connections of the dead one are replaced; what it held is gone, and caching goes on."""
    store.set("k", b"v", LONG)
    server.kill()
    for operate in OPERATIONS.values():
        seconds_of(lambda operate=operate: operate(store))

    server.start()

    assert await_answer(lambda: store.set("l", b"w", LONG)) is True
    assert store.get_many(["k", "l"]) == [None, b"w"]


def test_a_restart_between_two_requests_is_not_noticed(
    server: RedisServer, store: RedisStore
) -> None:
    """A connection that has died since its last use is replaced by a new one, without an outage."""
    store.set("k", b"v", LONG)
    server.kill()
    server.start()

    assert store.get("k") is None
    assert store.set("k", b"v", LONG) is True


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


def test_a_ping_finds_out_that_it_is_back(server: RedisServer, store: RedisStore) -> None:
    """It asks also while others rest, and its success ends the outage for all."""
    server.kill()
    seconds_of(lambda: store.get("k"))
    server.start()

    store.ping(timeout=5.0)

    assert store.get("k") is None


# --- it refuses ---


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
        assert store.has("k")
        store.ping(timeout=5.0)
        assert store.delete(["k"]) == 1

        client.config_set("maxmemory", 0)
    assert store.set("l", b"x", LONG) is True
    (line,) = caplog.messages
    assert " refuses, views answer without it: command not allowed" in line


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


# --- it is something else ---


@pytest.fixture
def nonsense() -> Iterator[Callable[[bytes | None], str]]:
    """Starts something that answers each connection with the same bytes; returns its URL."""
    listeners: list[socket.socket] = []

    def start(answer: bytes | None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        if answer is not None:
                            connection.recv(4096)
                            connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        b"*2\r\n$1\r\n",
        b"*1\r\n$5\r\nab",
        b"$99999999999999\r\n",
        b"*-7\r\n",
        b"-ERR no\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED 1 other:6379\r\n",
    ],
    ids=["hang up", "end", "http", "zeros", "cut array", "cut text", "huge", "negative", "error",
         "loading", "moved"],
)  # fmt: skip
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_a_server_answers_only_one_error_is_raised(
    nonsense: Callable[[bytes | None], str], answer: bytes | None, operation: str
) -> None:
    """An HTTP server, a broken proxy, a Redis that loads: the view answers without any of them."""
    store = RedisStore(Links(Address(nonsense(answer), timeout=TIMEOUT)), "")

    assert seconds_of(lambda: OPERATIONS[operation](store)) < TIMEOUT + 1.0


WRONG_SHAPES = [
    b":1\r\n", b"+OK\r\n", b"$3\r\nabc\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n",
    b"*1\r\n:5\r\n", b"*1\r\n*0\r\n", b"*1\r\n-ERR no\r\n", b"*3\r\n$-1\r\n$-1\r\n$-1\r\n",
    b"*2\r\n$1\r\n0\r\n:1\r\n",
]  # fmt: skip


@pytest.mark.parametrize("answer", WRONG_SHAPES)
def test_a_reply_to_another_question_is_no_answer(
    nonsense: Callable[[bytes | None], str], answer: bytes
) -> None:
    """It is well formed, and nothing that MGET answers: so the stream is out of step."""
    for keys in (["k"], ["k", "l"]):
        store = RedisStore(Links(Address(nonsense(answer), timeout=5.0)), "")
        with pytest.raises(StoreUnavailable):
            store.get_many(keys)


@pytest.mark.parametrize("answer", WRONG_SHAPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_reply_of_any_shape_raises_nothing_else(
    nonsense: Callable[[bytes | None], str], answer: bytes, operation: str
) -> None:
    """What fits by chance is taken; whatever does not is an outage, and never a TypeError."""
    store = RedisStore(Links(Address(nonsense(answer), timeout=TIMEOUT)), "")
    with suppress(StoreUnavailable):
        OPERATIONS[operation](store)


# --- threads and forks ---


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


def ask_from_child(store: RedisStore, answer: Connection) -> None:
    try:
        answer.send([store.get(f"child{number % 10}") for number in range(500)])
    finally:
        answer.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: RedisServer) -> None:
    """Parent and child ask at once, and each gets the answers to its own questions."""
    store = RedisStore(Links(Address(server.url, timeout=5.0)), "")
    for number in range(10):
        store.set(f"child{number}", f"c{number}".encode(), LONG)
        store.set(f"parent{number}", f"p{number}".encode(), LONG)
    with server.client() as client:
        before = {connection["id"] for connection in client.client_list()}
    forked = get_context("fork")
    ours, theirs = forked.Pipe()

    child = forked.Process(target=ask_from_child, args=(store, theirs))
    child.start()
    theirs.close()
    found = [store.get(f"parent{number % 10}") for number in range(500)]
    try:
        assert ours.recv() == [f"c{number % 10}".encode() for number in range(500)]
    finally:
        child.join()

    assert found == [f"p{number % 10}".encode() for number in range(500)]
    assert store.get("parent1") == b"p1"
    with server.client() as client:
        # The parent's connection has survived the child, which took none of it along.
        assert before & {connection["id"] for connection in client.client_list()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_is_forked_in_an_outage_tries_for_itself(
    server: RedisServer, store: RedisStore
) -> None:
    """A worker that starts does not inherit that Redis was away for the master."""
    server.kill()
    seconds_of(lambda: store.get("k"))
    server.start()
    forked = get_context("fork")
    ours, theirs = forked.Pipe()

    child = forked.Process(target=ask_from_child, args=(store, theirs))
    child.start()
    theirs.close()
    try:
        assert ours.recv() == [None] * 500
    finally:
        child.join()


def test_a_client_of_redis_is_made_at_first_use(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Nothing is opened in the process that builds the app, which may fork its workers later."""
    clients = len(redis_client.client_list())
    store = RedisStore(Links(Address(redis_server.url, timeout=5.0)), "")
    assert len(redis_client.client_list()) == clients

    store.get("k")

    assert len(redis_client.client_list()) == clients + 1


def test_a_connection_that_is_not_made_in_time_is_an_outage_at_once() -> None:
    """Only a reply may be late by chance; a host that drops packets costs one timeout."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        store = RedisStore(
            Links(Address(f"redis://127.0.0.1:{address[1]}", connect_timeout=TIMEOUT)), ""
        )
        waited = [seconds_of(lambda: store.get("k")) for _ in range(5)]
        for filler in fillers:
            filler.close()
    assert sum(waited) < 2 * TIMEOUT
