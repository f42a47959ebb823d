"""The application of the proofs. It writes down each run of a view, which no cache can hide."""

import functools
import os
import threading
import time

from flask import Flask, make_response
from flask.typing import ResponseReturnValue

from flask_larder import Cache
from flask_larder.flask.tracking import caches_of
from service.worker import end_with

end_with(os.getppid(), drain_seconds=0.1)  # nothing outlives the tests

app = Flask(__name__)
app.config.update({name: value for name, value in os.environ.items() if name.startswith("CACHE_")})
cache = Cache(app)


def note_run(key: str) -> None:
    """Append to the file of runs, in one write."""
    file = os.open(os.environ["PROOF_RUNS"], os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{key} {os.getpid()}\n".encode())
    os.close(file)


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"pid": os.getpid()}


class Pulse:
    """Notices when a thread of this process, which wants to run now, has to wait for the machine.

    That is no fault of a cache, and its measurements cannot tell it from one.
    """

    def __init__(self) -> None:
        self._worst = 0.0
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while True:
            began = time.monotonic()
            time.sleep(0.002)
            self._worst = max(self._worst, time.monotonic() - began - 0.002)

    def worst(self) -> float:
        """The longest wait since that was asked before, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst


pulse = functools.cache(Pulse)  # one for each process, when it is asked


@app.get("/pulse")
def worst_pulse() -> ResponseReturnValue:
    return {"seconds": pulse().worst()}


@app.get("/slow/<key>")
@cache.cached(timeout=60)
def slow(key: str) -> ResponseReturnValue:
    note_run(key)
    time.sleep(float(os.environ["PROOF_SECONDS"]))
    return {"key": key}


@app.get("/purge/<key>")
def purge(key: str) -> ResponseReturnValue:
    cache.purge_path(f"/slow/{key}")
    return latest_purge()


@app.get("/latest-purge")
def latest_purge() -> ResponseReturnValue:
    return {"position": caches_of(app)[cache].purges.position()}


@app.get("/waiting")
def waiting() -> ResponseReturnValue:
    flights = caches_of(app)[cache].engine._coalescer._flights()._under_way.values()
    landings = [flight.landing for flight in list(flights) if flight.landing]
    return {"callers": sum(len(landing._cond._waiters) for landing in landings)}


@app.get("/raises/<key>")
@cache.cached(timeout=60)
def raises(key: str) -> ResponseReturnValue:
    note_run(key)
    time.sleep(float(os.environ["PROOF_SECONDS"]))
    raise LookupError(key)


@app.get("/unstorable/<key>")
@cache.cached(timeout=60)
def unstorable(key: str) -> ResponseReturnValue:
    note_run(key)
    time.sleep(float(os.environ["PROOF_SECONDS"]))
    response = make_response({"key": key})
    response.set_cookie("user", key)
    return response


@app.get("/quick/<key>")
@cache.cached(timeout=60)
def quick(key: str) -> ResponseReturnValue:
    note_run(key)
    return {"key": key}
