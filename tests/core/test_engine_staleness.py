"""What is sent when it is no longer fresh: while it is revalidated, or in place of an error."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, key_in_store
from flask_larder.engine import OTHER_KEY, Engine
from flask_larder.entries import Entries
from flask_larder.headers import Fields
from flask_larder.memory import L1, MemoryStore
from flask_larder.policy import Policy
from flask_larder.purges import ALL, Purge
from flask_larder.status import CacheStatus
from tests.core.test_coalesce import until, waiting
from tests.core.test_engine import BEGINNING, START, Answer, FailingStore, House, ask

SOON = 20.0
POLICY = Policy(timeout=50.0, stale_while_revalidate=10.0, stale_if_error=100.0)
SOFT = Purge((ALL,), soft=True)
OOPS = Answer(b"oops", status=500)


class Oops(Exception):
    """What the view raises."""


def stale_ask(**changes: float | None) -> Ask:
    """A request for what may be sent stale."""
    return ask(policy=replace(POLICY, **changes))


def fail(_: CacheStatus, __: Fields = ()) -> Answer:
    raise Oops


@pytest.fixture
def house() -> House:
    """A house whose entry is fresh for 50 seconds from now."""
    house = House()
    house.get(stale_ask(), Answer(b"old"))
    return house


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        (49.9, "hit; ttl=1"),
        (50.0, "hit; ttl=0; detail=stale-while-revalidate"),
        (59.9, "hit; ttl=-10; detail=stale-while-revalidate"),
        (60.0, "fwd=stale; stored; ttl=50"),
    ],
)
def test_a_stale_response_is_sent_in_its_window(house: House, seconds: float, status: str) -> None:
    """RFC 5861 section 3: up to the number of seconds after it has become stale."""
    house.clock.now += seconds
    found, said = house.get(stale_ask())
    assert said == status
    assert isinstance(found, Hit) == ("hit" in status)
    if isinstance(found, Hit):
        assert found.is_due == (seconds >= 50.0)


@pytest.mark.parametrize(
    ("cache_control", "seconds", "is_hit"),
    [
        ("max-age=20", 25, True),
        ("max-age=20, stale-while-revalidate=3", 22, True),
        ("max-age=20, stale-while-revalidate=3", 24, False),
        ("max-age=20, stale-while-revalidate=1000", 31, False),
        ("max-age=20, stale-while-revalidate=soon", 20, False),
        ("max-age=20, must-revalidate", 20, False),
        ("max-age=20, proxy-revalidate, stale-while-revalidate=9", 20, False),
        ("s-maxage=20", 20, False),
        ("s-maxage=20, stale-while-revalidate=9", 20, True),
    ],
)
def test_a_response_can_shorten_its_window(
    cache_control: str, seconds: float, is_hit: bool
) -> None:
    """RFC 9111 sections 4.2.4 and 5.2.2.10 forbid it, RFC 5861 allows it again, but no longer."""
    house = House()
    house.get(stale_ask(), Answer(fields=(("Cache-Control", cache_control),)))
    house.clock.now += seconds
    assert isinstance(house.get(stale_ask())[0], Hit) == is_hit


def test_the_policy_of_the_request_can_forbid_it(house: House) -> None:
    """As where another release of the app has stored the response."""
    house.clock.now += 55
    assert house.status(stale_ask(stale_while_revalidate=0.0)) == "fwd=stale; stored; ttl=50"


def test_a_soft_purge_begins_the_window(house: House) -> None:
    """It ends so long after the purge, though the response would be fresh for longer."""
    house.clock.now += 5
    house.purges.add(SOFT)
    house.clock.now += 9
    assert house.status(stale_ask()) == "hit; ttl=-9; detail=stale-while-revalidate"
    house.clock.now += 2
    assert house.status(stale_ask()) == "fwd=stale; stored; ttl=50; detail=purged"


def test_what_was_purged_is_sent_in_no_window(house: House) -> None:
    """A hard purge is final."""
    house.clock.now += 55
    house.purges.add(Purge((ALL,)))
    with pytest.raises(Oops):
        house.engine.answer(stale_ask(), fail)


@pytest.mark.parametrize("changes", [{"refresh": True}, {"is_stale": lambda stored: True}])
def test_the_developer_stands_above_the_windows(house: House, changes: dict[str, object]) -> None:
    """What is to be replaced, or not to be used, is not sent, be it fresh or stale."""
    for _ in range(2):
        found, _ = house.get(replace(stale_ask(), **changes), OOPS)
        assert found is OOPS
        house.clock.now += 55


def revalidate(house: House, asked: Ask, answer: Answer, stored_at: float = START) -> bool:
    """Whether the view ran, to make anew what was stored then."""
    runs = house.runs

    def view(_: CacheStatus, __: Fields = ()) -> Answer:
        house.runs += 1
        return answer

    with house.engine.claim(key_in_store(asked, frozenset())) as claim:
        assert claim is not None
        house.engine.revalidate(replace(asked, replaces=stored_at), view, claim)
    return house.runs > runs


def test_a_revalidation_replaces(house: House) -> None:
    """Once."""
    house.clock.now += 55
    assert revalidate(house, stale_ask(), Answer(b"new"))
    assert house.body(stale_ask()) == b"new"
    assert house.status(stale_ask()) == "hit; ttl=50"
    assert not revalidate(house, stale_ask(), Answer(b"newer"))


def test_an_error_replaces_nothing(house: House) -> None:
    """Neither one that is returned, nor one that may be stored, nor one that is raised."""
    house.clock.now += 55
    asked = stale_ask(statuses=frozenset({200, 500}))
    revalidate(house, asked, OOPS)
    assert house.body(asked) == b"old"
    with house.engine.claim(key_in_store(asked, frozenset())) as claim:
        assert claim is not None
        made = house.engine.revalidate(replace(asked, replaces=START), fail, claim)
        assert made is not None
        assert isinstance(made[0], Hit)
        assert isinstance(made[0].error, Oops)
        assert claim.result is None
    assert house.body(asked) == b"old"


def test_an_error_in_the_background_replaces_nothing_that_is_sent(house: House) -> None:
    """Though it may be stored, and though what is stored may not be sent in place of errors."""
    asked = stale_ask(statuses=frozenset({200, 500}), stale_if_error=0.0)
    house.clock.now += 55
    revalidate(house, asked, OOPS)
    assert house.body(asked) == b"old"


def test_an_error_leaves_what_is_sent_meanwhile(house: House) -> None:
    """Also where it is not sent in place of errors."""
    asked = stale_ask(stale_if_error=0.0)
    house.clock.now += 55
    revalidate(house, asked, OOPS)
    assert house.status(asked) == "hit; ttl=-5; detail=stale-while-revalidate"


def test_what_is_not_stored_shows_that_the_old_one_is_out_of_date(house: House) -> None:
    """So it is not sent any longer, not even in place of an error."""
    house.clock.now += 55
    revalidate(house, stale_ask(), Answer(b"gone", status=404))
    assert house.status(stale_ask(), OOPS) == "fwd=uri-miss; detail=status-500"


def test_another_key_is_left_alone(house: House) -> None:
    """The view does not run where its answer would be stored somewhere else."""
    house.clock.now += 55
    with house.engine.claim("another") as claim:
        assert claim is not None
        made = house.engine.revalidate(replace(stale_ask(), replaces=START), fail, claim)
        assert made == OTHER_KEY
        assert not claim.has_worked  # so that nobody rests for that


def test_without_its_store_nothing_is_revalidated() -> None:
    """It could not be kept."""
    house = House(FailingStore(failing=lambda number: True))
    assert not revalidate(house, stale_ask(), Answer())


def test_one_revalidates_at_a_time_and_who_misses_waits_for_it(house: House) -> None:
    """Who has a claim is the leader of all."""
    asked, fresh = stale_ask(), Answer(b"new")
    key = key_in_store(asked, frozenset())
    house.clock.now += 65
    with ThreadPoolExecutor() as pool:
        with house.engine.claim(key) as claim, house.engine.claim(key) as second:
            assert claim is not None
            assert second is None
            waiter = pool.submit(house.get, asked)
            until(lambda: waiting(house.engine._coalescer, key) == 1)
            house.engine.revalidate(replace(asked, replaces=START), lambda *_: fresh, claim)
        found, status = waiter.result(SOON)
    assert isinstance(found, Hit)
    assert (found.response.body, status) == (b"new", "fwd=stale; collapsed; ttl=50")


def test_an_error_is_replaced_by_what_is_stale(house: House) -> None:
    """RFC 5861 section 4: a status of 500 and more, or an exception, which comes along."""
    house.clock.now += 65
    found, status = house.get(stale_ask(), OOPS)
    assert isinstance(found, Hit)
    assert (found.response.body, found.age) == (b"old", 65.0)
    assert status == "fwd=stale; ttl=-15; detail=stale-if-error"
    raised, _ = house.engine.answer(stale_ask(), fail)
    assert isinstance(raised, Hit)
    assert isinstance(raised.error, Oops)


def test_a_body_that_fails_is_an_error(house: House) -> None:
    """A stream is read before anything is sent."""

    class Broken(Answer):
        def read_body(self, limit: int) -> bytes:
            raise Oops

    house.clock.now += 65
    assert "stale-if-error" in house.status(stale_ask(), Broken())


@pytest.mark.parametrize(
    ("status", "is_of_all"), [(404, True), (410, True), (302, True), (401, False), (429, False)]
)
def test_a_clients_error_is_none(house: House, status: int, is_of_all: bool) -> None:
    """It is an answer; after one that is of the resource, and not of who asks, the old one goes."""
    house.clock.now += 65
    assert house.status(stale_ask(), Answer(status=status)) == f"fwd=stale; detail=status-{status}"
    assert (house.get(stale_ask(), OOPS)[0] is OOPS) == is_of_all


def test_the_window_of_errors_ends(house: House) -> None:
    """Then the error is the answer."""
    house.clock.now += 150.0
    assert house.status(stale_ask(), OOPS) == "fwd=uri-miss; detail=status-500"
    with pytest.raises(Oops):
        house.engine.answer(stale_ask(), fail)


def test_the_policy_of_the_request_can_forbid_an_old_answer(house: House) -> None:
    """As where another release of the app has stored it."""
    house.clock.now += 65
    assert house.get(stale_ask(stale_if_error=0.0), OOPS)[0] is OOPS


def test_a_purge_while_the_view_fails_is_final(house: House) -> None:
    """What is sent in place of the error is judged when it is sent."""
    house.clock.now += 65

    def purge_and_fail(_: CacheStatus, __: Fields = ()) -> Answer:
        house.purges.add(Purge((ALL,)))
        raise Oops

    with pytest.raises(Oops):
        house.engine.answer(stale_ask(), purge_and_fail)


def test_a_stored_error_is_never_sent_stale() -> None:
    """Though it may be stored."""
    house, asked = House(), stale_ask(statuses=frozenset({200, 503}))
    house.get(asked, Answer(b"busy", status=503))
    house.clock.now += 55
    assert house.get(asked, OOPS)[0] is OOPS


def test_head_is_answered_in_place_of_an_error(house: House) -> None:
    """And leaves what is stored alone, since it tells nothing of the answer to GET."""
    house.clock.now += 65
    head = replace(stale_ask(), request=replace(stale_ask().request, method="HEAD"))
    assert "stale-if-error" in house.status(head, OOPS)
    assert house.status(head, Answer(b"")) == "fwd=stale; detail=head"
    assert "stale-if-error" in house.status(stale_ask(), OOPS)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def crowd(
    house: House, pool: ThreadPoolExecutor, size: int, answer: Answer
) -> list[Future[tuple[Hit | Answer, str]]]:
    """That many requests, of which one is with the view while all others wait."""
    asked = stale_ask()

    def view(_: CacheStatus, __: Fields = ()) -> Answer:
        house.runs += 1
        if house.runs == 2:  # the first was before
            until(lambda: waiting(house.engine._coalescer, key_in_store(asked, frozenset())) == 29)
        return answer

    def get() -> tuple[Hit | Answer, str]:
        found, status = house.engine.answer(asked, view)
        return found, str(status)

    return [pool.submit(get) for _ in range(size)]


def test_one_error_answers_all_who_wait(house: House, pool: ThreadPoolExecutor) -> None:
    """The view is not tried by each of them."""
    house.clock.now += 65
    found = [call.result(SOON) for call in crowd(house, pool, 30, OOPS)]
    assert house.runs == 2
    assert all(isinstance(answer, Hit) for answer, _ in found)
    statuses = [status for _, status in found]
    assert statuses.count("larder; fwd=stale; ttl=-15; detail=stale-if-error") == 1
    assert statuses.count("larder; hit; ttl=-15; detail=stale-if-error") == 29


def test_after_many_errors_one_tries_at_a_time_and_nobody_waits(
    house: House, pool: ThreadPoolExecutor
) -> None:
    """What is stale will do for the others, and the new answer comes as soon as there is one."""
    house.clock.now += 65
    for runs in range(2, 7):
        assert isinstance(house.get(stale_ask(), OOPS)[0], Hit)
        assert house.runs == runs
    is_under_way, go = Event(), Event()

    def slow(_: CacheStatus, __: Fields = ()) -> Answer:
        is_under_way.set()
        go.wait(SOON)
        return Answer(b"new")

    leader = pool.submit(house.engine.answer, stale_ask(), slow)
    assert is_under_way.wait(SOON)
    for _ in range(3):
        assert house.status(stale_ask()) == "hit; ttl=-15; detail=stale-if-error"
    go.set()
    assert isinstance(leader.result(SOON)[0], Answer)
    assert house.body(stale_ask()) == b"new"


def test_who_waits_for_what_is_not_stored_gets_nothing_old(
    house: House, pool: ThreadPoolExecutor
) -> None:
    """A page that has become private is nobody else's, and the old one is not true any more."""
    house.clock.now += 65
    private = Answer(b"mine", fields=(("Cache-Control", "private"),))
    found = [call.result(SOON)[0] for call in crowd(house, pool, 30, private)]
    assert found == [private] * 30


def test_jitter_takes_a_part_of_the_lifetime() -> None:
    """By chance, and no more than that part."""
    for chance, ttl in ((1.0, 40), (0.5, 45), (0.001, 50)):
        house = House()
        house.chance = chance
        assert house.status(stale_ask(jitter=0.2)) == f"fwd=uri-miss; stored; ttl={ttl}"


def test_early_refresh_is_the_likelier_the_nearer_the_end() -> None:
    """XFetch: with a cost of 2 s and a beta of 1, a chance of e^-1 is due 2 s before the end."""

    class Costly(Answer):
        def cost(self) -> float:
            return 2.0

    house, asked = House(), stale_ask(early_refresh=1.0)
    house.get(asked, Costly())
    house.chance = 0.3678
    house.clock.now += 47.9
    assert house.status(asked) == "hit; ttl=3"
    house.clock.now += 0.2
    assert house.status(asked) == "hit; ttl=2; detail=early-refresh"
    assert house.status(stale_ask()) == "hit; ttl=2"
    assert house.status(stale_ask(early_refresh=0.5)) == "hit; ttl=2"
    house.chance = 1.0
    assert house.status(asked) == "hit; ttl=2"


def test_a_fresh_response_survives_an_early_refresh_that_comes_to_nothing(house: House) -> None:
    """Neither an error nor what is not stored touches it."""
    asked = stale_ask(early_refresh=1.0)
    for answer in (OOPS, Answer(status=404)):
        assert revalidate(house, asked, answer)
        house.clock.now += 1.0
    assert house.status(asked) == "hit; ttl=48"


@given(
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0, 300),
    st.none() | st.floats(0, 300),
    st.booleans(),
)
def test_nothing_is_sent_beyond_its_windows(
    revalidated: float, tolerated: float, later: float, purged: float | None, fails: bool
) -> None:
    """Whatever they are, and whenever a soft purge comes: a hit has a window that is open."""
    house = House(MemoryStore(max_entries=10, max_bytes=10_000, clock=lambda: 0.0))
    asked = stale_ask(stale_while_revalidate=revalidated, stale_if_error=tolerated)
    house.get(asked, Answer(b"old"))
    stale_since = START + 50.0
    if purged is not None and purged <= later:
        house.clock.now = START + purged
        house.purges.add(SOFT)
        stale_since = min(stale_since, int(house.clock.now * 1000) / 1000)
    house.clock.now = START + later
    stale_for = house.clock.now - stale_since
    is_open = stale_for < revalidated or (fails and stale_for < tolerated)
    is_fresh = later < 50.0 and stale_since == START + 50.0

    found, _ = house.get(asked, OOPS if fails else Answer(b"new"))
    assert isinstance(found, Hit) == (is_fresh or is_open)
    assert asked.position == BEGINNING


def test_what_is_stale_in_memory_may_be_fresh_in_the_store() -> None:
    """Another process has made it anew; whoever remembers the old one looks there first."""
    house = House()
    memory = L1(max_bytes=100_000, seconds=1000.0, clock=house.clock)
    remembering = Engine(
        *(Entries(house.store, memory), house.purges, house.clock, lambda: 1.0),
        house.engine._coalescer,
    )
    house.get(stale_ask(), Answer(b"old"))
    found = remembering.lookups.find(stale_ask())
    assert isinstance(found, Hit)
    assert found.response.body == b"old"
    house.clock.now += 55.0  # stale, but within the window
    house.get(replace(stale_ask(), refresh=True), Answer(b"new"))
    found = remembering.lookups.find(stale_ask())
    assert isinstance(found, Hit)
    assert (found.response.body, found.is_due) == (b"new", False)
