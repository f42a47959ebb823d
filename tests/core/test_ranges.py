"""Which part of a response a client wants (RFC 9110 section 14)."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.headers import Fields
from flask_larder.ranges import (
    Part,
    Unsatisfiable,
    has_strong_date,
    has_strong_tag,
    is_unchanged,
    parse_range,
    part_of,
    wanted_part,
)

NOW = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
MODIFIED = "Wed, 25 Nov 2026 10:00:00 GMT"
MODIFIED_AT = datetime(2026, 11, 25, 10, tzinfo=UTC).timestamp()
NEVER = "99999999999999999999999999"


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        ("bytes=0-4", (0, 4)),
        ("BYTES=0-4", (0, 4)),
        ("bytes=5-", (5, None)),
        ("bytes=-3", (None, 3)),
        ("bytes=-0", (None, 0)),
        ("bytes=00000000000000000000004-0000000000000000000005", (4, 5)),
        ("bytes= 0-4", (0, 4)),
        (" bytes=0-4\t", (0, 4)),
        ("bytes=,0-4, ,", (0, 4)),  # empty members of a list are ignored (section 5.6.1.2)
    ],
)
def test_a_range_of_bytes(value: str, bounds: tuple[int | None, int | None]) -> None:
    """Section 14.1.1: from, up to, or the last ones."""
    assert parse_range(value) == bounds


@pytest.mark.parametrize(
    "value",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=,", "=0-4", "0-4", "bytes 0-4", "bytes:0-4"),
        *("bytes =0-4", "bytes=0 - 4", "bytes=0- 4", "bytes=4", "bytes=0-4-5", "bytes=--4"),
        *("bytes=4-3", "bytes=a-b", "bytes=0-4;", "bytes=+0-4", "bytes=0x0-0x4", "bytes=1_0-20"),
        *("bytes=0.0-4", "bytes=\u0661-\u0662", "bytes=\u00b2-\u00b3", 'bytes="0-4"', "bytes==0-4"),
        *("items=0-4", "none=0-4", "bytesx=0-4", "bytes\n=0-4", "bytes=0-4\n"),
        *("bytes=0-0,2-2", "bytes=0-4,x", "bytes=0-4,bytes=5-6", "bytes=0-4,-1"),
    ],
)
def test_what_is_no_single_range_of_bytes(value: str) -> None:
    """Is ignored: several, other units, and what is malformed (section 14.2)."""
    assert parse_range(value) is None
    assert part_of(value, 10) is None


@pytest.mark.parametrize(
    ("value", "content_range"),
    [
        ("bytes=0-0", "bytes 0-0/10"),
        ("bytes=2-4", "bytes 2-4/10"),
        ("bytes=9-9", "bytes 9-9/10"),
        ("bytes=0-", "bytes 0-9/10"),
        ("bytes=9-", "bytes 9-9/10"),
        ("bytes=0-9", "bytes 0-9/10"),
        ("bytes=2-10", "bytes 2-9/10"),
        (f"bytes=2-{NEVER}", "bytes 2-9/10"),
        ("bytes=-1", "bytes 9-9/10"),
        ("bytes=-10", "bytes 0-9/10"),
        ("bytes=-11", "bytes 0-9/10"),
        (f"bytes=-{NEVER}", "bytes 0-9/10"),
        ("bytes=10-", "bytes */10"),
        ("bytes=10-20", "bytes */10"),
        (f"bytes={NEVER}-", "bytes */10"),
        ("bytes=-0", "bytes */10"),
        ("bytes=-000", "bytes */10"),
    ],
)
def test_the_part_of_ten_bytes(value: str, content_range: str) -> None:
    """Sections 14.1.2 and 14.4: the last position is cut to the length, the first is not."""
    assert str(part_of(value, 10)) == content_range


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-"])
def test_what_is_empty_is_whole(value: str) -> None:
    """Section 14.2 lets it be ignored, and no field could tell where it begins."""
    assert part_of(value, 0) is None


@given(st.binary(min_size=1), st.integers(0, 300), st.integers(0, 300))
def test_a_part_is_the_slice(body: bytes, first: int, more: int) -> None:
    """Whatever the body and the range are."""
    found = part_of(f"bytes={first}-{first + more}", len(body))
    expected = body[first : first + more + 1]
    assert body_of(found, body) == expected
    assert body_of(part_of(f"bytes={first}-", len(body)), body) == body[first:]
    last = body_of(part_of(f"bytes=-{more}", len(body)), body)
    assert last == (body[-more:] if more else b"")


def body_of(found: object, body: bytes) -> bytes:
    if isinstance(found, Part):
        assert 0 <= found.first <= found.last < found.length == len(body)
        return body[found.first : found.last + 1]
    assert found == Unsatisfiable(len(body))
    return b""


@given(st.text() | st.from_regex(r"bytes=[0-9]*-[0-9]*(,[0-9]*-[0-9]*)*"), st.integers(0, 99))
def test_any_text_is_a_range_or_none(value: str, length: int) -> None:
    """Nothing raises, and a part lies within the whole."""
    found = part_of(value, length)
    if isinstance(found, Part):
        assert 0 <= found.first <= found.last < length


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + "0-1," * 250_000,
        "bytes=" + "," * 1_000_000,
        "bytes=0-" + "9" * 1_000_000,
        "bytes=" + "9" * 1_000_000 + "-",
        "bytes=-" + "0" * 1_000_000,
        "bytes=" + "-" * 1_000_000,
        "bytes=" + '"' * 1_000_000,
        "bytes=" + " " * 1_000_000 + "0-1",
        "=" * 1_000_000,
        " " * 1_000_000,
    ],
    ids=lambda value: value[:12],
)
def test_a_huge_one_is_read_in_linear_time(value: str) -> None:
    """A million characters in much less than a second, and no number is too long."""
    started = time.process_time()
    part_of(value, 10)
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    ("own", "tag", "is_same"),
    [
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('"a"', 'W/"a"', False),
        ('W/"a"', '"a"', False),
        ('W/"a"', 'W/"a"', False),
        ('"a"', '"a", "a"', False),
        ('"a"', "*", False),
        ('"a"', "a", False),
        ("a", "a", False),
        ('w/"a"', 'w/"a"', False),
        ("", "", False),
        (None, '"a"', False),
    ],
)
def test_a_tag_is_compared_strongly(own: str | None, tag: str, *, is_same: bool) -> None:
    """Sections 8.8.3.2 and 13.1.5: a weak one is never the same, and it is one, not a list."""
    fields = () if own is None else (("ETag", own),)
    assert has_strong_tag(fields, tag) == is_same
    assert is_unchanged(fields, f" {tag} ", NOW) == is_same


def test_two_tags_are_none() -> None:
    """A response that has two says nothing."""
    assert not has_strong_tag((("ETag", '"a"'), ("ETag", '"a"')), '"a"')


@pytest.mark.parametrize(
    ("date", "is_same"),
    [
        (MODIFIED, True),
        ("Wed, 25 Nov 2026 10:00:01 GMT", False),
        ("Wed, 25 Nov 2026 09:59:59 GMT", False),
        ("Wednesday, 25-Nov-26 10:00:00 GMT", False),
        ("", False),
        ("soon", False),
    ],
)
def test_a_date_has_to_be_the_very_same(date: str, *, is_same: bool) -> None:
    """Section 13.1.5: an exact match, and not "not later"."""
    fields = (("Last-Modified", MODIFIED),)
    assert is_unchanged(fields, date, NOW) == is_same


@pytest.mark.parametrize(
    ("fields", "made_after", "is_strong"),
    [
        ((), 60.0, True),
        ((), 59.0, False),
        ((("Date", "Wed, 25 Nov 2026 10:01:00 GMT"),), 0.0, True),
        ((("Date", "Wed, 25 Nov 2026 10:00:59 GMT"),), 999.0, False),
        ((("Date", MODIFIED),), 999.0, False),
        ((("Date", "soon"),), 999.0, False),
    ],
)
def test_a_date_is_strong_where_the_response_is_younger(
    fields: Fields, made_after: float, *, is_strong: bool
) -> None:
    """Section 8.8.2.2: in the same second it may have changed twice, and clocks differ."""
    fields = (("Last-Modified", MODIFIED), *fields)
    assert has_strong_date(fields, MODIFIED, NOW, MODIFIED_AT + made_after) == is_strong


def test_a_response_of_now_is_dated_now() -> None:
    """One that was not stored was made when it is judged."""
    fields = (("Last-Modified", MODIFIED),)
    assert has_strong_date(fields, MODIFIED, MODIFIED_AT + 60)
    assert not has_strong_date(fields, MODIFIED, MODIFIED_AT + 59)


def test_what_is_no_date_is_not_strong() -> None:
    """Also where the response says the same."""
    assert not has_strong_date((("Last-Modified", "soon"),), "soon", NOW)


@pytest.mark.parametrize(
    ("request_fields", "fields", "content_range"),
    [
        ({}, (), None),
        ({"range": "bytes=0-4"}, (), "bytes 0-4/10"),
        ({"range": "bytes=10-"}, (), "bytes */10"),
        ({"if-range": '"a"'}, (("ETag", '"a"'),), None),
        ({"range": "bytes=0-4", "if-range": '"a"'}, (("ETag", '"a"'),), "bytes 0-4/10"),
        ({"range": "bytes=0-4", "if-range": '"b"'}, (("ETag", '"a"'),), None),
        ({"range": "bytes=10-", "if-range": '"b"'}, (("ETag", '"a"'),), None),
        ({"range": "bytes=0-4", "if-range": ""}, (), None),
        ({"range": "bytes=0-4"}, (("Content-Range", "bytes 0-9/20"),), None),
        ({"range": "bytes=0-4", "if-match": '"b"'}, (("ETag", '"a"'),), None),
        ({"range": "bytes=0-4", "if-unmodified-since": MODIFIED}, (), None),
    ],
)
def test_what_a_request_wants(
    request_fields: dict[str, str], fields: Fields, content_range: str | None
) -> None:
    """Section 14.2: a part of what is a whole, on the client's condition."""
    found = wanted_part(request_fields, fields, 10, NOW)
    assert (None if found is None else str(found)) == content_range
