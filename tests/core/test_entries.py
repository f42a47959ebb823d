"""Entries in a store, and in front of it those that the process remembers."""

import pytest

from flask_larder.codec import encode_entry
from flask_larder.entries import Entries
from flask_larder.entry import Variants
from flask_larder.memory import L1, MemoryStore
from tests.core.test_memory import Clock

OLD, NEW = Variants(("old",)), Variants(("new",))


class Place:
    """A store of another process's too, and what one process has in front of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(max_entries=10, max_bytes=10_000, clock=lambda: 0.0)
        self.memory = L1(max_bytes=100_000, seconds=10.0, clock=self.clock)
        self.entries = Entries(self.store, self.memory)


class Interrupted(MemoryStore):
    """Has something happen once it has been asked, before who has asked gets the answer."""

    def __init__(self) -> None:
        super().__init__(max_entries=10, max_bytes=10_000, clock=lambda: 0.0)
        self.meanwhile = lambda: None

    def get(self, key: str) -> bytes | None:
        found = super().get(key)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return found


@pytest.fixture
def place() -> Place:
    return Place()


def test_what_is_read_or_kept_is_remembered(place: Place) -> None:
    """For a while, whatever others do to the store."""
    assert place.entries.read("k") is place.entries.remembered("k") is None
    place.store.set("k", encode_entry(OLD), 60.0)
    assert place.entries.read("k") == place.entries.remembered("k") == OLD
    assert place.entries.keep("l", NEW, 60.0)
    place.store.clear()
    assert place.entries.remembered("k") == OLD
    assert place.entries.remembered("l") == NEW
    place.clock.now = 10.0
    assert place.entries.remembered("k") is None


def test_what_was_stored_while_an_older_one_was_read_stays() -> None:
    """The very process that has stored it would send the older one until it asks again."""
    store = Interrupted()
    entries = Entries(store, L1(max_bytes=100_000, seconds=10.0, clock=lambda: 0.0))
    store.set("k", encode_entry(OLD), 60.0)
    store.meanwhile = lambda: entries.keep("k", NEW, 60.0)
    assert entries.read("k") == OLD
    assert entries.remembered("k") == NEW


@pytest.mark.parametrize("forget", ["delete", "clear", "read"])
def test_what_the_store_no_longer_has_is_forgotten(place: Place, forget: str) -> None:
    """When this process deletes it, or sees that it is gone; and then it takes no memory."""
    place.entries.keep("k", OLD, 60.0)
    if forget == "delete":
        assert place.entries.delete(["k"]) == 1
    elif forget == "clear":
        place.entries.clear()
    else:
        place.store.clear()
        assert place.entries.read("k") is None
    assert place.entries.remembered("k") is None
    assert len(place.memory.here()) == 0


def test_without_memory_each_look_asks_the_store() -> None:
    """And nobody has to be told of what is deleted."""
    store = MemoryStore(max_entries=10, max_bytes=10_000, clock=lambda: 0.0)
    entries = Entries(store)
    assert entries.keep("k", OLD, 60.0)
    assert entries.remembered("k") is None
    assert not entries.are_remembered
    store.clear()
    assert entries.read("k") is None
