"""How long a response is fresh and how old it is (RFC 9111 section 4.2)."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.entry import StoredResponse
from flask_larder.freshness import (
    LONGEST_LIFETIME,
    MOST_AHEAD,
    current_age,
    explicit_lifetime,
    freshness_lifetime,
    heuristic_lifetime,
    initial_age,
    must_be_validated,
    received_age,
    remaining_lifetime,
    stale_window,
    staleness,
)
from flask_larder.headers import Fields

ORIGIN = "http://api.example"
NOW = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
LATE = "Thu, 26 Nov 2026 01:00:30 GMT"
SECONDS = st.floats(min_value=0, max_value=1e10)
INSTANTS = st.floats(min_value=0, max_value=1e10)


def stored(at: float, lifetime: float) -> StoredResponse:
    return StoredResponse(ORIGIN, 200, (), b"", stored_at=at, lifetime=lifetime)


def lifetime_of(timeout: float, fields: Fields, directives: Mapping[str, str | None]) -> float:
    """What a response with *fields* gets of a policy's *timeout*."""
    return freshness_lifetime(timeout, explicit_lifetime(fields, directives, NOW))


@pytest.mark.parametrize(
    ("directives", "lifetime"),
    [
        ({}, 50.0),
        ({"max-age": "10"}, 10.0),
        ({"s-maxage": "10"}, 10.0),
        ({"max-age": "10", "s-maxage": "20"}, 20.0),
        ({"max-age": "20", "s-maxage": "10"}, 10.0),
        ({"max-age": "0"}, 0.0),
        ({"max-age": "40", "s-maxage": "0"}, 0.0),
        ({"max-age": "soon"}, 0.0),
        ({"max-age": None}, 0.0),
        ({"max-age": "1000"}, 50.0),
        ({"s-maxage": "1000", "max-age": "1"}, 50.0),
        ({"public": None, "must-revalidate": None}, 50.0),
    ],
)
def test_a_response_shortens_what_the_policy_says(
    directives: dict[str, str | None], lifetime: float
) -> None:
    """``s-maxage`` stands above ``max-age``, and neither lengthens the policy's 50 seconds."""
    assert lifetime_of(50.0, (), directives) == lifetime


def test_no_lifetime_is_longer_than_a_year() -> None:
    """What is kept "for ever" is kept for a year."""
    assert lifetime_of(1e12, (), {}) == LONGEST_LIFETIME
    assert lifetime_of(1e12, (), {"max-age": str(2**31)}) == LONGEST_LIFETIME


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ((("Expires", "Thu, 26 Nov 2026 00:00:20 GMT"),), 20.0),
        ((("Expires", "Thu, 26 Nov 2026 00:01:00 GMT"),), 50.0),
        ((("Expires", "Wed, 25 Nov 2026 00:00:00 GMT"),), 0.0),
        ((("Expires", "Thursday, 26-Nov-26 00:00:20 GMT"),), 20.0),
        ((("Expires", "0"),), 0.0),
        ((("Expires", "-1"),), 0.0),
        ((("Expires", ""),), 0.0),
        ((("Expires", "Thu, 26 Nov 2026 00:00:20 GMT"), ("Expires", "0")), 20.0),
        ((("Expires", LATE), ("Date", "Thu, 26 Nov 2026 01:00:00 GMT")), 30.0),
        ((("Expires", "Thu, 26 Nov 2026 00:00:20 GMT"), ("Date", "soon")), 20.0),
    ],
)
def test_expires_shortens_what_the_policy_says(
    fields: tuple[tuple[str, str], ...], lifetime: float
) -> None:
    """RFC 9111 section 5.3: counted from ``Date``, by another clock; what is no date is past."""
    assert lifetime_of(50.0, fields, {}) == lifetime


def test_max_age_stands_above_expires() -> None:
    """RFC 9111 section 5.3."""
    fields = (("Expires", "0"),)
    assert lifetime_of(50.0, fields, {"max-age": "10"}) == 10.0
    assert lifetime_of(50.0, fields, {"s-maxage": "10"}) == 10.0


@given(SECONDS, st.none() | st.text() | st.integers(min_value=0).map(str))
def test_a_lifetime_is_between_nothing_and_the_policy(timeout: float, max_age: str | None) -> None:
    """Whatever the response says, the policy's timeout is the upper bound."""
    assert 0 <= lifetime_of(timeout, (), {"max-age": max_age}) <= timeout


@pytest.mark.parametrize(
    ("directives", "lifetime"),
    [
        ({"no-cache": None, "max-age": "10"}, 0.0),
        ({"no-cache": "not a name", "max-age": "10"}, 0.0),
        ({"no-cache": "x-a", "max-age": "10"}, 10.0),
        ({}, None),
        ({"public": None}, None),
    ],
)
def test_a_response_may_state_no_lifetime_or_none(
    directives: dict[str, str | None], lifetime: float | None
) -> None:
    """To be validated each time is to be never fresh (RFC 9111 section 5.2.2.4)."""
    assert explicit_lifetime((), directives, NOW) == lifetime


@pytest.mark.parametrize(
    ("status", "directives", "changed", "lifetime"),
    [
        (200, {}, "Wed, 25 Nov 2026 23:43:20 GMT", 100.0),  # 1,000 s ago
        (410, {}, "Wed, 25 Nov 2026 23:43:20 GMT", 100.0),
        (201, {}, "Wed, 25 Nov 2026 23:43:20 GMT", 0.0),
        (201, {"public": None}, "Wed, 25 Nov 2026 23:43:20 GMT", 100.0),
        (200, {}, "Sun, 26 Nov 2006 00:00:00 GMT", 86400.0),
        (200, {}, "Fri, 27 Nov 2026 00:00:00 GMT", 0.0),
        (200, {}, "yesterday", 0.0),
    ],
)
def test_what_has_not_changed_for_long_is_fresh_for_a_while(
    status: int, directives: dict[str, str | None], changed: str, lifetime: float
) -> None:
    """RFC 9111 section 4.2.2: a tenth of the time, a day at most, where the status allows it."""
    fields = (("Last-Modified", changed),)
    assert heuristic_lifetime(status, fields, directives, NOW) == lifetime


def test_without_a_last_change_nothing_is_guessed() -> None:
    """A 200 that says nothing at all is not fresh."""
    assert heuristic_lifetime(200, (), {"public": None}, NOW) == 0.0


MINUTE_AGO = ("Date", "Wed, 25 Nov 2026 23:59:00 GMT")


@pytest.mark.parametrize(
    ("fields", "delay", "age"),
    [
        ((), 0.0, 0.0),
        ((), 2.5, 2.5),
        ((("Age", "100"),), 2.5, 102.5),
        ((("Age", "100"), MINUTE_AGO), 0.0, 100.0),
        ((("Age", "10"), MINUTE_AGO), 0.0, 60.0),
        ((("Age", "10"), ("Date", "now")), 0.0, 10.0),
        ((("Date", "Thu, 26 Nov 2026 01:00:00 GMT"),), 0.0, 0.0),
        ((("Age", "7, 100"),), 0.0, 7.0),
        ((("Age", "7"), ("Age", "100")), 0.0, 7.0),
        ((("Age", "-7"),), 0.0, 0.0),
        ((("Age", "7.5"),), 0.0, 0.0),
        ((("Age", "x, 7"),), 0.0, 0.0),
        ((("Age", ""),), 0.0, 0.0),
        ((("Age", "9" * 5000),), 0.0, 2.0**31),
    ],
)
def test_a_response_may_be_old_already_when_it_comes(
    fields: Fields, delay: float, age: float
) -> None:
    """RFC 9111 section 4.2.3: the older of what ``Date`` and what ``Age`` with the delay say."""
    assert initial_age(fields, delay, NOW) == age


def test_age_is_the_time_since_it_was_stored() -> None:
    """Age grows by a second each second, fractions included."""
    assert current_age(stored(at=100.0, lifetime=5.0), now=100.0) == 0.0
    assert current_age(stored(at=100.0, lifetime=5.0), now=102.5) == 2.5


def test_age_is_never_negative() -> None:
    """A host whose clock is ahead may have stored it "in the future"."""
    assert current_age(stored(at=100.0, lifetime=5.0), now=40.0) == 0.0


def test_a_clock_that_was_set_back_makes_nothing_young() -> None:
    """What was stored an hour ahead is as old as that, and not fresh for an hour."""
    response = stored(at=3700.0, lifetime=5.0)
    assert current_age(response, now=100.0) == 3600.0
    assert staleness(response, 100.0, None) == 3595.0


@given(INSTANTS, SECONDS, INSTANTS, SECONDS)
def test_age_and_what_remains_make_up_the_lifetime(
    at: float, lifetime: float, now: float, later: float
) -> None:
    """Both are of one arithmetic; with time age only grows and what remains only shrinks."""
    response = stored(at, lifetime)
    age, remaining = current_age(response, now), remaining_lifetime(response, now)

    assert age >= 0
    assert remaining <= lifetime
    assert age + remaining == pytest.approx(lifetime, abs=1e-5)
    if now >= at - MOST_AHEAD:
        assert current_age(response, now + later) >= age
        assert remaining_lifetime(response, now + later) <= remaining


@pytest.mark.parametrize(
    ("directives", "window", "longest"),
    [
        ({}, 60.0, 60.0),
        ({"stale-if-error": "20"}, 20.0, 20.0),
        ({"stale-if-error": "90"}, 60.0, 90.0),
        ({"stale-if-error": "soon"}, 0.0, 0.0),
        ({"stale-if-error": "99999999999"}, 60.0, LONGEST_LIFETIME),
        ({"stale-while-revalidate": "20"}, 60.0, 60.0),
        ({"s-maxage": "9"}, 0.0, 0.0),
        ({"s-maxage": "9", "stale-if-error": "20"}, 20.0, 20.0),
        ({"must-revalidate": None, "stale-if-error": "20"}, 0.0, 0.0),
        ({"proxy-revalidate": None}, 0.0, 0.0),
        ({"no-cache": None}, 0.0, 0.0),
        ({"no-cache": "x-a"}, 60.0, 60.0),
    ],
)
def test_a_window_is_what_the_policy_and_the_response_say(
    directives: dict[str, str | None], window: float, longest: float
) -> None:
    """A response shortens the policy's 60 seconds; it lengthens them where it is the policy."""
    given = ("stale-if-error", 60.0, directives)
    assert stale_window(*given, may_lengthen=False) == window
    assert stale_window(*given, may_lengthen=True) == longest


@pytest.mark.parametrize(
    ("directives", "must_be"),
    [
        ({"must-revalidate": None}, True),
        ({"proxy-revalidate": None}, True),
        ({"no-cache": None}, True),
        ({"no-cache": "x-a"}, False),
        ({"s-maxage": "1"}, False),
        ({}, False),
    ],
)
def test_some_responses_must_be_validated(
    directives: dict[str, str | None], *, must_be: bool
) -> None:
    """RFC 9111 sections 5.2.2.2, 5.2.2.4 and 5.2.2.8."""
    assert must_be_validated(directives) == must_be


def test_a_received_age_is_a_number_or_nothing() -> None:
    """RFC 9111 section 5.1."""
    assert received_age((("Age", "7"),)) == 7.0
    assert received_age((("Age", "seven"),)) == received_age(()) == 0.0
