"""What must hold, as ratios of what one run has measured."""

from dataclasses import dataclass
from typing import Literal

from benchmarks import figures
from benchmarks.figures import Ratio
from benchmarks.notebook import Notebook, Series


@dataclass(frozen=True, slots=True)
class Requirement:
    """*measure* of *contender*, against *other* of *against*, which are the same unless given.

    Where *percent* is given, it is no ratio but that percentile of the values. *aim* is beyond the
    bound. What is no *must* is published all the same.
    """

    text: str
    work: str
    contender: str
    measure: str
    bound: float
    against: str | None = None
    other: str | None = None
    kind: Literal["at least", "below"] = "at least"
    percent: float | None = None
    unit: str = "x"
    aim: float | None = None
    must: bool = True

    @property
    def limit(self) -> str:
        """The bound as a text."""
        aim = f" (aim: {self.aim:g}{self.unit})" if self.aim else ""
        return f"{self.kind} {self.bound:g}{self.unit}{aim}"

    def is_met(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value >= self.bound if self.kind == "at least" else value < self.bound

    def measured(self, notebook: Notebook) -> Ratio | None:
        """The value, with the lowest and the highest of a single round; None if not measured."""
        own = notebook.series(self.work, self.contender, self.measure)
        if own is None:
            return None
        if self.percent is not None:
            value = figures.percentile(own.values, self.percent)
            return Ratio(value, min(own.values), max(own.values))
        others = self._others(notebook)
        return figures.ratio(own.values, others.values) if others else None

    def _others(self, notebook: Notebook) -> Series | None:
        against, other = self.against or self.contender, self.other or self.measure
        return notebook.series(self.work, against, other)


def verdict(requirement: Requirement, measured: Ratio | None) -> str:
    """What a table says of it."""
    if measured is None:
        return "not measured"
    return "holds" if requirement.is_met(measured.of_medians) else "**does not hold**"


def _hits(
    text: str,
    work: str,
    against: str,
    bound: float,
    *,
    contender: str = "larder",
    aim: float | None = None,
    must: bool = True,
) -> Requirement:
    return Requirement(
        text, work, contender, "per_second", bound, against=against, aim=aim, must=must
    )


def requirements(few: int = 100, many: int = 1_000_000) -> list[Requirement]:
    """All of them. *few* and *many* are numbers of entries that were measured."""
    return [*_throughputs(), *_latencies(few, many)]


def _throughputs() -> list[Requirement]:
    memory = "hits/s from memory, 17 bytes, against"
    return [
        _hits(f"{memory} Flask-Caching on the same server, from Redis", "a", "caching", 15),
        _hits(
            "hits/s from memory, on granian, against Flask-Caching on gunicorn, its best class",
            *("a", "caching-gunicorn", 20),
        ),
        _hits(
            f"{memory} a WSGI app that returns a constant, same server and header fields",
            *("a", "constant", 0.8),
            aim=0.95,
        ),
        _hits(f"{memory} nginx proxy_cache", "a", "nginx", 0.85, aim=1.0, must=False),
        _hits("the same, 40 KB", "b", "nginx", 1.0, aim=1.15, must=False),
        _hits(f"{memory} Varnish", "a", "varnish", 1.0, must=False),
        _hits("the same, 40 KB", "b", "varnish", 1.0, must=False),
        _hits(
            "hits/s from Redis, ahead of Flask, against Flask-Caching on the same server",
            *("a", "caching", 4),
            contender="larder-redis",
        ),
        _hits(
            "hits/s inside Flask, from memory, against Flask-Caching, from Redis",
            *("a", "caching", 1.5),
            contender="larder-inside",
        ),
    ]


def _latencies(few: int, many: int) -> list[Requirement]:
    return [
        Requirement(
            "p99 of hits while others miss on a 200 ms view, against the p99 with hits alone",
            *("d", "larder", "beside_p99_us", 3),
            other="alone_p99_us",
            kind="below",
        ),
        Requirement(
            "purge to the last old answer, p99, 4 workers",
            *("g", "larder", "last_old_ms", 10),
            kind="below",
            percent=99,
            unit=" ms",
        ),
        Requirement(
            "time added to a miss, against Flask-Caching's",
            *("i", "larder", "added_us", 1.0),
            against="caching",
            kind="below",
        ),
        Requirement(
            f"latency of a hit from Redis at {many:,} entries, against {few:,}",
            *("h", f"larder-redis, {many} entries", "p50_us", 1.2),
            against=f"larder-redis, {few} entries",
            kind="below",
        ),
    ]
