"""The page with the results says what holds and what does not."""

import json

import pytest

from benchmarks.notebook import Notebook
from benchmarks.report import page, requirements_table
from benchmarks.requirements import Requirement, requirements, verdict


def row(text: str, notebook: Notebook) -> list[str]:
    """The cells of a requirement whose text has this in it."""
    lines = requirements_table(notebook).splitlines()
    (line,) = [line for line in lines if text in line]
    return [each.strip() for each in line.strip("|").split("|")]


def notebook_of(*rounds: tuple[str, str, str, float]) -> Notebook:
    """A notebook with these values."""
    notebook = Notebook()
    for work, contender, measure, value in rounds:
        notebook.add(work, contender, **{measure: value})
    return notebook


@pytest.mark.parametrize(
    ("hits", "expected"), [(15_000.0, "holds"), (14_999.0, "**does not hold**")]
)
def test_at_least(hits: float, expected: str) -> None:
    """The bound itself is enough."""
    notebook = notebook_of(
        ("a", "larder", "per_second", hits), ("a", "caching", "per_second", 1000.0)
    )
    assert (
        row("Flask-Caching on the same server, from Redis | at least 15x", notebook)[-1] == expected
    )


@pytest.mark.parametrize(("beside", "expected"), [(299.0, "holds"), (300.0, "**does not hold**")])
def test_below(beside: float, expected: str) -> None:
    """The bound itself is too much."""
    notebook = notebook_of(
        ("d", "larder", "beside_p99_us", beside), ("d", "larder", "alone_p99_us", 100.0)
    )
    assert row("p99 of hits while", notebook)[1:] == [
        *("below 3x", f"{beside / 100:.2f}x", f"{beside / 100:.2f} to {beside / 100:.2f}", expected)
    ]


def test_a_percentile_is_no_ratio() -> None:
    """Of a hundred purges, the second slowest counts at 99 per cent."""
    values = [("g", "larder", "last_old_ms", float(number)) for number in range(1, 101)]
    assert row("purge to the last", notebook_of(*values))[1:] == [
        *("below 10 ms", "99.00 ms", "1.00 to 100.00", "**does not hold**")
    ]


def test_what_was_not_measured_says_so() -> None:
    """It does not hold silently."""
    assert all(
        verdict(each, each.measured(Notebook())) == "not measured" for each in requirements()
    )
    assert row("nginx", notebook_of(("a", "larder", "per_second", 1.0)))[-1] == "not measured"


def test_ratios_are_those_of_medians_with_the_rounds_beside() -> None:
    """One lucky round does not make a ratio."""
    rounds = [(100.0, 10.0), (100.0, 100.0), (900.0, 10.0)]
    notebook = Notebook()
    for ours, theirs in rounds:
        notebook.add("a", "larder-redis", per_second=ours)
        notebook.add("a", "caching", per_second=theirs)
    assert row("from Redis, ahead", notebook)[2:] == ["10.00x", "1.00 to 90.00", "holds"]


def test_the_page_has_losses_beside_wins_and_the_reasons() -> None:
    """A contender that was left out is named, too."""
    notebook = Notebook()
    notebook.add("a", "nginx", per_second=80_000.0, cpu_us=11.5)
    notebook.add("a", "larder", per_second=70_000.0)
    notebook.add("a", "larder", per_second=72_000.0)
    notebook.leave_out("varnish", "varnishd is not installed")
    text = page(notebook, "## Reasons\n\nIt is Python.", [("hits.svg", "hits per second")])
    nginx, ours = (
        text.index("| nginx proxy_cache | 80,000 | 11.5 |"),
        text.index("| 71,000 (70,000 to 72,000) |"),
    )
    assert nginx < ours  # the best first
    assert "Varnish: left out, varnishd is not installed" in text
    assert "It is Python." in text
    assert "![hits per second](hits.svg)" in text


def test_results_are_kept_as_they_were() -> None:
    """The page can be made anew from results.json."""
    notebook = notebook_of(
        ("a", "larder", "per_second", 1.5), ("h", "larder, 100 entries", "p50_us", 2)
    )
    notebook.facts["machine"] = {"cores": "2"}
    again = Notebook.of_json(json.loads(json.dumps(notebook.as_json())))
    assert page(again, "") == page(notebook, "")
    assert "| Flask-Larder, from memory, 100 entries | 2 |" in page(again, "")


def test_a_requirement_names_its_aim() -> None:
    """Beyond what must hold."""
    assert (
        Requirement("x", "a", "larder", "per_second", 0.8, aim=0.95).limit
        == "at least 0.8x (aim: 0.95x)"
    )
