"""The application of the proofs of purges: pages that show a version, which files hold."""

import os
import random
import time
from pathlib import Path
from typing import Any

from flask import Flask, request
from flask.typing import ResponseReturnValue

from flask_larder import Cache
from service.worker import end_with

end_with(os.getppid(), drain_seconds=0.1)  # nothing outlives the tests

app = Flask(__name__)
app.config.update({name: value for name, value in os.environ.items() if name.startswith("CACHE_")})
cache = Cache(app)

DATA = Path(os.environ["PROOF_DATA"])


def version(name: str) -> int:
    return int((DATA / name).read_text())


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"pid": os.getpid()}


@app.get("/page/<name>")
@cache.cached(timeout=600, query_string=True)
def page(name: str) -> ResponseReturnValue:
    """Reads its data first, takes its time, and says late what it shows."""
    shown = version(name)
    time.sleep(random.uniform(0, float(os.environ["PROOF_SECONDS"])))
    cache.tag(f"data:{name}")
    return {"version": shown, "pid": os.getpid()}


PURGES = {
    "tag": lambda name: cache.purge_tags(f"data:{name}"),
    "view": lambda name: page.purge(name=name),
    "path": lambda name: cache.purge_path(f"/page/{name}"),
    "url": lambda name: cache.purge_url(f"/page/{name}"),
    "prefix": lambda name: cache.purge_prefix(f"/page/{name}"),
    "all": lambda name: cache.clear(),
}


@app.post("/purge/<name>")
def purge(name: str) -> ResponseReturnValue:
    PURGES[request.args["kind"]](name)
    return {"returned": time.monotonic()}


answer = app.wsgi_app


def stamped(environ: Any, start_response: Any) -> Any:
    """Say when this was answered, by the clock that all processes of a machine share.

    Around the app, so that hits are answered before Flask.
    """

    def start(status: str, fields: list[tuple[str, str]], *exc_info: Any) -> Any:
        return start_response(status, [*fields, ("Answered", str(time.monotonic()))], *exc_info)

    return answer(environ, start)


app.wsgi_app = stamped  # type: ignore[method-assign]
