"""How many requests a server works on at once: what is best for each contender, by trial."""

from collections.abc import Mapping, Sequence

from benchmarks import figures, load, servers
from benchmarks.contenders import named
from benchmarks.notebook import Notebook, say
from benchmarks.stage import Running, Stage

PATH = "/square/10"
THREADS = (1, 2, 4)
WITHIN = 0.9
"""What has this part of the most hits per second is as good: rounds differ by more."""

# Whose number others take: they do the same, with more or less around it.
_ALIKE = {
    "larder": ("constant",),
    "larder-redis": (),
    "larder-inside": ("larder-hooks", "larder-simple"),
    "larder-inside-redis": (),
    "caching": ("caching-hooks", "caching-impatient"),
    "caching-simple": (),
    "uncached": (),
}


def gunicorn_class(notebook: Notebook, rounds: int) -> Sequence[str]:
    """The options of the worker class with the most hits per second of Flask-Caching."""
    seen: dict[str, list[float]] = {name: [] for name in servers.GUNICORN_CLASSES}
    for _ in range(rounds):
        for name, values in seen.items():
            with Stage(notebook, gunicorn_class=servers.GUNICORN_CLASSES[name]) as stage:
                values += [
                    _hits_per_second(each) for each in stage.start(named("caching-gunicorn"))
                ]
    medians = {name: round(figures.median(values or [0.0])) for name, values in seen.items()}
    chosen = max(medians, key=lambda name: medians[name])
    notebook.facts["gunicorn"] = {"worker class": chosen, "Flask-Caching's hits/s": medians}
    say(f"gunicorn with Flask-Caching: {medians}; taken: {chosen}")
    return servers.GUNICORN_CLASSES[chosen]


def blocking_threads(notebook: Notebook, rounds: int) -> Mapping[str, int]:
    """With how many blocking threads of granian each contender has the most hits per second.

    The fewest, where several have nearly the most.
    """
    chosen: dict[str, int] = {}
    told = notebook.facts["granian's blocking threads, by hits/s"] = dict[str, str]()
    for name, others in _ALIKE.items():
        medians = _by_threads(notebook, name, rounds)
        best = min(n for n, hits in medians.items() if hits >= WITHIN * max(medians.values()))
        chosen |= dict.fromkeys((name, *others), best)
        told[name] = f"{best} ({', '.join(f'{n}: {seen:,.0f}' for n, seen in medians.items())})"
        say(f"granian, blocking threads of {name}: {told[name]}")
    return chosen


def _by_threads(notebook: Notebook, name: str, rounds: int) -> dict[int, float]:
    with Stage(notebook) as stage:
        (contender,) = named(name)
        running = {count: stage.start_one(contender, threads=count) for count in THREADS}
        seen: dict[int, list[float]] = {count: [] for count in running}
        for _ in range(rounds):
            for count, each in running.items():
                seen[count].append(_hits_per_second(each))
    return {count: figures.median(values) for count, values in seen.items()}


def _hits_per_second(each: Running) -> float:
    each.prime(PATH)
    return load.wrk(f"http://127.0.0.1:{each.port}{PATH}", 1).per_second
