"""A master that Sentinels watch over, and that they replace."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from flask_larder.errors import StoreUnavailable
from flask_larder.redis import Address, Links, RedisStore, SentinelMaster
from tests.redis_nodes import HOST, MASTER, Node, binary, documented, wait_until

LONG = 600.0


class Oracle:
    """Speaks as a Sentinel does, and says that the master is where the test wants it."""

    def __init__(self) -> None:
        self.port_of_master: int | None = None
        self.asked = 0
        self._listener = socket.create_server((HOST, 0))
        self.address = Address(f"redis://{HOST}:{self._listener.getsockname()[1]}")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                self.asked += 1
                port = str(self.port_of_master)
                reply = f"*2\r\n${len(HOST)}\r\n{HOST}\r\n${len(port)}\r\n{port}\r\n"
                connection.sendall((reply if self.port_of_master else "*-1\r\n").encode())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()


@pytest.fixture
def start_node() -> Iterator[Callable[[], Node]]:
    nodes: list[Node] = []

    def start() -> Node:
        nodes.append(Node(binary("valkey-server")))
        return nodes[-1].start()

    yield start
    for node in nodes:
        node.remove()


def master(*sentinels: Address) -> SentinelMaster:
    return SentinelMaster(MASTER, sentinels, Address("redis://", timeout=5.0, connect_timeout=5.0))


def test_an_old_master_that_still_answers_is_left(
    oracle: Oracle, start_node: Callable[[], Node]
) -> None:
    """Nothing cuts its connections where it is cut off; they are used for a second at most."""
    old, new = start_node(), start_node()
    oracle.port_of_master = old.port
    store = RedisStore(Links(master(oracle.address)), "")
    store.set("k", b"old", LONG)

    oracle.port_of_master = new.port
    new.run("SET", "k", "new")

    began = time.monotonic()
    wait_until(lambda: store.get("k") == b"new")
    assert time.monotonic() - began < 3
    assert [store.get("k") for _ in range(20)] == [b"new"] * 20


def test_a_replica_is_not_taken_for_the_master(
    oracle: Oracle, start_node: Callable[[], Node], caplog: pytest.LogCaptureFixture
) -> None:
    """A Sentinel that is behind the times may name one; what it holds may be old."""
    replica = start_node()
    replica.run("SET", "k", "old")
    replica.run("REPLICAOF", HOST, "1")
    oracle.port_of_master = replica.port
    store = RedisStore(Links(master(oracle.address)), "")

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.get("k")
    with pytest.raises(StoreUnavailable, match=f":{replica.port} is no master, but a slave"):
        store.ping(5.0)
    (line,) = caplog.messages
    assert line.endswith(f":{replica.port} is no master, but a slave")


def test_a_ping_ends_in_its_time(oracle: Oracle, start_node: Callable[[], Node]) -> None:
    """However many Sentinels hang, and however many steps there are on the way."""
    oracle.port_of_master = start_node().port
    with socket.create_server((HOST, 0)) as hanging:
        silent = [Address(f"redis://{HOST}:{hanging.getsockname()[1]}")] * 5
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            RedisStore(Links(master(*silent)), "").ping(0.3)
        assert time.monotonic() - began < 1.5
        RedisStore(Links(master(*silent, oracle.address)), "").ping(5.0)


def test_sentinels_are_asked_once_in_a_while(
    oracle: Oracle, start_node: Callable[[], Node]
) -> None:
    """Not for each request."""
    oracle.port_of_master = start_node().port
    store = RedisStore(Links(master(oracle.address)), "")

    began = time.monotonic()
    for _ in range(500):
        store.get("k")

    assert oracle.asked <= 2 + (time.monotonic() - began)


def test_a_child_that_is_made_during_a_look_has_its_own(
    oracle: Oracle, start_node: Callable[[], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would stay with an old master for good."""
    oracle.port_of_master = start_node().port
    place, goes_on, is_looking = master(oracle.address), threading.Event(), threading.Event()
    connection = place.connect(time.monotonic() + 5)

    def look(_: float) -> None:
        is_looking.set()
        goes_on.wait(10)

    monkeypatch.setattr(place, "_find", look)
    place._next_look = 0.0
    assert place.is_current(connection)
    assert is_looking.wait(10)
    child = os.fork()
    if child == 0:
        is_looking.clear()
        place._next_look = 0.0
        place.is_current(connection)
        os._exit(0 if is_looking.wait(10) else 1)
    goes_on.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    connection.close()


def test_one_sentinel_is_enough(oracle: Oracle, start_node: Callable[[], Node]) -> None:
    """One refuses connections, one knows no such master, one hangs: the last one is asked."""
    oracle.port_of_master = start_node().port
    ignorant = Oracle()
    with socket.create_server((HOST, 0)) as hanging:
        silent = Address(f"redis://{HOST}:{hanging.getsockname()[1]}")
        place = SentinelMaster(
            MASTER,
            [Address(f"redis://{HOST}:1"), ignorant.address, silent, oracle.address],
            Address("redis://", connect_timeout=2.0),
        )
        store = RedisStore(Links(place), "")
        wait_until(lambda: _answers(store))
    ignorant.close()


def _answers(store: RedisStore) -> bool:
    try:
        store.get("k")
    except StoreUnavailable:
        return False
    return True


def test_where_no_sentinel_knows_it_the_log_says_which_setting(
    oracle: Oracle, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, which names the setting and each Sentinel, and no password."""
    sentinels = [oracle.address, Address(f"redis://:s3cret@{HOST}:1")]
    store = RedisStore(Links(master(*sentinels)), "")

    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="master 'mymaster'"):
            store.get("k")

    (line,) = caplog.messages
    assert line.startswith("Redis master 'mymaster' is away, views answer without it: no Sentinel")
    assert "CACHE_REDIS_SENTINEL_MASTER" in line
    assert f"{HOST}:1" in line
    assert "s3cret" not in line


def test_connections_to_a_replica_are_left(oracle: Oracle, start_node: Callable[[], Node]) -> None:
    """A master that refuses writes, since it has been made a replica by hand."""
    old, new = start_node(), start_node()
    oracle.port_of_master = old.port
    store = RedisStore(Links(master(oracle.address)), "")
    store.set("k", b"v", LONG)
    oracle.port_of_master = new.port
    old.run("REPLICAOF", HOST, new.port)

    def is_set() -> bool:
        try:
            return store.set("k", b"new", LONG)
        except StoreUnavailable:
            return False

    wait_until(is_set)
    assert new.run("GET", "k") == "new"


def test_a_sentinel_of_a_user_with_the_documented_rights() -> None:
    """Both Redis and Valkey take the rule, and it is enough."""
    sentinel = Node(
        binary("redis-server"), f"sentinel monitor {MASTER} {HOST} 1 1", sentinel=True
    ).start()
    try:
        sentinel.allow("watcher", *documented("watcher"))
        sentinel.allow("default", "off")
        place = master(Address(f"redis://watcher:secret@{sentinel.address}"))
        assert place._find(time.monotonic() + 5) == (HOST, 1)
    finally:
        sentinel.remove()
