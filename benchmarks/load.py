"""wrk and h2load: how they are run, and what they print."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import figures

CONNECTIONS = 16
FEW_CONNECTIONS = 8
GRACE_SECONDS = 30.0
"""How much longer than its run a program may take."""

_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}
_REQUESTS = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)$", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s*(\d+)%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_ERRORS = re.compile(r"^\s*(Non-2xx or 3xx responses|Socket errors): (.*)$", re.MULTILINE)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$", re.MULTILINE)
_OUTCOMES = re.compile(r"(\d+) failed, (\d+) errored, (\d+) timeout")


class LoadError(Exception):
    """A run had answers with errors, or none at all."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What wrk has seen: *percentiles_us* by percent."""

    requests: int
    per_second: float
    percentiles_us: dict[int, float]


def parse_wrk(text: str) -> Throughput:
    """Read the output of ``wrk --latency``; raise LoadError if not all went well."""
    if errors := _ERRORS.search(text):
        raise LoadError(errors.group().strip())
    requests, rate = _REQUESTS.search(text), _RATE.search(text)
    if not requests or not rate or requests[1] == "0":
        raise LoadError(f"wrk has got no answers: {text.strip()[-300:]}")
    latency = {
        int(percent): float(value) * _UNITS_US[unit]
        for percent, value, unit in _PERCENTILE.findall(text)
    }
    return Throughput(int(requests[1]), float(rate[1]), latency)


def wrk_command(
    url: str, seconds: float, *, connections: int = CONNECTIONS, script: Path | None = None
) -> list[str]:
    """The command line for one thread. wrk takes whole seconds only."""
    words = [
        "wrk",
        "-t",
        "1",
        "-c",
        str(connections),
        "-d",
        f"{round(seconds)}s",
        "--timeout",
        "10s",
    ]
    return [*words, "--latency", *(["-s", str(script)] if script else []), url]


def wrk(
    url: str, seconds: float, *, connections: int = CONNECTIONS, script: Path | None = None
) -> Throughput:
    """Ask as often as there are answers."""
    words = wrk_command(url, seconds, connections=connections, script=script)
    return parse_wrk(_run(words, seconds + GRACE_SECONDS))


def parse_h2load(text: str, log: str) -> list[float]:
    """Return the latencies in seconds, of h2load's *log*; raise LoadError if not all went well.

    A line of the log has the start in microseconds, the status, and the time taken in microseconds.
    """
    outcomes, statuses = _OUTCOMES.search(text), _STATUSES.search(text)
    if not outcomes or not statuses or any(map(int, outcomes.groups())):
        raise LoadError(f"h2load has got errors: {outcomes.group() if outcomes else text[-300:]}")
    lines = [line.split("\t") for line in log.splitlines()]
    if not lines or any(line[1] != "200" for line in lines):
        raise LoadError(f"h2load has got other statuses than 200: {statuses.group()}")
    return [int(line[2]) / 1e6 for line in lines]


def h2load(url: str, seconds: float, per_second: float, log: Path) -> list[float]:
    """Ask at a fixed rate, over few connections; return the latencies in seconds."""
    log.unlink(missing_ok=True)
    words = ["h2load", "--h1", "-t", "1", "-c", str(FEW_CONNECTIONS), "-D", str(round(seconds))]
    words += ["--rps", f"{per_second / FEW_CONNECTIONS:.3f}", "--log-file", str(log), url]
    return parse_h2load(_run(words, seconds + GRACE_SECONDS), log.read_text("ascii"))


def _run(words: Sequence[str], most_seconds: float) -> str:
    command = [shutil.which(words[0]) or words[0], *words[1:]]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=most_seconds
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{words[0]} has not ended after {most_seconds:.0f} s") from error
    if done.returncode:
        raise LoadError(f"{words[0]} ends with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """The measures of latencies, which are given in seconds, in microseconds."""
    return {
        f"p{percent}_us": figures.percentile(latencies, percent) * 1e6 for percent in (50, 90, 99)
    }
