"""A server without memory that evicts nothing: hits go on, stores are skipped, a purge says so."""

from collections.abc import Callable

import pytest
from flask import Flask

from flask_larder import Cache
from flask_larder.errors import StoreUnavailable
from tests.conftest import RedisServer

BIG = "x" * 50_000
MIB = 2**20

PURGES: dict[str, Callable[[Cache], object]] = {
    "tag": lambda cache: cache.purge_tags("number:0"),
    "url": lambda cache: cache.purge_url("/page/0"),
    "path": lambda cache: cache.purge_path("/page/0"),
    "prefix": lambda cache: cache.purge_prefix("/page/"),
    "soft": lambda cache: cache.purge_tags("number:0", soft=True),
    "soft clear": lambda cache: cache.clear(soft=True),
}


class House:
    """An application of one process that uses *server*."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.app = Flask(__name__)
        self.app.config |= {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": server.url}
        self.app.config |= {"CACHE_REDIS_TIMEOUT": 5.0, "CACHE_BUDGET_SECONDS": 5.0}
        self.app.config["CACHE_L1_BYTES"] = 0  # each request asks the server
        self.cache = Cache(self.app)
        self.version = 0

        @self.app.get("/page/<int:number>")
        @self.cache.cached(timeout=600)
        def page(number: int) -> str:
            self.cache.tag(f"number:{number}")
            return f"{self.version} {BIG}"

    def ask(self, number: int) -> tuple[int, str]:
        """The version that a page shows, and how it came about."""
        answer = self.app.test_client().get(f"/page/{number}")
        assert answer.status_code == 200
        status = answer.headers["Cache-Status"]
        return int(answer.text.split()[0]), status.partition("; ttl")[0].removeprefix("larder; ")

    def fill(self) -> int:
        """Ask for pages until one is not stored, and the server is full. Returns which one."""
        for number in range(1000):
            status = self.ask(number)[1]
            if status == "fwd=uri-miss; detail=store-refused":
                break
            assert status == "fwd=uri-miss; stored"
        assert number > 50
        with self.server.client() as client:  # what connections need comes and goes
            client.config_set("maxmemory", client.info("memory")["used_memory"] - MIB)
        return number


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    """A server of the test's own, which evicts nothing and has 5 MiB left."""
    server = start_redis()
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 5 * MIB)
    return server


def raise_memory(server: RedisServer) -> None:
    """Do what the error asks for."""
    with server.client() as client:
        client.config_set("maxmemory", 64 * MIB)


def test_hits_go_on_and_stores_are_skipped(server: RedisServer) -> None:
    """In all processes, also in one that starts only now; and it is over when there is memory."""
    house = House(server)
    refused = house.fill()
    newcomer = House(server)
    newcomer.version = 1
    for _ in range(3):
        assert house.ask(0) == newcomer.ask(0) == (0, "hit")
        assert newcomer.ask(refused) == (1, "fwd=uri-miss; detail=store-refused")

    raise_memory(server)
    assert newcomer.ask(refused) == (1, "fwd=uri-miss; stored")
    assert house.ask(refused) == (1, "hit")


@pytest.mark.parametrize("kind", PURGES)
def test_a_purge_that_there_is_no_memory_for_is_an_error(server: RedisServer, kind: str) -> None:
    """It has purged nothing, which it says; when it is repeated as it says, all is purged."""
    house = House(server)
    house.fill()
    house.version = 1
    with pytest.raises(
        StoreUnavailable,
        match=r"not all is purged, since Redis has no memory left: raise its maxmemory, or choose "
        r"a maxmemory-policy that evicts, and repeat the purge \(Redis at unix://.* refuses: ",
    ):
        PURGES[kind](house.cache)
    assert house.ask(0) == (0, "hit")

    raise_memory(server)
    PURGES[kind](house.cache)
    version, status = house.ask(0)
    assert version == 1
    assert "hit" not in status


def test_everything_can_be_forgotten(server: RedisServer) -> None:
    """For that, the entries are deleted first, which gives the memory that the purge needs."""
    house, other = House(server), House(server)
    house.fill()
    house.version = other.version = 1
    assert other.ask(0) == (0, "hit")
    house.cache.clear()
    # It may not have heard of the purge when the request came; then it does not keep the answer.
    version, status = other.ask(0)
    assert version == 1
    assert status in {"fwd=uri-miss; stored", "fwd=uri-miss; detail=purged"}
    assert house.ask(0)[0] == 1
    assert other.ask(0) == house.ask(0) == (1, "hit")


def test_everything_is_deleted_even_where_others_leave_no_memory(server: RedisServer) -> None:
    """What is being made just then may come back; so it is an error all the same."""
    house = House(server)
    assert house.ask(0) == (0, "fwd=uri-miss; stored")
    with server.client() as client:
        client.config_set("maxmemory", 1)
    house.version = 1
    with pytest.raises(StoreUnavailable, match="not all is purged, since Redis has no memory left"):
        house.cache.clear()
    assert house.ask(0) == (1, "fwd=uri-miss; detail=store-refused")
