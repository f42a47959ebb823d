"""What a purge costs, however much it hits, and what many of them cost those who read."""

import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from flask import Flask

from flask_larder import Cache
from flask_larder.codec import decode_entry, encode_response
from flask_larder.entry import StoredResponse
from tests.conftest import RedisServer

pytestmark = pytest.mark.slow

MANY = 100_000
FEW = 10
PREFIX = "flask_cache_"
PATIENT = {"CACHE_REDIS_TIMEOUT": 5, "CACHE_BUDGET_SECONDS": 5}


def make(url: str, **config: object) -> tuple[Flask, Cache]:
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url, **PATIENT, **config)
    cache = Cache(app)

    @app.get("/page/<int:number>")
    @cache.cached(timeout=3600)
    def page(number: int) -> dict[str, int]:
        return {"number": number}

    return app, cache


def fill(app: Flask, server: RedisServer, group: str, count: int) -> None:
    """Store so many pages with a tag, a view and a beginning of the path in common."""
    assert app.test_client().get("/page/0").status_code == 200
    key = f"{PREFIX}larder1:view/http://localhost/page/0"
    with server.client() as client:
        stored = decode_entry(client.get(key))
        assert isinstance(stored, StoredResponse)
        pipeline = client.pipeline(transaction=False)
        for number in range(count):
            path = f"/{group}/{number}"
            targets = replace(stored.targets, tags=(group,), view=group, path=path)
            data = encode_response(replace(stored, targets=targets))
            pipeline.set(f"{PREFIX}larder1:view/http://localhost{path}", data, ex=3600)
            if number % 1000 == 999:
                pipeline.execute()
        pipeline.execute()
        assert client.dbsize() >= count


def test_a_purge_takes_as_long_for_many_as_for_few(
    start_redis: Callable[[], RedisServer],
) -> None:
    """A tag, a prefix, a view with 100,000 entries and with 10; everything, with both."""
    full, small = start_redis(), start_redis()
    with full.client() as client:
        client.config_set("maxmemory", "1gb")
    (app, cache), (small_app, small_cache) = make(full.url), make(small.url)
    fill(app, full, "many", MANY)
    fill(app, full, "few", FEW)
    fill(small_app, small, "few", FEW)
    purges: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "tag": (lambda: cache.purge_tags("many"), lambda: cache.purge_tags("few")),
        "prefix": (lambda: cache.purge_prefix("/many/"), lambda: cache.purge_prefix("/few/")),
        "view": (
            lambda: cache._purge([("view", "many")], soft=False),
            lambda: cache._purge([("view", "few")], soft=False),
        ),
        "all": (cache.clear, small_cache.clear),
    }
    for name, (many, few) in purges.items():
        times = {True: [0.0] * 0, False: [0.0] * 0}
        for number in range(400):
            is_many = bool(number % 2)
            began = time.perf_counter()
            (many if is_many else few)()
            times[is_many].append(time.perf_counter() - began)
        medians = {is_many: statistics.median(each) * 1e6 for is_many, each in times.items()}
        ratio = medians[True] / medians[False]
        print(f"\n{name}: {medians[True]:.0f} us for {MANY}, {medians[False]:.0f} us for {FEW}")
        assert ratio < 2, name


# --- a thousand purges a second ---


def _read(url: str, pipe: Connection) -> None:
    """Count the hits within as many seconds as is asked for; and tell the memory in use."""
    app, cache = make(url)
    client = app.test_client()
    client.get("/page/1")
    while (seconds := pipe.recv()) is not None:
        hits, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            hits += "; hit" in client.get("/page/1").headers["Cache-Status"]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        table = cache._wiring().purges.known()
        assert table is not None
        pipe.send((hits / seconds, pages * os.sysconf("SC_PAGESIZE"), len(table)))


def _purge(url: str, pipe: Connection) -> None:
    """Purge a thousand times a second, what nobody has stored, for as many seconds as is asked."""
    _, cache = make(url, CACHE_PURGE_LOG=20_000)
    while (seconds := pipe.recv()) is not None:
        began = time.monotonic()
        for number in range(int(seconds * 1000)):
            cache.purge_tags(f"tag:{random.randrange(10**9)}")
            ahead = began + number / 1000 - time.monotonic()
            if ahead > 0.002:
                time.sleep(ahead)
        pipe.send(seconds * 1000 / (time.monotonic() - began))


@pytest.mark.timeout(300)
def test_a_thousand_purges_a_second(start_redis: Callable[[], RedisServer]) -> None:
    """For a minute, in six parts with pauses: hits keep four fifths of their rate."""
    server = start_redis()
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for target in (_read, _purge):
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(server.url, theirs), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    reader, purger = pipes
    quiet, busy, memory, rates = [], [], [], []
    for _ in range(6):
        reader.send(5.0)
        quiet.append(reader.recv()[0])
        purger.send(10.0)
        reader.send(9.0)
        rate, resident, known = reader.recv()
        busy.append(rate)
        memory.append(resident)
        rates.append(purger.recv())
        assert known <= 100_000
    with server.client() as client:
        length = client.xlen(f"{PREFIX}larder1:purges")
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    ratio = statistics.median(busy) / statistics.median(quiet)
    print(
        f"\nhits: {ratio:.0%} of their rate ({min(busy):.0f} to {max(busy):.0f} a second, else "
        f"{min(quiet):.0f} to {max(quiet):.0f}) at {statistics.median(rates):.0f} purges a second; "
        f"log {length}, memory {memory[0] / 2**20:.0f} to {memory[-1] / 2**20:.0f} MiB"
    )
    assert statistics.median(rates) > 900
    assert ratio > 0.8
    assert length < 20_200
    assert memory[-1] < memory[0] + 64 * 2**20
