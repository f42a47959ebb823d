"""The application of all contenders that are Flask. They differ by which ``Cache`` is imported."""

import itertools
import json
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flask import Flask, Response, request

V = TypeVar("V", bound=Callable[..., Any])


class Decorator(Protocol):
    """Leaves the type of a view as it is."""

    def __call__(self, view: V, /) -> V:
        """Return what stands for the view."""
        ...


TIMEOUT = 600
PAGE = "x" * 40_000
DATA = Path(os.environ.get("BENCH_DATA", "."))

app = Flask(__name__)
app.config["SECRET_KEY"] = "for the session, which no view here uses"  # noqa: S105 - it protects nothing
app.config.update({name: value for name, value in os.environ.items() if name.startswith("CACHE_")})
if options := os.environ.get("CACHE_OPTIONS"):
    app.config["CACHE_OPTIONS"] = json.loads(options)


class NoCache:
    """Stands where the others have a cache, so that the views are the same."""

    def __init__(self, app: Flask) -> None:
        pass

    def cached(self, timeout: int) -> Decorator:  # noqa: ARG002 - as the others take it
        """Return a decorator that changes nothing."""
        return lambda view: view


def cache_class() -> Any:
    """``Cache`` of the module that ``BENCH_CACHE`` names."""
    name = os.environ.get("BENCH_CACHE")
    return import_module(name).Cache if name else NoCache


class Runs:
    """Counts the runs of the views of this process."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._asked = 0

    def note(self) -> None:
        """Count one more. ``next`` of a count cannot be interrupted by another thread."""
        next(self._numbers)

    def count(self) -> int:
        """How many there were so far."""
        count = next(self._numbers) - self._asked
        self._asked += 1
        return count


cache = cache_class()(app)
cached: Callable[..., Decorator] = cache.cached
runs = Runs()


@app.get("/square/<int:number>")
@cached(timeout=TIMEOUT)
def square(number: int) -> dict[str, int]:
    """As in the tutorial; ``/square/10`` has 17 bytes."""
    runs.note()
    return {"computed": number * number}


@app.get("/page/<int:number>")
@cached(timeout=TIMEOUT)
def page(number: int) -> dict[str, Any]:
    """Forty kilobytes."""
    runs.note()
    return {"number": number, "text": PAGE}


@app.get("/slow/<int:number>")
@cached(timeout=TIMEOUT)
def slow(number: int) -> dict[str, int]:
    """Takes 200 ms, in which it does not use the processor."""
    runs.note()
    time.sleep(0.2)
    return {"number": number}


@app.get("/version/<name>")
@cached(timeout=TIMEOUT)
def version(name: str) -> dict[str, str]:
    """Whatever the file of this name has now."""
    runs.note()
    cache.tag(f"version:{name}")
    return {"version": (DATA / name).read_text()}


@app.post("/purge/<name>")
def purge(name: str) -> dict[str, bool]:
    """Change the version of *name*, and purge what showed the old one."""
    new = DATA / f"{name}.new"
    new.write_text(request.args["version"])
    new.rename(DATA / name)
    cache.purge_tags(f"version:{name}")
    return {"purged": True}


@app.get("/runs")
def count_runs() -> dict[str, int]:
    """How often the views of this process ran."""
    return {"runs": runs.count()}


def add_max_age(response: Response) -> Response:
    """What a proxy in front needs, in order to store."""
    if request.endpoint != "count_runs":
        response.headers["Cache-Control"] = f"max-age={TIMEOUT}"
    return response


def add_hooks(app: Flask) -> None:
    """What many an app has, and what runs for each request inside Flask."""
    login = import_module("flask_login").LoginManager(app)
    login.user_loader(lambda name: name)
    import_module("flask_cors").CORS(app)


if os.environ.get("BENCH_MAX_AGE"):
    app.after_request(add_max_age)
if os.environ.get("BENCH_HOOKS"):
    add_hooks(app)
