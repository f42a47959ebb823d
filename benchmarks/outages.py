"""Work (f): a cheap view while Redis is stopped, and while it hangs."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks import figures
from benchmarks.client import Client
from benchmarks.contenders import Contender, named
from benchmarks.notebook import Notebook, say
from benchmarks.processes import NoStartError
from benchmarks.rounds import Effort
from benchmarks.stage import Redis, Running, Stage

CLIENTS = 4
KEYS = 50
WATCH_SECONDS = 8.0  # longer than what is in memory is used without hearing of purges
QUICK_SECONDS = 3.0
TIMEOUT_SECONDS = 10.0
MOST_REQUESTS = 2000  # of each client
PAUSE_SECONDS = 0.01
THREADS = 16


def _stop(redis: Redis) -> None:
    redis.process.signal(signal.SIGTERM)


def _hang(redis: Redis) -> None:
    redis.process.signal(signal.SIGSTOP)


FAULTS: Mapping[str, Callable[[Redis], None]] = {"stopped": _stop, "hung": _hang}


def run(notebook: Notebook, effort: Effort) -> None:
    """Measure: each fault with each contender, which has a Redis and a server of its own for it."""
    seconds = QUICK_SECONDS if effort.is_quick else WATCH_SECONDS
    notebook.facts["outages"] = {"seconds": seconds, "clients": CLIENTS, "threads": THREADS}
    for fault in FAULTS:
        for contender in named("larder", "larder-redis", "caching", "caching-impatient"):
            say(f"(f) {contender.name}: Redis {fault}")
            _measure(notebook, contender, fault, seconds)


def _measure(notebook: Notebook, contender: Contender, fault: str, seconds: float) -> None:
    with Stage(notebook) as stage:
        redis = stage.redis()
        try:
            each = stage.start_one(contender, threads=THREADS, redis=redis)
        except NoStartError as error:
            notebook.leave_out(contender.name, str(error))
            return
        for number in range(KEYS):
            each.prime(f"/square/{number}")
        FAULTS[fault](redis)
        seen = _watch(each, seconds)
    notebook.add(
        *("f", contender.name),
        **{
            f"{fault}_p50_ms": figures.percentile(seen.seconds, 50) * 1e3,
            f"{fault}_p99_ms": figures.percentile(seen.seconds, 99) * 1e3,
            f"{fault}_longest_ms": max(seen.seconds) * 1e3,
            f"{fault}_answers": len(seen.seconds) - seen.failed,
            f"{fault}_failed": seen.failed,
        },
    )


@dataclass(slots=True)
class _Seen:
    """What clients have seen. One that gave up waiting has waited for so many seconds, too."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


def _watch(each: Running, seconds: float) -> _Seen:
    """Ask for some seconds, with several clients that pause for a moment after each answer."""
    seen = _Seen()
    end = time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_ask, args=(each.port, n, end, seen)) for n in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _ask(port: int, first: int, end: float, seen: _Seen) -> None:
    with Client(port, timeout=TIMEOUT_SECONDS) as client:
        for number in range(first, first + MOST_REQUESTS):
            began = time.perf_counter()
            if began >= end:
                return
            try:
                seen.failed += client.get(f"/square/{number % KEYS}").status != 200
            except OSError:
                seen.failed += 1
            seen.seconds.append(time.perf_counter() - began)
            time.sleep(PAUSE_SECONDS)
