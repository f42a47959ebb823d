"""What goes out to a server."""

import pytest
import redis
from flask import Flask

from flask_larder import Cache
from flask_larder.redis import Address, Links, RedisLeases, exchange
from flask_larder.redis.exchange import Command
from tests.conftest import RedisServer
from tests.service.processes import wait_until


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    """All commands that are packed."""
    commands: list[Command] = []
    pack = exchange._pack

    def record(command: Command) -> bytes:
        commands.append(command)
        return pack(command)

    monkeypatch.setattr(exchange, "_pack", record)
    return commands


def names_of(commands: list[Command]) -> set[str | bytes]:
    return {command[0] for command in commands}


def test_no_command_has_a_number(
    sent: list[Command], redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Else the process may end by SIGSEGV where a handler of a signal raises."""
    app = Flask(__name__)
    config = {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_URL": redis_server.url,
        "CACHE_REDIS_TIMEOUT": 5.0,
        "CACHE_BUDGET_SECONDS": 5.0,
        "CACHE_L1_BYTES": 0,
    }
    cache = Cache(app, config=config)
    app.add_url_rule("/a", view_func=cache.cached(timeout=60)(lambda: "made"))
    for expected in ("stored", "hit"):
        assert expected in app.test_client().get("/a").headers["Cache-Status"]
    with app.app_context():
        assert cache.add("k", "v", timeout=60)
        assert cache.delete("k")
        cache.purge_path("/a", soft=True)
        cache.clear()
        cache._wiring().store.clear()
    links = Links(Address(redis_server.url, timeout=5.0))
    lease = RedisLeases(links, "p_", life_seconds=0.03, most_seconds=60.0).acquire("k")
    assert lease
    wait_until(lambda: any("PEXPIRE" in str(command) for command in sent))
    lease.release()
    wait_until(lambda: "XREAD" in names_of(sent))
    used = {"EVAL", "INFO", "MGET", "SCAN", "SET", "UNLINK", "XADD", "XRANGE", "XREAD"}
    assert used <= names_of(sent)
    assert {type(word) for command in sent for word in command} <= {bytes, str}
