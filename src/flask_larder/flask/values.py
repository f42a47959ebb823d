"""Values of the application, by name, in the same store as the responses."""

from collections.abc import Sequence
from typing import Any, Final

from flask_larder import codec
from flask_larder.errors import CorruptEntry, StoreUnavailable
from flask_larder.key import HashMethod, stored_key
from flask_larder.store import Store

NO_VALUE: Final = object()
"""Stands for "nothing is there", so that a stored ``None`` is a value."""


class Values:
    """Stores plain data under names. Where the store is away, nothing is there or kept.

    Only what forgets raises ``StoreUnavailable``, since it must not pretend. A *timeout* is in
    seconds.
    """

    def __init__(self, store: Store, hash_method: HashMethod) -> None:
        self._store = store
        self._hash_method = hash_method

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        """The value under each of *keys*, made by ``named_key``, or :data:`NO_VALUE`."""
        try:
            found = self._store.get_many([self.stored(key) for key in keys])
        except StoreUnavailable:
            return [NO_VALUE] * len(keys)
        return [decoded(data) for data in found]

    def get_encoded(self, key: str) -> bytes | None:
        """What is stored under *key*, not yet decoded, or ``None``."""
        try:
            return self._store.get(self.stored(key))
        except StoreUnavailable:
            return None

    def set(self, key: str, value: object, timeout: float) -> bool:
        """Keep *value*; returns whether it was kept. Raises ``UnstorableValue``."""
        return self.set_encoded(key, codec.encode_value(value), timeout)

    def set_encoded(self, key: str, data: bytes, timeout: float) -> bool:
        """Keep what ``encode_value`` has made; returns whether it was kept."""
        try:
            return self._store.set(self.stored(key), data, timeout)
        except StoreUnavailable:
            return False

    def add(self, key: str, value: object, timeout: float) -> bool:
        """Keep *value* if nothing is there, atomically; returns whether it was kept."""
        data = codec.encode_value(value)
        try:
            return self._store.add(self.stored(key), data, timeout)
        except StoreUnavailable:
            return False

    def has(self, key: str) -> bool:
        """Whether something is there."""
        try:
            return self._store.has(self.stored(key))
        except StoreUnavailable:
            return False

    def delete(self, *keys: str) -> int:
        """Forget what is there; returns how many were. Raises ``StoreUnavailable``."""
        return self._store.delete([self.stored(key) for key in keys])

    def stored(self, key: str) -> str:
        """*key* as the store has it."""
        return stored_key(key, self._hash_method)


def decoded(data: bytes | None) -> Any:
    """The value, or :data:`NO_VALUE` for nothing and for what is not what this release writes."""
    try:
        return NO_VALUE if data is None else codec.decode_value(data)
    except CorruptEntry:
        return NO_VALUE
