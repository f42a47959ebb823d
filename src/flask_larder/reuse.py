"""Whether a stored response may be sent: fresh, stale, or in place of an error.

That is RFC 9111 section 4, and RFC 5861. What the purges say of it is a
:class:`~flask_larder.purges.Verdict`; *now* is in seconds since the epoch.
"""

from collections.abc import Callable

from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, Miss
from flask_larder.entry import StoredResponse
from flask_larder.freshness import (
    current_age,
    is_due_early,
    longest_window,
    remaining_lifetime,
    staleness,
)
from flask_larder.purges import Verdict
from flask_larder.requested import may_offer, takes_stale
from flask_larder.status import CacheStatus


def reuse(
    ask: Ask, found: Hit, verdict: Verdict, now: float, chance: Callable[[], float]
) -> Hit | Miss:
    """*found*, a :func:`candidate`, where it may be sent, else the reason why not."""
    stored, names = found.response, found.names
    if verdict.is_gone:
        return Miss(CacheStatus("uri-miss", detail="purged"), names)
    stale_for = staleness(stored, now, verdict.stale_since)
    is_purged = verdict.stale_since is not None and remaining_lifetime(stored, now) > 0
    stale = CacheStatus("stale", detail="purged" if is_purged else None)
    if refused := _refusal(ask, found, stale_for, stale):
        return refused
    offered = found if stale_for is None else _stale(found, stale_for)
    if wish := may_offer(ask.directives, offered.age, offered.status.ttl or 0.0):
        return Miss(CacheStatus("request", detail=wish), names, to_validate=stored)
    if stale_for is None:
        is_due = _is_due_early(ask, stored, now, chance)
        return _due(found, "early-refresh") if is_due else found
    answer = _sent_stale(ask, offered, stale_for)
    return answer or Miss(stale, names, stale=stored, to_validate=stored)


def candidate(stored: StoredResponse, names: frozenset[str], now: float) -> Hit:
    """*stored* as it will be sent, if it may be, to a request that has selected it by *names*."""
    age = current_age(stored, now)
    return Hit(stored, age, CacheStatus(ttl=stored.lifetime - age), names)


def in_place_of_error(ask: Ask, found: Hit, verdict: Verdict, now: float) -> Hit | None:
    """*found* where it may be sent when forwarding has failed (RFC 5861 section 4), or ``None``."""
    stale_for = staleness(found.response, now, verdict.stale_since) or 0.0
    window = ask.policy.grants(found.response.stale_if_error, ask.policy.stale_if_error)
    if verdict.is_gone or stale_for >= window:
        return None
    if stale_for:
        found = _stale(found, stale_for)
    return replace(found, status=replace(found.status, detail="stale-if-error"))


def _refusal(ask: Ask, found: Hit, stale_for: float | None, stale: CacheStatus) -> Miss | None:
    """The reason why something else is wanted in any case, or ``None``."""
    stored, names = found.response, found.names
    if ask.refresh:
        is_fresh = stale_for is None
        return Miss(CacheStatus("request", detail="forced-update") if is_fresh else stale, names)
    is_too_stale = stale_for is not None and stale_for >= longest_window(stored)
    if is_too_stale or ask.replaces == stored.stored_at:
        return Miss(stale, names, stale=stored, to_validate=stored)
    is_rejected = ask.is_stale is not None and ask.is_stale(stored)
    return Miss(CacheStatus("stale", detail="is-stale"), names) if is_rejected else None


def _is_due_early(
    ask: Ask, stored: StoredResponse, now: float, chance: Callable[[], float]
) -> bool:
    beta = ask.policy.early_refresh if ask.policy.may_revalidate else None
    return beta is not None and is_due_early(stored, now, beta, chance())


def _sent_stale(ask: Ask, found: Hit, stale_for: float) -> Hit | None:
    """*found*, if the developer, its maker or the request takes it as stale as it is."""
    own, policy = found.response, ask.policy
    window = policy.grants(own.stale_while_revalidate, policy.stale_while_revalidate)
    if policy.may_revalidate and stale_for < window:
        return _due(found, "stale-while-revalidate")
    if stale_for < own.max_stale and takes_stale(ask.directives, stale_for):
        return replace(found, status=replace(found.status, detail="max-stale"))
    return None


def _stale(found: Hit, stale_for: float) -> Hit:
    """It, where a purge may have made it stale before its time."""
    return replace(found, status=replace(found.status, ttl=-stale_for))


def _due(found: Hit, detail: str) -> Hit:
    return replace(found, status=replace(found.status, detail=detail), is_due=True)
