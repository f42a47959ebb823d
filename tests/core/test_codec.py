"""Entries and values to bytes and back, and bytes of somebody else that are never executed."""

import contextlib
import math
import pickle
import struct
import time as clock
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_larder.codec import (
    decode_entry,
    decode_stored_value,
    decode_value,
    encode_response,
    encode_stored_value,
    encode_value,
    encode_variants,
)
from flask_larder.entry import StoredResponse, StoredValue, Targets, Variants
from flask_larder.errors import CorruptEntry, UnstorableValue

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ORIGIN = "http://api.example"
TOKENS = st.text(alphabet="!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=20)
FIELD_VALUES = st.text(
    st.characters(max_codepoint=0xFF, exclude_categories=["Cc"]) | st.sampled_from("\t\x80\x9f"),
    max_size=50,
)
POSITIONS = st.tuples(st.integers(0, 2**63), st.integers(0, 2**63))
TARGETS_OF_ALL_KINDS = st.builds(
    Targets,
    tags=st.lists(TEXTS, max_size=3).map(tuple),
    view=TEXTS,
    arguments=TEXTS,
    site=TEXTS,
    path=TEXTS,
    query=st.none() | TEXTS,
    key=TEXTS,
)
RESPONSES = st.builds(
    StoredResponse,
    origin=TEXTS,
    status=st.integers(min_value=200, max_value=999),
    fields=st.lists(st.tuples(TOKENS, FIELD_VALUES), max_size=5).map(tuple),
    body=st.binary(max_size=200),
    stored_at=st.floats(allow_nan=False, allow_infinity=False),
    lifetime=st.floats(allow_nan=False, allow_infinity=False),
    position=POSITIONS,
    targets=TARGETS_OF_ALL_KINDS,
    cost=st.floats(allow_nan=False, allow_infinity=False),
    stale_while_revalidate=st.floats(allow_nan=False, allow_infinity=False),
    stale_if_error=st.floats(allow_nan=False, allow_infinity=False),
    max_stale=st.floats(allow_nan=False, allow_infinity=False),
    keep=st.floats(allow_nan=False, allow_infinity=False),
)
STORED_VALUES = st.builds(
    StoredValue,
    data=st.binary(max_size=200),
    position=POSITIONS,
    targets=TARGETS_OF_ALL_KINDS,
)
VARIANTS = st.builds(Variants, names=st.lists(TOKENS, max_size=5).map(tuple))

# Whole seconds, as every place on earth has had them: Python itself reads the offset
# "+00:00:00.000001", which it has written, as UTC.
OFFSETS = st.integers(-23 * 3600, 23 * 3600).map(
    lambda seconds: timezone(timedelta(seconds=seconds))
)
HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | TEXTS
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | OFFSETS)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals().filter(lambda number: not number.is_snan())  # it has no hash
    | st.uuids(),
    lambda items: st.lists(items, max_size=3).map(tuple) | st.frozensets(items, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE,
    lambda items: (
        st.lists(items, max_size=4)
        | st.lists(items, max_size=4).map(tuple)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, items, max_size=4)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """Stands for *value* where it is compared: types and signs count, which NaN it is does not."""
    if isinstance(value, list | tuple):
        return type(value), [exact(item) for item in value]
    if isinstance(value, dict):  # in order, as Python keeps them
        return dict, [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(exact(item)) for item in value)
    return type(value), repr(value)


@given(RESPONSES)
def test_a_response_comes_back(stored: StoredResponse) -> None:
    """Any status, header fields, body and times survive, and the body ends the bytes as it is."""
    data = encode_response(stored)

    assert decode_entry(data) == stored
    assert data.startswith(b"larder1r")
    assert data.endswith(stored.body)


@given(VARIANTS)
def test_variants_come_back(variants: Variants) -> None:
    """The list of selecting fields survives."""
    assert decode_entry(encode_variants(variants)) == variants


def test_fields_keep_their_order_case_and_repetition() -> None:
    """What is sent again is what the view sent."""
    fields = (("X-B", "1"), ("x-a", "é"), ("X-B", "2"), ("Empty", ""))
    stored = StoredResponse(ORIGIN, 200, fields, b"", 1.5, 50.0)

    found = decode_entry(encode_response(stored))

    assert isinstance(found, StoredResponse)
    assert found.fields == fields


@given(st.binary(max_size=100))
def test_any_bytes_are_an_entry_or_corrupt(data: bytes) -> None:
    """Nothing but ``CorruptEntry`` is ever raised, also behind a right beginning."""
    for beginning in (b"", b"larder1", b"larder1r", b"larder1v", b"larder1r\0\0\0\x09"):
        decode_if_possible(beginning + data)


@given(RESPONSES, st.data())
def test_a_changed_response_is_an_entry_or_corrupt(stored: StoredResponse, data: Any) -> None:
    """Bytes that were changed, cut off or lengthened never raise anything else, nor smuggle."""
    decode_if_possible(changed(encode_response(stored), data))


@given(STORED_VALUES)
def test_a_stored_value_comes_back(stored: StoredValue) -> None:
    """Where it stands among the purges survives, and its own bytes end those of the entry."""
    data = encode_stored_value(stored)

    assert decode_stored_value(data) == stored
    assert data.endswith(stored.data)


@given(STORED_VALUES, st.data())
def test_a_changed_stored_value_is_one_or_corrupt(stored: StoredValue, data: Any) -> None:
    """Bytes that were changed, cut off or lengthened never raise anything else."""
    with contextlib.suppress(CorruptEntry):
        decode_stored_value(changed(encode_stored_value(stored), data))


@given(VARIANTS, st.data())
def test_changed_variants_are_an_entry_or_corrupt(variants: Variants, data: Any) -> None:
    """Bytes that were changed, cut off or lengthened never raise anything else."""
    decode_if_possible(changed(encode_variants(variants), data))


def changed(valid: bytes, data: Any) -> bytes:
    at = data.draw(st.integers(0, len(valid)))
    until = data.draw(st.integers(at, min(len(valid), at + 3)))
    return valid[:at] + data.draw(st.binary(max_size=3)) + valid[until:]


def decode_if_possible(data: bytes) -> None:
    """Decode; what decodes can be sent without harm."""
    try:
        entry = decode_entry(data)
    except CorruptEntry:
        return
    if isinstance(entry, StoredResponse):
        assert 100 <= entry.status <= 999
        assert math.isfinite(entry.lifetime)
        assert math.isfinite(entry.stored_at)
        assert not any(set(name + value) & set("\r\n\0") for name, value in entry.fields)


@given(RESPONSES.filter(lambda stored: not stored.body))
def test_a_response_that_was_cut_off_is_corrupt(stored: StoredResponse) -> None:
    """No beginning of a header is taken for a whole one."""
    data = encode_response(stored)

    for end in range(len(data)):
        with pytest.raises(CorruptEntry):
            decode_entry(data[:end])


WHERE = ([7, 1], [["t"], "view", "arguments", "http://api.example", "/p", None, "k"])
REST = (0.5, 30.0, 60.0, 60.0, 3600.0)
TARGETS = Targets(("t",), "view", "arguments", "http://api.example", "/p", None, "k")


def whole_header(*header: object, body: bytes = b"") -> list[object]:
    """A header whose status, fields and times somebody else has made."""
    return [ORIGIN, *header, *WHERE, *REST, len(body), None, False]


def entry_bytes(header: object, body: bytes = b"") -> bytes:
    """The bytes of an entry with this header."""
    encoded = msgspec.msgpack.encode(header)
    return b"larder1r" + struct.pack(">I", len(encoded)) + encoded + body


def response_bytes(header: object, body: bytes = b"") -> bytes:
    """The same, with the beginning of a header, or something else in its place."""
    whole = whole_header(*header, body=body) if isinstance(header, list) else header
    return entry_bytes(whole, body)


def test_response_bytes_make_valid_entries() -> None:
    """The attacks below fail for what they say, and not for a wrong frame."""
    data = response_bytes([200, [["X-A", "1"]], 1.0, 2.0], b"body")

    fields = (("X-A", "1"),)
    assert decode_entry(data) == StoredResponse(
        ORIGIN, 200, fields, b"body", 1.0, 2.0, (7, 1), TARGETS, *REST
    )


@pytest.mark.parametrize(
    "field",
    [
        ["X-A", "1\r\nSet-Cookie: a=b"],
        ["X-A", "1\nSet-Cookie: a=b"],
        ["X-A", "1\r"],
        ["X-A", "a\0b"],
        ["X-A: 1\r\nSet-Cookie", "a=b"],
        ["X-A\n", "1"],
        ["X A", "1"],
        ["X:A", "1"],
        ["", "1"],
        ["Ü", "1"],
        ["X-A"],
        ["X-A", "1", "2"],
        ["X-A", None],
        ["X-A", b"1"],
        [1, "1"],
        "XA",
    ],
)
def test_a_malformed_field_is_corrupt(field: object) -> None:
    """A stored entry cannot split a response (RFC 9110 sections 5.1 and 5.5)."""
    with pytest.raises(CorruptEntry):
        decode_entry(response_bytes([200, [["X-B", "2"], field], 1.0, 2.0]))


@pytest.mark.parametrize(
    "header",
    [
        [199, [], 1.0, 2.0],
        [1000, [], 1.0, 2.0],
        [True, [], 1.0, 2.0],
        ["200", [], 1.0, 2.0],
        [200, [], "1", 2.0],
        [200, [], math.nan, 2.0],
        [200, [], 1.0, math.inf],
        [200, [], 1.0, -math.inf],
        [200, [], 1.0, None],
        [200, None, 1.0, 2.0],
        {"status": 200, "fields": [], "stored_at": 1.0, "lifetime": 2.0},
        [],
        None,
        "larder",
    ],
)
def test_a_malformed_header_is_corrupt(header: object) -> None:
    """Every part has its type and its range, and there is no part too many."""
    with pytest.raises(CorruptEntry):
        decode_entry(response_bytes(header))


def test_a_part_too_few_or_too_many_is_corrupt() -> None:
    """At the end, where no other part is taken for it."""
    header = whole_header(200, [], 1.0, 2.0)
    assert isinstance(decode_entry(entry_bytes(header)), StoredResponse)
    for other in (header[:-1], [*header, None]):
        with pytest.raises(CorruptEntry):
            decode_entry(entry_bytes(other))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_each_time_is_a_number(value: float) -> None:
    """What is compared with one that is not is never stale, or never fresh."""
    header = whole_header(200, [], 1.0, 2.0)
    times = [at for at, part in enumerate(header) if isinstance(part, float)]
    assert len(times) == 7
    for at in times:
        with pytest.raises(CorruptEntry):
            decode_entry(entry_bytes([*header[:at], value, *header[at + 1 :]]))


@pytest.mark.parametrize("count", [0, 1, 6, 8])
def test_targets_that_are_not_whole_are_corrupt(count: int) -> None:
    """What lacks some of them could not be purged by these."""
    wrong = [["t"], "view", "arguments", "http://api.example", "/p", None, "k", "more"][:count]
    header = whole_header(200, [], 1.0, 2.0)
    at = header.index(WHERE[1])
    with pytest.raises(CorruptEntry):
        decode_entry(entry_bytes([*header[:at], wrong, *header[at + 1 :]]))

    with pytest.raises(CorruptEntry):
        decode_stored_value(stored_value_bytes(wrong))
    assert decode_stored_value(stored_value_bytes(WHERE[1])).targets == TARGETS


def stored_value_bytes(targets: object) -> bytes:
    where = msgspec.msgpack.encode([WHERE[0], targets])
    return b"larder1e" + struct.pack(">I", len(where)) + where + b"value"


def test_bytes_behind_the_header_within_its_length_are_corrupt() -> None:
    """The declared length is that of the header exactly."""
    header = msgspec.msgpack.encode([ORIGIN, 200, [], 1.0, 2.0, *WHERE, *REST, 4, None])
    framed = struct.pack(">I", len(header) + 4) + header + b"more" + b"body"

    with pytest.raises(CorruptEntry):
        decode_entry(b"larder1r" + framed)


@settings(max_examples=300)
@given(VALUES)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    """Every supported type, at any depth, comes back equal and of the very same type."""
    assert exact(decode_value(encode_value(value))) == exact(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        1.0,
        -0.0,
        2**63,
        2**64,
        -(2**63) - 1,
        10**1000,
        "",
        b"",
        [],
        (),
        {},
        set(),
        frozenset(),
        [(1, "a"), {2}, frozenset({(3,)})],
        {1: "int", "1": "str", (1, 2): "tuple", b"1": "bytes", None: "none"},
        {frozenset({1}): {date(2024, 2, 29): Decimal("1.50")}},
        datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max,  # noqa: DTZ901 - a naive one is meant
        timedelta(days=-1, microseconds=1),
        timedelta.max,
        time(23, 59, 59, 999999),
        Decimal("-0"),
        Decimal("NaN"),
        Decimal("-sNaN123"),
        Decimal("1E+1000"),
        UUID(int=1),
        "\U0001f600\0",
    ],
)
def test_values_of_each_type_come_back(value: Any) -> None:
    """The edges of each supported type."""
    assert exact(decode_value(encode_value(value))) == exact(value)


class Text(str):
    """A subclass of a supported type; a plain ``str`` would come back."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Text("a"),
        OrderedDict(a=1),
        bytearray(b"a"),
        1j,
        range(3),
        UTC,
        ValueError("a"),
        len,
        (item for item in "ab"),
        msgspec.msgpack.Ext(1, b"\x90"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"a": (v,)}])
def test_a_type_that_would_not_come_back_is_not_stored(value: Any, wrap: Any) -> None:
    """What would come back as something else is refused, at any depth, and the error names it."""
    with pytest.raises(UnstorableValue, match=type(value).__qualname__):
        encode_value(wrap(value))


def test_a_text_that_is_no_unicode_is_not_stored() -> None:
    """A lone surrogate has no bytes."""
    with pytest.raises(UnstorableValue, match="not valid Unicode"):
        encode_value(["\ud800"])


def test_nesting_is_bounded() -> None:
    """A hundred levels come back; a value that contains itself is refused and does not hang."""
    nested: Any = 1
    for _ in range(100):
        nested = (nested,)
    assert decode_value(encode_value(nested)) == nested

    endless: list[Any] = []
    endless += [endless, endless]
    with pytest.raises(UnstorableValue, match="deeper than 100"):
        encode_value(endless)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_value_or_corrupt(data: bytes) -> None:
    """Nothing but ``CorruptEntry`` is ever raised."""
    for beginning in (b"", b"larder1", b"larder1d", b"larder1d\xc7\x20\x06"):
        decode_value_if_possible(beginning + data)


@given(VALUES, st.data())
def test_a_changed_value_is_a_value_or_corrupt(value: Any, data: Any) -> None:
    """Bytes that were changed, cut off or lengthened never raise anything else."""
    decode_value_if_possible(changed(encode_value(value), data))


@given(
    st.integers(-128, 127),
    st.one_of(
        st.text(alphabet="0123456789abcdefxEeN+-:.TZ _", max_size=30).map(str.encode),
        st.binary(max_size=30),
        VALUES.map(lambda value: encode_value(value)[8:]),
    ),
)
def test_any_extension_is_a_value_or_corrupt(code: int, content: bytes) -> None:
    """Also where the content is not what its type has, or the type is unknown."""
    extension = struct.pack(">BIb", 0xC9, len(content), code) + content
    decode_value_if_possible(b"larder1d" + extension)
    decode_value_if_possible(b"larder1d\x81" + extension + b"\x01")  # as a key


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (1, b"\x01"),  # a tuple of a number
        (2, b"\x91\x90"),  # a set with a list in it
        (4, b"\x91\x01"),  # a dict of a number
        (4, b"\x91\x93\x01\x02\x03"),  # a dict of a triple
        (5, b"number"),
        (5, b""),
        (6, b"2024-13-01T00:00:00"),
        (7, b"yesterday"),
        (8, b"25:00:00"),
        (9, b"999999999999 0 0"),  # more days than a timedelta has
        (9, b"1"),
        (10, b"a lot"),
        (10, b"1E+99999999999999999999"),
        (11, b"0"),
        (11, b"\xff" * 32),
        (12, b""),
        (127, b""),
    ],
)
def test_malformed_content_of_an_extension_is_corrupt(code: int, content: bytes) -> None:
    """Whatever the constructor of the type makes of it: one error is raised."""
    extension = struct.pack(">BIb", 0xC9, len(content), code) + content

    with pytest.raises(CorruptEntry):
        decode_value(b"larder1d" + extension)


def decode_value_if_possible(data: bytes) -> None:
    try:
        decode_value(data)
    except CorruptEntry:
        return


class Bomb:
    """Leaves a trace where it is unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "exploded", True)


@pytest.mark.parametrize("beginning", [b"", b"!", b"larder1d", b"larder1r\0\0\0\0", b"larder1v"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_never_loaded(beginning: bytes, protocol: int) -> None:
    """The bytes that Flask-Caching would unpickle are corrupt, or a body, and nothing runs."""
    data = beginning + pickle.dumps(Bomb(), protocol)

    for decode in (decode_entry, decode_value):
        with pytest.raises(CorruptEntry):
            decode(data)
    assert not Bomb.exploded


def nested_extensions(depth: int) -> bytes:
    data = b"\xc0"
    for _ in range(depth):
        data = struct.pack(">BIb", 0xC9, len(data) + 1, 1) + b"\x91" + data
    return data


@pytest.mark.parametrize(
    "data",
    [b"\x91" * 1_000_000, b"\x81\x01" * 100_000, nested_extensions(2000)],
    ids=["arrays", "maps", "extensions"],
)
def test_deep_nesting_is_corrupt(data: bytes) -> None:
    """It neither overflows the stack nor takes long."""
    started = clock.process_time()

    with pytest.raises(CorruptEntry):
        decode_value(b"larder1d" + data + b"\xc0")
    for entry in (b"larder1v" + data, b"larder1r" + struct.pack(">I", len(data)) + data):
        with pytest.raises(CorruptEntry):
            decode_entry(entry)

    assert clock.process_time() - started < 1.0


@pytest.mark.parametrize(
    "announced",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x91" * 20 + b"\xdd\x7f\xff\xff\xff",
    ],
    ids=["array", "map", "text", "bytes", "extension", "array within arrays"],
)
@pytest.mark.parametrize("beginning", [b"larder1d", b"larder1v", b"larder1r\0\0\0\x05"])
def test_a_huge_announced_length_is_corrupt(beginning: bytes, announced: bytes) -> None:
    """Four billion items are announced and none comes: nothing is set aside for them."""
    decode = decode_value if beginning.endswith(b"d") else decode_entry

    with pytest.raises(CorruptEntry):
        decode(beginning + announced)


def test_a_header_longer_than_the_entry_is_corrupt() -> None:
    """The length of the header is not believed."""
    with pytest.raises(CorruptEntry, match="cut off"):
        decode_entry(b"larder1r\xff\xff\xff\xff" + b"x" * 100)


def test_a_kind_is_not_taken_for_another() -> None:
    """A value where a response is expected is corrupt, and the other way round."""
    stored = StoredResponse(ORIGIN, 200, (("X-A", "1"),), b"body", 1.0, 2.0)

    with pytest.raises(CorruptEntry):
        decode_entry(encode_value([200, [["X-A", "1"]], 1.0, 2.0]))
    for entry in (encode_response(stored), encode_variants(Variants(("accept",)))):
        with pytest.raises(CorruptEntry):
            decode_value(entry)


def test_another_format_is_corrupt() -> None:
    """Values of another release are misses, whatever stands behind their beginning."""
    stored = encode_response(StoredResponse(ORIGIN, 200, (), b"body", 1.0, 2.0))

    with pytest.raises(CorruptEntry):
        decode_entry(stored.replace(b"larder1", b"larder2", 1))
    with pytest.raises(CorruptEntry):
        decode_value(encode_value(1).replace(b"larder1", b"larder2", 1))


def test_a_time_whose_zone_needs_a_date_is_refused() -> None:
    """It would come back without a zone."""
    with pytest.raises(UnstorableValue, match="give a datetime"):
        encode_value(time(12, tzinfo=ZoneInfo("Europe/Berlin")))


@pytest.mark.parametrize("value", [datetime(2026, 10, 25, fold=1, tzinfo=UTC), time(2, 30, fold=1)])
def test_the_second_of_two_equal_times_stays_the_second(value: datetime | time) -> None:
    """In the hour that a clock shows twice."""
    assert decode_value(encode_value(value)).fold == 1


def test_a_list_of_selecting_fields_holds_names_only() -> None:
    """What is no name of a field does not come out of the store as one."""
    with pytest.raises(CorruptEntry):
        decode_entry(encode_variants(Variants(("accept", "a b\r\n"))))


def test_an_integer_that_messagepack_lacks_is_found_wherever_it_is() -> None:
    """Also in lists and dicts that are else taken as they are."""
    for value in ([1, 2**64], {"n": -(2**63) - 1}, {2**80: [2**64]}, [{"rows": [(2**70,)]}]):
        assert decode_value(encode_value(value)) == value
