"""The log of purges on one server, as several processes know it."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from flask import Flask, g

from flask_larder import Cache
from flask_larder.budget import Budget
from flask_larder.errors import StoreUnavailable
from flask_larder.purges import ALL, GONE, VALID, Purge
from flask_larder.redis import Address, Links, follower, purge_reader
from tests.conftest import RedisServer
from tests.core.test_coalesce import Ended
from tests.purge_processes import (
    CATS,
    DOGS,
    LOG,
    PREFIX,
    TAGGED,
    Process,
    alls,
    process_at,
    records,
)
from tests.redis_nodes import wait_until


@pytest.fixture
def server(start_redis: Callable[[], RedisServer]) -> RedisServer:
    """A server of the test's own."""
    return start_redis()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of it."""
    with server.client() as client:
        yield client


def test_a_purge_is_known_after_the_next_look_up(server: RedisServer) -> None:
    """Also where no thread follows; and it holds for what was stored before it alone."""
    ours, others = (process_at(server).without_follower() for _ in range(2))
    assert others.store.get("k") is None
    before = others.last
    assert before is not None
    assert others.verdict(before) == VALID

    ours.purges.add(CATS)
    assert ours.verdict(before) == GONE
    assert others.verdict(before) == VALID
    others.store.get("k")
    assert others.verdict(before) == GONE
    assert others.last is not None
    assert others.verdict(others.last) == VALID


def test_a_purge_is_known_without_a_look_up(server: RedisServer) -> None:
    """A thread follows the log, and no connection of the requests waits for that."""
    ours, others = process_at(server), process_at(server)
    wait_until(lambda: others.is_followed)

    ours.purges.add(CATS, DOGS)
    wait_until(lambda: others.last == ours.last, 5.0)


def test_a_soft_purge(server: RedisServer) -> None:
    """What it hits is stale since then, by the server's clock."""
    ours = process_at(server)
    ours.store.get("k")
    before = ours.last
    assert before is not None
    ours.purges.add(Purge(CATS.targets, soft=True))

    table = ours.purges.known()
    assert table is not None
    stale_since = table.verdict(before, TAGGED).stale_since
    assert stale_since is not None
    assert abs(stale_since - time.time()) < 60


def test_the_log_is_readable(server: RedisServer, client: redis.Redis) -> None:
    """And names the server, as soon as that is known."""
    ours = process_at(server)
    ours.purges.add(CATS)
    wait_until(lambda: ours.is_followed)
    ours.purges.add(Purge((("tag", "cat"), ("url", "/käse?a=1"), ("prefix", "\udcff"))))

    replid = client.info("replication")["master_replid"][:8]
    assert records(client)[-1] == {
        b"tag": b"cat",
        b"url": "/käse?a=1".encode(),
        b"prefix": b"\xed\xb3\xbf",
        b"server": replid.encode(),
    }


def test_processes_that_start_at_once_begin_one_log(
    server: RedisServer, client: redis.Redis
) -> None:
    """What one has stored meanwhile is not gone because another one has started."""
    processes = [process_at(server) for _ in range(16)]
    barrier = threading.Barrier(len(processes), timeout=30)

    def start(process: Process) -> None:
        barrier.wait()
        process.store.get("k")

    with ThreadPoolExecutor(len(processes)) as threads:
        list(threads.map(start, processes))
    wait_until(lambda: all(process.is_followed for process in processes))
    assert alls(client) == 1


def test_a_long_log_is_loaded(server: RedisServer, client: redis.Redis) -> None:
    """By a thread, and by a look-up that has the time."""
    first = client.xadd(LOG, {"all": ""})
    with client.pipeline() as pipeline:
        for number in range(5000):
            pipeline.xadd(LOG, {"tag": f"t{number}"})
        last = pipeline.execute()[-1].decode()
    expected = tuple(map(int, last.split("-")))

    alone = process_at(server).without_follower()
    alone.store.get("k")
    assert alone.last == expected
    followed = process_at(server)
    wait_until(lambda: followed.is_followed)
    table = followed.purges.known()
    assert table is not None
    assert (table.last > expected, len(table)) == (True, 5000)  # it has named its server
    assert table.floor == tuple(map(int, first.decode().split("-")))


def test_who_has_missed_many_asks_on(server: RedisServer, client: redis.Redis) -> None:
    """A look-up returns when all of them are known, not only the first thousand."""
    ours = process_at(server).without_follower()
    ours.store.get("k")
    before = ours.last
    assert before is not None
    with client.pipeline() as pipeline:
        for number in range(2500):
            pipeline.xadd(LOG, {"tag": f"t{number}"})
        pipeline.xadd(LOG, {"tag": "cat"})
        pipeline.execute()

    ours.store.get("k")
    assert ours.verdict(before) == GONE


def test_who_cannot_ask_on_in_time_does_not_answer(
    server: RedisServer, client: redis.Redis
) -> None:
    """While others read on, a request waits as long as its budget allows, and no longer."""
    budget = Budget(0.2)
    bounded = Links(Address(server.url, timeout=5.0), lambda: budget)
    ours = Process(bounded, budget=lambda: budget).without_follower()
    client.xadd(LOG, {"all": ""})
    with client.pipeline() as pipeline:
        for number in range(1001):
            pipeline.xadd(LOG, {"tag": f"t{number}"})
        pipeline.execute()

    with ours.purges._here().reader.turn, ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"still being read|time"):
            threads.submit(ours.store.get, "k").result()
    assert time.monotonic() - began < 5.0
    assert budget.left <= 0
    assert ours.purges.known() is None

    budget.left = 60.0
    ours.store.get("k")
    assert ours.purges.known() is not None


def test_to_take_in_what_was_read_is_within_the_budget_of_a_request(
    server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads no further when its time is over, and the next one goes on from there."""
    budget = Budget(60.0)
    bounded = Links(Address(server.url, timeout=5.0), lambda: budget)
    ours = Process(bounded, budget=lambda: budget).without_follower()
    with client.pipeline() as pipeline:
        pipeline.xadd(LOG, {"all": ""})
        for number in range(5 * purge_reader.BATCH):
            pipeline.xadd(LOG, {"tag": f"t{number}"})
        pipeline.execute()
    reader = ours.purges._here().reader
    read = reader._read

    def read_slowly(since: Any, reply: Any) -> bool:
        is_read = read(since, reply)
        time.sleep(0.15)
        return is_read

    with monkeypatch.context() as patched:
        patched.setattr(reader, "_read", read_slowly)
        budget.left = 0.2
        with pytest.raises(StoreUnavailable, match="used up"):
            ours.store.get("k")
        assert budget.left <= 0
        assert 0 < len(reader.table) < 5 * purge_reader.BATCH
    budget.left = 60.0
    ours.store.get("k")
    assert len(reader.table) == 5 * purge_reader.BATCH


class EndingTurn:
    """A lock whose owner is ended before it knows that it is."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self.release = lock.release

    def acquire(self, timeout: float) -> bool:
        assert self._lock.acquire(timeout=timeout)
        raise Ended


def test_who_is_ended_as_it_gets_its_turn_gives_it_to_others(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process would hear of no purge any more."""
    ours = process_at(server).without_follower()
    ours.store.get("k")
    reader = ours.purges._here().reader
    with monkeypatch.context() as patched:
        patched.setattr(reader, "turn", EndingTurn(reader.turn))
        with pytest.raises(Ended):
            ours.purges.add(CATS)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(reader.turn.acquire, blocking=False).result()


def test_clear_leaves_the_log(server: RedisServer, client: redis.Redis) -> None:
    """It empties the store, and is no reason to forget everything once more."""
    ours = process_at(server)
    ours.store.set("larder1:k", b"v", 60.0)
    ours.store.get("larder1:k")
    ours.store.clear()
    assert client.keys() == [LOG.encode()]
    assert alls(client) == 1


GREEN = """
from flask_larder.purges import ALL, Purge
from flask_larder.redis import Address, Links, RedisPurges, RedisStore

links = Links(Address({url!r}, timeout=10.0))  # made before, as with gunicorn --preload
purges = RedisPurges(links, "p_", most=1000, unwatched_seconds=5.0)
store = RedisStore(links, "p_", purges)

from gevent import monkey
monkey.patch_all()
import os
import threading
import time

import gevent

def work():
    others = RedisPurges(links, "p_", most=1000, unwatched_seconds=5.0)
    while not (purges.known() is not None and purges._here().reader.server):
        time.sleep(0.01)
    looks = [gevent.spawn(store.get, "k") for _ in range(50)]
    time.sleep(0.001)
    for look in looks[::2]:
        look.kill(block=False)
    gevent.joinall(looks)
    others.add(Purge((ALL, ("tag", "a"))), Purge((("tag", "a"),)))
    while purges.known().last != others.known().last:
        time.sleep(0.001)
    print("done", len(purges.known()), flush=True)

child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
work()
os._exit(0)
"""


def test_under_gevent(server: RedisServer) -> None:
    """In a worker that was forked and patched after the application had been made."""
    code = GREEN.format(url=server.url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (0, "done 1\n"), done.stderr


def test_a_machine_that_lets_no_thread_start(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups read the log by themselves, and the thread starts when it can."""
    ours = process_at(server)
    ours.links.ask("GET", "k")  # there is a connection

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        ours.store.get("k")
        assert ours.purges.known() is not None
    assert ours.purges.known() is not None
    wait_until(lambda: ours.is_followed)


def follow_in_child(process: Process, ours: Connection, childs: Connection) -> None:
    ours.close()
    with childs:
        childs.send(process.last is None)
        wait_until(lambda: process.is_followed)
        names = [thread.name for thread in threading.enumerate()]
        childs.send(names.count("flask-larder-purges"))
        expected = childs.recv()
        wait_until(lambda: process.last == expected)
        childs.send("known")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own(server: RedisServer) -> None:
    """It inherits neither what the parent knows nor a lock that the parent's thread had."""
    process = process_at(server)
    wait_until(lambda: process.is_followed)
    context = get_context("fork")
    ours, childs = context.Pipe()
    with process.purges._here().reader.turn, process.purges._here().reader._taking:
        child = context.Process(target=follow_in_child, args=(process, ours, childs))
        child.start()
    childs.close()
    with ours:
        assert ours.recv() is True
        assert ours.recv() == 1
        process.purges.add(CATS)
        ours.send(process.last)
        assert ours.recv() == "known"
    child.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of other tests
def test_what_nobody_uses_is_not_followed(server: RedisServer) -> None:
    """Applications that were made and forgotten leave no thread."""

    def threads() -> int:
        return sum(thread.name == "flask-larder-purges" for thread in threading.enumerate())

    wait_until(lambda: threads() == 0)
    purges = [process_at(server).purges]
    purges[0].known()
    wait_until(lambda: threads() == 1)
    purges.clear()
    gc.collect()
    wait_until(lambda: threads() == 0)


def test_who_stops_takes_in_nothing_more(
    server: RedisServer,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends while it waits for the next purge, and finds no loss in what others do later."""
    monkeypatch.setattr(follower, "BLOCK_SECONDS", 60.0)
    stopped, others = process_at(server), process_at(server)
    others.purges.add(CATS)
    wait_until(lambda: stopped.is_followed and stopped.last == others.last)
    others.purges.stop()

    def is_listened_to() -> bool:
        return any(one["cmd"] == "xread" for one in client.client_list())

    wait_until(is_listened_to)
    stopped.purges.stop()
    wait_until(lambda: not stopped.purges._here().follower.thread.is_busy)
    client.flushall()
    process_at(server).without_follower().purges.add(DOGS)
    wait_until(lambda: not is_listened_to())
    assert caplog.messages == []


def test_a_child_that_forgets_the_log_leaves_its_parent_alone(
    server: RedisServer, client: redis.Redis
) -> None:
    """It shares the connection, which is not its own to end."""
    ours = process_at(server)
    wait_until(lambda: ours.is_followed or ours.purges.known() is None)

    def followers() -> list[str]:
        return [one["id"] for one in client.client_list() if one["cmd"] == "xread"]

    wait_until(followers)
    before = followers()
    child = get_context("fork").Process(target=ours.purges._here().follower.stop)
    child.start()
    child.join()
    assert child.exitcode == 0
    purged = process_at(server)
    purged.purges.add(CATS)
    wait_until(lambda: ours.last == purged.last)
    purged.purges.stop()
    wait_until(lambda: followers() == before)


def test_who_stops_while_it_connects_reads_nothing(server: RedisServer) -> None:
    """It ends as soon as it is connected."""
    ours = process_at(server)
    here = ours.purges._here()

    class Slow:
        connect_timeout = 5.0

        def connect(self, deadline: float) -> object:
            here.follower.stop()
            return Address(server.url).connect(deadline)

    here.follower._links = SimpleNamespace(place_of=lambda _: Slow())  # type: ignore[assignment]
    here.follower.start()
    wait_until(lambda: not here.follower.thread.is_busy)
    assert ours.last is None


def test_to_delete_many_pages_takes_several_records(
    server: RedisServer, client: redis.Redis
) -> None:
    """None of them names so much that a process could not read a thousand of them at once."""
    app = Flask("many")
    config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": server.url}
    cache = Cache(app, config={**config, "CACHE_KEY_PREFIX": PREFIX})
    for number in range(250):
        page = cache.cached(key_prefix=f"page-{number}")(lambda: "page")
        app.add_url_rule(f"/{number}", f"page-{number}", page)
    for number in range(250):
        app.test_client().get(f"/{number}")
    with app.app_context():
        cache.delete_many(*(f"page-{number}" for number in range(250)))
    connection = client.connection_pool.get_connection()
    connection.send_command("XRANGE", LOG, "-", "+")  # a dict would have one of each name only
    replies = connection.read_response()
    client.connection_pool.release(connection)
    named = [fields[::2].count(b"key") for _, fields in replies]
    assert [count for count in named if count] == [100, 100, 50]


def test_many_threads_know_the_same(server: RedisServer) -> None:
    """They look up while others purge: whoever begins after a purge knows it."""
    ours, others = process_at(server), process_at(server)
    ours.store.get("k")
    begun, done = threading.Event(), threading.Event()
    latest, missed = [(0, 0)], []

    def look() -> None:
        while not done.is_set():
            expected = latest[0]
            others.store.get("k")
            if others.last is None or others.last < expected:
                missed.append(expected)
            begun.set()

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(look)
        assert begun.wait(10)
        for _ in range(300):
            ours.purges.add(CATS)
            assert ours.last is not None
            latest[0] = ours.last
        done.set()
    assert missed == []


def test_all_is_all(server: RedisServer, client: redis.Redis) -> None:
    """A purge of everything leaves nothing of before, and what follows is valid."""
    ours = process_at(server)
    ours.store.get("k")
    before = ours.last
    assert before is not None
    ours.purges.add(Purge((ALL,)))
    assert ours.verdict(before) == GONE
    assert ours.last is not None
    assert ours.verdict(ours.last) == VALID


def test_the_first_request_of_a_process_is_judged_from_its_beginning(server: RedisServer) -> None:
    """It is stored; but not what its hooks have read before a purge."""
    others = process_at(server)
    versions = iter(range(10))
    is_purged_in_between = False
    app = Flask(__name__)
    app.config |= {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": server.url}
    app.config["CACHE_KEY_PREFIX"] = PREFIX
    cache = Cache(app)

    @app.before_request
    def read() -> None:
        g.version = next(versions)
        if is_purged_in_between:
            others.purges.add(CATS)

    @app.get("/")
    @cache.cached(tags=["cat"])
    def page() -> str:
        return str(g.version)

    def ask() -> tuple[str, str]:
        answer = app.test_client().get("/")
        return answer.text, answer.headers["Cache-Status"]

    assert ask() == ("0", "larder; fwd=uri-miss; stored; ttl=300")
    assert ask() == ("0", "larder; hit; ttl=300")
    is_purged_in_between = True
    cache.init_app(app)  # a process that knows nothing
    assert ask() == ("2", "larder; fwd=uri-miss; detail=purged")
    is_purged_in_between = False
    assert ask() == ("3", "larder; fwd=uri-miss; stored; ttl=300; detail=purged")
