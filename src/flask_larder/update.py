"""What an answer changes in the store: it is stored, freshens what is there, or has it forgotten.

That is RFC 9111 sections 3, 4.3.4 and 4.3.5. What fails in the store is told in the status.
"""

from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, Miss, Shared, key_in_store
from flask_larder.conditional import is_confirmed_by_head
from flask_larder.entries import Entries
from flask_larder.entry import Entry, Forwarded, StoredResponse, Variants
from flask_larder.errors import StoreUnavailable
from flask_larder.freshened import Freshened
from flask_larder.freshness import (
    current_age,
    longest_window,
    received_age,
    remaining_lifetime,
    staleness,
)
from flask_larder.headers import connection_fields, only, parse_vary, with_vary
from flask_larder.key import stored_key
from flask_larder.lookup import Lookups
from flask_larder.policy import (
    ABOUT_CACHING,
    Exchange,
    is_about_request,
    is_about_resource,
    is_for_all,
)
from flask_larder.status import CacheStatus
from flask_larder.storing import kept_fields, to_store
from flask_larder.times import longest_life


class Updates:
    """Changes in *entries* what *lookups* find there.

    *clock* and *chance* are as those of an :class:`~flask_larder.engine.Engine`.
    """

    def __init__(
        self,
        entries: Entries,
        lookups: Lookups,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._entries = entries
        self._lookups = lookups
        self._clock = clock
        self._chance = chance

    def store(
        self, ask: Ask, miss: Miss, forwarded: Forwarded
    ) -> tuple[CacheStatus, Shared | None]:
        """Keep what the view answered, if everything allows it; say what was done.

        Comes with what was made of it to be kept, which is there where the store is away, too.
        """
        made = to_store(ask, miss.names, forwarded, self._clock, self._chance)
        if isinstance(made, str):
            if not is_about_request(made):
                self._discard_stale(ask, miss, forwarded)
            return (replace(miss.status, detail=made) if miss.may_store else miss.status), None
        return (self._keep(ask, miss.status, made) if miss.may_store else miss.status), made

    def is_shareable(self, made: Shared) -> bool:
        """Whether others than who has asked for it may be sent it."""
        stale_for = staleness(made.response, self._clock(), None)
        return stale_for is None or stale_for < made.response.stale_while_revalidate

    def freshen(
        self, ask: Ask, miss: Miss, stored: StoredResponse, confirmation: Forwarded
    ) -> tuple[Hit, Shared | None]:
        """*stored* as it is to be sent now that *confirmation* says that it is still the same.

        It is kept so, if it may be.
        """
        # What is stored answers GET; a HEAD may have confirmed it.
        asked = replace(ask, request=replace(ask.request, method="GET"))
        told = confirmation.fields
        if not _is_for_all(ask, stored, confirmation):
            told = only(told, ABOUT_CACHING.union(ask.policy.targeted))
        status, made = self.store(asked, miss, Freshened(stored, confirmation, told))
        # Who has asked gets all fields, also those that are not for others.
        freshened = Freshened(stored, confirmation, confirmation.fields)
        sent = replace(made.response if made else stored, fields=_fields_of(freshened))
        age = current_age(sent, self._clock()) if made else received_age(confirmation.fields)
        return Hit(sent, age, status, made.names if made else miss.names, is_validated=True), made

    def learn_from_head(self, ask: Ask, miss: Miss, head: Forwarded) -> CacheStatus | None:
        """Freshen or forget what is stored, as a 200 to HEAD tells (RFC 9111 section 4.3.5)."""
        stored = miss.to_validate
        if stored is None or head.status != 200 or not miss.may_store:
            return None
        is_confirmed = stored.status == 200 and is_confirmed_by_head(stored, head.fields)
        if is_confirmed is False:
            self._discard(ask, miss)
        if is_confirmed and _is_for_all(ask, stored, head):
            return self.freshen(ask, miss, stored, head)[0].status
        return None

    def _discard_stale(self, ask: Ask, miss: Miss, forwarded: Forwarded) -> None:
        """Forget what an answer shows to be out of date though it does not take its place."""
        stored = miss.stale
        if stored is None or not miss.may_store or ask.request.method == "HEAD":
            return
        verdict = self._lookups.verdict(ask, stored)
        if (
            not is_about_resource(forwarded.status)
            or staleness(stored, self._clock(), verdict.stale_since) is None
        ):
            return
        self._discard(ask, miss)

    def _discard(self, ask: Ask, miss: Miss) -> None:
        """Forget what the request has selected."""
        with suppress(StoreUnavailable):  # then it goes when its window ends
            self._entries.delete([key_in_store(ask, miss.names)])

    def _keep(self, ask: Ask, status: CacheStatus, made: Shared) -> CacheStatus:
        """Put the response where a later lookup finds it.

        A URL's list of names only grows while it is stored, so that a variant is never found by
        fewer fields than it depends on; and it is stored for as long as any variant may be.

        The list comes last. It may end the lease for the URL, and who waited for that is to find
        the variant; without the list, nobody finds a variant.
        """
        response = made.response
        if self._lookups.verdict(ask, response).is_gone:
            return replace(status, detail="purged")
        ttl = remaining_lifetime(response, self._clock())
        life = max(ttl, 0.0) + max(longest_window(response), response.keep)
        try:
            kept = self._write(ask, made.at, response, life)
            if kept and made.names:
                listed = Variants(tuple(sorted(made.names)))
                kept = self._write(ask, ask.key, listed, max(life, longest_life(ask.policy)))
        except StoreUnavailable:
            return replace(status, detail="store-unavailable")
        if not kept:
            return replace(status, detail="store-refused")
        return replace(status, stored=True, ttl=ttl)

    def _write(self, ask: Ask, at: str, entry: Entry, ttl: float) -> bool:
        return self._entries.keep(stored_key(at, ask.hash_method), entry, ttl)


def _fields_of(freshened: Freshened) -> tuple[tuple[str, str], ...]:
    fields = freshened.fields
    return kept_fields(fields, freshened.reads().selecting, connection_fields(fields))


def _is_for_all(ask: Ask, stored: StoredResponse, confirmation: Forwarded) -> bool:
    """Whether others may be sent all fields of *confirmation* with what it confirms."""
    fields = with_vary(confirmation.fields, parse_vary(stored.fields))
    exchange = Exchange.of(
        ask.request,
        confirmation.status,
        fields,
        targeted=ask.policy.targeted,
        unsaid=confirmation.unsaid,
    )
    return is_for_all(exchange, confirmation.reads(), ask.policy)
