"""Every store that is a server, where that is away, hangs, comes back, or is something else.

One table of kinds; each test runs on each of them.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from flask_larder.breaker import PATIENCE
from flask_larder.budget import Budget, BudgetSource, unbounded
from flask_larder.errors import StoreUnavailable
from flask_larder.memcached import MemcachedStore
from flask_larder.redis import Address, Links, RedisStore
from flask_larder.store import Store
from tests.conftest import Server
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
from tests.redis_nodes import wait_until

THREADS = 50
PREFIX = "p_"
FORTY = b"x" * 40


@dataclass(frozen=True)
class Kind:
    """A kind of server, how a store on one is made, and what it says."""

    name: str
    """In the log and in errors."""

    store: Callable[..., Store]
    """Makes one at an address, given seconds by name, and a budget."""

    start: str
    """The fixture that starts servers."""

    scheme: str
    """What stands before a host and a port."""

    socket_scheme: str
    """What stands before the path of a socket."""

    forty: bytes
    """The reply to ``get("k")`` where :data:`FORTY` is there."""

    nonsense: Mapping[str, bytes | None]
    """Replies that are none, to any operation. ``None``: it hangs up."""

    operations: Sequence[str]
    """Those that it has."""

    def at_port(self, port: int, host: str = "127.0.0.1") -> str:
        """The address, as :attr:`store` takes it."""
        return f"{self.scheme}{host}:{port}"

    def at_socket(self, path: Path) -> str:
        """The address, as :attr:`store` takes it."""
        return f"{self.socket_scheme}{path}"

    def in_log(self, address: str) -> str:
        """What lines in the log call the server at *address*."""
        return f"{self.name} at {address}"


def redis_store(address: str, budget: BudgetSource = unbounded, **seconds: float) -> Store:
    return RedisStore(Links(Address(address, **seconds), budget), PREFIX)


def memcached_store(address: str, budget: BudgetSource = unbounded, **seconds: float) -> Store:
    return MemcachedStore([address], PREFIX, budget=budget, **seconds)


NOBODYS: Mapping[str, bytes | None] = {
    "hang up": None,
    "end": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": b"\0\0\0\0",
}
"""What is neither Redis's nor memcached's."""

REDIS = Kind(
    name="Redis",
    store=redis_store,
    start="start_redis",
    scheme="redis://",
    socket_scheme="unix://",
    forty=b"*1\r\n$40\r\n" + FORTY + b"\r\n",
    nonsense={
        **NOBODYS,
        "cut array": b"*2\r\n$1\r\n",
        "cut text": b"*1\r\n$5\r\nab",
        "huge": b"$99999999999999\r\n",
        "negative": b"*-7\r\n",
        "error": b"-ERR no\r\n",
        "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
        "moved": b"-MOVED 1 other:6379\r\n",
    },
    operations=tuple(OPERATIONS),
)

MEMCACHED = Kind(
    name="memcached",
    store=memcached_store,
    start="start_memcached",
    scheme="",
    socket_scheme="",
    forty=b"VALUE p_k 0 40\r\n" + FORTY + b"\r\nEND\r\n",
    nonsense={
        **NOBODYS,
        "redis": b"-ERR unknown command\r\n",
        "line of zeros": b"\0\0\r\n",
        "error": b"ERROR\r\n",
        "client error": b"CLIENT_ERROR bad\r\n",
        "no value": b"VALUE\r\n",
        "other key": b"VALUE other 0 1\r\nx\r\nEND\r\n",
        "negative": b"VALUE p_k 0 -9\r\nx\r\nEND\r\n",
        "cut off": b"VALUE p_k 0 1000\r\nx\r\nEND\r\n",
        "no number": b"VALUE p_k x y\r\nx\r\nEND\r\n",
        "huge": b"VALUE p_k 0 999999999999\r\nx",
    },
    operations=tuple(name for name in OPERATIONS if name != "clear"),
)

KINDS = (REDIS, MEMCACHED)

each_operation = pytest.mark.parametrize(
    ("kind", "operation"),
    [
        pytest.param(kind, operation, id=f"{kind.name.lower()}-{operation}")
        for kind in KINDS
        for operation in kind.operations
    ],
    indirect=["kind"],
)

each_nonsense = pytest.mark.parametrize(
    ("kind", "operation", "answer"),
    [
        pytest.param(kind, operation, answer, id=f"{kind.name.lower()}-{operation}-{name}")
        for kind in KINDS
        for operation in kind.operations
        for name, answer in kind.nonsense.items()
    ],
    indirect=["kind"],
)


@pytest.fixture(params=KINDS, ids=[kind.name.lower() for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server in turn."""
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture
def server(request: pytest.FixtureRequest, kind: Kind) -> Server:
    """A server of the test's own."""
    started = request.getfixturevalue(kind.start)()
    assert isinstance(started, Server)
    return started


@pytest.fixture
def store(kind: Kind, server: Server) -> Store:
    """A store on it."""
    return kind.store(kind.at_socket(server.socket), timeout=TIMEOUT)


@pytest.fixture
def patient(kind: Kind, server: Server) -> Store:
    """A store on it, with which a busy machine does not look like an outage."""
    return kind.store(kind.at_socket(server.socket), connect_timeout=20.0, timeout=20.0)


@each_operation
def test_where_nobody_listens_each_operation_says_so(
    tmp_path: Path, kind: Kind, operation: str
) -> None:
    """Nothing but ``StoreUnavailable`` is raised, with the address in it, and without waiting."""
    # With time for a thread that finds it out, on a busy machine.
    store = kind.store(kind.at_socket(tmp_path / "nobody.sock"), timeout=20.0)
    says = rf"^{kind.name} at {kind.socket_scheme}/.*/nobody\.sock is away"

    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=says):
            OPERATIONS[operation](store)
        assert time.monotonic() - started < 1.0


def test_a_closed_port_says_so_at_once(kind: Kind) -> None:
    """No timeout has to pass."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    store = kind.store(kind.at_port(port), connect_timeout=30.0, timeout=30.0)
    assert seconds_of(lambda: store.get("k")) < 5.0


def test_a_host_that_does_not_exist_says_so(kind: Kind) -> None:
    """A name without an address is an outage like any other."""
    store = kind.store(kind.at_port(11211, host="no-such-host.invalid"))

    with pytest.raises(StoreUnavailable):
        store.get("k")


@each_operation
def test_a_hanging_server_costs_few_timeouts(server: Server, store: Store, operation: str) -> None:
    """The first callers wait for the timeout, those after them do not wait at all."""
    store.get("k")
    server.suspend()

    assert seconds_of(lambda: OPERATIONS[operation](store)) < TIMEOUT + 1.0
    assert sum(seconds_of(lambda: store.get("k")) for _ in range(50)) < 5 * TIMEOUT


def test_a_server_that_hangs_from_the_beginning_costs_few_timeouts(
    server: Server, store: Store
) -> None:
    """The same where nobody has been connected before."""
    server.suspend()

    assert TIMEOUT * 0.9 < seconds_of(lambda: store.get("k")) < TIMEOUT + 1.0
    assert sum(seconds_of(lambda: store.get("k")) for _ in range(50)) < 5 * TIMEOUT


def test_many_threads_wait_for_one_timeout_together(
    server: Server, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty callers that meet a hanging server get away in one timeout, with one line."""
    store.get("k")
    server.suspend()
    barrier = threading.Barrier(THREADS, timeout=30)

    def ask_alone() -> float:
        return seconds_of(lambda: store.get("k"))

    def ask(_: int) -> float:
        barrier.wait()
        return ask_alone()

    with ThreadPoolExecutor(THREADS) as threads:
        waited = list(threads.map(ask, range(THREADS)))

    assert max(waited) < TIMEOUT + 2.0
    # On a busy machine, too few of them may have had a connection to tell that nobody answers.
    wait_until(lambda: caplog.messages or not ask_alone())
    assert len(caplog.messages) == 1


def test_for_a_second_after_a_failure_nobody_tries(server: Server, store: Store) -> None:
    """A server that hangs is left alone: not a single connection is made to it meanwhile."""
    store.get("k")
    before = server.connections_made()
    server.suspend()
    for _ in range(PATIENCE):
        seconds_of(lambda: store.get("k"))
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        seconds_of(lambda: store.get("k"))
        time.sleep(0.005)
    server.resume()

    made = server.connections_made() - before - 1  # that of this very question
    assert made < PATIENCE  # each but the first, before it counted as away


@pytest.mark.usefixtures("_rests_briefly")
def test_after_a_hang_replies_belong_to_their_questions(server: Server, store: Store) -> None:
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


@pytest.mark.usefixtures("_rests_briefly")
def test_a_hang_is_told_once_and_so_is_its_end(
    kind: Kind, server: Server, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for the outage, however many ask, and one when it is over, with its duration."""
    store.set("k", b"v", LONG)
    server.suspend()
    for _ in range(20):
        seconds_of(lambda: store.get("k"))
    server.resume()

    assert await_answer(lambda: store.get("k")) == b"v"

    away, back = caplog.messages
    name = kind.in_log(kind.at_socket(server.socket))
    assert away.startswith(f"{name} is away, views answer without it: ")
    assert back.startswith(f"{name} is back after ")


def test_late_replies_are_an_outage_only_in_a_row(
    kind: Kind, server: Server, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that is busy for a moment does not keep all requests from the cache."""
    store.get("k")
    server.suspend()
    for _ in range(PATIENCE - 1):
        seconds_of(lambda: store.get("k"))
    server.resume()

    assert store.get("k") is None
    (line,) = caplog.messages
    name = kind.in_log(kind.at_socket(server.socket))
    assert line.startswith(f"{name} did not answer in time, views answer without it: 2 since")


def test_a_reply_that_trickles_in_is_late(kind: Kind) -> None:
    """Each part comes in time, and the whole does not."""

    def trickle(connection: socket.socket) -> None:
        for byte in kind.forty:
            connection.sendall(bytes([byte]))
            time.sleep(TIMEOUT / 5)

    with listening(answering_each(lambda connection: connection.sendall(kind.forty))) as port:
        store = kind.store(kind.at_port(port), connect_timeout=20.0, timeout=20.0)
        assert store.get("k") == FORTY
    with listening(answering_each(trickle)) as port:
        store = kind.store(kind.at_port(port), timeout=TIMEOUT)
        assert TIMEOUT * 0.9 < seconds_of(lambda: store.get("k")) < 5 * TIMEOUT


def test_a_server_that_reads_slowly_is_late(server: Server, store: Store) -> None:
    """A large value does not have the whole time for each part of it."""
    assert await_answer(lambda: store.get("k")) is None
    server.suspend()
    try:
        assert seconds_of(lambda: store.set("k", b"x" * 50_000_000, LONG)) < TIMEOUT + 3.0
    finally:
        server.resume()


@contextmanager
def full_port() -> Iterator[int]:
    """A port of 127.0.0.1 whose system takes no more connections, and says nothing to those."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def test_a_connection_that_is_not_made_in_time_is_an_outage_at_once(kind: Kind) -> None:
    """Only a reply may be late by chance; a host that drops packets costs one timeout."""
    with full_port() as port:
        store = kind.store(kind.at_port(port), connect_timeout=TIMEOUT)
        assert sum(seconds_of(lambda: store.get("k")) for _ in range(5)) < 4 * TIMEOUT


def test_what_a_request_waits_is_taken_from_its_budget(kind: Kind, server: Server) -> None:
    """Also where it waited in vain; but not what it waited to have something deleted."""
    budget = Budget(60.0)
    store = kind.store(kind.at_socket(server.socket), lambda: budget, timeout=TIMEOUT)
    await_answer(lambda: store.get("k"))

    budget.left = 60.0
    store.delete(["k"])
    assert budget.left == 60.0
    store.get("k")
    assert budget.left < 60.0

    server.suspend()
    budget.left = 60.0
    waited = seconds_of(lambda: store.get("k"))
    assert TIMEOUT * 0.9 < 60.0 - budget.left <= waited


def test_what_deletes_is_not_bounded_by_the_budget(kind: Kind, server: Server) -> None:
    """Who forgets something wants it gone."""
    spent = Budget(whole=0.0)
    store = kind.store(kind.at_socket(server.socket), lambda: spent, timeout=20.0)

    with pytest.raises(StoreUnavailable, match="is out of time"):
        store.get("k")
    assert store.delete(["k"]) == 0


@pytest.mark.usefixtures("_rests_briefly")
def test_a_server_that_was_killed_and_started_again_is_used_again(
    kind: Kind, server: Server, store: Store
) -> None:
    """Connections of the dead one are replaced; what it held is gone, and caching goes on."""
    store.set("k", b"v", LONG)
    server.kill()
    for operation in kind.operations:
        seconds_of(lambda operation=operation: OPERATIONS[operation](store))

    server.start()

    assert await_answer(lambda: store.set("l", b"w", LONG)) is True
    assert store.get_many(["k", "l"]) == [None, b"w"]


def test_a_restart_between_two_requests_is_not_noticed(
    server: Server, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that has died since its last use is replaced by a new one, without an outage."""
    store.set("k", b"v", LONG)
    server.kill()
    server.start()

    assert store.get("k") is None
    assert store.set("k", b"v", LONG) is True
    assert caplog.messages == []


def test_a_ping_finds_out_that_it_is_back(server: Server, store: Store) -> None:
    """It asks also while others rest, and its success ends the outage for all."""
    server.kill()
    seconds_of(lambda: store.get("k"))
    server.start()

    store.ping(timeout=5.0)

    assert store.get("k") is None


@each_nonsense
def test_whatever_a_server_answers_only_one_error_is_raised(
    kind: Kind, operation: str, answer: bytes | None
) -> None:
    """A web server, a broken proxy, one that loads: the view answers without any of them."""
    with listening(saying(answer)) as port:
        store = kind.store(kind.at_port(port), timeout=TIMEOUT)
        assert seconds_of(lambda: OPERATIONS[operation](store)) < TIMEOUT + 1.0


def test_a_server_that_hangs_up_is_away(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """It has not refused anything, and is left alone for a while."""
    with listening(saying(b"")) as port:
        store = kind.store(kind.at_port(port), timeout=5.0)
        for _ in range(PATIENCE + 1):
            with pytest.raises(StoreUnavailable, match="is away"):
                store.get("k")
    (line,) = caplog.messages
    assert "is away" in line


def ask_from_child(store: Store, parents: Connection, ours: Connection) -> None:
    parents.close()
    with ours:
        ours.send(store.get("child0"))
        ours.recv()  # until the parent asks, too
        ours.send([store.get(f"child{number % 10}") for number in range(500)])


@contextmanager
def asking_child(store: Store) -> Iterator[Connection]:
    """A child, forked now, that asks once, and 500 times when it is told to; its answers."""
    forked = get_context("fork")
    ours, childs = forked.Pipe()
    child = forked.Process(target=ask_from_child, args=(store, ours, childs))
    child.start()
    childs.close()
    try:
        yield ours
    finally:
        ours.close()
        child.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: Server, patient: Store) -> None:
    """Parent and child ask at once, and each gets the answers to its own questions."""
    for number in range(10):
        patient.set(f"child{number}", f"c{number}".encode(), LONG)
        patient.set(f"parent{number}", f"p{number}".encode(), LONG)
    before = server.connections_made()

    with asking_child(patient) as child:
        assert child.recv() == b"c0"
        assert server.connections_made() == before + 2  # the child's, and that of this question
        child.send("now")
        rounds = 0
        while not child.poll() or rounds < 50:
            found = [patient.get(f"parent{number}") for number in range(10)]
            assert found == [f"p{number}".encode() for number in range(10)]
            rounds += 1
        assert child.recv() == [f"c{number % 10}".encode() for number in range(500)]

    assert patient.get("parent1") == b"p1"
    # The parent's connection has survived the child, which took none of it along.
    assert server.connections_made() == before + 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_is_forked_in_an_outage_tries_for_itself(server: Server, store: Store) -> None:
    """A worker that starts does not inherit that the server was away for the master."""
    server.kill()
    seconds_of(lambda: store.get("k"))
    server.start()

    with asking_child(store) as child:
        assert child.recv() is None
        child.send("now")
        assert child.recv() == [None] * 500


def test_a_connection_is_made_at_first_use(kind: Kind, server: Server) -> None:
    """Nothing is opened in the process that builds the app, which may fork its workers later."""
    before = server.connections_made()
    store = kind.store(kind.at_socket(server.socket), timeout=5.0)
    assert server.connections_made() == before + 1  # that of this very question

    store.get("k")

    assert server.connections_made() == before + 3
