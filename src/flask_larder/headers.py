"""Parse and write the header fields that the cache needs (RFC 9110, RFC 9111)."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
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
_MAY_NAME_FIELDS: Final = frozenset({"no-cache", "private"})

# RFC 9110 sections 5.1 and 5.5.
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


FOR_ALL: Final = frozenset({"public", "s-maxage"})
"""The directives by which a response says that it is for all, whoever has asked."""


def is_field_name(name: str) -> bool:
    """Whether *name* is a token, as the name of a field must be (RFC 9110 section 5.1)."""
    return _FIELD_NAME.fullmatch(name) is not None


def selects_by_itself(name: str) -> bool:
    """Whether who looks at the request field *name*, in lower case, has an answer for each value.

    Such as a language, or the origin of the page that asks (CORS): they are sent to be chosen by.
    """
    return name.startswith("accept") or name == "origin"


def are_well_formed(fields: Fields) -> bool:
    """Whether names and values are such that no field can smuggle in another one."""
    for name, value in fields:
        if _FIELD_NAME.fullmatch(name) is None:
            return False
        # Printable ASCII, which most values are, is found out faster so.
        is_plain = value.isascii() and value.isprintable()
        if not is_plain and _FIELD_VALUE.fullmatch(value) is None:
            return False
    return True


class Head(tuple[tuple[str, str], ...]):  # noqa: SLOT001 - a tuple can have none
    """:data:`Fields` that many rules look into: the values of each are found by its name."""

    def __init__(self, fields: Fields) -> None:
        self.by_name: Final[dict[str, list[str]]] = {}
        for name, value in fields:
            self.by_name.setdefault(name.lower(), []).append(value)


def values_of(fields: Fields, name: str) -> list[str]:
    """The values of all lines of the field *name*, which is given in lower case."""
    if type(fields) is Head:
        return fields.by_name.get(name) or []
    return [value for line, value in fields if line.lower() == name]


def parse_list(values: Iterable[str]) -> list[str]:
    """The members of a comma-separated field (RFC 9110 section 5.6.1), trimmed, none empty.

    Commas within a quoted string do not separate. Each line is read by itself: a quote that is
    never closed there quotes nothing of the next one.
    """
    members: list[str] = []
    for value in values:
        members.extend(member for part in _split_unquoted(value) if (member := part.strip(" \t")))
    return members


def _split_unquoted(value: str) -> list[str]:
    if '"' not in value:
        return value.split(",")
    parts, start, opened, escaped = [], 0, None, False
    for position, char in enumerate(value):
        if escaped:
            escaped = False
        elif opened is not None and char == "\\":
            escaped = True
        elif char == '"':
            opened = position if opened is None else None
        elif char == "," and opened is None:
            parts.append(value[start:position])
            start = position + 1
    if opened is None:
        return [*parts, value[start:]]
    # Never closed: then it quotes nothing, so that no directive is hidden.
    last, *others = value[opened:].split(",")
    return [*parts, value[start:opened] + last, *others]


def parse_cache_control(fields: Fields) -> dict[str, str | None]:
    """The directives of all ``Cache-Control`` lines, names in lower case (RFC 9111 section 5.2).

    A directive without an argument has ``None``; quotes are removed where both are there. Of a
    directive that is given twice the first counts, except that a shorter time wins: section 4.2.1
    lets a cache take either, and the shorter one is never wrong. So does the wider ``private`` or
    ``no-cache``.
    """
    values = values_of(fields, "cache-control")
    if not values:
        return {}
    given: dict[str, list[str | None]] = {}
    for member in parse_list(values):
        name, separator, argument = member.partition("=")
        value = _unquoted(argument.strip(" \t")) if separator else None
        given.setdefault(name.strip(" \t").lower(), []).append(value)
    return {name: _strictest(name, values) for name, values in given.items()}


def _unquoted(argument: str) -> str:
    is_quoted = len(argument) > 1 and argument[0] == argument[-1] == '"'
    return argument[1:-1] if is_quoted else argument


def _strictest(name: str, values: list[str | None]) -> str | None:
    """Which argument of a directive counts; a later look at each would take quadratic time."""
    if name in _TIMES:
        return min(values, key=parse_delta)
    if name in _MAY_NAME_FIELDS:
        named = [value for value in values if value]
        return ",".join(named) if len(named) == len(values) else None
    return values[0]


def named_fields(directives: Mapping[str, str | None], name: str) -> frozenset[str]:
    """The fields, in lower case, that the directive ``private`` or ``no-cache`` is about.

    None where it is about the whole response: without an argument (RFC 9111 sections 5.2.2.4 and
    5.2.2.7), or with one in which not all are names.
    """
    argument = directives.get(name)
    if not argument:
        return frozenset()
    names = parse_list([argument])
    return frozenset(map(str.lower, names)) if all(map(is_field_name, names)) else frozenset()


def is_about_all(directives: Mapping[str, str | None], name: str) -> bool:
    """Whether the directive ``private`` or ``no-cache`` is there, and about more than fields."""
    return name in directives and not named_fields(directives, name)


def parse_age(fields: Fields) -> int | None:
    """The seconds of ``Age`` (RFC 9111 section 5.1), from its first member; ``None`` without."""
    members = (values_of(fields, "age") or [""])[0].split(",")
    age = members[0].strip(" \t")
    return parse_delta(age) if age.isascii() and age.isdigit() else None


def has_other_length(fields: Fields, body: bytes) -> bool:
    """Whether a ``Content-Length`` says that *body* is not the whole."""
    lengths = values_of(fields, "content-length")
    return any(length.strip() != str(len(body)) for length in lengths)


def parse_delta(value: str | None) -> int:
    """Delta-seconds (RFC 9111 section 1.2.2); anything but digits counts as 0, that is, as stale.

    Section 4.2.1 encourages caches to treat invalid freshness information as stale.
    """
    if value is None or not (value.isascii() and value.isdigit()):
        return 0
    digits = value.lstrip("0")
    # Eleven digits exceed the limit in any case; int() refuses absurdly long ones.
    return LONGEST_DELTA if len(digits) > 10 else min(int(digits or "0"), LONGEST_DELTA)


_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_BETWEEN: Final = re.compile(r"[ \t,]*")


def parse_entity_tags(value: str) -> list[str] | None:
    """The opaque tags, with their quotes, of a list of entity tags (RFC 9110 section 8.8.3).

    Whether each is weak is left out, as in the weak comparison. ``None`` for what is no such list.
    """
    tags: list[str] = []
    between = ","
    position = _end(_BETWEEN, value, 0)
    while position < len(value):
        found = _ENTITY_TAG.match(value, position) if "," in between else None
        if found is None:
            return None
        tags.append(found[1])
        position = _end(_BETWEEN, value, found.end())
        between = value[found.end() : position]
    return tags


def _end(pattern: re.Pattern[str], value: str, position: int) -> int:
    found = pattern.match(value, position)
    return position if found is None else found.end()


_MONTH: Final = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAY: Final = "mon|tue|wed|thu|fri|sat|sun"
_LONG_DAY: Final = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_TIME: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"

_DATES: Final = [
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"(?:{_DAY}), (?P<day>\d\d) (?P<month>{_MONTH}) (?P<year>\d{{4}}) {_TIME} GMT",
        rf"(?:{_LONG_DAY}), (?P<day>\d\d)-(?P<month>{_MONTH})-(?P<year>\d\d) {_TIME} GMT",
        rf"(?:{_DAY}) (?P<month>{_MONTH}) (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
]
"""IMF-fixdate, and the two obsolete forms (RFC 9110 section 5.6.7); names in any case."""


def parse_date(value: str, now: float) -> float | None:
    """An HTTP-date (RFC 9110 section 5.6.7) in seconds since the epoch; ``None`` for anything else.

    A year of two digits is the one that is next to *now*, and at most 50 years after it.
    """
    found = next((match for form in _DATES if (match := form.fullmatch(value.strip(" \t")))), None)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        this_year = datetime.fromtimestamp(now, UTC).year
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    month = _MONTH.index(found["month"].lower()) // 4 + 1
    second = min(int(found["second"]), 59)  # 60 is a leap second
    try:
        date = datetime(
            *(year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return date.timestamp() if int(found["second"]) <= 60 else None


def parse_vary(fields: Fields) -> frozenset[str]:
    """The names in all ``Vary`` lines in lower case; ``{"*"}`` if one of them is ``*``."""
    values = values_of(fields, "vary")
    if not values:
        return frozenset()
    names = frozenset(name.lower() for name in parse_list(values))
    return frozenset("*") if "*" in names else names


def only(fields: Fields, names: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Those of *fields* that have one of these *names*, which are in lower case."""
    return tuple([field for field in fields if field[0].lower() in names])


def with_vary(fields: Fields, names: Collection[str]) -> Fields:
    """*fields* whose ``Vary`` has *names*, which are in lower case, too."""
    if not names:
        return fields
    said = parse_vary(fields)
    missing = [] if "*" in said else sorted(set(names) - said)
    if not missing:
        return fields
    all_names = [*values_of(fields, "vary"), *(name.title() for name in missing)]
    return (*without(fields, {"vary"}), ("Vary", ", ".join(all_names)))


def connection_fields(fields: Fields) -> frozenset[str]:
    """The names, in lower case, that are for one connection only (RFC 9111 section 3.1)."""
    values = values_of(fields, "connection")
    if not values:
        return _CONNECTION_FIELDS
    return _CONNECTION_FIELDS | {name.lower() for name in parse_list(values)}


def without(fields: Fields, names: Collection[str]) -> tuple[tuple[str, str], ...]:
    """*fields* without those of these *names*, which are in lower case."""
    return tuple([field for field in fields if field[0].lower() not in names])


def updated_fields(stored: Fields, newer: Fields) -> tuple[tuple[str, str], ...]:
    """*stored* with what *newer* has in place of it (RFC 9111 section 3.2).

    The length stays that of the stored body, and what is for one connection only is left out.
    """
    news = without(newer, connection_fields(newer) | {"content-length"})
    return (*without(stored, {name.lower() for name, _ in news}), *news)
