"""Values of the application, by name, in the same store as the responses."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from flask_larder import codec
from flask_larder.entries import Entries
from flask_larder.entry import NO_TARGETS, Position, StoredResponse, StoredValue
from flask_larder.errors import CorruptEntry, StoreUnavailable
from flask_larder.flask.purging import purges_of
from flask_larder.key import HashMethod, stored_key
from flask_larder.purges import VALID, PurgeLog, Target
from flask_larder.recency import Recency
from flask_larder.store import Store

NO_VALUE: Final = object()
"""Stands for "nothing is there", so that a stored ``None`` is a value."""


class Values:
    """Stores plain data under names. Where the store is away, nothing is there or kept.

    What *purges* hit is not there. Only what forgets raises ``StoreUnavailable``, since it must not
    pretend. A *timeout* is in seconds.
    """

    def __init__(
        self, store: Store, entries: Entries, purges: PurgeLog, hash_method: HashMethod
    ) -> None:
        self._store = store
        self._entries = entries
        self.recency: Final = Recency(purges, is_heard_enough=entries.are_remembered)
        self._purges = purges
        self._hash_method = hash_method

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        """The value under each of *keys*, made by ``named_key``, or :data:`NO_VALUE`."""
        try:
            found = self._store.get_many([self.stored(key) for key in keys])
        except StoreUnavailable:
            return [NO_VALUE] * len(keys)
        return [decoded(self._judged(data)) for data in found]

    def get_stored(self, key: str) -> StoredValue | None:
        """What is stored under *key*, not yet decoded, or ``None``."""
        return self.look(key)[0]

    def look(self, key: str) -> tuple[StoredValue | None, Position | None]:
        """As :meth:`get_stored`, with the latest purge that who looks has seen by that."""
        try:
            found = self._judged(self._store.get(self.stored(key)))
        except StoreUnavailable:
            return None, None
        return found, self._purges.position()

    def set(self, key: str, value: object, timeout: float) -> bool:
        """Keep *value*, made now; returns whether it was kept. Raises ``UnstorableValue``."""
        data = codec.encode_value(value)
        return self.keep(key, StoredValue(data, self.position(), NO_TARGETS), timeout)

    def keep(self, key: str, value: StoredValue, timeout: float) -> bool:
        """Keep *value*; returns whether it was kept.

        One that nobody could judge later is not, nor one that a purge has hit: something newer may
        be there.
        """
        if not self._is_valid(value):
            return False
        try:
            return self._store.set(self.stored(key), codec.encode_stored_value(value), timeout)
        except StoreUnavailable:
            return False

    def add(self, key: str, value: object, timeout: float) -> bool:
        """Keep *value* if nothing is there, atomically; returns whether it was kept.

        What was purged goes first. Of several that meet such a value, and only then, more than one
        may be told that theirs was kept.
        """
        added = StoredValue(codec.encode_value(value), self.position(), NO_TARGETS)
        if added.position is None:
            return False
        try:
            data, at = codec.encode_stored_value(added), self.stored(key)
            if self._store.add(at, data, timeout):
                return True
            present = self._store.get(at)
            if present is not None and (self._purges.known() is None or self._is_there(present)):
                return False
            if present is not None:
                self._store.delete([at])
            return self._store.add(at, data, timeout)
        except StoreUnavailable:
            return False

    def has(self, *keys: str) -> bool:
        """Whether something is under one of them, a value or a response."""
        try:
            found = self._store.get_many([self.stored(key) for key in keys])
        except StoreUnavailable:
            return False
        return any(data is not None and self._is_there(data) for data in found)

    def delete(self, *keys: str) -> int:
        """Forget what is there; returns how many were. Raises ``StoreUnavailable``."""
        stored = [self.stored(key) for key in keys]
        found = self._store.get_many(stored)
        count = sum(data is not None and self._is_there(data) for data in found)
        self._entries.delete(stored)
        self._forget_everywhere(
            key for key, data in zip(keys, found, strict=True) if data and codec.is_entry(data)
        )
        return count

    def _forget_everywhere(self, keys: Iterable[str]) -> None:
        """Have all variants of the responses under *keys* forgotten, and in all processes.

        A purge names a key as :class:`~flask_larder.entry.Targets` do, whatever the store's digest.
        """
        targets: list[Target] = [("key", stored_key(key)) for key in keys]
        if targets and self._purges.reaches:
            self._purges.add(*purges_of(targets, soft=False))

    def stored(self, key: str) -> str:
        """*key* as the store has it."""
        return stored_key(key, self._hash_method)

    def position(self) -> Position | None:
        """The latest purge that is known now, after a look at the log where none is."""
        self._purges.load()
        return self._purges.position()

    def _judged(self, data: bytes | None) -> StoredValue | None:
        """The value in *data*, if it is one and may be used."""
        if data is None or self._purges.known() is None:
            return None
        try:
            value = codec.decode_stored_value(data)
        except CorruptEntry:
            return None
        return value if self._is_valid(value) else None

    def _is_valid(self, value: StoredValue) -> bool:
        """Whether no purge hits *value*, as far as is known; a value has no time when it is stale.

        One without a position is not valid: nobody could judge it later.
        """
        made = value.position
        return made is not None and self.recency.verdict(made, made, value.targets) == VALID

    def _is_there(self, data: bytes) -> bool:
        """Whether *data* is something that was not purged."""
        if self._judged(data) is not None:
            return True
        try:
            entry = codec.decode_entry(data)
        except CorruptEntry:
            return False
        table = self._purges.known()
        if not isinstance(entry, StoredResponse) or table is None or entry.position is None:
            return table is not None
        return not table.verdict(entry.position, entry.targets).is_gone


def decoded(value: StoredValue | None) -> Any:
    """The value, or :data:`NO_VALUE` for nothing and for what is not what this release writes."""
    try:
        return NO_VALUE if value is None else codec.decode_value(value.data)
    except CorruptEntry:
        return NO_VALUE
