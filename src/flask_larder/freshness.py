"""How long a response is fresh, how old it is, and for how long it may be sent stale.

RFC 9111 section 4.2, and RFC 5861. Times in seconds.
"""

import math
from collections.abc import Mapping
from typing import Final

from flask_larder.entry import StoredResponse
from flask_larder.headers import (
    Fields,
    is_about_all,
    parse_age,
    parse_date,
    parse_delta,
    values_of,
)

LONGEST_LIFETIME: Final = 365 * 24 * 3600.0
"""One year. No entry lives longer, also one that was stored "for ever"."""


LONGEST_HEURISTIC: Final = 24 * 3600.0
"""One day. No response is taken as fresh for longer only because it has not changed for long."""

_HEURISTIC_FRACTION: Final = 0.1
"""Of the time since the last change; RFC 9111 section 4.2.2 gives it as typical."""

HEURISTIC_STATUSES: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Those that are cacheable where the response says nothing of it (RFC 9110 section 15.1)."""

MOST_AHEAD: Final = 60.0
"""By how many seconds a clock may be ahead of the one by which something was stored."""


def freshness_lifetime(timeout: float, explicit: float | None) -> float:
    """The lifetime of a response whose developer gave it *timeout*, and its own fields *explicit*.

    They can shorten what the policy says, never lengthen it.
    """
    return min(timeout, LONGEST_LIFETIME if explicit is None else explicit)


def explicit_lifetime(
    fields: Fields, directives: Mapping[str, str | None], now: float
) -> float | None:
    """The lifetime that a response states (RFC 9111 section 4.2.1), at most a year.

    For a shared cache ``s-maxage`` stands above ``max-age``, and both above ``Expires``; under
    ``no-cache`` there is none (section 5.2.2.4). *now* is when the response came.
    """
    if directives and is_about_all(directives, "no-cache"):
        return 0.0
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return min(float(parse_delta(directives[name])), LONGEST_LIFETIME)
    expires = values_of(fields, "expires")
    return min(_until(expires[0], fields, now), LONGEST_LIFETIME) if expires else None


def _until(expires: str, fields: Fields, now: float) -> float:
    """The time from ``Date`` to *expires*; 0 for what is no date (section 5.3)."""
    expires_at = parse_date(expires, now)
    return 0.0 if expires_at is None else max(0.0, expires_at - _date(fields, now))


def _date(fields: Fields, now: float) -> float:
    """When the response was made by its own word, or *now* where it has no such date."""
    dates = values_of(fields, "date")
    date = parse_date(dates[0], now) if dates else None
    return now if date is None else date


def heuristic_lifetime(
    status: int, fields: Fields, directives: Mapping[str, str | None], now: float
) -> float:
    """The lifetime of a response that states none (section 4.2.2): the longer, the older it is."""
    changes = values_of(fields, "last-modified")
    changed_at = parse_date(changes[0], now) if changes else None
    is_allowed = status in HEURISTIC_STATUSES or "public" in directives
    if changed_at is None or not is_allowed:
        return 0.0
    unchanged_for = max(0.0, _date(fields, now) - changed_at)
    return min(unchanged_for * _HEURISTIC_FRACTION, LONGEST_HEURISTIC)


def initial_age(fields: Fields, response_delay: float, now: float) -> float:
    """How old a response was already when it came, in seconds (section 4.2.3).

    *response_delay* is how long it took to come. A clock that is behind ours makes it too old
    rather than too young.
    """
    apparent_age = max(0.0, now - _date(fields, now))
    return max(apparent_age, received_age(fields) + response_delay)


def received_age(fields: Fields) -> float:
    """The age that a response came with; 0 where it has none that can be read (section 5.1)."""
    return float(parse_age(fields) or 0)


def stale_window(
    name: str, seconds: float, directives: Mapping[str, str | None], *, may_lengthen: bool
) -> float:
    """For how long a response may be sent stale: *seconds*, or what its directives say.

    *name* is that of the extension, ``stale-while-revalidate`` or ``stale-if-error`` (RFC 5861),
    by which a response can shorten what the policy says, and lengthen it where it *may*. One that
    must be validated has none, and ``s-maxage`` means that too (section 5.2.2.10), unless the
    response says otherwise by that name.
    """
    if must_be_validated(directives):
        return 0.0
    if name in directives:
        own = min(float(parse_delta(directives[name])), LONGEST_LIFETIME)
        return own if may_lengthen else min(seconds, own)
    return 0.0 if "s-maxage" in directives else seconds


def must_be_validated(directives: Mapping[str, str | None]) -> bool:
    """Whether it is never to be sent once it is stale (RFC 9111 section 4.2.4)."""
    if not directives:  # as of most responses
        return False
    is_said = directives.keys() & {"must-revalidate", "proxy-revalidate"}
    return bool(is_said) or is_about_all(directives, "no-cache")


def spread_lifetime(lifetime: float, jitter: float, chance: float) -> float:
    """*lifetime* without a part of up to *jitter* of it, so that what is made together parts.

    *chance* is from 0 to 1.
    """
    return lifetime * (1.0 - jitter * chance)


def longest_window(stored: StoredResponse) -> float:
    """For how long the response may be sent when it is no longer fresh."""
    return max(stored.stale_while_revalidate, stored.stale_if_error, stored.max_stale)


def current_age(stored: StoredResponse, now: float) -> float:
    """The response's age at *now*; never below 0, though clocks of two hosts may disagree.

    Where they disagree by more than :data:`MOST_AHEAD`, that is its age: a clock was set back, and
    nobody can tell how old it is, but young it is not.
    """
    age = now - stored.stored_at
    return -age if age < -MOST_AHEAD else max(0.0, age)


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
