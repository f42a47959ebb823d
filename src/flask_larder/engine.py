"""Lookup, decide, forward, store: the one place where a request's way is decided.

The engine knows HTTP and where :class:`~flask_larder.entries.Entries` are; in which store, and by
which clock, it is told when it is made. It raises nothing of its own: whatever fails in the store
ends in the view's answer.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, Miss, Shared, judging_once, key_in_store, selected_key
from flask_larder.coalesce import Claim, Coalescer
from flask_larder.conditional import conditions_for, is_confirmed_by_head, validates
from flask_larder.entries import Entries
from flask_larder.entry import Entry, Forwarded, Position, StoredResponse, Targets, Variants
from flask_larder.errors import StoreUnavailable
from flask_larder.flights import Work
from flask_larder.freshened import Freshened
from flask_larder.freshness import (
    current_age,
    longest_window,
    received_age,
    remaining_lifetime,
    staleness,
)
from flask_larder.headers import Fields, connection_fields, only, parse_vary, with_vary
from flask_larder.key import origin_of, stored_key
from flask_larder.lookup import Lookups, shows_nobody
from flask_larder.policy import (
    ABOUT_CACHING,
    SERVER_ERRORS,
    Exchange,
    Reason,
    is_about_request,
    is_about_resource,
    is_for_all,
)
from flask_larder.purges import PurgeLog
from flask_larder.requested import wants_only_stored
from flask_larder.status import CacheStatus
from flask_larder.storing import kept_fields, to_store
from flask_larder.times import longest_life

F = TypeVar("F", bound=Forwarded)
Forward: TypeAlias = Callable[[CacheStatus, Fields], F]

OTHER_KEY: Final = "other-key"


class Engine:
    """Answers requests from *entries*, or from the view and then stores what it may.

    *clock* returns seconds since the epoch, *chance* a random number above 0, and up to 1.
    """

    def __init__(
        self,
        entries: Entries,
        purges: PurgeLog,
        clock: Callable[[], float],
        chance: Callable[[], float],
        coalescer: Coalescer[Shared],
    ) -> None:
        self.lookups: Final = Lookups(entries, purges, clock, chance)
        self._entries = entries
        self._clock = clock
        self._chance = chance
        self._coalescer = coalescer

    def answer(self, ask: Ask, forward: Forward[F]) -> tuple[Hit | F, CacheStatus]:
        """The stored response, or what *forward* returned; and how it came about.

        *forward* runs the view. It is told why, so that an answer which it makes by raising has
        a status too, and by which fields to ask whether what is stored is still the same; what it
        raises is raised. Of several requests for the same, one forwards,
        and the others get what it stores. Where it fails, what is stale may do.
        """
        if ask.is_stale is not None:
            ask = judging_once(ask)
        found = self.lookups.at_hand(ask)
        if isinstance(found, Hit):
            return found, found.status
        if found is not None:
            return _Attempt(self, ask, found, forward).lead()[0]
        return self._coalescer.find_or_run(_Attempt(self, ask, _NOT_LOOKED, forward))

    def claim(self, key: str) -> AbstractContextManager[Claim[Shared] | None]:
        """The right to :meth:`revalidate` what is stored under *key*, if nobody else does now."""
        return self._coalescer.claim(key)

    def revalidate(
        self, ask: Ask, forward: Forward[F], claim: Claim[Shared]
    ) -> tuple[Hit | F, CacheStatus] | Reason:
        """Forward a request that nobody waits for, and store what comes back (RFC 5861 section 3).

        *ask* says what it replaces. Comes with the reason where it cannot: the request selects
        something else than was claimed, or the store is away.
        """
        found = self.lookups.find(ask)
        if isinstance(found, Hit):  # somebody was faster
            claim.result = _shared(ask, found)
            return found, found.status
        attempt = _Attempt(self, ask, found, forward)
        if not found.may_store:
            return found.status.detail or "bypass"
        if attempt.key != claim.key:
            return OTHER_KEY
        claim.has_worked = True
        answer, claim.result = attempt.lead()
        return answer

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

    def _discard_stale(self, ask: Ask, miss: Miss, forwarded: Forwarded) -> None:
        """Forget what an answer shows to be out of date though it does not take its place."""
        stored = miss.stale
        if stored is None or not miss.may_store or ask.request.method == "HEAD":
            return
        verdict = self.lookups.verdict(ask, stored)
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
        is_about_stored = stored is not None and stored.status == head.status == 200
        if stored is None or not is_about_stored or not miss.may_store:
            return None
        is_confirmed = is_confirmed_by_head(stored, head.fields)
        if is_confirmed is False:
            self._discard(ask, miss)
        if is_confirmed and _is_for_all(ask, stored, head):
            return self.freshen(ask, miss, stored, head)[0].status
        return None

    def _keep(self, ask: Ask, status: CacheStatus, made: Shared) -> CacheStatus:
        """Put the response where a later lookup finds it.

        A URL's list of names only grows while it is stored, so that a variant is never found by
        fewer fields than it depends on; and it is stored for as long as any variant may be.
        """
        response, kept = made.response, True
        if self.lookups.verdict(ask, response).is_gone:
            return replace(status, detail="purged")
        ttl = remaining_lifetime(response, self._clock())
        life = max(ttl, 0.0) + max(longest_window(response), response.keep)
        try:
            if made.names:
                listed = Variants(tuple(sorted(made.names)))
                kept = self._write(ask, ask.key, listed, max(life, longest_life(ask.policy)))
            kept = kept and self._write(ask, made.at, response, life)
        except StoreUnavailable:
            return replace(status, detail="store-unavailable")
        if not kept:
            return replace(status, detail="store-refused")
        return replace(status, stored=True, ttl=ttl)

    def _write(self, ask: Ask, at: str, entry: Entry, ttl: float) -> bool:
        return self._entries.keep(stored_key(at, ask.hash_method), entry, ttl)


_NOT_LOOKED: Final = Miss(CacheStatus("uri-miss"))


class _Attempt(Generic[F]):
    """One request for which the store is asked, as the coalescer sees it: a ``Task``."""

    def __init__(self, engine: Engine, ask: Ask, miss: Miss, forward: Forward[F]) -> None:
        self._engine = engine
        self._ask = ask
        self._miss = miss
        self._forward = forward
        self._seen = engine.lookups.recency.seen_before()
        self._key: tuple[frozenset[str], str] | None = None

    @property
    def key(self) -> str:
        """Where the response is looked for, by all that is known of what selects it."""
        names = self._miss.names
        if self._key is None or self._key[0] != names:
            self._key = names, key_in_store(self._ask, names)
        return self._key[1]

    @property
    def is_for_one(self) -> bool:
        """Whether the request wants an answer of its own, or one that is of no use to others."""
        ask, miss = self._ask, self._miss
        if ask.refresh or ask.request.method == "HEAD" or not miss.may_share:
            return True
        if miss.status.fwd == "request" or (ask.directives and wants_only_stored(ask.directives)):
            return True
        stored = miss.to_validate
        return stored is not None and max(stored.lifetime, stored.stale_while_revalidate) <= 0

    @property
    def finds_nothing(self) -> bool:
        """Whether the store, which has answered, has nothing, be it stale or for others."""
        miss = self._miss
        return miss.may_store and miss.status.fwd != "stale" and miss.to_validate is None

    @property
    def since(self) -> Position | None:
        """See :class:`~flask_larder.coalesce.Task`."""
        return self._ask.position

    def expects(self) -> Targets:
        """See :class:`~flask_larder.flights.Work`."""
        return self._expected(asks=False)

    def _expected(self, *, asks: bool) -> Targets:
        ask = self._ask
        return ask.url if ask.expected is None else ask.expected(asks)

    @property
    def is_overtaken(self) -> bool:
        """See :class:`~flask_larder.coalesce.Task`."""
        recency, expected = self._engine.lookups.recency, partial(self._expected, asks=True)
        return recency.verdict_since(self._ask.position, expected).is_gone

    def is_too_old(self, work: Work) -> bool:
        """See :class:`~flask_larder.coalesce.Task`."""
        seen = self._seen or self._ask.position
        return self._engine.lookups.recency.is_too_old(work, seen)

    def find(self) -> tuple[Hit | F, CacheStatus] | None:
        """The first look."""
        found = self._engine.lookups.in_store(self._ask)
        if isinstance(found, Hit):
            return found, found.status
        if found.may_store:  # the store has answered
            self._seen = self._engine.lookups.seen()
        if self._ask.looked_up is not None:
            self._look_anew()
        if self._ask.directives and wants_only_stored(self._ask.directives):
            found = replace(found, stale=None, to_validate=None)
        self._miss = found
        return None

    def look(self) -> Shared | None:
        """What is stored by now; where the store is away, what the process remembers."""
        self._look_anew()
        if not self._miss.may_store:
            found = self._engine.lookups.at_hand(self._ask)
            return _shared(self._ask, found) if isinstance(found, Hit) else None
        found = self._engine.lookups.find(self._ask)
        if isinstance(found, Hit):
            return _shared(self._ask, found)
        missed = self._miss
        if missed is _NOT_LOOKED or (found.may_store and found.status == missed.status):
            self._miss = found
        elif found.may_store:
            self._miss = replace(found, status=missed.status)
        else:
            status = replace(missed.status, detail=found.status.detail)
            self._miss = replace(missed, status=status, names=found.names, may_store=False)
        return None

    def _look_anew(self) -> None:
        """Let what was looked up before Flask no longer count: there may be something else now."""
        if self._ask.looked_up is not None:
            self._ask = replace(self._ask, looked_up=None)

    def adopt(self, shared: Shared) -> tuple[Hit | F, CacheStatus] | None:
        """The response of another request, if this one selects it and may be sent it."""
        is_selected = shared.at == selected_key(self._ask, shared.names)
        if not is_selected or shared.response.origin != origin_of(self._ask.request):
            return None
        if not shows_nobody(shared.response, self._ask, shared.names):
            return None
        lookups = self._engine.lookups
        found = lookups.judge_shared(self._ask, shared, self._seen)
        if not isinstance(found, Hit):
            return None
        missed = self._miss.status
        status = replace(found.status, fwd=missed.fwd, collapsed=True, detail=missed.detail)
        return replace(found, status=status), status

    def settle(self) -> tuple[Hit | F, CacheStatus] | None:
        """What is stale, where that may be sent in place of an error, and nothing new is stored."""
        if self._miss.stale is None:
            return None
        shared = self.look()
        if shared is not None:
            return self.adopt(shared)
        stale = self._engine.lookups.stale_if_error(self._ask, self._miss)
        return None if stale is None else (stale, stale.status)

    def lead(self) -> tuple[tuple[Hit | F, CacheStatus], Shared | None]:
        """Forward the request, and store what comes back if it may be.

        Where that fails, what is stale is sent if it may be.
        """
        miss = self._miss
        try:
            forwarded, confirmed = self._forwarded()
            if confirmed is not None:
                hit, made = self._engine.freshen(self._ask, miss, confirmed, forwarded)
                status = replace(hit.status, fwd_status=forwarded.status)
                return (replace(hit, status=status), status), self._shared(made)
            if is_error(forwarded):
                if (answer := self._in_place_of(None)) is not None:
                    return answer, None
                if self._ask.replaces is not None:  # what is stored is better than that
                    return (forwarded, miss.status), None
            if not (miss.may_share or miss.may_store):
                return (forwarded, miss.status), None
            status, made = self._engine.store(self._ask, miss, forwarded)
            if self._ask.request.method == "HEAD":
                status = self._engine.learn_from_head(self._ask, miss, forwarded) or status
        except Exception as error:
            if (answer := self._in_place_of(error)) is None:
                raise
            return answer, None
        is_fresh = (status.ttl or 0.0) > 0
        return (forwarded, status), made if is_fresh else self._shared(made)

    def _shared(self, made: Shared | None) -> Shared | None:
        return made if made is not None and self._engine.is_shareable(made) else None

    def _forwarded(self) -> tuple[F, StoredResponse | None]:
        """What forwarding has brought, and the stored response that it finds to be the same.

        An answer that is about another one than was asked for is not used: then the whole is.
        """
        stored, status = self._miss.to_validate, self._miss.status
        conditions = conditions_for(stored) if stored is not None else ()
        forwarded = self._forward(status, conditions)
        if stored is None or not conditions or forwarded.status != 304:
            return forwarded, None
        if validates(stored, forwarded.fields):
            return forwarded, stored
        return self._forward(status, ()), None

    def _in_place_of(self, error: Exception | None) -> tuple[Hit, CacheStatus] | None:
        stale = self._engine.lookups.stale_if_error(self._ask, self._miss)
        if stale is None:
            return None
        status = replace(stale.status, fwd=self._miss.status.fwd)
        return replace(stale, status=status, error=error), status


def _fields_of(freshened: Freshened) -> tuple[tuple[str, str], ...]:
    fields = freshened.fields
    return kept_fields(fields, freshened.reads().selecting, connection_fields(fields))


def is_error(forwarded: Forwarded) -> bool:
    """Whether the view has failed; an exception counts as that, too (RFC 5861 section 4)."""
    return forwarded.status >= SERVER_ERRORS


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


def _shared(ask: Ask, hit: Hit) -> Shared:
    return Shared(selected_key(ask, hit.names), hit.names, hit.response)
