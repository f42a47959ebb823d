"""For how long one response is of use: fresh, stale, and to be validated.

That is what its policy and its own fields say together (RFC 9111 section 4.2, RFC 5861).
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from flask_larder.conditional import own_validators
from flask_larder.freshness import (
    explicit_lifetime,
    freshness_lifetime,
    heuristic_lifetime,
    initial_age,
    must_be_validated,
    received_age,
    stale_window,
)
from flask_larder.policy import SERVER_ERRORS, Exchange, Policy

_DAY: Final = 24 * 3600.0


class Times(Struct, frozen=True):
    """In seconds; as those of a :class:`~flask_larder.entry.StoredResponse`."""

    initial_age: float
    lifetime: float
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    max_stale: float = 0.0
    keep: float = 0.0

    @property
    def is_of_use(self) -> bool:
        """Whether there is any point in storing it."""
        windows = (self.stale_while_revalidate, self.stale_if_error, self.max_stale, self.keep)
        return self.lifetime > self.initial_age or any(windows)


def times_of(exchange: Exchange, policy: Policy, response_delay: float, now: float) -> Times:
    """The times of a response that came at *now*, *response_delay* seconds after it was asked."""
    age, lifetime = _age_and_lifetime(exchange, policy, response_delay, now)
    if lifetime <= age:
        # What is stale at once has only what it says of that itself; where the developer has said
        # for how long it is fresh, to ask each time whether it still is would make it no cheaper.
        if not policy.by_response:
            return Times(age, lifetime)
        policy = replace(policy, stale_while_revalidate=0.0, stale_if_error=0.0)
    keep = policy.keep if policy.keep and own_validators(exchange.fields) else 0.0
    if exchange.status >= SERVER_ERRORS:  # an error is not sent instead of another
        return Times(age, lifetime, keep=keep)
    own, says = policy.by_response, exchange.directives
    while_revalidate = stale_window(
        "stale-while-revalidate", policy.stale_while_revalidate, says, may_lengthen=own
    )
    if_error = stale_window("stale-if-error", policy.stale_if_error, says, may_lengthen=own)
    kept = max(while_revalidate, if_error, keep if own else 0.0)
    max_stale = kept if may_be_taken_stale(exchange) else 0.0
    return Times(age, lifetime, while_revalidate, if_error, max_stale, keep)


def _age_and_lifetime(
    exchange: Exchange, policy: Policy, response_delay: float, now: float
) -> tuple[float, float]:
    fields, directives = exchange.fields, exchange.directives
    explicit = explicit_lifetime(fields, directives, now)
    if policy.timeout is not None:
        # The timeout counts from now on, and what the response says from when it was made.
        age = received_age(fields)
        return age, freshness_lifetime(policy.timeout + age, explicit)
    age = initial_age(fields, response_delay, now)
    if explicit is not None:
        return age, explicit
    return age, heuristic_lifetime(exchange.status, fields, directives, now)


def may_be_taken_stale(exchange: Exchange) -> bool:
    """Whether it may be sent stale only since a request takes it so (RFC 9111 section 4.2.4)."""
    return "s-maxage" not in exchange.directives and not must_be_validated(exchange.directives)


def longest_life(policy: Policy) -> float:
    """How long the list of selecting fields is kept: for as long as most that it leads to.

    Where the fields of the responses tell that, and one lives longer than a day, it may be lost for
    its list.
    """
    if policy.timeout is None:
        return _DAY
    return policy.timeout + max(policy.stale_while_revalidate, policy.stale_if_error, policy.keep)
