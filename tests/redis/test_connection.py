"""Addresses: what is taken, what is refused and with which words, and what is never shown."""

import itertools
import select
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import redis

from flask_larder.breaker import PATIENCE
from flask_larder.errors import InvalidConfig, StoreUnavailable
from flask_larder.redis import Address, Links, RedisStore, exchange, without_secrets
from flask_larder.redis.exchange import Connection
from tests.conftest import RedisServer
from tests.outages import answering_each, listening

PASSWORD = "s3cret"
LONG = 600.0


@pytest.mark.parametrize(
    ("in_url", "db", "options", "expected"),
    [
        ("", 0, {}, 0),
        ("", 7, {}, 7),
        ("?db=3", 0, {}, 3),
        ("?db=3", 7, {}, 3),
        ("?db=0", 7, {}, 0),
        ("", 7, {"db": 5}, 5),
    ],
)
def test_the_url_says_which_database(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    in_url: str,
    db: int,
    options: Mapping[str, Any],
    expected: int,
) -> None:
    """What the URL says stands above ``CACHE_REDIS_DB``; where it is silent, that counts."""
    address = Address(redis_server.url + in_url, db=db, timeout=5.0, options=options)

    RedisStore(Links(address), "").set("k", b"v", LONG)

    assert redis_client.info("keyspace").keys() == {f"db{expected}"}


def test_the_path_of_a_url_is_its_database(start_tcp: Callable[[], int]) -> None:
    """``redis://host:port/3`` is the third database, whatever else is set."""
    port = start_tcp()

    store = RedisStore(Links(Address(f"redis://127.0.0.1:{port}/3", db=7, timeout=5.0)), "")
    store.set("k", b"v", LONG)

    with redis.Redis(port=port, db=3, protocol=2) as client:
        assert client.get("k") == b"v"


@pytest.fixture
def start_tcp(start_redis: Callable[[], RedisServer]) -> Callable[[], int]:
    """Starts a server that listens on a port of 127.0.0.1 too, and returns the port."""

    def start() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with start_redis().client() as client:
            client.config_set("port", port)
        return port

    return start


@pytest.mark.parametrize(
    "given",
    [
        lambda url: Address(f"{url}?password={PASSWORD}", timeout=5.0),
        lambda url: Address(url, password=PASSWORD, timeout=5.0),
        lambda url: Address(url, options={"password": PASSWORD}, timeout=5.0),
        lambda url: Address(url.replace("://", f"://:{PASSWORD}@"), password="wrong", timeout=5.0),
        lambda url: Address(url, username="default", password=PASSWORD, timeout=5.0),
    ],
)
def test_a_password_is_taken_from_wherever_it_is(
    start_redis: Callable[[], RedisServer], given: Callable[[str], Address]
) -> None:
    """In the URL, as a setting, or as an option; that of the URL counts before the setting's."""
    server = start_redis()
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)

    assert RedisStore(Links(given(server.url)), "").set("k", b"v", LONG)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "http://localhost",
            "no scheme that is known; begin it with one of redis://, rediss://, unix://",
        ),
        ("localhost:6379", "no scheme that is known; begin it with one of redis://"),
        (
            "/tmp/redis.sock",
            "no scheme that is known; begin it with one of redis://, rediss://, unix://",
        ),
        ("", "no scheme that is known; begin it with one of redis://"),
        ("redis://localhost:port", "malformed.* give for example redis://localhost:6379/0"),
        ("redis://localhost:99999", "is malformed"),
        ("redis://[::1", "malformed.* give for example redis://localhost:6379/0"),
        ("redis:localhost", "redis://, rediss://, unix://"),
        ("redis://localhost?db=first", "db"),
        ("redis://localhost?socket_timeout=soon", "socket_timeout"),
        ("redis://localhost?shoe_size=43", "shoe_size"),
        ("redis://localhost?decode_responses=true", "decode_responses"),
        ("redis://localhost?protocol=3", "the option protocol is '?3'?, .* RESP2; remove it"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, words: str) -> None:
    """At start-up, and not at the first request; the error says what is accepted."""
    with pytest.raises(InvalidConfig, match=words):
        Address(url)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shoe_size": 43}, "shoe_size"),
        ({"port": "first"}, "first"),
        ({"decode_responses": True}, "decode_responses.* entries are bytes"),
        ({"protocol": 3}, "the option protocol is 3, but replies are read as those of RESP2"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options: dict[str, Any], words: str) -> None:
    """At start-up, with its name; nothing has been connected to."""
    with pytest.raises(InvalidConfig, match=words):
        Address("redis://localhost", options=options)


def test_the_protocol_that_is_used_may_be_given() -> None:
    Address("redis://localhost?protocol=2")


def test_an_address_connects_to_nothing() -> None:
    """An app starts while its Redis is away."""
    RedisStore(Links(Address("redis://127.0.0.1:1")), "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        (f"redis://:{PASSWORD}@localhost:6379/0", "redis://***@localhost:6379/0"),
        (f"redis://me:{PASSWORD}@[::1]:6379/0", "redis://***@[::1]:6379/0"),
        ("redis://:@localhost/0", "redis://***@localhost/0"),
        (f"rediss://localhost/1?password={PASSWORD}", "rediss://localhost/1"),
        (f"rediss://localhost/1?ssl_password={PASSWORD}", "rediss://localhost/1"),
        (f"unix://:{PASSWORD}@/run/redis.sock?db=2", "unix://***@/run/redis.sock"),
        (f"redis://a:b@{PASSWORD}@localhost", "redis://***@localhost"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    """Host, port and database help who reads the log; user, password and options do not."""
    assert without_secrets(url) == shown
    assert str(Address(url)) == shown
    assert PASSWORD not in repr(Address(url))


def test_a_password_beside_the_url_is_not_shown() -> None:
    """It is neither in the text of an address nor in what a debugger shows of it."""
    options = {"ssl_password": PASSWORD}
    address = Address("rediss://localhost", password=PASSWORD, options=options)

    assert PASSWORD not in f"{address} {address!r}"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@localhost:port",
        f"redis://:{PASSWORD}@localhost:99999",
        f"http://:{PASSWORD}@localhost",
        f"redis://:{PASSWORD}#x@localhost:6379/0",
        f"redis://:a/{PASSWORD}@localhost:6379/0",
        f"redis://:12/{PASSWORD}@localhost/0",
        f"redis://:12?{PASSWORD}@localhost/0",
        f"redis://:{PASSWORD}@[::1",
        f"redis://localhost?password={PASSWORD}&shoe_size=43",
        f"redis://me:{PASSWORD}@localhost?db=first",
        f"redis://:{PASSWORD}@localhost?decode_responses=true",
    ],
)
def test_a_refusal_does_not_show_the_password(url: str) -> None:
    """Nor does what was raised on the way to it."""
    with pytest.raises(InvalidConfig) as raised:
        Address(url)

    assert PASSWORD not in "".join(traceback.format_exception_only(raised.value))
    assert raised.value.__cause__ is None or PASSWORD not in str(raised.value.__cause__)


@pytest.mark.parametrize("server_is", ["away", "asking for another password"])
def test_an_outage_does_not_show_the_password(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture, server_is: str
) -> None:
    """Neither the error nor the log line; both name the server."""
    server = start_redis()
    with server.client() as client:
        client.config_set("requirepass", "another")
    if server_is == "away":
        server.kill()
    address = Address(server.url.replace("://", f"://me:{PASSWORD}@"), timeout=5.0)
    store = RedisStore(Links(address), "")

    for ask in (lambda: store.get("k"), lambda: store.get("k"), lambda: store.ping(5.0)):
        with pytest.raises(StoreUnavailable) as raised:
            ask()
        assert PASSWORD not in "".join(traceback.format_exception(raised.value))
        assert str(server.socket) in str(raised.value)
    assert PASSWORD not in caplog.text
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("redis://h/first", {}, "the database 'first'; give a number"),
        ("redis://h", {"socket_timeout": "abc"}, "not accepted"),
        ("redis://h", {"socket_timeout": -1}, "give seconds above 0"),
        ("redis://h", {"socket_connect_timeout": None}, "not accepted"),
        ("redis://h", {"decode_responses": True}, "remove it from CACHE_OPTIONS"),
        ("redis://h", {"db": "x"}, "not accepted"),
    ],
)
def test_what_would_fail_on_each_request_is_refused(
    url: str, options: dict[str, object], says: str
) -> None:
    """A mistake in the address is told when the app starts."""
    with pytest.raises(InvalidConfig, match=says):
        Address(url, options=options)


def test_ping_keeps_its_timeout(start_redis: Callable[[], RedisServer]) -> None:
    """Also where the URL has another one."""
    server = start_redis()
    server.suspend()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        RedisStore(Links(Address(f"{server.url}?socket_timeout=20")), "").ping(0.4)
    assert time.monotonic() - began < 5


def test_connections_that_are_all_taken_are_no_outage(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Who finds none free goes without, and the others are not locked out."""
    address = Address(start_redis().url, timeout=0.05, options={"max_connections": 1})
    links = Links(address)
    store = RedisStore(links, "")
    store.ping(5)
    pool = links._here().pool
    taken = pool.take(time.monotonic() + 5)
    with pytest.raises(StoreUnavailable):
        store.get("k")
    pool.give(taken)
    assert store.get("k") is None
    (line,) = caplog.messages
    assert line.endswith(" refuses something, views answer without that: all connections are taken")


def test_connections_that_all_hang_are_an_outage(start_redis: Callable[[], RedisServer]) -> None:
    """Who finds none free meanwhile has heard nothing to the contrary."""
    server = start_redis()
    links = Links(Address(server.url, timeout=0.05, options={"max_connections": 1}))
    store, breaker = RedisStore(links, ""), links._here().breaker
    store.ping(5)
    server.suspend()
    for _ in range(PATIENCE):
        taken = links._here().pool.take(time.monotonic() + 5)
        with pytest.raises(StoreUnavailable, match="all connections are taken"):
            store.get("k")
        links._here().pool.give(taken)
        with pytest.raises(StoreUnavailable):
            store.get("k")
    assert breaker.away_since is not None


@pytest.fixture
def spun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each question, whether the thread did not sleep at once."""
    seen: list[bool] = []
    ask, spin = Connection.exchange, Connection._spin

    def asking(*arguments: Any) -> list[Any]:
        seen.append(False)
        return ask(*arguments)

    def spinning(connection: Connection) -> None:
        seen[-1] = True
        spin(connection)

    monkeypatch.setattr(Connection, "exchange", asking)
    monkeypatch.setattr(Connection, "_spin", spinning)
    return seen


def ask_often(port: int, times: int) -> None:
    connection = Address(f"redis://127.0.0.1:{port}").connect(time.monotonic() + 5.0)
    try:
        for _ in range(times):
            assert connection.ask(("PING",), time.monotonic() + 5.0) == b"PONG"
    finally:
        connection.close()


def test_for_a_server_that_is_far_the_thread_sleeps(spun: list[bool]) -> None:
    """But for one question in sixteen: it may have come nearer."""
    numbers = itertools.count()

    def late(connection: socket.socket) -> None:
        if next(numbers) % 16 == 0:  # else nobody notices, and the test takes less time
            time.sleep(0.1)
        connection.sendall(b"+PONG\r\n")

    with listening(answering_each(late)) as port:
        ask_often(port, 34)
    assert spun == [number % 16 == 0 for number in range(34)]


def test_for_a_server_that_is_near_it_does_not(
    spun: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the machine given up for others, each time."""
    monkeypatch.setattr(exchange, "_SPIN_SECONDS", 5.0)  # however busy the machine is
    with listening(answering_each(lambda each: each.sendall(b"+PONG\r\n"))) as port:
        ask_often(port, 20)
    assert spun == [True] * 20


def test_who_does_not_sleep_asks_again_and_again() -> None:
    """Without waiting, until the reply is there; with a longer wait it would be asleep."""
    with listening(answering_each(lambda each: each.sendall(b"+PONG\r\n"))) as port:
        connection = Address(f"redis://127.0.0.1:{port}").connect(time.monotonic() + 5.0)
        waits: list[int] = []
        for _ in range(100):  # on a busy machine others may be let to work in between
            waits.clear()
            connection._rounds_without = 0
            real = connection._poll
            connection._poll = _Later(real, waits)
            connection.ask(("PING",), time.monotonic() + 5.0)
            connection._poll = real
            if connection._rounds_without == 0:
                break
        assert waits == [0, 0, 0]
        connection.close()


class _Later:
    """A poll that finds nothing twice."""

    def __init__(self, real: Any, waits: list[int]) -> None:
        self._real = real
        self._waits = waits

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        self._waits.append(milliseconds)
        found: list[tuple[int, int]] = self._real.poll(5000)
        return found if len(self._waits) > 2 else []


GREEN = """\
import time
from flask_larder.redis import Address
from gevent import monkey
monkey.patch_all()
connection = Address("{url}").connect(time.monotonic() + 5.0)
for _ in range(20):
    assert connection.ask(("PING",), time.monotonic() + 5.0) == b"PONG"
print(connection._rounds_without)
"""


def test_under_gevent_other_greenlets_go_on(redis_url: str) -> None:
    """To wait in any other way than gevent's would stop them."""
    code = GREEN.format(url=redis_url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (0, "inf\n"), done.stderr


def test_a_server_that_turns_clients_away_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a password, it says so before it was asked anything."""

    def turn_away(client: socket.socket) -> None:
        client.sendall(b"-ERR max number of clients reached\r\n")
        client.recv(1)  # until the other side has gone

    take_over = Connection.__init__

    def take_over_once_told(self: Connection, made: Any) -> None:
        assert select.select([made._sock.sock], [], [], 5)[0]
        take_over(self, made)

    monkeypatch.setattr(Connection, "__init__", take_over_once_told)
    with listening(turn_away) as port:
        links = Links(Address(f"redis://127.0.0.1:{port}", timeout=5.0))
        with pytest.raises(StoreUnavailable, match="max number of clients reached"):
            links.ask("GET", "k")
