"""Work (g): from a purge to the last old answer, over four workers that are asked all the time."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence

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
        with _clients(workers, seconds=60 + purges):
            for number in range(1, purges + 1):
                _measure(notebook, workers, number)


def _measure(notebook: Notebook, workers: Sequence[Running], number: int) -> None:
    """Purge at one worker once all have the old version in memory, and ask until all have the new.

    Nobody asks on this thread while the purge runs, so that no answer is old by right.
    """
    for each in workers:
        each.prime(PATH)
    began = time.perf_counter()
    _purge(workers[number % WORKERS].client, number)
    returned = time.perf_counter()
    last_old = last_asked = last_new = returned
    pending = list(workers)
    while pending:
        for each in list(pending):
            asked = time.perf_counter()
            if _version(each.client) >= number:
                pending.remove(each)
                last_new = time.perf_counter()
            else:
                last_old, last_asked = time.perf_counter(), asked
        if time.perf_counter() > returned + LONGEST_SECONDS:
            raise WrongAnswerError(f"an old answer, {LONGEST_SECONDS} s after a purge")
    notebook.add(
        *("g", "larder"),
        last_old_ms=(last_old - returned) * 1e3,
        last_asked_ms=(last_asked - returned) * 1e3,
        all_new_ms=(last_new - returned) * 1e3,
        purge_ms=(returned - began) * 1e3,
    )


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
