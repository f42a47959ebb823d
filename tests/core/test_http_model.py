"""The engine beside a model of a shared cache that was written from the RFCs alone."""

import pytest

from tests.core.http_comparison import Comparison, Origin, Outcome
from tests.core.http_grammar import Fields
from tests.core.http_rules import Moment, Request, Response
from tests.core.http_stories import START, Step

URL = "http://api.example/a"


# --- the comparison itself ---


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
