"""Header fields: lists, directives, delta-seconds, Vary, and what is of one connection only."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.headers import (
    LONGEST_DELTA,
    Head,
    connection_fields,
    is_about_all,
    named_fields,
    parse_cache_control,
    parse_delta,
    parse_list,
    parse_vary,
    updated_fields,
    values_of,
    without,
)

MEGABYTE = 1024 * 1024
# What quoting and splitting turn on, and a little beside it.
LIST_TEXT = st.text(alphabet=st.sampled_from(list('",;=\\ \tab0*')) | st.characters(), max_size=60)


def cache_control(*lines: str) -> dict[str, str | None]:
    return parse_cache_control([("Cache-Control", line) for line in lines])


def test_values_of_finds_every_line_whatever_its_case() -> None:
    """Field names are case-insensitive (RFC 9110 section 5.1), and lines keep their order."""
    fields = [("VARY", "a"), ("Age", "1"), ("vary", "b")]

    assert values_of(fields, "vary") == ["a", "b"]
    assert values_of(fields, "date") == []
    assert values_of(Head(fields), "vary") == ["a", "b"]
    assert values_of(Head(fields), "date") == []


def test_a_list_is_trimmed_and_has_no_empty_members() -> None:
    """Empty list members are ignored, as are blanks around members, over all lines."""
    assert parse_list(["a ,\tb", ",, ,", "", "c,"]) == ["a", "b", "c"]


def test_a_comma_in_a_quoted_string_does_not_separate() -> None:
    """A quoted string is one member, also with an escaped quote in it."""
    assert parse_list([r'a="1,2", b="x\",y", c']) == ['a="1,2"', r'b="x\",y"', "c"]


def test_an_open_quote_hides_nothing() -> None:
    """Behind a quote that is never closed commas separate, lest it hide a directive."""
    assert parse_list(['a="1, no-store', "b"]) == ['a="1', "no-store", "b"]
    assert "no-store" in parse_cache_control([("Cache-Control", 'ext=", no-store')])


def test_an_open_quote_hides_nothing_of_other_lines() -> None:
    """Were they joined first, an open quote and the next one would quote what is between."""
    lines = [("Cache-Control", line) for line in ('a="1', "private", 'b="2', "max-age=5", 'c="')]
    assert parse_cache_control(lines).keys() == {"a", "private", "b", "max-age", "c"}


def test_an_open_quote_takes_no_other_apart() -> None:
    """What stands in quotes that are closed stays one member, also where another is not."""
    assert parse_list(['a="1,2" x, b="3, c']) == ['a="1,2" x', 'b="3', "c"]
    directives = cache_control('private="X-A, X-B", ext="open')
    assert named_fields(directives, "private") == {"x-a", "x-b"}


@given(st.lists(LIST_TEXT, max_size=4))
def test_any_list_is_read(lines: list[str]) -> None:
    """No text raises, and what comes back is trimmed, not empty, and was there."""
    for member in parse_list(lines):
        assert member
        assert member == member.strip(" \t")
        assert any(member in line for line in lines)


@given(st.lists(st.text(alphabet="abcxyz-=0123", min_size=1), max_size=6))
def test_members_without_quotes_come_back(members: list[str]) -> None:
    """Joining members by commas and reading them is the identity."""
    assert parse_list([", ".join(members)]) == members


def test_directives_have_lower_case_names_and_optional_arguments() -> None:
    """Names are case-insensitive, and an argument may be a token or a quoted string."""
    assert cache_control('Public, MAX-AGE=60, private="Set-Cookie, X-User"', "s-maxage = 5") == {
        "public": None,
        "max-age": "60",
        "private": "Set-Cookie, X-User",
        "s-maxage": "5",
    }


def test_other_fields_are_not_cache_control() -> None:
    """Only ``Cache-Control`` lines count, not for instance those of one cache's own."""
    assert parse_cache_control([("Surrogate-Control", "no-store"), ("Pragma", "no-cache")]) == {}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("max-age=60, max-age=10", "10"),
        ("max-age=10, max-age=60", "10"),
        ("max-age=60, max-age=nonsense", "nonsense"),
        ("max-age, max-age=60", None),
    ],
)
def test_the_shorter_of_two_max_ages_counts(line: str, value: str | None) -> None:
    """Of conflicting lifetimes the one that is never wrong counts (RFC 9111 section 4.2.1)."""
    assert cache_control(line) == {"max-age": value}


@pytest.mark.parametrize(
    "line",
    ['private="X-A, X-B', 'private=X-A"', 'private="X-A, X-B", private', 'private, private="X-A"'],
)
def test_a_list_of_fields_that_is_none_is_about_all(line: str) -> None:
    """A quote that is forgotten must not let a field out that was meant to stay."""
    assert is_about_all(cache_control(line), "private")


@given(st.lists(LIST_TEXT, max_size=4))
def test_any_cache_control_is_read(lines: list[str]) -> None:
    """No text raises, and names are in lower case."""
    directives = cache_control(*lines)

    assert all(name == name.lower() for name in directives)


@given(st.lists(LIST_TEXT.filter(lambda line: '"' not in line), max_size=3))
def test_no_store_is_seen_among_anything_unquoted(lines: list[str]) -> None:
    """Other directives, however malformed, do not hide ``no-store``, unless by a quote."""
    assert "no-store" in cache_control(*(f"{line}, No-Store" for line in lines), "no-store")
    assert all("no-store" in cache_control(f"{line},No-Store ,{line}") for line in lines)


@pytest.mark.parametrize(
    "pattern", ["a,", '"', '",', '\\"', "a=", '="\\', " ,\t", "max-age=1,", "=,"]
)
def test_a_huge_field_is_read_in_linear_time(pattern: str) -> None:
    """A megabyte takes at most a few times what is needed for half of it, and not seconds."""
    line = pattern * (MEGABYTE // len(pattern))
    started = time.process_time()

    cache_control(line)

    assert time.process_time() - started < 1.5


@given(st.integers(min_value=0, max_value=10**30))
def test_digits_are_a_number_up_to_the_limit(number: int) -> None:
    """Above 2^31 a cache counts 2^31; leading zeros change nothing."""
    expected = min(number, LONGEST_DELTA)

    assert parse_delta(str(number)) == expected
    assert parse_delta(f"000{number}") == expected


@pytest.mark.parametrize(
    "value", [None, "", "-1", "+1", "1.5", "1 ", "\u0661", "\u00b2", "0x1", "1e3", "ten"]
)
def test_an_invalid_delta_is_stale(value: str | None) -> None:
    """Invalid freshness information counts as stale (RFC 9111 section 4.2.1)."""
    assert parse_delta(value) == 0


@given(st.text())
def test_any_delta_is_read(value: str) -> None:
    """No text raises, and the number is within its bounds."""
    assert 0 <= parse_delta(value) <= LONGEST_DELTA


def test_an_absurdly_long_delta_is_the_limit() -> None:
    """More digits than ``int`` takes are no error."""
    assert parse_delta("9" * 100_000) == LONGEST_DELTA
    assert parse_delta("0" * 100_000) == 0


def test_vary_unites_all_lines_in_lower_case() -> None:
    """The names of all lines select, and case does not tell them apart."""
    fields = [("Vary", "Accept, ORIGIN"), ("vary", "accept"), ("VARY", "X-A,,")]

    assert parse_vary(fields) == {"accept", "origin", "x-a"}


def test_a_star_anywhere_in_vary_stands_for_all() -> None:
    """A list with ``*`` among its members is ``*``."""
    assert parse_vary([("Vary", "Accept"), ("Vary", "Origin, *")]) == {"*"}


def test_without_vary_nothing_selects() -> None:
    """No line, and an empty line, name no field."""
    assert parse_vary([("Variant", "Accept"), ("Vary", "")]) == frozenset()


def test_fields_of_one_connection_are_dropped() -> None:
    """Hop-by-hop fields go, and so do those that ``Connection`` names; the rest keeps its order."""
    fields = [
        ("Content-Type", "text/plain"),
        ("Connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authenticate", "Basic"),
        ("Upgrade", "h2c"),
        ("X-Kept", "a"),
        ("X-Kept", "b"),
    ]

    assert without(fields, connection_fields(fields)) == (
        ("Content-Type", "text/plain"),
        ("X-Kept", "a"),
        ("X-Kept", "b"),
    )


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('private="X-A"', {"x-a"}),
        ('private="X-A, set-cookie ,,"', {"x-a", "set-cookie"}),
        ("private=X-A", {"x-a"}),
        ('private="X-A", max-age=1, private="X-B"', {"x-a", "x-b"}),
    ],
)
def test_a_directive_may_name_fields(line: str, names: set[str]) -> None:
    """As a quoted string, or as a token."""
    directives = cache_control(line)
    assert named_fields(directives, "private") == names
    assert not is_about_all(directives, "private")


@pytest.mark.parametrize(
    "line",
    ["private", "private=", 'private=""', 'private="a b"', 'private, private="a"', 'private="a"x'],
)
def test_a_directive_that_names_none_is_about_all(line: str) -> None:
    """The form without an argument, or one that cannot be understood, is the stricter one."""
    directives = cache_control(line)
    assert named_fields(directives, "private") == frozenset()
    assert is_about_all(directives, "private")


def test_a_directive_that_is_not_there_is_about_nothing() -> None:
    """Neither about all nor about some."""
    assert not is_about_all({}, "private")
    assert named_fields({}, "private") == frozenset()


def test_newer_fields_take_the_place_of_stored_ones() -> None:
    """All lines of a name; not the length, and nothing that is for one connection only."""
    stored = [("X-A", "1"), ("x-b", "1"), ("X-B", "2"), ("Content-Length", "5")]
    newer = [
        ("X-B", "3"),
        ("X-C", "4"),
        ("content-length", "0"),
        ("Connection", "X-D"),
        ("X-D", "5"),
    ]
    assert updated_fields(stored, newer) == (
        ("X-A", "1"),
        ("Content-Length", "5"),
        ("X-B", "3"),
        ("X-C", "4"),
    )
