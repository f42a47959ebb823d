"""Which worker class of gunicorn is best for Flask-Caching."""

from collections.abc import Sequence

from benchmarks import figures, load, servers
from benchmarks.contenders import named
from benchmarks.notebook import Notebook, say
from benchmarks.stage import Stage

PATH = "/square/10"


def best(notebook: Notebook, rounds: int) -> Sequence[str]:
    """Measure all of them in turn; return the options of the one with the most hits per second."""
    seen: dict[str, list[float]] = {name: [] for name in servers.GUNICORN_CLASSES}
    for _ in range(rounds):
        for name, values in seen.items():
            values.append(_hits_per_second(notebook, servers.GUNICORN_CLASSES[name]))
    medians = {name: round(figures.median(values)) for name, values in seen.items()}
    chosen = max(medians, key=lambda name: medians[name])
    notebook.facts["gunicorn"] = {"worker class": chosen, "Flask-Caching's hits/s": medians}
    say(f"gunicorn with Flask-Caching: {medians}; taken: {chosen}")
    return servers.GUNICORN_CLASSES[chosen]


def _hits_per_second(notebook: Notebook, options: Sequence[str]) -> float:
    with Stage(notebook, gunicorn_class=options) as stage:
        for each in stage.start(named("caching-gunicorn")):
            each.prime(PATH)
            return load.wrk(f"http://127.0.0.1:{each.port}{PATH}", 1).per_second
    return 0.0
