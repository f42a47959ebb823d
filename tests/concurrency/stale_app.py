"""The application of the proofs of stale answers: pages that do what files say.

Each run of the view is written down, when it begins and when it ends or fails, and so is each run
of a ``before_request`` function, and whether it was for somebody.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from flask import Flask, make_response, request
from flask.typing import ResponseReturnValue

from flask_larder import Cache
from service.worker import end_with

end_with(os.getppid(), drain_seconds=0.1)  # nothing outlives the tests

app = Flask(__name__)
app.config.update({name: value for name, value in os.environ.items() if name.startswith("CACHE_")})
cache = Cache(app)

DATA = Path(os.environ["PROOF_DATA"])


def note(name: str, what: str) -> None:
    """Append to the file of runs, in one write."""
    # The environ itself: what is read from the request, the cache would notice.
    is_known = {"HTTP_AUTHORIZATION", "HTTP_COOKIE"} & request.environ.keys()
    line = f"{name} {os.getpid()} {what} {'somebody' if is_known else 'nobody'} {time.monotonic()}"
    file = os.open(os.environ["PROOF_RUNS"], os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def script(name: str) -> dict[str, Any]:
    """What the page is to do now."""
    does: dict[str, Any] = json.loads((DATA / name).read_text())
    return does


@app.before_request
def hook() -> ResponseReturnValue | None:
    if not request.path.startswith("/hooked/"):
        return None
    name = request.path.rpartition("/")[2]
    note(name, "hooked")
    is_let_in = "HTTP_AUTHORIZATION" in request.environ or not script(name)["guarded"]
    return None if is_let_in else ("who are you?", 401)


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"pid": os.getpid()}


@app.get("/page/<name>")
@app.get("/hooked/<name>")
@cache.cached(timeout=600, stale_while_revalidate=600, stale_if_error=600)
def page(name: str) -> ResponseReturnValue:
    does = script(name)
    note(name, "begins")
    time.sleep(does["seconds"])
    note(name, "fails" if does["fails"] else "ends")
    if does["fails"]:
        raise LookupError(name)
    response = make_response({"version": does["version"]})
    response.headers["Cache-Control"] = does["cache_control"]
    return response
