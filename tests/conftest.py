"""Fixtures of all tests: a real server that speaks Redis's protocol, and hypothesis's settings."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from hypothesis import HealthCheck, settings

from flask_larder import breaker
from flask_larder.redis import Address, RedisPurges
from service.guardian import LOG_NAME, SOCKET_NAME, answers, command, find_server, make_directory
from tests.leash import LEASH
from tests.redis_nodes import Cluster, Watched, binary

# The machine may be busy with other workers; how long an example takes says nothing then.
settings.register_profile(
    "tests", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

START_SECONDS = 10.0

# Under nohup, or in the background of a script, signals are ignored, and the servers that are
# started would inherit that. What is handled here they do not inherit.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


class Server:
    """A server of a test's own, on a unix socket in a directory of its own, without TCP."""

    socket_name = "server.sock"

    def __init__(self) -> None:
        self.directory = make_directory()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it answers now."""
        raise NotImplementedError

    def connections_made(self) -> int:
        """How many there have been so far, with that of this very question."""
        raise NotImplementedError

    @property
    def socket(self) -> Path:
        """The path of the unix socket."""
        return self.directory / self.socket_name

    @property
    def pid(self) -> int:
        """The id of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start, or start again with nothing in it, and return once it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-IS", "-c", LEASH, str(os.getpid()), *self.command()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.directory / LOG_NAME
                pytest.fail(f"no server: {log.read_text() if log.exists() else 'no log'}")
            time.sleep(0.005)
        return self

    def kill(self) -> None:
        """End it at once, as a crash would. The directory stays, for :meth:`start`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """Let it hang: it accepts connections and never answers."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + START_SECONDS
        while not self._has_stopped():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def _has_stopped(self) -> bool:
        """Whether each of its threads has, where the system tells (Linux does)."""
        threads = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        return all(text.rpartition(")")[2].split()[0] == "T" for text in threads)

    def resume(self) -> None:
        """Let it go on after :meth:`suspend`."""
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End it and take its directory away."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class RedisServer(Server):
    """A Redis or Valkey."""

    socket_name = SOCKET_NAME

    def command(self) -> list[str]:
        """The command line."""
        return command(find_server(), self.directory)

    def answers(self) -> bool:
        """Whether it answers now."""
        return answers(self.socket)

    def connections_made(self) -> int:
        """How many there have been so far, with that of this very question."""
        with self.client() as client:
            return int(client.info("stats")["total_connections_received"])

    @property
    def url(self) -> str:
        """The address, as ``CACHE_REDIS_URL`` takes it."""
        return f"unix://{self.socket}"

    def client(self, **options: object) -> redis.Redis:
        """A connection of the test's own, to look at what is stored and to change settings."""
        arguments = {"protocol": 2, "socket_timeout": 10, **options}
        return redis.Redis(unix_socket_path=str(self.socket), **arguments)


class MemcachedServer(Server):
    """A memcached. *options* are further ones of its command line."""

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    def command(self) -> list[str]:
        """The command line. Skips the test where memcached is not installed."""
        binary = shutil.which("memcached")
        if binary is None:
            pytest.skip("memcached is not on PATH; install it, for example the Debian package")
        user = ["-u", "root"] if os.geteuid() == 0 else []  # it refuses to be root unasked
        return [binary, "-s", str(self.socket), *user, *self._options]

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            self.ask(b"version\r\n")
        except OSError:
            return False
        return True

    def connections_made(self) -> int:
        """How many there have been so far, with that of this very question."""
        stats = self.ask(b"stats\r\n", end=b"END\r\n")
        return int(stats.split(b"STAT total_connections ")[1].split()[0])

    def ask(self, command: bytes, end: bytes = b"\r\n") -> bytes:
        """Send *command* as it is; the reply, up to *end*."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10.0)
            connection.connect(str(self.socket))
            connection.sendall(command)
            reply = b""
            while not reply.endswith(end):
                received = connection.recv(1024 * 1024)
                if not received:
                    raise ConnectionError(reply)
                reply += received
        return reply.removesuffix(end)


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    """The memcached that the tests of one worker share, for items of up to 32 MiB."""
    server = MemcachedServer("-I", "32m")
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def memcached(memcached_server: MemcachedServer) -> MemcachedServer:
    """The shared memcached, which is empty when the test begins. Not to be stopped."""
    assert memcached_server.ask(b"flush_all\r\n") == b"OK"
    return memcached_server


@pytest.fixture
def start_memcached() -> Iterator[Callable[..., MemcachedServer]]:
    """Starts memcacheds, given options, that the test may stop, suspend, kill and start again."""
    servers: list[MemcachedServer] = []

    def start(*options: str) -> MemcachedServer:
        servers.append(MemcachedServer(*options))
        return servers[-1].start()

    try:
        yield start
    finally:
        for server in servers:
            server.remove()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The server that the tests of one worker share. Not to be stopped or reconfigured."""
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of the shared server, which is empty when the test begins."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_client: redis.Redis) -> str:
    """The URL of the shared server, which is empty when the test begins."""
    return redis_server.url


@pytest.fixture
def start_redis() -> Iterator[Callable[[], RedisServer]]:
    """Starts servers that the test may stop, suspend, kill, start again and reconfigure."""
    servers: list[RedisServer] = []

    def start() -> RedisServer:
        servers.append(RedisServer())
        return servers[-1].start()

    try:
        yield start
    finally:
        for server in servers:
            server.remove()


@pytest.fixture(scope="session")
def watched() -> Iterator[Watched]:
    """A master behind Sentinels, which the tests of one worker share. Not to be stopped."""
    watched = Watched(binary("valkey-server"))
    try:
        yield watched.start()
    finally:
        watched.remove()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Cluster, which the tests of one worker share. Not to be stopped."""
    cluster = Cluster(binary("valkey-server"))
    try:
        yield cluster.start()
    finally:
        cluster.remove()


@pytest.fixture
def patient_address() -> Callable[[str], Address]:
    """Makes an address with which a busy machine does not look like a server that is away."""
    return lambda url: Address(url, connect_timeout=5.0, timeout=5.0)


@pytest.fixture(autouse=True)
def _followers_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread goes on asking servers, or tells of them, for a test that is over."""
    made: weakref.WeakSet[RedisPurges] = weakref.WeakSet()
    init = RedisPurges.__init__

    def record(purges: RedisPurges, *args: Any, **options: Any) -> None:
        init(purges, *args, **options)
        made.add(purges)

    monkeypatch.setattr(RedisPurges, "__init__", record)
    yield
    for purges in made:
        purges.stop()
    deadline = time.monotonic() + START_SECONDS
    for purges in made:
        while purges._here().follower.thread.is_busy:
            assert time.monotonic() < deadline, "a follower does not end"
            time.sleep(0.001)


@pytest.fixture(autouse=True)
def _earlier_threads_are_silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What threads of an earlier test still have to tell, as of its server, is not this one's.

    Nor is it what those tell that they start.
    """
    earlier = weakref.WeakSet(threading.enumerate())
    earlier.discard(threading.current_thread())
    start = threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if threading.current_thread() in earlier:
            earlier.add(thread)
        start(thread)

    def is_ours(_: logging.LogRecord) -> bool:
        return threading.current_thread() not in earlier

    monkeypatch.setattr(threading.Thread, "start", starting)
    log = logging.getLogger("flask_larder")
    log.addFilter(is_ours)
    yield
    log.removeFilter(is_ours)


@pytest.fixture
def _rests_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A breaker that tries again after 20 ms, so that a test need not wait for a second."""
    monkeypatch.setattr(breaker, "REST_SECONDS", 0.02)
