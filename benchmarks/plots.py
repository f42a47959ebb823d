"""The results as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import title
from benchmarks.notebook import Notebook, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS = "#c0392b"
OTHERS = "#7f8c8d"


def draw(notebook: Notebook, directory: Path) -> list[tuple[str, str]]:
    """Draw what was measured; return the names of the files, each with what it shows."""
    import matplotlib as mpl  # noqa: PLC0415 - the tests do without

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "larder"  # the same values make the same file
    made = []
    for name, text, function, works in (
        ("hits.svg", "hits per second", _hits, "ab"),
        ("cpu.svg", "processor time per request", _cpu, "ab"),
        ("misses.svg", "latency of hits while others miss", _misses, "d"),
        ("entries.svg", "latency and memory by the number of entries", _entries, "h"),
    ):
        if all(notebook.contenders(work) for work in works):
            figure = function(notebook)
            figure.savefig(directory / name, bbox_inches="tight", metadata={"Date": None})
            made.append((name, text))
    return made


def _panels(width: float, height: float) -> tuple[Any, "Axes", "Axes"]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, left, right


def _hits(notebook: Notebook) -> Any:
    return _bars_of_both(notebook, "per_second", "hits/s")


def _cpu(notebook: Notebook) -> Any:
    return _bars_of_both(notebook, "cpu_us", "processor time of the server, µs per request")


def _bars_of_both(notebook: Notebook, measure: str, label: str) -> Any:
    figure, left, right = _panels(13, 4.5)
    for axes, work, size in ((left, "a", "17 bytes"), (right, "b", "40 KB")):
        _bars(axes, notebook, work, measure)
        axes.set_title(size)
        axes.set_xlabel(label)
    return figure


def _bars(axes: "Axes", notebook: Notebook, work: str, measure: str) -> None:
    """A bar for each median, with a line from the lowest to the highest value."""
    found = [notebook.series(work, each, measure) for each in notebook.contenders(work)]
    series = sorted((each for each in found if each), key=lambda each: each.median)
    axes.barh(
        [title(each.contender) for each in series],
        [each.median for each in series],
        xerr=[
            [each.median - min(each.values) for each in series],
            [max(each.values) - each.median for each in series],
        ],
        color=[OURS if each.contender.startswith("larder") else OTHERS for each in series],
    )
    axes.xaxis.grid(visible=True, alpha=0.3)
    axes.set_axisbelow(True)


def _misses(notebook: Notebook) -> Any:
    """Percentiles of each contender, alone and beside misses."""
    figure, left, right = _panels(11, 3.5)
    for axes, when, head in ((left, "alone", "hits alone"), (right, "beside", "beside misses")):
        for contender in notebook.contenders("d"):
            found = [notebook.series("d", contender, f"{when}_p{p}_us") for p in (50, 90, 99)]
            values = [each.median for each in found if each]
            axes.plot(["p50", "p90", "p99"], values, marker="o", label=title(contender))
        axes.set_title(head)
        axes.set_yscale("log")
        axes.set_ylabel("µs")
        axes.legend()
    right.sharey(left)
    return figure


def _entries(notebook: Notebook) -> Any:
    figure, left, right = _panels(11, 3.5)
    rows = [each for each in notebook.all() if each.work == "h"]
    _by_size(left, [each for each in rows if each.measure == "p50_us"], "p50 of a hit, µs")
    memory = [each for each in rows if each.measure == "redis_bytes_per_entry"]
    _by_size(right, memory, "bytes of Redis per entry")
    return figure


def _by_size(axes: "Axes", rows: list[Series], label: str) -> None:
    names = dict.fromkeys(each.contender.split(", ")[0] for each in rows)
    for name in names:
        own = {
            int(each.contender.split(", ")[1].split()[0]): each.median
            for each in rows
            if each.contender.startswith(f"{name}, ")
        }
        sizes = sorted(own)
        axes.plot(sizes, [own[size] for size in sizes], marker="o", label=title(name))
    axes.set_xscale("log")
    axes.set_xlabel("entries in Redis")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.legend()
