"""How long a response is fresh, how old it is, and for how long it may be sent stale.

RFC 9111 section 4.2, and RFC 5861. Times in seconds.
"""

import math
from collections.abc import Mapping
from typing import Final

from flask_larder.entry import StoredResponse
from flask_larder.headers import Fields, parse_date, parse_delta, values_of

LONGEST_LIFETIME: Final = 365 * 24 * 3600.0
"""One year. No entry lives longer, also one that was stored "for ever"."""


def freshness_lifetime(
    timeout: float, fields: Fields, directives: Mapping[str, str | None], now: float
) -> float:
    """The lifetime that the policy's *timeout* and the response's *fields* allow.

    A response can shorten what the policy says, never lengthen it; for a shared cache ``s-maxage``
    stands above ``max-age``, and both above ``Expires`` (RFC 9111 section 4.2.1).
    """
    lifetime = min(timeout, LONGEST_LIFETIME)
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return min(lifetime, float(parse_delta(directives[name])))
    expires = values_of(fields, "expires")
    return min(lifetime, _until(expires[0], fields, now)) if expires else lifetime


def _until(expires: str, fields: Fields, now: float) -> float:
    """The time from ``Date``, or from *now*, to *expires*; 0 for what is no date (section 5.3)."""
    expires_at = parse_date(expires, now)
    if expires_at is None:
        return 0.0
    dates = [parse_date(value, now) for value in values_of(fields, "date")]
    made_at = dates[0] if dates and dates[0] is not None else now
    return max(0.0, expires_at - made_at)


def stale_window(name: str, seconds: float, directives: Mapping[str, str | None]) -> float:
    """For how long a response may be sent stale: *seconds*, or less if its directives say so.

    *name* is that of the extension, ``stale-while-revalidate`` or ``stale-if-error`` (RFC 5861),
    by which a response can shorten what the policy says. One that has to be validated once it is
    stale has none (RFC 9111 section 4.2.4), and ``s-maxage`` means that too (section 5.2.2.10),
    unless the response says otherwise by that name.
    """
    if directives.keys() & {"must-revalidate", "proxy-revalidate"}:
        return 0.0
    if name in directives:
        return min(seconds, float(parse_delta(directives[name])))
    return 0.0 if "s-maxage" in directives else seconds


def spread_lifetime(lifetime: float, jitter: float, chance: float) -> float:
    """*lifetime* without a part of up to *jitter* of it, so that what is made together parts.

    *chance* is from 0 to 1.
    """
    return lifetime * (1.0 - jitter * chance)


def longest_window(stored: StoredResponse) -> float:
    """For how long the response may be of use when it is no longer fresh."""
    return max(stored.stale_while_revalidate, stored.stale_if_error)


def current_age(stored: StoredResponse, now: float) -> float:
    """The response's age at *now*; never below 0, though clocks of two hosts may disagree."""
    return max(0.0, now - stored.stored_at)


def remaining_lifetime(stored: StoredResponse, now: float) -> float:
    """For how long the response stays fresh; 0 or less if it is stale (section 4.2)."""
    return stored.lifetime - current_age(stored, now)


def staleness(stored: StoredResponse, now: float, stale_since: float | None) -> float | None:
    """For how long the response has been stale, by its age or by a purge; ``None`` if fresh.

    *stale_since* is when a purge made it so.
    """
    overdue = -remaining_lifetime(stored, now)
    if stale_since is not None:
        return max(0.0, overdue, now - stale_since)
    return overdue if overdue >= 0 else None


def is_due_early(stored: StoredResponse, now: float, beta: float, chance: float) -> bool:
    """Whether to make a fresh response anew before it is stale: the likelier, the nearer that is.

    The XFetch rule of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
    Prevention" (2015): what takes long to make is made anew earlier, as with a higher *beta*; 1
    is their optimum. *chance* is above 0, and up to 1.
    """
    return -stored.cost * beta * math.log(chance) >= remaining_lifetime(stored, now)
