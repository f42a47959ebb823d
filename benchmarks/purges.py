"""Work (g): from a purge to the last old answer, over four workers that are asked all the time."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from benchmarks.client import Client
from benchmarks.contenders import named
from benchmarks.notebook import Notebook, say
from benchmarks.rounds import Effort
from benchmarks.stage import Running, Stage, WrongAnswerError

WORKERS = 4
PURGES = 300
BACKGROUND_PER_SECOND = 100  # for each worker, of the page that is purged
NAME = "page"
PATH = f"/version/{NAME}"
LONGEST_SECONDS = 2.0


def run(notebook: Notebook, effort: Effort) -> None:
    """Measure: one value for each purge."""
    purges = PURGES // 3 if effort.is_quick else PURGES
    notebook.facts["purges"] = {
        "workers": WORKERS, "purges": purges, "hits per second and worker": BACKGROUND_PER_SECOND
    }  # fmt: skip
    with Stage(notebook) as stage:
        (stage.directory / NAME).write_text("0")
        workers = [each for _ in range(WORKERS) for each in stage.start(named("larder"))]
        if len(workers) < WORKERS:
            return
        say(f"(g) {purges} purges")
        with _clients(workers, seconds=60 + purges), ThreadPoolExecutor(WORKERS) as threads:
            for number in range(1, purges + 1):
                _measure(notebook, workers, number, threads)


def _measure(
    notebook: Notebook, workers: Sequence[Running], number: int, threads: Executor
) -> None:
    """Purge at one worker once all have the old version in memory, and ask until all have the new.

    Each is asked on a thread of its own, since one that makes the new version keeps who asks
    waiting. Nobody asks there while the purge runs, so that no answer is old by right.
    """
    for each in workers:
        each.prime(PATH)
    began = time.perf_counter()
    _purge(workers[number % WORKERS].client, number)
    returned = time.perf_counter()
    seen = list(threads.map(partial(_ask_until_new, number=number, returned=returned), workers))
    notebook.add(
        *("g", "larder"),
        last_old_ms=(max(each.last_old for each in seen) - returned) * 1e3,
        last_asked_ms=(max(each.last_asked for each in seen) - returned) * 1e3,
        all_new_ms=(max(each.new for each in seen) - returned) * 1e3,
        purge_ms=(returned - began) * 1e3,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """When the last old answer came, when that was asked for, and when the first new one came."""

    last_old: float
    last_asked: float
    new: float


def _ask_until_new(worker: Running, number: int, returned: float) -> Seen:
    """Ask *worker* again and again, from when the purge has *returned*."""
    last_old = last_asked = returned
    while True:
        asked = time.perf_counter()
        version, came = _version(worker.client), time.perf_counter()
        if version >= number:
            return Seen(last_old, last_asked, came)
        last_old, last_asked = came, asked
        if came > returned + LONGEST_SECONDS:
            raise WrongAnswerError(f"an old answer, {LONGEST_SECONDS} s after a purge")


def _purge(client: Client, number: int) -> None:
    answer = client.get(f"/purge/{NAME}?version={number}", "POST")
    if answer.status != 200:
        raise WrongAnswerError(f"the purge has failed: {answer.status}")


def _version(client: Client) -> int:
    answer = client.get(PATH)
    if answer.status != 200:
        raise WrongAnswerError(f"{PATH}: {answer.status}")
    return int(json.loads(answer.body)["version"])


@contextlib.contextmanager
def _clients(workers: Sequence[Running], seconds: int) -> Iterator[None]:
    """Somebody who asks each worker at a fixed rate, until this is left."""
    clients = [
        subprocess.Popen(
            [
                *("h2load", "--h1", "-t", "1", "-c", "2", "-D", str(seconds)),
                *("--rps", str(BACKGROUND_PER_SECOND // 2), f"http://127.0.0.1:{each.port}{PATH}"),
            ],
            stdout=subprocess.DEVNULL,
        )
        for each in workers
    ]
    try:
        yield
        if any(client.poll() is not None for client in clients):
            raise WrongAnswerError("the clients beside the purges have ended too early")
    finally:
        for client in clients:
            client.kill()
            client.wait()
