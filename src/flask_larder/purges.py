"""What was purged, and whether something stored is hit by that.

A purge is a record in a log. What is stored carries its position in that log, the latest purge that
was known before it was made, and is valid unless a later one hits it. So a purge costs the same
whatever it hits, comes twice or late without harm, and holds for what is stored after it, too.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from flask_larder.budget import Counts
from flask_larder.entry import Position, Targets

Kind: TypeAlias = Literal["all", "tag", "view", "key", "path", "url", "prefix"]
KINDS: Final[frozenset[str]] = frozenset({"all", "tag", "view", "key", "path", "url", "prefix"})

Target: TypeAlias = tuple[str, str]
"""A :data:`Kind` and a name. ``all`` has an empty one."""

MOST_TARGETS: Final = 100
"""What one record of the log names at most."""

LONGEST_NAME: Final = 8000
"""In bytes: how long a URL, path or prefix is at most. Each process keeps those of many purges."""

_MOST_RECENT: Final = 10_000
"""How many names the latest records have that can be told apart by when they came."""

_LONGEST_KEPT: Final = 200
"""In characters: how long a name is at most that is kept as it is."""

_ANY_QUERY: Final = "url of"  # the kind of a URL's path, for what is stored without the query


class Purge(Struct, frozen=True):
    """One record of the log: what it hits, and whether that is then stale rather than gone.

    *server* names the server to which it was written, where that is known.
    """

    targets: tuple[Target, ...]
    soft: bool = False
    server: str = ""


ALL: Final[Target] = ("all", "")


class Verdict(Struct, frozen=True):
    """Whether something stored may be used, by the purges that are known.

    *stale_since* is when a soft purge hit it, in seconds since the epoch, by the log's clock.
    """

    is_gone: bool = False
    stale_since: float | None = None


VALID: Final = Verdict()
GONE: Final = Verdict(is_gone=True)


class PurgeTable:
    """The purges that one process knows: the latest for each target, *most_targets* of them.

    *floor* is where this knowledge begins: what is older is gone. *last* is the latest purge,
    ``None`` before anything is known, and *server* the latest one that a purge has named. *version*
    is another one after each change: what was valid when it was read is so until then.
    Written by one thread at a time, read by any: *floor* rises before anything is forgotten.
    """

    def __init__(self, most_targets: int) -> None:
        self.floor: Position = (0, 0)
        self.last: Position | None = None
        self.server = ""
        self.version = 0
        self._most_targets = most_targets
        self._last_hit: Position = (0, 0)  # the latest purge that hits anything
        self._latest: OrderedDict[tuple[str, str, bool], Position] = OrderedDict()
        self._prefix_lengths: dict[int, int] = {}  # how many prefixes have a length
        self._recent: deque[tuple[Position, frozenset[Target]]] = deque()
        self._names_recent = 0

    def __len__(self) -> int:
        return len(self._latest)

    def read(self, since: Position | None, records: Sequence[tuple[Position, Purge]]) -> bool:
        """Take in what the log has from *since* on, with *since* itself; ``None`` means all of it.

        Returns whether the log goes on from what was known. If not, it has lost records, or was
        lost itself: then it is to be asked again from *last* on, and if there is still nothing,
        nobody knows what was purged, and all is.
        """
        if not records:
            return False
        first = records[0][0]
        if first != since:
            # Nothing is known of what was purged before that, in a log that was trimmed or is new.
            if self.last is not None and first <= self.last:
                return False
            self._begin(first)
        for position, purge in records:
            if self.last is None or position > self.last:
                self.apply(position, purge)
            elif purge.server:
                self.server = purge.server
        return True

    def apply(self, position: Position, purge: Purge) -> None:
        """Take in the purge that follows *last*, at *position*."""
        if purge.server:
            self.server = purge.server
        if ALL in purge.targets and not purge.soft:
            self._begin(position)
            return
        if purge.targets:  # a record may be there only to name the server
            self._last_hit = position
        named = set(purge.targets)
        named |= {(_ANY_QUERY, name.partition("?")[0]) for kind, name in named if kind == "url"}
        hit = frozenset(map(_kept, named))
        for kind, name in hit:
            self._put((kind, name, purge.soft), position)
        self._remember(position, hit)
        self.last = position
        self.version += 1  # when all else is there: whoever sees the old one asks again

    def verdict(self, position: Position, *targets: Targets) -> Verdict:
        """Whether what was stored at *position* is valid, which all of *targets* belong to."""
        if position < self.floor:
            return GONE
        if self.last is not None and position > self.last:
            return GONE  # the log has lost what was known when that was made
        if position >= self._last_hit:
            return VALID
        names = [name for each in targets for name in self._names_of(each)]
        if any(self._at(name, soft=False) > position for name in names):
            return GONE
        latest_soft = max(self._at(name, soft=True) for name in (ALL, *names))
        if position < self.floor:  # some of it was forgotten meanwhile
            return GONE
        return Verdict(stale_since=latest_soft[0] / 1000) if latest_soft > position else VALID

    def hits_between(
        self, position: Position, until: Position, *targets: Targets, unknown: bool = True
    ) -> bool:
        """Whether a purge after *position*, up to *until*, hits what all of *targets* belong to.

        *unknown* where that is too long ago to be known.
        """
        if position >= until:
            return False
        recent = self._recent.copy()
        if not recent or position < recent[0][0]:  # one purge may have more names than are kept
            return unknown
        names = {ALL, *(name for each in targets for name in self._names_of(each))}
        # All prefixes, also those of which a verdict knows nothing any more.
        paths = tuple(path for each in targets for path in (each.path, each.site + each.path))
        return any(
            position < at <= until and (not hit.isdisjoint(names) or _begins_so(hit, paths))
            for at, hit in recent
        )

    def _remember(self, position: Position, hit: frozenset[Target]) -> None:
        self._recent.append((position, hit))
        self._names_recent += len(hit) + 1
        while self._names_recent > _MOST_RECENT:
            self._names_recent -= len(self._recent.popleft()[1]) + 1

    def _begin(self, position: Position) -> None:
        """Forget everything, and with it whatever was stored before *position*."""
        self.floor = position
        self._remember(position, frozenset({ALL}))
        self._latest.clear()
        self._prefix_lengths.clear()
        self.last = position
        self.version += 1

    def _put(self, key: tuple[str, str, bool], position: Position) -> None:
        is_new = key not in self._latest
        self._latest[key] = position  # in place: others look at it meanwhile
        self._latest.move_to_end(key)
        if is_new and key[0] == "prefix":
            length = len(key[1])
            self._prefix_lengths[length] = self._prefix_lengths.get(length, 0) + 1
        while len(self._latest) > self._most_targets:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Forget the purge that is longest ago, and whatever may have been hit by it."""
        key = next(iter(self._latest))
        self.floor = max(self.floor, self._latest[key])
        del self._latest[key]
        if key[0] == "prefix":
            length = len(key[1])
            self._prefix_lengths[length] -= 1
            if not self._prefix_lengths[length]:
                del self._prefix_lengths[length]

    def _at(self, target: Target, *, soft: bool) -> Position:
        return self._latest.get((*target, soft), (0, 0))

    def _names_of(self, targets: Targets) -> Iterator[Target]:
        return map(_kept, self._said_of(targets))

    def _said_of(self, targets: Targets) -> Iterator[Target]:
        for tag in targets.tags:
            yield "tag", tag
        if targets.view:
            yield "view", targets.view
            yield "view", call_of(targets.view, targets.arguments)
        if targets.key:
            yield "key", targets.key
        if not targets.path:
            return
        lengths = list(self._prefix_lengths.copy())
        for path in (targets.path, targets.site + targets.path):
            yield "path", path
            if targets.query is None:
                yield _ANY_QUERY, path
            else:
                yield "url", f"{path}?{targets.query}" if targets.query else path
            for length in lengths:
                if length <= len(path):
                    yield "prefix", path[:length]


def _kept(target: Target) -> Target:
    """*target*, or what stands for one with a long name, of which each process may keep many.

    Not for a prefix: what stands for it would be the beginning of nothing.
    """
    kind, name = target
    if len(name) <= _LONGEST_KEPT or kind == "prefix":
        return target
    data = name.encode("utf-8", "surrogatepass")
    return kind, f"#{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _begins_so(hit: frozenset[Target], paths: tuple[str, ...]) -> bool:
    """Whether one of *paths* begins with a prefix that was *hit*."""
    return any(kind == "prefix" and path.startswith(name) for kind, name in hit for path in paths)


def call_of(view: str, arguments: str) -> str:
    """The name of a view's answers for certain *arguments*."""
    return f"{view}({arguments})"


class PurgeLog(Protocol):
    """The port to the log of purges, as one process knows it."""

    def known(self) -> PurgeTable | None:
        """What was purged; ``None`` while that is not known, or not known to be all."""
        ...

    def position(self) -> Position | None:
        """The latest purge that is known, be it all of them or not; ``None`` where none is."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether no other process purges what this one has, so that it knows all at once."""
        ...

    @property
    def reaches(self) -> bool:
        """Whether a purge hits what is stored. Where not, :meth:`add` raises."""
        ...

    def known_until(self) -> float:
        """Until when :meth:`known` has an answer at least, by the monotonic clock."""
        ...

    def load(self) -> None:
        """Read the log, if nothing is known of it. Raises nothing."""
        ...

    def add(self, *purges: Purge, counts: Counts = Counts.NEVER) -> None:
        """Have the log keep *purges*, and know them here. Raises ``StoreUnavailable``.

        *counts* tells whether the time for that draws on the budget of the request.
        """
        ...
