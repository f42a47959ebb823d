"""Field values by their grammar, read as slowly and plainly as can be, for ``http_model``.

It shares nothing with the library: where both read a value in the same way, two people did.
"""

import calendar
import string
from dataclasses import dataclass

Fields = tuple[tuple[str, str], ...]

TOKEN = set("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters)
DIGITS = set(string.digits)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def lines(fields: Fields, name: str) -> list[str]:
    """The values of the lines of one field, in order."""
    return [value for line, value in fields if line.lower() == name]


def is_token(text: str) -> bool:
    """RFC 9110 section 5.6.2."""
    return text != "" and all(letter in TOKEN for letter in text)


def closing_quote(text: str, opening: int) -> int | None:
    """Where the quoted string that begins at *opening* ends (RFC 9110 section 5.6.4)."""
    at = opening + 1
    while at < len(text):
        if text[at] == '"':
            return at
        at += 2 if text[at] == "\\" else 1
    return None


def members(text: str) -> list[str]:
    """The members of a list, without the empty ones (RFC 9110 section 5.6.1.2).

    A quote that is never closed quotes nothing, so that it hides no directive.
    """
    found = [""]
    at = 0
    while at < len(text):
        end = closing_quote(text, at) if text[at] == '"' else None
        if end is not None:
            found[-1] += text[at : end + 1]
            at = end
        elif text[at] == ",":
            found.append("")
        else:
            found[-1] += text[at]
        at += 1
    stripped = [member.strip(" \t") for member in found]
    return [member for member in stripped if member]


def unquoted(text: str) -> str | None:
    """What a quoted string says, or ``None`` where *text* is not one."""
    if len(text) < 2 or text[0] != '"' or closing_quote(text, 0) != len(text) - 1:
        return None
    said = ""
    at = 1
    while at < len(text) - 1:
        if text[at] == "\\":
            at += 1
        said += text[at]
        at += 1
    return said


@dataclass(frozen=True)
class Directive:
    """A cache directive. *argument* is ``None`` without one; *is_valid* tells of its grammar."""

    name: str
    argument: str | None
    is_valid: bool = True
    is_quoted: bool = False


def directive(member: str) -> Directive:
    """RFC 9111 section 5.2: names in any case, and both forms of an argument."""
    name, equals, written = member.partition("=")
    valid_name = is_token(name)
    name = name.strip(" \t").lower()
    if not equals:
        return Directive(name, None, valid_name)
    said = unquoted(written)
    if said is not None:
        return Directive(name, said, valid_name, is_quoted=True)
    return Directive(name, written, valid_name and is_token(written))


def directives(values: list[str]) -> list[Directive]:
    """The directives of all lines; several lines are one list (RFC 9110 section 5.3).

    But a quote that is never closed in its line quotes nothing of the next.
    """
    return [directive(member) for value in values for member in members(value)]


def delta_seconds(text: str | None) -> int | None:
    """RFC 9111 section 1.2.2: ASCII digits and nothing else; too large is very large."""
    if not text or any(letter not in DIGITS for letter in text):
        return None
    return min(int(text), 2**31)


def age_value(values: list[str]) -> int:
    """RFC 9111 section 5.1: the first member counts, and what is invalid is ignored."""
    if not values:
        return 0
    return delta_seconds(values[0].split(",")[0].strip(" \t")) or 0


def number(text: str, digits: int) -> int:
    if len(text) != digits or any(letter not in DIGITS for letter in text):
        raise ValueError(text)
    return int(text)


def seconds_of_day(text: str) -> int:
    """``hour:minute:second``; a leap second is allowed (RFC 9110 section 5.6.7)."""
    hour, minute, second = text.split(":")
    parts = number(hour, 2), number(minute, 2), number(second, 2)
    if parts[0] > 23 or parts[1] > 59 or parts[2] > 60:
        raise ValueError(text)
    return parts[0] * 3600 + parts[1] * 60 + parts[2]


def seconds_of_date(year: int, month: str, day: int) -> int:
    at = MONTHS.index(month) + 1
    if year < 1 or not 1 <= day <= calendar.monthrange(year, at)[1]:
        raise ValueError(day)
    return calendar.timegm((year, at, day, 0, 0, 0))


def imf_fixdate(text: str) -> int:
    """``Sun, 06 Nov 1994 08:49:37 GMT``."""
    day_name, day, month, year, time, zone = text.split(" ")
    if day_name not in [f"{name}," for name in DAYS] or zone != "gmt":
        raise ValueError(text)
    return seconds_of_date(number(year, 4), month, number(day, 2)) + seconds_of_day(time)


def rfc850_date(text: str, now: float) -> int:
    """``Sunday, 06-Nov-94 08:49:37 GMT``: never more than 50 years in the future."""
    day_name, date, time, zone = text.split(" ")
    if day_name not in [f"{name}," for name in LONG_DAYS] or zone != "gmt":
        raise ValueError(text)
    day, month, year = date.split("-")
    this_year = 1970
    while calendar.timegm((this_year + 1, 1, 1, 0, 0, 0)) <= now:
        this_year += 1
    full = this_year - this_year % 100 + 100 + number(year, 2)
    while full > this_year + 50:
        full -= 100
    return seconds_of_date(full, month, number(day, 2)) + seconds_of_day(time)


def asctime_date(text: str) -> int:
    """``Sun Nov  6 08:49:37 1994``."""
    if len(text) != len("Sun Nov  6 08:49:37 1994") or text[3] + text[7] + text[10] != "   ":
        raise ValueError(text)
    day_name, month, day = text[:3], text[4:7], text[8:10]
    if day_name not in DAYS or text[19] != " ":
        raise ValueError(text)
    of_month = number(day[1], 1) if day[0] == " " else number(day, 2)
    return seconds_of_date(number(text[20:], 4), month, of_month) + seconds_of_day(text[11:19])


def http_date(text: str, now: float) -> int | None:
    """A date in one of the three forms, in any case (RFC 9111 section 4.2), or ``None``."""
    lowered = text.strip(" \t").lower()
    for reading in (imf_fixdate, lambda value: rfc850_date(value, now), asctime_date):
        try:
            return reading(lowered)
        except ValueError:
            continue
    return None


def is_entity_tag(text: str) -> bool:
    """RFC 9110 section 8.8.3: the weakness indicator is case-sensitive."""
    opaque = text.removeprefix("W/")
    if len(opaque) < 2 or opaque[0] != '"' or opaque[-1] != '"':
        return False
    return all(letter == "!" or "#" <= letter <= "~" or letter >= "\x80" for letter in opaque[1:-1])


def is_weak(tag: str) -> bool:
    return tag.startswith("W/")


def weakly_equal(one: str, other: str) -> bool:
    """RFC 9110 section 8.8.3.2."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def entity_tags(values: list[str]) -> list[str]:
    """The entity tags of a list; commas may stand in tags, and backslashes mean nothing there."""
    found = []
    rest = ", ".join(values)
    while rest:
        start = rest.find('"')
        end = rest.find('"', start + 1)
        if start < 0 or end < 0:
            return found
        weak = "W/" if rest[:start].endswith("W/") else ""
        found.append(weak + rest[start : end + 1])
        rest = rest[end + 1 :]
    return [tag for tag in found if is_entity_tag(tag)]


def names(values: list[str]) -> list[str]:
    """Field names or ``*`` from a list, in lower case."""
    return [member.lower() for member in members(", ".join(values))]
