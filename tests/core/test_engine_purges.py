"""What the engine does with purges: what is stored, and what is found, while they happen."""

import pytest
from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, Miss, Shared
from flask_larder.engine import Engine, _Attempt
from flask_larder.entries import Entries
from flask_larder.entry import Position, Targets
from flask_larder.headers import Fields
from flask_larder.local_purges import LocalPurges
from flask_larder.purges import Purge, PurgeLog, PurgeTable, Target
from flask_larder.recency import Recency
from flask_larder.status import CacheStatus
from tests.core.test_engine import BEGINNING, Answer, FailingStore, House, ask
from tests.targets import targets

CAT = Purge((("tag", "cat"),))
SOFTLY = replace(CAT, soft=True)
TAGGED = Answer(tagged=("cat",))
STORED = "fwd=uri-miss; stored; ttl=50"
UNKNOWN = "fwd=bypass; detail=purges-unknown"


class Known:
    """A log of purges that a process has lost sight of, while it *is_away*."""

    def __init__(self, purges: PurgeLog) -> None:
        self._purges = purges
        self.is_away = False

    def known(self) -> PurgeTable | None:
        return None if self.is_away else self._purges.known()

    def position(self) -> Position | None:
        return self._purges.position()

    @property
    def is_local(self) -> bool:
        return self._purges.is_local

    @property
    def reaches(self) -> bool:
        return self._purges.reaches

    def load(self) -> None:
        """There is nothing to read."""

    def add(self, *purges: Purge) -> None:
        self._purges.add(*purges)


class Away(House):
    """A house from which the log of purges cannot be seen, once its *log* is away."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Known(self.purges)
        self.engine = Engine(
            Entries(self.store), self.log, self.clock, lambda: 1.0, self.engine._coalescer
        )


@pytest.fixture
def house() -> House:
    return House()


def now(house: House, **options: object) -> Ask:
    """A request that comes now."""
    return replace(ask(**options), position=house.purges.position())


def shared(house: House, made_for: Ask, answer: Answer) -> Shared:
    """What others may share of what the view answers."""
    missed = Miss(CacheStatus("uri-miss"), may_store=False)
    _, made = house.engine.updates.store(made_for, missed, answer)
    assert made is not None
    return made


def is_given(house: House, asked: Ask, made: Shared) -> bool:
    """Whether who waits may be sent what was *made* for another."""
    return isinstance(house.engine.lookups.judge(asked, made.names, made.response), Hit)


def test_what_was_purged_is_a_miss(house: House) -> None:
    """And is replaced; what is not hit stays."""
    house.get(ask(), TAGGED)
    house.get(ask("/square/5"))
    house.purges.add(CAT)

    assert house.status(now(house), TAGGED) == f"{STORED}; detail=purged"
    assert house.status(now(house)) == "hit; ttl=50"
    assert house.status(now(house, path="/square/5")) == "hit; ttl=50"


def test_what_was_purged_softly_is_stale(house: House) -> None:
    """And is replaced."""
    house.get(ask(), TAGGED)
    house.purges.add(SOFTLY)

    assert house.status(now(house), TAGGED) == "fwd=stale; stored; ttl=50; detail=purged"
    assert house.status(now(house)) == "hit; ttl=50"


def test_a_hard_purge_leaves_nothing_stale(house: House) -> None:
    """Whether a soft one came before or after it."""
    house.get(ask(), TAGGED)
    house.purges.add(SOFTLY, CAT, SOFTLY)

    found = house.engine.lookups.find(now(house))
    assert found == Miss(CacheStatus("uri-miss", detail="purged"))


def test_a_soft_purge_of_what_has_expired(house: House) -> None:
    """It is stale by age already, and the status does not blame the purge."""
    house.store.set = lambda key, value, ttl, put=house.store.set: put(key, value, 1000.0)
    house.get(ask(), TAGGED)
    house.purges.add(SOFTLY)
    house.clock.now += 50.0

    missed = house.engine.lookups.find(now(house))
    assert isinstance(missed, Miss)
    assert missed.status == CacheStatus("stale")


@pytest.mark.parametrize(
    "target",
    [
        ("path", "/square/4"),
        ("url", "/square/4"),
        ("prefix", "http://api.example/sq"),
    ],
)
def test_the_url_that_is_asked_for_counts(house: House, target: Target) -> None:
    """Also where the response was made for another URL, under a key that both have."""
    url = targets(site="http://api.example", path="/square/4", query="")
    house.get(ask())
    house.purges.add(Purge((target,)))

    assert house.status(now(house)) == "hit; ttl=50"
    asked = replace(now(house), url=url)
    assert house.engine.lookups.find(asked) == Miss(CacheStatus("uri-miss", detail="purged"))


def test_a_purge_while_the_view_runs(house: House) -> None:
    """What the view answers may be older than the purge: it is sent, and not stored."""

    def view(status: CacheStatus, __: Fields = ()) -> Answer:
        house.purges.add(CAT)
        return TAGGED

    answer, status = house.engine.answer(now(house), view)
    assert answer is TAGGED
    assert status == CacheStatus("uri-miss", detail="purged")
    assert house.status(now(house), TAGGED) == STORED


def test_a_soft_purge_while_the_view_runs(house: House) -> None:
    """What is stored is stale from the beginning."""

    def view(status: CacheStatus, __: Fields = ()) -> Answer:
        house.purges.add(SOFTLY)
        return TAGGED

    house.engine.answer(now(house), view)
    assert house.status(now(house), TAGGED).startswith("fwd=stale; stored")


def test_tags_that_a_body_adds_count(house: House) -> None:
    """A streamed body may name them as late as that."""

    class Late(Answer):
        def read_body(self, limit: int) -> bytes | None:
            self.tagged = ("cat",)
            return super().read_body(limit)

    house.get(ask(), Late())
    house.purges.add(CAT)
    assert house.engine.lookups.find(now(house)) == Miss(CacheStatus("uri-miss", detail="purged"))


def test_who_knew_no_purge_stores_nothing(house: House) -> None:
    """What it makes may be older than any; nor is it given what is stored."""
    unknown = replace(ask(), position=None)
    assert house.status(unknown) == UNKNOWN
    assert house.status(ask()) == STORED
    assert house.status(unknown) == UNKNOWN
    assert house.runs == 3


def test_what_was_made_knowing_no_purge_is_for_those_who_know_none(house: House) -> None:
    """Who knew one when it came might be given what is older than that."""
    unknown = replace(ask(), position=None)
    made = shared(house, unknown, Answer())
    assert is_given(house, unknown, made)
    assert not is_given(house, ask(), made)


def test_who_knows_none_may_share_what_no_known_purge_hits(house: House) -> None:
    """As anybody may."""
    unknown = replace(ask(), position=None)
    made = shared(house, now(house), TAGGED)
    assert is_given(house, unknown, made)
    house.purges.add(CAT)
    assert not is_given(house, unknown, made)


def test_nothing_stored_is_used_while_nobody_can_tell() -> None:
    """Each request has the view run, and nothing is stored; then all is as it was."""
    house = Away()
    assert house.body(ask(), Answer(b"old")) == b"old"
    house.log.is_away = True
    for body in (b"1", b"2"):
        found, status = house.get(now(house), Answer(body))
        assert isinstance(found, Answer)
        assert (found.body, status) == (body, UNKNOWN)
    house.log.is_away = False
    assert house.body(now(house)) == b"old"


def test_who_waits_shares_while_nobody_can_tell() -> None:
    """Unless a purge was heard of since that began: then it may be one that hits it."""
    house = Away()
    made = shared(house, ask(), TAGGED)
    house.log.is_away = True
    assert ask().position == BEGINNING
    assert is_given(house, now(house), made)
    house.purges.add(CAT)
    assert not is_given(house, now(house), made)
    assert not is_given(house, ask(), made)
    assert is_given(house, now(house), shared(house, now(house), TAGGED))


def test_who_came_before_a_purge_may_be_given_what_it_hits(house: House) -> None:
    """Not who has seen it, or another one that hits the same."""
    made = shared(house, now(house), TAGGED)
    before = house.purges.position()
    house.purges.add(CAT)
    asked, between = now(house), house.purges.position()
    house.purges.add(CAT)

    def is_shared(seen: Position | None) -> bool:
        return isinstance(house.engine.lookups.judge_shared(asked, made, seen), Hit)

    assert is_shared(before)
    assert not is_shared(between)
    assert not is_shared(house.purges.position())
    assert not is_shared(None)


def test_what_was_not_heard_of_for_long_is_not_enough() -> None:
    """A process that cannot hear of purges has seen nothing."""
    house = Away()
    assert house.engine.lookups.recency.seen_before() == BEGINNING
    house.log.is_away = True
    assert house.engine.lookups.recency.seen_before() is None


def test_who_came_before_a_purge_of_the_url(house: House) -> None:
    """Of which what was made does not tell, as under a key of its own."""
    made = shared(house, now(house), Answer())
    url = targets(path="/square/4", query="")
    house.purges.add(Purge((("path", "/square/4"),)))
    asked = replace(now(house), url=url)
    lookups, seen = house.engine.lookups, house.purges.position()
    assert isinstance(lookups.judge_shared(asked, made, seen), Miss)


def test_who_came_before_a_purge_while_nobody_can_tell() -> None:
    """What is shared then is judged as without that."""
    house = Away()
    made = shared(house, ask(), TAGGED)
    house.log.is_away = True
    house.purges.add(CAT)
    lookups, asked = house.engine.lookups, now(house)
    assert isinstance(lookups.judge_shared(asked, made, BEGINNING), Miss)


def test_who_leads_asks_what_will_hit_what_it_makes(house: House) -> None:
    """Others that would wait for it do not; nor does it, before anything is purged."""
    asked: list[bool] = []

    def expected(asks: bool) -> Targets:
        asked.append(asks)
        return targets("cat") if asks else targets()

    asking = replace(now(house), expected=expected)
    attempt = _Attempt(house.engine, asking, Miss(CacheStatus("uri-miss")), lambda *_: TAGGED)
    assert not attempt.is_overtaken
    assert not asked
    house.purges.add(CAT)
    assert attempt.is_overtaken
    assert attempt.expects() == targets()
    assert asked == [True, False]


def test_who_has_seen_a_purge_waits_for_nothing_from_before_it(house: House) -> None:
    """Also if it came before that; who has not looked has seen what was known when it came."""
    house.engine.lookups.recency._is_heard_enough = False

    def attempt_at(asking: Ask) -> _Attempt[Answer]:
        return _Attempt(house.engine, asking, Miss(CacheStatus("uri-miss")), lambda *_: TAGGED)

    before = now(house)
    work = attempt_at(replace(before, expected=lambda _: targets("cat")))
    house.purges.add(CAT)

    def is_too_old(asking: Ask, *, looks: bool) -> bool:
        attempt = attempt_at(asking)
        assert attempt._seen is None
        if looks:
            assert attempt.find() is None
        return attempt.is_too_old(work)

    assert is_too_old(before, looks=True)
    assert not is_too_old(before, looks=False)
    assert is_too_old(now(house), looks=False)


def test_a_look_that_has_failed_has_seen_nothing() -> None:
    """What a process has heard of may be less than what was purged before the request came."""
    house = House(FailingStore(lambda _: True))
    house.engine.lookups.recency._is_heard_enough = False
    attempt = _Attempt(house.engine, now(house), Miss(CacheStatus("uri-miss")), lambda *_: TAGGED)
    assert attempt.find() is None
    assert attempt._seen is None


def test_what_a_process_has_heard_of_is_enough_where_it_remembers() -> None:
    """And where no other one purges; else a request has to look."""
    for house in (House(memory_bytes=10_000), House()):
        assert house.engine.lookups.recency.seen_before() == house.purges.position()
    log = LocalPurges(10, lambda: 1.0)
    log.is_local = False  # type: ignore[misc]
    assert Recency(log, is_heard_enough=True).seen_before() == log.position()
    assert Recency(log, is_heard_enough=False).seen_before() is None
