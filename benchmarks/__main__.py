"""``python -m benchmarks [--quick] [--only LETTERS] [--out DIR]``."""

import argparse
import importlib.util
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import machine, report, servers
from benchmarks.notebook import Notebook, say
from benchmarks.rounds import FULL, QUICK, Effort

PUBLISHED = Path(__file__).parents[1] / "docs" / "benchmarks"
NEEDED = ("psutil", "matplotlib", "redis", "flask_caching", "granian", "gunicorn")
WORKS = "abcdefghi"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the results."""
    options = _parser().parse_args(arguments)
    works = sorted(set(options.only))
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        say(f"{', '.join(missing)} not installed here: run `make bench` or `make bench-quick`")
        return 2
    tools = servers.missing_tools()
    for name, remedy in tools.items():
        say(f"{name} is missing: {remedy}")
    if required := {"wrk", "h2load", "redis-server"} & tools.keys():
        say(f"nothing can be measured without {', '.join(sorted(required))}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and clean up
    effort = QUICK if options.quick else FULL
    began = time.monotonic()
    notebook = measure(works, effort)
    notebook.facts["took"] = f"{time.monotonic() - began:.0f} s"
    write(notebook, options.out or _directory(works, is_quick=effort.is_quick))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about four minutes, less exact")
    parser.add_argument("--only", default=WORKS, metavar="LETTERS", help=f"some of {WORKS}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go")
    return parser


def _directory(works: Sequence[str], *, is_quick: bool) -> Path:
    """What is published is all of it, measured with care."""
    if is_quick or "".join(works) != WORKS:
        return Path(tempfile.mkdtemp(prefix="benchmarks-"))
    return PUBLISHED


def measure(works: Sequence[str], effort: Effort) -> Notebook:
    """Do these kinds of work."""
    notebook = Notebook()
    notebook.facts["machine"] = machine.describe()
    notebook.facts["commit"] = machine.commit()
    notebook.facts["versions"] = machine.versions()
    notebook.facts["parameters"] = {
        "rounds": effort.rounds,
        "seconds of a run": effort.seconds,
        "worker processes": 1,
    }
    for name, work in _works(notebook, works, effort).items():
        began = time.monotonic()
        work()
        say(f"({name}) took {time.monotonic() - began:.0f} s")
    return notebook


def _works(
    notebook: Notebook, works: Sequence[str], effort: Effort
) -> dict[str, Callable[[], None]]:
    from benchmarks import (  # noqa: PLC0415 - they need what was looked for first
        best,
        cold,
        hot,
        misses,
        outages,
        purges,
        sizes,
        zipf,
    )

    options: Sequence[str] = ()
    threads: Mapping[str, int] = {}
    trials = 1 if effort.is_quick else 7
    if set(works) & set("ab"):
        options = best.gunicorn_class(notebook, trials)
    if set(works) & set("abc"):
        threads = best.blocking_threads(notebook, trials)
    everything: dict[str, Callable[[], None]] = {
        "a": lambda: hot.run("a", notebook, effort, options, threads),
        "b": lambda: hot.run("b", notebook, effort, options, threads),
        "c": lambda: zipf.run(notebook, effort, threads),
        "d": lambda: misses.run_beside_misses(notebook, effort),
        "e": lambda: cold.run(notebook, effort),
        "f": lambda: outages.run(notebook, effort),
        "g": lambda: purges.run(notebook, effort),
        "h": lambda: sizes.run(notebook, effort),
        "i": lambda: misses.run_added(notebook, effort),
    }
    return {name: work for name, work in everything.items() if name in works}


def write(notebook: Notebook, directory: Path) -> None:
    """Write the page, the pictures and the raw values."""
    from benchmarks import plots  # noqa: PLC0415 - matplotlib is not for the tests

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(
        json.dumps(notebook.as_json(), indent=1) + "\n", "utf-8"
    )
    pictures = plots.draw(notebook, directory)
    reasons = PUBLISHED / "reasons.md"
    text = reasons.read_text("utf-8") if reasons.exists() else ""
    (directory / "README.md").write_text(report.page(notebook, text, pictures), "utf-8")
    sys.stdout.write(f"\n{report.requirements_table(notebook)}\nwritten to {directory}\n")


if __name__ == "__main__":
    sys.exit(main())
