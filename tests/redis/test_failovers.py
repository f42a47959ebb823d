"""Servers that fail, are replaced, or hand their keys on, while an application is under load."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
from flask import Flask
from redis.crc import key_slot

from flask_larder import Cache
from tests.redis_nodes import MASTER, Cluster, Watched, binary, wait_until

THREADS = 8
ITEMS = 40
Servers = TypeVar("Servers", Watched, Cluster)
Start = Callable[[Servers], Servers]
STREAK = 200  # so many hits in a row, and caching has resumed


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got, and how long it took."""

    began: float
    seconds: float
    status: int
    is_right: bool
    is_hit: bool


class Load:
    """An application and threads that ask it all the time."""

    def __init__(self, config: dict[str, object]) -> None:
        # The machine may be busy with other workers, and this is about something else.
        patience = {"CACHE_REDIS_TIMEOUT": 1.0, "CACHE_BUDGET_SECONDS": 1.0}
        self._app = Flask(__name__)
        self._app.config.update(config, **patience, CACHE_L1_BYTES=0)  # each request asks
        self._answers: list[Answer] = []
        self._stopped = threading.Event()
        cache = Cache(self._app)

        @self._app.get("/items/<int:number>")
        @cache.cached(timeout=600)
        def item(number: int) -> dict[str, int]:
            return {"number": number, "square": number * number}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the threads run until the end, and look at what they have got."""
        threads = [threading.Thread(target=self._ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            self.await_hits()
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
        assert Counter(answer.status for answer in self._answers) == {200: len(self._answers)}
        assert all(answer.is_right for answer in self._answers)
        assert max(answer.seconds for answer in self._answers) < 3.0

    def _ask(self) -> None:
        client = self._app.test_client()
        while not self._stopped.is_set():
            number, began = random.randrange(ITEMS), time.monotonic()
            response = client.get(f"/items/{number}")
            is_right = response.get_json(silent=True) == {"number": number, "square": number**2}
            self._answers.append(
                Answer(
                    began,
                    time.monotonic() - began,
                    response.status_code,
                    is_right,
                    "; hit" in response.headers.get("Cache-Status", ""),
                )
            )
            time.sleep(0.02)  # all threads together: some hundred requests a second

    def await_hits(self) -> None:
        """Return when caching works, for all that is asked from now on."""
        already = len(self._answers)

        def is_resumed() -> bool:
            latest = self._answers[-STREAK:]
            return len(self._answers) > already + STREAK and all(one.is_hit for one in latest)

        wait_until(is_resumed, 40)

    def report(self, what: str, since: float) -> None:
        """Print how it went since then: shown by ``pytest -s``."""
        answers = [answer for answer in self._answers if answer.began >= since]
        without = [answer for answer in answers if not answer.is_hit]
        resumed = max((answer.began - since for answer in without), default=0.0)
        slowest = max(answer.seconds for answer in answers)
        print(
            f"\n{what}: {len(answers)} requests, {len(without)} without the cache, the last of "
            f"them after {resumed:.1f} s; the slowest took {slowest * 1000:.0f} ms"
        )

    def hits_only(self, since: float) -> bool:
        """Whether all requests since then have been hits."""
        return all(answer.is_hit for answer in self._answers if answer.began >= since)


BINARIES = ["valkey-server", "redis-server"]


@pytest.fixture
def start() -> Iterator[Callable[[Servers], Servers]]:
    """Starts servers, and ends them at the end."""
    started: list[Servers] = []

    def start(servers: Servers) -> Servers:
        started.append(servers)
        return servers.start()

    try:
        yield start
    finally:
        for servers in started:
            servers.remove()


def kill(watched: Watched) -> None:
    watched.master.kill()


def suspend(watched: Watched) -> None:
    watched.master.suspend()


def ask_for_it(watched: Watched) -> None:
    watched.sentinels[0].run("SENTINEL", "FAILOVER", MASTER)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("fail", "name"),
    [(kill, BINARIES[0]), (kill, BINARIES[1]), (suspend, BINARIES[0]), (ask_for_it, BINARIES[0])],
)
def test_a_failover_of_sentinels(
    start: Start, caplog: pytest.LogCaptureFixture, fail: Callable[[Watched], None], name: str
) -> None:
    """The replica becomes the master; what was the master comes back as a replica."""
    watched = start(Watched(binary(name)))
    load = Load(watched.config())
    with load.running():
        began = time.monotonic()
        fail(watched)
        wait_until(lambda: watched.leader() == watched.replica.port, 40)
        print(f"\nthe Sentinels agreed after {time.monotonic() - began:.1f} s")
        load.await_hits()
        load.report(f"Sentinel, {fail.__name__}", began)
        if fail is kill:
            watched.master.start()
        if fail is suspend:
            watched.master.resume()
        wait_until(lambda: watched.master.run("ROLE")[0] == "slave", 40)
        load.await_hits()
        assert watched.replica.run("DBSIZE") == ITEMS + 1  # and the log of purges
    lines = [line for line in caplog.messages if line.startswith("Redis master 'mymaster' is ")]
    assert [line.split()[4] for line in lines] == ["away,", "back"] * (len(lines) // 2)
    assert len(caplog.messages) <= 6


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", BINARIES)
def test_a_failover_of_a_cluster(start: Start, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """A replica takes over; what was its master comes back as a replica."""
    cluster = start(Cluster(binary(name), replicas=3))
    load = Load(cluster.config())
    down, replica = cluster.masters[0], cluster.replicas[0]
    with load.running():
        began = time.monotonic()
        down.kill()
        wait_until(lambda: replica.run("ROLE")[0] == "master", 40)
        print(f"\nthe replica took over after {time.monotonic() - began:.1f} s")
        load.await_hits()
        load.report("Cluster, kill", began)
        down.start()
        wait_until(lambda: down.run("ROLE")[0] == "slave", 40)
        load.await_hits()
    mine = [line for line in caplog.messages if line.startswith(f"Redis node {down.address} is ")]
    assert [line.split()[4] for line in mine] == ["away,", "replaced"]
    assert len(caplog.messages) <= 10  # the other nodes may refuse to serve for a while


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", BINARIES)
def test_slots_that_move(start: Start, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """All that one node has goes to another: all are hits, and nothing is logged."""
    cluster = start(Cluster(binary(name)))
    load = Load(cluster.config())
    source, target, _ = cluster.masters
    with load.running():
        began = time.monotonic()
        with source.admin() as client:
            moving = {key_slot(key.encode()) for key in client.scan_iter(count=1000)}
        assert len(moving) > 3
        for slot in moving:
            cluster.begin_to_move(slot, source, target)
            time.sleep(0.05)  # for requests to come in this state
            cluster.move_keys(slot, source, target)
            time.sleep(0.05)
            cluster.end_move(slot, target)
        assert source.run("DBSIZE") == 0
        load.await_hits()
        load.report(f"Cluster, {len(moving)} slots moved", began)
        assert load.hits_only(began)
    assert caplog.messages == []
