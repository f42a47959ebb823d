"""How many Python functions a request calls. Unlike times, that is the same on each machine.

The application is called as a WSGI server does, without one. ``python -m benchmarks.calls`` prints
the numbers for the application that the environment tells, as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any, Literal

from benchmarks import figures
from benchmarks.contenders import Contender, named
from benchmarks.notebook import Notebook
from benchmarks.stage import Stage

SETTLING = 50
"""How many requests go before those that are counted: what is made once is made by then."""

ASKED = 101


def note(notebook: Notebook, work: str, kind: Literal["hit", "miss"]) -> None:
    """Note the calls of the contenders of *work* that are Flask."""
    with Stage(notebook) as stage:
        redis = stage.redis()
        for contender in named(*notebook.contenders(work)):
            if not (contender.is_proxy or contender.hit == "constant"):
                redis.client.flushall()
                notebook.add(work, contender.name, calls=counted(contender, redis.url)[kind])


def counted(contender: Contender, url: str) -> dict[str, float]:
    """The medians for hits and for misses of *contender*, in a process of its own."""
    environ = {**os.environ, **contender.environ, "CACHE_REDIS_URL": url}
    words = [sys.executable, "-m", "benchmarks.calls"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def count() -> dict[str, float]:
    """Count in this process, whose environment says how the application caches."""
    app = import_module("benchmarks.app").app
    misses = [calls_of(app, f"/square/{number}") for number in range(SETTLING + ASKED)]
    hits = [calls_of(app, "/square/10") for _ in range(SETTLING + ASKED)]
    return {
        "hit": figures.median(hits[SETTLING:]),
        "miss": figures.median(misses[SETTLING:]),
    }


def calls_of(app: Any, path: str) -> int:
    """How many Python functions are called on this thread to answer a request for *path*."""
    calls = 0

    def note(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event == "call"

    environ = environ_of(path)
    sys.setprofile(note)
    try:
        body = app(environ, _start_response)
        b"".join(body)
        if hasattr(body, "close"):
            body.close()
    finally:
        sys.setprofile(None)
    return calls - 1  # that of _start_response, which is the server's


def environ_of(path: str) -> Mapping[str, Any]:
    """What a server gives the application."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _start_response(*_: Any) -> None:
    """Stand for the server's."""


if __name__ == "__main__":
    json.dump(count(), sys.stdout)
    sys.stdout.write("\n")
