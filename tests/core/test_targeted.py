"""Targeted fields (RFC 9213): structured dictionaries, in place of ``Cache-Control``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.targeted import targeted_directives

TARGETS = ("edge-cache-control", "cdn-cache-control")


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        ("max-age=60", {"max-age": "60"}),
        ("max-age=60, must-revalidate;x=1", {"max-age": "60", "must-revalidate": None}),
        ('no-cache="Set-Cookie"', {"no-cache": "Set-Cookie"}),
        ("private=x", {"private": "x"}),
        ("max-age=1.5", {"max-age": "1.5"}),  # which is no time
        ("max-age=-1", {"max-age": "-1"}),
        ("no-store=?0, max-age=1", {"max-age": "1"}),
        ("max-age=(1 2)", {"max-age": ""}),
        ("max-age=60, max-age=10", {"max-age": "10"}),
        ("", None),
        ("max-age=", None),
        ("MAX-AGE=60", None),
        ("max-age=60,", None),
        ("max-age=60; a; B", None),
        ("\u20ac", None),
    ],
)
def test_its_value_is_a_structured_dictionary(
    value: str, directives: dict[str, str | None] | None
) -> None:
    """RFC 9213 section 2.1: one that is malformed, or empty, is as if it were not there."""
    assert targeted_directives((("CDN-Cache-Control", value),), TARGETS) == directives


def test_the_first_usable_one_counts() -> None:
    """RFC 9213 section 2.2: in the order of the list, not of the fields."""
    cdn, edge = ("CDN-Cache-Control", "max-age=1"), ("Edge-Cache-Control", "max-age=2")
    assert targeted_directives((cdn, edge), TARGETS) == {"max-age": "2"}
    assert targeted_directives((cdn, (edge[0], "=")), TARGETS) == {"max-age": "1"}
    assert targeted_directives((("Other-Cache-Control", "max-age=1"),), TARGETS) is None


def test_its_lines_are_one_value() -> None:
    """RFC 9651 section 4.2."""
    lines = (("CDN-Cache-Control", "max-age=1"), ("cdn-cache-control", "no-store"))
    assert targeted_directives(lines, TARGETS) == {"max-age": "1", "no-store": None}


@given(st.text())
def test_anything_can_be_read(value: str) -> None:
    """Nothing in it raises."""
    targeted_directives((("CDN-Cache-Control", value),), TARGETS)
