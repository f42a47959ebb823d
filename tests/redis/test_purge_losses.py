"""A log that may have lost purges: everything is forgotten, at once, and once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from flask_larder.errors import StoreUnavailable
from flask_larder.purges import GONE, VALID
from flask_larder.redis import Address, Links, follower, purge_reader
from tests.conftest import RedisServer
from tests.purge_processes import CATS, DOGS, LOG, Process, alls, process_at, records
from tests.redis_nodes import HOST, Node, binary, wait_until


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    """A server of the test's own."""
    return start_redis()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of it."""
    with server.client() as client:
        yield client


def test_a_log_that_is_gone_begins_anew_once(
    server: RedisServer,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever notices has everything forgotten, and one of them is enough."""
    monkeypatch.setattr(purge_reader, "LOSS_SECONDS", 0.0)
    processes = [process_at(server) for _ in range(8)]
    for process in processes:
        process.store.get("k")
        wait_until(lambda process=process: process.is_followed)
    before = processes[0].last
    assert before is not None

    for _ in range(3):
        client.delete(LOG)
        barrier = threading.Barrier(len(processes), timeout=30)

        def look(process: Process, barrier: threading.Barrier = barrier) -> object:
            barrier.wait()
            process.store.get("k")
            return process.verdict(before)

        with ThreadPoolExecutor(len(processes)) as threads:
            assert set(threads.map(look, processes)) == {GONE}
        assert len(records(client)) == 1
    assert len({process.last for process in processes}) == 1
    lost = [line for line in caplog.messages if " has lost purges, so everything " in line]
    assert len(lost) == len(caplog.messages) == 3


def test_losses_do_not_fill_the_log_of_lines(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that evicts may lose one log of purges after the other."""
    ours = process_at(server).without_follower()
    ours.store.get("k")
    for _ in range(3):
        client.delete(LOG)
        ours.store.get("k")
        assert len(records(client)) == 1
    (line,) = caplog.messages
    assert line.endswith(" is forgotten")
    ours.purges._here().reader._loss_told_at -= purge_reader.LOSS_SECONDS
    client.delete(LOG)
    ours.store.get("k")
    assert caplog.messages[1] == f"{line}, 3 times since the last such line"


def test_a_log_that_is_gone_is_noticed_without_a_look_up(
    server: RedisServer, client: redis.Redis
) -> None:
    """The thread asks twice a second."""
    ours = process_at(server)
    wait_until(lambda: ours.is_followed)
    before = ours.last
    assert before is not None
    client.delete(LOG)
    wait_until(lambda: ours.verdict(before) == GONE, 5.0)
    assert alls(client) == 1


def test_who_lags_behind_begins_a_lost_log_anew(server: RedisServer, client: redis.Redis) -> None:
    """Above all that others have known, and have stored by that."""
    lagging, ours = (process_at(server).without_follower() for _ in range(2))
    lagging.store.get("k")
    ours.purges.add(DOGS)
    assert lagging.last is not None
    assert ours.last is not None
    while ours.last[0] == lagging.last[0]:
        ours.purges.add(DOGS)
    known = ours.last

    client.delete(LOG)
    lagging.store.get("k")
    assert lagging.verdict(known) == GONE


def test_a_log_that_went_back(server: RedisServer, client: redis.Redis) -> None:
    """A backup lacks the latest purges: what it says next is above all that was known."""
    ours = process_at(server).without_follower()
    ours.purges.add(DOGS)
    dump = client.dump(LOG)
    ours.purges.add(CATS)
    known = ours.last
    assert known is not None

    client.restore(LOG, 0, dump, replace=True)
    ours.store.get("k")
    assert ours.verdict(known) == GONE
    assert ours.last is not None
    assert ours.last > known
    newcomer = process_at(server).without_follower()
    newcomer.store.get("k")
    assert newcomer.verdict(known) == GONE


def test_a_log_that_went_back_and_on(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asked in between, and the latest record has a later id than the one that is lost."""
    ours = process_at(server).without_follower()
    ours.purges.add(CATS)
    known = ours.last
    assert known is not None
    client.delete(LOG)
    client.xadd(LOG, {"tag": "dog"}, id=f"{known[0] + 1}-0")

    ours.store.get("k")
    assert ours.verdict(known) == GONE
    assert len(records(client)) == 1
    assert len(caplog.messages) == 1
    assert " has lost purges, so everything " in caplog.messages[0]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_log_that_was_trimmed(server: RedisServer, client: redis.Redis, kept: int) -> None:
    """Who lags behind cannot know what it has missed; one that is empty keeps its last id."""
    lagging, ours = (process_at(server).without_follower() for _ in range(2))
    lagging.store.get("k")
    before = lagging.last
    assert before is not None
    ours.purges.add(*[DOGS] * 20)
    client.xtrim(LOG, maxlen=kept, approximate=False)

    lagging.store.get("k")
    assert lagging.verdict(before) == GONE
    assert lagging.last is not None
    assert lagging.verdict(lagging.last) == VALID
    assert len(records(client)) == 1


def test_the_log_is_bounded(server: RedisServer, client: redis.Redis) -> None:
    """By about as many records as it is to keep."""
    ours = process_at(server, most=1000).without_follower()
    ours.purges.add(*[DOGS] * 3000)
    assert 1000 <= client.xlen(LOG) < 1200


def test_an_id_near_the_last_one_and_then_no_log(server: RedisServer, client: redis.Redis) -> None:
    """Whoever removes the log ends what somebody has done to it, as the docs say."""
    ours = process_at(server).without_follower()
    ours.store.get("k")
    client.xadd(LOG, {"tag": "cats"}, id="18446744073709551615-5")
    ours.store.get("k")
    assert ours.last == (18446744073709551615, 5)
    client.delete(LOG)
    ours.store.get("k")
    assert ours.purges.known() is not None
    ours.purges.add(CATS)
    ours.store.get("k")
    assert len(records(client)) == 2


@pytest.mark.parametrize("fields", [{b"\xff": b"\xfe"}, {b"tag": b"\xff"}, {b"from": b"later"}])
def test_a_record_of_nonsense_purges_everything(
    server: RedisServer, client: redis.Redis, fields: dict[bytes, bytes]
) -> None:
    """Another release may have written it."""
    ours = process_at(server).without_follower()
    ours.store.get("k")
    before = ours.last
    assert before is not None
    client.xadd(LOG, fields)
    ours.store.get("k")
    assert ours.verdict(before) == GONE


def test_another_type_of_key_is_an_outage(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Views answer until somebody removes it."""
    client.set(LOG, "x")
    ours = process_at(server)
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        ours.store.get("k")
    with pytest.raises(StoreUnavailable, match=r"not all is purged: .*WRONGTYPE"):
        ours.purges.add(CATS)
    assert ours.purges.known() is None
    client.delete(LOG)
    ours.purges.add(CATS)
    wait_until(lambda: ours.is_followed)
    assert [line for line in caplog.messages if " refuses something, " not in line] == []


def is_replaced(client: redis.Redis, *processes: Process) -> None:
    """Have it become another server, as a replica that takes over does, and all connect anew."""
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    client.execute_command("REPLICAOF", "NO", "ONE")
    client.client_kill_filter(_type="normal", skipme=True)
    replid = client.info("replication")["master_replid"][:8]
    wait_until(lambda: all(process.purges._here().reader.server == replid for process in processes))


def test_another_server_has_everything_forgotten_once(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """All processes notice, and one of them is enough. That holds for each time."""
    processes = [process_at(server) for _ in range(6)]
    wait_until(lambda: all(process.is_followed for process in processes))
    processes[0].purges.add(CATS)
    before = processes[0].last
    assert before is not None

    for times in (1, 2):
        is_replaced(client, *processes)
        assert alls(client) == 1 + times
        wait_until(lambda: all(process.verdict(before) == GONE for process in processes))
        lines = [line for line in caplog.messages if " is on another server, or on one " in line]
        assert len(lines) == times
    newcomer = process_at(server)
    wait_until(lambda: newcomer.is_followed)
    assert alls(client) == 3


def test_who_follows_has_the_log_name_its_server(server: RedisServer, client: redis.Redis) -> None:
    """Once, and nothing is purged by that; so a newcomer notices another server."""
    asking = process_at(server).without_follower()
    asking.store.get("k")
    before = asking.last
    assert before is not None
    assert records(client) == [{b"all": b""}]
    for _ in range(2):
        following = process_at(server)
        wait_until(lambda process=following: process.is_followed)
        assert following.verdict(before) == VALID
    replid = client.info("replication")["master_replid"][:8].encode()
    assert records(client) == [{b"all": b""}, {b"server": replid}]

    is_replaced(client)
    newcomer = process_at(server)
    wait_until(lambda: newcomer.is_followed)
    assert newcomer.verdict(before) == GONE


def test_another_server_may_be_trusted(server: RedisServer, client: redis.Redis) -> None:
    """What is purged from then on names it."""
    ours = process_at(server, clears=False)
    wait_until(lambda: ours.is_followed)
    ours.purges.add(CATS)
    before = ours.last
    assert before is not None
    is_replaced(client, ours)
    assert ours.verdict(before) == VALID
    ours.purges.add(DOGS)
    assert alls(client) == 1
    names = [fields[b"server"] for fields in records(client) if b"server" in fields]
    assert names[-1] != names[-2]


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_a_server_that_was_started_again(name: str) -> None:
    """From what it has on disk, which may lack the latest purges."""
    node = Node(binary(name))
    try:
        node.start()
        ours = Process(Links(Address(f"redis://{node.address}", timeout=5.0)))
        wait_until(lambda: ours.is_followed)
        ours.purges.add(CATS)
        before = ours.last
        assert before is not None
        node.run("SAVE")
        node.kill()
        node.start()
        wait_until(lambda: ours.is_followed and ours.verdict(before) == GONE)
        with node.admin() as client:
            assert [fields for _, fields in client.xrange(LOG) if "all" in fields][1:] != []
            assert client.xlen(LOG) == 3
    finally:
        node.remove()


@pytest.fixture(params=["valkey-server", "redis-server"])
def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Node, Node]]:
    """A master that runs, and a replica of it that does not yet; who follows them greets often."""
    monkeypatch.setattr(follower, "GREETING_SECONDS", 0.02)
    monkeypatch.setattr(follower, "BLOCK_SECONDS", 0.02)
    master = Node(binary(request.param))
    replica = Node(binary(request.param), f"replicaof {HOST} {master.port}")
    try:
        master.start()
        yield master, replica
    finally:
        for node in (master, replica):
            node.remove()


def process_of(node: Node) -> Process:
    """A process that uses *node*, and follows its log."""
    process = Process(Links(Address(f"redis://{node.address}", timeout=5.0)))
    wait_until(lambda: process.is_followed)
    return process


def linked(replica: Node) -> None:
    """Start *replica*, and return once it has what its master has."""
    replica.start()
    with replica.admin() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")


def test_a_master_that_gets_its_first_replica(pair: tuple[Node, Node]) -> None:
    """Its id changes then, as with a backup, and nothing was lost."""
    master, replica = pair
    ours = process_of(master)
    ours.purges.add(CATS)
    before = ours.last
    assert before is not None
    linked(replica)
    with master.admin() as client:
        asked = client.info("commandstats")["cmdstat_xread"]["calls"]
        wait_until(lambda: client.info("commandstats")["cmdstat_xread"]["calls"] > asked + 3)
    assert ours.verdict(before) == VALID


def test_a_replica_that_is_promoted_while_it_is_followed(pair: tuple[Node, Node]) -> None:
    """What its master may have lost is forgotten, though no connection was closed."""
    master, replica = pair
    linked(replica)
    at_master = process_of(master)
    at_master.purges.add(DOGS)
    before = at_master.last
    assert before is not None
    at_replica = process_of(replica)
    wait_until(lambda: at_replica.last == before)
    assert at_replica.verdict(before) == VALID
    replica.run("REPLICAOF", "NO", "ONE")
    wait_until(lambda: at_replica.verdict(before) == GONE)
