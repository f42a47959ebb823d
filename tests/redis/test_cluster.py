"""A Cluster: each key on the node of its slot, while slots move and nodes come and go."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from redis.crc import key_slot

from flask_larder.errors import InvalidConfig, StoreUnavailable
from flask_larder.key import FORMAT
from flask_larder.redis import (
    Address,
    ClusterAddress,
    ClusterLinks,
    Links,
    RedisLeases,
    RedisStore,
    slots,
)
from flask_larder.store import UNASKED
from tests.conftest import RedisServer
from tests.core.test_coalesce import Ended
from tests.redis_nodes import HOST, Cluster, Node, binary, wait_until

LONG = 600.0
PREFIX = "flask_cache_"
KEYS = [f"{FORMAT}{number}" for number in range(60)]


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A Cluster of the test's own, whose nodes need not be complete to serve."""
    cluster = Cluster(binary("valkey-server"))
    try:
        cluster.start()
        for node in cluster.nodes:
            node.run("CONFIG", "SET", "cluster-require-full-coverage", "no")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are asked again after 20 ms, so that a test need not wait for a second."""
    monkeypatch.setattr(slots, "LOOK_SECONDS", 0.02)


@pytest.fixture
def looks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are asked who serves what in the beginning only."""
    monkeypatch.setattr(slots, "LOOK_SECONDS", 1000.0)


def address(*nodes: Node, timeout: float = 5.0) -> ClusterAddress:
    hosts = ",".join(node.address for node in nodes)
    return ClusterAddress.of(
        f"redis+cluster://larder:secret@{hosts}",
        lambda url: Address(url, timeout=timeout, connect_timeout=5.0),
    )


def store_on(*nodes: Node, timeout: float = 5.0) -> RedisStore:
    links = ClusterLinks(address(*nodes, timeout=timeout))
    return RedisStore(links, PREFIX)


def slot_of(key: str) -> int:
    return key_slot(f"{PREFIX}{key}".encode())


def key_of(cluster: Cluster, node: Node) -> str:
    """A key that lives on *node* in the beginning."""
    return next(key for key in KEYS if cluster.owner_of(slot_of(key)) is node)


def test_each_key_lives_on_its_node(cluster: Cluster) -> None:
    """All nodes have some, and whichever is known finds the others."""
    for node in cluster.masters:
        node.run("FLUSHALL")
    store = store_on(cluster.masters[2])
    for key in KEYS:
        assert store.set(key, key.encode(), LONG)

    sizes = [node.run("DBSIZE") for node in cluster.masters]
    assert sum(map(int, map(str, sizes))) == len(KEYS)
    assert 0 not in sizes
    assert store.get_many(KEYS) == [key.encode() for key in KEYS]
    assert store.delete(KEYS) == len(KEYS)


def test_leases_live_on_a_cluster(cluster: Cluster) -> None:
    """They are had once, renewed, told apart and given back, on every node."""
    leases = RedisLeases(
        ClusterLinks(address(*cluster.masters)), PREFIX,
        life_seconds=1.0, most_seconds=60.0,
    )  # fmt: skip
    keys = KEYS[:12]
    held = {key: leases.acquire(key) for key in keys}
    assert None not in held.values()
    until = time.monotonic() + 2.0  # two lives
    while time.monotonic() < until:
        assert {leases.acquire(key) for key in keys} == {None}
        time.sleep(0.05)
    assert len({leases.holder(key) for key in keys}) == len(keys)

    for lease in held.values():
        assert lease
        lease.release()

    assert {leases.holder(key) for key in keys} == {None}


def test_leases_and_looks_on_a_cluster(cluster: Cluster) -> None:
    """The lease, on another node than what is looked for, is asked for and ended alone."""
    links = ClusterLinks(address(*cluster.masters))
    leases = RedisLeases(links, PREFIX, life_seconds=30.0, most_seconds=60.0)
    store = RedisStore(links, PREFIX)
    for key in KEYS[:12]:
        lease, holder = leases.acquire_and_look(key, lambda key=key: leases.holder(key))
        assert lease
        assert holder
        assert leases.acquire_and_look(key, lambda key=key: store.get(key)) == (None, None)
        assert leases.look_and_acquire(key, lambda key=key: store.get(key)) == (UNASKED, None)
        assert store.set(key, b"v", LONG)
        assert leases.holder(key) == holder
        lease.release()
        assert leases.holder(key) is None


def test_nodes_need_not_say_their_host(cluster: Cluster) -> None:
    """Behind one address that leads to all, a node tells only the port of another."""
    for node in cluster.masters:
        node.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
    try:
        store = store_on(cluster.masters[0])
        for key in KEYS:
            assert store.set(key, b"v", LONG)
        store._links._here().owners[:] = [(HOST, cluster.masters[0].port)] * 16_384
        assert store.get_many(KEYS) == [b"v"] * len(KEYS)  # by MOVED
    finally:
        for node in cluster.masters:
            node.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


def test_a_seed_may_be_away(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """One that answers is enough, and nothing is logged."""
    url = f"redis+cluster://larder:secret@{HOST}:1,{cluster.masters[0].address}"
    links = ClusterLinks(ClusterAddress.of(url, lambda url: Address(url, timeout=5.0)))

    assert RedisStore(links, PREFIX).set(KEYS[0], b"v", LONG)
    assert caplog.messages == []


def test_a_seed_may_hang(cluster: Cluster) -> None:
    """It does not take all of the time; who is behind it is asked as well."""
    with socket.create_server((HOST, 0)) as hanging:
        seeds = f"{HOST}:{hanging.getsockname()[1]},{cluster.masters[0].address}"
        links = ClusterLinks(
            ClusterAddress.of(
                f"redis+cluster://larder:secret@{seeds}",
                lambda url: Address(url, timeout=5.0, connect_timeout=1.0),
            )
        )
        links.ping(2.0)
        RedisStore(links, PREFIX).set(KEYS[0], b"v", LONG)


@pytest.mark.usefixtures("looks_once")
def test_moved_is_followed_and_remembered(
    own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The request that hears of it gets its answer, and the next one asks the right node."""
    source, target, _ = own_cluster.masters
    key = key_of(own_cluster, source)
    store = store_on(source)
    store.set(key, b"v", LONG)

    own_cluster.move(slot_of(key), source, target)

    assert store.get(key) == b"v"
    source.run("CONFIG", "RESETSTAT")
    assert store.get(key) == b"v"
    with source.admin() as client:
        assert "cmdstat_mget" not in client.info("commandstats")
    assert store.delete([key]) == 1
    assert caplog.messages == []


def test_a_slot_that_is_moving_is_served(
    own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """What has moved is found and deleted there, what has not where it was; new keys go there."""
    source, target, _ = own_cluster.masters
    key = key_of(own_cluster, source)
    slot = slot_of(key)
    tag = f"{{{PREFIX}{key}}}"  # puts keys of other names into the same slot
    links = ClusterLinks(address(*own_cluster.masters))
    for node in own_cluster.masters:
        node.allow("larder", "allkeys")
    store = RedisStore(links, tag)
    assert key_slot(f"{tag}old".encode()) == slot
    for name in ("old", "older", "moves"):
        store.set(name, name.encode(), LONG)

    own_cluster.begin_to_move(slot, source, target)
    source.run("MIGRATE", HOST, target.port, f"{tag}moves", 0, 5000)
    store.set("new", b"new", LONG)

    assert source.run("CLUSTER", "COUNTKEYSINSLOT", slot) == 2
    assert target.run("CLUSTER", "COUNTKEYSINSLOT", slot) == 2
    names = ["old", "new", "moves", "missing"]
    assert store.get_many(names) == [b"old", b"new", b"moves", None]
    assert not store.add("moves", b"other", LONG)
    assert store.get("new") is not None
    assert store.delete([*names, "older"]) == 4
    assert caplog.messages == []


def test_clear_finds_all_nodes(own_cluster: Cluster) -> None:
    """Also one that has got its first slot a moment ago."""
    source, target, _ = own_cluster.masters
    store = store_on(source)
    for key in KEYS:
        store.set(key, b"v", LONG)
    key = key_of(own_cluster, source)
    own_cluster.move(slot_of(key), source, target)

    store.clear()

    assert [node.run("DBSIZE") for node in own_cluster.masters] == [0, 0, 0]


@pytest.mark.usefixtures("looks_often")
def test_a_node_that_is_away_does_not_lock_out_the_others(
    own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Two lines, which name it; the keys of the others are served all the time."""
    down, *others = own_cluster.masters
    lost, kept = key_of(own_cluster, down), [key_of(own_cluster, node) for node in others]
    store = store_on(*own_cluster.masters)
    for key in [lost, *kept]:
        store.set(key, b"v", LONG)
    down.kill()

    for _ in range(50):
        with pytest.raises(StoreUnavailable, match=f"{HOST}:{down.port}"):
            store.get(lost)
        assert store.get_many(kept) == [b"v", b"v"]
    with pytest.raises(StoreUnavailable):
        store.clear()  # which must not pretend

    down.start()
    wait_until(lambda: _does(lambda: store.set(lost, b"v", LONG)))
    away, back = caplog.messages
    name = f"Redis node {HOST}:{down.port}"
    assert away.startswith(f"{name} is away, views answer without it: ")
    assert back.startswith(f"{name} is back after ")


def _does(operate: Callable[[], object]) -> bool:
    try:
        return bool(operate())
    except StoreUnavailable:
        return False


@pytest.mark.usefixtures("looks_often")
def test_a_node_that_hangs_costs_few_timeouts(own_cluster: Cluster) -> None:
    """Its keys cost nothing after the first ones, and those of the others never."""
    down, other, _ = own_cluster.masters
    lost, kept = key_of(own_cluster, down), key_of(own_cluster, other)
    store = store_on(*own_cluster.masters, timeout=0.25)
    store.set(lost, b"v", LONG)
    store.set(kept, b"v", LONG)
    down.suspend()
    began = time.monotonic()

    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            store.get(lost)
        assert store.get(kept) == b"v"

    assert time.monotonic() - began < 5 * 0.25
    down.resume()


def test_a_cluster_that_is_down_is_told_by_node_and_comes_back(
    own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that refuses to serve, as a part of an incomplete Cluster, is away until it serves."""
    incomplete, node, _ = own_cluster.masters
    key = key_of(own_cluster, node)
    store = store_on(*own_cluster.masters)
    store.set(key, b"v", LONG)
    for each in own_cluster.masters:
        each.run("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    slot = slot_of(key_of(own_cluster, incomplete))
    for each in own_cluster.masters:
        each.run("CLUSTER", "DELSLOTS", slot)
    wait_until(lambda: not own_cluster.is_serving(node))

    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            store.get(key)
    assert len(caplog.messages) == 1
    with pytest.raises(StoreUnavailable):
        store.ping(5.0)

    for each in own_cluster.masters:
        each.run("CONFIG", "SET", "cluster-require-full-coverage", "no")
    wait_until(lambda: _does(lambda: store.get(key)))
    away, back = caplog.messages
    assert away.startswith(f"Redis node {HOST}:{node.port} is away, views answer without it: ")
    assert back.startswith(f"Redis node {HOST}:{node.port} is back after ")


def test_a_slot_that_nobody_serves_is_no_outage_of_a_node(
    own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Other keys of the same node are served."""
    node = own_cluster.masters[0]
    lost = key_of(own_cluster, node)
    kept = next(key for key in KEYS if key != lost and own_cluster.owner_of(slot_of(key)) is node)
    store = store_on(*own_cluster.masters)
    store.set(kept, b"v", LONG)
    for each in own_cluster.masters:
        each.run("CLUSTER", "DELSLOTS", slot_of(lost))

    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            store.get(lost)
        assert store.get(kept) == b"v"
    assert len(caplog.messages) <= 1  # "refuses", unless it was noticed before


@pytest.mark.usefixtures("looks_often")
def test_where_no_node_answers_there_is_one_line(
    own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """And requests do not wait; then one when it is back."""
    seed = own_cluster.masters[0]
    seed.kill()
    store = store_on(seed)
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(StoreUnavailable, match=f"{HOST}:{seed.port}"):
            store.get("k")
    assert time.monotonic() - began < 5

    seed.start()
    wait_until(lambda: _does(lambda: store.set(KEYS[0], b"v", LONG)))
    away, back = caplog.messages
    assert away.startswith("Redis Cluster is away, views answer without it: ")
    assert "secret" not in away
    assert back.startswith("Redis Cluster is back after ")


def test_a_server_alone_is_no_cluster(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which type of cache would do."""
    node = Node(binary("valkey-server")).start()
    address = ClusterAddress.of(f"redis+cluster://{node.address}", Address)
    try:
        with pytest.raises(StoreUnavailable):
            RedisStore(ClusterLinks(address), "").get("k")
        wait_until(lambda: caplog.messages)
        assert "cluster support disabled" in caplog.messages[0]
        assert "set CACHE_TYPE to RedisCache" in caplog.messages[0]
    finally:
        node.remove()


def test_a_node_of_a_cluster_is_no_server_alone(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which type of cache would do."""
    url = f"redis://larder:secret@{cluster.masters[0].address}"
    store = RedisStore(Links(Address(url, timeout=5.0)), PREFIX)
    key = key_of(cluster, cluster.masters[1])

    with pytest.raises(StoreUnavailable):
        store.get(key)

    assert "set CACHE_TYPE to RedisClusterCache" in caplog.messages[0]


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis+cluster://h/3", {}, "no database but 0, and 3 is set; remove it"),
        ("redis+cluster://h?db=3", {}, "no database but 0"),
        ("redis+cluster://h", {"db": 3}, "no database but 0"),
        ("redis+cluster://h,,i", {}, "give for example redis\\+cluster://host:6379,other:6379"),
        ("redis+cluster://", {}, "give for example"),
        ("unix+cluster:///tmp/s", {}, "give for example"),
        ("http://h", {}, "give for example"),
        ("redis+cluster://h:1,i:port", {}, "malformed"),
        ("redis+cluster://u:s3c,ret@h,i:99999", {}, "malformed"),
        ("redis+cluster://u:s3c/ret@h", {}, "malformed|no address"),
        ("redis+cluster://h?shoe_size=43", {}, "shoe_size"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused(
    url: str, options: dict[str, object], words: str
) -> None:
    """When it is made, without the password."""
    with pytest.raises(InvalidConfig, match=words) as raised:
        ClusterAddress.of(url, lambda one: Address(one, options=options))
    assert "s3c" not in str(raised.value)
    assert "ret" not in str(raised.value).replace("secret", "")


def test_an_address_of_nodes() -> None:
    """User, options and TLS are the same for all; commas may stand in a password."""
    url = "rediss+cluster://me:a,b@h:1, [::1]:2/0?socket_keepalive=true"
    found = ClusterAddress.of(url, Address)

    assert [seed.url for seed in found.seeds] == [
        "rediss://me:a,b@h:1/0?socket_keepalive=true",
        "rediss://me:a,b@[::1]:2/0?socket_keepalive=true",
    ]
    assert found.node(("fe80::1", 7)).url == "rediss://me:a,b@[fe80::1]:7/0?socket_keepalive=true"
    assert found.node(("i", 7)).name == "Redis node i:7"
    assert "a,b" not in f"{found} {found!r}"


@pytest.mark.parametrize("node", [("127.0.0.1", 0), ("127.0.0.1", 70000), ("a b", 1)])
def test_a_node_that_cannot_be_is_an_outage(cluster: Cluster, node: tuple[str, int]) -> None:
    """It is told of by a Cluster for TLS alone, or by one that talks nonsense."""
    links = ClusterLinks(address(*cluster.masters))
    assert links.ask("GET", PREFIX + "larder1:k") in {None, b"v"}
    slots = links._here()
    slots.owners[:] = [node] * len(slots.owners)
    with pytest.raises(StoreUnavailable):
        links.ask("GET", PREFIX + "larder1:k")
    slots.look(5.0)  # the seeds still know better
    assert links.ask("GET", PREFIX + "larder1:k") in {None, b"v"}


def test_who_is_ended_while_it_has_the_nodes_asked_leaves_that_to_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would ever ask them again."""
    links = ClusterLinks(address(*cluster.masters))

    def end(*_: object) -> bool:
        raise Ended

    with monkeypatch.context() as patched:
        patched.setattr(slots, "start", end)
        with pytest.raises(Ended):
            links.ask("GET", PREFIX + "larder1:k")
    assert links.ask("GET", PREFIX + "larder1:k") in {None, b"v"}
