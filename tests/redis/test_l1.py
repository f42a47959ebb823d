"""What each process remembers of Redis: when it asks, and when it hears of others."""

import gc
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask, Response, request
from werkzeug.test import Client, TestResponse, create_environ

from flask_larder import Cache, memory, wsgi
from flask_larder.flask.tracking import caches_of
from flask_larder.redis.follower import Follower
from tests.conftest import RedisServer
from tests.core.test_coalesce import SOON, until
from tests.flask.answers import Counter, is_hit, status_of
from tests.redis_nodes import Cluster, Watched, wait_until

_OF_FOLLOWERS = {"xread", "xrange", "info", "ping", "client", "hello", "auth", "select"}


class Worker:
    """One process: an app with a cache of its own on *server*."""

    def __init__(self, **settings: Any) -> None:
        self.app = Flask(__name__)
        patient = {"CACHE_REDIS_TIMEOUT": 5.0, "CACHE_BUDGET_SECONDS": 5.0}
        self.cache = Cache(self.app, config={"CACHE_TYPE": "RedisCache", **patient, **settings})
        self.count = Counter()
        self.view = self.cache.cached(timeout=600, tags=("page",))(lambda: str(self.count()))
        self.app.add_url_rule("/page", "page", self.view)
        named = self.cache.cached(timeout=600, key_prefix="name")(lambda: str(self.count()))
        self.app.add_url_rule("/named", "named", named)
        varying = self.cache.cached(timeout=600)(
            lambda: (str(self.count()), {"Vary": "Accept-Language"})
        )
        self.app.add_url_rule("/varying", "varying", varying)
        handed_on = self.cache.http_cached()(
            lambda: (
                dict(request.headers).get("X-Api-Key", "nobody"),
                {"Cache-Control": "max-age=60"},
            )
        )
        self.app.add_url_rule("/handed-on", "handed_on", handed_on)

    def get(self, path: str = "/page", **options: Any) -> TestResponse:
        return Client(self.app).get(path, **options)

    def is_followed(self) -> bool:
        purges = caches_of(self.app)[self.cache].purges
        return purges.known() is not None and purges._here().reader.server != ""  # type: ignore[attr-defined]

    def tier(self) -> Any:
        return caches_of(self.app)[self.cache].tier


@pytest.fixture
def worker(redis_url: str) -> Callable[..., Worker]:
    """Makes workers on the shared server, which follow its log of purges."""

    def make(**settings: Any) -> Worker:
        made = Worker(**{"CACHE_REDIS_URL": redis_url, **settings})
        made.get("/named")
        wait_until(made.is_followed)
        return made

    return make


class Clock:
    """Time that goes on by itself, and further when it is told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what is remembered by workers that are made from now on."""
    clock, init = Clock(), memory.L1.__init__

    def with_clock(l1: memory.L1, **options: Any) -> None:
        init(l1, **{**options, "clock": clock})

    tier = "flask_larder.flask.wiring.Tier"
    from flask_larder.learned import Tier

    monkeypatch.setattr(memory.L1, "__init__", with_clock)
    monkeypatch.setattr(tier, lambda *parts: Tier(*parts[:-1], clock))
    return clock


def asked(client: redis.Redis, what: Callable[[], Any]) -> dict[str, int]:
    """Which commands Redis was asked meanwhile, but for those of who follows the log."""
    before = client.info("commandstats")
    what()
    after = client.info("commandstats")
    made = {
        name.removeprefix("cmdstat_"): stats["calls"] - before.get(name, {"calls": 0})["calls"]
        for name, stats in after.items()
    }
    return {n: c for n, c in made.items() if c and n.partition("|")[0] not in _OF_FOLLOWERS}


@pytest.mark.parametrize("before_flask", [True, False])
@pytest.mark.parametrize("path", ["/page", "/named", "/varying"])
def test_a_hit_from_memory_asks_redis_nothing(
    worker: Callable[..., Worker], redis_client: redis.Redis, path: str, before_flask: bool
) -> None:
    """Before Flask and inside, also where the answers vary."""
    ours = worker(CACHE_BEFORE_FLASK=before_flask)
    ours.get(path)
    hits = [ours.get(path)]
    assert asked(redis_client, lambda: hits.extend(ours.get(path) for _ in range(20))) == {}
    assert all(map(is_hit, hits))


def test_what_is_remembered_for_nobody_is_for_nobody(worker: Callable[..., Worker]) -> None:
    """Who shows somebody by a header field gets an answer of their own."""
    one = worker()
    for headers in ({}, {}, {"X-Api-Key": "ann"}, {"X-Api-Key": "bob"}, {}):
        answer = one.get("/handed-on", headers=headers)
        assert answer.text == headers.get("X-Api-Key", "nobody")
    assert is_hit(answer)


@pytest.mark.parametrize("before_flask", [True, False])
def test_after_a_while_redis_is_asked_once(
    worker: Callable[..., Worker], redis_client: redis.Redis, clock: Clock, before_flask: bool
) -> None:
    """And then the next ones are hits from memory again."""
    ours = worker(CACHE_BEFORE_FLASK=before_flask, CACHE_L1_SECONDS=10)
    for _ in range(2):
        ours.get()
    clock.ahead += 9.0
    assert asked(redis_client, ours.get) == {}
    clock.ahead += 1.5
    made = asked(redis_client, lambda: [ours.get() for _ in range(5)])
    assert made == {"mget": 1}
    assert ours.count.runs == 2


@pytest.mark.parametrize("before_flask", [True, False])
def test_what_another_process_has_made_anew_is_seen_then(
    worker: Callable[..., Worker], redis_client: redis.Redis, clock: Clock, before_flask: bool
) -> None:
    """Not before, since nothing was purged."""
    settings = {"CACHE_BEFORE_FLASK": before_flask}
    ours, others = worker(**settings), worker(**settings)
    for _ in range(2):
        ours.get()
    others.count.runs = 10
    redis_client.delete(*redis_client.keys("*/page*"))
    assert others.get().text == "11"
    assert ours.get().text == "2"
    clock.ahead += 10.5
    assert ours.get().text == "11"


@pytest.mark.parametrize("path", ["/page", "/varying"])
def test_a_miss_of_a_known_url_asks_once(
    worker: Callable[..., Worker], redis_client: redis.Redis, clock: Clock, path: str
) -> None:
    """What was looked up before Flask is not looked up again inside."""
    made = []
    for each in (worker(CACHE_BEFORE_FLASK=False), worker()):
        for _ in range(2):
            each.get(path)
        clock.ahead += 10.5
        redis_client.delete(*redis_client.keys(f"*{path}*"))
        made.append(asked(redis_client, lambda each=each: each.get(path)))  # type: ignore[misc]
    assert made[1] == made[0]
    assert made[0]["mget"] == 2  # to look, and to lead


PURGES: dict[str, Callable[[Worker], Any]] = {
    "tag": lambda worker: worker.cache.purge_tags("page"),
    "soft": lambda worker: worker.cache.purge_tags("page", soft=True),
    "path": lambda worker: worker.cache.purge_path("/page"),
    "view": lambda worker: worker.view.purge(),
    "all": lambda worker: worker.cache.clear(),
}


@pytest.mark.parametrize("before_flask", [True, False])
@pytest.mark.parametrize("name", PURGES)
def test_a_purge_reaches_the_memory_of_others(
    worker: Callable[..., Worker], name: str, before_flask: bool
) -> None:
    """Within a second on a busy machine, without anybody asking Redis for the page."""
    ours, others = (worker(CACHE_BEFORE_FLASK=before_flask) for _ in range(2))
    for _ in range(3):
        assert ours.get().text == "2"
    with others.app.test_request_context():
        PURGES[name](others)
    wait_until(lambda: ours.get().text != "2", 1.0)


@pytest.mark.parametrize("name", PURGES)
def test_a_purge_of_its_own_is_seen_at_once(worker: Callable[..., Worker], name: str) -> None:
    """By the very next request, whatever was rendered just now."""
    ours = worker()
    for _ in range(3):
        assert ours.get().text == "2"
    with ours.app.test_request_context():
        PURGES[name](ours)
    assert ours.get().text == "3"


@pytest.mark.parametrize("before_flask", [True, False])
def test_a_deleted_name_reaches_the_memory_of_others(
    worker: Callable[..., Worker], before_flask: bool
) -> None:
    """As a purge does."""
    ours, others = (worker(CACHE_BEFORE_FLASK=before_flask) for _ in range(2))
    for _ in range(3):
        ours.get("/named")
    runs = ours.count.runs
    assert others.cache.delete("name")
    wait_until(lambda: bool(ours.get("/named")) and ours.count.runs > runs, 1.0)


@pytest.mark.parametrize("before_flask", [True, False])
def test_what_was_purged_in_memory_may_be_newer_in_the_store(
    worker: Callable[..., Worker], before_flask: bool
) -> None:
    """Whoever was faster has made it already."""
    ours, others = (worker(CACHE_BEFORE_FLASK=before_flask) for _ in range(2))
    for _ in range(3):
        ours.get()
    runs, others.count.runs = ours.count.runs, 10
    others.cache.purge_tags("page")
    assert others.get().text == "11"
    wait_until(lambda: ours.get().text == "11", 1.0)
    assert ours.count.runs == runs


def test_a_purge_in_another_process(worker: Callable[..., Worker], redis_url: str) -> None:
    """One that knows nothing of this one but the server."""
    ours = worker()
    for _ in range(3):
        ours.get()
    code = (
        "import sys; from flask import Flask; from flask_larder import Cache;"
        "cache = Cache(Flask('x'), config={'CACHE_TYPE': 'RedisCache', 'CACHE_REDIS_URL':"
        " sys.argv[1], 'CACHE_REDIS_TIMEOUT': 5.0}); cache.purge_tags('page')"
    )
    subprocess.run([sys.executable, "-c", code, redis_url], check=True)
    wait_until(lambda: ours.get().text != "2", 1.0)


@pytest.mark.parametrize("kind", ["watched", "cluster"])
def test_sentinel_and_cluster(kind: str, request: pytest.FixtureRequest) -> None:
    """Memory is in front of them, too, and hears of purges."""
    servers: Watched | Cluster = request.getfixturevalue(kind)
    if isinstance(servers, Watched):
        hosts = ",".join(node.address for node in servers.sentinels)
        settings = {"CACHE_TYPE": "RedisSentinelCache", "CACHE_REDIS_SENTINELS": hosts}
        settings["CACHE_REDIS_SENTINEL_MASTER"] = "mymaster"
    else:
        settings = {"CACHE_REDIS_URL": f"redis+cluster://{servers.masters[0].address}"}
    ours, others = Worker(**settings), Worker(**settings)
    for each in (ours, others):
        each.get()
        wait_until(each.is_followed)
    assert is_hit(ours.get())
    assert len(ours.tier().memory.here()) > 0
    others.cache.purge_tags("page")
    wait_until(lambda: not is_hit(ours.get()), 2.0)


@pytest.mark.parametrize("before_flask", [True, False])
def test_redis_is_gone(
    start_redis: Callable[[], RedisServer],
    before_flask: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Memory answers for a while, and then the view does: purges could not be heard of."""
    server = start_redis()
    ours = Worker(
        CACHE_REDIS_URL=server.url, CACHE_UNWATCHED_SECONDS=1, CACHE_BEFORE_FLASK=before_flask
    )
    for _ in range(3):
        ours.get()
    wait_until(ours.is_followed)
    server.kill()
    killed_at = time.monotonic()
    with caplog.at_level(logging.CRITICAL):
        assert is_hit(ours.get())
        wait_until(lambda: not is_hit(ours.get()), 10.0)
    assert 0.5 < time.monotonic() - killed_at < 5.0
    assert "store-unavailable" in status_of(ours.get())


def test_redis_hangs(start_redis: Callable[[], RedisServer]) -> None:
    """One request waits for its budget in all, before Flask and inside."""
    server = start_redis()
    ours = Worker(
        CACHE_REDIS_URL=server.url,
        CACHE_REDIS_TIMEOUT=10.0,
        CACHE_BUDGET_SECONDS=0.5,
        CACHE_L1_BYTES=0,
    )
    for _ in range(3):
        ours.get()
    assert is_hit(ours.get())
    server.suspend()
    try:
        began = time.monotonic()
        assert not is_hit(ours.get())
        assert 0.4 < time.monotonic() - began < 0.9
    finally:
        server.resume()


def send(app: Flask, path: str) -> None:
    assert list(app(create_environ(path), lambda status, fields, exc_info=None: None))


@pytest.mark.parametrize(
    ("body_bytes", "fields", "query"), [(17, 0, ""), (17, 10, ""), (20_000, 0, ""), (17, 0, "q")]
)
def test_memory_takes_what_is_counted(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, body_bytes: int, fields: int, query: str
) -> None:
    """Of learned URLs and remembered responses, sent once or not: a third more at most."""
    monkeypatch.setattr(wsgi, "LEARNED_BYTES", 10**9)
    ours = Worker(CACHE_REDIS_URL=redis_url)

    def view(number: int) -> Response:
        names = {f"X-Field-{n}": f"{n} of {number}" for n in range(fields)}
        return Response(b"x" * body_bytes, headers=names)

    cached = ours.cache.cached(query_string=bool(query))(view)
    ours.app.add_url_rule("/numbers/<int:number>", "numbers", cached)
    tail = f"?q={'x' * 3000}" if query else ""

    def counted() -> int:
        learned = ours.app.wsgi_app._learned  # type: ignore[attr-defined]
        size: int = learned.size_bytes + ours.tier().memory.here().size_bytes
        return size

    def fill(numbers: range) -> None:
        for number in numbers:
            for _ in range(1 + number % 2):
                send(ours.app, f"/numbers/{number}{tail}")
        gc.collect()

    fill(range(10))
    before = counted()
    tracemalloc.start()
    try:
        fill(range(100, 500))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 < taken / (counted() - before) < 1.3


def test_who_waits_for_what_was_begun_before_a_purge_does_not_get_it(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory a purge that has returned is strict, whenever the process hears of it."""
    begun, go = threading.Event(), threading.Event()
    here, there = worker(CACHE_L1_BYTES=0), worker(CACHE_L1_BYTES=0)

    class Slow(Counter):
        def __call__(self) -> int:
            number = super().__call__()
            begun.set()
            assert go.wait(SOON)
            return number

    here.count = Slow()
    purges = caches_of(here.app)[here.cache].purges
    monkeypatch.setattr(Follower, "start", lambda _: None)
    purges._here().follower.stop()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(here.get)
        assert begun.wait(SOON)
        there.cache.purge_tags("page")
        second = threads.submit(here.get)
        flights = caches_of(here.app)[here.cache].engine._coalescer._flights()
        until(lambda: any(each.landing for each in flights._under_way.values()))
        go.set()
        assert [first.result(SOON).text, second.result(SOON).text] == ["1", "2"]
