"""What is fed with any bytes: each parser and decoder, and what must hold of what it returns.

A target takes the bytes that come from outside, and raises where something is wrong. An error that
the parser is meant to raise is not.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from flask_larder.codec import (
    decode_entry,
    decode_stored_value,
    decode_value,
    encode_response,
    encode_stored_value,
    encode_value,
    encode_variants,
)
from flask_larder.conditional import is_not_modified
from flask_larder.entry import Request, StoredResponse
from flask_larder.errors import CorruptEntry, UnstorableValue
from flask_larder.headers import (
    LONGEST_DELTA,
    are_well_formed,
    connection_fields,
    is_about_all,
    is_field_name,
    named_fields,
    parse_age,
    parse_cache_control,
    parse_date,
    parse_delta,
    parse_entity_tags,
    parse_list,
    parse_vary,
    updated_fields,
    without,
)
from flask_larder.invalidation import LONGEST_KEPT, named_by, target_of
from flask_larder.key import WHOLE_QUERY, QueryRule, normalised, stored_key, url_key
from flask_larder.ranges import Part, wanted_part
from flask_larder.redis.purge_record import fields_of, purge_of
from flask_larder.requested import directives_of, forbids_storing, may_offer, takes_stale
from flask_larder.signing import Signer
from flask_larder.targeted import targeted_directives

NOW: Final = 1_700_000_000.0

Target = Callable[[bytes], object]


def text(data: bytes) -> str:
    """How WSGI gives field values."""
    return data.decode("latin-1")


def lines(data: bytes) -> list[str]:
    return text(data).split("\n")


def cache_control(data: bytes) -> None:
    found = parse_cache_control([("Cache-Control", line) for line in lines(data)])
    assert all(name == name.lower() for name in found)
    assert all(0 <= parse_delta(value) <= LONGEST_DELTA for value in found.values())
    for name in ("private", "no-cache"):
        assert all(is_field_name(field) for field in named_fields(found, name))
        assert not (is_about_all(found, name) and named_fields(found, name))


def lists(data: bytes) -> None:
    for member in parse_list(lines(data)):
        assert member
        assert member == member.strip(" \t")


def vary(data: bytes) -> None:
    names = parse_vary([("Vary", line) for line in lines(data)])
    assert names == {"*"} or "*" not in names


def targeted(data: bytes) -> None:
    """RFC 9213: read as structured fields."""
    fields = [("CDN-Cache-Control", line) for line in lines(data)]
    found = targeted_directives(fields, ["cdn-cache-control"])
    assert found is None or all(parse_delta(value) >= 0 for value in found.values())


def age(data: bytes) -> None:
    found = parse_age([("Age", line) for line in lines(data)])
    assert found is None or 0 <= found <= LONGEST_DELTA


def update(data: bytes) -> None:
    """The fields of a 304: no more than its own are added, and none twice."""
    newer = [("X-A", line) for line in lines(data)] + [("Connection", text(data))]
    found = updated_fields([("X-A", "old"), ("Content-Length", "1")], newer)
    assert ("X-A", "old") not in found or "x-a" in text(data).lower()
    assert ("Content-Length", "1") in found


def delta(data: bytes) -> None:
    assert 0 <= parse_delta(text(data)) <= LONGEST_DELTA


def date(data: bytes) -> None:
    found = parse_date(text(data), NOW)
    assert found is None or math.isfinite(found)


def entity_tags(data: bytes) -> None:
    for tag in parse_entity_tags(text(data)) or ():
        assert tag[0] == tag[-1] == '"'
        assert parse_entity_tags(tag) == [tag]


def connection(data: bytes) -> None:
    fields = (("X-A", "1"), *(("Connection", line) for line in lines(data)))
    kept = without(fields, connection_fields(fields))
    assert kept in ((("X-A", "1"),), ())


def well_formed(data: bytes) -> None:
    name, _, value = text(data).partition(":")
    if are_well_formed(((name, value),)):
        assert is_field_name(name)
        assert not set(name + value) & set("\r\n\0")


def conditions(data: bytes) -> None:
    """The first line is what the client has, the second what the response has."""
    asked, _, own = text(data).partition("\n")
    tags, date = (("ETag", own),), (("Last-Modified", own),)
    assert is_not_modified({"if-none-match": asked}, tags, NOW) in (True, False)
    assert is_not_modified({"if-modified-since": asked}, date, NOW) in (True, False)


def part(data: bytes) -> None:
    """The first line is the range, the second its condition. A part is within the whole."""
    wanted, _, condition = text(data).partition("\n")
    asked = {"range": wanted, "if-range": condition} if condition else {"range": wanted}
    fields = (("ETag", '"a"'), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"))
    found = wanted_part(asked, fields, 10, NOW, NOW)
    if isinstance(found, Part):
        assert 0 <= found.first <= found.last < found.length == 10


def directives(data: bytes) -> None:
    for name in ("cache-control", "pragma"):
        found = directives_of(request(b"", **{name: text(data)}))
        assert may_offer(found, 1.0, 1.0) in (None, "no-cache", "max-age", "min-fresh")
        assert takes_stale(found, 1.0) in (True, False)
        assert forbids_storing(found) in (None, "request-no-store")


def reference(data: bytes) -> None:
    """What ``Location`` names is of the same origin, within the mount, and can stand in a purge."""
    target = Request("GET", "http", "api.example", "/app", "/a/b", b"x=1", {})
    found = named_by(text(data), target)
    if found is not None:
        assert (found.scheme, found.host, found.script_name) == ("http", "api.example", "/app")
        assert found.path.isascii()
        assert len(target_of(found)[1]) <= LONGEST_KEPT


def selecting(data: bytes) -> None:
    """What is normalised stays so."""
    for name in ("accept", "accept-language", "x-a"):
        found = normalised(name, text(data))
        assert normalised(name, found) == found


def query(data: bytes) -> None:
    """What is canonical stays so, and stands in a key of bounded length, in ASCII."""
    canonical = WHOLE_QUERY.canonical(data)
    assert WHOLE_QUERY.canonical(canonical.encode()) == canonical
    QueryRule(["a"], ["utm_*"]).canonical(data)
    key = stored_key(url_key(request(data), WHOLE_QUERY))
    assert key.isascii()
    assert len(key) < 400


def request(query: bytes, **fields: str) -> Request:
    return Request("GET", "http", "api.example", "", "/", query, fields)


def entry(data: bytes) -> None:
    """What decodes can be sent without harm, and encodes to what decodes the same."""
    with suppress(CorruptEntry):
        found = decode_entry(data)
        if isinstance(found, StoredResponse):
            assert are_well_formed(found.fields)
            assert decode_entry(encode_response(found)) == found
        else:
            assert decode_entry(encode_variants(found)) == found


def stored_value(data: bytes) -> None:
    with suppress(CorruptEntry):
        found = decode_stored_value(data)
        assert decode_stored_value(encode_stored_value(found)) == found


def value(data: bytes) -> None:
    """What decodes is plain data, which encodes again, unless it is too deep."""
    with suppress(CorruptEntry, UnstorableValue):
        encoded = encode_value(decode_value(data))
        assert encode_value(decode_value(encoded)) == encoded


def signed(data: bytes) -> None:
    """Nobody signs without the secret."""
    with suppress(CorruptEntry):
        SIGNER.verify("key", data)
        raise AssertionError("forged")
    assert SIGNER.verify("key", SIGNER.sign("key", data)) == data


SIGNER: Final = Signer([b"s" * 16, b"older" * 16], "prefix:")


def purge_record(data: bytes) -> None:
    """What is not understood purges everything; else it is written as it was read."""
    found = purge_of(data.split(b"\n"))
    assert found.targets or found.server
    assert purge_of(list(fields_of(found))) == found


def encoded_value(data: bytes) -> None:
    """Plain data of any kind comes back."""
    parts = [data, text(data), len(data), tuple(data[:3]), {text(data[:2]): None}]
    assert decode_value(encode_value(parts)) == parts


TARGETS: Final[dict[str, Target]] = {
    one.__name__: one
    for one in (
        *(cache_control, lists, vary, delta, date, entity_tags, connection, well_formed),
        *(targeted, age, update, reference, selecting),
        *(conditions, part, directives, query, entry, stored_value, value, signed, purge_record),
        encoded_value,
    )
}

BEGINNINGS: Final[dict[str, bytes]] = {
    "entry": b"larder1r\0\0\0\x09",
    "stored_value": b"larder1e\0\0\0\x09",
    "value": b"larder1d",
    "signed": b"larder1s",
    "purge_record": b"tag\n",
}
"""With what the input of some begins, since little else gets past their first check."""

WORDS: Final = (
    *(b"max-age=", b"s-maxage=", b"no-store", b"no-cache", b'private="', b"stale-if-error="),
    *(
        b"must-revalidate",
        b"max-stale",
        b"min-fresh=",
        b"only-if-cached",
        b"GMT",
        b"W/",
        b'"',
        b"*",
    ),
    *(b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"close", b"utm_a=1"),
    *(
        b"http://api.example/app/",
        b"//",
        b"?",
        b"%2e%2e/",
        b";q=0.5",
        b":",
        b"?0",
        b"=?1",
        b"bytes=",
        b"1-2",
        b"-5",
    ),
    *(b"Sun Nov  6 08:49:37 1994", b"larder1r", b"larder1v", b"larder1d", b"larder1e", b"larder1s"),
    *(
        b"tag",
        b"view",
        b"path",
        b"url",
        b"prefix",
        b"soft\n1",
        b"server\n01234567",
        b"\xc9",
        b"\xc7",
    ),
)
"""What hypothesis and atheris would need long to find."""
