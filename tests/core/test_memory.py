"""The store in memory: bounded in entries and bytes, safe among threads, left behind by a fork."""

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flask_larder.entry import StoredResponse, Variants
from flask_larder.memory import L1, MemoryStore, NullStore, Recent
from tests.targets import targets

THREADS = 50


class Clock:
    """Shows what it was set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def store(
    *, max_entries: int = 100, max_bytes: int = 1_000_000, clock: Callable[[], float] = lambda: 0.0
) -> MemoryStore:
    return MemoryStore(max_entries=max_entries, max_bytes=max_bytes, clock=clock)


def kept(memory: MemoryStore, keys: str) -> str:
    """Those of *keys* that are there, without using them: LRU order stays as it was."""
    return "".join(key for key in keys if key in memory._here().entries)


def test_an_entry_is_there_until_its_ttl_has_passed() -> None:
    """It goes at the very moment, for each way of asking."""
    clock = Clock()
    memory = store(clock=clock)
    memory.set("k", b"v", ttl=2.5)

    clock.now = 2.49
    assert (memory.get("k"), memory.get_many(["k"])) == (b"v", [b"v"])
    clock.now = 2.5
    assert (memory.get("k"), memory.get_many(["k"])) == (None, [None])


def test_an_expired_entry_is_no_obstacle_and_is_not_counted() -> None:
    """``add`` takes its place, and ``delete`` does not count it."""
    clock = Clock()
    memory = store(clock=clock)
    for key in "ab":
        memory.set(key, b"old", ttl=1.0)
    clock.now = 1.0

    assert memory.delete(["a"]) == 0
    assert memory.add("b", b"new", ttl=1.0)
    assert memory.get("b") == b"new"


def test_a_new_value_has_a_ttl_of_its_own() -> None:
    """Neither the remaining time of the one before it nor less."""
    clock = Clock()
    memory = store(clock=clock)
    memory.set("k", b"1", ttl=1.0)
    clock.now = 0.9
    memory.set("k", b"2", ttl=1.0)
    clock.now = 1.8

    assert memory.get("k") == b"2"


def test_the_least_recently_used_entry_goes_first() -> None:
    """Reading, asking and writing are use; being added long ago is none."""
    memory = store(max_entries=4)
    for key in "abcd":
        memory.set(key, b"", ttl=1.0)
    memory.get("a")
    memory.get_many(["b"])
    memory.get("c")

    memory.set("e", b"", ttl=1.0)
    assert kept(memory, "abcde") == "abce"
    memory.set("a", b"again", ttl=1.0)
    memory.add("f", b"", ttl=1.0)
    assert kept(memory, "abcdef") == "acef"


def test_an_add_that_finds_something_is_a_use_of_it() -> None:
    """It looked at the entry, and did not replace it."""
    memory = store(max_entries=2)
    for key in "ab":
        memory.set(key, key.encode(), ttl=1.0)

    assert not memory.add("a", b"other", ttl=1.0)
    memory.set("c", b"", ttl=1.0)

    assert kept(memory, "abc") == "ac"
    assert memory.get("a") == b"a"


def test_bytes_are_bounded() -> None:
    """Thousands of entries of any size stay below the bound, and the newest is always there."""
    memory = store(max_entries=10_000, max_bytes=100_000)

    for number in range(3000):
        value = b"x" * (number * 37 % 5000)
        assert memory.set(f"key{number}", value, ttl=1.0)
        assert memory.get(f"key{number}") == value
        assert sum(len(entry) for _, entry in memory._here().entries.values()) <= 100_000
    assert len(memory._here().entries) > 10


def test_entries_cost_more_than_their_values() -> None:
    """A million empty values are not free: keys and the house-keeping count."""
    memory = store(max_entries=10**9, max_bytes=100_000)

    for number in range(5000):
        memory.set(f"{number:>100}", b"", ttl=1.0)

    assert len(memory._here().entries) < 1000


def test_what_alone_exceeds_the_bound_is_not_kept_and_drives_nothing_out() -> None:
    """It says so; and what was there under the same key is gone rather than outdated."""
    memory = store(max_bytes=10_000)
    memory.set("a", b"small", ttl=1.0)
    memory.set("b", b"small", ttl=1.0)

    assert not memory.set("b", b"x" * 10_000, ttl=1.0)

    assert memory.get("a") == b"small"
    assert memory.get("b") is None
    assert not memory.add("c", b"x" * 10_000, ttl=1.0)


def test_no_entries_at_all_may_be_allowed() -> None:
    """Then nothing is kept, and nothing is raised."""
    memory = store(max_entries=0)

    assert not memory.set("a", b"", ttl=1.0)
    assert memory.get("a") is None


def test_the_count_of_bytes_ends_where_it_began() -> None:
    """Overwriting, deleting, expiring and clearing give back exactly what was taken."""
    clock = Clock()
    memory = store(clock=clock)
    for key in "abcd":
        memory.set(key, b"x" * 10, ttl=1.0)
        memory.set(key, b"x" * 1000, ttl=1.0)
    memory.delete(["a", "a", "missing"])
    memory.add("b", b"other", ttl=1.0)
    clock.now = 1.0
    for key in "bcd":
        memory.get(key)
    assert memory._here().size_bytes == 0

    memory.set("e", b"x", ttl=1.0)
    memory.clear()
    assert memory._here().size_bytes == 0


class BoundedStore(RuleBasedStateMachine):
    """The store against a model of it: an LRU of the same bounds, written another way."""

    KEYS = st.sampled_from(["a", "b", "c", "dd", "eee"])
    VALUES = st.integers(0, 1200).map(lambda size: b"x" * size)

    @initialize(entries=st.integers(1, 4), size=st.integers(300, 3000))
    def begin(self, entries: int, size: int) -> None:
        self.clock = Clock()
        self.memory = store(max_entries=entries, max_bytes=size, clock=self.clock)
        self.entries, self.size = entries, size
        self.model: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    def cost(self) -> int:
        return sum(len(key) + len(value) + 200 for key, (_, value) in self.model.items())

    def expire(self, key: str) -> bool:
        if key in self.model and self.model[key][0] <= self.clock.now:
            del self.model[key]
        return key in self.model

    @rule(key=KEYS, value=VALUES, ttl=st.integers(1, 5))
    def set(self, key: str, value: bytes, ttl: int) -> None:
        fits = len(key) + len(value) + 200 <= self.size
        assert self.memory.set(key, value, ttl) == fits
        self.model.pop(key, None)
        if fits:
            self.model[key] = (self.clock.now + ttl, value)
        while len(self.model) > self.entries or self.cost() > self.size:
            self.model.popitem(last=False)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        expected = self.model[key][1] if self.expire(key) else None
        if expected is not None:
            self.model.move_to_end(key)
        assert self.memory.get(key) == expected

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.memory.delete([key]) == int(self.expire(key))
        self.model.pop(key, None)

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def bounds_hold(self) -> None:
        if hasattr(self, "model"):
            contents = self.memory._here()
            assert len(contents.entries) <= self.entries
            assert contents.size_bytes == self.cost() <= self.size
            assert list(contents.entries) == list(self.model)


BoundedStore.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class TestBoundedStore(BoundedStore.TestCase):
    """Any sequence of operations leaves the store within its bounds and as the model has it."""


@pytest.fixture
def _switches_often() -> Iterator[None]:
    """Let threads take turns so often that one is interrupted wherever it may be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], object]) -> None:
    """Run *work* in 50 threads that begin together."""
    barrier = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.usefixtures("_switches_often")
def test_threads_lose_nothing() -> None:
    """Fifty threads write, delete and count: each key is kept once and deleted once."""
    memory = store(max_entries=100_000, max_bytes=10**9)
    deleted: list[int] = []

    def work(number: int) -> None:
        for step in range(100):
            memory.set(f"{number}-{step}", b"x" * step, ttl=1.0)
            memory.set("shared", b"y" * step, ttl=1.0)
            if step % 2:
                deleted.append(memory.delete([f"{number}-{step}", f"{number}-{step - 1}"]))

    at_once(work)

    assert sum(deleted) == THREADS * 100
    assert list(memory._here().entries) == ["shared"]
    memory.delete(["shared"])
    assert memory._here().size_bytes == 0


@pytest.mark.usefixtures("_switches_often")
def test_threads_stay_within_the_bounds() -> None:
    """Fifty threads that drive each other's entries out leave the count exact."""
    memory = store(max_entries=20, max_bytes=10_000)

    def work(number: int) -> None:
        for step in range(100):
            memory.set(f"{number % 7}-{step % 11}", b"x" * (step * 7), ttl=1.0)
            memory.get(f"{(number + 1) % 7}-{step % 11}")

    at_once(work)

    entries = memory._here().entries
    assert 1 <= len(entries) <= 20
    memory.delete(list(entries))
    assert memory._here().size_bytes == 0


def test_nobody_comes_between_looking_and_keeping() -> None:
    """Fifty threads add one key, and the clock lets others run in the middle: one of them wins."""

    def slow_clock() -> float:
        time.sleep(0.001)
        return 0.0

    memory = store(clock=slow_clock)
    won: list[int] = []

    def work(number: int) -> None:
        if memory.add("k", str(number).encode(), ttl=1.0):
            won.append(number)

    at_once(work)

    assert [memory.get("k")] == [str(number).encode() for number in won]


def look_around(memory: MemoryStore, answer: Connection) -> None:
    found = memory.get("k")
    memory.set("k", b"child", ttl=1.0)
    answer.send((found, memory.get("k")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_leaves_contents_and_lock_behind() -> None:
    """A child begins empty, does not wait for a lock that its parent held, and changes nothing."""
    memory = store()
    memory.set("k", b"parent", ttl=1.0)
    forked = get_context("fork")
    ours, theirs = forked.Pipe()

    with memory._here().lock:  # as another thread may hold it at that very moment
        child = forked.Process(target=look_around, args=(memory, theirs))
        child.start()
    try:
        assert ours.poll(10), "the child waits for a lock that nobody will release"
        assert ours.recv() == (None, b"child")
    finally:
        child.kill()
        child.join()

    assert memory.get("k") == b"parent"


class Thing:
    """Takes as much as it says."""

    def __init__(self, size_bytes: int, *, is_used: bool = False) -> None:
        self.size_bytes = size_bytes
        self.is_used = is_used


Things = Recent[str, Thing]


def held(recent: Things) -> str:
    return "".join(recent._values)


def is_counted(recent: Things) -> bool:
    return recent.size_bytes == sum(thing.size_bytes for thing in recent._values.values())


def test_the_oldest_goes_unless_it_was_used() -> None:
    """It has a second chance, and goes at the next time if nobody has used it again."""
    recent = Things(30)
    for key in "abc":
        recent.put(key, Thing(10, is_used=key == "a"))
    recent.put("d", Thing(10))
    assert held(recent) == "cad"
    recent.put("e", Thing(10))
    recent.put("f", Thing(10))
    assert held(recent) == "def"


def test_what_comes_stays_where_all_else_was_used() -> None:
    """It is not the one to go, though all others moved behind it."""
    recent = Things(30)
    for key in "abc":
        recent.put(key, Thing(10, is_used=True))
    assert recent.put("d", Thing(10))
    assert held(recent) == "bcd"


def test_not_all_that_was_used_is_looked_through() -> None:
    """After twenty chances the oldest goes, so that to put costs the same for many."""
    recent = Things(1000)
    things = [Thing(10, is_used=True) for _ in range(100)]
    for number, thing in enumerate(things):
        recent.put(str(number), thing)
    recent.put("new", Thing(10))
    assert sum(thing.is_used for thing in things) == 80
    assert recent.get("20") is None
    assert len(recent) == 100


def test_what_is_too_big_is_not_kept() -> None:
    """Nor what it was to replace; all others stay."""
    recent = Things(30)
    for key in "ab":
        recent.put(key, Thing(10))
    assert recent.put("big", Thing(30))
    assert held(recent) == "big"
    recent.put("a", Thing(10))
    assert not recent.put("a", Thing(31))
    assert (held(recent), recent.size_bytes) == ("", 0)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 60), st.booleans()), max_size=60)
)
def test_the_bound_holds_at_each_step(steps: list[tuple[str, int, bool]]) -> None:
    """In bytes, counted exactly; what was put is there, and what was dropped is not."""
    recent = Things(100)
    for key, size_bytes, is_used in steps:
        if size_bytes == 60:
            recent.drop(key)
            assert recent.get(key) is None
        else:
            thing = Thing(size_bytes * 2, is_used=is_used)
            assert recent.put(key, thing) == (size_bytes <= 50)
            assert recent.get(key) is (thing if size_bytes <= 50 else None)
        assert is_counted(recent)
        assert recent.size_bytes <= 100


@pytest.mark.usefixtures("_switches_often")
def test_threads_stay_within_the_bytes() -> None:
    """Fifty threads put, look, use and drop: the count is exact in the end, and never above."""
    recent, most = Things(1000), [0]

    def work(number: int) -> None:
        for step in range(100):
            key = str((number * step) % 37)
            recent.put(key, Thing(step))
            if (found := recent.get(str(step % 37))) is not None:
                found.is_used = True
            if step % 5 == 0:
                recent.drop(key)
            most[0] = max(most[0], recent.size_bytes)

    at_once(work)
    assert is_counted(recent)
    assert 0 < most[0] <= 1000
    recent.clear()
    assert (len(recent), recent.size_bytes) == (0, 0)


def response(body: bytes = b"body", query: str = "", **fields: str) -> StoredResponse:
    hit_by = targets(path="/", query=query)
    return StoredResponse(
        "http://a", 200, tuple(fields.items()), body, 0.0, 60.0, (1, 0), targets=hit_by
    )


def l1(max_bytes: int = 1_000_000, clock: Callable[[], float] = lambda: 0.0) -> L1:
    return L1(max_bytes=max_bytes, seconds=10.0, clock=clock)


def test_an_entry_is_remembered_for_a_while() -> None:
    """Then the store is asked again, and what it has counts from then."""
    clock, entry = Clock(), response()
    tier = l1(clock=clock)
    tier.put("k", entry)
    clock.now = 9.9
    assert tier.get("k") is entry
    clock.now = 10.0
    assert tier.get("k") is None
    tier.put("k", entry)
    clock.now = 19.9
    assert tier.get("k") is entry


def test_entries_are_forgotten() -> None:
    """Some or all, also those that were never there."""
    tier = l1()
    for key in "abc":
        tier.put(key, Variants(("accept",)))
    tier.drop(["a", "x"])
    assert (tier.get("a"), tier.get("b")) == (None, Variants(("accept",)))
    tier.clear()
    assert tier.get("b") is None


@pytest.mark.parametrize(
    "entry", [response(b"x" * 5000), response(query="x" * 5000), response(b"", name="x" * 5000)]
)
def test_what_is_long_counts(entry: StoredResponse) -> None:
    """Body, URL and fields."""
    tier = l1()
    tier.put("k", entry)
    assert 5000 < tier.here().size_bytes < 10_000


def use(tier: L1, answer: Connection) -> None:
    found = tier.get("k")
    tier.put("k", response(b"child"))
    answer.send((found, tier.get("k")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_leaves_the_tier_behind() -> None:
    """As it does with the store."""
    tier, forked = l1(), get_context("fork")
    tier.put("k", response())
    ours, theirs = forked.Pipe()
    with tier.here()._lock:  # as another thread may hold it at that very moment
        child = forked.Process(target=use, args=(tier, theirs))
        child.start()
    try:
        assert ours.poll(10), "the child waits for a lock that nobody will release"
        assert ours.recv() == (None, response(b"child"))
    finally:
        child.kill()
        child.join()
    assert tier.get("k") == response()


def test_the_null_store_keeps_nothing_and_says_that_all_went_well() -> None:
    """Code that stores and looks up runs as if there were a cache that has just been emptied."""
    null = NullStore()

    assert null.set("k", b"v", ttl=1.0)
    assert null.add("k", b"v", ttl=1.0)
    assert null.add("k", b"v", ttl=1.0)
    assert null.get("k") is None
    assert null.get_many(["k", "l"]) == [None, None]
    assert null.delete(["k"]) == 0
    null.clear()
    null.ping(timeout=0.1)


def test_what_the_engine_finds_counts_as_used() -> None:
    """And stays when the memory is full."""
    memory = L1(max_bytes=5_000, seconds=10.0, clock=lambda: 0.0)
    for key in "ab":
        memory.put(key, Variants(()))
    assert memory.get("a")
    memory.put("c", Variants(()))
    assert [memory.get(key) is not None for key in "abc"] == [True, False, True]


def test_what_was_read_before_something_newer_was_stored_is_not_remembered() -> None:
    """The process that has stored it would send the older one until it asks again."""
    memory = L1(max_bytes=100_000, seconds=10.0, clock=lambda: 0.0)
    seen = memory.seen("k")
    memory.put("k", Variants(("newer",)))
    memory.put_after(seen, "k", Variants(("older",)))
    assert memory.get("k") == Variants(("newer",))
    memory.put_after(memory.seen("k"), "k", Variants(("newest",)))
    assert memory.get("k") == Variants(("newest",))
