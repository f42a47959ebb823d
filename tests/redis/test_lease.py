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

from flask_larder.budget import Budget
from flask_larder.errors import StoreUnavailable
from flask_larder.redis import Address, Links, RedisLeases
from tests.conftest import RedisServer
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
