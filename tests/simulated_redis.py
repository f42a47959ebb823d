"""A server of Redis without a server: as much of it as a store and a log of purges use."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from flask_larder.budget import Counts
from flask_larder.entry import Position
from flask_larder.errors import StoreUnavailable
from flask_larder.redis.purge_record import id_of, position_of

NODE = 2
"""How many records a stream keeps together: ``MAXLEN ~`` takes away whole nodes only."""


@dataclass
class Stream:
    """Records in order. *last* is the id of the latest, also where that was removed."""

    records: list[tuple[Position, list[bytes]]] = field(default_factory=list)
    last: Position = (0, 0)


@dataclass
class Contents:
    """What a server has: values with the time at which they end, and streams."""

    values: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)


class SimulatedRedis:
    """One server at a time, and what comes after it. Its clock shows *ms* since the epoch.

    That may step back, as far as ids do not: what begins anew, because a log was lost, or because
    another server has taken over, does so after the millisecond of the latest id.
    """

    def __init__(self) -> None:
        self.ms = 1_000_000
        self.contents = Contents()
        self._servers = 0
        self._latest_ms = 0
        self._earliest_ms = 0
        self._interruptions: list[tuple[int, Callable[[], None]]] = []

    @property
    def server(self) -> str:
        """The id of the server that answers now, as records of the log name it."""
        return f"{self._servers:08x}"

    @property
    def now(self) -> int:
        """What the server takes the time for, in milliseconds."""
        return max(self.ms, self._earliest_ms)

    def drop(self, key: str) -> None:
        """Evict *key*, whatever it is."""
        self.contents.values.pop(key, None)
        if self.contents.streams.pop(key, None) is not None:
            self._begin_later()

    def flush(self) -> None:
        """Lose everything."""
        self.contents = Contents()
        self._begin_later()

    def trim(self, key: str, kept: int) -> None:
        """Have the stream *key* keep its *kept* latest records."""
        if stream := self.contents.streams.get(key):
            del stream.records[: max(0, len(stream.records) - kept)]

    def snapshot(self) -> Contents:
        """What a replica, or the disk, has of it."""
        return deepcopy(self.contents)

    def fail_over(self, snapshot: Contents) -> None:
        """Have another server answer from now on, which has *snapshot*."""
        self.contents = deepcopy(snapshot)
        self._servers += 1
        self._begin_later()

    def _begin_later(self) -> None:
        self._earliest_ms = self._latest_ms + 1

    def interrupt(self, commands: int, action: Callable[[], None]) -> None:
        """Have *action* happen between two commands, when so many *commands* have been asked."""
        self._interruptions.append((commands, action))

    def _be_interrupted(self) -> None:
        due = [action for left, action in self._interruptions if not left]
        self._interruptions = [(left - 1, action) for left, action in self._interruptions if left]
        for action in due:
            action()

    def ask(self, name: str, *arguments: Any) -> Any:
        """The reply to a command."""
        self._be_interrupted()
        match name, arguments:
            case "MGET", keys:
                return [self._get(key) for key in keys]
            case "SET", (key, value, "PX", ms):
                self.contents.values[key] = (self.now + int(ms), value)
                return b"OK"
            case "XRANGE", (key, start, "+", "COUNT", count):
                return self._range(key, start)[: int(count)]
            case "XADD", (key, "MAXLEN", "~", most, "*", *fields):
                return self._add(key, int(most), b"*", fields)
            case "EVAL", (_, "1", key, behind, ms, number, most, *fields):
                return self._forget_all(key, behind, (int(ms), int(number)), int(most), fields)
            case "INFO", ("replication",):
                return b"role:master\r\nmaster_replid:%s" % self.server.encode()
        raise AssertionError(f"no such command: {name} {arguments}")

    def _get(self, key: str) -> bytes | None:
        ends, value = self.contents.values.get(key, (0, None))
        return value if ends > self.now else None

    def _range(self, key: str, start: bytes) -> list[list[Any]]:
        records = self.contents.streams.get(key, Stream()).records
        is_open = start.startswith(b"(")
        first = (0, 0) if start == b"-" else position_of(start.removeprefix(b"("))
        return [
            [id_of(position), fields]
            for position, fields in records
            if position > first or (position == first and not is_open)
        ]

    def _add(self, key: str, most: int, record_id: bytes, fields: Sequence[bytes]) -> bytes | None:
        """``XADD``. ``None`` where the id is not above all that the stream has had."""
        stream = self.contents.streams.setdefault(key, Stream())
        position = (self.now, 0) if record_id == b"*" else position_of(record_id)
        if position <= stream.last:
            if record_id != b"*":
                return None
            position = (stream.last[0], stream.last[1] + 1)
        stream.records.append((position, list(fields)))
        stream.last = position
        self._latest_ms = max(self._latest_ms, position[0])
        excess = max(0, len(stream.records) - most)
        del stream.records[: excess - excess % NODE]
        return id_of(position)

    def _forget_all(
        self, key: str, behind: bytes, known: Position, most: int, fields: Sequence[bytes]
    ) -> int:
        """What ``forget_all.lua`` does."""
        if self._range(key, behind):
            return 0
        record_id = id_of((max(self.now, known[0]), known[1]))
        if self._add(key, most, record_id, fields) is None:
            self._add(key, most, b"*", fields)
        return 1


class SimulatedLinks:
    """What leads one process to *redis*. With *parts*, the log is on another node than the rest."""

    def __init__(self, redis: SimulatedRedis, *, parts: bool) -> None:
        self.is_cut = False
        self._redis = redis
        self._parts = parts

    def ask(self, *command: Any, counts: Counts = Counts.ALWAYS) -> Any:
        """The reply to *command*."""
        if self.is_cut:
            raise StoreUnavailable("it is cut off")
        return self._redis.ask(*command)

    def ask_both(self, command: Sequence[Any], then: Sequence[Any]) -> tuple[Any, Any | None]:
        """The replies to *command* and, where one node has both, to *then*."""
        return self.ask(*command), None if self._parts else self.ask(*then)

    def ask_to_set(self, key: str, *command: Any) -> Any:
        """The reply to *command*; there are no leases."""
        return self.ask(*command)

    def parted(self, keys: Sequence[str]) -> Iterator[Sequence[str]]:
        """*keys* by the node that has them."""
        yield keys
