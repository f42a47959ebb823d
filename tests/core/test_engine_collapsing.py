"""Requests for the same at the same time: who gets what another one was answered."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from flask_larder.ask import Ask, Hit, LookedUp
from flask_larder.entry import StoredResponse
from flask_larder.headers import Fields
from flask_larder.key import stored_key
from flask_larder.purges import Purge
from flask_larder.status import CacheStatus
from tests.core.test_coalesce import until, waiting
from tests.core.test_engine import POLICY, Answer, FailingStore, House, ask, varying
from tests.core.test_engine_purges import CAT, now
from tests.targets import targets

SOON = 20.0


class Gate:
    """Requests of which the first stays with the view until :meth:`open`."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.runs = 0
        self._pool = ThreadPoolExecutor(8)
        self._open = threading.Event()
        self._entered = threading.Semaphore(0)

    def first(self, asked: Ask, answer: Answer) -> Future[tuple[bytes, str]]:
        """Send a request, and return once the view runs for it."""
        future = self.send(asked, answer)
        assert self._entered.acquire(timeout=SOON)
        return future

    def behind(
        self, asked: Ask, answer: Answer, works: Callable[[], object] = lambda: None
    ) -> Future[tuple[bytes, str]]:
        """Send a request, and return once it waits. If its view runs, it *works* for its answer."""
        before = self._waiting()
        future = self.send(asked, answer, works)
        until(lambda: self._waiting() > before)
        return future

    def send(
        self, asked: Ask, answer: Answer, works: Callable[[], object] = lambda: None
    ) -> Future[tuple[bytes, str]]:
        """Send a request. Comes with the body and the status that it gets."""

        def view(_: CacheStatus, __: Fields = ()) -> Answer:
            self.runs += 1
            self._entered.release()
            self._open.wait(SOON)
            works()
            return answer

        def get() -> tuple[bytes, str]:
            found, status = self.house.engine.answer(asked, view)
            body = found.response.body if isinstance(found, Hit) else found.body
            return body, str(status).removeprefix("larder; ")

        return self._pool.submit(get)

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.open()
        self._pool.shutdown()

    def _waiting(self) -> int:
        coalescer = self.house.engine._coalescer
        return sum(waiting(coalescer, key) for key in list(coalescer._flights()._under_way))


@pytest.fixture
def gate(house: House) -> Iterator[Gate]:
    gate = Gate(house)
    yield gate
    gate.close()


@pytest.fixture
def house() -> House:
    return House()


def test_the_second_gets_what_the_first_was_answered(gate: Gate) -> None:
    """And says so."""
    first = gate.first(ask(), Answer(b"first"))
    second = gate.behind(ask(), Answer(b"second"))
    gate.open()
    assert first.result(SOON) == (b"first", "fwd=uri-miss; stored; ttl=50")
    assert second.result(SOON) == (b"first", "fwd=uri-miss; collapsed; ttl=50")
    assert gate.runs == 1


def test_what_was_looked_up_before_does_not_count_when_another_was_waited_for(gate: Gate) -> None:
    """By then, there may be something in the store."""
    first = gate.first(ask(), Answer(fields=(("Cache-Control", "private"),)))
    key = stored_key(ask().key, ask().hash_method)
    second = gate.behind(replace(ask(), looked_up=LookedUp(key, None)), Answer(b"second"))
    House(gate.house.store).get(ask(), Answer(b"another process"))
    gate.open()
    first.result(SOON)
    assert second.result(SOON) == (b"another process", "fwd=uri-miss; collapsed; ttl=50")


def test_who_comes_while_something_stale_is_replaced_is_sent_that(gate: Gate) -> None:
    """If it may be: it looks for itself, and does not wait."""
    may_be_stale = replace(POLICY, stale_while_revalidate=60.0)
    stored = ask(policy=may_be_stale)
    gate.house.get(stored, Answer(b"old"))
    gate.house.clock.now += 55
    with_cookie = ask(policy=replace(may_be_stale, may_revalidate=False))
    first = gate.first(with_cookie, Answer(b"new"))
    status = "hit; ttl=-5; detail=stale-while-revalidate"
    assert gate.send(stored, Answer(b"again")).result(SOON) == (b"old", status)
    gate.open()
    assert first.result(SOON)[0] == b"new"


def test_a_purge_does_not_part_those_who_wait(gate: Gate) -> None:
    """Who came before it gets what was being made then, or newer; who comes after it, newer."""
    cat = Answer(b"old", tagged=("cat",))
    before = [gate.first(now(gate.house), cat)]
    before += [gate.behind(now(gate.house), cat) for _ in range(3)]
    gate.house.purges.add(CAT)
    new = Answer(b"new", tagged=("cat",))
    after = [gate.behind(now(gate.house), new) for _ in range(3)]
    gate.open()
    assert before[0].result(SOON) == (b"old", "fwd=uri-miss; detail=purged")
    assert {each.result(SOON)[0] for each in before} <= {b"old", b"new"}
    assert [each.result(SOON)[0] for each in after] == [b"new"] * 3
    assert gate.runs == 2
    assert gate.house.body(now(gate.house)) == b"new"


def test_who_comes_after_a_purge_does_not_wait_for_what_it_hits(gate: Gate) -> None:
    """As far as who makes it knows by then."""
    tagged = Answer(b"old", tagged=("cat",))
    gate.first(replace(now(gate.house), expected=lambda _: targets("cat")), tagged)
    gate.house.purges.add(CAT)
    new = gate.first(now(gate.house), Answer(b"new"))
    assert gate.runs == 2
    gate.open()
    assert new.result(SOON) == (b"new", "fwd=uri-miss; stored; ttl=50")


def test_who_has_looked_knows_what_its_process_had_not_heard_of(gate: Gate) -> None:
    """It came after the purge, though its position does not tell."""
    earlier = now(gate.house)
    gate.first(earlier, Answer(b"old", tagged=("cat",)))
    gate.house.purges.add(CAT)
    key = stored_key(ask().key, ask().hash_method)
    gate.house.engine._coalescer._flights().guess(key, is_stored=True)  # so that it looks
    late = gate.behind(earlier, Answer(b"new", tagged=("cat",)))
    gate.open()
    assert late.result(SOON) == (b"new", "fwd=uri-miss; detail=purged")


def test_who_comes_after_a_purge_of_the_url_does_not_wait(gate: Gate) -> None:
    """It tells that by itself."""
    url = targets(path="/square/4", query="")
    gate.first(replace(now(gate.house), url=url), Answer(b"old"))
    gate.house.purges.add(Purge((("path", "/square/4"),)))
    gate.first(replace(now(gate.house), url=url), Answer(b"new"))
    assert gate.runs == 2


@pytest.fixture
def gate_at(request: pytest.FixtureRequest) -> Iterator[Gate]:
    """Requests to a house whose store fails at the operation with this number."""
    gate = Gate(House(FailingStore(lambda number: number == request.param)))
    yield gate
    gate.close()


@pytest.mark.parametrize("gate_at", [2], indirect=True)
def test_a_look_that_has_failed_says_nothing_to_others(gate_at: Gate) -> None:
    """They look, and need not wait for a view."""
    House(gate_at.house.store).get(ask(), Answer(b"stored"))
    first = gate_at.first(ask(), Answer(b"first"))
    assert gate_at.send(ask(), Answer()).result(SOON) == (b"stored", "hit; ttl=50")
    gate_at.open()
    assert first.result(SOON) == (b"first", "fwd=bypass; detail=store-unavailable")


@pytest.mark.parametrize("gate_at", [2], indirect=True)
def test_who_waited_and_cannot_look_says_so(gate_at: Gate) -> None:
    """And gets what the other has made."""
    first = gate_at.first(ask(), Answer(b"first"))
    second = gate_at.behind(ask(), Answer(b"second"))
    gate_at.open()
    assert first.result(SOON) == (b"first", "fwd=uri-miss; stored; ttl=50")
    status = "fwd=bypass; collapsed; ttl=50; detail=store-unavailable"
    assert second.result(SOON) == (b"first", status)


def test_another_variant_is_never_handed_over(gate: Gate) -> None:
    """That the URL varies is only known when the first is answered."""
    first = gate.first(ask(accept="a"), varying("Accept", body=b"for a"))
    other = gate.behind(ask(accept="b"), varying("Accept", body=b"for b"))
    same = gate.behind(ask(accept="a"), varying("Accept", body=b"again"))
    gate.open()
    assert first.result(SOON)[0] == b"for a"
    assert other.result(SOON) == (b"for b", "fwd=vary-miss; stored; ttl=50")
    assert same.result(SOON) == (b"for a", "fwd=uri-miss; collapsed; ttl=50")


def test_variants_that_are_known_do_not_wait_for_each_other(gate: Gate) -> None:
    """Each has a leader of its own."""
    gate.open()
    gate.send(ask(accept="a"), varying("Accept", body=b"for a")).result(SOON)
    gate._open.clear()
    gate.first(ask(accept="b"), varying("Accept"))
    gate.first(ask(accept="c"), varying("Accept"))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(fields=(("Set-Cookie", "user=ann"),)),
        Answer(fields=(("Cache-Control", "private"),)),
        Answer(status=500),
        Answer(refusal="response-filter"),
    ],
    ids=["set-cookie", "private", "error", "refused"],
)
def test_what_may_not_be_stored_is_not_handed_over(gate: Gate, answer: Answer) -> None:
    """Also not to those who wait for it in the same process."""
    first = gate.first(ask(), replace(answer, body=b"for the first alone"))
    second = gate.behind(ask(), Answer(b"for the second"))
    gate.open()
    assert first.result(SOON)[0] == b"for the first alone"
    assert second.result(SOON) == (b"for the second", "fwd=uri-miss; stored; ttl=50")


def test_another_host_under_the_same_key_gets_its_own(gate: Gate) -> None:
    """A key that the developer makes may lack the host."""
    ours = ask()
    theirs = replace(ours, request=replace(ours.request, host="evil.example"))
    gate.first(theirs, Answer(b"links to evil.example"))
    second = gate.behind(ours, Answer(b"ours"))
    gate.open()
    assert second.result(SOON)[0] == b"ours"


def test_what_the_developer_calls_stale_is_not_handed_over(gate: Gate) -> None:
    """``is_stale`` judges what another request was answered, too."""

    def is_stale(response: StoredResponse) -> bool:
        return response.body == b"first"

    gate.first(ask(), Answer(b"first"))
    second = gate.behind(ask(is_stale=is_stale), Answer(b"second"))
    gate.open()
    assert second.result(SOON)[0] == b"second"


@pytest.mark.parametrize("alone", [{"method": "HEAD"}, {"refresh": True}, {"has_body": True}])
def test_who_goes_alone(gate: Gate, alone: dict[str, object]) -> None:
    """HEAD, a forced update and a GET with a body neither wait nor let others wait."""
    gate.first(ask(**alone), Answer(b"alone"))
    gate.first(ask(), Answer(b"first"))
    gate.first(ask(**alone), Answer(b"alone"))
    assert gate.runs == 3


@pytest.mark.parametrize("fails", [lambda number: True, lambda number: number >= 2])
def test_while_the_store_is_away_a_process_goes_on_collapsing(
    fails: Callable[[int], bool],
) -> None:
    """Whether it was away before, or goes while the view runs."""
    gate = Gate(House(FailingStore(fails)))
    try:
        gate.first(ask(), Answer(b"first"))
        second = gate.behind(ask(), Answer(b"second"))
        gate.open()
        assert second.result(SOON)[0] == b"first"
        assert "collapsed" in second.result(SOON)[1]
        assert gate.runs == 1
    finally:
        gate.close()


def test_a_store_that_went_away_is_not_asked_again_by_the_same_request() -> None:
    """Neither for the lease's second look nor to store: the request has waited enough."""
    store = FailingStore(lambda number: number == 1)
    assert House(store).status(ask()) == "fwd=uri-miss; detail=store-unavailable"
    assert store.operations == 2
