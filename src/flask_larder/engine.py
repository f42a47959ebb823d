"""Lookup, decide, forward, store: the one place where a request's way is decided.

The engine knows HTTP and a :class:`~flask_larder.store.Store` of bytes; which store, and which
clock, it is told when it is made. It raises nothing of its own: whatever fails in the store
ends in the view's answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from flask_larder import codec
from flask_larder.entry import Forwarded, Request, StoredResponse, Variants
from flask_larder.errors import CorruptEntry, StoreUnavailable
from flask_larder.freshness import current_age, freshness_lifetime, remaining_lifetime
from flask_larder.headers import parse_vary, without_connection_fields
from flask_larder.key import HashMethod, origin_of, stored_key, variant_key
from flask_larder.policy import (
    Exchange,
    Policy,
    Reason,
    body_is_incomplete,
    may_reuse,
    may_share,
    may_store,
)
from flask_larder.status import CacheStatus, Forward
from flask_larder.store import Store

F = TypeVar("F", bound=Forwarded)

# Of the connection, or of the one request that was measured; a stored copy tells its own.
_OWN_FIELDS = frozenset({"age", "server-timing"})


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, the policy for it, and the key that it has under this policy.

    *refresh* means that a stored response is not to be used but replaced. *is_stale* may call a
    fresh one stale.
    """

    request: Request
    policy: Policy
    key: str
    hash_method: HashMethod
    refresh: bool = False
    is_stale: Callable[[StoredResponse], bool] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored response may be sent. *age* is in seconds, *names* are the fields that selected."""

    response: StoredResponse
    age: float
    status: CacheStatus
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Miss:
    """The request has to be forwarded; *status* says why.

    *names* are the header fields by which responses of this URL are already known to vary.
    *may_store* is false where the answer has no place in the cache.
    """

    status: CacheStatus
    names: frozenset[str] = frozenset()
    may_store: bool = True


class Engine:
    """Answers requests from *store*, or from the view and then stores what it may.

    *clock* returns seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def answer(self, ask: Ask, forward: Callable[[CacheStatus], F]) -> tuple[Hit | F, CacheStatus]:
        """The stored response, or what *forward* returned; and how it came about.

        *forward* runs the view. It is told why, so that an answer which it makes by raising has
        a status too; what it raises is raised.
        """
        found = self.lookup(ask)
        if isinstance(found, Hit):
            return found, found.status
        forwarded = forward(found.status)
        return forwarded, self.store(ask, found, forwarded) if found.may_store else found.status

    # --- lookup ---

    def lookup(self, ask: Ask) -> Hit | Miss:
        """A response that may be sent now, or the reason why there is none."""
        if reason := may_reuse(ask.request, ask.policy):
            return _past("method") if reason == "method" else _past("bypass", reason)
        try:
            names, stored = self._select(ask)
        except StoreUnavailable:
            return _past("bypass", "store-unavailable")
        if stored is None:
            return Miss(CacheStatus("vary-miss" if names else "uri-miss"), names)
        return self._validate(ask, names, stored)

    def _select(self, ask: Ask) -> tuple[frozenset[str], StoredResponse | None]:
        """The stored response that the request selects (RFC 9111 section 4.1).

        Comes with the names of the fields by which the URL varies.
        """
        entry = self._read(ask, ask.key)
        if not isinstance(entry, Variants):
            return frozenset(), entry
        variant = self._read(ask, variant_key(ask.key, entry.names, ask.request.fields))
        return frozenset(entry.names), variant if isinstance(variant, StoredResponse) else None

    def _read(self, ask: Ask, at: str) -> StoredResponse | Variants | None:
        data = self._store.get(stored_key(at, ask.hash_method))
        if data is None:
            return None
        try:
            entry = codec.decode_entry(data)
        except CorruptEntry:
            return None  # a miss, and what the view answers now replaces it
        # A key that the developer makes may lack the host, and a forged one must poison nobody.
        is_foreign = isinstance(entry, StoredResponse) and entry.origin != origin_of(ask.request)
        return None if is_foreign else entry

    def _validate(self, ask: Ask, names: frozenset[str], stored: StoredResponse) -> Hit | Miss:
        """Whether *stored* may be sent as it is (RFC 9111 section 4)."""
        now = self._clock()
        ttl = remaining_lifetime(stored, now)
        if ttl <= 0:
            return Miss(CacheStatus("stale"), names)
        if ask.refresh:
            return Miss(CacheStatus("request", detail="forced-update"), names)
        if ask.is_stale and ask.is_stale(stored):
            return Miss(CacheStatus("stale", detail="is-stale"), names)
        return Hit(stored, current_age(stored, now), CacheStatus(ttl=ttl), names)

    # --- store ---

    def store(self, ask: Ask, miss: Miss, forwarded: Forwarded) -> CacheStatus:
        """Keep what the view answered, if everything allows it; say what was done."""
        exchange = Exchange.of(ask.request, forwarded.status, forwarded.fields)
        lifetime = freshness_lifetime(ask.policy.timeout, exchange.directives)
        refusal = forwarded.refusal or may_store(exchange, ask.policy)
        if reason := refusal or _is_not_fresh(lifetime):
            return replace(miss.status, detail=reason)
        body = forwarded.read_body(ask.policy.body_limit)
        if body is None:
            return replace(miss.status, detail="body-too-large")
        # A streamed body is made by the view too: only now is known what the view has read.
        reads = forwarded.reads()
        if reason := may_share(reads, ask.policy) or body_is_incomplete(exchange.fields, body):
            return replace(miss.status, detail=reason)
        stored = StoredResponse(
            origin=origin_of(ask.request),
            status=forwarded.status,
            fields=_kept_fields(forwarded, reads.selecting),
            body=body,
            stored_at=self._clock(),
            lifetime=lifetime,
            value=forwarded.value(),
        )
        names = miss.names | parse_vary(forwarded.fields) | reads.selecting
        return self._keep(ask, miss.status, names, stored)

    def _keep(
        self, ask: Ask, status: CacheStatus, names: frozenset[str], stored: StoredResponse
    ) -> CacheStatus:
        """Put *stored* where a later lookup finds it.

        A URL's list of names only grows while it is stored, so that a variant is never found by
        fewer fields than it depends on; and it is stored for as long as any variant may be.
        """
        at = ask.key
        kept = True
        try:
            if names:
                ordered = tuple(sorted(names))
                listed = codec.encode_variants(Variants(ordered))
                kept = self._write(ask, at, listed, ask.policy.timeout)
                at = variant_key(at, ordered, ask.request.fields)
            kept = kept and self._write(ask, at, codec.encode_response(stored), stored.lifetime)
        except StoreUnavailable:
            return replace(status, detail="store-unavailable")
        if not kept:
            return replace(status, detail="store-refused")
        return replace(status, stored=True, ttl=stored.lifetime)

    def _write(self, ask: Ask, at: str, data: bytes, ttl: float) -> bool:
        return self._store.set(stored_key(at, ask.hash_method), data, ttl)


def _past(fwd: Forward, detail: Reason | None = None) -> Miss:
    return Miss(CacheStatus(fwd, detail=detail), may_store=False)


def _is_not_fresh(lifetime: float) -> Reason | None:
    return None if lifetime > 0 else "not-fresh"


def _kept_fields(forwarded: Forwarded, selecting: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """The fields to store. What the view selected by without saying so joins its ``Vary``."""
    fields = [
        (name, value)
        for name, value in without_connection_fields(forwarded.fields)
        if name.lower() not in _OWN_FIELDS
    ]
    if unsaid := selecting - parse_vary(forwarded.fields):
        fields.append(("Vary", ", ".join(name.title() for name in sorted(unsaid))))
    return tuple(fields)
