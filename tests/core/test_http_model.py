"""The engine beside a model of a shared cache that was written from the RFCs alone."""

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from msgspec import structs

from flask_larder.ask import Ask, Hit, key_in_store
from flask_larder.coalesce import Coalescer, LocalLeases
from flask_larder.conditional import is_not_modified
from flask_larder.engine import Engine
from flask_larder.entries import Entries
from flask_larder.entry import Reads, Targets
from flask_larder.entry import Request as LarderRequest
from flask_larder.invalidation import invalidated, target_of
from flask_larder.key import NO_QUERY, url_key, url_targets
from flask_larder.local_purges import LocalPurges
from flask_larder.memory import MemoryStore
from flask_larder.policy import GET_AND_HEAD, Policy
from flask_larder.purges import Purge
from flask_larder.requested import directives_of, wants_only_stored
from flask_larder.status import CacheStatus
from tests.core.http_comparison import Comparison, Origin, Outcome
from tests.core.http_grammar import Fields
from tests.core.http_rules import Moment, Request, Response
from tests.core.http_stories import START, Step, numbered, stories

URL = "http://api.example/a"


class KeepsNothing:
    """A proxy without a cache."""

    def __init__(self) -> None:
        self.shown = START

    def now(self) -> Moment:
        return Moment(self.shown, self.shown)

    def wait(self, seconds: float) -> None:
        self.shown += seconds

    def answer(self, request: Request, origin: Origin) -> Outcome:
        response = origin(())
        return Outcome("passed", response) if response else Outcome("failed", Response(502))

    def tells_not_modified(self, request: Request, outcome: Outcome) -> bool:
        return False

    def put_off(self) -> Request | None:
        return None

    def refresh(self, origin: Origin) -> None:
        raise NotImplementedError

    def stored(self) -> list[bytes]:
        return []


class KeepsEverything(KeepsNothing):
    """A cache that looks at URLs only."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Response] = {}

    def answer(self, request: Request, origin: Origin) -> Outcome:
        if request.url in self.kept:
            return Outcome("reused", self.kept[request.url])
        response = origin(())
        assert response is not None
        self.kept[request.url] = response
        return Outcome("passed", response)

    def stored(self) -> list[bytes]:
        return [response.body for response in self.kept.values()]


def step(wait: float, control: str, *more: tuple[str, str], asked: Fields = ()) -> Step:
    fields = (("Cache-Control", control), ("Date", "@0"), *more)
    return Step(wait, Request("GET", URL, asked), Response(200, fields), None, 0.0)


def test_a_cache_that_keeps_nothing_is_noticed() -> None:
    """It breaks no rule, but the promises."""
    comparison = Comparison(KeepsNothing())
    comparison.play(step(0, "max-age=10"))

    with pytest.raises(AssertionError, match="what was promised is forwarded"):
        comparison.play(step(1, "max-age=10"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (step(0, "max-age=10"), step(10, "")),
        (step(0, "max-age=10, no-cache"), step(1, "")),
        (step(0, "max-age=10", ("Age", "5")), step(6, "")),
        (step(0, "max-age=10", ("Vary", "x-v")), step(1, "", asked=(("x-v", "1"),))),
        (step(0, "max-age=10"), step(1, "", asked=(("cache-control", "no-cache"),))),
    ],
)
def test_a_cache_that_looks_at_urls_only_is_noticed(first: Step, second: Step) -> None:
    """It answers with what must not be reused."""
    comparison = Comparison(KeepsEverything())
    comparison.play(first)

    with pytest.raises(AssertionError, match="not one of"):
        comparison.play(second)


@pytest.mark.parametrize("control", ["no-store", "private, max-age=10"])
def test_a_cache_that_stores_everything_is_noticed(control: str) -> None:
    """It is in the store, although it is never sent."""
    with pytest.raises(AssertionError, match="is stored"):
        Comparison(KeepsEverything()).play(step(0, control))


def test_what_is_allowed_passes() -> None:
    """The same cache, as long as nothing speaks against it."""
    comparison = Comparison(KeepsEverything())
    for _ in range(3):
        comparison.play(step(0, "max-age=10"))

    assert comparison.seen == {"passed 200": 1, "reused": 2}


POLICY = Policy(timeout=None, keep=3600.0)


class OriginFailed(Exception):
    """It cannot be reached."""


class OnlyStored(Exception):
    """What the adapter to Flask answers with 504."""


class Forwarded:
    """What the engine takes for the answer of a view."""

    refusal = None
    unsaid = frozenset[str]()

    def __init__(self, response: Response, cost: float, targets: Targets) -> None:
        self.status = response.status
        self.fields = response.fields
        self.response = response
        self._cost = cost
        self._targets = targets

    def targets(self) -> Targets:
        return self._targets

    def cost(self) -> float:
        return self._cost

    def value(self) -> None:
        return None

    def read_body(self, limit: int) -> bytes:
        return self.response.body

    def reads(self) -> Reads:
        return Reads()


class RecordingStore(MemoryStore):
    """Remembers all that was ever stored."""

    def __init__(self, larder: "Larder") -> None:
        super().__init__(max_entries=1000, max_bytes=10**7, clock=lambda: larder.elapsed)
        self.written: list[bytes] = []

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        self.written.append(value)
        return super().set(key, value, ttl)


class Larder:
    """The engine, as an adapter drives it for ``http_cached``."""

    def __init__(self) -> None:
        self.shown, self.elapsed = START, 0.0
        self.store = RecordingStore(self)
        self.due: tuple[Request, Hit] | None = None
        coalescer = Coalescer(LocalLeases(), self.clock, wait_seconds=10.0)
        self.purges = LocalPurges(1000, lambda: self.elapsed)
        self.engine = Engine(Entries(self.store), self.purges, self.clock, lambda: 1.0, coalescer)

    def clock(self) -> float:
        return self.shown

    def now(self) -> Moment:
        return Moment(self.shown, self.elapsed)

    def wait(self, seconds: float) -> None:
        self.shown += seconds
        self.elapsed += max(0.0, seconds)

    def stored(self) -> list[bytes]:
        return self.store.written

    def answer(self, request: Request, origin: Origin) -> Outcome:
        asked, self.due = self.ask(request), None
        try:
            found, status = self.engine.answer(asked, self.forwarding(asked, origin))
        except OriginFailed:
            return Outcome("failed", Response(502))
        except OnlyStored:
            return Outcome("timeout", Response(504))
        if not isinstance(found, Hit):
            for other in invalidated(asked.request, found.status, found.fields):
                self.purges.add(Purge((target_of(other),)))
            return Outcome("passed", found.response, stored=status.stored)
        self.due = (request, found) if found.is_due else None
        stored = found.response
        response = Response(stored.status, stored.fields, stored.body)
        return Outcome("reused", response, found.age, status.stored)

    def ask(self, request: Request) -> Ask:
        scheme, _, rest = request.url.partition("://")
        host, _, path = rest.partition("/")
        fields = dict(request.fields)
        asked = LarderRequest(
            *(request.method, scheme, host, "", f"/{path}", b"", fields, request.has_body)
        )
        return Ask(
            *(asked, POLICY, url_key(asked, NO_QUERY), hashlib.sha256),
            url=url_targets(asked),
            position=self.purges.position(),
            directives=directives_of(asked),
        )

    def forwarding(self, asked: Ask, origin: Origin) -> Callable[[CacheStatus, Fields], Forwarded]:
        def forward(status: CacheStatus, conditions: Fields) -> Forwarded:
            if wants_only_stored(asked.directives):
                raise OnlyStored
            began = self.elapsed
            response = origin(tuple((name.lower(), value) for name, value in conditions))
            if response is None:
                raise OriginFailed
            return Forwarded(response, self.elapsed - began, asked.url)

        return forward

    def tells_not_modified(self, request: Request, outcome: Outcome) -> bool:
        if request.method not in GET_AND_HEAD or outcome.response.status != 200:
            return False
        made_at = self.shown - outcome.age if outcome.kind == "reused" else None
        fields = outcome.response.fields
        return is_not_modified(dict(request.fields), fields, self.shown, made_at)

    def put_off(self) -> Request | None:
        """As that of the client, but for nobody, and without what it asks of the cache."""
        if self.due is None:
            return None
        request = self.due[0]
        fields = tuple(line for line in request.fields if line[0] not in OF_THE_CLIENT)
        return replace(request, method="GET", fields=fields)

    def refresh(self, origin: Origin) -> None:
        request = self.put_off()
        assert request is not None
        assert self.due is not None
        hit = self.due[1]
        asked = structs.replace(self.ask(request), replaces=hit.response.stored_at)
        with self.engine.claim(key_in_store(asked, hit.names)) as claim:
            if claim is not None:  # it may have failed too often of late
                with suppress(OriginFailed):
                    self.engine.revalidate(asked, self.forwarding(asked, origin), claim)


OF_THE_CLIENT = (
    *("cache-control", "pragma", "authorization", "if-none-match", "if-modified-since"),
)


TAG = ("ETag", '"a"')
FOUND = [
    # What took long to make counted as old again each time that it was validated.
    [
        replace(step(0, "max-age=0", TAG), delay=6.0),
        replace(step(1, "max-age=0", TAG), not_modified=(TAG, ("Cache-Control", "max-age=5"))),
        step(1, "no-store"),
    ],
    # A quote left open in one directive took the list of another apart.
    [step(0, 'max-age=10, private="X-A, X-B", foo="bar', ("X-B", "x-b@number")), step(1, "")],
    [step(0, 'max-age=10, private="x-a', ("X-A", "x-a@number")), step(1, "")],
    # One in one line, and one in another.
    [
        step(
            0, 'foo="bar', ("Cache-Control", "max-age=10"), ("Cache-Control", 'foo="no-store, x"')
        ),
        step(1, ""),
    ],
    # What is stale since this very moment was sent to who wants nothing stale.
    [
        step(0, "max-age=5, stale-while-revalidate=20"),
        step(5, "", asked=(("cache-control", "max-age=30"),)),
    ],
    # What is for all was updated by what a HEAD with Authorization told, which may be for one user.
    [
        step(0, "s-maxage=10", ("ETag", '"a"')),
        Step(
            10.0,
            Request("HEAD", URL, (("authorization", "Bearer t"),)),
            Response(200, (("ETag", '"a"'), ("Date", "@0"), ("X-B", "x-b@number"))),
            None,
            0.0,
        ),
    ],
]


@pytest.mark.parametrize("story", FOUND)
def test_what_was_found(story: list[Step]) -> None:
    """Once the engine did what the model does not allow."""
    comparison = Comparison(Larder())
    for one in numbered(story):
        comparison.play(one)


@pytest.mark.timeout(600)  # what fails is made smaller first
@settings(max_examples=500)
@given(stories)
def test_the_engine_does_what_the_model_allows(story: list[Step]) -> None:
    """Sequences of requests and of what an origin answers, with a clock that steps."""
    comparison = Comparison(Larder())
    for one in story:
        comparison.play(one)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_engine_does_what_the_model_allows_for_long() -> None:
    """Many more of them; and each thing that a cache can do is among what was compared."""
    seen: Counter[str] = Counter()

    @settings(max_examples=6000)
    @given(stories)
    def compare(story: list[Step]) -> None:
        comparison = Comparison(Larder(), seen)
        for one in story:
            comparison.play(one)

    compare()

    rare = {"reused, unpromised", "stale if error", "refreshed", "timeout", "failed", "304"}
    assert all(seen[kind] >= 10 for kind in rare)
    assert all(seen[kind] >= 300 for kind in ("reused", "validated"))
