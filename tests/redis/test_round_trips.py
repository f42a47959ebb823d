"""How often Redis is asked: each round trip is counted by a proxy, with what is asked in it."""

import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from flask import Flask
from werkzeug.test import TestResponse

from flask_larder import Cache
from flask_larder.coalesce import Coalescer
from flask_larder.redis import Address, Links, RedisLeases, RedisStore
from tests.conftest import RedisServer
from tests.outages import listening

_COMMAND = re.compile(rb"^\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n", re.MULTILINE)
_NOT_OF_REQUESTS = {"XREAD", "INFO", "PING", "CLIENT", "XADD"}

LOOK_UP = ["MGET", "XRANGE"]
FIRST_LOOK = ["EVAL", *LOOK_UP]


class Recorder:
    """Passes on what goes to *server*, and keeps the names of the commands in each piece of it.

    Connections on which a process follows the log of purges are left out.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.trips: list[list[str]] = []

    def talk(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._server.socket))
            is_followers = False
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    piece = ready.recv(1024 * 1024)
                    if not piece:
                        return
                    if ready is client:
                        names = [name.decode() for name in _COMMAND.findall(piece)]
                        is_followers = is_followers or not _NOT_OF_REQUESTS.isdisjoint(names)
                        if not is_followers:
                            self.trips.append(names)
                    (server if ready is client else client).sendall(piece)

    @contextmanager
    def of(self) -> Iterator[list[list[str]]]:
        """The round trips that are made in the block."""
        self.trips.clear()
        made: list[list[str]] = []
        yield made
        made += self.trips


@pytest.fixture
def recorder(redis_server: RedisServer, redis_client: redis.Redis) -> Recorder:
    """What stands before the shared server, which is empty."""
    return Recorder(redis_server)


@pytest.fixture
def cached_app(recorder: Recorder) -> Iterator[Callable[..., Flask]]:
    """Makes apps that reach Redis through the recorder, with settings and what their view says."""
    with listening(recorder.talk) as port:

        def make(view: Callable[[], Any] = lambda: "made", **settings: Any) -> Flask:
            app = Flask(__name__)
            config = {
                "CACHE_TYPE": "RedisCache",
                "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}",
                "CACHE_REDIS_TIMEOUT": 5.0,
                "CACHE_BUDGET_SECONDS": 5.0,
                "CACHE_L1_BYTES": 0,
                **settings,
            }
            cache = Cache(app, config=config)
            app.add_url_rule("/<name>", view_func=cache.cached(timeout=60)(lambda name: view()))
            value = cache.cached(timeout=60, key_prefix="value")(lambda: "a value")
            app.add_url_rule("/value", "value", lambda: value())
            assert app.test_client().get("/warm").status_code == 200  # connects, reads the log
            return app

        yield make


def ask(app: Flask, path: str, **options: Any) -> TestResponse:
    answer = app.test_client().get(path, **options)
    assert "store-" not in answer.headers.get("Cache-Status", "")
    return answer


def test_a_hit_costs_one_round_trip(recorder: Recorder, cached_app: Callable[..., Flask]) -> None:
    """With what was purged meanwhile."""
    app = cached_app()
    ask(app, "/a")
    with recorder.of() as trips:
        assert ask(app, "/a").headers["Cache-Status"].startswith("larder; hit")
    assert trips == [LOOK_UP]


def test_a_miss_costs_two_round_trips(recorder: Recorder, cached_app: Callable[..., Flask]) -> None:
    """To look and lead, to store and lead no more."""
    app = cached_app()
    with recorder.of() as trips:
        assert ask(app, "/a").headers["Cache-Status"].startswith("larder; fwd=uri-miss; stored")
    assert trips == [FIRST_LOOK, ["SET", "EVAL"]]


def test_a_miss_of_what_was_stored_costs_three_round_trips(
    recorder: Recorder, cached_app: Callable[..., Flask], redis_client: redis.Redis
) -> None:
    """To look, to lead and look again, to store and lead no more."""
    app = cached_app()
    ask(app, "/a")
    redis_client.delete(*redis_client.keys("*/a"))
    with recorder.of() as trips:
        assert ask(app, "/a").headers["Cache-Status"].startswith("larder; fwd=uri-miss; stored")
    assert trips == [LOOK_UP, ["SET", *LOOK_UP], ["SET", "EVAL"]]


def test_a_value_that_is_missing_costs_two_round_trips(
    recorder: Recorder, cached_app: Callable[..., Flask]
) -> None:
    """As a response does."""
    app = cached_app()
    with recorder.of() as trips:
        assert ask(app, "/value").text == "a value"
    assert trips == [FIRST_LOOK, ["SET", "EVAL"]]


def test_what_is_not_stored_costs_two_round_trips(
    recorder: Recorder, cached_app: Callable[..., Flask]
) -> None:
    """The lease is given back alone then."""
    app = cached_app(lambda: ("made", {"Cache-Control": "no-store"}))
    with recorder.of() as trips:
        ask(app, "/a")
    assert trips == [FIRST_LOOK, ["EVAL"]]


def test_one_more_round_trip_stores_that_there_are_variants(
    recorder: Recorder, cached_app: Callable[..., Flask]
) -> None:
    """And one more looks for that, while the process does not remember it."""
    app = cached_app(lambda: ("made", {"Vary": "Accept-Language"}))
    with recorder.of() as trips:
        ask(app, "/a", headers={"Accept-Language": "en"})
    assert trips == [FIRST_LOOK, ["SET"], ["SET", "EVAL"]]
    with recorder.of() as trips:
        ask(app, "/a", headers={"Accept-Language": "fr"})
    assert trips == [LOOK_UP, LOOK_UP, ["SET", *LOOK_UP], LOOK_UP, ["SET", "EVAL"], ["SET"]]


def test_who_refreshes_in_the_background_ends_its_lease_along(recorder: Recorder) -> None:
    """As who answers a request does."""
    with listening(recorder.talk) as port:
        links = Links(Address(f"redis://127.0.0.1:{port}", timeout=5.0))
        leases = RedisLeases(links, "p_", life_seconds=30.0, most_seconds=60.0)
        coalescer = Coalescer[bytes](leases, time.monotonic, wait_seconds=60.0)
        store = RedisStore(links, "p_")
        with recorder.of() as trips, coalescer.claim("k") as claim:
            assert claim
            assert store.get("k") is None
            assert store.set("k", b"v", 60.0)
            claim.result = b"v"
        assert trips == [["SET"], ["MGET"], ["SET", "EVAL"]]
