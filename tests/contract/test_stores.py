"""What every store does, whichever it is. One table of stores; each test runs on each of them."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_larder.errors import StoreUnavailable
from flask_larder.filesystem import FileStore
from flask_larder.key import FORMAT
from flask_larder.memcached import MemcachedStore
from flask_larder.memory import MemoryStore, NullStore
from flask_larder.redis import (
    Address,
    ClusterAddress,
    ClusterLinks,
    Links,
    RedisStore,
    SentinelMaster,
)
from flask_larder.signed import SignedStore
from flask_larder.signing import Signer
from flask_larder.store import Store
from tests.conftest import MemcachedServer
from tests.redis_nodes import MASTER, Cluster, Watched, documented

THREADS = 50
LONG = 600.0
KEY = FORMAT + "key:name"


@dataclass(frozen=True)
class House:
    """Makes stores of one kind; those of one prefix that share a place show each other's."""

    store: Callable[[str], Store]
    shares: bool
    """Whether two stores with one prefix see the same entries."""

    many: int = 2000
    """How many entries are many."""

    clears: bool = True
    """Whether a store can forget all entries of its prefix, and no others."""


@pytest.fixture
def memory_house() -> House:
    def store(prefix: str) -> Store:
        return MemoryStore(max_entries=10_000, max_bytes=100_000_000, clock=time.monotonic)

    return House(store, shares=False)


@pytest.fixture
def redis_house(redis_url: str, patient_address: Callable[[str], Address]) -> House:
    return House(lambda prefix: RedisStore(Links(patient_address(redis_url)), prefix), shares=True)


@pytest.fixture
def filesystem_house(tmp_path: Path) -> House:
    def store(prefix: str) -> Store:
        return FileStore(tmp_path / "cache", prefix, threshold=10_000, patience=20.0)

    return House(store, shares=True, many=200)  # it counts them each time


@pytest.fixture
def memcached_house(memcached: MemcachedServer) -> House:
    def store(prefix: str) -> Store:
        servers = [str(memcached.socket)]
        return MemcachedStore(servers, prefix, connect_timeout=20.0, timeout=20.0)

    return House(store, shares=True, clears=False)


@pytest.fixture
def signed_house(redis_house: House) -> House:
    def store(prefix: str) -> Store:
        signer = Signer([b"a secret of the tests"], prefix)
        return SignedStore(redis_house.store(prefix), signer, clock=time.monotonic)

    return House(store, shares=True)


@pytest.fixture
def sentinel_house(watched: Watched, patient_address: Callable[[str], Address]) -> House:
    watched.master.run("FLUSHALL")
    watched.master.allow("contract", "reset", *documented("larder"), "allkeys")
    sentinels = [patient_address(f"redis://{node.address}") for node in watched.sentinels]
    master = SentinelMaster(MASTER, sentinels, patient_address("redis://contract:secret@"))
    return House(lambda prefix: RedisStore(Links(master), prefix), shares=True)


@pytest.fixture
def cluster_house(cluster: Cluster, patient_address: Callable[[str], Address]) -> House:
    for node in cluster.masters:
        node.run("FLUSHALL")
        node.allow("contract", "reset", *documented("larder"), "allkeys")
    url = f"redis+cluster://contract:secret@{cluster.masters[0].address}"
    address = ClusterAddress.of(url, patient_address)
    return House(lambda prefix: RedisStore(ClusterLinks(address), prefix), shares=True)


HOUSES = [
    "memory_house",
    "redis_house",
    "sentinel_house",
    "cluster_house",
    "filesystem_house",
    "memcached_house",
    "signed_house",
]


@pytest.fixture(params=HOUSES, ids=[name.removesuffix("_house") for name in HOUSES])
def house(request: pytest.FixtureRequest) -> House:
    """Each kind of store in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, House)
    return found


@pytest.fixture
def store(house: House) -> Store:
    """One store of each kind in turn, empty."""
    return house.store("prefix_")


def test_nothing_is_there_at_first(store: Store) -> None:
    """A key that was never set has no bytes."""
    assert store.get(KEY) is None
    assert store.get_many([KEY, KEY]) == [None, None]
    assert store.delete([KEY]) == 0


def test_what_was_set_is_there(store: Store) -> None:
    """Set says that it was kept, and every way of asking finds it."""
    assert store.set(KEY, b"value", LONG) is True

    assert store.get(KEY) == b"value"
    assert store.get_many([KEY]) == [b"value"]


def test_a_later_value_replaces_an_earlier_one(store: Store) -> None:
    """Whatever was there, also a longer value."""
    store.set(KEY, b"a long value", LONG)
    assert store.set(KEY, b"v", LONG) is True

    assert store.get(KEY) == b"v"


@pytest.mark.parametrize(
    "value",
    [b"", b"\0", b"\r\n$-1\r\n", bytes(range(256)), b"\xff\xfe", b"x" * 2_000_000],
    ids=["empty", "nul", "protocol", "every byte", "no text", "two megabytes"],
)
def test_bytes_come_back_as_they_are(store: Store, value: bytes) -> None:
    """Empty is not absent, and no byte means anything to the store."""
    assert store.set(KEY, value, LONG)

    found = store.get(KEY)
    assert found == value
    assert type(found) is bytes
    assert not store.add(KEY, b"other", LONG)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.dictionaries(
        st.text(st.characters(codec="ascii"), max_size=20), st.binary(max_size=50)
    )
)
def test_any_bytes_under_any_keys_come_back(store: Store, entries: dict[str, bytes]) -> None:
    """Keys, too, may hold whatever a request can put into them."""
    for key, value in entries.items():
        store.set(key, value, LONG)

    assert store.get_many(list(entries)) == list(entries.values())
    assert store.delete(list(entries)) == len(entries)


def test_many_are_found_in_their_order(store: Store) -> None:
    """Each key has its answer at its place, also twice, and none is no question."""
    store.set("a", b"1", LONG)
    store.set("b", b"2", LONG)

    assert store.get_many(["b", "missing", "a", "b"]) == [b"2", None, b"1", b"2"]
    assert store.get_many([]) == []


def test_add_keeps_only_what_is_new(store: Store) -> None:
    """The first one wins; after a delete there is a first one again."""
    assert store.add(KEY, b"first", LONG) is True
    assert store.add(KEY, b"second", LONG) is False
    assert store.get(KEY) == b"first"

    store.delete([KEY])
    assert store.add(KEY, b"third", LONG) is True


@pytest.fixture
def _switches_often() -> Iterator[None]:
    """Let threads take turns so often that one is interrupted wherever it may be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switches_often")
def test_of_many_adds_at_once_exactly_one_wins(store: Store) -> None:
    """Fifty threads at a barrier, for ten keys: one wins each, and its value is what stays."""
    keys = [f"{FORMAT}key:{number}" for number in range(10)]
    barrier = threading.Barrier(THREADS)

    def add(number: int) -> list[bool]:
        won = []
        for key in keys:
            barrier.wait()
            won.append(store.add(key, str(number).encode(), LONG))
        return won

    with ThreadPoolExecutor(THREADS) as threads:
        won = list(threads.map(add, range(THREADS)))

    for index, key in enumerate(keys):
        winners = [number for number in range(THREADS) if won[number][index]]
        assert len(winners) == 1
        assert store.get(key) == str(winners[0]).encode()


def test_of_many_adds_to_what_is_there_none_wins(store: Store) -> None:
    """Fifty threads at a barrier change nothing."""
    store.set(KEY, b"present", LONG)
    barrier = threading.Barrier(THREADS)

    def add(_: int) -> bool:
        barrier.wait()
        return store.add(KEY, b"other", LONG)

    with ThreadPoolExecutor(THREADS) as threads:
        assert not any(threads.map(add, range(THREADS)))
    assert store.get(KEY) == b"present"


def test_delete_counts_what_there_was(store: Store) -> None:
    """Missing ones and repetitions do not count; the others stay."""
    for key in "abc":
        store.set(key, b"v", LONG)

    assert store.delete(["a", "b", "a", "missing"]) == 2
    assert store.get_many(["a", "b", "c"]) == [None, None, b"v"]
    assert store.delete(["a"]) == 0
    assert store.delete([]) == 0


@pytest.mark.usefixtures("_switches_often")
def test_of_many_deletes_at_once_exactly_one_counts(store: Store) -> None:
    """Fifty threads at a barrier: what was there once is deleted once."""
    store.set(KEY, b"v", LONG)
    barrier = threading.Barrier(THREADS)

    def delete(_: int) -> int:
        barrier.wait()
        return store.delete([KEY])

    with ThreadPoolExecutor(THREADS) as threads:
        assert sum(threads.map(delete, range(THREADS))) == 1


def test_an_entry_expires(store: Store) -> None:
    """After its time nothing is there, and what lasts longer still is."""
    store.set("short", b"v", 0.05)
    store.set("long", b"v", LONG)

    await_that(lambda: store.get("short") is None)

    assert store.get_many(["short", "long"]) == [None, b"v"]
    assert store.get("short") is None
    assert store.delete(["short"]) == 0
    assert store.add("short", b"v", LONG)


def test_the_shortest_time_is_a_time(store: Store) -> None:
    """Less than a millisecond is neither an error nor for ever."""
    assert store.set(KEY, b"v", 1e-9)

    await_that(lambda: store.get(KEY) is None)


def await_that(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_clear_forgets_everything_or_says_that_it_cannot(house: House) -> None:
    """However many there are, and an empty store may be cleared. None pretends."""
    store = house.store("prefix_")
    if not house.clears:
        store.set(KEY, b"v", LONG)
        with pytest.raises(StoreUnavailable, match="cannot forget"):
            store.clear()
        assert store.get(KEY) == b"v"
        return
    store.clear()
    keys = [f"{FORMAT}key:{number}" for number in range(house.many)]
    for key in keys:
        store.set(key, b"v", LONG)

    store.clear()

    assert store.get_many(keys) == [None] * house.many
    assert store.delete(keys) == 0


PREFIXES = [
    "",
    "a",
    "ab",
    "*",
    "a*",
    "?",
    "[a-z]",
    "[",
    "]",
    "\\",
    "a\\",
    "\\*",
    "^",
    "[^a]",
    "é",
    " ",
    "a:",
    "{a}",
    "x" * 240,
    "x" * 241,
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_forgotten_is_of_one_prefix(house: House, prefix: str) -> None:
    """Characters that mean something in a pattern mean themselves, and a beginning is no prefix."""
    stores = {name: house.store(name) for name in PREFIXES}
    keys = [KEY, f"{FORMAT}view/http://a/*?[x]\\"]
    for store in stores.values():
        for key in keys:
            store.set(key, b"v", LONG)

    if house.clears:
        stores[prefix].clear()
    else:
        stores[prefix].delete(keys)

    left = [name for name, store in stores.items() if store.get_many(keys) == [b"v", b"v"]]
    gone = [name for name, store in stores.items() if store.get_many(keys) == [None, None]]
    assert gone == [prefix]
    assert left == [name for name in PREFIXES if name != prefix]


def test_stores_of_one_prefix_share_and_others_do_not(house: House) -> None:
    """A shared store is shared by prefix; each prefix has a world of its own."""
    one, same, other = house.store("a"), house.store("a"), house.store("b")
    one.set(KEY, b"v", LONG)

    assert same.get(KEY) == (b"v" if house.shares else None)
    assert other.get(KEY) is None
    assert other.delete([KEY]) == 0
    assert one.get(KEY) == b"v"


def test_a_store_that_is_there_answers_a_ping(store: Store) -> None:
    """It returns, and within the time that it was given."""
    started = time.monotonic()

    store.ping(timeout=5.0)

    assert time.monotonic() - started < 5.0


def test_the_null_store_has_the_same_methods() -> None:
    """It stands in for any store: the same questions, and nothing is ever there."""
    store: Store = NullStore()
    keys: Sequence[str] = [KEY, "other"]

    assert store.set(KEY, b"v", LONG) is True
    assert store.get_many(keys) == [None, None]
    assert store.delete(keys) == 0
    store.clear()
    store.ping(timeout=1.0)


@pytest.mark.parametrize("ttl", [0.5, 1.0, 1.001, 29.9, 50.0, 365 * 24 * 3600.0])
@pytest.mark.parametrize("method", ["set", "add"])
def test_each_key_in_redis_has_its_ttl(
    redis_house: House, redis_client: redis.Redis, ttl: float, method: str
) -> None:
    """Exact to the millisecond, fractions included, and never without one."""
    store = redis_house.store("p_")
    started = time.monotonic()

    assert getattr(store, method)(KEY, b"v", ttl)
    remaining_ms = redis_client.pttl(f"p_{KEY}")

    passed_ms = (time.monotonic() - started) * 1000
    assert ttl * 1000 - passed_ms - 2 <= remaining_ms <= ttl * 1000 + 1


def test_a_new_value_in_redis_has_a_new_ttl(redis_house: House, redis_client: redis.Redis) -> None:
    """Overwriting neither keeps the old time nor makes the key persist."""
    store = redis_house.store("p_")
    store.set(KEY, b"v", 1000.0)
    store.set(KEY, b"w", 5.0)

    assert 4000 < redis_client.pttl(f"p_{KEY}") <= 5000


def test_a_key_in_redis_is_prefix_and_key(redis_house: House, redis_client: redis.Redis) -> None:
    """Who looks sees a string under a readable key, and its bytes as they are."""
    redis_house.store("shop_").set(KEY, b"larder1d\x01", LONG)

    assert redis_client.keys() == [b"shop_larder1:key:name"]
    assert redis_client.type("shop_larder1:key:name") == b"string"
    assert redis_client.get("shop_larder1:key:name") == b"larder1d\x01"


@pytest.mark.parametrize("occupy", ["rpush", "sadd"])
def test_a_key_of_another_type_is_no_obstacle(
    redis_house: House, redis_client: redis.Redis, occupy: str
) -> None:
    """Somebody's list at our key is a miss, not an error, and is replaced."""
    store = redis_house.store("p_")
    getattr(redis_client, occupy)(f"p_{KEY}", "x")
    assert store.get(KEY) is None
    assert store.get_many(["other", KEY]) == [None, None]

    assert store.set(KEY, b"v", LONG) is True

    assert store.get(KEY) == b"v"
    assert redis_client.pttl(f"p_{KEY}") > 0


def test_clear_leaves_what_is_not_ours(redis_house: House, redis_client: redis.Redis) -> None:
    """Keys of others stay, also those that begin with our prefix but not with our format."""
    foreign = ["p_", "p_session", "p_larder2:key:name", "larder1:key:name", "xp_larder1:key:name"]
    for key in foreign:
        redis_client.set(key, b"theirs")
    store = redis_house.store("p_")
    store.set(KEY, b"ours", LONG)

    store.clear()

    assert sorted(redis_client.keys()) == sorted(key.encode() for key in foreign)
