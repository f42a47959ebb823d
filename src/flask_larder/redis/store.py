"""The :class:`~flask_larder.store.Store` on Redis. Each value has a TTL."""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Final, cast

from redis.exceptions import OutOfMemoryError

from flask_larder.key import FORMAT
from flask_larder.redis.links import Links

_BATCH: Final = 500
_GLOB: Final = re.compile(r"([*?\[\]\\^-])")


class RedisStore:
    """Keeps bytes in the Redis that *links* lead to, under keys that begin with *prefix*.

    While Redis is away, every method raises ``StoreUnavailable``, mostly at once.
    """

    def __init__(self, links: Links, prefix: str) -> None:
        self._links = links
        self._prefix = prefix

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`. A key of another Redis type has no value."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return []
        with self._links.asking() as client:
            # MGET, unlike GET, answers nil for a key of another type.
            return cast("list[bytes | None]", client.mget(self._prefixed(keys)))

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`. Not kept where Redis has no memory left."""
        return self._put(key, value, ttl, only_new=False)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        return self._put(key, value, ttl, only_new=True)

    def has(self, key: str) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        with self._links.asking() as client:
            return bool(client.exists(self._prefix + key))

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return 0
        with self._links.asking() as client:
            return int(client.unlink(*self._prefixed(keys)))

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Store`. Takes its time where there are many keys."""
        pattern = _GLOB.sub(r"\\\1", self._prefix + FORMAT) + "*"
        with self._links.asking() as client:
            keys = client.scan_iter(match=pattern, count=_BATCH)
            while batch := list(itertools.islice(keys, _BATCH)):
                client.unlink(*batch)

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`. Always asks, over a connection of its own."""
        self._links.ping(timeout)

    def _put(self, key: str, value: bytes, ttl: float, *, only_new: bool) -> bool:
        milliseconds = max(1, math.ceil(ttl * 1000))
        with self._links.asking() as client:
            try:
                return bool(client.set(self._prefix + key, value, px=milliseconds, nx=only_new))
            except OutOfMemoryError as error:
                self._links.note_refusal(error)
                return False

    def _prefixed(self, keys: Sequence[str]) -> list[str]:
        return [self._prefix + key for key in keys]
