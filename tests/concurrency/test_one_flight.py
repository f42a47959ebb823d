"""The proofs of "one flight": real servers, real processes, exact counts."""

import json
import os
import signal
import statistics
from collections.abc import Callable

import pytest

from tests.concurrency.servers import COMMANDS, PATIENT, ask, running
from tests.conftest import RedisServer
from tests.service.processes import wait_until

pytestmark = pytest.mark.slow

FOUR = ("granian", "granian", "gunicorn", "gunicorn")
CLIENTS = 200


@pytest.mark.parametrize("kinds", [FOUR, *((kind,) * 4 for kind in COMMANDS)], ids=" + ".join)
def test_the_view_runs_once_for_each_key(
    start_redis: Callable[[], RedisServer], kinds: tuple[str, ...]
) -> None:
    """200 cold requests at a time, over four processes: one run, for each of 20 keys.

    With threads, with greenlets, with a preloaded application, and mixed.
    """
    with running(*kinds, redis_url=start_redis().url, view_seconds=0.4, **PATIENT) as proof:
        for key in map(str, range(20)):
            answers = proof.crowd(f"/slow/{key}", CLIENTS).answers()
            assert {answer.status for answer in answers} == {200}
            assert {answer.body for answer in answers} == {answers[0].body}
            assert sum("stored" in answer.cache for answer in answers) == 1
        assert proof.runs() == {str(key): 1 for key in range(20)}


def test_with_the_default_limits_no_process_runs_it_twice(
    start_redis: Callable[[], RedisServer],
) -> None:
    """Whose time for Redis is over joins others of its process: 200 at once, on a busy machine."""
    with running(*FOUR, redis_url=start_redis().url, view_seconds=0.4) as proof:
        for key in map(str, range(10)):
            answers = proof.crowd(f"/slow/{key}", CLIENTS).answers()
            assert {answer.status for answer in answers} == {200}
            assert len(proof.pids(key)) == len(set(proof.pids(key)))
        print(f"\nof 10 keys, {list(proof.runs().values()).count(1)} had one run in all processes")


def test_a_purge_parts_nobody(start_redis: Callable[[], RedisServer]) -> None:
    """In the middle of a run: one more in each process, for who came before, and one for all later.

    It is not waited for what the purge hits, other than for its lease.
    """
    with running(*FOUR, redis_url=start_redis().url, view_seconds=4.0, **PATIENT) as proof:
        ports = [server.port for server in proof.servers]
        before = proof.crowd("/slow/k", CLIENTS // 2)
        # Of each 25, all but the one that leads or looks whether another still does.
        wait_until(
            lambda: all(json.loads(ask(port, "/waiting").body)["callers"] >= 24 for port in ports)
        )
        latest = ask(ports[0], "/purge/k").body  # who comes before it is heard of goes alone
        wait_until(lambda: all(ask(port, "/latest-purge").body == latest for port in ports))
        answers = proof.crowd("/slow/k", CLIENTS // 2).answers()
        assert {answer.status for answer in answers + before.answers()} == {200}
        assert max(answer.seconds for answer in answers) < 4 + 4 + 2
        pids = proof.pids("k")
        assert len(pids) <= len(FOUR) + 1
        print(f"\n{CLIENTS} callers and a purge: {len(pids)} runs in {len(FOUR)} processes")


def test_a_leader_that_is_killed_is_replaced_once(start_redis: Callable[[], RedisServer]) -> None:
    """The key is free within the lease, and the others get their answer."""
    settings = PATIENT | {"CACHE_LEASE_SECONDS": "1"}
    with running(*FOUR, redis_url=start_redis().url, view_seconds=1.5, **settings) as proof:
        crowd = proof.crowd("/slow/k", CLIENTS)
        wait_until(lambda: proof.pids("k"))
        os.kill(proof.pids("k")[0], signal.SIGKILL)
        answers = crowd.answers()
        assert len(proof.pids("k")) == 2
        answered = [answer for answer in answers if answer.status]
        assert {answer.status for answer in answered} == {200}
        assert len(answered) >= CLIENTS * 3 / 4  # those whose server was not killed
        assert max(answer.seconds for answer in answered) < 1 + 2 * 1.5 + 2


def test_redis_killed_in_the_middle(start_redis: Callable[[], RedisServer]) -> None:
    """Each process then runs the view at most once, and everybody is answered."""
    server = start_redis()
    with running(*FOUR, redis_url=server.url, view_seconds=1.5, **PATIENT) as proof:
        crowd = proof.crowd("/slow/k", CLIENTS)
        wait_until(lambda: proof.pids("k"))
        server.kill()
        answers = crowd.answers()
        assert {answer.status for answer in answers} == {200}
        pids = proof.pids("k")
        assert len(pids) == len(set(pids)) <= 4


@pytest.mark.parametrize("view", ["raises", "unstorable"])
def test_callers_of_a_view_that_comes_to_nothing(
    start_redis: Callable[[], RedisServer], view: str
) -> None:
    """30 callers of a view that takes 0.4 s: half of them have waited less than 1.5 s."""
    with running(*FOUR, redis_url=start_redis().url, view_seconds=0.4, **PATIENT) as proof:
        answers = proof.crowd(f"/{view}/k", 30).answers()
        assert {answer.status for answer in answers} == {500 if view == "raises" else 200}
        assert proof.runs() == {"k": 30}
        assert statistics.median(answer.seconds for answer in answers) < 1.5
        assert max(answer.seconds for answer in answers) < 5  # nobody waited for a deadline
