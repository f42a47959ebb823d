"""Leases on a real server: exclusive, kept alive, and nobody else's to end."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest
import redis
from flask import Flask

from flask_larder import Cache
from flask_larder.budget import Budget, Counts
from flask_larder.coalesce import UNSHARED
from flask_larder.errors import StoreUnavailable
from flask_larder.redis import Address, AnyLinks, Links, RedisLeases, RedisStore
from flask_larder.redis import lease as lease_module
from flask_larder.redis.lease import RedisLease
from flask_larder.redis.scripts import script
from flask_larder.store import UNASKED
from tests.conftest import RedisServer
from tests.outages import listening, saying
from tests.redis_nodes import Node, binary
from tests.service.processes import wait_until

LIFE = 0.6


def leases_at(
    url: str, *, life_seconds: float = LIFE, most_seconds: float = 60.0, timeout: float = 5.0
) -> RedisLeases:
    links = Links(Address(url, timeout=timeout))
    return RedisLeases(links, "p_", life_seconds=life_seconds, most_seconds=most_seconds)


@pytest.fixture
def leases(redis_server: RedisServer, redis_client: redis.Redis) -> RedisLeases:
    """Leases on the shared server, which is empty."""
    return leases_at(redis_server.url)


def test_one_of_fifty_gets_it(leases: RedisLeases) -> None:
    """Whoever comes at the same time does not."""
    barrier = threading.Barrier(50)

    def acquire(_: int) -> object:
        barrier.wait()
        return leases.acquire("k")

    with ThreadPoolExecutor(50) as threads:
        assert sum(lease is not None for lease in threads.map(acquire, range(50))) == 1


def test_what_is_given_back_can_be_had(leases: RedisLeases) -> None:
    """And nobody holds it in between. Other keys have their own."""
    lease = leases.acquire("k")
    assert lease
    assert leases.holder("k")
    assert leases.holder("l") is None
    lease.release()
    assert leases.holder("k") is None
    assert leases.acquire("k")


def test_each_lease_has_another_holder(leases: RedisLeases) -> None:
    """So that one who looks now and then sees that it has changed hands."""
    holders = []
    for _ in range(3):
        lease = leases.acquire("k")
        assert lease
        holders.append(leases.holder("k"))
        lease.release()
    assert len(set(holders)) == 3


def test_it_lives_for_as_long_as_it_is_worked_on(
    leases: RedisLeases, redis_client: redis.Redis
) -> None:
    """It is renewed, before its life is over, as often as need be."""
    assert leases.acquire("k")
    until = time.monotonic() + 3 * LIFE
    while time.monotonic() < until:
        assert redis_client.pttl("p_k#lease") > 0
        time.sleep(0.01)


@pytest.mark.parametrize("is_idle", [True, False])
def test_a_later_lease_is_kept_alive_too(
    leases: RedisLeases, redis_client: redis.Redis, *, is_idle: bool
) -> None:
    """Whether the thread that renews waits for something to do, or for its next turn."""
    first = leases.acquire("first")
    assert first
    first.release()
    if is_idle:
        wait_until(lambda: first._keeper._is_idle)
    assert leases.acquire("k")
    until = time.monotonic() + 2 * LIFE
    while time.monotonic() < until:
        assert redis_client.pttl("p_k#lease") > 0
        time.sleep(0.01)


def test_it_is_not_renewed_for_ever(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """A view that hangs keeps the others waiting for a bounded time."""
    leases = leases_at(redis_server.url, life_seconds=0.2, most_seconds=0.3)
    assert leases.acquire("k")
    began = time.monotonic()
    wait_until(lambda: leases.holder("k") is None)
    assert 0.2 <= time.monotonic() - began < 2


def test_its_last_renewal_is_for_what_is_left(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Not for a whole life beyond its end."""
    lease = leases_at(redis_server.url, life_seconds=9.0, most_seconds=10.0).acquire("k")
    assert lease
    keeper = lease._keeper
    keeper._ends[lease] = time.monotonic() + 2.0
    keeper._renew()
    assert 0 < redis_client.pttl("p_k#lease") <= 2000


def test_what_is_left_does_not_keep_others_from_being_renewed(
    leases: RedisLeases, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Redis is slow, requests leave more than can be given back before it all ends anyway."""
    give_back, given = RedisLease.give_back, list[RedisLease]()

    def slowly(lease: RedisLease, counts: Counts) -> None:
        time.sleep(LIFE / 6)
        given.append(lease)
        give_back(lease, counts)

    monkeypatch.setattr(RedisLease, "give_back", slowly)
    assert leases.acquire("k")
    left = [lease for lease in map(leases.acquire, map(str, range(40))) if lease]
    assert len(left) == 40
    for lease in left:
        lease.leave()
    until = time.monotonic() + 3 * LIFE
    while time.monotonic() < until:
        assert redis_client.pttl("p_k#lease") > 0
        time.sleep(0.01)
    wait_until(lambda: not leases._keeper()._left)
    assert 0 < len(given) < 10
    assert not any(map(leases.holder, map(str, range(40))))


def test_what_is_left_is_bounded(leases: RedisLeases, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room ends by itself."""
    goes_on = threading.Event()
    monkeypatch.setattr(RedisLease, "give_back", lambda *_: goes_on.wait(10))
    lease = leases.acquire("k")
    assert lease
    for _ in range(2000):
        lease.leave()
    assert len(leases._keeper()._left) == 1000
    goes_on.set()


def test_a_lease_that_was_given_unheard_is_given_back(
    start_redis: Callable[[], RedisServer],
) -> None:
    """The reply was late, so this process goes on without it; others do not wait for nobody."""
    server = start_redis()
    leases = leases_at(server.url, life_seconds=30.0, most_seconds=60.0, timeout=0.3)
    with server.client() as client:
        assert leases.holder("other") is None
        client.execute_command("CLIENT", "PAUSE", "450", "ALL")
        with pytest.raises(StoreUnavailable):
            leases.acquire("k")
        wait_until(lambda: client.info("commandstats").get("cmdstat_eval"))
        wait_until(lambda: not client.exists("p_k#lease"))


def test_a_lease_that_redis_gives_when_it_goes_on_is_given_back(
    start_redis: Callable[[], RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for while Redis hung, which has that in its buffer; nobody waits for nobody."""
    tried, give_back = list[RedisLease](), RedisLease.give_back

    def give_back_and_tell(lease: RedisLease, counts: Counts) -> None:
        tried.append(lease)
        give_back(lease, counts)

    monkeypatch.setattr(RedisLease, "give_back", give_back_and_tell)
    server = start_redis()
    leases = leases_at(server.url, life_seconds=30.0, most_seconds=60.0, timeout=0.1)
    assert leases.holder("other") is None
    server.suspend()
    for _ in range(5):  # until it counts as away
        with pytest.raises(StoreUnavailable):
            leases.acquire("k")
    wait_until(lambda: len(tried) > 5)  # all in vain
    server.resume()
    with server.client() as client:
        wait_until(lambda: client.info("commandstats").get("cmdstat_eval"))
        wait_until(lambda: not client.exists("p_k#lease"))


def test_who_is_ended_while_it_asks_gives_the_lease_back(
    links: Links, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gevent ends a greenlet, or a signal a job: nobody else knows of it."""
    leases, ask = leases_along(links), links.ask

    def ask_and_end(*command: str) -> None:
        ask(*command)
        assert redis_client.exists("p_k#lease")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(links, "ask", ask_and_end)
        with pytest.raises(KeyboardInterrupt):
            leases.acquire("k")
    wait_until(lambda: not redis_client.exists("p_k#lease"))


def test_a_thread_gives_back_what_it_has_not_heard_of(
    links: Links, redis_client: redis.Redis
) -> None:
    """And nothing else, nor what another thread has."""
    leases = leases_along(links)
    assert leases.acquire("k")
    assert leases.acquire("l")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(leases.leave, "k").result()
    assert len(leases._keeper().kept()) == 2
    leases.leave("k")
    assert [lease.at for lease in leases._keeper().kept()] == ["p_l"]
    wait_until(lambda: not redis_client.exists("p_k#lease"))
    assert redis_client.exists("p_l#lease")


def test_after_it_was_given_back_nothing_renews_it(
    leases: RedisLeases, redis_client: redis.Redis
) -> None:
    """Somebody else has it then, whose life it has."""
    lease = leases.acquire("k")
    assert lease
    lease.release()
    redis_client.set("p_k#lease", lease.token, px=round(LIFE * 1000))  # even by the same token
    wait_until(lambda: leases.holder("k") is None)


def test_a_lost_lease_is_neither_ended_nor_renewed(
    leases: RedisLeases, redis_client: redis.Redis
) -> None:
    """It is another's now, by its token."""
    lease = leases.acquire("k")
    assert lease
    redis_client.set("p_k#lease", "another's", px=5000)
    lease.release()
    assert leases.holder("k") == b"another's"

    other = leases.acquire("l")
    assert other
    redis_client.set("p_l#lease", "another's", px=round(LIFE * 1000))
    wait_until(lambda: leases.holder("l") is None)  # it ends: nobody renews it
    wait_until(lambda: other not in leases._keeper()._ends)


def _hold(url: str, channel: Connection) -> None:
    channel.send(leases_at(url).acquire("k") is not None)
    channel.recv()  # until the end


def test_who_is_killed_frees_it_within_its_life(
    leases: RedisLeases, redis_server: RedisServer
) -> None:
    """Not sooner, since it could still be at work."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_hold, args=(redis_server.url, theirs))
    process.start()
    assert ours.recv() is True
    time.sleep(2 * LIFE)  # it is renewed meanwhile
    assert leases.acquire("k") is None
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    killed = time.monotonic()
    wait_until(lambda: leases.acquire("k"))
    assert time.monotonic() - killed < LIFE + 0.5


def test_after_a_fork_the_child_keeps_its_own_leases(leases: RedisLeases) -> None:
    """The thread that renews is the parent's alone."""
    assert leases.acquire("parent")
    child = os.fork()
    if child == 0:
        held = leases.acquire("child")
        time.sleep(2 * LIFE)
        os._exit(0 if held and leases.holder("child") == held.token.encode() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert leases.holder("parent")


def test_a_redis_that_is_away(start_redis: Callable[[], RedisServer]) -> None:
    """Asking for a lease says so; giving one back does not, whatever happens."""
    server = start_redis()
    leases = leases_at(server.url, timeout=0.2)
    lease = leases.acquire("k")
    assert lease
    server.kill()
    lease.release()
    for ask in (leases.acquire, leases.holder):
        with pytest.raises(StoreUnavailable):
            ask("k")


def test_leases_are_cleared_with_the_entries(
    leases: RedisLeases, redis_client: redis.Redis
) -> None:
    """They bear the prefix and the format, and no name of an entry can be that of a lease."""
    assert leases.acquire("larder1:view/http://api.example/square/4")
    (key,) = redis_client.keys("*")
    assert key == b"p_larder1:view/http://api.example/square/4#lease"


def test_the_thread_that_renews_ends_when_there_is_nothing_to_do(
    leases: RedisLeases, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that apps which were made and forgotten leave none. The next lease is renewed as well."""
    monkeypatch.setattr(lease_module, "IDLE_SECONDS", 0.02)
    earlier = set(threading.enumerate())  # those of other tests, which wait for longer

    def threads() -> int:
        started = set(threading.enumerate()) - earlier
        return sum(thread.name == "flask-larder-leases" for thread in started)

    for _ in range(2):
        lease = leases.acquire("k")
        assert lease
        time.sleep(LIFE * 1.5)  # what is renewed has to outlive that
        assert redis_client.exists("p_k#lease")
        assert threads() == 1
        lease.release()
        wait_until(lambda: threads() == 0)


def test_a_lease_without_a_thread_to_renew_it(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives its life; when threads can be started again, the next one is renewed."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    leases = leases_at(redis_server.url)
    assert leases.holder("k") is None  # so that there is a connection
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert leases.acquire("k")
    assert leases.acquire("l")
    until = time.monotonic() + 2 * LIFE
    while time.monotonic() < until:
        assert redis_client.pttl("p_l#lease") > 0
        time.sleep(0.01)


def test_a_request_without_time_gives_its_lease_back_all_the_same(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Others do not wait until it ends by itself."""
    budget = Budget(5.0)
    links = Links(Address(redis_server.url, timeout=5.0), lambda: budget)
    leases = RedisLeases(links, "p_", life_seconds=30.0, most_seconds=60.0)
    lease = leases.acquire("k")
    assert lease
    budget.left = 0.0
    lease.release()
    wait_until(lambda: not redis_client.exists("p_k#lease"), 5)


@pytest.fixture
def links(redis_server: RedisServer, redis_client: redis.Redis) -> Links:
    """What leads to the shared server, which is empty."""
    return Links(Address(redis_server.url, timeout=5.0))


def leases_along(links: AnyLinks) -> RedisLeases:
    return RedisLeases(links, "p_", life_seconds=30.0, most_seconds=60.0)


def test_who_looks_sees_what_the_last_holder_has_left(
    links: Links, redis_client: redis.Redis
) -> None:
    """The lease is given before that is looked for."""
    leases, store = leases_along(links), RedisStore(links, "p_")
    redis_client.set("p_k", "left")
    lease, found = leases.acquire_and_look("k", lambda: store.get("k"))
    assert lease
    assert found == b"left"
    assert leases.acquire_and_look("k", lambda: store.get("k")) == (None, b"left")


def test_a_look_that_asks_for_nothing_gets_a_lease(links: Links) -> None:
    """It is asked for alone, then."""
    leases = leases_along(links)
    lease, found = leases.acquire_and_look("k", lambda: "in memory")
    assert lease
    assert found == "in memory"
    assert leases.holder("k")


def test_a_look_within_a_look_gets_its_own(links: Links) -> None:
    """What is asked first goes with the inner one, and what is asked next with the outer one."""
    leases = leases_along(links)

    def look() -> tuple[object, object]:
        inner, _ = leases.acquire_and_look("l", lambda: leases.holder("k"))
        return inner, leases.holder("k")

    outer, (inner, holder) = leases.acquire_and_look("k", look)
    assert inner
    assert isinstance(outer, RedisLease)
    assert holder == outer.token.encode()


def test_a_lease_that_is_left_is_neither_renewed_nor_ended_along(links: Links) -> None:
    """As by a greenlet that is ended just when it was given one."""
    leases = leases_along(links)
    lease = leases.acquire("k")
    assert lease
    lease.leave()
    assert lease not in leases._keeper()._ends
    assert not links._here().behind
    wait_until(lambda: leases.holder("k") is None)


def test_who_looks_first_gets_the_lease_where_nothing_is_stored(links: Links) -> None:
    """Another one hears that there is a holder."""
    leases, store = leases_along(links), RedisStore(links, "p_")
    lease, found = leases.look_and_acquire("k", lambda: store.get("k"))
    assert isinstance(lease, RedisLease)
    assert found is None
    assert leases.holder("k") == lease.token.encode()
    assert leases.look_and_acquire("k", lambda: store.get("k")) == (None, None)
    lease.release()
    assert leases.holder("k") is None


def test_who_looks_first_gets_no_lease_where_something_is_stored(
    links: Links, redis_client: redis.Redis
) -> None:
    """Whatever it is: whether that will do, only who looks can say."""
    leases, store = leases_along(links), RedisStore(links, "p_")
    redis_client.set("p_k", "there")
    assert leases.look_and_acquire("k", lambda: store.get("k")) == (UNASKED, b"there")
    redis_client.delete("p_k")
    redis_client.rpush("p_k", "of another type")
    assert leases.look_and_acquire("k", lambda: store.get("k")) == (UNASKED, None)
    assert leases.holder("k") is None


def test_who_looks_first_and_asks_for_nothing_gets_no_lease(
    links: Links, redis_client: redis.Redis
) -> None:
    """What was found elsewhere needs none."""
    leases = leases_along(links)
    assert leases.look_and_acquire("k", lambda: "in memory") == (UNASKED, "in memory")
    assert leases.holder("k") is None


@pytest.mark.parametrize("how", ["acquire_and_look", "look_and_acquire"])
def test_a_look_that_is_ended_gives_the_lease_back(
    links: Links, redis_client: redis.Redis, how: str
) -> None:
    """As gevent ends a greenlet: nobody else knows of it."""
    leases = leases_along(links)

    def look() -> None:
        assert links.ask("GET", "p_k#lease")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(leases, how)("k", look)
    wait_until(lambda: not redis_client.exists("p_k#lease"))


@pytest.mark.parametrize("how", ["acquire_and_look", "look_and_acquire"])
def test_a_lease_that_was_given_unheard_beside_a_look_is_given_back(
    start_redis: Callable[[], RedisServer], how: str
) -> None:
    """The reply was late, so this process leads without it; others do not wait for nobody."""
    server = start_redis()
    links = Links(Address(server.url, timeout=0.3))
    leases, store = leases_along(links), RedisStore(links, "p_")

    def look() -> str:
        with pytest.raises(StoreUnavailable):
            store.get("k")
        return "nothing"

    with server.client() as client:
        assert leases.holder("other") is None
        client.execute_command("CLIENT", "PAUSE", "450", "ALL")
        assert getattr(leases, how)("k", look) == (UNSHARED, "nothing")
        wait_until(lambda: client.info("commandstats").get("cmdstat_eval"))
        wait_until(lambda: not client.exists("p_k#lease"))


@pytest.mark.parametrize("how", ["acquire_and_look", "look_and_acquire"])
def test_where_leases_are_refused_what_is_looked_for_is_found(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Each process leads for itself then; one line tells why."""
    server = start_redis()
    links = Links(Address(server.url, timeout=5.0))
    leases, store = leases_along(links), RedisStore(links, "p_")
    store.set("k", b"v", 60.0)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        for _ in range(3):
            refused = UNSHARED if how == "acquire_and_look" else UNASKED
            assert getattr(leases, how)("other", lambda: store.get("k")) == (refused, b"v")
        client.config_set("maxmemory", 0)
    if how == "look_and_acquire":  # then it is asked for without a script, which is refused, too
        assert caplog.messages == []
        return
    (line,) = caplog.messages
    assert " refuses something, views answer without that: command not allowed" in line


@pytest.mark.parametrize(("rule", "tries"), [("-eval", 1), ("-exists", 3)])
def test_where_the_script_is_refused_the_lease_is_given_without(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture, rule: str, tries: int
) -> None:
    """To who may not run it, that is tried once; nobody is told."""
    server = start_redis()
    with server.client() as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=["+@all", rule])
        links = Links(Address(server.url, timeout=5.0))
        leases, store = leases_along(links), RedisStore(links, "p_")
        for _ in range(3):
            assert leases.look_and_acquire("k", lambda: store.get("k")) == (UNASKED, None)
        stats = client.info("commandstats")["cmdstat_eval"]
        assert stats["calls"] + stats["rejected_calls"] == tries
    assert leases.acquire("k")
    assert caplog.messages == []


def test_a_cluster_that_is_taken_for_one_server_gives_leases(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It serves all keys, but no script may have two of them."""
    node = Node(binary("valkey-server"), "cluster-enabled yes", "cluster-port {bus}")
    try:
        node.start().run("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: "cluster_state:ok" in str(node.run("CLUSTER", "INFO")))
        links = Links(Address(f"redis://{node.address}", timeout=5.0))
        leases, store = leases_along(links), RedisStore(links, "p_")
        for _ in range(2):
            assert leases.look_and_acquire("k", lambda: store.get("k")) == (UNASKED, None)
        lease, found = leases.acquire_and_look("k", lambda: store.get("k"))
        assert isinstance(lease, RedisLease)
        assert found is None
        assert caplog.messages == []
    finally:
        node.remove()


@pytest.mark.parametrize("name", ["forget_all", "lead", "release", "renew"])
def test_comments_are_not_sent(name: str) -> None:
    """Redis would read them each time."""
    assert "--" not in script(name)
    assert "redis.call(" in script(name)


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ("acquire_and_look", b"*1\r\n$1\r\na\r\n+OK\r\n"),
        ("acquire_and_look", b"-ERR no\r\n:1\r\n"),
        ("acquire_and_look", b"+OK\r\n-LOADING a\r\n"),
        ("look_and_acquire", b"*1\r\n$1\r\na\r\n:1\r\n"),
        ("look_and_acquire", b"-ERR no\r\n:1\r\n"),
        ("look_and_acquire", b":1\r\n-LOADING a\r\n"),
    ],
)
def test_a_lease_and_a_look_that_are_answered_out_of_step_are_not_taken(
    how: str, answer: bytes
) -> None:
    """Nobody can say what belongs to what."""
    with listening(saying(answer)) as port:
        links = Links(Address(f"redis://127.0.0.1:{port}", timeout=5.0))
        store = RedisStore(links, "p_")

        def look() -> None:
            with pytest.raises(StoreUnavailable, match="is away"):
                store.get("k")

        assert getattr(leases_along(links), how)("k", look) == (UNSHARED, None)


def test_where_redis_is_away_each_process_leads(start_redis: Callable[[], RedisServer]) -> None:
    """A look finds out; the lease is not asked for once more."""
    server = start_redis()
    links = Links(Address(server.url, timeout=5.0))
    leases, store = leases_along(links), RedisStore(links, "p_")
    store.get("k")
    server.kill()

    def look() -> None:
        with pytest.raises(StoreUnavailable):
            store.get("k")

    for _ in range(2):
        assert leases.acquire_and_look("k", look) == (UNSHARED, None)


def test_what_is_stored_under_a_key_ends_its_lease(links: Links, redis_client: redis.Redis) -> None:
    """Since nobody needs to wait any more. What is added, or stored elsewhere, does not."""
    leases, store = leases_along(links), RedisStore(links, "p_")
    lease = leases.acquire("k")
    assert lease
    assert store.set("l", b"v", 60.0)
    assert store.add("k", b"v", 60.0)
    assert leases.holder("k")
    assert store.set("k", b"w", 60.0)
    assert leases.holder("k") is None
    assert redis_client.get("p_k") == b"w"

    other = leases.acquire("k")
    lease.release()  # which it has been
    assert other
    assert leases.holder("k") == other.token.encode()


def test_a_lease_that_was_released_is_not_ended_again(links: Links) -> None:
    """What is stored later does not end that of another."""
    leases, store = leases_along(links), RedisStore(links, "p_")
    lease = leases.acquire("k")
    assert lease
    lease.release()
    assert links._here().behind == {}
    other = leases_along(Links(links.place_of("k"))).acquire("k")
    assert other
    assert store.set("k", b"v", 60.0)
    assert leases.holder("k") == other.token.encode()


def test_a_full_server_keeps_no_lease(start_redis: Callable[[], RedisServer]) -> None:
    """What was to be stored is refused; the lease is given back all the same."""
    server = start_redis()
    links = Links(Address(server.url, timeout=5.0))
    leases, store = leases_along(links), RedisStore(links, "p_")
    lease = leases.acquire("k")
    assert lease
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert store.set("k", b"v", 60.0) is False
        lease.release()
        assert not client.exists("p_k#lease")


def test_what_is_stored_is_kept_where_scripts_are_refused(
    start_redis: Callable[[], RedisServer],
) -> None:
    """The lease ends by itself then."""
    server = start_redis()
    links = Links(Address(server.url, timeout=5.0))
    leases, store = leases_along(links), RedisStore(links, "p_")
    lease = leases.acquire("k")
    assert lease
    with server.client() as client:
        client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["-eval"])
        assert store.set("k", b"v", 60.0) is True
        assert store.get("k") == b"v"
        assert client.pttl("p_k#lease") > 0
        lease.release()


@pytest.mark.parametrize("refused", ["eval", "del"])
@pytest.mark.parametrize("stores", [True, False])
def test_where_leases_cannot_be_ended_nobody_waits_for_one(
    start_redis: Callable[[], RedisServer],
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    stores: bool,
) -> None:
    """Each process leads for itself, until that may be tried again."""
    monkeypatch.setattr(lease_module, "REFUSED_SECONDS", 1.0)
    server = start_redis()
    links = Links(Address(server.url, timeout=5.0))
    leases, store = leases_along(links), RedisStore(links, "p_")
    with server.client() as client:
        lease = leases.acquire("k")
        assert lease
        rules = ["+@all", f"-{refused}"]
        client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=rules)
        if stores:
            assert store.set("k", b"v", 60.0)  # which takes the end along
        lease.release()
        assert leases.acquire_and_look("l", lambda: store.get("l")) == (UNSHARED, None)
        assert leases.look_and_acquire("l", lambda: store.get("l")) == (UNSHARED, None)
        with pytest.raises(StoreUnavailable, match="refuses to end leases"):
            leases.acquire("l")
        assert not client.exists("p_l#lease")

        client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
        wait_until(lambda: not leases._keeper().is_refused())
        again = leases.acquire("l")
        assert again
        again.release()
        assert not client.exists("p_l#lease")


def test_a_server_that_cannot_end_a_lease_just_now_is_asked_again(
    start_redis: Callable[[], RedisServer],
) -> None:
    """As one that is a replica for a moment: that is no lack of rights."""
    server = start_redis()
    leases = leases_at(server.url, life_seconds=30.0)
    with server.client() as client:
        lease = leases.acquire("k")
        assert lease
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        lease.release()
        assert not leases._keeper().is_refused()
        client.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: not client.exists("p_k#lease"))


def test_a_request_with_little_time_gives_back_what_it_asked_for(
    start_redis: Callable[[], RedisServer],
) -> None:
    """It has gone on without the reply, though that was no fault of the server's."""
    server, budget = start_redis(), Budget(60.0)
    links = Links(Address(server.url, timeout=5.0), lambda: budget)
    leases = RedisLeases(links, "p_", life_seconds=30.0, most_seconds=60.0)
    assert leases.holder("other") is None
    server.suspend()
    budget.left = 0.1
    with pytest.raises(StoreUnavailable, match="little was left"):
        leases.acquire("k")
    assert leases._keeper()._left
    server.resume()
    with server.client() as client:
        wait_until(lambda: client.info("commandstats").get("cmdstat_eval"))
        wait_until(lambda: not client.exists("p_k#lease"))


def test_a_request_without_time_leaves_no_lease_to_give_back(
    start_redis: Callable[[], RedisServer],
) -> None:
    """None was asked for."""
    links = Links(Address(start_redis().url), lambda: Budget(0.0))
    leases = RedisLeases(links, "p_", life_seconds=30.0, most_seconds=60.0)
    with pytest.raises(StoreUnavailable, match="used up"):
        leases.acquire("k")
    assert not leases._keeper()._left


def test_a_child_does_not_end_its_parents_lease(links: Links) -> None:
    """What it stores under the key is its own affair; nor does it when it leaves the view."""
    leases, store = leases_along(links), RedisStore(links, "p_")
    lease = leases.acquire("k")
    assert lease
    child = os.fork()
    if child == 0:
        is_stored = store.set("k", b"v", 60.0)
        lease.leave()
        lease.release()
        os._exit(0 if is_stored else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert leases.holder("k")


def test_a_thread_knows_its_own_leases(links: Links, redis_server: RedisServer) -> None:
    """Also those that it has got by other links; nobody else's, nor one that it has given back."""
    mine, others = leases_along(links), leases_at(redis_server.url)
    lease = mine.acquire("k")
    assert lease
    holder = mine.holder("k")
    assert mine.is_own(holder)
    assert others.is_own(holder)
    assert not mine.is_own(None)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(mine.is_own, holder).result()
    lease.release()
    assert not mine.is_own(holder)


def test_two_caches_in_one_redis_do_not_wait_for_each_other(redis_server: RedisServer) -> None:
    """Where one decorates what the other has decorated, both have the same key."""
    app = Flask(__name__)
    config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_server.url}
    first, second = (Cache(app, config=config, name=name) for name in ("first", "second"))

    @app.get("/")
    @first.cached()
    @second.cached()
    def view() -> str:
        return "x"

    began = time.monotonic()
    assert app.test_client().get("/").text == "x"
    assert time.monotonic() - began < 5
