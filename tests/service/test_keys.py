"""``make keys``: what the store of the running service holds."""

import itertools
import os
import sys
from collections.abc import Callable
from types import FrameType

import pytest
import redis

from service import keys, state
from service.config import ConfigError
from service.state import announced, read_state, state_file
from tests.redis_nodes import free_port
from tests.service.processes import Sandbox, Service


def test_lists_keys(service: Service, number: int) -> None:
    """Each with its type, the seconds that it has left, and its size, in order."""
    for offset in (1, 0):
        service.get(f"/square/{number + offset}")
    code, output = service.sandbox.run("service.keys")
    assert code == 0
    first, heading, *rows = output.splitlines()
    assert "valkey.sock" in first
    assert heading.split() == ["TYPE", "TTL", "(s)", "BYTES", "KEY"]
    names = [row.split()[-1] for row in rows]
    assert names == sorted(names)
    found = [row.split() for row in rows if row.endswith((f"/{number}", f"/{number + 1}"))]
    assert len(found) == 2
    for kind, ttl, size, _ in found:
        assert kind == "string"
        assert 0 < int(ttl) <= 50
        assert 50 < int(size) < 2000


def test_nothing_runs(sandbox: Sandbox) -> None:
    """It says what to do."""
    code, output = sandbox.run("service.keys")
    assert code == 1
    assert output.startswith(f"error: no service with a Redis store runs on port {sandbox.port}: ")
    assert len(output.splitlines()) == 1


def test_state_of_a_killed_service(sandbox: Sandbox) -> None:
    """What it left is replaced by the next one, and no traceback for who reads it before."""
    with announced(sandbox.port, "unix:///nowhere/valkey.sock"):
        code, output = sandbox.run("service.keys")
        assert code == 1
        assert "unix:///nowhere/valkey.sock does not answer" in output
        assert len(output.splitlines()) == 1
        with announced(sandbox.port, "redis://second"):
            assert read_state(sandbox.port) == "redis://second"
        assert not state_file(sandbox.port).exists()


@pytest.mark.parametrize("text", ["redis://second", ""])
def test_state_of_another_is_kept(text: str) -> None:
    """Only the last that announced itself takes the file away."""
    port = free_port()
    try:
        with announced(port, "redis://first"):
            state_file(port).write_text(text)
        assert state_file(port).read_text() == text
    finally:
        state_file(port).unlink()


# Between the last write and the closing of the file, who collects the garbage closes it.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO")
def test_nothing_is_left_by_a_service_that_is_stopped_while_it_announces_itself() -> None:
    """SIGTERM raises SystemExit at any line; each of them is tried."""
    port, tried = free_port(), 0

    def stopped_at_line(number: int) -> bool:
        lines = itertools.count(1)

        def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., object] | None:
            if frame.f_code.co_filename != state.__file__:
                return None
            if event == "line" and next(lines) == number:
                sys.settrace(None)
                raise SystemExit(0)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with announced(port, "redis://first"):
                sys.settrace(None)
        except SystemExit:
            return True
        finally:
            sys.settrace(before)
        return False

    while stopped_at_line(tried + 1):
        tried += 1
        assert [*state_file(port).parent.glob(f"{port}.*")] == [], tried
    assert tried > 8


def test_given_address(redis_url: str) -> None:
    """Without a running service it is the store of the settings."""
    port = str(free_port())
    assert keys.find_store({"PORT": port, "CACHE_REDIS_URL": redis_url}) == redis_url
    assert keys.find_store({"PORT": port, "CACHE_REDIS_HOST": "x"}) == "redis://x:6379/0"


def test_password_is_not_shown() -> None:
    """Neither when the store answers nor when it does not."""
    with pytest.raises(ConfigError) as caught:
        list(keys.listing(f"redis://user:secret@127.0.0.1:{free_port()}/0"))
    assert "secret" not in str(caught.value)


def test_many_keys(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list ends somewhere, and says so."""
    monkeypatch.setattr(keys, "MOST_KEYS", 10)
    redis_client.mset({f"key:{number}": "x" for number in range(25)})
    lines = list(keys.listing(redis_url))
    assert lines[0].endswith("holds 25 keys")
    assert len(lines) == 1 + 1 + 10 + 1
    assert lines[-1] == "... and 15 more"


def test_strange_keys(redis_client: redis.Redis, redis_url: str) -> None:
    """Nothing in a name moves the cursor; a key for ever says none."""
    redis_client.set(b"a\x1b[2J\n\xff", "x")
    redis_client.hset("hash", "field", "value")
    redis_client.expire("hash", 100)
    rows = [line.split() for line in keys.listing(redis_url)][2:]
    assert [(kind, ttl, name) for kind, ttl, _, name in rows] == [
        ("string", "none", r"a\x1b[2J\x0a\xff"),
        ("hash", "100", "hash"),
    ]


def test_empty_store(redis_client: redis.Redis, redis_url: str) -> None:
    """It has no table."""
    assert [line.partition(" ")[2] for line in keys.listing(redis_url)] == ["holds 0 keys"]


def test_service_on_a_given_store(
    start: Callable[..., Service], redis_client: redis.Redis, redis_url: str
) -> None:
    """The given store is used by all workers, and no other is started."""
    service = start(CACHE_REDIS_URL=redis_url, CACHE_KEY_PREFIX="mine:")
    service.get("/square/4")
    assert service.guardians() == service.stores() == []
    assert [name for name in redis_client.scan_iter() if name.startswith(b"mine:")]
    assert os.fspath(state_file(service.sandbox.port)).endswith(".url")
    code, output = service.sandbox.run("service.keys")
    assert code == 0
    assert "/square/4" in output
