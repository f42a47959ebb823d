"""The proofs of "a cache that never makes things worse": under load, with a Redis that hangs."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from flask import Flask

from flask_larder import Cache
from tests.concurrency.stream_proxy import MANNERS, spoiling
from tests.conftest import RedisServer
from tests.service.processes import wait_until

pytestmark = pytest.mark.slow

BUDGET = 0.1  # seconds, the default
CLIENTS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: when it came, what the cache said, how long the cache took beside the view."""

    at: float
    status: int
    cache: str
    cache_ms: float
    body: str


class Load:
    """Clients that ask an app for a few pages, all the time."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._ends = threading.Event()
        self.seen: list[Seen] = []
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        client = self._app.test_client(use_cookies=False)
        while not self._ends.wait(0.005):
            number += 1
            answer = client.get(f"/page/{number % 5}")
            timing = answer.headers["Server-Timing"]
            self.seen.append(
                Seen(
                    time.monotonic(),
                    answer.status_code,
                    answer.headers["Cache-Status"],
                    float(timing.partition("dur=")[2].partition(",")[0]),
                    answer.text,
                )
            )

    def since(self, moment: float) -> list[Seen]:
        """What was seen after that."""
        return [seen for seen in list(self.seen) if seen.at > moment]

    def hits_since(self, moment: float) -> list[Seen]:
        """The hits among them."""
        return [seen for seen in self.since(moment) if "hit" in seen.cache]

    def await_more(self, count: int) -> None:
        """Wait for more answers."""
        enough = len(self.seen) + count
        wait_until(lambda: len(self.seen) >= enough, 20)


def application(url: str) -> Flask:
    """An app with the default limits."""
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url)
    cache = Cache(app)

    @app.get("/page/<int:number>")
    @cache.cached(timeout=60)
    def page(number: int) -> str:
        return f"page {number}"

    return app


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    return start_redis()


@pytest.fixture
def load(server: RedisServer) -> Iterator[Load]:
    """A load on a warm cache."""
    with Load(application(server.url)) as load:
        load.await_more(100)
        assert load.hits_since(0)
        yield load
    assert {seen.status for seen in load.seen} == {200}
    assert {seen.body for seen in load.seen} == {f"page {number}" for number in range(5)}


def test_a_hang_under_load(
    server: RedisServer, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """No request takes longer than its budget and a little, most nothing; then hits are back."""
    server.suspend()
    hung = time.monotonic()
    wait_until(lambda: caplog.messages)
    opened = time.monotonic()
    load.await_more(300)
    assert not load.hits_since(opened)
    assert max(seen.cache_ms for seen in load.since(hung)) < (BUDGET + 0.05) * 1000
    # A request that came while it was closed may be among the first of them.
    added = [seen.cache_ms for seen in load.since(opened)[CLIENTS:]]
    assert statistics.quantiles(added, n=100)[-1] < 5

    server.resume()
    resumed = time.monotonic()
    wait_until(lambda: load.hits_since(resumed))
    assert load.hits_since(resumed)[0].at - resumed < 2
    assert len(caplog.messages) == 2  # it is away, and it is back


def test_a_death_under_load(
    server: RedisServer, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """The same where it dies, and a new one takes its place."""
    server.kill()
    killed = time.monotonic()
    load.await_more(200)
    assert max(seen.cache_ms for seen in load.since(killed)) < (BUDGET + 0.05) * 1000
    server.start()
    started = time.monotonic()
    wait_until(lambda: load.hits_since(started))
    assert load.hits_since(started)[0].at - started < 2
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("manner", MANNERS)
def test_a_stream_that_is_spoilt(server: RedisServer, manner: str) -> None:
    """Whatever arrives instead of a reply: the right answer, in time, and then hits again."""
    with spoiling(server.directory, server.socket) as proxy:
        with Load(application(f"unix://{proxy.path}")) as load:
            load.await_more(100)
            assert load.hits_since(0)
            proxy.manner = manner
            spoilt = time.monotonic()
            load.await_more(200)
            assert max(seen.cache_ms for seen in load.since(spoilt)) < (BUDGET + 0.05) * 1000
            proxy.manner = "passes"
            passed = time.monotonic()
            wait_until(lambda: load.hits_since(passed))
            assert load.hits_since(passed)[0].at - passed < 2
        assert {seen.status for seen in load.seen} == {200}
        assert {seen.body for seen in load.seen} == {f"page {number}" for number in range(5)}
