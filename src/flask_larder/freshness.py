"""How long a response is fresh, and how old it is (RFC 9111 section 4.2). Times in seconds."""

from collections.abc import Mapping
from typing import Final

from flask_larder.entry import StoredResponse
from flask_larder.headers import parse_delta

LONGEST_LIFETIME: Final = 365 * 24 * 3600.0
"""One year. No entry lives longer, also one that was stored "for ever"."""


def freshness_lifetime(timeout: float, directives: Mapping[str, str | None]) -> float:
    """The lifetime that the policy's *timeout* and the response's directives allow.

    A response can shorten what the policy says, never lengthen it; for a shared cache
    ``s-maxage`` stands above ``max-age`` (RFC 9111 section 4.2.1).
    """
    lifetime = min(timeout, LONGEST_LIFETIME)
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return min(lifetime, float(parse_delta(directives[name])))
    return lifetime


def current_age(stored: StoredResponse, now: float) -> float:
    """The response's age at *now*; never below 0, though clocks of two hosts may disagree."""
    return max(0.0, now - stored.stored_at)


def remaining_lifetime(stored: StoredResponse, now: float) -> float:
    """For how long the response stays fresh; 0 or less if it is stale (section 4.2)."""
    return stored.lifetime - current_age(stored, now)
