"""What was purged, and what is hit by it."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from flask_larder.entry import Position, Targets
from flask_larder.purges import ALL, GONE, KINDS, VALID, Kind, Purge, PurgeTable, Target, Verdict
from tests.targets import targets

BEGUN: Position = (1000, 0)
NOW: Position = (2000, 3)
CAT: Target = ("tag", "cat")

SQUARE = Targets(
    *(("square", "user:7"), "app.square", "number=4", "http://api.example", "/square/4", "a=1"),
    "larder1:view=square",
)


@pytest.fixture
def table() -> PurgeTable:
    """A table that has just begun."""
    return begun(PurgeTable(100))


def begun(table: PurgeTable) -> PurgeTable:
    assert table.read(None, [(BEGUN, Purge((ALL,)))])
    return table


HITS: list[Target] = [
    ALL,
    ("tag", "user:7"),
    ("view", "app.square"),
    ("view", "app.square(number=4)"),
    ("key", "larder1:view=square"),
    ("path", "/square/4"),
    ("path", "http://api.example/square/4"),
    ("url", "/square/4?a=1"),
    ("url", "http://api.example/square/4?a=1"),
    ("prefix", "/"),
    ("prefix", "/square/4"),
    ("prefix", "http://api.example/squ"),
]
MISSES: list[Target] = [
    ("tag", "user:70"),
    ("tag", "app.square"),
    ("view", "app.squares"),
    ("view", "app.square(number=40)"),
    ("key", "larder1:key=square"),
    ("path", "/square"),
    ("path", "https://api.example/square/4"),
    ("url", "/square/4"),
    ("url", "/square/4?a=2"),
    ("url", "http://other.example/square/4?a=1"),
    ("prefix", "/square/40"),
    ("prefix", "square"),
    ("prefix", "https://"),
]


@pytest.mark.parametrize("target", HITS, ids=str)
def test_a_purge_hits_what_was_stored_before_it(table: PurgeTable, target: Target) -> None:
    """It is gone, or stale since the time of the purge; what is stored after it is not."""
    table.apply(NOW, Purge((target,)))
    assert table.verdict(BEGUN, SQUARE) == GONE
    assert table.verdict(NOW, SQUARE) == VALID
    assert table.verdict((2000, 2), SQUARE) == GONE
    assert table.verdict((2000, 4), SQUARE) == GONE  # nobody knows what was purged until then

    softly = begun(PurgeTable(100))
    softly.apply(NOW, Purge((target,), soft=True))
    assert softly.verdict(BEGUN, SQUARE) == Verdict(stale_since=2.0)
    assert softly.verdict(NOW, SQUARE) == VALID


@pytest.mark.parametrize("target", MISSES, ids=str)
def test_a_purge_hits_nothing_else(table: PurgeTable, target: Target) -> None:
    """Not another name that begins like it, nor the same name of another kind."""
    table.apply(NOW, Purge((target,)))
    assert table.verdict(BEGUN, SQUARE) == VALID


def test_what_is_stored_without_the_query_is_hit_by_each_url(table: PurgeTable) -> None:
    """It is the answer to all of them."""
    table.apply(NOW, Purge((("url", "/square/4?b=9"),)))
    assert table.verdict(BEGUN, replace(SQUARE, query=None)) == GONE
    assert table.verdict(BEGUN, replace(SQUARE, query="")) == VALID


def test_any_of_several_targets_counts(table: PurgeTable) -> None:
    """Those of what is stored, and those of the URL for which it would be used."""
    table.apply(NOW, Purge((("path", "/asked"),)))
    assert table.verdict(BEGUN, SQUARE) == VALID
    assert table.verdict(BEGUN, SQUARE, targets(path="/asked")) == GONE


def test_a_hard_purge_stands_above_a_soft_one(table: PurgeTable) -> None:
    """In whichever order they came."""
    table.apply(NOW, Purge((("tag", "square"),)))
    table.apply((3000, 0), Purge((("tag", "user:7"),), soft=True))
    assert table.verdict(BEGUN, SQUARE) == GONE
    assert table.verdict(NOW, SQUARE) == Verdict(stale_since=3.0)


def test_a_log_is_read_from_where_it_was_left(table: PurgeTable) -> None:
    """Records that come twice change nothing, nor do those of a late reply."""
    first, second = (NOW, Purge((("tag", "a"),))), ((3000, 0), Purge((("tag", "b"),)))
    assert table.read(BEGUN, [(BEGUN, Purge((ALL,))), first, second])
    assert table.last == (3000, 0)
    assert table.read(BEGUN, [(BEGUN, Purge((ALL,))), first])
    assert table.last == (3000, 0)
    assert table.verdict(BEGUN, targets("a")) == GONE
    assert table.verdict(NOW, targets("a")) == VALID
    assert table.verdict(NOW, targets("b")) == GONE


def test_a_log_without_the_last_known_purge_has_lost_others(table: PurgeTable) -> None:
    """Whatever is older than what it still has is gone, since nobody knows what hit it."""
    assert table.read(BEGUN, [(NOW, Purge((("tag", "other"),)))])
    assert table.floor == table.last == NOW
    assert table.verdict(BEGUN, SQUARE) == GONE
    assert table.verdict(NOW, SQUARE) == VALID


def test_a_log_that_is_gone_or_went_back_is_told(table: PurgeTable) -> None:
    """It has to be begun anew by whoever notices."""
    assert not table.read(BEGUN, [])
    assert not PurgeTable(10).read(None, [])
    table.apply((3000, 0), Purge((("tag", "a"),)))
    assert not table.read(BEGUN, [(NOW, Purge((ALL,)))])
    assert table.last == (3000, 0)


def test_a_table_is_bounded(table: PurgeTable) -> None:
    """What may have been hit by a forgotten purge is gone; the rest is judged as before."""
    small = begun(PurgeTable(3))
    for number in range(1, 6):
        small.apply((BEGUN[0] + number, 0), Purge((("tag", str(number)),)))
    assert len(small) == 3
    assert small.verdict((BEGUN[0] + 1, 0), SQUARE) == GONE
    assert small.verdict((BEGUN[0] + 2, 0), SQUARE) == VALID
    assert small.verdict((BEGUN[0] + 2, 0), targets("3")) == GONE


def test_forgotten_prefixes_cost_nothing() -> None:
    """Only the lengths of known prefixes are tried."""
    small = begun(PurgeTable(2))
    for number in range(10):
        small.apply((BEGUN[0] + 1 + number, 0), Purge((("prefix", "/" * (number + 1)),)))
    assert sorted(small._prefix_lengths) == [9, 10]
    small.apply((5000, 0), Purge((ALL,)))
    assert not small._prefix_lengths


def test_the_server_is_the_latest_that_was_named(table: PurgeTable) -> None:
    """Records without one change nothing."""
    table.apply(NOW, Purge((("tag", "a"),), server="one"))
    table.apply((3000, 0), Purge((("tag", "a"),)))
    assert table.server == "one"


class Overtaken(PurgeTable):
    """A table in which something is forgotten while somebody looks."""

    other: Target | None = None

    def _names_of(self, targets: Targets) -> Iterator[Target]:
        if self.other is not None:
            self.apply((3000, 0), Purge((self.other,)))
            self.other = None
        return super()._names_of(targets)


@pytest.mark.parametrize("other", [ALL, ("tag", "dog")], ids=str)
def test_what_is_forgotten_while_somebody_looks_is_gone(other: Target) -> None:
    """A purge of everything, or one too many, takes the purge away that would have been found."""
    table = Overtaken(1)
    begun(table)
    table.apply(NOW, Purge((CAT,)))
    table.other = other
    assert table.verdict(BEGUN, targets("cat")) == GONE


def test_a_purge_holds_while_it_is_made_again() -> None:
    """Whoever looks while the table is written."""
    table = begun(PurgeTable(100))
    table.apply((2000, 3), Purge((CAT,)))
    is_over = threading.Event()

    def write() -> None:
        for number in itertools.count(4):
            if is_over.is_set():
                return
            table.apply((2000, number), Purge((CAT,)))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert table.verdict(BEGUN, SQUARE, targets("cat")) == GONE
    finally:
        is_over.set()
        writer.join()
        sys.setswitchinterval(before)


@pytest.mark.parametrize("target", HITS[1:])
def test_what_was_hit_between_is_told_apart_from_what_came_later(
    table: PurgeTable, target: Target
) -> None:
    """By the same name, of which a verdict knows the latest only."""
    table.apply((1001, 0), Purge((target,)))
    table.apply((1002, 0), Purge((CAT,)))
    table.apply((1003, 0), Purge((target,)))
    assert not table.hits_between((1001, 0), (1002, 0), SQUARE)
    assert not table.hits_between((1001, 0), (1001, 0), SQUARE)
    assert table.hits_between(BEGUN, (1001, 0), SQUARE)
    assert table.hits_between(BEGUN, (1002, 0), SQUARE)
    assert table.hits_between((1001, 0), (1003, 0), SQUARE)
    assert table.verdict((1001, 0), SQUARE) == GONE


def test_all_targets_count_between(table: PurgeTable) -> None:
    """Those of what is stored, and of the URL that is asked for."""
    table.apply((1001, 0), Purge((CAT,)))
    assert table.hits_between(BEGUN, (1001, 0), SQUARE, targets("cat"))
    assert not table.hits_between(BEGUN, (1001, 0), SQUARE, targets("dog"))


@pytest.mark.parametrize("soft", [True, False])
def test_a_purge_of_everything_hits_between(table: PurgeTable, soft: bool) -> None:
    """Be it one that leaves it stale."""
    table.apply((1001, 0), Purge((ALL,), soft=soft))
    assert table.hits_between(BEGUN, (1001, 0), SQUARE)
    assert not table.hits_between((1001, 0), (1001, 0), SQUARE)


def test_what_is_too_long_ago_may_have_been_hit_between(table: PurgeTable) -> None:
    """The purges themselves are known, but no longer in which order they came."""
    many = tuple(("tag", str(number)) for number in range(99))
    for number in range(1, 301):
        table.apply((1000 + number, 0), Purge((CAT, *many)))
    assert len(table._recent) == 10_000 // 101
    assert table.hits_between(BEGUN, (1300, 0), SQUARE)
    assert not table.hits_between(BEGUN, (1300, 0), SQUARE, unknown=False)
    assert not table.hits_between((1250, 0), (1300, 0), SQUARE)
    assert not table.hits_between(BEGUN, BEGUN, SQUARE)


def test_a_purge_of_more_names_than_are_kept_may_have_hit(table: PurgeTable) -> None:
    """Somebody may write a record of any length."""
    table.apply((1001, 0), Purge(tuple(("tag", str(number)) for number in range(10_001))))
    assert table.hits_between(BEGUN, (1001, 0), SQUARE)
    assert not table.hits_between(BEGUN, (1001, 0), SQUARE, unknown=False)


def test_what_was_forgotten_may_have_been_hit_between() -> None:
    """A prefix of which nothing is known any more, too."""
    table = begun(PurgeTable(2))
    table.apply((1001, 0), Purge((("prefix", "/square"),)))
    for number in range(2, 5):
        table.apply((1000 + number, 0), Purge((("tag", str(number)),)))
    assert table.hits_between(BEGUN, (1001, 0), SQUARE)


@pytest.mark.parametrize("kind", ["url", "path"])
def test_long_names_are_kept_short(kind: Kind) -> None:
    """A process may keep a hundred thousand of them; they hit what they name, and nothing else."""
    table, path = begun(PurgeTable(100)), "/" + "p" * 5000
    table.apply(NOW, Purge(((kind, path),)))
    assert all(len(name) < 500 for _, name, _ in table._latest)
    for query in ("", None):
        assert table.verdict(BEGUN, targets(site="http://a", path=path, query=query)).is_gone
    assert table.verdict(BEGUN, targets(site="http://a", path=path[:-1], query="")) == VALID


def test_a_long_prefix_hits_what_begins_so() -> None:
    """It is kept as it is: what stands for it is the beginning of nothing."""
    table, prefix = begun(PurgeTable(100)), "/" + "p" * 300
    table.apply(NOW, Purge((("prefix", prefix),)))
    assert table.verdict(BEGUN, targets(path=prefix + "q", query="")).is_gone
    assert table.verdict(BEGUN, targets(path=prefix[:-1] + "q", query="")) == VALID


@pytest.mark.parametrize("length", [1, 150, 199, 200, 201, 250, 300, 1000])
@pytest.mark.parametrize("kind", sorted(KINDS - {"all"}))
def test_names_of_any_length_hit(kind: Kind, length: int) -> None:
    """However they are kept, and nothing else is hit."""
    name = "/" * (kind in {"path", "url", "prefix"}) + "n" * length
    field = kind if kind in {"view", "key"} else "path"

    def having(name: str) -> Targets:
        if kind == "tag":
            return targets(name)
        return targets(**{"query": "", field: name})

    table = begun(PurgeTable(100))
    table.apply(NOW, Purge(((kind, name),)))
    assert table.verdict(BEGUN, having(name)) == GONE
    assert table.hits_between(BEGUN, NOW, having(name))
    other = having(name[:-1] + "m")
    assert table.verdict(BEGUN, other) == VALID
    assert not table.hits_between(BEGUN, NOW, other)
