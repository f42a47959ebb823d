"""Entries and values to bytes and back. Bytes from a store are data, never code.

Everything begins with ``larder1`` and one letter for its kind::

    r  a response: length of the header (4 bytes, big-endian), the header, the body untouched
    v  the names of the header fields by which a URL varies
    d  a value of the application
    e  such a value as it is stored: length of the header, the header, the value
    s  one of these with a signature before it; see :mod:`flask_larder.signing`

The headers, the names and the value are MessagePack. The body stands last and as it is, so that
whoever looks at Redis sees the JSON.
"""

import struct
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec

from flask_larder.entry import Entry, StoredResponse, StoredValue, Targets, Variants
from flask_larder.errors import CorruptEntry, UnstorableValue
from flask_larder.headers import are_well_formed, is_field_name

_MAGIC: Final = b"larder1"
_RESPONSE: Final = _MAGIC + b"r"
_VARIANTS: Final = _MAGIC + b"v"
_VALUE: Final = _MAGIC + b"d"
_STORED_VALUE: Final = _MAGIC + b"e"
_LENGTH: Final = struct.Struct(">I")
_HEADER_AT: Final = len(_RESPONSE) + _LENGTH.size

_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Seconds: TypeAlias = Annotated[
    float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)  # no NaN, no infinity
]


class _Where(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Where something stands among the purges."""

    position: tuple[_Number, _Number]
    targets: Targets


class _Header(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    origin: str
    status: Annotated[int, msgspec.Meta(ge=200, le=999)]
    fields: tuple[tuple[str, str], ...]
    stored_at: _Seconds
    lifetime: _Seconds
    position: tuple[_Number, _Number]
    targets: Targets
    cost: _Seconds
    stale_while_revalidate: _Seconds
    stale_if_error: _Seconds
    max_stale: _Seconds
    keep: _Seconds
    body_length: int
    value: bytes | None
    anonymous: bool


_encoder: Final = msgspec.msgpack.Encoder()
_header_decoder: Final = msgspec.msgpack.Decoder(_Header)
_where_decoder: Final = msgspec.msgpack.Decoder(_Where)
_names_decoder: Final = msgspec.msgpack.Decoder(tuple[str, ...])


def encode_response(stored: StoredResponse) -> bytes:
    """The bytes of a stored response, which has a position; they end with its body."""
    if stored.position is None:
        raise ValueError("a response without a position among the purges cannot be judged later")
    header = _encoder.encode(
        _Header(
            stored.origin,
            stored.status,
            stored.fields,
            stored.stored_at,
            stored.lifetime,
            stored.position,
            stored.targets,
            stored.cost,
            stored.stale_while_revalidate,
            stored.stale_if_error,
            stored.max_stale,
            stored.keep,
            len(stored.body),
            stored.value,
            stored.anonymous,
        )
    )
    return _join(_RESPONSE, header, stored.body)


def encode_entry(entry: Entry) -> bytes:
    """What :func:`decode_entry` reads."""
    return encode_variants(entry) if isinstance(entry, Variants) else encode_response(entry)


def encode_stored_value(stored: StoredValue) -> bytes:
    """The bytes of a value as it is stored, which has a position; they end with its own."""
    if stored.position is None:
        raise ValueError("a value without a position among the purges cannot be judged later")
    where = _encoder.encode(_Where(stored.position, stored.targets))
    return _join(_STORED_VALUE, where, stored.data)


def encode_variants(variants: Variants) -> bytes:
    """The bytes of the list of selecting header fields."""
    return _VARIANTS + _encoder.encode(variants.names)


def is_entry(data: bytes) -> bool:
    """Whether *data* begins as an entry does, and not as a value."""
    return data.startswith((_RESPONSE, _VARIANTS))


def decode_entry(data: bytes) -> Entry:
    """What :func:`encode_response` or :func:`encode_variants` made; else ``CorruptEntry``."""
    try:
        if data.startswith(_RESPONSE):
            return _decode_response(data)
        if data.startswith(_VARIANTS):
            return _decode_variants(data)
    except (msgspec.MsgspecError, struct.error, RecursionError, UnicodeDecodeError) as error:
        raise CorruptEntry(f"an entry does not decode: {error}") from error
    raise CorruptEntry(f"an entry begins with {data[:8]!r}; expected {_RESPONSE!r}")


def decode_stored_value(data: bytes) -> StoredValue:
    """What :func:`encode_stored_value` made; else ``CorruptEntry``. The value stays encoded."""
    if not data.startswith(_STORED_VALUE):
        raise CorruptEntry(f"a stored value begins with {data[:8]!r}; expected {_STORED_VALUE!r}")
    try:
        header, end = _split(data)
        where = _where_decoder.decode(header)
    except (msgspec.MsgspecError, struct.error, RecursionError, UnicodeDecodeError) as error:
        raise CorruptEntry(f"a stored value does not decode: {error}") from error
    return StoredValue(data[end:], where.position, where.targets)


def _join(kind: bytes, header: bytes, rest: bytes) -> bytes:
    return b"".join((kind, _LENGTH.pack(len(header)), header, rest))


def _split(data: bytes) -> tuple[memoryview, int]:
    """The header, and where it ends."""
    (length,) = _LENGTH.unpack_from(data, len(_RESPONSE))
    end = _HEADER_AT + length
    if end > len(data):
        raise CorruptEntry(f"an entry is cut off after {len(data)} bytes of its header of {length}")
    return memoryview(data)[_HEADER_AT:end], end


def _decode_variants(data: bytes) -> Variants:
    names = _names_decoder.decode(memoryview(data)[len(_VARIANTS) :])
    if not all(is_field_name(name) for name in names):
        raise CorruptEntry("a list of header fields has a malformed name")
    return Variants(names)


def _decode_response(data: bytes) -> StoredResponse:
    encoded, end = _split(data)
    header = _header_decoder.decode(encoded)
    if not are_well_formed(header.fields):
        raise CorruptEntry("an entry has a malformed header field")
    body = data[end:]
    if len(body) != header.body_length:
        raise CorruptEntry(f"an entry's body has {len(body)} bytes instead of {header.body_length}")
    return StoredResponse(
        header.origin,
        header.status,
        header.fields,
        body,
        header.stored_at,
        header.lifetime,
        header.position,
        header.targets,
        header.cost,
        header.stale_while_revalidate,
        header.stale_if_error,
        header.max_stale,
        header.keep,
        header.value,
        header.anonymous,
    )


_EXACT: Final = frozenset({type(None), bool, float, str, bytes})
_EXACT_IF_SHORT: Final = _EXACT | {int}
_LONGEST_NESTING: Final = 100

# Extension types of MessagePack (0 to 127 are the application's).
_TUPLE, _SET, _FROZENSET, _DICT, _INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID = range(
    1, 12
)


def encode_value(value: object) -> bytes:
    """The bytes of a value made of the types that come back the same.

    These are ``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes``, ``list``, ``tuple``,
    ``dict``, ``set``, ``frozenset``, ``datetime`` (a time zone is kept as its offset), ``date``,
    ``time``, ``timedelta``, ``Decimal`` and ``UUID``. Raises ``UnstorableValue`` for others.
    """
    try:
        try:
            return _VALUE + _encoder.encode(_pack(value, 0, _EXACT_IF_SHORT))
        except OverflowError:  # MessagePack has no room for an integer: they are looked at, then
            return _VALUE + _encoder.encode(_pack(value, 0, _EXACT))
    except UnicodeEncodeError as error:
        raise UnstorableValue("a text is not valid Unicode") from error


def decode_value(data: bytes) -> Any:
    """The value that :func:`encode_value` was given; else ``CorruptEntry``."""
    if not data.startswith(_VALUE):
        raise CorruptEntry(f"a value begins with {data[:8]!r}; expected {_VALUE!r}")
    try:
        return _unpack(memoryview(data)[len(_VALUE) :])
    except (
        msgspec.MsgspecError,
        InvalidOperation,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise CorruptEntry(f"a value does not decode: {error}") from error


def _pack(value: Any, depth: int, exact: frozenset[type]) -> Any:
    """*value* with each type that MessagePack lacks put into an extension; *exact* are as it has.

    Most lists and dicts hold nothing else, and are not gone through item by item.
    """
    kind = type(value)
    if kind in exact:
        return value
    if depth > _LONGEST_NESTING:
        raise UnstorableValue(f"a value nests deeper than {_LONGEST_NESTING} levels")
    if kind is dict:
        return _pack_dict(value, depth, exact)
    if kind is list:
        return _pack_items(value, depth, exact)
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _extension(_INT, f"{value:x}")
    if kind in _COLLECTIONS:
        items = _pack_items(list(value), depth, exact)
        return msgspec.msgpack.Ext(_COLLECTIONS[kind], _encoder.encode(items))
    if kind in _TEXTS:
        code, to_text = _TEXTS[kind]
        return _extension(code, to_text(value))
    raise UnstorableValue(
        f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored: it would not "
        f"come back the same; give plain data (dict, list, str, numbers, dates, ...)"
    )


def _pack_items(value: list[Any], depth: int, exact: frozenset[type]) -> list[Any]:
    if exact.issuperset(map(type, value)):
        return value
    return [_pack(item, depth + 1, exact) for item in value]


def _pack_dict(value: dict[Any, Any], depth: int, exact: frozenset[type]) -> Any:
    if exact.issuperset(map(type, value)):
        if exact.issuperset(map(type, value.values())):
            return value
        return {key: _pack(item, depth + 1, exact) for key, item in value.items()}
    items = [
        (_pack(key, depth + 1, exact), _pack(item, depth + 1, exact)) for key, item in value.items()
    ]
    if any(type(key) is msgspec.msgpack.Ext for key, _ in items):  # cannot be a key in Python
        return msgspec.msgpack.Ext(_DICT, _encoder.encode(items))
    return dict(items)


def _extension(code: int, text: str) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, text.encode("ascii"))


_FOLD: Final = "f"  # stands behind a time that a clock shows for the second time


def _clock_text(value: datetime | time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise UnstorableValue(
            f"the time zone {value.tzinfo} has no offset without a date; give a datetime"
        )
    return value.isoformat() + (_FOLD if value.fold else "")


_COLLECTIONS: Final[dict[type, int]] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_TEXTS: Final[dict[type, tuple[int, Any]]] = {
    datetime: (_DATETIME, _clock_text),
    date: (_DATE, date.isoformat),
    time: (_TIME, _clock_text),
    timedelta: (_TIMEDELTA, lambda v: f"{v.days} {v.seconds} {v.microseconds}"),
    Decimal: (_DECIMAL, str),
    UUID: (_UUID, str),
}


def _clock_of(kind: Any, text: str) -> Any:
    return kind.fromisoformat(text.removesuffix(_FOLD)).replace(fold=text.endswith(_FOLD))


def _timedelta_of(text: str) -> timedelta:
    days, seconds, microseconds = text.split(" ")
    return timedelta(int(days), int(seconds), int(microseconds))


_FROM_TEXT: Final[dict[int, Any]] = {
    _INT: lambda text: int(text, 16),
    _DATETIME: lambda text: _clock_of(datetime, text),
    _DATE: date.fromisoformat,
    _TIME: lambda text: _clock_of(time, text),
    _TIMEDELTA: _timedelta_of,
    _DECIMAL: Decimal,
    _UUID: UUID,
}
_FROM_ITEMS: Final[dict[int, Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _DICT: dict,
}


def _unpack_extension(code: int, data: memoryview) -> Any:
    if code in _FROM_ITEMS:
        return _FROM_ITEMS[code](_unpack(data))
    if code in _FROM_TEXT:
        return _FROM_TEXT[code](str(data, "ascii"))
    raise ValueError(f"unknown extension {code}")


_value_decoder: Final = msgspec.msgpack.Decoder(ext_hook=_unpack_extension)


def _unpack(data: memoryview) -> Any:
    return _value_decoder.decode(data)
