"""Which part of a response a client wants (RFC 9110 section 14).

One part of its bytes is answered. For several, and for what is no range of bytes, the whole is
sent, as the RFC allows: whoever names thousands of parts gets no more than that.
"""

import re
from dataclasses import dataclass
from typing import Final

from flask_larder.conditional import has_condition_of_origin
from flask_larder.entry import RequestFields
from flask_larder.headers import Fields, parse_date, parse_entity_tags, parse_list, values_of

_LARGEST: Final = 10**18
"""Positions above this are read as this: no body is as long (section 14.1.2)."""

_SURELY_LATER: Final = 60.0
"""In seconds, between ``Last-Modified`` and ``Date``, whose clocks may differ (section 8.8.2.2)."""

_RANGE: Final = re.compile(r"([0-9]*)-([0-9]*)")


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from *first* to *last*, which is one of them, of *length*.

    As a text it is their ``Content-Range`` (section 14.4).
    """

    first: int
    last: int
    length: int

    def __str__(self) -> str:
        return f"bytes {self.first}-{self.last}/{self.length}"


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """What was asked for lies beyond the *length* of the whole; 416 says so (section 15.5.17)."""

    length: int

    def __str__(self) -> str:
        return f"bytes */{self.length}"


def wanted_part(
    request: RequestFields, fields: Fields, length: int, now: float, made_at: float | None = None
) -> Part | Unsatisfiable | None:
    """What answers a GET for which a 200 with *fields* and *length* bytes was made (section 14.2).

    ``None`` where that is the whole. *now*, and when a stored response was made, are in seconds
    since the epoch.
    """
    wanted, condition = request.get("range"), request.get("if-range")
    if wanted is None or values_of(fields, "content-range"):
        return None
    if has_condition_of_origin(request):
        return None
    if condition is not None and not is_unchanged(fields, condition, now, made_at):
        return None
    return part_of(wanted, length)


def is_unchanged(fields: Fields, condition: str, now: float, made_at: float | None = None) -> bool:
    """Whether the response is the one that an ``If-Range`` names (section 13.1.5)."""
    condition = condition.strip(" \t")
    if '"' in condition[:3]:
        return has_strong_tag(fields, condition)
    return has_strong_date(fields, condition, now, made_at)


def has_strong_tag(fields: Fields, tag: str) -> bool:
    """Whether *tag* is the response's, by strong comparison (section 8.8.3.2)."""
    return values_of(fields, "etag") == [tag] and parse_entity_tags(tag) == [tag]


def has_strong_date(fields: Fields, date: str, now: float, made_at: float | None = None) -> bool:
    """Whether *date* is the response's ``Last-Modified``, and tells it from any other.

    It does where the response was made well after it, since it may have changed twice within a
    second (section 8.8.2.2).
    """
    modified_at = parse_date(date, now)
    if modified_at is None or values_of(fields, "last-modified") != [date]:
        return False
    dates = values_of(fields, "date")
    dated_at = parse_date(dates[0], now) if dates else now if made_at is None else made_at
    return dated_at is not None and dated_at - modified_at >= _SURELY_LATER


def part_of(wanted: str, length: int) -> Part | Unsatisfiable | None:
    """The part of *length* bytes that a ``Range`` names; ``None`` for the whole (section 14.1.2).

    What is empty is always sent whole: no ``Content-Range`` can tell its last bytes.
    """
    bounds = parse_range(wanted)
    if bounds is None or length <= 0:
        return None
    first, last = bounds
    if first is None:
        first, last = max(length - (last or 0), 0), length - 1
    if first >= length:
        return Unsatisfiable(length)
    return Part(first, length - 1 if last is None else min(last, length - 1), length)


def parse_range(value: str) -> tuple[int | None, int | None] | None:
    """The first and the last position that a ``Range`` of bytes names (section 14.1.1).

    Without a first one, the last is for how many bytes it wants from the end. ``None`` for several
    ranges, another unit, or what is malformed.
    """
    unit, separator, ranges = value.strip(" \t").partition("=")
    members = parse_list([ranges])
    if not separator or unit.lower() != "bytes" or len(members) != 1:
        return None
    found = _RANGE.fullmatch(members[0])
    if found is None:
        return None
    first, last = map(_position, found.groups())
    if first is None:
        return None if last is None else (None, last)
    return None if last is not None and last < first else (first, last)


def _position(digits: str) -> int | None:
    digits, is_given = digits.lstrip("0"), bool(digits)
    if len(digits) > 18:  # int() refuses absurdly long ones
        return _LARGEST
    return int(digits or "0") if is_given else None
