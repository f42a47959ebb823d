"""The store on memcached: names, times and sizes as it takes them, servers, and connections.

Its outages are in ``tests/contract/test_outages.py``.
"""

import math
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_larder import Cache
from flask_larder.deadline import DeadlineSocket
from flask_larder.errors import StoreUnavailable
from flask_larder.memcached import LONGEST_KEY, MOST_CONNECTIONS, MemcachedStore, _connection
from tests.conftest import MemcachedServer
from tests.outages import LONG, TIMEOUT, listening, saying

THREADS = 50
DAY = 24 * 3600.0


@pytest.fixture
def server(start_memcached: Callable[..., MemcachedServer]) -> MemcachedServer:
    """A server of the test's own."""
    return start_memcached()


@pytest.fixture
def store(server: MemcachedServer) -> MemcachedStore:
    """A store on it."""
    return MemcachedStore([str(server.socket)], "p_", timeout=TIMEOUT)


@pytest.fixture
def patient(memcached: MemcachedServer) -> MemcachedStore:
    """A store on the shared server, with which a busy machine does not look like an outage."""
    return MemcachedStore([str(memcached.socket)], "p_", connect_timeout=20.0, timeout=20.0)


TEXTS = st.text(max_size=300) | st.text("ab #memcached=", max_size=300) | st.text("a", min_size=240)


@given(TEXTS, TEXTS)
def test_each_key_has_a_name_of_its_own(one: str, other: str) -> None:
    """Whatever is in a key and however long it is; and memcached takes the name."""
    store = MemcachedStore(["unused"], "")
    names = [store._name(key) for key in (one, other)]

    assert (names[0] == names[1]) == (one == other)
    # No key can be made to have the name that stands for another.
    assert store._name(names[0]) != names[1] or names[0] == one == other
    for name in names:
        assert 1 <= len(name) <= LONGEST_KEY
        assert all("!" <= char <= "~" for char in name)


@pytest.mark.parametrize(
    "key", ["k", "larder1:view/http://a:1/b?c=d", "larder1:key=%20", "#" * 248]
)
def test_a_key_that_memcached_takes_is_its_own_name(key: str) -> None:
    """So that it can be looked at."""
    assert MemcachedStore(["unused"], "p_")._name(key) == f"p_{key}"


def test_other_names_begin_with_the_key() -> None:
    """As far as it can be read."""
    name = MemcachedStore(["unused"], "my shop ")._name("larder1:key=" + "x" * 1000)

    assert name.startswith("my%20shop%20larder1:key=xxxx")
    assert "#memcached=" in name


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "a\r\nflush_all\r\n", "ü", "\0", "k" * 251, "\ud800"]
)
def test_keys_that_memcached_does_not_take_are_kept(patient: MemcachedStore, key: str) -> None:
    """A key cannot be a command either."""
    patient.set("other", b"o", LONG)
    assert patient.set(key, b"v", LONG) is True
    assert patient.get_many([key, "other"]) == [b"v", b"o"]
    assert patient.add(key, b"w", LONG) is False
    assert patient.delete([key]) == 1
    assert patient.get(key) is None


@pytest.mark.parametrize(
    "ttl", [1e-9, 0.5, 1.0, 50.0, 30 * DAY - 1, 30 * DAY, 30 * DAY + 1, 31 * DAY, 365 * DAY]
)
def test_an_entry_is_kept_for_its_time(
    patient: MemcachedStore, memcached: MemcachedServer, ttl: float
) -> None:
    """For two seconds longer at most; more than thirty days is no date in 1970."""
    remaining = []
    for keep in (patient.set, patient.add) * 2:
        patient.delete(["k"])
        assert keep("k", b"v", ttl)
        remaining.append(int(memcached.ask(b"mg p_k t\r\n").removeprefix(b"HD t")))
    assert ttl <= min(remaining)
    assert ttl + 1 <= max(remaining) + (ttl >= 30 * DAY)  # a date does not count from a tick
    assert max(remaining) <= ttl + 2


def test_what_is_too_large_is_not_kept(
    server: MemcachedServer, store: MemcachedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """No more than a megabyte by default; what it was to replace is gone, and all else goes on."""
    store.set("k", b"old", LONG)
    for _ in range(3):
        assert store.set("k", bytes(2_000_000), LONG) is False
        assert store.add("l", bytes(2_000_000), LONG) is False
        assert store.get_many(["k", "l"]) == [None, None]
        assert store.set("m", bytes(500_000), LONG) is True
    (line,) = caplog.messages
    assert "refuses something, views answer without that" in line
    assert "too large" in line


def test_a_page_that_is_too_large_is_answered(server: MemcachedServer) -> None:
    """As by no cache at all, and Cache-Status tells why."""
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="MemcachedCache", CACHE_MEMCACHED_SERVERS=str(server.socket))
    app.config.update(CACHE_MAX_BODY_BYTES=8_000_000, CACHE_MEMCACHED_TIMEOUT=20)
    app.config.update(CACHE_BUDGET_SECONDS=20)
    cache = Cache(app)

    @app.get("/<int:length>")
    @cache.cached(timeout=50)
    def view(length: int) -> bytes:
        return bytes(length)

    client = app.test_client()
    for _ in range(2):
        answer = client.get("/3000000")
        assert answer.data == bytes(3_000_000)
        assert answer.headers["Cache-Status"] == "larder; fwd=uri-miss; detail=store-refused"
    client.get("/1000")
    assert client.get("/1000").headers["Cache-Status"].startswith("larder; hit")


def test_each_key_has_one_server(start_memcached: Callable[..., MemcachedServer]) -> None:
    """Keys spread over all; where one is away its keys are misses, and do not move to others."""
    servers = [start_memcached() for _ in range(3)]
    store = MemcachedStore([str(each.socket) for each in servers], "p_", timeout=5.0)
    keys = [f"k{number}" for number in range(300)]
    for key in keys:
        assert store.set(key, key.encode(), LONG)
    assert store.get_many(keys) == [key.encode() for key in keys]
    counts = [int(each.ask(b"stats\r\n", end=b"END\r\n").split(b"curr_items ")[1].split()[0])
              for each in servers]  # fmt: skip
    assert sum(counts) == 300
    assert min(counts) > 50

    servers[0].kill()
    found = [key for key in keys if not is_away(store, key)]
    assert len(found) == 300 - counts[0]
    assert store.get_many(found) == [key.encode() for key in found]
    for operate in (lambda: store.get_many(keys), lambda: store.delete(keys),
                    lambda: store.ping(5.0)):  # fmt: skip
        with pytest.raises(StoreUnavailable):
            operate()


def is_away(store: MemcachedStore, key: str) -> bool:
    try:
        store.get(key)
    except StoreUnavailable:
        return True
    return False


def test_a_server_more_moves_few_keys() -> None:
    """So that adding one is not a cold start."""
    three, four = (MemcachedStore([f"h{n}:1" for n in range(count)], "") for count in (3, 4))
    moved = [key for key in map(str, range(1000)) if three._server_of(key) != four._server_of(key)]

    assert 150 < len(moved) < 350
    assert {four._server_of(key) for key in moved} == {"h3:1"}


def test_views_answer_while_memcached_hangs(
    server: MemcachedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of many requests gets the view's own answer, within few timeouts, and with one line."""
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "memcached", "CACHE_MEMCACHED_TIMEOUT": TIMEOUT,
                               "CACHE_MEMCACHED_SERVERS": [str(server.socket)]})  # fmt: skip
    runs: list[int] = []

    @app.get("/")
    @cache.cached(timeout=50)
    def view() -> dict[str, int]:
        runs.append(1)
        return {"run": len(runs)}

    client = app.test_client()
    client.get("/")
    server.suspend()
    started = time.monotonic()
    answers = [client.get("/") for _ in range(20)]

    assert time.monotonic() - started < 5 * TIMEOUT + 1.0
    assert [answer.json for answer in answers] == [{"run": run} for run in range(2, 22)]
    assert "detail=store-unavailable" in answers[-1].headers["Cache-Status"]
    assert cache.get("a") is None
    assert cache.set("a", 1) is False
    with pytest.raises(StoreUnavailable):
        cache.delete("a")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_request_is_not_held_up_beyond_its_budget(
    server: MemcachedServer, is_connected: bool
) -> None:
    """However long a reply may take: all questions of one request have one budget together."""
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "memcached", "CACHE_BUDGET_SECONDS": TIMEOUT,
                               "CACHE_MEMCACHED_TIMEOUT": 20, "CACHE_MEMCACHED_CONNECT_TIMEOUT": 20,
                               "CACHE_MEMCACHED_SERVERS": [str(server.socket)]})  # fmt: skip

    @app.get("/")
    def view() -> list[object]:
        return [cache.get(str(number)) for number in range(10)]

    if is_connected:
        app.test_client().get("/")
    server.suspend()
    started = time.monotonic()

    assert app.test_client().get("/").json == [None] * 10
    assert time.monotonic() - started < TIMEOUT + 2.0


def test_what_comes_unasked_is_no_answer() -> None:
    """A connection on which something waits to be read is not used again."""
    ours, theirs = socket.socketpair()
    with theirs:
        client = _connection("unused", connect_timeout=1.0, timeout=5.0)
        client.sock = DeadlineSocket(ours)
        client.prepare(1.0, 3.0, math.inf)
        assert client.sock is not None

        theirs.sendall(b"VALUE k 0 1\r\nx\r\nEND\r\n")
        client.prepare(1.0, 3.0, math.inf)
        assert client.sock is None


def test_a_server_that_wants_a_password_refuses(
    start_memcached: Callable[..., MemcachedServer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is there, and says no: one line, and no outage."""
    (tmp_path / "users").write_text("user:password\n")
    server = start_memcached("-Y", str(tmp_path / "users"))
    store = MemcachedStore([str(server.socket)], "", timeout=5.0)

    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="refuses"):
            store.get("k")
    assert len(caplog.messages) == 1


def test_the_address_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """``localhost`` has two, and memcached often listens on the second."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()
    with listening(saying(b"END\r\n")) as port:
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (closed, ("127.0.0.1", port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

        assert MemcachedStore(["localhost:11211"], "", timeout=5.0).get("k") is None


def test_connections_are_used_again_and_threads_do_not_share_them(
    patient: MemcachedStore, memcached: MemcachedServer
) -> None:
    """Each thread gets the answers to its own questions, over no more connections than threads."""
    barrier = threading.Barrier(THREADS, timeout=30)

    def work(number: int) -> list[bytes | None]:
        barrier.wait()
        patient.set(f"k{number}", str(number).encode(), LONG)
        return [patient.get(f"k{number}") for _ in range(20)]

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(work, range(THREADS)))

    assert found == [[str(number).encode()] * 20 for number in range(THREADS)]
    made = patient._links()[str(memcached.socket)].connections
    assert 1 <= len(made.free) <= THREADS
    assert not made.used
    before = memcached.connections_made()
    for _ in range(20):
        patient.get("k0")
    assert memcached.connections_made() == before + 1  # that of this very question


def test_connections_of_a_process_are_bounded(
    patient: MemcachedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Who finds all of them taken gets the view's answer; that is no outage."""
    with ExitStack() as held:
        for _ in range(MOST_CONNECTIONS):
            held.enter_context(patient._asking(patient._servers[0]))
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="refuses"):
                patient.get("k")
    assert patient.get("k") is None
    assert len(caplog.messages) == 1


def test_a_request_that_is_ended_takes_no_connection_along(patient: MemcachedStore) -> None:
    """What gevent ends requests with is no ``Exception``."""

    def end() -> None:
        with patient._asking(patient._servers[0]):
            raise KeyboardInterrupt

    for _ in range(MOST_CONNECTIONS + 1):
        with pytest.raises(KeyboardInterrupt):
            end()
    assert patient.get("k") is None


def test_the_reply_to_a_request_that_was_ended_is_nobodys(server: MemcachedServer) -> None:
    """Also where it comes after somebody else has asked."""
    store = MemcachedStore([str(server.socket)], "p_", timeout=20.0)
    for key in ("a", "b"):
        store.set(key, key.encode(), LONG)
    connections = store._links()[str(server.socket)].connections

    def end() -> None:
        with store._asking(str(server.socket)) as client:
            assert client.sock is not None
            client.sock.sendall(b"get p_a\r\n")
            raise KeyboardInterrupt

    server.suspend()
    with pytest.raises(KeyboardInterrupt):
        end()
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(store.get, "b")
        while not connections.used:
            time.sleep(0.001)
        server.resume()
        assert found.result() == b"b"
