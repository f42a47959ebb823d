"""Lookup, decide, forward, store: the one place where a request's way is decided.

The engine knows HTTP and where :class:`~flask_larder.entries.Entries` are; in which store, and by
which clock, it is told when it is made. It raises nothing of its own: whatever fails in the store
ends in the view's answer.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, Miss, Shared, judging_once, key_in_store, selected_key
from flask_larder.coalesce import Claim, Coalescer
from flask_larder.conditional import conditions_for, validates
from flask_larder.entries import Entries
from flask_larder.entry import Forwarded, Position, StoredResponse, Targets
from flask_larder.flights import Work
from flask_larder.headers import Fields
from flask_larder.key import origin_of
from flask_larder.lookup import Lookups, shows_nobody
from flask_larder.policy import SERVER_ERRORS, Reason
from flask_larder.purges import PurgeLog
from flask_larder.requested import wants_only_stored
from flask_larder.status import CacheStatus
from flask_larder.update import Updates

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
        self.updates: Final = Updates(entries, self.lookups, clock, chance)
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
                hit, made = self._engine.updates.freshen(self._ask, miss, confirmed, forwarded)
                status = replace(hit.status, fwd_status=forwarded.status)
                return (replace(hit, status=status), status), self._shared(made)
            if is_error(forwarded):
                if (answer := self._in_place_of(None)) is not None:
                    return answer, None
                if self._ask.replaces is not None:  # what is stored is better than that
                    return (forwarded, miss.status), None
            if not (miss.may_share or miss.may_store):
                return (forwarded, miss.status), None
            status, made = self._engine.updates.store(self._ask, miss, forwarded)
            if self._ask.request.method == "HEAD":
                status = self._engine.updates.learn_from_head(self._ask, miss, forwarded) or status
        except Exception as error:
            if (answer := self._in_place_of(error)) is None:
                raise
            return answer, None
        is_fresh = (status.ttl or 0.0) > 0
        return (forwarded, status), made if is_fresh else self._shared(made)

    def _shared(self, made: Shared | None) -> Shared | None:
        return made if made is not None and self._engine.updates.is_shareable(made) else None

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


def is_error(forwarded: Forwarded) -> bool:
    """Whether the view has failed; an exception counts as that, too (RFC 5861 section 4)."""
    return forwarded.status >= SERVER_ERRORS


def _shared(ask: Ask, hit: Hit) -> Shared:
    return Shared(selected_key(ask, hit.names), hit.names, hit.response)
