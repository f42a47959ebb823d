"""The log of purges behind Sentinels and in a Cluster, also when a server fails."""

import time
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from flask_larder.purges import GONE
from flask_larder.redis import Address, AnyLinks, ClusterAddress, ClusterLinks, Links
from flask_larder.redis.sentinel import SentinelMaster
from tests.purge_processes import CATS, LOG, Process
from tests.redis_nodes import MASTER, Cluster, Node, Watched, binary, wait_until

SLOT = key_slot(LOG.encode())


def links_to(servers: Watched | Cluster) -> AnyLinks:
    """Links of a patient process, whose user has all rights."""
    if isinstance(servers, Watched):
        sentinels = [Address(f"redis://{node.address}", timeout=5.0) for node in servers.sentinels]
        address = Address("redis://", timeout=5.0, connect_timeout=5.0)
        return Links(SentinelMaster(MASTER, sentinels, address))
    url = f"redis+cluster://{servers.masters[0].address},{servers.masters[1].address}"
    return ClusterLinks(ClusterAddress.of(url, lambda url: Address(url, timeout=5.0)))


@pytest.fixture
def own_watched() -> Iterator[Watched]:
    """A master behind Sentinels, of the test's own."""
    watched = Watched(binary("valkey-server"))
    try:
        yield watched.start()
    finally:
        watched.remove()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A Cluster of the test's own, where each node has a replica."""
    cluster = Cluster(binary("valkey-server"), replicas=3)
    try:
        yield cluster.start()
    finally:
        cluster.remove()


def two_processes(servers: Watched | Cluster) -> tuple[Process, Process]:
    ours, others = (Process(links_to(servers), unwatched_seconds=1.0) for _ in range(2))
    wait_until(lambda: ours.is_followed and others.is_followed)
    return ours, others


@pytest.mark.parametrize("kind", ["watched", "cluster"])
def test_a_purge_reaches_the_others_within_a_second(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Without a look-up."""
    ours, others = two_processes(request.getfixturevalue(kind))
    for _ in range(5):
        ours.purges.add(CATS)
        wait_until(lambda: others.last == ours.last, 1.0)


def test_the_first_request_in_a_cluster_knows_the_purges(cluster: Cluster) -> None:
    """It reads the log by itself, rather than wait for the thread or go without."""
    process = Process(links_to(cluster)).without_follower()
    assert process.store.get("k") is None
    assert process.purges.known() is not None


def test_the_log_moves_to_another_node(cluster: Cluster) -> None:
    """A thread follows it there, where nobody knows whether it is complete."""
    ours, others = two_processes(cluster)
    ours.purges.add(CATS)
    before = ours.last
    assert before is not None
    source = cluster.owner_of(SLOT)
    target = next(node for node in cluster.masters if node is not source)
    cluster.move(SLOT, source, target)
    try:
        wait_until(lambda: ours.is_followed and others.is_followed and alls(target) == 2)
        ours.purges.add(CATS)
        wait_until(lambda: others.last == ours.last)
        assert others.verdict(before) == GONE
    finally:
        cluster.move(SLOT, target, source)


def alls(node: Node) -> int:
    with node.admin() as client:
        return sum("all" in fields for _, fields in client.xrange(LOG))


def test_a_master_behind_sentinels_is_replaced(own_watched: Watched) -> None:
    """Whoever notices has everything forgotten, which the old master might have known more of."""
    ours, others = two_processes(own_watched)
    ours.purges.add(CATS)
    before = ours.last
    assert before is not None
    own_watched.master.run("WAIT", 1, 5000)
    known = alls(own_watched.replica)

    own_watched.master.kill()
    wait_until(lambda: ours.purges.known() is None)
    wait_until(lambda: ours.is_followed and others.is_followed)
    assert ours.verdict(before) == others.verdict(before) == GONE
    assert alls(own_watched.replica) == known + 1


def test_the_node_with_the_log_is_replaced(own_cluster: Cluster) -> None:
    """Until then, what others have stored is not used for long, since nobody hears of purges."""
    ours, others = two_processes(own_cluster)
    ours.purges.add(CATS)
    before = ours.last
    assert before is not None
    master = own_cluster.owner_of(SLOT)
    replica = own_cluster.replicas[own_cluster.masters.index(master)]
    known = alls(master)
    master.run("WAIT", 1, 5000)

    killed_at = time.monotonic()
    master.kill()
    wait_until(lambda: ours.purges.known() is None and others.purges.known() is None)
    assert time.monotonic() - killed_at < 10.0
    wait_until(lambda: ours.is_followed and others.is_followed, 40)
    assert ours.verdict(before) == others.verdict(before) == GONE
    assert alls(replica) == known + 1
