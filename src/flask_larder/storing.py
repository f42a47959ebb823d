"""What is kept of what a view has answered, or why nothing is (RFC 9111 section 3)."""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from flask_larder.ask import Ask, Shared, selected_key
from flask_larder.entry import Forwarded, StoredResponse
from flask_larder.freshness import spread_lifetime
from flask_larder.headers import Fields, connection_fields, parse_vary, with_vary, without
from flask_larder.key import origin_of
from flask_larder.policy import (
    Exchange,
    Reason,
    body_is_incomplete,
    is_for_nobody,
    may_be_tagged,
    may_share,
    may_store,
    unstored_fields,
)
from flask_larder.requested import forbids_storing
from flask_larder.times import times_of

# Of the one answer that was measured; a stored copy tells its own.
_OWN_FIELDS: Final = frozenset({"age", "server-timing"})


def to_store(
    ask: Ask,
    names: frozenset[str],
    forwarded: Forwarded,
    clock: Callable[[], float],
    chance: Callable[[], float],
) -> Shared | Reason:
    """What is to be stored of the answer to *ask*, or the reason why nothing is.

    *names* are the fields by which responses of its URL are known to vary. *clock* and *chance* are
    as those of an :class:`~flask_larder.engine.Engine`.
    """
    policy, came_at, told = ask.policy, clock(), forwarded.fields
    exchange = Exchange.of(
        ask.request,
        forwarded.status,
        told,
        targeted=policy.targeted,
        unsaid=forwarded.unsaid,
    )
    refusal = forbids_storing(ask.directives) or forwarded.refusal
    if reason := refusal or may_store(exchange, policy):
        return reason
    times = times_of(exchange, policy, forwarded.cost(), came_at)
    if policy.jitter:
        times = replace(times, lifetime=spread_lifetime(times.lifetime, policy.jitter, chance()))
    if not times.is_of_use:
        return "not-fresh"
    body = forwarded.read_body(policy.body_limit)
    if body is None:
        return "body-too-large"
    # A streamed body is made by the view too: only now is known what the view has read.
    reads, targets = forwarded.reads(), forwarded.targets()
    refusal = may_share(reads, exchange, policy) or may_be_tagged(targets)
    if reason := refusal or body_is_incomplete(exchange.fields, body):
        return reason
    all_fields = forwarded.fields
    if has_changed(told, all_fields):
        return "fields-changed"
    unstored = unstored_fields(exchange.directives) | connection_fields(exchange.fields)
    fields = kept_fields(all_fields, reads.selecting, unstored)
    # A timeout counts from when it is there, and what the response says from when it came.
    made_at = (came_at if policy.by_response else clock()) - times.initial_age
    names = names | parse_vary(exchange.fields) | reads.selecting
    response = StoredResponse(
        origin=origin_of(ask.request),
        status=exchange.status,
        fields=fields,
        body=body,
        stored_at=made_at,
        lifetime=times.lifetime,
        position=ask.position,
        targets=targets,
        cost=forwarded.cost(),
        stale_while_revalidate=times.stale_while_revalidate,
        stale_if_error=times.stale_if_error,
        max_stale=times.max_stale,
        keep=times.keep,
        value=forwarded.value(),
        anonymous=is_for_nobody(reads, exchange, policy),
    )
    return Shared(selected_key(ask, names), names, response)


# What is added by whoever reads the body.
_OF_BODY: Final = frozenset({"content-length", "etag"})


def has_changed(told: Fields, fields: Fields) -> bool:
    """Whether the view, while its body streamed, has told what no rule has looked at."""
    count = len(told)
    return fields[:count] != told or any(n.lower() not in _OF_BODY for n, _ in fields[count:])


def kept_fields(
    all_fields: Fields, selecting: frozenset[str], unstored: frozenset[str] = frozenset()
) -> tuple[tuple[str, str], ...]:
    """The fields to store. What the view selected by without saying so joins its ``Vary``."""
    fields = without(all_fields, unstored | _OWN_FIELDS)
    return tuple(with_vary(fields, selecting))
