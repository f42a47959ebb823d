"""Work (d) and (i): what misses do to hits, and what a cache adds to a miss."""

import contextlib
import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks import calls, figures, load, servers
from benchmarks.contenders import named
from benchmarks.notebook import Notebook, say
from benchmarks.rounds import Effort, interleaved
from benchmarks.stage import Running, Stage, WrongAnswerError

HOT = "/square/10"
MOST_PER_SECOND = 2000
MISS_SHARE = 0.05
VIEW_SECONDS = 0.2
MOST_AT_ONCE = 32
BESIDE_SECONDS = 2.0  # those who miss begin in step, and stay so for most of a second

# Each run has paths of its own: no other has asked for them.
UNIQUE = """\
local at = {first}
function request()
    at = at + 1
    return wrk.format("GET", "/slow/" .. at)
end
"""


def run_beside_misses(notebook: Notebook, effort: Effort) -> None:
    """Work (d): hits at a fixed rate, while others wait for a view that takes 200 ms."""
    with Stage(notebook) as stage:
        running = stage.start(
            named("larder", "larder-redis", "caching"), threads=servers.MANY_THREADS
        )
        rates = {each.name: fixed_rate(each) for each in running}
        notebook.facts["beside misses"] = {
            name: {"hits per second": rate, "misses at once": at_once(rate)}
            for name, rate in rates.items()
        }
        firsts = itertools.count(10_000_000, 1_000_000)
        for each in interleaved(running, effort.rounds):
            say(f"(d) {each.name}")
            _beside(stage, notebook, each, rates[each.name], BESIDE_SECONDS, next(firsts))


def fixed_rate(each: Running) -> int:
    """A quarter of the hits per second that it can do, and not more than the most."""
    each.prime(HOT)
    can = load.wrk(f"http://127.0.0.1:{each.port}{HOT}", 2).per_second
    return min(MOST_PER_SECOND, int(can / 4))


def at_once(rate: float) -> int:
    """So many clients, one request after the other, make misses of a twentieth of all requests."""
    misses_per_second = rate * MISS_SHARE / (1 - MISS_SHARE)
    return max(1, min(MOST_AT_ONCE, round(misses_per_second * VIEW_SECONDS)))


def _beside(
    stage: Stage, notebook: Notebook, each: Running, rate: int, seconds: float, first: int
) -> None:
    url, log = f"http://127.0.0.1:{each.port}{HOT}", stage.directory / "h2load.log"
    each.prime(HOT)
    alone = load.percentiles(load.h2load(url, seconds, rate, log))
    script = stage.directory / "unique.lua"
    script.write_text(UNIQUE.format(first=first), "ascii")
    before = each.runs()
    with _misses(each.port, seconds + 1, at_once(rate), script):
        beside = load.percentiles(load.h2load(url, seconds, rate, log))
    if each.runs() == before:
        raise WrongAnswerError(f"{each.name}: there were no misses")
    notebook.add("d", each.name, **{f"alone_{name}": value for name, value in alone.items()})
    notebook.add("d", each.name, **{f"beside_{name}": value for name, value in beside.items()})
    notebook.add("d", each.name, misses_per_second=(each.runs() - before) / (seconds + 1))


@contextlib.contextmanager
def _misses(port: int, seconds: float, connections: int, script: Path) -> Iterator[None]:
    """Clients that ask for what nobody has asked for, one after the other; wait for their end."""
    url = f"http://127.0.0.1:{port}"
    words = load.wrk_command(url, seconds, connections=connections, script=script)
    wrk = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield
        load.parse_wrk(wrk.communicate()[0])
    finally:
        wrk.kill()
        wrk.wait()


BLOCK = 50


def run_added(notebook: Notebook, effort: Effort) -> None:
    """Work (i): one client asks a cheap view for one new URL after the other."""
    with Stage(notebook) as stage:
        parts = ("larder-inside-redis", "larder-simple")  # these show what the rest of it costs
        running = stage.start(named("uncached", "larder", *parts, "caching", "caching-simple"))
        numbers = itertools.count(1_000_000)
        for each in running:
            _ask_new(each, numbers, 4 * BLOCK)
        latencies: dict[str, list[float]] = {}
        blocks = 4 if effort.is_quick else 10
        for _ in range(effort.rounds):
            latencies = {each.name: [] for each in running}
            for each in interleaved(running, blocks):
                latencies[each.name] += _ask_new(each, numbers, BLOCK)
            for name, values in latencies.items():
                _note_added(notebook, name, values, latencies["uncached"])
    calls.note(notebook, "i", "miss")


def _note_added(notebook: Notebook, name: str, values: list[float], uncached: list[float]) -> None:
    p50_us = figures.median(values) * 1e6
    notebook.add("i", name, p50_us=p50_us, added_us=p50_us - figures.median(uncached) * 1e6)


def _ask_new(each: Running, numbers: Iterator[int], count: int) -> list[float]:
    """Latencies of misses, in seconds."""
    runs = each.runs()
    answers = [each.client.get(f"/square/{next(numbers)}") for _ in range(count)]
    if each.runs() - runs != count:
        raise WrongAnswerError(f"{each.name}: the view ran {each.runs() - runs} times, not {count}")
    return [answer.seconds for answer in answers]
