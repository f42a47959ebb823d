"""Plays a story to a cache, and compares each of its answers with what the model allows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from tests.core.http_grammar import Fields, entity_tags, is_entity_tag, lines, names
from tests.core.http_model import Reuse, SharedCache
from tests.core.http_rules import (
    ERRORS,
    Exchange,
    Moment,
    Request,
    Response,
    connection_names,
    excluded_names,
    is_not_modified,
    why_not_stored,
)
from tests.core.http_stories import Step, sent

Origin = Callable[[Fields], Response | None]
"""What a request is forwarded to, with these conditions; ``None`` where it fails."""


@dataclass(frozen=True)
class Outcome:
    """What a cache did: it sent what it had, or what the origin answered, or failed with it.

    *age* is that of what it had. *stored* tells that it said so.
    """

    kind: Literal["reused", "passed", "failed", "timeout"]
    response: Response
    age: float = 0.0
    stored: bool = False


class Cache(Protocol):
    """A cache under test, with a clock that is set by hand."""

    def now(self) -> Moment:
        """What its clock shows, and how much time has passed."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; below 0, the clock is put back."""
        ...

    def answer(self, request: Request, origin: Origin) -> Outcome:
        """Answer *request*, with the help of *origin* or without."""
        ...

    def tells_not_modified(self, request: Request, outcome: Outcome) -> bool:
        """Whether the client is told 304 instead, since it has the same already."""
        ...

    def put_off(self) -> Request | None:
        """The request by which it wants to revalidate what it has just sent, if it does."""
        ...

    def refresh(self, origin: Origin) -> None:
        """Send that request now."""
        ...

    def stored(self) -> list[bytes]:
        """Everything that it has ever written into its store."""
        ...


@dataclass
class Comparison:
    """A cache beside the model. *seen* counts what happened, so that tests can tell they test."""

    cache: Cache
    seen: Counter[str] = field(default_factory=Counter)
    model: SharedCache = field(default_factory=SharedCache)

    def play(self, step: Step) -> None:
        """Have *step* answered by the cache; raises where the model does not allow its answer."""
        self.cache.wait(step.wait)
        before = len(self.model.exchanges)
        begun = Asked(self.model, step, self.cache)
        outcome = self.cache.answer(step.request, begun.forward)
        forwarded = self.model.exchanges[before:]
        if forwarded:
            self.seen[begun.check_forwarded(outcome, forwarded[-1])] += 1
            check_stored(outcome, begun, forwarded[-1])
        else:
            self.seen[begun.check_answered(outcome)] += 1
        self.check_not_modified(step.request, outcome)
        put_off = self.cache.put_off()
        if put_off is not None and step.refreshes:
            self.seen["refreshed"] += 1
            later = replace(step, request=put_off, wait=0.0)
            self.cache.refresh(Asked(self.model, later, self.cache, waits=False).forward)
        check_contents(self.cache.stored(), [one for one in self.model.exchanges if one.response])

    def check_not_modified(self, request: Request, outcome: Outcome) -> None:
        """RFC 9111 section 4.3.2: 304 only where it may be; by tags, also where it must be."""
        told, is_stored = self.cache.tells_not_modified(request, outcome), outcome.kind == "reused"
        received = Moment(self.cache.now().shown - outcome.age, 0.0)
        status, fields = outcome.response.status, outcome.response.fields
        allowed = is_not_modified(request, status, fields, received, is_stored=is_stored)
        assert told <= allowed, "304 though it was modified"
        if lines(request.fields, "if-none-match") and is_entity_tag("".join(lines(fields, "etag"))):
            assert told == allowed, "200 though it was not modified"
        if told:
            self.seen["304"] += 1


class Asked:
    """One request: what the model allowed when it came, and what has been forwarded since."""

    def __init__(self, model: SharedCache, step: Step, cache: Cache, *, waits: bool = True) -> None:
        self.model, self.step, self.cache = model, step, cache
        now, request = cache.now(), step.request
        self.reusable = model.reusable(request, now)
        self.why_not = model.why_not(request, now)
        # Nobody waits for what is revalidated though it may still be sent.
        self.promised = model.promised(request, now) if waits else None
        self.condition = model.promised_condition(request, now)
        self.validated: list[Reuse] = []
        self.instead: list[Reuse] = []

    def forward(self, conditions: Fields) -> Response | None:
        """The origin. *conditions* are the cache's; those of the client it has set aside."""
        request, asked = self.step.request, self.cache.now()
        assert not self.model.must_not_forward(request), "only-if-cached was forwarded"
        assert self.promised is None, f"what was promised is forwarded: {self.promised}"
        self.check_conditions(conditions)
        self.cache.wait(self.step.delay)
        answered = self.cache.now()
        response = sent(self.step, conditions, answered.shown)
        exchange = Exchange(request, response, asked, answered)
        if response is not None and response.status == 304:
            self.validated = self.model.validated(exchange)
        self.instead = self.model.instead_of_error(request, answered)
        self.model.exchanges.append(exchange)
        return response

    def check_conditions(self, conditions: Fields) -> None:
        """RFC 9111 section 4.3.1: only validators of what is stored, and those that there are."""
        tags, dates = self.model.conditions(self.step.request)
        sent_tags = set(entity_tags(lines(conditions, "if-none-match")))
        sent_dates = set(lines(conditions, "if-modified-since"))
        assert sent_tags <= tags, f"{sent_tags} of {tags}"
        assert sent_dates <= dates, f"{sent_dates} of {dates}"
        if self.condition is not None:
            assert self.condition in sent_tags | sent_dates, f"not validated with {self.condition}"
        self.condition = None  # a second time, it may be forwarded without

    def check_answered(self, outcome: Outcome) -> str:
        """Nothing was forwarded. Returns what was done."""
        if outcome.kind == "timeout":
            assert self.model.wants_only_stored(self.step.request), "504 without only-if-cached"
            assert self.promised is None, f"504 instead of {self.promised}"
            return "timeout"
        assert outcome.kind == "reused", outcome
        assert fits(outcome, self.reusable), differs(outcome, self.reusable, self.why_not)
        return "reused" if self.promised else "reused, unpromised"

    def check_forwarded(self, outcome: Outcome, last: Exchange) -> str:
        """Returns what was done with the last answer of the origin."""
        failed = last.response is None or last.response.status in ERRORS
        if outcome.kind == "reused" and failed:
            assert fits(outcome, self.instead), differs(outcome, self.instead)
            return "stale if error"
        if outcome.kind == "reused":
            assert fits(outcome, self.validated), differs(outcome, self.validated)
            return "validated"
        if last.response is None:
            assert outcome.kind == "failed", outcome
            return "failed"
        assert outcome.kind == "passed", outcome
        assert is_passed_on(outcome.response, last.response), (outcome.response, last.response)
        assert last.response.status != 304, "a 304 for the cache is none for the client"
        return f"passed {last.response.status}"


def fits(outcome: Outcome, allowed: list[Reuse]) -> bool:
    return any(is_as(outcome, one) for one in allowed)


def is_as(outcome: Outcome, reuse: Reuse) -> bool:
    """Status, content and age are those; all required fields are there, and no others."""
    response = outcome.response
    found, required, optional = (
        sorted((name.lower(), value) for name, value in fields if name.lower() != "vary")
        for fields in (response.fields, reuse.required, reuse.optional)
    )
    for one in optional:
        if one in found and one not in required:
            found.remove(one)
    return (
        (response.status, response.body) == (reuse.status, reuse.body)
        and found == required
        # Ours: what was once selected by is not forgotten when a 304 names something else.
        and set(names(lines(reuse.required, "vary"))) <= set(names(lines(response.fields, "vary")))
        and reuse.youngest - 1e-6 <= outcome.age <= reuse.oldest + 1e-6
    )


def differs(outcome: Outcome, allowed: list[Reuse], why_not: object = ()) -> str:
    return f"\nsent {outcome}\nnot one of {allowed}\nwhy not: {why_not}"


def is_passed_on(response: Response, origins: Response) -> bool:
    """RFC 9111 section 4.3.3: a full response is used as it is; without what is hop-by-hop."""
    of_connection = connection_names(origins.fields)

    def end_to_end(fields: Fields) -> list[tuple[str, str]]:
        named = [(name.lower(), value) for name, value in fields]
        return sorted(one for one in named if one[0] not in of_connection)

    same = (response.status, response.body) == (origins.status, origins.body)
    return same and end_to_end(response.fields) == end_to_end(origins.fields)


def check_stored(outcome: Outcome, begun: Asked, last: Exchange) -> None:
    """What says that it was stored may be (RFC 9111 section 3); a 304 updates what is."""
    if outcome.stored and last.response is not None and last.response.status != 304:
        assert why_not_stored(last.request, last.response) == (), "stored"


def check_contents(stored: list[bytes], exchanges: list[Exchange]) -> None:
    """Nothing is in the store that must not be: no content, no field, no cookie."""
    everything = b"\n".join(stored).decode("latin-1")
    for exchange in exchanges:
        for text in forbidden(exchange):
            assert text not in everything, f"{text} of {exchange} is stored"


def forbidden(exchange: Exchange) -> list[str]:
    """The parts of an exchange that must not be stored, as texts that occur in no other."""
    response = exchange.response
    assert response is not None
    must_not = why_not_stored(exchange.request, response)
    is_content = must_not and response.status != 304 and exchange.request.method == "GET"
    excluded = ("set-cookie", *excluded_names(response))
    is_own = [(name, value) for name, value in response.fields if value.endswith(";")]
    texts = [response.body.decode()] if is_content else []
    return texts + [
        value
        for name, value in is_own
        if name.lower() in excluded or (must_not and response.status != 304)
    ]
