"""The way of a request: lookup, decide, forward, store; with a clock that is set by hand."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, Miss
from flask_larder.coalesce import Coalescer, LocalLeases
from flask_larder.codec import encode_response, encode_value, encode_variants
from flask_larder.engine import Engine
from flask_larder.entries import Entries
from flask_larder.entry import Reads, Request, StoredResponse, Targets, Variants
from flask_larder.errors import StoreUnavailable
from flask_larder.headers import Fields
from flask_larder.key import NO_QUERY, QueryRule, stored_key, url_key, variant_key
from flask_larder.local_purges import LocalPurges
from flask_larder.memory import L1, MemoryStore
from flask_larder.policy import Policy
from flask_larder.status import CacheStatus
from flask_larder.store import Store
from tests.targets import targets

START = 1_700_000_000.0
ORIGIN = "http://api.example"
POLICY = Policy(timeout=50.0)
BEGINNING = (1, 0)
"""The position of whoever comes before any purge."""


class Clock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Answer(Struct):
    """What a view answers: a ``Forwarded`` whose body is read only when somebody asks for it."""

    body: bytes = b'{"computed": 16}'
    status: int = 200
    fields: Fields = (("Content-Type", "application/json"),)
    refusal: str | None = None
    unsaid: frozenset[str] = frozenset()
    read: Reads = Reads()
    read_by_body: Reads | None = None
    body_was_read: bool = False

    tagged: tuple[str, ...] = ()

    def targets(self) -> Targets:
        return targets(*self.tagged)

    def cost(self) -> float:
        return 0.0

    def value(self) -> bytes | None:
        return None

    def read_body(self, limit: int) -> bytes | None:
        self.body_was_read = True
        self.read = self.read_by_body or self.read
        return self.body if len(self.body) <= limit else None

    def reads(self) -> Reads:
        return self.read


class House:
    """An engine with its store and clock, and a view that counts how often it runs."""

    def __init__(self, store: Store | None = None, memory_bytes: int | None = None) -> None:
        self.clock = Clock()
        memory = memory_bytes and L1(max_bytes=memory_bytes, seconds=60.0, clock=self.clock)
        self.store: Store = store or MemoryStore(
            max_entries=1000, max_bytes=10_000_000, clock=self.clock
        )
        self.purges = LocalPurges(1000, self.clock)
        self.engine = Engine(
            Entries(self.store, memory or None),
            self.purges,
            self.clock,
            lambda: self.chance,
            Coalescer(LocalLeases(), self.clock, wait_seconds=10.0),
        )
        self.runs = 0
        self.chance = 1.0

    def get(self, ask: Ask, answer: Answer | None = None) -> tuple[Hit | Answer, str]:
        """What the engine answers where the view would answer *answer*; and ``Cache-Status``."""

        def view(status: CacheStatus, __: Fields = ()) -> Answer:
            self.runs += 1
            return answer or Answer()

        found, status = self.engine.answer(ask, view)
        return found, str(status).removeprefix("larder; ")

    def status(self, ask: Ask, answer: Answer | None = None) -> str:
        return self.get(ask, answer)[1]

    def body(self, ask: Ask, answer: Answer | None = None) -> bytes:
        found, _ = self.get(ask, answer)
        return found.response.body if isinstance(found, Hit) else found.body


@pytest.fixture
def house() -> House:
    return House()


def ask(
    path: str = "/square/4",
    *,
    method: str = "GET",
    policy: Policy = POLICY,
    has_body: bool = False,
    refresh: bool = False,
    is_stale: Callable[[StoredResponse], bool] | None = None,
    **fields: str,
) -> Ask:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    request = Request(method, "http", "api.example", "", path, b"", named, has_body)
    key = url_key(request, NO_QUERY)
    return Ask(
        *(request, policy, key, hashlib.sha256),
        position=BEGINNING,
        refresh=refresh,
        is_stale=is_stale,
    )


def varying(*names: str, body: bytes = b"body", **directives: str) -> Answer:
    fields = [("Vary", ", ".join(names))] if names else []
    if directives:
        fields.append(
            (
                "Cache-Control",
                ", ".join(f"{k.replace('_', '-')}={v}" for k, v in directives.items()),
            )
        )
    return Answer(body=body, fields=tuple(fields))


def test_the_second_request_is_a_hit(house: House) -> None:
    """The view runs once, and what is sent again is what it answered."""
    answer = Answer(fields=(("Content-Type", "application/json"), ("X-A", "1"), ("X-A", "2")))

    assert house.get(ask(), answer) == (answer, "fwd=uri-miss; stored; ttl=50")
    found, status = house.get(ask())

    assert isinstance(found, Hit)
    assert status == "hit; ttl=50"
    assert found.response == StoredResponse(
        ORIGIN, 200, answer.fields, answer.body, START, 50.0, BEGINNING
    )
    assert found.age == 0.0
    assert house.runs == 1


def test_age_and_ttl_follow_the_clock(house: House) -> None:
    """RFC 9111 section 4.2: age and what remains are those of the moment."""
    house.get(ask())
    house.clock.now += 12.25

    found, status = house.get(ask())

    assert isinstance(found, Hit)
    assert found.age == 12.25
    assert status == "hit; ttl=38"


def test_different_urls_have_different_entries(house: House) -> None:
    """Each is computed, and each is found again."""
    assert house.body(ask("/square/4"), Answer(b"16")) == b"16"
    assert house.body(ask("/square/5"), Answer(b"25")) == b"25"
    assert house.body(ask("/square/4")) == b"16"
    assert house.body(ask("/square/5")) == b"25"
    assert house.runs == 2


def test_the_view_is_told_why_it_runs(house: House) -> None:
    """So that an answer that it makes by raising has a status too; what it raises is raised."""
    told = []

    def view(status: CacheStatus, __: Fields = ()) -> Answer:
        told.append(status)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        house.engine.answer(ask(), view)

    assert told == [CacheStatus("uri-miss")]
    assert house.status(ask()) == "fwd=uri-miss; stored; ttl=50"


def test_fresh_until_the_very_end(house: House) -> None:
    """A response is fresh while its lifetime exceeds its age, and stale when they are equal."""
    lasting = MemoryStore(max_entries=10, max_bytes=10_000, clock=lambda: 0.0)
    house = House(lasting)  # keeps what the engine has to find stale by itself
    house.get(ask())

    house.clock.now = START + 49.75
    assert house.status(ask()) == "hit; ttl=1"
    house.clock.now = START + 50.0
    assert house.status(ask(), Answer(status=500)) == "fwd=stale; detail=status-500"
    assert house.status(ask()) == "fwd=stale; stored; ttl=50"
    house.clock.now = START + 99.75
    assert house.status(ask()) == "hit; ttl=1"


def test_an_expired_entry_is_gone_from_the_store(house: House) -> None:
    """The store forgets it by itself when its lifetime is over."""
    house.get(ask())
    house.clock.now += 50.0

    assert house.status(ask()) == "fwd=uri-miss; stored; ttl=50"


def test_a_clock_that_was_ahead_makes_no_negative_age(house: House) -> None:
    """Two hosts' clocks may disagree: what was stored "later" is of age 0."""
    house.get(ask())
    house.clock.now -= 20.0

    found, status = house.get(ask())

    assert isinstance(found, Hit)
    assert found.age == 0.0
    assert status == "hit; ttl=50"


@pytest.mark.parametrize(
    ("cache_control", "status"),
    [
        ("max-age=10", "fwd=uri-miss; stored; ttl=10"),
        ("max-age=10, s-maxage=20", "fwd=uri-miss; stored; ttl=20"),
        ("max-age=500", "fwd=uri-miss; stored; ttl=50"),
        ("max-age=0", "fwd=uri-miss; detail=not-fresh"),
        ("max-age=never", "fwd=uri-miss; detail=not-fresh"),
    ],
)
def test_the_response_shortens_its_lifetime(house: House, cache_control: str, status: str) -> None:
    """What would be stale from the beginning is not stored at all."""
    assert house.status(ask(), Answer(fields=(("Cache-Control", cache_control),))) == status


@given(
    st.floats(min_value=0.001, max_value=1e6),
    st.floats(min_value=0, max_value=2e6),
)
def test_a_hit_is_exactly_what_is_fresh(timeout: float, later: float) -> None:
    """For any lifetime and any moment: a hit has a ttl above 0, and age and ttl make it up."""
    house = House(MemoryStore(max_entries=10, max_bytes=10_000, clock=lambda: 0.0))
    asked = ask(policy=Policy(timeout=timeout))
    house.get(asked)
    house.clock.now += later

    found = house.engine.lookups.find(asked)

    passed = house.clock.now - START
    assert isinstance(found, Hit) == (passed < timeout)
    if isinstance(found, Hit):
        assert found.status.ttl is not None
        assert found.age == passed
        assert 0 < found.status.ttl <= timeout


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_go_past_the_cache(house: House, method: str) -> None:
    """They neither use GET's entry nor make one."""
    house.get(ask())

    assert house.status(ask(method=method)) == "fwd=method"
    assert house.status(ask(method=method)) == "fwd=method"
    assert house.runs == 3
    assert house.status(ask()) == "hit; ttl=50"


def test_a_get_with_a_body_goes_past_the_cache(house: House) -> None:
    """It neither uses an entry nor makes one."""
    assert house.status(ask(has_body=True)) == "fwd=bypass; detail=request-body"
    assert house.status(ask()) == "fwd=uri-miss; stored; ttl=50"
    assert house.status(ask(has_body=True)) == "fwd=bypass; detail=request-body"


def test_head_is_answered_from_get(house: House) -> None:
    """RFC 9110 section 9.3.2: the same header as for GET, whose entry has it."""
    house.get(ask())

    assert house.status(ask(method="HEAD")) == "hit; ttl=50"
    assert house.runs == 1


def test_get_is_never_answered_from_head(house: House) -> None:
    """An answer to HEAD is not stored, and neither replaces nor forgets what GET has stored."""
    assert house.status(ask(method="HEAD"), Answer(b"")) == "fwd=uri-miss; detail=head"
    assert house.body(ask(), Answer(b"16")) == b"16"
    forced = ask(method="HEAD", refresh=True)
    assert house.status(forced, Answer(b"")).startswith("fwd=request")
    assert house.body(ask()) == b"16"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (Answer(status=404), "status-404"),
        (Answer(fields=(("Set-Cookie", "a=b"),)), "set-cookie"),
        (Answer(fields=(("Cache-Control", "no-store"),)), "no-store"),
        (Answer(fields=(("Cache-Control", "private"),)), "private"),
        (Answer(fields=(("Vary", "*"),)), "vary-star"),
        (Answer(fields=(("Content-Length", "3"),)), "incomplete"),
        (Answer(refusal="response-filter"), "response-filter"),
        (Answer(read=Reads(unkeyed=frozenset({"session"}))), "read-session"),
        (Answer(read=Reads(after_this_request=True)), "after-this-request"),
        (Answer(read_by_body=Reads(unkeyed=frozenset({"cookie"}))), "read-cookie"),
        (Answer(read_by_body=Reads(after_this_request=True)), "after-this-request"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_may_not_be_stored_is_not(house: House, answer: Answer, detail: str) -> None:
    """The caller gets the view's answer, the status has the reason, and the next one asks again."""
    assert house.get(ask(), answer) == (answer, f"fwd=uri-miss; detail={detail}")
    assert house.status(ask()) == "fwd=uri-miss; stored; ttl=50"


def test_a_body_up_to_the_limit_is_stored(house: House) -> None:
    """The limit is exact; a longer body passes through unstored."""
    policy = replace(POLICY, body_limit=5)

    too_long = house.status(ask("/a", policy=policy), Answer(b"123456"))
    assert too_long == "fwd=uri-miss; detail=body-too-large"
    assert house.status(ask("/a", policy=policy), Answer(b"12345")).endswith("stored; ttl=50")


def test_a_body_that_is_not_stored_is_not_read(house: House) -> None:
    """A stream that nobody will store stays one."""
    answer = Answer(fields=(("Content-Type", "text/event-stream"),))

    house.get(ask(), answer)

    assert not answer.body_was_read


def test_fields_of_the_connection_or_the_request_are_not_stored(house: House) -> None:
    """RFC 9111 section 3.1; and a copy tells its own ``Age`` and ``Server-Timing``."""
    fields = (
        ("X-A", "1"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("Age", "7"),
        ("SERVER-TIMING", "db;dur=3"),
        ("ETag", '"a"'),
    )
    house.get(ask(), Answer(fields=fields))

    found, _ = house.get(ask())

    assert isinstance(found, Hit)
    assert found.response.fields == (("X-A", "1"), ("ETag", '"a"'))


def test_an_unstorable_answer_leaves_what_is_stored(house: House) -> None:
    """An error while refreshing does not take the fresh response away."""
    house.get(ask(), Answer(b"16"))
    house.get(ask(refresh=True), Answer(b"oops", status=500))

    assert house.body(ask()) == b"16"


def test_a_forced_refresh_replaces_what_is_stored(house: House) -> None:
    """RFC 9211 section 2.2: a fresh response was there and the request did not allow its use."""
    house.get(ask(), Answer(b"old"))
    house.clock.now += 10.0

    status = house.status(ask(refresh=True), Answer(b"new"))

    assert status == "fwd=request; stored; ttl=50; detail=forced-update"
    assert house.body(ask()) == b"new"
    assert house.status(ask()) == "hit; ttl=50"


def test_a_forced_refresh_of_nothing_is_a_miss(house: House) -> None:
    """There is nothing whose use the request forbids."""
    assert house.status(ask(refresh=True)) == "fwd=uri-miss; stored; ttl=50"


def test_what_is_stale_by_the_developers_word_is_forwarded(house: House) -> None:
    """``is_stale`` sees what is stored, and what the view then answers replaces it."""
    seen = []

    def is_stale(stored: StoredResponse) -> bool:
        seen.append(stored.body)
        return stored.body == b"old"

    house.get(ask(), Answer(b"old"))

    status = house.status(ask(is_stale=is_stale), Answer(b"new"))
    assert status == "fwd=stale; stored; ttl=50; detail=is-stale"
    assert house.status(ask(is_stale=is_stale)) == "hit; ttl=50"
    assert seen == [b"old", b"new"]


def test_each_variant_has_an_entry(house: House) -> None:
    """One URL, several responses, each selected by what its request says."""
    german, french = ask(accept_language="de"), ask(accept_language="fr")

    assert house.status(german, varying("Accept-Language", body=b"drei")).startswith(
        "fwd=uri-miss; stored"
    )
    assert house.status(french, varying("Accept-Language", body=b"trois")).startswith(
        "fwd=vary-miss; stored"
    )

    assert house.body(german) == b"drei"
    assert house.body(french) == b"trois"
    assert house.status(ask()) == "fwd=vary-miss; stored; ttl=50"
    assert house.runs == 3


def test_absent_and_empty_select_differently(house: House) -> None:
    """A request without the field is not answered with what was made for an empty one."""
    house.get(ask(accept=""), varying("Accept", body=b"empty"))

    assert house.body(ask(), varying("Accept", body=b"absent")) == b"absent"
    assert house.body(ask(accept="")) == b"empty"


def test_fields_that_do_not_select_do_not_separate(house: House) -> None:
    """A request may differ in whatever the response does not vary on."""
    house.get(ask(accept="a", user_agent="x"), varying("Accept"))

    assert house.status(ask(accept="a", user_agent="y")) == "hit; ttl=50"


def test_what_the_view_read_selects_without_being_said(house: House) -> None:
    """``Accept*`` fields that it read select, and the stored response says so in ``Vary``."""
    answer = Answer(b"drei", fields=(), read=Reads(selecting=frozenset({"accept-language"})))
    house.get(ask(accept_language="de"), answer)

    assert house.status(ask(accept_language="fr"), varying()).startswith("fwd=vary-miss")
    found, _ = house.get(ask(accept_language="de"))

    assert isinstance(found, Hit)
    assert found.response.body == b"drei"
    assert found.response.fields == (("Vary", "Accept-Language"),)


def test_vary_does_not_repeat_what_was_said(house: House) -> None:
    """Only what is missing in ``Vary`` is added to it."""
    read = Reads(selecting=frozenset({"accept", "accept-language"}))
    house.get(ask(), Answer(fields=(("vary", "ACCEPT, Origin"),), read=read))

    found, _ = house.get(ask())

    assert isinstance(found, Hit)
    assert found.response.fields == (("Vary", "ACCEPT, Origin, Accept-Language"),)


def test_a_body_may_read_a_selecting_field(house: House) -> None:
    """What a stream reads while it is made selects as well."""
    late = Reads(selecting=frozenset({"accept"}))
    house.get(ask(accept="a"), Answer(b"a", read_by_body=late))

    assert house.status(ask(accept="b")).startswith("fwd=vary-miss")
    assert house.body(ask(accept="a")) == b"a"


def test_the_list_of_selecting_fields_grows(house: House) -> None:
    """A response that names another field adds it; variants are found by all of them."""
    both = {"accept": "a", "accept_language": "de"}
    house.get(ask(**both), varying("Accept", body=b"1"))
    assert house.status(
        ask(accept="b", accept_language="de"), varying("Accept-Language", body=b"2")
    ).startswith("fwd=vary-miss; stored")

    # The first was stored under fewer fields than now select: it is not found, rather than wrong.
    assert house.status(ask(**both), varying("Accept", body=b"3")).startswith(
        "fwd=vary-miss; stored"
    )
    assert house.body(ask(**both)) == b"3"
    assert house.body(ask(accept="b", accept_language="de")) == b"2"
    assert house.status(ask(accept="b", accept_language="fr")).startswith("fwd=vary-miss")


def test_a_response_without_vary_does_not_shrink_the_list(house: House) -> None:
    """It is one variant among the others, which stay where they are found."""
    house.get(ask(accept="a"), varying("Accept", body=b"1"))
    house.get(ask(accept="b"), varying(body=b"2"))

    assert house.body(ask(accept="a")) == b"1"
    assert house.body(ask(accept="b")) == b"2"
    assert house.runs == 2


def test_who_finds_the_list_finds_the_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease may end when something is stored at the URL; then others look."""
    store = MemoryStore(max_entries=1000, max_bytes=10_000_000, clock=lambda: 0.0)
    house, others, keep = House(store), House(store), store.set
    found: list[str] = []

    def set_and_look(key: str, value: bytes, ttl: float) -> bool:
        is_kept = keep(key, value, ttl)
        found.append(str(others.engine.lookups.find(ask(accept="a")).status))
        return is_kept

    monkeypatch.setattr(store, "set", set_and_look)
    house.get(ask(accept="a"), varying("Accept"))
    assert found == ["larder; fwd=uri-miss", "larder; hit; ttl=50"]


def test_a_plain_response_makes_way_for_variants(house: House) -> None:
    """Once a URL varies, what was stored before it did is no longer used."""
    house.get(ask(), Answer(b"plain"))
    house.get(ask(accept="a", refresh=True), varying("Accept", body=b"a"))

    assert house.body(ask(accept="a")) == b"a"
    assert house.status(ask(), varying("Accept")) == "fwd=vary-miss; stored; ttl=50"


LANGUAGES = st.sampled_from([None, "", "de", "fr"])


@given(
    st.lists(
        st.tuples(
            st.fixed_dictionaries(
                {"accept": LANGUAGES, "accept-language": LANGUAGES, "origin": LANGUAGES}
            ),
            st.sets(st.sampled_from(["accept", "accept-language", "origin"])),
            st.floats(min_value=0, max_value=30),
            st.booleans(),
        ),
        max_size=15,
    )
)
def test_a_variant_is_never_found_by_fewer_fields_than_it_depends_on(
    story: list[tuple[dict[str, str | None], set[str], float, bool]],
) -> None:
    """Whatever the order of requests and of ``Vary``: a hit agrees in all that it varies on."""
    house = House()
    made: dict[bytes, tuple[dict[str, str | None], set[str]]] = {}
    for number, (fields, names, seconds, refresh) in enumerate(story):
        present = {name: value for name, value in fields.items() if value is not None}
        request = Request("GET", "http", "api.example", "", "/", b"", present)
        asked = replace(ask(refresh=refresh), request=request, key=url_key(request, NO_QUERY))
        body = str(number).encode()
        made[body] = fields, names
        found = house.body(asked, varying(*names, body=body))
        for_fields, for_names = made[found]
        assert all(for_fields[name] == fields[name] for name in for_names)
        assert found == body or not refresh
        house.clock.now += seconds


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"larder1",
        b"larder1r\0\0\0\0",
        b"larder0r\0\0\0\0",
        b"!\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x08builtins\x94",
        encode_value({"status": 200}),
        encode_response(StoredResponse(ORIGIN, 200, (), b"x", START, 50.0))[:-2],
        encode_response(
            StoredResponse(ORIGIN, 200, (("A", "1\r\nSet-Cookie: b=c"),), b"", START, 50.0)
        ),
        encode_response(StoredResponse(ORIGIN, 200, (), b"x", START, float("inf"))),
    ],
    ids=repr,
)
def test_a_corrupt_entry_is_a_miss_and_is_replaced(house: House, data: bytes) -> None:
    """The view answers, and what it answers takes the place of what did not decode."""
    house.store.set(stored_key(ask().key), data, 50.0)

    assert house.status(ask(), Answer(b"16")) == "fwd=uri-miss; stored; ttl=50"
    assert house.body(ask()) == b"16"
    assert house.runs == 1


@pytest.mark.parametrize("data", [b"rubbish", encode_variants(Variants(("accept",)))])
def test_a_corrupt_variant_is_a_miss_and_is_replaced(house: House, data: bytes) -> None:
    """Also a list of names where a response is expected, which would lead in circles."""
    asked = ask(accept="a")
    house.get(asked, varying("Accept"))
    house.store.set(
        stored_key(variant_key(asked.key, ("accept",), asked.request.fields)), data, 50.0
    )

    assert house.status(asked, varying("Accept", body=b"new")) == "fwd=vary-miss; stored; ttl=50"
    assert house.body(asked) == b"new"


def test_a_response_of_another_url_is_found_under_its_key_only(house: House) -> None:
    """A long key is shortened by a digest, under which two URLs with one beginning stay apart."""
    paths = ["/" + "x" * 300 + end for end in "ab"]
    for path in paths:
        house.get(ask(path), Answer(path.encode()))

    assert [house.body(ask(path)) for path in paths] == [path.encode() for path in paths]
    assert house.runs == 2


class FailingStore:
    """A store in memory, of which the operations with the given numbers, from 0, fail."""

    def __init__(self, failing: Callable[[int], bool], *, refuses: bool = False) -> None:
        self._store = MemoryStore(max_entries=100, max_bytes=100_000, clock=lambda: 0.0)
        self._failing = failing
        self._refuses = refuses
        self.operations = 0

    def _operate(self) -> None:
        self.operations += 1
        if self._failing(self.operations - 1):
            raise StoreUnavailable("away")

    def get(self, key: str) -> bytes | None:
        self._operate()
        return self._store.get(key)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self._operate()
        return self._store.get_many(keys)

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        self._operate()
        return not self._refuses and self._store.set(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        self._operate()
        return not self._refuses and self._store.add(key, value, ttl)

    def delete(self, keys: Sequence[str]) -> int:
        self._operate()
        return self._store.delete(keys)

    def clear(self) -> None:
        self._operate()
        self._store.clear()

    def ping(self, timeout: float) -> None:
        self._operate()


def test_a_store_that_is_away_is_bypassed() -> None:
    """The view answers each time, nothing is raised, and the store is not asked to store either."""
    store = FailingStore(failing=lambda number: True)
    house = House(store)

    for body in (b"1", b"2"):
        found, status = house.get(ask(), Answer(body))
        assert isinstance(found, Answer)
        assert (found.body, status) == (body, "fwd=bypass; detail=store-unavailable")
    assert store.operations == 2


def test_a_store_that_goes_away_before_storing_costs_only_the_entry() -> None:
    """The answer is sent, and the status does not claim that it was stored."""
    house = House(FailingStore(failing=lambda number: number == 1))

    assert house.status(ask()) == "fwd=uri-miss; detail=store-unavailable"
    assert house.status(ask()) == "fwd=uri-miss; stored; ttl=50"
    assert house.status(ask()) == "hit; ttl=50"


def test_a_store_that_goes_away_does_not_hide_what_is_remembered() -> None:
    """Such as what another thread of the process has made and stored meanwhile."""
    others: list[Callable[[], object]] = []

    def fails(_: int) -> bool:
        if others:
            others.pop()()
            return True
        return False

    house = House(FailingStore(fails), memory_bytes=1_000_000)
    house.get(ask(), Answer(b"expires"))
    house.clock.now += 60
    others.append(lambda: house.get(ask(), Answer(b"made meanwhile")))
    assert house.body(ask(), Answer(b"made again")) == b"made meanwhile"
    assert house.runs == 2


def test_a_store_that_refuses_costs_only_the_entry() -> None:
    """A full store is no fault of the view; the status says what happened."""
    house = House(FailingStore(failing=lambda number: False, refuses=True))

    assert house.status(ask()) == "fwd=uri-miss; detail=store-refused"
    assert house.status(ask(), varying("Accept")) == "fwd=uri-miss; detail=store-refused"


@given(
    st.sets(st.integers(0, 40)),
    st.lists(st.sampled_from(["a", "b", "plain"]), min_size=1, max_size=12),
)
def test_whichever_operation_fails_the_answer_is_right(failing: set[int], story: list[str]) -> None:
    """Whatever fails, a lookup, a list of names, a write: nobody gets a wrong answer."""
    house = House(FailingStore(failing=failing.__contains__))
    for accept in story:
        asked = ask("/plain") if accept == "plain" else ask(accept=accept)
        answer = varying(*([] if accept == "plain" else ["Accept"]), body=accept.encode())

        assert house.body(asked, answer) == accept.encode()


def test_a_write_that_was_lost_halfway_leaves_no_wrong_variant() -> None:
    """The variant was written and the list of names was not: nobody finds it without that."""
    house = House(FailingStore(failing=lambda number: number == 2))

    assert (
        house.status(ask(accept="a"), varying("Accept")) == "fwd=uri-miss; detail=store-unavailable"
    )
    assert (
        house.status(ask(accept="b"), varying("Accept", body=b"b"))
        == "fwd=uri-miss; stored; ttl=50"
    )
    assert house.body(ask(accept="b")) == b"b"
    assert house.status(ask(accept="a")) == "hit; ttl=50"


def test_a_lookup_stores_nothing(house: House) -> None:
    """It is a question, and may be asked twice."""
    for _ in range(2):
        assert house.engine.lookups.find(ask()) == Miss(CacheStatus("uri-miss"))


def test_the_policy_of_the_request_decides(house: House) -> None:
    """Two policies over one key: each stores and finds by its own word."""
    asked = ask(policy=replace(POLICY, statuses=frozenset({404}), timeout=5.0))

    assert house.status(asked, Answer(status=404)) == "fwd=uri-miss; stored; ttl=5"
    assert house.status(asked) == "hit; ttl=5"


def test_queries_select_by_the_rule_of_the_key(house: House) -> None:
    """The engine takes the key as it is; two orders of one query are one entry."""
    for number, query in enumerate([b"name=m&country=Germany", b"country=Germany&name=m"]):
        request = Request("GET", "http", "api.example", "", "/universities", query, {})
        asked = replace(ask(), request=request, key=url_key(request, QueryRule(None)))
        assert house.status(asked).startswith(("fwd=uri-miss", "hit")[number])
    assert house.runs == 1


def test_a_short_variant_leaves_the_others_found(house: House) -> None:
    """The list of selecting fields lives as long as any variant, not as the latest one."""
    house.get(ask(accept="a"), varying("Accept"))
    house.get(ask(accept="b"), varying("Accept", max_age="5"))
    house.clock.now += 6
    assert house.status(ask(accept="a")).startswith("hit")


@pytest.mark.parametrize("value", ["\udcff", "a\0b", "a\r\nSet-Cookie: b", "\u20ac"])
def test_a_malformed_field_ends_in_the_views_answer(house: House, value: str) -> None:
    """What could not be read back as one field is not stored."""
    answer = Answer(fields=(("X-File", value),))
    assert house.status(ask(), answer) == "fwd=uri-miss; detail=malformed-field"
