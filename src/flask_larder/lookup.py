"""Look up what is stored for a request, and judge whether it may be sent (RFC 9111 section 4)."""

from collections.abc import Callable
from functools import partial
from typing import Final

from flask_larder.ask import Ask, Hit, Miss, Shared, key_in_store
from flask_larder.credentials import telling_who_asks
from flask_larder.entries import Entries
from flask_larder.entry import Entry, Position, StoredResponse, Variants
from flask_larder.errors import StoreUnavailable
from flask_larder.key import origin_of, stored_key
from flask_larder.policy import may_reuse
from flask_larder.purges import PurgeLog, Verdict
from flask_larder.recency import Recency
from flask_larder.reuse import candidate, in_place_of_error, reuse
from flask_larder.status import CacheStatus


def shows_nobody(stored: StoredResponse, ask: Ask, names: frozenset[str]) -> bool:
    """Whether a request shows nobody by its fields, where *stored* is for such requests only.

    What the key holds, or has been selected by *names*, is the same as for *stored*.
    """
    if not stored.anonymous:
        return True
    return telling_who_asks(ask.request.fields.keys()) <= names | ask.policy.covered


class Lookups:
    """Looks into *entries*, and judges by *purges* what it finds.

    *clock* and *chance* are as those of an :class:`~flask_larder.engine.Engine`.
    """

    def __init__(
        self,
        entries: Entries,
        purges: PurgeLog,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.recency: Final = Recency(purges, is_heard_enough=entries.are_remembered)
        self._entries = entries
        self._purges = purges
        self._clock = clock
        self._chance = chance

    def find(self, ask: Ask) -> Hit | Miss:
        """A response that may be sent now, or the reason why there is none."""
        found = self.at_hand(ask)
        return self.in_store(ask) if found is None else found

    def at_hand(self, ask: Ask) -> Hit | Miss | None:
        """As :meth:`find`, or ``None`` where the store is to be asked."""
        if reason := may_reuse(ask.request):
            is_method = reason == "method"
            status = CacheStatus("method") if is_method else CacheStatus("bypass", detail=reason)
            return Miss(status, may_store=False, may_share=False)
        return self._in_memory(ask)

    def in_store(self, ask: Ask) -> Hit | Miss:
        """What :meth:`find` finds in the store."""
        try:
            names, stored = self._select(ask, partial(self._stored, ask))
        except StoreUnavailable:
            status = CacheStatus("bypass", detail="store-unavailable")
            return Miss(status, may_store=False)
        if not self._can_judge(ask):
            return Miss(CacheStatus("bypass", detail="purges-unknown"), may_store=False)
        if stored is None:
            return Miss(CacheStatus("vary-miss" if names else "uri-miss"), names)
        if not shows_nobody(stored, ask, names):
            return Miss(CacheStatus("vary-miss"), names, may_share=False)
        return self.judge(ask, names, stored)

    def _in_memory(self, ask: Ask) -> Hit | None:
        """What the process remembers, if it is fresh; else the store may have something newer."""
        names, stored = self._select(ask, self._entries.remembered)
        if stored is None or not shows_nobody(stored, ask, names) or not self._can_judge(ask):
            return None
        found = self.judge(ask, names, stored)
        return found if isinstance(found, Hit) and (found.status.ttl or 0.0) > 0 else None

    def _can_judge(self, ask: Ask) -> bool:
        """Whether purges were known when the request came, and are now."""
        return ask.position is not None and self._purges.known() is not None

    def _select(
        self, ask: Ask, find: Callable[[str], Entry | None]
    ) -> tuple[frozenset[str], StoredResponse | None]:
        """The stored response that the request selects (RFC 9111 section 4.1).

        Comes with the names of the fields by which the URL varies.
        """
        names = frozenset[str]()
        entry = find(stored_key(ask.key, ask.hash_method))
        if isinstance(entry, Variants):
            names = frozenset(entry.names)
            entry = find(key_in_store(ask, names))
        # A key that the developer makes may lack the host, and a forged one must poison nobody.
        if isinstance(entry, StoredResponse) and entry.origin == origin_of(ask.request):
            return names, entry
        return names, None

    def _stored(self, ask: Ask, key: str) -> Entry | None:
        """What the store has, unless that was looked up just now; which variants, for a while."""
        if ask.looked_up is not None and ask.looked_up.key == key:
            return ask.looked_up.entry
        return self._entries.find(key)

    def judge(self, ask: Ask, names: frozenset[str], stored: StoredResponse) -> Hit | Miss:
        """Whether *stored* may be sent as it is (RFC 9111 section 4)."""
        now, verdict = self._clock(), self.verdict(ask, stored)
        return reuse(ask, candidate(stored, names, now), verdict, now, self._chance)

    def judge_shared(self, ask: Ask, shared: Shared, seen: Position | None) -> Hit | Miss:
        """As :meth:`judge`, for what another request was answered; see :class:`Recency`."""
        now, stored, judge = self._clock(), shared.response, self.recency.verdict_on_shared
        verdict = judge(stored.position, ask.position, seen, stored.targets, ask.url)
        return reuse(ask, candidate(stored, shared.names, now), verdict, now, self._chance)

    def seen(self) -> Position | None:
        """The latest purge that a request has seen which has just looked into the store."""
        return self._purges.position()

    def stale_if_error(self, ask: Ask, miss: Miss) -> Hit | None:
        """What is stale and may be sent if forwarding fails (RFC 5861 section 4), or ``None``."""
        if miss.stale is None:
            return None
        now, verdict = self._clock(), self.verdict(ask, miss.stale)
        return in_place_of_error(ask, candidate(miss.stale, miss.names, now), verdict, now)

    def verdict(self, ask: Ask, stored: StoredResponse) -> Verdict:
        """What the purges say of *stored*; see :class:`Recency`."""
        return self.recency.verdict(stored.position, ask.position, stored.targets, ask.url)
