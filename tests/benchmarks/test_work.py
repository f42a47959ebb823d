"""What the clients of the benchmarks ask for, and what they take for an answer."""

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.client import parse_head
from benchmarks.cold import is_complete
from benchmarks.contenders import named
from benchmarks.hot import check_runs
from benchmarks.load import LoadError
from benchmarks.misses import at_once
from benchmarks.notebook import Notebook
from benchmarks.rounds import interleaved
from benchmarks.stage import Running
from benchmarks.zipf import draw, script


def test_a_round_has_each_once_and_another_order() -> None:
    """It is the same in each run of the benchmarks."""
    turns = list(interleaved("abcdef", 4))
    rounds = [turns[at : at + 6] for at in range(0, 24, 6)]
    assert [sorted(each) for each in rounds] == [list("abcdef")] * 4
    assert len({"".join(each) for each in rounds}) > 1
    assert turns == list(interleaved("abcdef", 4))


def test_zipf() -> None:
    """The second comes half as often as the first, the tenth a tenth as often."""
    counts = Counter(draw(1000, 100_000))
    assert counts[0] == pytest.approx(2 * counts[1], rel=0.1)
    assert counts[0] == pytest.approx(10 * counts[9], rel=0.1)
    assert max(counts) < 1000
    assert draw(1000, 100) == draw(1000, 100)


def test_the_script_reads_its_numbers_from_a_file(tmp_path: Path) -> None:
    """In their order, and with the braces that Lua needs."""
    lua = script(tmp_path, [3, 1, 3]).read_text()
    assert (tmp_path / "numbers.txt").read_text() == "3\n1\n3\n"
    assert str(tmp_path / "numbers.txt") in lua
    assert "local requests = {}" in lua


@pytest.mark.parametrize(("rate", "expected"), [(2000, 21), (100, 1), (10, 1), (10_000, 32)])
def test_misses_at_once(rate: float, expected: int) -> None:
    """Clients that wait 200 ms each make a twentieth of all requests, up to 32 of them."""
    assert at_once(rate) == expected


def test_a_response_is_complete_with_its_body() -> None:
    """By its Content-Length, in whichever case."""
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    assert is_complete(whole)
    assert not any(is_complete(whole[:end]) for end in range(len(whole)))


def test_parse_head() -> None:
    """A value may have colons."""
    assert parse_head(b"HTTP/1.1 304 Not Modified\r\nDate: a:b\r\nEmpty:") == (
        *(304, [("Date", "a:b"), ("Empty", "")]),
    )


@pytest.mark.parametrize(("runs", "is_hits"), [(0, True), (10, True), (11, False)])
def test_a_run_in_which_views_ran_measures_no_hits(runs: int, is_hits: bool) -> None:
    """One in a hundred may have, when an entry has expired; that is remarked."""
    (larder,), notebook = named("larder"), Notebook()
    each = Running(larder, 1, 1, ())
    with contextlib.nullcontext() if is_hits else pytest.raises(LoadError, match="no hits"):
        check_runs(each, notebook, runs, 1000)
    assert len(notebook.remarks) == (runs > 0)
