"""Purges as Redis keeps them: records of a stream, which a GUI shows readably.

The fields of a record are a kind and a name for each target, then ``soft 1`` for a soft purge, and
``server`` with the id of the server that it was written to, where that is known. One that names
nothing but its server purges nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias, cast

from flask_larder.entry import Position
from flask_larder.purges import ALL, KINDS, Kind, Purge, Target

Record: TypeAlias = tuple[Position, Purge]

_SERVER: Final = re.compile(rb"[0-9a-f]{8}")


def record_of(reply: Sequence[Any]) -> Record:
    """One item of a reply to ``XRANGE``: an id, and fields."""
    return position_of(reply[0]), purge_of(reply[1])


def position_of(record_id: bytes) -> Position:
    """The position that Redis writes so."""
    ms, _, number = record_id.partition(b"-")
    return int(ms), int(number)


def id_of(position: Position) -> bytes:
    """How Redis writes *position*."""
    return b"%d-%d" % position


def fields_of(purge: Purge) -> Iterator[bytes]:
    """The fields of a record that holds *purge*."""
    for kind, name in purge.targets:
        yield kind.encode()
        yield name.encode("utf-8", "surrogatepass")
    if purge.soft:
        yield from (b"soft", b"1")
    if purge.server:
        yield from (b"server", purge.server.encode())


def purge_of(fields: Sequence[bytes]) -> Purge:
    """What a record with *fields* says. Of what is not understood, anything may have been meant."""
    targets: list[Target] = []
    soft, server = False, ""
    is_understood = bool(fields) and len(fields) % 2 == 0
    for field, value in zip(fields[::2], fields[1::2], strict=False):
        if field == b"server" and _SERVER.fullmatch(value):
            server = value.decode()
        elif field == b"soft" and value == b"1":
            soft = True
        elif (target := _target(field, value)) is not None:
            targets.append(target)
        else:
            is_understood = False
    if not (is_understood and (targets or server)):
        return Purge((ALL,), server=server)
    return Purge(tuple(targets), soft, server)


def _target(field: bytes, value: bytes) -> Target | None:
    try:
        kind, name = field.decode("ascii"), value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    if kind not in KINDS:
        return None
    return ALL if kind == "all" else (cast("Kind", kind), name)
