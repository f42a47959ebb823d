"""Validation (RFC 9111 section 4.3): what whoever answers is asked, and what a 304 does."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from flask_larder.ask import Ask, Hit
from flask_larder.entry import Reads
from flask_larder.headers import Fields, parse_vary
from flask_larder.policy import Policy
from flask_larder.purges import Purge
from flask_larder.requested import NO_DIRECTIVES
from flask_larder.status import CacheStatus
from tests.core.test_engine import START, Answer, House, ask
from tests.core.test_engine_collapsing import SOON, Gate, gate, house

__all__ = ["gate", "house"]

BY_RESPONSE = Policy(timeout=None, keep=3600.0)
STATED = Policy(timeout=50.0, keep=3600.0)
TAG = ("ETag", '"a"')
ASKED = (("If-None-Match", '"a"'),)
CAT = Purge((("tag", "cat"),))
SOFTLY = Purge((("tag", "cat"),), soft=True)


def saying(control: str, *fields: tuple[str, str], **parts: object) -> Answer:
    """A whole answer; *parts* are those of an ``Answer``."""
    return Answer(fields=(("Cache-Control", control), *fields), **parts)  # type: ignore[arg-type]


def not_modified(*fields: tuple[str, str], **parts: object) -> Answer:
    return Answer(body=b"", status=304, fields=fields, **parts)  # type: ignore[arg-type]


FIRST = saying("max-age=50", TAG, ("X-A", "old"), body=b"first", tagged=("cat",))
SAME = not_modified(TAG, ("X-A", "new"))


class Asked:
    """A view that remembers by which conditions it was asked."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.conditions: list[Fields] = []

    def get(self, asked: Ask, *answers: Answer) -> tuple[Hit | Answer, str]:
        """What the engine answers where the view answers these, in turn."""
        left = list(answers)

        def view(_: CacheStatus, conditions: Fields) -> Answer:
            self.conditions.append(conditions)
            return left.pop(0)

        now = replace(asked, position=self.house.purges.position())
        found, status = self.house.engine.answer(now, view)
        return found, str(status).removeprefix("larder; ")

    def body(self, asked: Ask, *answers: Answer) -> bytes:
        found, _ = self.get(asked, *answers)
        return found.response.body if isinstance(found, Hit) else found.body


@pytest.fixture
def view(house: House) -> Asked:
    return Asked(house)


def by_response(**fields: str) -> Ask:
    return ask(policy=BY_RESPONSE, **fields)


@pytest.mark.parametrize("policy", [BY_RESPONSE, STATED])
def test_what_is_stale_is_asked_for_and_freshened(
    house: House, view: Asked, policy: Policy
) -> None:
    """The body stays, the fields are the newer ones, and its age begins anew."""
    asked = ask(policy=policy)
    view.get(asked, FIRST)
    house.clock.now += 60

    found, status = view.get(asked, SAME)
    assert isinstance(found, Hit)
    assert (found.response.body, dict(found.response.fields)["X-A"]) == (b"first", "new")
    assert (found.age, found.response.stored_at) == (0.0, START + 60)
    assert status == "fwd=stale; fwd-status=304; stored; ttl=50"
    assert view.get(asked)[1] == "hit; ttl=50"
    assert view.conditions == [(), ASKED]


def test_it_is_kept_for_that_for_a_while(house: House, view: Asked) -> None:
    """Its lifetime, and as long as the policy says beyond it; what has no validator is not."""
    view.get(by_response(), FIRST)
    house.clock.now += 50 + 3599
    assert view.get(by_response(), SAME)[1].startswith("fwd=stale; fwd-status=304")
    house.clock.now += 50 + 3601
    assert view.get(by_response(), saying("max-age=50"))[1] == "fwd=uri-miss; stored; ttl=50"
    house.clock.now += 50
    assert view.get(by_response(), FIRST)[1] == "fwd=uri-miss; stored; ttl=50"


def test_a_whole_answer_takes_its_place(house: House, view: Asked) -> None:
    """RFC 9111 section 4.3.3."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    assert view.body(by_response(), saying("max-age=50", body=b"second")) == b"second"
    assert view.body(by_response()) == b"second"


def test_a_304_about_another_is_not_used(house: House, view: Asked) -> None:
    """RFC 9111 section 4.3.4: the whole is asked for, and takes its place."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    other = not_modified(("ETag", '"b"'))
    assert view.body(by_response(), other, saying("max-age=50", body=b"second")) == b"second"
    assert view.conditions == [(), ASKED, ()]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((("Set-Cookie", "a=b"),), "set-cookie"),
        ((("Cache-Control", "no-store"),), "no-store"),
        ((("Cache-Control", "private"),), "private"),
        ((("Vary", "*"),), "vary-star"),
    ],
)
def test_a_304_may_forbid_to_store(house: House, view: Asked, fields: Fields, reason: str) -> None:
    """Who has asked gets it with these fields; what is stored goes, and nobody else gets them."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    found, status = view.get(by_response(), not_modified(TAG, *fields))
    assert isinstance(found, Hit)
    assert found.response.body == b"first"
    assert set(fields) <= set(found.response.fields)
    assert status == f"fwd=stale; fwd-status=304; detail={reason}"
    assert view.get(by_response(), FIRST)[1] == "fwd=uri-miss; stored; ttl=50"


def test_a_304_for_one_user_is_not_stored(house: House, view: Asked) -> None:
    """That nothing has changed may hold for this one only; what is stored stays as it is."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    read = Reads(unkeyed=frozenset({"session"}))
    _, status = view.get(by_response(), not_modified(TAG, read=read))
    assert status == "fwd=stale; fwd-status=304; detail=read-session"
    assert view.get(by_response(), SAME)[1] == "fwd=stale; fwd-status=304; stored; ttl=50"


@pytest.mark.parametrize(
    "wish", [{"directives": {"no-store": None}}, {"authorization": "Bearer ann"}]
)
def test_a_client_cannot_take_the_stale_one_from_others(
    house: House, view: Asked, wish: dict[str, Any]
) -> None:
    """What its request forbids to store tells nothing of what is stored."""
    view.get(by_response(), saying("max-age=50, stale-if-error=100", TAG, body=b"first"))
    house.clock.now += 60
    asked = by_response(**{name: wish[name] for name in wish if name == "authorization"})
    view.get(replace(asked, directives=wish.get("directives", NO_DIRECTIVES)), SAME)
    assert view.body(by_response(), Answer(status=503)) == b"first"


def test_who_has_asked_gets_fields_that_are_not_for_others(house: House, view: Asked) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: they are handed on, and not stored."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    control = ("Cache-Control", 'max-age=50, private="X-User", no-cache="Set-Cookie"')
    own = {("X-User", "ann"), ("Set-Cookie", "a=b")}
    found, _ = view.get(by_response(), not_modified(TAG, control, *own))
    assert isinstance(found, Hit)
    assert own <= set(found.response.fields)
    hit, status = view.get(by_response())
    assert isinstance(hit, Hit)
    assert status == "hit; ttl=50"
    assert not own & set(hit.response.fields)


def test_a_304_without_a_date_is_dated_by_when_it_came(house: House, view: Asked) -> None:
    """Else it would grow older with the stored date, and never be fresh again (4.2.3)."""
    date = ("Date", "Tue, 14 Nov 2023 22:13:20 GMT")
    view.get(by_response(), saying("max-age=50", TAG, date))
    house.clock.now += 60
    found, status = view.get(by_response(), SAME)
    assert isinstance(found, Hit)
    assert (found.age, status) == (0.0, "fwd=stale; fwd-status=304; stored; ttl=50")
    assert view.get(by_response())[1] == "hit; ttl=50"


def test_it_goes_on_to_vary_by_what_it_varied_by(house: House, view: Asked) -> None:
    """A view that has nothing to make may not look at the language again."""
    read = Reads(selecting=frozenset({"accept-language"}))
    german = ask(policy=BY_RESPONSE, accept_language="de")
    view.get(german, replace(FIRST, read=read))
    house.clock.now += 60
    view.get(german, not_modified(TAG, ("Vary", "Origin")))

    found, status = view.get(german)
    assert isinstance(found, Hit)
    assert parse_vary(found.response.fields) == {"accept-language", "origin"}
    assert status == "hit; ttl=50"
    assert view.get(ask(policy=BY_RESPONSE, accept_language="en"), FIRST)[1].startswith("fwd=vary")


@pytest.mark.parametrize(
    ("change", "conditions"),
    [
        (lambda house: house.purges.add(CAT), ()),
        (lambda house: house.purges.add(SOFTLY), ASKED),
    ],
)
def test_what_is_purged_is_not_asked_for(
    house: House, view: Asked, change: Callable[[House], None], conditions: Fields
) -> None:
    """It is forgotten, whatever the view would say of it; softly purged, it is only stale."""
    view.get(by_response(), FIRST)
    change(house)
    view.get(by_response(), replace(SAME, tagged=("dog",)) if conditions else FIRST)
    assert view.conditions == [(), conditions]


def test_tags_stay(house: House, view: Asked) -> None:
    """A view that has nothing to make may not name them again."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    view.get(by_response(), replace(SAME, tagged=("dog",)))
    for tag in ("cat", "dog"):
        now = replace(by_response(), position=house.purges.position())
        assert isinstance(house.engine.lookups.find(now), Hit)
        house.purges.add(Purge((("tag", tag),)))
        assert not isinstance(house.engine.lookups.find(now), Hit)
        view.get(by_response(), FIRST)
        house.clock.now += 60
        view.get(by_response(), replace(SAME, tagged=("dog",)))


def test_a_purge_while_it_is_validated(house: House) -> None:
    """What the view has compared may be older than the purge: it is sent, and not stored."""
    view = Asked(house)
    view.get(by_response(), FIRST)
    house.clock.now += 60

    def purged(_: CacheStatus, __: Fields) -> Answer:
        house.purges.add(CAT)
        return SAME

    now = replace(by_response(), position=house.purges.position())
    found, status = house.engine.answer(now, purged)
    assert isinstance(found, Hit)
    assert status == CacheStatus("stale", fwd_status=304, detail="purged")
    assert view.get(by_response(), FIRST)[1].startswith("fwd=uri-miss")


def test_what_the_developer_finds_stale_is_not_asked_for(house: House, view: Asked) -> None:
    """Neither is what a forced update replaces: something else is wanted."""
    view.get(by_response(), FIRST)
    view.get(replace(by_response(), is_stale=lambda _: True), FIRST)
    view.get(replace(by_response(), refresh=True), FIRST)
    assert view.conditions == [(), (), ()]


def test_an_error_is_none_of_its_answers(house: House, view: Asked) -> None:
    """RFC 9111 section 4.3.3: the stored one is sent within ``stale-if-error``."""
    view.get(by_response(), saying("max-age=50, stale-if-error=100", TAG, body=b"first"))
    house.clock.now += 60
    assert view.body(by_response(), Answer(status=503)) == b"first"
    house.clock.now += 100
    found, _ = view.get(by_response(), Answer(status=503))
    assert isinstance(found, Answer)


def test_a_client_can_have_a_fresh_one_validated(house: House, view: Asked) -> None:
    """RFC 9111 section 5.2.1.4; where it must not be stored, the stored one stays."""
    view.get(by_response(), FIRST)
    house.clock.now += 10
    wants = replace(by_response(), directives={"no-cache": None, "no-store": None})
    status = view.get(wants, SAME)[1]
    assert status == "fwd=request; fwd-status=304; detail=request-no-store"
    assert view.get(by_response())[1] == "hit; ttl=40"
    wants = replace(by_response(), directives={"max-age": "5"})
    assert view.get(wants, SAME)[1] == "fwd=request; fwd-status=304; stored; ttl=50; detail=max-age"
    assert wants.directives != NO_DIRECTIVES


def test_what_is_not_stored_is_as_old_as_it_says(view: Asked, house: House) -> None:
    """Also where it confirms what is stored (RFC 9111 section 5.1)."""
    view.get(by_response(), FIRST)
    house.clock.now += 60
    found, _ = view.get(by_response(), not_modified(TAG, ("Age", "7"), ("Vary", "*")))
    assert isinstance(found, Hit)
    assert found.age == 7.0


@pytest.mark.parametrize(("policy", "age"), [(BY_RESPONSE, 5.0), (Policy(timeout=50.0), 0.0)])
def test_a_body_that_takes_long_to_come(house: House, policy: Policy, age: float) -> None:
    """A response is as old as its head (4.2.3); a timeout counts from when all of it is there."""

    class Slow(Answer):
        def read_body(self, limit: int) -> bytes | None:
            house.clock.now += 5
            return super().read_body(limit)

    asked = ask(policy=policy)
    house.get(asked, Slow(fields=(("Cache-Control", "max-age=50"),)))
    hit, _ = house.get(asked)
    assert isinstance(hit, Hit)
    assert hit.age == age


def test_those_who_wait_get_what_was_freshened(gate: Gate) -> None:
    """One asks whether it is the same; the others are sent it."""
    house, asked = gate.house, by_response()
    house.get(asked, FIRST)
    house.clock.now += 60
    first = gate.first(asked, SAME)
    others = [gate.behind(asked, SAME) for _ in range(3)]
    gate.open()

    assert first.result() == (b"first", "fwd=stale; fwd-status=304; stored; ttl=50")
    expected = (b"first", "fwd=stale; collapsed; ttl=50")
    assert [other.result() for other in others] == [expected] * 3
    assert gate.runs == 1


def test_what_has_to_be_validated_each_time_is_for_one_only(gate: Gate) -> None:
    """RFC 9111 section 5.2.2.4: nobody waits for what is of no use to others."""
    house, asked = gate.house, by_response()
    house.get(asked, saying("no-cache", TAG, body=b"first"))
    together = threading.Barrier(4, timeout=SOON / 4)  # who waits gives up after 10 s
    asking = [gate.send(asked, not_modified(TAG), together.wait) for _ in range(4)]
    gate.open()

    answers = [future.result() for future in asking]
    assert answers == [(b"first", "fwd=stale; fwd-status=304; stored; ttl=0")] * 4
    assert gate.runs == 4


def test_what_turns_out_to_be_for_one_only_is_not_waited_for_twice(gate: Gate) -> None:
    """Those who have waited for it ask for themselves, all at the same time."""
    house, asked = gate.house, by_response()
    house.get(asked, saying("private"))
    never_fresh = saying("no-cache", TAG, body=b"x")
    together = threading.Barrier(3, timeout=SOON / 4)
    first = gate.first(asked, never_fresh)
    others = [gate.behind(asked, never_fresh, together.wait) for _ in range(3)]
    gate.open()

    answers = [future.result() for future in (first, *others)]
    assert [body for body, _ in answers] == [b"x"] * 4
    assert gate.runs == 4
