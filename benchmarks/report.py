"""The results as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import figures
from benchmarks.contenders import title
from benchmarks.notebook import Notebook, Series
from benchmarks.requirements import requirements, verdict

Format = Callable[[float], str]


def number(value: float) -> str:
    """Three significant digits, with commas; whole numbers as they are."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def share(value: float) -> str:
    """Per cent."""
    return f"{value:.0%}"


@dataclass(frozen=True, slots=True)
class Column:
    """One measure in the table of one kind of work."""

    measure: str
    head: str
    format: Format = number


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of work: what is done, and which measures the table has."""

    work: str
    head: str
    text: str
    columns: Sequence[Column]


THROUGHPUT = (
    Column("per_second", "hits/s"),
    Column("cpu_us", "processor, µs per request"),
    Column("redis_cpu_us", "that of Redis, µs"),
)
SATURATED = (
    Column("saturated_p50_us", "p50 under full load, µs"),
    Column("saturated_p99_us", "p99, µs"),
)

SECTIONS = (
    Section(
        *("a", "One hot key, 17 bytes"),
        "16 connections ask as fast as they are answered (wrk, one thread). Beside it, the "
        "latency at 1,000 requests a second (h2load), and how many Python functions the "
        "application calls for a hit, which is the same on each machine.",
        (
            *THROUGHPUT,
            Column("p50_us", "p50 at 1,000/s, µs"),
            Column("p99_us", "p99 at 1,000/s, µs"),
            Column("calls", "calls of Python functions"),
        ),
    ),
    Section("b", "One hot key, 40 KB", "The same with a body of 40 KB.", (*THROUGHPUT, *SATURATED)),
    Section(
        *("c", "Many keys"),
        "Requests are spread over the keys by Zipf's law, and the memory of the process "
        "(`CACHE_L1_BYTES`) holds a tenth of them. The proxies hold all.",
        (
            Column("per_second", "hits/s"),
            *SATURATED,
            Column("memory_share", "hits from memory", share),
        ),
    ),
    Section(
        *("d", "Hits while others miss"),
        "Hits at a fixed rate, alone, and while a twentieth of all requests are misses on a view "
        "that takes 200 ms. The server has 64 threads, more than wait at once. The rate is a "
        "quarter of what the contender can do, and 2,000 a second at most.",
        (
            Column("alone_p50_us", "p50 alone, µs"),
            Column("beside_p50_us", "p50 beside misses, µs"),
            Column("alone_p99_us", "p99 alone, µs"),
            Column("beside_p99_us", "p99 beside misses, µs"),
            Column("misses_per_second", "misses/s"),
        ),
    ),
    Section(
        *("e", "Two hundred callers on one cold key"),
        "All ask at once for what takes 200 ms to make; the server has 256 threads.",
        (Column("view_runs", "runs of the view"), Column("last_answer_ms", "last answer, ms")),
    ),
    Section(
        *("f", "Redis stopped, Redis hung"),
        "Four clients ask a cheap view for some seconds from the moment on at which Redis is "
        "ended (SIGTERM) or hangs (SIGSTOP), with a pause of 10 ms after each answer. They wait "
        "10 s at most. Each library has the timeouts that it has by default, which are 0.1 s and "
        "5 s, and Flask-Caching also those of Flask-Larder.",
        tuple(
            Column(f"{fault}_{name}", f"{fault}: {head}")
            for fault in ("stopped", "hung")
            for name, head in (
                *(("answers", "answers"), ("failed", "failed"), ("p50_ms", "p50, ms")),
                *(("p99_ms", "p99, ms"), ("longest_ms", "longest, ms")),
            )
        ),
    ),
    Section(
        *("h", "Many entries"),
        "One client, one request after the other. From Redis it asks for up to 5,000 keys in turn. "
        "The memory is that of Redis, for a body of about 27 bytes.",
        (
            Column("p50_us", "p50, µs"),
            Column("p99_us", "p99, µs"),
            Column("mean_us", "mean, µs"),
            Column("redis_bytes_per_entry", "bytes per entry"),
        ),
    ),
    Section(
        *("i", "What a miss costs"),
        "One client asks a cheap view for one new URL after the other. The view itself takes what "
        "the uncached one takes. For what the parts of it cost, there is also a miss from which "
        "nothing is learned and which only Redis remembers, and one without Redis.",
        (
            Column("p50_us", "p50, µs"),
            Column("added_us", "added to the view, µs"),
            Column("calls", "calls of Python functions"),
        ),
    ),
)

INTRODUCTION = """\
# Benchmarks

Made by `make bench`, which writes this page; [reasons.md](reasons.md), included below, is written
by hand. Everything runs on one machine, over the loopback interface, with one worker process
for each contender. Contenders take turns, in another order in each round; a cell has the median
of the rounds, with the lowest and the highest; (f) has one round. A ratio is that of the medians;
single rounds have theirs beside it. Each run is checked: all answers are `200`. In (a), (b), (c)
and (h) the views count their runs, and a run with more than 1 % of them is none of hits; fewer are
remarked below. In (a) and (b), one answer before a run and one after it have to be marked as hits,
where a contender marks them, and bodies are compared once; in (d) and (i) the misses are counted.
The raw values are in [results.json](results.json).
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(series: Series | None, form: Format) -> str:
    """Median, lowest and highest."""
    if series is None:
        return ""
    texts = [form(value) for value in (series.median, min(series.values), max(series.values))]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]} to {texts[2]})"


def requirements_table(notebook: Notebook) -> str:
    """What must hold, and whether it does: wins and losses side by side."""
    sizes = notebook.facts.get("sizes", (100, 1_000_000))
    rows = []
    for each in requirements(sizes[0], sizes[-1]):
        measured = each.measured(notebook)
        limit = each.limit if each.must else f"{each.limit}, no must"
        value, spread = "", ""
        if measured:
            value = f"{measured.of_medians:.2f}{each.unit}"
            spread = f"{measured.lowest:.2f} to {measured.highest:.2f}"
        rows.append([each.text, limit, value, spread, verdict(each, measured)])
    return table(["measure", "bound", "measured", "single rounds", ""], rows)


def section(notebook: Notebook, what: Section) -> str:
    """The table of one kind of work; nothing where it was not measured."""
    contenders = notebook.contenders(what.work)
    if not contenders:
        return ""
    columns = [
        column
        for column in what.columns
        if any(notebook.series(what.work, each, column.measure) for each in contenders)
    ]
    rows = [
        [
            _title(each),
            *(cell(notebook.series(what.work, each, at.measure), at.format) for at in columns),
        ]
        for each in _in_order(notebook, what.work)
    ]
    head = ["", *(column.head for column in columns)]
    return f"## ({what.work}) {what.head}\n\n{what.text}\n\n{table(head, rows)}\n"


def _in_order(notebook: Notebook, work: str) -> list[str]:
    """The best first, where requests per second are compared."""
    series = {each: notebook.series(work, each, "per_second") for each in notebook.contenders(work)}
    return sorted(series, key=lambda each: -found.median if (found := series[each]) else 0)


def _title(row: str) -> str:
    name, comma, rest = row.partition(", ")
    size = f"{int(rest.split()[0]):,} entries" if comma else ""
    return title(name) + comma + size


def purges(notebook: Notebook) -> str:
    """The percentiles of the purges, each of which was measured once."""
    kinds = {
        "last_old_ms": "from the return of the purge to the last old answer, ms",
        "last_asked_ms": "to the last request that got an old answer, ms",
        "all_new_ms": "to when each has been seen to have the new one: none is old later, ms",
        "purge_ms": "the purge itself, with its request, ms",
    }
    found = {text: notebook.series("g", "larder", name) for name, text in kinds.items()}
    rows = [
        [text, *(number(figures.percentile(each.values, percent)) for percent in (50, 90, 99, 100))]
        for text, each in found.items()
        if each
    ]
    if not rows:
        return ""
    facts = "; ".join(f"{name}: {value}" for name, value in notebook.facts["purges"].items())
    text = f"One page, which all workers have in memory ({facts})."
    head = ["", "p50", "p90", "p99", "longest"]
    return f"## (g) From a purge to the last old answer\n\n{text}\n\n{table(head, rows)}\n"


def facts(values: Mapping[str, Any]) -> str:
    """Machine, versions and parameters."""
    rows = []
    for name, value in values.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        texts = [f"{key} {_flat(item)}".strip() for key, item in inner]
        rows.append([name, "; ".join(texts)])
    return f"## Machine, versions, parameters\n\n{table(['', ''], rows)}\n"


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def notes(notebook: Notebook) -> str:
    """What did not go as planned."""
    lines = [f"{title(name)}: left out, {reason}" for name, reason in notebook.left_out.items()]
    lines += notebook.remarks
    if not lines:
        return ""
    return "## Remarks of the run\n\n" + "".join(f"- {line}\n" for line in lines) + "\n"


def page(notebook: Notebook, reasons: str, plots: Sequence[tuple[str, str]] = ()) -> str:
    """The whole page. *plots* are names of files, each with what it shows."""
    parts = [
        INTRODUCTION,
        "\n## What must hold\n\n",
        requirements_table(notebook),
        f"\n{reasons.strip()}\n\n" if reasons else "\n",
        *(f"![{text}]({name})\n\n" for name, text in plots),
    ]
    for each in SECTIONS:
        if each.work == "h":
            parts.append(purges(notebook))
        parts.append(section(notebook, each))
    parts += [notes(notebook), facts(notebook.facts)]
    return "".join(parts).rstrip() + "\n"
