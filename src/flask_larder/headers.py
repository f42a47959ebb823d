"""Parse and write the header fields that the cache needs (RFC 9110, RFC 9111)."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

Fields = Sequence[tuple[str, str]]
"""Header fields as pairs of name and value, in the order they are sent."""

LONGEST_DELTA: Final = 2**31
"""Delta-seconds above this are read as this (RFC 9111 section 1.2.2)."""

# Fields that belong to one connection (RFC 9110 section 7.6.1) and are not stored
# (RFC 9111 section 3.1).
_CONNECTION_FIELDS: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


_TIMES: Final = frozenset({"max-age", "s-maxage", "stale-if-error", "stale-while-revalidate"})

# RFC 9110 sections 5.1 and 5.5.
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def is_field_name(name: str) -> bool:
    """Whether *name* is a token, as the name of a field must be (RFC 9110 section 5.1)."""
    return _FIELD_NAME.fullmatch(name) is not None


def are_well_formed(fields: Fields) -> bool:
    """Whether names and values are such that no field can smuggle in another one."""
    return all(is_field_name(name) and _FIELD_VALUE.fullmatch(value) for name, value in fields)


def values_of(fields: Fields, name: str) -> list[str]:
    """The values of all lines of the field *name*, which is given in lower case."""
    return [value for line, value in fields if line.lower() == name]


def parse_list(values: Iterable[str]) -> list[str]:
    """The members of a comma-separated field (RFC 9110 section 5.6.1), trimmed, none empty.

    Commas within a quoted string do not separate.
    """
    members: list[str] = []
    for value in values:
        members.extend(member for part in _split_unquoted(value) if (member := part.strip(" \t")))
    return members


def _split_unquoted(value: str) -> list[str]:
    if '"' not in value:
        return value.split(",")
    parts, start, quoted, escaped = [], 0, False, False
    for position, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            parts.append(value[start:position])
            start = position + 1
    if quoted:  # never closed: then nothing is quoted, so that no directive is hidden
        return value.split(",")
    parts.append(value[start:])
    return parts


def parse_cache_control(fields: Fields) -> dict[str, str | None]:
    """The directives of all ``Cache-Control`` lines, names in lower case (RFC 9111 section 5.2).

    A directive without an argument has ``None``; quotes around an argument are removed. Of a
    directive that is given twice the first counts, except that a shorter time wins: section 4.2.1
    lets a cache take either, and the shorter one is never wrong.
    """
    directives: dict[str, str | None] = {}
    for member in parse_list(values_of(fields, "cache-control")):
        name, separator, argument = member.partition("=")
        name = name.strip(" \t").lower()
        value = argument.strip(" \t").strip('"') if separator else None
        if name not in directives or _is_shorter(name, value, directives[name]):
            directives[name] = value
    return directives


def _is_shorter(name: str, value: str | None, other: str | None) -> bool:
    return name in _TIMES and parse_delta(value) < parse_delta(other)


def parse_delta(value: str | None) -> int:
    """Delta-seconds (RFC 9111 section 1.2.2); anything but digits counts as 0, that is, as stale.

    Section 4.2.1 encourages caches to treat invalid freshness information as stale.
    """
    if value is None or not (value.isascii() and value.isdigit()):
        return 0
    digits = value.lstrip("0")
    # Eleven digits exceed the limit in any case; int() refuses absurdly long ones.
    return LONGEST_DELTA if len(digits) > 10 else min(int(digits or "0"), LONGEST_DELTA)


def parse_vary(fields: Fields) -> frozenset[str]:
    """The names in all ``Vary`` lines in lower case; ``{"*"}`` if one of them is ``*``."""
    names = frozenset(name.lower() for name in parse_list(values_of(fields, "vary")))
    return frozenset("*") if "*" in names else names


def without_connection_fields(fields: Fields) -> tuple[tuple[str, str], ...]:
    """*fields* without those that are for one connection only (RFC 9111 section 3.1)."""
    named = {name.lower() for name in parse_list(values_of(fields, "connection"))}
    dropped = _CONNECTION_FIELDS | named
    return tuple((name, value) for name, value in fields if name.lower() not in dropped)
