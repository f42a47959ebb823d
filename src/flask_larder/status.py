"""The outcome of one request in this cache, and how ``Cache-Status`` tells it (RFC 9211)."""

import math
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Forward: TypeAlias = Literal["bypass", "method", "uri-miss", "vary-miss", "request", "stale"]
"""Why a request was forwarded (RFC 9211 section 2.2)."""

CACHE_NAME: Final = "larder"


class CacheStatus(Struct, frozen=True):
    """One outcome: a hit if *fwd* is ``None``, else why the request went to the view.

    *fwd_status* is the status code that the view has answered, where another one is sent (section
    2.3). *collapsed* means that the request did not go there itself, but got what another one like
    it did. *ttl* is the remaining freshness in seconds, below 0 for what is stale, *detail* a
    reason in one word.
    """

    fwd: Forward | None = None
    fwd_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    ttl: float | None = None
    detail: str | None = None

    @property
    def is_hit(self) -> bool:
        """Whether the answer came from the cache."""
        return self.fwd is None

    def __str__(self) -> str:
        """The member of ``Cache-Status`` that this cache adds, as a structured field."""
        member = f"{CACHE_NAME}; hit" if self.fwd is None else f"{CACHE_NAME}; fwd={self.fwd}"
        if self.fwd_status is not None:
            member += f"; fwd-status={self.fwd_status}"
        if self.stored:
            member += "; stored"
        if self.collapsed:
            member += "; collapsed"
        if self.ttl is not None:
            member += f"; ttl={_away_from_zero(self.ttl)}"
        if self.detail is not None:
            member += f"; detail={self.detail}"
        return member


def _away_from_zero(seconds: float) -> int:
    return math.ceil(seconds) if seconds > 0 else math.floor(seconds)
