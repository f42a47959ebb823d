"""The :class:`~flask_larder.store.Store` on Redis. Each value has a TTL."""

import math
import re
from collections.abc import Sequence
from typing import Final

from redis.exceptions import OutOfMemoryError

from flask_larder.budget import Counts
from flask_larder.errors import StoreUnavailable
from flask_larder.key import FORMAT
from flask_larder.redis.cluster import AnyLinks
from flask_larder.redis.purge_log import NAME, RedisPurges

_BATCH: Final = 500
_GLOB: Final = re.compile(r"([*?\[\]\\^-])")


class RedisStore:
    """Keeps bytes in the Redis that *links* lead to, under keys that begin with *prefix*.

    While Redis is away, every method raises ``StoreUnavailable``, mostly at once. *purges* is the
    log by which is judged what is found: it is asked along.
    """

    def __init__(self, links: AnyLinks, prefix: str, purges: RedisPurges | None = None) -> None:
        self._links = links
        self._prefix = prefix
        # By MGET: unlike GET, it answers nil for another type of key.
        self._ask_for_values = links.ask if purges is None else purges.ask_with

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`. A key of another Redis type has no value."""
        found: bytes | None = self._ask_for_values("MGET", self._prefix + key)[0]
        return found

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return []
        found: list[bytes | None] = []
        for part in self._links.parted(self._prefixed(keys)):
            found += self._ask_for_values("MGET", *part)
        return found

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`. Not kept where Redis has no memory left."""
        return self._put(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        return self._put(key, value, ttl, "NX")

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return 0
        parts = self._links.parted(self._prefixed(keys))
        return sum(self._links.ask("UNLINK", *part, counts=Counts.NEVER) for part in parts)

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Store`. Takes its time where there are many keys.

        The log of purges stays: without it, everything would be forgotten twice.
        """
        pattern = _GLOB.sub(r"\\\1", self._prefix + FORMAT) + "*"
        log = (self._prefix + NAME).encode()
        for links in self._links.everywhere():
            cursor = b"0"
            while True:
                cursor, keys = links.ask(
                    *("SCAN", cursor, "MATCH", pattern, "COUNT", str(_BATCH)), counts=Counts.NEVER
                )
                if keys := [key for key in keys if key != log]:
                    for part in self._links.parted(keys):
                        self._links.ask("UNLINK", *part, counts=Counts.NEVER)
                if cursor == b"0":
                    break

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`. Always asks, over a connection of its own."""
        self._links.ping(timeout)

    def _put(self, key: str, value: bytes, ttl: float, *only: str) -> bool:
        at, milliseconds = self._prefix + key, str(max(1, math.ceil(ttl * 1000)))
        command = ("SET", at, value, "PX", milliseconds)
        try:
            reply = (
                self._links.ask(*command, *only) if only else self._links.ask_to_set(at, *command)
            )
        except StoreUnavailable as error:
            if isinstance(error.__cause__, OutOfMemoryError):
                return False
            raise
        return reply is not None

    def _prefixed(self, keys: Sequence[str]) -> list[str]:
        return [self._prefix + key for key in keys]
