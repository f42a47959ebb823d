"""What is in the memory of a process, bounded in bytes: a store, and a tier in front of another."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from flask_larder.entry import Entry, StoredResponse
from flask_larder.per_process import PerProcess

_OVERHEAD_BYTES: Final = 200
"""About what an entry costs beside its key and its value."""


@dataclass(slots=True)
class _Contents:
    """What one process keeps. A fork leaves it behind, since its lock may have been held."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    entries: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict)
    size_bytes: int = 0

    def put(self, key: str, expires: float, value: bytes) -> None:
        self.entries[key] = (expires, value)
        self.size_bytes += _cost(key, value)

    def drop(self, key: str) -> bool:
        entry = self.entries.pop(key, None)
        if entry is None:
            return False
        self.size_bytes -= _cost(key, entry[1])
        return True


class MemoryStore:
    """Keeps the *max_entries* most recently used entries, and at most *max_bytes* of them.

    *clock* returns seconds on any scale that only goes forward.
    """

    def __init__(self, *, max_entries: int, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._here = PerProcess(_Contents)

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`."""
        here = self._here()
        with here.lock:
            return self._live(here, key)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`."""
        here = self._here()
        with here.lock:
            return [self._live(here, key) for key in keys]

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`. What alone exceeds the bound is not kept."""
        here = self._here()
        with here.lock:
            return self._put(here, key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        here = self._here()
        with here.lock:
            return self._live(here, key) is None and self._put(here, key, value, ttl)

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        here = self._here()
        with here.lock:
            return sum(self._live(here, key) is not None and here.drop(key) for key in keys)

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Store`."""
        here = self._here()
        with here.lock:
            here.entries.clear()
            here.size_bytes = 0

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`."""

    def _live(self, here: _Contents, key: str) -> bytes | None:
        entry = here.entries.get(key)
        if entry is None:
            return None
        expires, value = entry
        if expires <= self._clock():
            here.drop(key)
            return None
        here.entries.move_to_end(key)
        return value

    def _put(self, here: _Contents, key: str, value: bytes, ttl: float) -> bool:
        here.drop(key)
        if self._max_entries < 1 or _cost(key, value) > self._max_bytes:
            return False
        here.put(key, self._clock() + ttl, value)
        while len(here.entries) > self._max_entries or here.size_bytes > self._max_bytes:
            here.drop(next(iter(here.entries)))
        return True


def _cost(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD_BYTES


class NullStore:
    """Keeps nothing and says that all went well, so that code can run as if there were a cache."""

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        """Nothing is ever there."""
        return None

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Nothing is ever there."""
        return [None] * len(keys)

    def set(self, key: str, value: bytes, ttl: float) -> bool:  # noqa: ARG002
        """Pretend to keep it."""
        return True

    def add(self, key: str, value: bytes, ttl: float) -> bool:  # noqa: ARG002
        """Pretend that nothing was there."""
        return True

    def delete(self, keys: Sequence[str]) -> int:  # noqa: ARG002
        """Nothing was there."""
        return 0

    def clear(self) -> None:
        """There is nothing to forget."""

    def ping(self, timeout: float) -> None:
        """Always there."""


_MOST_CHANCES: Final = 20
"""How many of what was used go to the back of the queue for one that comes."""

_ENTRY_BYTES: Final = 1900
"""What an entry takes beside its body, with what is rendered of it."""

_FIELD_BYTES: Final = 200
"""What a header field takes beside its text, stored and rendered."""


class Sized(Protocol):
    """What :class:`Recent` keeps. Whoever uses it marks it as used."""

    is_used: bool

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)


class Recent(Generic[K, V]):
    """What was used recently, up to *max_bytes* of it, in one process.

    To look takes no lock and moves nothing; in place of that, whoever uses a value marks it. What
    is marked has a second chance when it is the oldest (the CLOCK algorithm).
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0
        self.get: Callable[[K], V | None] = self._values.get

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: K, value: V) -> bool:
        """Keep *value* in place of what was not used for long; not one that alone is too big."""
        with self._lock:
            return self._put(key, value)

    def put_after(self, seen: V | None, key: K, value: V) -> bool:
        """As :meth:`put`, if what is under *key* is still what was *seen* there."""
        with self._lock:
            return self._values.get(key) is seen and self._put(key, value)

    def drop(self, key: K) -> None:
        """Forget what is under *key*."""
        if key in self._values:  # most often it is not
            with self._lock:
                self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self.size_bytes = 0

    def _put(self, key: K, value: V) -> bool:
        if key in self._values:
            self._drop(key)
        size_bytes = value.size_bytes
        if size_bytes > self._max_bytes:
            return False
        if self.size_bytes + size_bytes > self._max_bytes:
            self._make_room(size_bytes)
        self._values[key] = value
        self.size_bytes += size_bytes
        return True

    def _make_room(self, size_bytes: int) -> None:
        """Before the new one is there, which would be next once all others have moved behind it."""
        chances = _MOST_CHANCES
        while self.size_bytes + size_bytes > self._max_bytes:
            key, oldest = next(iter(self._values.items()))
            if oldest.is_used and chances:
                chances -= 1
                oldest.is_used = False
                self._values.move_to_end(key)
            else:
                self._drop(key)

    def _drop(self, key: K) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self.size_bytes -= value.size_bytes


@dataclass(slots=True, eq=False)
class Remembered:
    """An *entry* as the store had it, which is to be asked again when the clock shows *until*.

    *rendered* is for whoever sends it: how that was done last.
    """

    entry: Entry
    until: float
    size_bytes: int
    is_used: bool = False
    rendered: Any = None


class L1:
    """The first tier: decoded entries, up to *max_bytes* of them, each for *seconds*.

    A :class:`~flask_larder.store.Memory`. *clock* returns seconds on any scale that only goes
    forward.
    """

    def __init__(self, *, max_bytes: int, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self.here: PerProcess[Recent[str, Remembered]] = PerProcess(lambda: Recent(max_bytes))

    def get(self, key: str) -> Entry | None:
        """See :class:`~flask_larder.store.Memory`."""
        found = self.here().get(key)
        if found is None or self._clock() >= found.until:
            return None
        found.is_used = True
        return found.entry

    def put(self, key: str, entry: Entry) -> None:
        """See :class:`~flask_larder.store.Memory`."""
        self.here().put(key, self._remembered(key, entry))

    def seen(self, key: str) -> Remembered | None:
        """See :class:`~flask_larder.store.Memory`."""
        return self.here().get(key)

    def put_after(self, seen: object | None, key: str, entry: Entry) -> None:
        """See :class:`~flask_larder.store.Memory`."""
        self.here().put_after(cast("Remembered | None", seen), key, self._remembered(key, entry))

    def _remembered(self, key: str, entry: Entry) -> Remembered:
        return Remembered(entry, self._clock() + self._seconds, len(key) + _size_of(entry))

    def drop(self, keys: Sequence[str]) -> None:
        """See :class:`~flask_larder.store.Memory`."""
        here = self.here()
        for key in keys:
            here.drop(key)

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Memory`."""
        self.here().clear()


def _size_of(entry: Entry) -> int:
    if not isinstance(entry, StoredResponse):
        return _ENTRY_BYTES
    size = _ENTRY_BYTES + len(entry.body) + len(entry.value or b"")
    for name, value in entry.fields:
        size += len(name) + len(value) + _FIELD_BYTES
    targets = entry.targets
    for tag in targets.tags:
        size += len(tag) + _OVERHEAD_BYTES
    query = targets.query or ""
    return size + len(entry.origin) + len(targets.path) + len(query) + len(targets.key)
