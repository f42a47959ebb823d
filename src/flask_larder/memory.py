"""What is in the memory of a process, bounded in bytes: a store, and a tier in front of another."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final


_OVERHEAD_BYTES: Final = 200
"""About what an entry costs beside its key and its value."""


@dataclass(slots=True)
class _Contents:
    """What one process keeps. A fork leaves it behind, since its lock may have been held."""

    pid: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    entries: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict)
    size_bytes: int = 0

    def put(self, key: str, expires: float, value: bytes) -> None:
        self.drop(key)
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
        self._contents = _Contents(os.getpid())

    def _here(self) -> _Contents:
        """What this very process keeps."""
        contents = self._contents
        if contents.pid != os.getpid():
            contents = self._contents = _Contents(os.getpid())
        return contents

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

    def has(self, key: str) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        return self.get(key) is not None

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

    def has(self, key: str) -> bool:  # noqa: ARG002
        """Nothing is ever there."""
        return False

    def delete(self, keys: Sequence[str]) -> int:  # noqa: ARG002
        """Nothing was there."""
        return 0

    def clear(self) -> None:
        """There is nothing to forget."""

    def ping(self, timeout: float) -> None:
        """Always there."""
