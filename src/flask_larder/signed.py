"""A store in which only what we have signed is found."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from flask_larder.errors import CorruptEntry
from flask_larder.per_process import PerProcess
from flask_larder.signing import Signer
from flask_larder.store import Store

_log = logging.getLogger("flask_larder")

_SILENCE_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Refusals:
    """What one process has refused since it last told."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    silent_until: float = -math.inf


class SignedStore:
    """Signs what goes into *store*, and finds there only what *signer* verifies.

    Anything else is as good as absent, and the next value for its key replaces it. How many were
    refused is logged, once a minute at most. *clock* returns seconds on a scale that only goes
    forward.
    """

    def __init__(self, store: Store, signer: Signer, clock: Callable[[], float]) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        self._refusals = PerProcess(_Refusals)

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`."""
        return self._verified(key, self._store.get(key))

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`."""
        found = self._store.get_many(keys)
        return [self._verified(key, signed) for key, signed in zip(keys, found, strict=True)]

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        return self._store.set(key, self._signer.sign(key, value), ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`.

        What is there and is not ours goes first. Of several that meet such a value, and only
        then, more than one may be told that theirs was kept.
        """
        signed = self._signer.sign(key, value)
        if self._store.add(key, signed, ttl):
            return True
        present = self._store.get(key)
        if self._verified(key, present) is not None:
            return False
        if present is not None:
            self._store.delete([key])
        return self._store.add(key, signed, ttl)

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        return self._store.delete(keys)

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Store`."""
        self._store.clear()

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`."""
        self._store.ping(timeout)

    def _verified(self, key: str, signed: bytes | None) -> bytes | None:
        if signed is None:
            return None
        try:
            return self._signer.verify(key, signed)
        except CorruptEntry:
            self._count_refusal()
            return None

    def _count_refusal(self) -> None:
        here = self._refusals()
        with here.lock:
            here.count += 1
            now = self._clock()
            if now < here.silent_until:
                return
            count, here.count = here.count, 0
            here.silent_until = now + _SILENCE_SECONDS
        _log.warning(
            "Stored values are not used, since CACHE_SIGNING_KEY does not verify them: %d since "
            "the last such line",
            count,
        )
