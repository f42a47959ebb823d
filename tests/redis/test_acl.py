"""The rights that the documentation names are enough, and none of them is too many."""

from collections.abc import Iterator

import pytest

from flask_larder.errors import StoreUnavailable
from flask_larder.key import FORMAT
from flask_larder.purges import ALL, Purge
from flask_larder.redis import (
    Address,
    AnyLinks,
    ClusterAddress,
    ClusterLinks,
    Links,
    RedisLeases,
    RedisPurges,
    RedisStore,
)
from flask_larder.redis.purge_log import NAME
from tests.redis_nodes import Cluster, Node, binary, documented, wait_until

PREFIX = "flask_cache_"
KEY = f"{FORMAT}k"
COMMANDS = [rule for rule in documented("larder") if rule.startswith("+")]


@pytest.fixture(scope="module", params=["valkey-server", "redis-server"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """Each kind of server in turn."""
    node = Node(binary(request.param))
    try:
        yield node.start()
    finally:
        node.remove()


def does_everything(links: AnyLinks) -> bool:
    """Whether all that a store, leases and a log of purges can do is done."""
    options = {"most": 1000, "unwatched_seconds": 5.0}
    purges = RedisPurges(links, PREFIX, **options)
    store = RedisStore(links, PREFIX, purges)
    leases = RedisLeases(links, PREFIX, life_seconds=60.0, most_seconds=60.0)
    try:
        store.ping(5.0)
        store.clear()
        links.ask("UNLINK", PREFIX + NAME)
        done = [
            store.set(KEY, b"v", 60.0),
            not store.add(KEY, b"w", 60.0),
            store.get(KEY) == b"v",
            store.delete([KEY]) == 1,
        ]
        lease = leases.acquire(KEY)
        assert lease
        done.append(leases._keeper()._is_renewed(lease, 60.0))
        lease.release()
        done.append(leases.holder(KEY) is None)
        done.append(is_followed(purges, RedisPurges(links, PREFIX, **options)))
    except StoreUnavailable:
        return False
    finally:
        purges.stop()
    return all(done)


def is_followed(purges: RedisPurges, others: RedisPurges) -> bool:
    """Whether a thread hears of purges as they come, at a server that it knows."""
    here, theirs = purges._here(), others._here()
    wait_until(lambda: here.reader.server or here.follower._refused)
    others.add(Purge((ALL,)))
    wait_until(lambda: here.reader.table.last == theirs.reader.table.last)
    return not here.follower._refused


def links_to(node: Node) -> Links:
    return Links(Address(f"redis://larder:secret@{node.address}", timeout=5.0))


def test_the_documented_rights_are_enough(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """On one server, for all keys of the default prefix."""
    node.allow("larder", "reset", *_of_a_server())

    assert does_everything(links_to(node))
    assert caplog.messages == []


def _of_a_server() -> list[str]:
    return [rule for rule in documented("larder") if rule not in ELSEWHERE]


OF_CLUSTERS = ["+cluster|info", "+cluster|slots", "+asking"]
OF_WATCHED = ["+role"]
ELSEWHERE = OF_CLUSTERS + OF_WATCHED


@pytest.mark.parametrize("rule", [rule for rule in COMMANDS if rule not in ELSEWHERE])
def test_each_right_is_needed(node: Node, rule: str) -> None:
    """Without any one of them something does not work."""
    assert rule.startswith("+")
    node.allow("larder", "reset", *_of_a_server(), f"-{rule[1:]}")

    links = links_to(node)
    # A renewal that is refused is taken for one that is late; the script itself is told apart.
    done = does_everything(links)
    if rule == "+pexpire":
        script = "return redis.call('PEXPIRE', KEYS[1], 1)"
        with pytest.raises(StoreUnavailable, match=r"refuses|away"):
            links.ask("EVAL", script, "1", f"{PREFIX}{KEY}")
    else:
        assert not done


def test_keys_of_others_are_out_of_reach(node: Node) -> None:
    """A user of ours can neither read nor write them."""
    node.allow("larder", "reset", *_of_a_server())
    others = RedisStore(links_to(node), "others_")

    for operate in (lambda: others.get(KEY), lambda: others.set(KEY, b"v", 60.0)):
        with pytest.raises(StoreUnavailable, match="refuses"):
            operate()


def test_the_documented_rights_are_enough_on_a_cluster(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while a slot moves; without one of the further ones they are not."""
    url = f"redis+cluster://larder:secret@{cluster.masters[0].address}"
    address = ClusterAddress.of(url, lambda url: Address(url, timeout=5.0))
    assert does_everything(ClusterLinks(address))
    assert caplog.messages == []

    for rule in OF_CLUSTERS[:2]:
        for each in cluster.masters:
            each.run("ACL", "SETUSER", "larder", f"-{rule[1:]}")
        try:
            assert not does_everything(ClusterLinks(address))
        finally:
            for each in cluster.masters:
                each.run("ACL", "SETUSER", "larder", rule)
