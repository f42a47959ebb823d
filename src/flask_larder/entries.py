"""Entries in the store, and in front of it those that the process remembers."""

from collections.abc import Sequence

from flask_larder import codec
from flask_larder.entry import Entry, Variants
from flask_larder.errors import CorruptEntry
from flask_larder.store import Memory, Store


class Entries:
    """Keeps entries in *store* as bytes, and in *memory* as they are, if there is one.

    Keys are those of :func:`flask_larder.key.stored_key`. What asks the store may raise
    ``StoreUnavailable``.
    """

    def __init__(self, store: Store, memory: Memory | None = None) -> None:
        self._store = store
        self._memory = memory

    @property
    def are_remembered(self) -> bool:
        """Whether processes go on using what they have read, until it is purged."""
        return self._memory is not None

    def remembered(self, key: str) -> Entry | None:
        """The entry in memory. The store may have another by now."""
        return None if self._memory is None else self._memory.get(key)

    def find(self, key: str) -> Entry | None:
        """As :meth:`read`; but a list of what varies, as the process remembers it for a while."""
        seen = None if self._memory is None else self._memory.seen(key)
        if seen is not None and isinstance(remembered := self.remembered(key), Variants):
            return remembered
        return self._read(key, seen)

    def read(self, key: str) -> Entry | None:
        """The entry in the store; ``None`` also for what is not one."""
        return self._read(key, None if self._memory is None else self._memory.seen(key))

    def _read(self, key: str, seen: object | None) -> Entry | None:
        data = self._store.get(key)
        try:
            entry = None if data is None else codec.decode_entry(data)
        except CorruptEntry:
            entry = None  # a miss, and what the view answers now replaces it
        if self._memory is not None:
            if entry is None:
                if seen is not None:
                    self._memory.drop([key])
            else:
                # Another thread may have stored something newer meanwhile.
                self._memory.put_after(seen, key, entry)
        return entry

    def keep(self, key: str, entry: Entry, ttl: float) -> bool:
        """Keep *entry* for *ttl* seconds; whether it was kept."""
        is_kept = self._store.set(key, codec.encode_entry(entry), ttl)
        if is_kept and self._memory is not None:
            self._memory.put(key, entry)
        return is_kept

    def delete(self, keys: Sequence[str]) -> int:
        """Forget *keys*, be they those of entries or of others; how many there were."""
        try:
            return self._store.delete(keys)
        finally:
            if self._memory is not None:
                self._memory.drop(keys)

    def clear(self) -> None:
        """Forget everything that is under the prefix of the store."""
        try:
            self._store.clear()
        finally:
            if self._memory is not None:
                self._memory.clear()
