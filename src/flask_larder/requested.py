"""What the ``Cache-Control`` of a request asks of a cache (RFC 9111 section 5.2.1).

One rule, one function, which returns its reason, or ``None`` where it does not object. What is
malformed asks for nothing.
"""

from types import MappingProxyType
from typing import Final

from flask_larder.entry import Request
from flask_larder.headers import parse_cache_control, parse_delta, parse_list
from flask_larder.policy import GET_AND_HEAD, Directives, Reason

NO_DIRECTIVES: Final[Directives] = MappingProxyType({})


def directives_of(request: Request) -> Directives:
    """The directives of *request*; ``Pragma: no-cache`` counts where there are none (5.4).

    Of a GET or HEAD: the others go to the view in any case (section 4).
    """
    if request.method not in GET_AND_HEAD:
        return NO_DIRECTIVES
    control = request.fields.get("cache-control")
    if control is not None:
        return parse_cache_control((("cache-control", control),))
    pragma = request.fields.get("pragma")
    is_no_cache = pragma is not None and "no-cache" in map(str.lower, parse_list([pragma]))
    return {"no-cache": None} if is_no_cache else NO_DIRECTIVES


def may_offer(directives: Directives, age: float, ttl: float) -> Reason | None:
    """Why the request does not want a response of that *age* and freshness, or ``None``.

    Both are in seconds; *ttl* is 0 or below for what is stale.
    """
    if not directives:  # as of most requests
        return None
    return (
        wants_validation(directives)
        or is_too_old(directives, age)
        or is_unwelcome_stale(directives, ttl)
        or is_too_near_its_end(directives, ttl)
    )


def wants_validation(directives: Directives) -> Reason | None:
    """Section 5.2.1.4: not what is stored, unless it was validated."""
    return "no-cache" if "no-cache" in directives else None


def is_too_old(directives: Directives, age: float) -> Reason | None:
    """Section 5.2.1.1."""
    limit = _seconds(directives, "max-age")
    return "max-age" if limit is not None and age > limit else None


def is_unwelcome_stale(directives: Directives, ttl: float) -> Reason | None:
    """Section 5.2.1.1: who gives a ``max-age`` takes what is stale only with a ``max-stale``."""
    is_unwelcome = _seconds(directives, "max-age") is not None and "max-stale" not in directives
    return "max-age" if ttl <= 0 and is_unwelcome else None


def is_too_near_its_end(directives: Directives, ttl: float) -> Reason | None:
    """Section 5.2.1.3."""
    limit = _seconds(directives, "min-fresh")
    return "min-fresh" if limit is not None and ttl < limit else None


def takes_stale(directives: Directives, stale_for: float) -> bool:
    """Whether it takes what has been stale for *stale_for* seconds (section 5.2.1.2)."""
    if "max-stale" not in directives:
        return False
    limit = _seconds(directives, "max-stale")
    return stale_for <= limit if limit is not None else directives["max-stale"] is None


def forbids_storing(directives: Directives) -> Reason | None:
    """Section 5.2.1.5."""
    return "request-no-store" if "no-store" in directives else None


def wants_only_stored(directives: Directives) -> bool:
    """Whether 504 is to be answered where nothing that is stored will do (section 5.2.1.7)."""
    return "only-if-cached" in directives


def _seconds(directives: Directives, name: str) -> int | None:
    value = directives.get(name)
    is_number = value is not None and value.isascii() and value.isdigit()
    return parse_delta(value) if is_number else None
