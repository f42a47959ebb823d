"""What clients ask of the cache, where ``CACHE_REQUEST_DIRECTIVES`` lets them."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_larder import Cache
from tests.flask.answers import Counter, Get, status_of

Ask = Callable[..., Any]


@pytest.fixture
def page(app: Flask, count: Counter) -> Cache:
    """A view that may be sent stale, and counts its runs."""
    app.config["CACHE_REQUEST_DIRECTIVES"] = True
    cache = Cache(app)

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> str:
        return str(count())

    return cache


@pytest.fixture
def asking(get: Get) -> Ask:
    """Sends a request that has that ``Cache-Control``."""
    return lambda control: get("/", headers={"Cache-Control": control})


@pytest.mark.parametrize("control", ["no-cache", "max-age=0", "min-fresh=301"])
def test_who_wants_a_newer_answer_gets_it(
    page: Cache, asking: Ask, get: Get, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored for the others, too."""
    get("/")
    answer = asking(control)
    detail = control.partition("=")[0]
    assert (answer.text, status_of(answer)) == (
        "2",
        f"larder; fwd=request; stored; ttl=300; detail={detail}",
    )
    assert get("/").text == "2"


@pytest.mark.parametrize("control", ["max-age=300", "min-fresh=200", "max-age=x", "what=ever", ""])
def test_who_is_content_with_what_is_stored_gets_it(
    page: Cache, asking: Ask, get: Get, control: str
) -> None:
    """Also who asks for what nobody knows."""
    get("/")
    assert status_of(asking(control)) == "larder; hit; ttl=300"


def test_who_takes_what_is_stale_gets_it(page: Cache, asking: Ask, get: Get) -> None:
    """For as long as it is there."""
    get("/")
    page.clear(soft=True)
    assert status_of(asking("max-stale")) == "larder; hit; ttl=-1; detail=max-stale"
    assert status_of(asking("max-stale=60")) == "larder; hit; ttl=-1; detail=max-stale"
    assert status_of(get("/")) == "larder; fwd=stale; stored; ttl=300; detail=purged"


def test_who_wants_nothing_stored(page: Cache, asking: Ask, get: Get) -> None:
    """The answer is for this request only."""
    answer = asking("no-store")
    assert status_of(answer) == "larder; fwd=uri-miss; detail=request-no-store"
    assert get("/").text == "2"


def test_who_wants_only_what_is_stored(page: Cache, asking: Ask, get: Get, count: Counter) -> None:
    """And gets 504 where there is none, or where it is stale."""
    missed = asking("only-if-cached")
    assert (missed.status_code, count.runs) == (504, 0)
    assert "Cache-Status" not in missed.headers  # nobody was asked (RFC 9211 section 2)
    get("/")
    assert asking("only-if-cached").text == "1"
    page.clear(soft=True)
    assert asking("only-if-cached").status_code == 504
    assert asking("only-if-cached, max-stale").text == "1"
    assert count.runs == 1


def test_nobody_is_asked_unless_that_is_switched_on(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """Else a client that reloads would have the view run each time."""

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return str(count())

    for control in ("no-cache", "no-store", "max-age=0", "only-if-cached"):
        assert get("/", headers={"Cache-Control": control, "Pragma": "no-cache"}).text == "1"
