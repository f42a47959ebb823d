"""What a policy and a response's own fields say together about its times."""

import pytest
from msgspec.structs import replace

from flask_larder.entry import Request
from flask_larder.headers import Fields
from flask_larder.policy import Exchange, Policy
from flask_larder.times import Times, longest_life, may_be_taken_stale, times_of

NOW = 1_700_000_000.0
REQUEST = Request("GET", "http", "api.example", "", "/", b"", {})
STATED = Policy(timeout=50.0, stale_while_revalidate=20.0, stale_if_error=30.0, keep=3600.0)
BY_RESPONSE = Policy(timeout=None, keep=3600.0)
TAG = ("ETag", '"a"')


def times(policy: Policy, control: str, *fields: tuple[str, str], status: int = 200) -> Times:
    """Of a response that took two seconds to come."""
    said: Fields = (("Cache-Control", control), *fields)
    return times_of(Exchange.of(REQUEST, status, said), policy, 2.0, NOW)


@pytest.mark.parametrize(
    ("control", "fields", "expected"),
    [
        ("", (), Times(0.0, 50.0, 20.0, 30.0, 30.0)),
        ("", (TAG,), Times(0.0, 50.0, 20.0, 30.0, 30.0, keep=3600.0)),
        ("max-age=10", (), Times(0.0, 10.0, 20.0, 30.0, 30.0)),
        ("max-age=70", (("Age", "30"),), Times(30.0, 70.0, 20.0, 30.0, 30.0)),
        ("max-age=700", (("Age", "30"),), Times(30.0, 80.0, 20.0, 30.0, 30.0)),
        ("stale-if-error=5", (), Times(0.0, 50.0, 20.0, 5.0, 20.0)),
        ("stale-if-error=500", (), Times(0.0, 50.0, 20.0, 30.0, 30.0)),
        ("must-revalidate", (), Times(0.0, 50.0)),
        ("s-maxage=10, stale-if-error=5", (), Times(0.0, 10.0, 0.0, 5.0)),
        ("no-cache", (TAG,), Times(0.0, 0.0)),
        ("max-age=0", (TAG,), Times(0.0, 0.0)),
    ],
)
def test_a_stated_policy_is_the_most(control: str, fields: Fields, expected: Times) -> None:
    """The timeout counts from when it came, and what the response says from when it was made."""
    assert times(STATED, control, *fields) == expected


@pytest.mark.parametrize(
    ("control", "fields", "expected"),
    [
        ("max-age=60", (), Times(2.0, 60.0)),
        ("max-age=60", (("Age", "30"),), Times(32.0, 60.0)),
        ("max-age=60", (TAG,), Times(2.0, 60.0, max_stale=3600.0, keep=3600.0)),
        ("max-age=60, stale-if-error=99", (), Times(2.0, 60.0, 0.0, 99.0, 99.0)),
        ("max-age=0, stale-while-revalidate=9", (), Times(2.0, 0.0, 9.0, 0.0, 9.0)),
        ("s-maxage=60", (TAG,), Times(2.0, 60.0, keep=3600.0)),
        ("s-maxage=60, stale-if-error=9", (TAG,), Times(2.0, 60.0, 0.0, 9.0, 0.0, 3600.0)),
        ("max-age=60, must-revalidate, stale-if-error=9", (), Times(2.0, 60.0)),
        ("max-age=60, proxy-revalidate", (TAG,), Times(2.0, 60.0, keep=3600.0)),
        ('no-cache="X-A", max-age=60', (), Times(2.0, 60.0)),
        ("no-cache, max-age=60, stale-if-error=9", (TAG,), Times(2.0, 0.0, keep=3600.0)),
    ],
)
def test_a_response_may_be_the_policy(control: str, fields: Fields, expected: Times) -> None:
    """RFC 9111 section 4.2 and RFC 5861: all of it is the response's word."""
    assert times(BY_RESPONSE, control, *fields) == expected


def test_what_a_developer_gives_to_silent_responses_is_for_fresh_ones() -> None:
    """One that is stale at once, or says nothing, may be stale only as long as it says itself."""
    given = replace(BY_RESPONSE, stale_while_revalidate=20.0, stale_if_error=30.0)
    assert times(given, "max-age=60") == Times(2.0, 60.0, 20.0, 30.0, 30.0)
    assert times(given, "max-age=60, stale-if-error=9") == Times(2.0, 60.0, 20.0, 9.0, 20.0)
    for control in ("", "public", "max-age=0", "max-age=-5", "max-age=2"):
        assert not times(given, control).is_of_use, control
    assert times(given, "max-age=0, stale-if-error=9").stale_if_error == 9.0


def test_an_error_is_not_sent_stale() -> None:
    """Sent instead of another error it would help nobody."""
    said = "max-age=60, stale-if-error=99, stale-while-revalidate=99"
    assert times(BY_RESPONSE, said, status=503) == Times(2.0, 60.0)


@pytest.mark.parametrize(
    ("times", "is_of_use"),
    [
        (Times(0.0, 0.0), False),
        (Times(5.0, 5.0), False),
        (Times(5.0, 6.0), True),
        (Times(5.0, 0.0, keep=1.0), True),
        (Times(5.0, 0.0, stale_if_error=1.0), True),
    ],
)
def test_what_can_never_be_sent_is_of_no_use(times: Times, *, is_of_use: bool) -> None:
    """It is fresh, or may be stale, or can be validated."""
    assert times.is_of_use == is_of_use


def test_a_list_of_fields_lives_as_long_as_what_it_leads_to() -> None:
    """As far as that is known before."""
    assert longest_life(STATED) == 3650.0
    assert longest_life(BY_RESPONSE) == 86400.0


@pytest.mark.parametrize(
    ("control", "may_be"),
    [
        ("max-age=1", True),
        ("s-maxage=1", False),
        ("s-maxage=1, stale-if-error=60", False),
        ("must-revalidate", False),
        ("no-cache", False),
        ('no-cache="X-A"', True),
    ],
)
def test_a_client_may_take_some_responses_stale(control: str, *, may_be: bool) -> None:
    """RFC 9111 sections 4.2.4, 5.2.1.2 and 5.2.2.10."""
    assert may_be_taken_stale(Exchange.of(REQUEST, 200, (("Cache-Control", control),))) == may_be
