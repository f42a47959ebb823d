"""What the ``Cache-Control`` of a request asks of a cache (RFC 9111 section 5.2.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.entry import Request
from flask_larder.requested import (
    directives_of,
    forbids_storing,
    is_too_near_its_end,
    is_too_old,
    is_unwelcome_stale,
    may_offer,
    takes_stale,
    wants_only_stored,
    wants_validation,
)


def request(**fields: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Request("GET", "http", "api.example", "", "/", b"", named)


@pytest.mark.parametrize(
    ("fields", "directives"),
    [
        ({}, {}),
        ({"cache_control": "Max-Age=5, no-store"}, {"max-age": "5", "no-store": None}),
        ({"pragma": "no-cache"}, {"no-cache": None}),
        ({"pragma": "x, No-Cache"}, {"no-cache": None}),
        ({"pragma": "no-cache", "cache_control": "max-age=5"}, {"max-age": "5"}),
        ({"pragma": "no-cache", "cache_control": ""}, {}),
        ({"pragma": "something"}, {}),
    ],
)
def test_the_directives_of_a_request(
    fields: dict[str, str], directives: dict[str, str | None]
) -> None:
    """``Pragma`` counts only without ``Cache-Control`` (RFC 9111 section 5.4)."""
    assert directives_of(request(**fields)) == directives


@pytest.mark.parametrize(
    ("directives", "age", "reason"),
    [
        ({"max-age": "10"}, 10.0, None),
        ({"max-age": "10"}, 10.1, "max-age"),
        ({"max-age": "0"}, 0.1, "max-age"),
        ({"max-age": "soon"}, 99.0, None),
        ({"max-age": None}, 99.0, None),
        ({"max-age": "-1"}, 99.0, None),
        ({}, 99.0, None),
    ],
)
def test_max_age(directives: dict[str, str | None], age: float, reason: str | None) -> None:
    """Nothing that is older; what is malformed asks for nothing."""
    assert is_too_old(directives, age) == reason


@pytest.mark.parametrize(
    ("directives", "ttl", "reason"),
    [
        ({"max-age": "30"}, 0.1, None),
        ({"max-age": "30"}, 0.0, "max-age"),
        ({"max-age": "30"}, -1.0, "max-age"),
        ({"max-age": "30", "max-stale": None}, -1.0, None),
        ({"max-age": "x"}, -1.0, None),
        ({}, -1.0, None),
    ],
)
def test_who_gives_a_max_age_wants_nothing_stale(
    directives: dict[str, str | None], ttl: float, reason: str | None
) -> None:
    """RFC 9111 section 5.2.1.1; what has no time left is stale (section 4.2)."""
    assert is_unwelcome_stale(directives, ttl) == reason


@pytest.mark.parametrize(
    ("directives", "ttl", "reason"),
    [
        ({"min-fresh": "10"}, 10.0, None),
        ({"min-fresh": "10"}, 9.9, "min-fresh"),
        ({"min-fresh": "0"}, -1.0, "min-fresh"),
        ({"min-fresh": "x"}, 1.0, None),
    ],
)
def test_min_fresh(directives: dict[str, str | None], ttl: float, reason: str | None) -> None:
    """Nothing that is not fresh for so long."""
    assert is_too_near_its_end(directives, ttl) == reason


@pytest.mark.parametrize(
    ("directives", "stale_for", "is_taken"),
    [
        ({"max-stale": None}, 1e9, True),
        ({"max-stale": "10"}, 10.0, True),
        ({"max-stale": "10"}, 10.1, False),
        ({"max-stale": "x"}, 0.0, False),
        ({}, 0.0, False),
    ],
)
def test_max_stale(directives: dict[str, str | None], stale_for: float, is_taken: bool) -> None:
    """Without a number, however stale it is; with a malformed one, nothing."""
    assert takes_stale(directives, stale_for) == is_taken


def test_the_others() -> None:
    """They have no number; one that is there is ignored."""
    for directives in ({"no-cache": None}, {"no-cache": "x"}):
        assert wants_validation(directives) == "no-cache"
        assert may_offer(directives, 0.0, 99.0) == "no-cache"
    assert forbids_storing({"no-store": None}) == "request-no-store"
    assert wants_only_stored({"only-if-cached": None})
    assert not any(ask({}) for ask in (wants_validation, forbids_storing, wants_only_stored))


@given(st.text(), st.floats(0, 1e9), st.floats(-1e9, 1e9))
def test_no_field_raises(value: str, age: float, ttl: float) -> None:
    """Whatever a client sends."""
    directives = directives_of(request(cache_control=value))
    may_offer(directives, age, ttl)
    takes_stale(directives, -ttl)
