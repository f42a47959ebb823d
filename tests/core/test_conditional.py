"""Whether a client may go on using what it has (RFC 9110 section 13)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.conditional import (
    conditions_for,
    entity_tag_of,
    has_condition_of_origin,
    has_entity_tag,
    is_confirmed_by_head,
    is_not_modified,
    is_unmodified_since,
    validates,
)
from flask_larder.entry import StoredResponse
from flask_larder.headers import Fields, parse_date, parse_entity_tags

NOW = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
MODIFIED_AT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
BOTH = (("ETag", '"a"'), ("Last-Modified", MODIFIED))


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ('"a"', ['"a"']),
        ('W/"a"', ['"a"']),
        ('"a", W/"b" ,"c"', ['"a"', '"b"', '"c"']),
        (', ,"a",, "b",', ['"a"', '"b"']),
        ('"a,b"', ['"a,b"']),
        ('"a\\"', ['"a\\"']),
        ('""', ['""']),
        ("", []),
        ("*", None),
        ("a", None),
        ('w/"a"', None),
        ('"a" "b"', None),
        ('"a""b"', None),
        ('"a', None),
        ('"a b"', None),
        ('"a", b', None),
    ],
)
def test_a_list_of_entity_tags(value: str, tags: list[str] | None) -> None:
    """RFC 9110 section 8.8.3: no escapes, no white space, and commas may be within the quotes."""
    assert parse_entity_tags(value) == tags


@given(st.text() | st.text('"W/, \t\\a', max_size=40))
def test_any_text_is_a_list_or_none(value: str) -> None:
    """Nothing raises, and each tag stands in the text."""
    assert all(tag in value for tag in parse_entity_tags(value) or ())


@pytest.mark.parametrize(
    ("wanted", "is_there"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        (" * ", True),
        ('"b"', False),
        ('"A"', False),
        ('*, "a"', False),
        ("a", False),
    ],
)
def test_if_none_match_names_what_the_client_has(wanted: str, is_there: bool) -> None:
    """Section 13.1.2, by weak comparison; what is malformed names nothing."""
    for own in ('"a"', 'W/"a"'):
        assert has_entity_tag((("ETag", own),), wanted) == is_there


@pytest.mark.parametrize("fields", [(), (("ETag", "a"),), (("ETag", '"a"'), ("ETag", '"b"'))])
def test_what_has_no_entity_tag_is_only_named_by_a_star(
    fields: tuple[tuple[str, str], ...],
) -> None:
    """Nor what has two, of which one cannot tell which counts."""
    assert not has_entity_tag(fields, '"a"')
    assert has_entity_tag(fields, "*")


@given(st.binary(), st.binary())
def test_another_body_has_another_tag(one: bytes, other: bytes) -> None:
    """It is strong, and well-formed."""
    assert (entity_tag_of(one) == entity_tag_of(other)) == (one == other)
    assert parse_entity_tags(entity_tag_of(one)) == [entity_tag_of(one)]


@pytest.mark.parametrize(
    "value",
    [
        MODIFIED,
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 NOV 1994 08:49:37 gmt",
        f"  {MODIFIED}\t",
    ],
)
def test_each_form_of_a_date(value: str) -> None:
    """Section 5.6.7: one that is sent, and two obsolete ones; whatever the case of names."""
    assert parse_date(value, NOW) == MODIFIED_AT


@pytest.mark.parametrize(
    "value",
    [
        *("", "0", "-1", "now", "1994-11-06", "784111777"),
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
    ],
)
def test_anything_else_is_no_date(value: str) -> None:
    """However much it looks like one."""
    assert parse_date(value, NOW) is None


@pytest.mark.parametrize(
    ("year", "means"), [("26", 2026), ("76", 2076), ("77", 1977), ("00", 2000)]
)
def test_a_year_of_two_digits(year: str, means: int) -> None:
    """It is at most 50 years in the future."""
    found = parse_date(f"Sunday, 06-Nov-{year} 08:49:37 GMT", NOW)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).year == means


def test_a_leap_second() -> None:
    """It is the second before the next minute."""
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == parse_date(
        "Sat, 31 Dec 2016 23:59:59 GMT", NOW
    )


@given(st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - made aware below
def test_what_is_written_is_read(moment: datetime) -> None:
    """Any date of four digits."""
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    written = f"{moment:%a, %d %b} {moment.year:04} {moment:%H:%M:%S} GMT"
    assert parse_date(written, NOW) == moment.timestamp()


@given(st.text() | st.from_regex(r"[A-Za-z]{3}, \d\d [A-Za-z]{3} \d{4} \d\d:\d\d:\d\d GMT"))
def test_no_date_raises(value: str) -> None:
    """Whatever a client or a view sends."""
    assert isinstance(parse_date(value, NOW), float | None)


@pytest.mark.parametrize(
    ("since", "is_unmodified"), [(MODIFIED, True), (LATER, True), (EARLIER, False), ("soon", False)]
)
def test_if_modified_since(since: str, is_unmodified: bool) -> None:
    """Section 13.1.3; what is no date is ignored."""
    assert is_unmodified_since(BOTH, since, NOW) == is_unmodified
    assert not is_unmodified_since((), since, NOW)
    assert not is_unmodified_since((("Last-Modified", "soon"),), since, NOW)


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({}, False),
        ({"if-none-match": '"a"'}, True),
        ({"if-modified-since": MODIFIED}, True),
        ({"if-none-match": '"b"', "if-modified-since": LATER}, False),
        ({"if-none-match": "malformed", "if-modified-since": LATER}, False),
        ({"if-none-match": '"a"', "if-modified-since": EARLIER}, True),
    ],
)
def test_if_none_match_stands_above_if_modified_since(
    request_fields: dict[str, str], expected: bool
) -> None:
    """Section 13.2.2."""
    assert is_not_modified(request_fields, BOTH, NOW) == expected


def stored(*fields: tuple[str, str], body: bytes = b"x") -> StoredResponse:
    return StoredResponse("http://api.example", 200, fields, body, NOW, 60.0)


def test_a_stored_response_is_asked_for_by_its_validators() -> None:
    """RFC 9111 section 4.3.1; a tag that was made here is not the origin's."""
    given_tag, modified = ("ETag", 'W/"a"'), ("last-modified", MODIFIED)
    own_tag = ("ETag", entity_tag_of(b"x"))

    both = (("If-None-Match", 'W/"a"'), ("If-Modified-Since", MODIFIED))
    assert conditions_for(stored(given_tag, ("X-A", "1"), modified)) == both
    assert conditions_for(stored(own_tag, modified)) == both[1:]
    assert conditions_for(stored(own_tag)) == ()
    assert conditions_for(stored(("X-ETag", '"a"'))) == ()


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ((), True),
        ((("ETag", '"a"'),), True),
        ((("ETag", 'W/"a"'),), True),
        ((("ETag", '"b"'),), False),
        ((("ETag", '"A"'),), False),
        ((("Last-Modified", MODIFIED),), True),
        ((("Last-Modified", LATER),), False),
        ((("ETag", '"a"'), ("Last-Modified", LATER)), True),
        ((("ETag", '"b"'), ("Last-Modified", MODIFIED)), False),
    ],
)
def test_a_304_is_about_what_its_validators_name(fields: Fields, *, is_valid: bool) -> None:
    """RFC 9111 section 4.3.4: the tag stands above the date; one without answers the question."""
    assert validates(stored(*BOTH), fields) == is_valid


def test_a_weak_tag_does_not_stand_for_a_strong_one() -> None:
    """RFC 9111 section 4.3.4: a strong one in the 304 has to be a strong one in the store."""
    weak = stored(("ETag", 'W/"a"'))
    assert not validates(weak, (("ETag", '"a"'),))
    assert validates(weak, (("ETag", 'W/"a"'),))
    assert not validates(stored(("Last-Modified", MODIFIED)), (("ETag", '"a"'),))


@pytest.mark.parametrize(
    ("fields", "tells"),
    [
        ((), None),
        ((("Content-Length", "1"),), None),
        ((("Content-Length", "2"),), False),
        ((("ETag", '"a"'),), True),
        ((("ETag", '"a"'), ("Content-Length", "1")), True),
        ((("ETag", '"a"'), ("Content-Length", "2")), False),
        ((("ETag", '"b"'),), False),
        ((("Last-Modified", MODIFIED),), True),
        ((("Last-Modified", LATER),), False),
        ((("ETag", '"a"'), ("Last-Modified", LATER)), False),
    ],
)
def test_a_head_tells_whether_what_is_stored_is_the_same(
    fields: Fields, tells: bool | None
) -> None:
    """RFC 9111 section 4.3.5: all that is there has to match, and there has to be something."""
    assert is_confirmed_by_head(stored(*BOTH), fields) is tells


@pytest.mark.parametrize(
    ("fields", "made_at", "is_unmodified"),
    [
        ((), MODIFIED_AT, True),
        ((), MODIFIED_AT + 0.9, True),
        ((), MODIFIED_AT + 1, False),
        ((), None, False),
        ((("Date", MODIFIED),), MODIFIED_AT + 100, True),
        ((("Date", LATER),), MODIFIED_AT, False),
        ((("Date", MODIFIED),), None, False),
        ((("Last-Modified", LATER), ("Date", MODIFIED)), MODIFIED_AT, False),
    ],
)
def test_what_has_no_last_change_was_changed_when_it_was_made(
    fields: Fields, made_at: float | None, *, is_unmodified: bool
) -> None:
    """RFC 9111 section 4.3.2, for what is stored."""
    assert is_unmodified_since(fields, MODIFIED, NOW, made_at) == is_unmodified


@pytest.mark.parametrize("name", ["if-match", "if-unmodified-since"])
def test_a_condition_of_the_origin_is_for_the_view(name: str) -> None:
    """RFC 9110 section 13.2.2: only the view can judge it."""
    assert has_condition_of_origin({name: '"a"'})
    assert not has_condition_of_origin({"if-range": '"a"', "if-none-match": '"a"'})
