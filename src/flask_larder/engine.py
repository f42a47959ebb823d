"""Lookup, decide, forward, store: the one place where a request's way is decided.

The engine knows HTTP and a :class:`~flask_larder.store.Store` of bytes; which store, and which
clock, it is told when it is made. It raises nothing of its own: whatever fails in the store
ends in the view's answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from flask_larder import codec
from flask_larder.coalesce import Coalescer
from flask_larder.entry import (
    NO_TARGETS,
    Forwarded,
    Position,
    Request,
    StoredResponse,
    Targets,
    Variants,
)
from flask_larder.errors import CorruptEntry, StoreUnavailable
from flask_larder.freshness import current_age, freshness_lifetime, remaining_lifetime
from flask_larder.headers import parse_vary, without_connection_fields
from flask_larder.key import HashMethod, origin_of, stored_key, variant_key
from flask_larder.policy import (
    Exchange,
    Policy,
    Reason,
    body_is_incomplete,
    may_be_tagged,
    may_reuse,
    may_share,
    may_store,
)
from flask_larder.purges import GONE, VALID, PurgeLog, Verdict
from flask_larder.status import CacheStatus
from flask_larder.store import Store

F = TypeVar("F", bound=Forwarded)

# Of the connection, or of the one request that was measured; a stored copy tells its own.
_OWN_FIELDS = frozenset({"age", "server-timing"})


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, the policy for it, and the key that it has under this policy.

    *url* tells by what purges the very URL is hit, since one response may answer several.
    *position* is the latest purge that was known when the
    request came, ``None`` where none was. *refresh* means that a stored response is not to be used
    but replaced. *is_stale* may call a fresh one stale.
    """

    request: Request
    policy: Policy
    key: str
    hash_method: HashMethod
    url: Targets = NO_TARGETS
    position: Position | None = None
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
    *may_store* is false where the store is not to be asked again, *may_share* where the answer is
    for this request alone.
    """

    status: CacheStatus
    names: frozenset[str] = frozenset()
    may_store: bool = True
    may_share: bool = True


@dataclass(frozen=True, slots=True)
class Shared:
    """A response that may be stored, and under which key: what requests like it can share."""

    at: str
    names: frozenset[str]
    response: StoredResponse


class Engine:
    """Answers requests from *store*, or from the view and then stores what it may.

    *clock* returns seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        purges: PurgeLog,
        clock: Callable[[], float],
        coalescer: Coalescer[Shared],
    ) -> None:
        self._store = store
        self._purges = purges
        self._clock = clock
        self._coalescer = coalescer

    def answer(self, ask: Ask, forward: Callable[[CacheStatus], F]) -> tuple[Hit | F, CacheStatus]:
        """The stored response, or what *forward* returned; and how it came about.

        *forward* runs the view. It is told why, so that an answer which it makes by raising has
        a status too; what it raises is raised. Of several requests for the same, one forwards,
        and the others get what it stores.
        """
        ask = _judging_once(ask)
        found = self.lookup(ask)
        if isinstance(found, Hit):
            return found, found.status
        attempt = _Attempt(self, ask, found, forward)
        # A forced update wants its own answer; what HEAD is answered with is of no use to others.
        if ask.refresh or ask.request.method == "HEAD" or not found.may_share:
            return attempt.lead()[0]
        return self._coalescer.run(attempt)

    # --- lookup ---

    def lookup(self, ask: Ask) -> Hit | Miss:
        """A response that may be sent now, or the reason why there is none."""
        if reason := may_reuse(ask.request, ask.policy):
            is_method = reason == "method"
            status = CacheStatus("method") if is_method else CacheStatus("bypass", detail=reason)
            return Miss(status, may_store=False, may_share=False)
        try:
            names, stored = self._select(ask)
        except StoreUnavailable:
            status = CacheStatus("bypass", detail="store-unavailable")
            return Miss(status, may_store=False)
        if ask.position is None or self._purges.known() is None:
            return Miss(CacheStatus("bypass", detail="purges-unknown"), may_store=False)
        if stored is None:
            return Miss(CacheStatus("vary-miss" if names else "uri-miss"), names)
        return self.validate(ask, names, stored)

    def _select(self, ask: Ask) -> tuple[frozenset[str], StoredResponse | None]:
        """The stored response that the request selects (RFC 9111 section 4.1).

        Comes with the names of the fields by which the URL varies.
        """
        entry = self._read(ask, ask.key)
        if not isinstance(entry, Variants):
            return frozenset(), entry
        names = frozenset(entry.names)
        variant = self._read(ask, selected_key(ask, names))
        return names, variant if isinstance(variant, StoredResponse) else None

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

    def validate(self, ask: Ask, names: frozenset[str], stored: StoredResponse) -> Hit | Miss:
        """Whether *stored* may be sent as it is (RFC 9111 section 4)."""
        now = self._clock()
        verdict = self._verdict(ask, stored)
        if verdict.is_gone:
            return Miss(CacheStatus("uri-miss", detail="purged"), names)
        ttl = remaining_lifetime(stored, now)
        if ttl <= 0:
            return Miss(CacheStatus("stale"), names)
        if verdict.stale_since is not None:
            return Miss(CacheStatus("stale", detail="purged"), names)
        if ask.refresh:
            return Miss(CacheStatus("request", detail="forced-update"), names)
        if ask.is_stale and ask.is_stale(stored):
            return Miss(CacheStatus("stale", detail="is-stale"), names)
        return Hit(stored, current_age(stored, now), CacheStatus(ttl=ttl), names)

    def _verdict(self, ask: Ask, stored: StoredResponse) -> Verdict:
        """What the purges say of *stored*.

        What is not in the store but shared between requests is judged as far as purges are known:
        while nobody can tell, it is as good as what the request would have made, unless more was
        known in between.
        """
        if stored.position is None:
            return VALID if ask.position is None else GONE
        table = self._purges.known()
        if table is None:
            latest = self._purges.position()
            return VALID if latest is None or stored.position >= latest else GONE
        return table.verdict(stored.position, stored.targets, ask.url)

    # --- store ---

    def store(
        self, ask: Ask, miss: Miss, forwarded: Forwarded
    ) -> tuple[CacheStatus, Shared | None]:
        """Keep what the view answered, if everything allows it; say what was done.

        Comes with what other requests may share, which they may where the store is away, too.
        """
        made = self._make(ask, miss, forwarded)
        if isinstance(made, str):
            return (replace(miss.status, detail=made) if miss.may_store else miss.status), None
        return (self._keep(ask, miss.status, made) if miss.may_store else miss.status), made

    def _make(self, ask: Ask, miss: Miss, forwarded: Forwarded) -> Shared | Reason:
        """What is to be stored, or the reason why nothing is."""
        exchange = Exchange.of(ask.request, forwarded.status, forwarded.fields)
        lifetime = freshness_lifetime(ask.policy.timeout, exchange.directives)
        refusal = forwarded.refusal or may_store(exchange, ask.policy)
        if reason := refusal or _is_not_fresh(lifetime):
            return reason
        body = forwarded.read_body(ask.policy.body_limit)
        if body is None:
            return "body-too-large"
        # A streamed body is made by the view too: only now is known what the view has read.
        reads, targets = forwarded.reads(), forwarded.targets()
        refusal = may_share(reads, ask.policy) or may_be_tagged(targets)
        if reason := refusal or body_is_incomplete(exchange.fields, body):
            return reason
        response = StoredResponse(
            origin=origin_of(ask.request),
            status=forwarded.status,
            fields=_kept_fields(forwarded, reads.selecting),
            body=body,
            stored_at=self._clock(),
            lifetime=lifetime,
            position=ask.position,
            targets=targets,
            value=forwarded.value(),
        )
        names = miss.names | parse_vary(forwarded.fields) | reads.selecting
        return Shared(selected_key(ask, names), names, response)

    def _keep(self, ask: Ask, status: CacheStatus, made: Shared) -> CacheStatus:
        """Put the response where a later lookup finds it.

        A URL's list of names only grows while it is stored, so that a variant is never found by
        fewer fields than it depends on; and it is stored for as long as any variant may be.
        """
        response, kept = made.response, True
        if self._verdict(ask, response).is_gone:
            return replace(status, detail="purged")
        try:
            if made.names:
                listed = codec.encode_variants(Variants(tuple(sorted(made.names))))
                kept = self._write(ask, ask.key, listed, ask.policy.timeout)
            kept = kept and self._write(
                ask, made.at, codec.encode_response(response), response.lifetime
            )
        except StoreUnavailable:
            return replace(status, detail="store-unavailable")
        if not kept:
            return replace(status, detail="store-refused")
        return replace(status, stored=True, ttl=response.lifetime)

    def _write(self, ask: Ask, at: str, data: bytes, ttl: float) -> bool:
        return self._store.set(stored_key(at, ask.hash_method), data, ttl)


class _Attempt(Generic[F]):
    """One request that missed, as the coalescer sees it: a ``Task``."""

    def __init__(
        self, engine: Engine, ask: Ask, miss: Miss, forward: Callable[[CacheStatus], F]
    ) -> None:
        self._engine = engine
        self._ask = ask
        self._miss = miss
        self._forward = forward

    @property
    def key(self) -> str:
        """Where the response is looked for, by all that is known of what selects it."""
        return stored_key(selected_key(self._ask, self._miss.names), self._ask.hash_method)

    def look(self) -> Shared | None:
        """What is stored by now."""
        if not self._miss.may_store:
            return None
        found = self._engine.lookup(self._ask)
        if isinstance(found, Hit):
            return Shared(selected_key(self._ask, found.names), found.names, found.response)
        status = self._miss.status
        if not found.may_store:
            status = replace(status, detail=found.status.detail)
        self._miss = Miss(status, found.names, may_store=found.may_store)
        return None

    def adopt(self, shared: Shared) -> tuple[Hit | F, CacheStatus] | None:
        """The response of another request, if this one selects it and may be sent it."""
        is_selected = shared.at == selected_key(self._ask, shared.names)
        if not is_selected or shared.response.origin != origin_of(self._ask.request):
            return None
        found = self._engine.validate(self._ask, shared.names, shared.response)
        if not isinstance(found, Hit):
            return None
        missed = self._miss.status
        status = replace(found.status, fwd=missed.fwd, collapsed=True, detail=missed.detail)
        return replace(found, status=status), status

    def lead(self) -> tuple[tuple[Hit | F, CacheStatus], Shared | None]:
        """Forward the request, and store what comes back if it may be."""
        forwarded = self._forward(self._miss.status)
        if not (self._miss.may_share or self._miss.may_store):
            return (forwarded, self._miss.status), None
        status, shared = self._engine.store(self._ask, self._miss, forwarded)
        return (forwarded, status), shared


def _judging_once(ask: Ask) -> Ask:
    """*ask* with an ``is_stale`` that is not called again for a response that it has judged."""
    is_stale = ask.is_stale
    if is_stale is None:
        return ask
    judged: list[tuple[StoredResponse, bool]] = []

    def judge(response: StoredResponse) -> bool:
        for known, verdict in judged:
            if known == response:
                return verdict
        judged.append((response, is_stale(response)))
        return judged[-1][1]

    return replace(ask, is_stale=judge)


def selected_key(ask: Ask, names: frozenset[str]) -> str:
    """The key of the response that *ask* selects where responses vary by *names*."""
    return variant_key(ask.key, tuple(sorted(names)), ask.request.fields) if names else ask.key


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
