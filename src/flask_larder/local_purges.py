"""Logs of purges for stores that no other process sees, and for those that have none."""

import math
import threading
from collections.abc import Callable
from typing import Final

from flask_larder.budget import Counts
from flask_larder.entry import Position
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess
from flask_larder.purges import ALL, Purge, PurgeTable


class _Known:
    """What all of them have in common: whoever asks knows all purges."""

    is_local: Final = True

    def known(self) -> PurgeTable:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        raise NotImplementedError

    def position(self) -> Position | None:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        return self.known().last

    def known_until(self) -> float:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        return math.inf

    def load(self) -> None:
        """There is nothing to read."""


class LocalPurges(_Known):
    """The log of purges of a store that no other process sees. Keeps the *most* recent ones.

    *clock* returns seconds since the epoch.
    """

    reaches: Final = True

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._here = PerProcess(lambda: _Purges(most))

    def known(self) -> PurgeTable:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        return self._here().table

    def add(self, *purges: Purge, counts: Counts = Counts.NEVER) -> None:  # noqa: ARG002
        """See :class:`~flask_larder.purges.PurgeLog`."""
        here = self._here()
        with here.lock:
            for purge in purges:
                last = here.table.last or (0, 0)
                now = (int(self._clock() * 1000), 0)
                position = now if now > last else (last[0], last[1] + 1)
                here.table.apply(position, purge)


class _Purges:
    """What one process has purged, from a beginning that hits nothing."""

    def __init__(self, most: int) -> None:
        self.lock = threading.Lock()
        self.table = _begun(PurgeTable(most))


def _begun(table: PurgeTable) -> PurgeTable:
    table.apply((1, 0), Purge((ALL,)))
    return table


class NoPurges(_Known):
    """For a *store* that no purge reaches: none ever happens, and who asks for one is told so."""

    reaches: Final = False

    def __init__(self, store: str) -> None:
        self._store = store
        self._table = _begun(PurgeTable(1))

    def known(self) -> PurgeTable:
        """See :class:`~flask_larder.purges.PurgeLog`."""
        return self._table

    def add(self, *purges: Purge, counts: Counts = Counts.NEVER) -> None:  # noqa: ARG002
        """See :class:`~flask_larder.purges.PurgeLog`. Always raises."""
        raise StoreUnavailable(
            f"the {self._store} has no log of purges; set CACHE_TYPE to RedisCache, or give what "
            f"is cached a key_prefix= without %s, and delete it by that"
        )
