"""How long a response is fresh and how old it is (RFC 9111 section 4.2)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.entry import StoredResponse
from flask_larder.freshness import (
    LONGEST_LIFETIME,
    current_age,
    freshness_lifetime,
    remaining_lifetime,
)

ORIGIN = "http://api.example"
NOW = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
LATE = "Thu, 26 Nov 2026 01:00:30 GMT"
SECONDS = st.floats(min_value=0, max_value=1e10)
INSTANTS = st.floats(min_value=0, max_value=1e10)


def stored(at: float, lifetime: float) -> StoredResponse:
    return StoredResponse(ORIGIN, 200, (), b"", stored_at=at, lifetime=lifetime)


# --- lifetime ---


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
    assert freshness_lifetime(50.0, (), directives, NOW) == lifetime


def test_no_lifetime_is_longer_than_a_year() -> None:
    """What is kept "for ever" is kept for a year."""
    assert freshness_lifetime(1e12, (), {}, NOW) == LONGEST_LIFETIME
    assert freshness_lifetime(1e12, (), {"max-age": str(2**31)}, NOW) == LONGEST_LIFETIME


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
    assert freshness_lifetime(50.0, fields, {}, NOW) == lifetime


def test_max_age_stands_above_expires() -> None:
    """RFC 9111 section 5.3."""
    fields = (("Expires", "0"),)
    assert freshness_lifetime(50.0, fields, {"max-age": "10"}, NOW) == 10.0
    assert freshness_lifetime(50.0, fields, {"s-maxage": "10"}, NOW) == 10.0


@given(SECONDS, st.none() | st.text() | st.integers(min_value=0).map(str))
def test_a_lifetime_is_between_nothing_and_the_policy(timeout: float, max_age: str | None) -> None:
    """Whatever the response says, the policy's timeout is the upper bound."""
    assert 0 <= freshness_lifetime(timeout, (), {"max-age": max_age}, NOW) <= timeout


# --- age ---


def test_age_is_the_time_since_it_was_stored() -> None:
    """Age grows by a second each second, fractions included."""
    assert current_age(stored(at=100.0, lifetime=5.0), now=100.0) == 0.0
    assert current_age(stored(at=100.0, lifetime=5.0), now=102.5) == 2.5


def test_age_is_never_negative() -> None:
    """A host whose clock is ahead may have stored it "in the future"."""
    assert current_age(stored(at=100.0, lifetime=5.0), now=40.0) == 0.0


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
    assert current_age(response, now + later) >= age
    assert remaining_lifetime(response, now + later) <= remaining
