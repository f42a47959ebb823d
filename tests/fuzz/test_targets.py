"""Each parser and decoder, fed with any bytes: no exception but ours, and linear time."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import BEGINNINGS, TARGETS, WORDS

INPUTS = st.lists(
    st.sampled_from(WORDS)
    | st.sampled_from([b",", b"=", b";", b"\n", b"\\", b" ", b"\t", b"&", b"0", b"\xb2", b"%"])
    | st.binary(max_size=8),
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(data=INPUTS)
@example(data=b"")
@example(data=b"9" * 5000)
def test_any_input_is_read(name: str, data: bytes) -> None:
    """Nothing else is raised, and what comes back is what it should be."""
    TARGETS[name](data)
    if name in BEGINNINGS:
        TARGETS[name](BEGINNINGS[name] + data)


KILOBYTE = 1024
SHORT, LONG = 32 * KILOBYTE, 128 * KILOBYTE
NEGLIGIBLE_SECONDS = 0.1
"""For the long one. What is quadratic takes seconds for it, also where each step is one of C."""

# What is repeated, and what stands before it, as long as all of that together.
REPEATED = (
    *('"', ",", '\\"', 'W/"', "=", "7", " ", "\t", "a", "&", "%", "*", ", ", "\\", "\n", ";", "/"),
    *('"a",', 'W/"a", ', '"\\', "a=", "max-age=1,", "max-age=x,", 'private="a,', "a=1&", "%41&"),
    *("no-cache,", "Sun, ", "06 Nov ", "0,", " ,\t", "x-a, ", "-", ":", "max-stale, ", "a\nb\n"),
)
BEFORE = (("max-age=", "0"), ("max-age=", "9"), ('"', "a"), ("", " "), ("a", "="))


def seconds_for(name: str, data: bytes) -> float:
    started = time.process_time()
    TARGETS[name](data)
    return time.process_time() - started


def is_linear(name: str, short: bytes, long: bytes) -> bool:
    """Whether four times the input takes at most about four times as long."""
    for _ in range(3):  # others use the machine, too
        taken = seconds_for(name, long)
        if taken < NEGLIGIBLE_SECONDS:
            return True
        if taken < 8 * min(seconds_for(name, short) for _ in range(3)):
            return True
    return False


def repeated(name: str, pattern: str, length: int) -> bytes:
    beginning = BEGINNINGS.get(name, b"")
    return beginning + (pattern * (length // len(pattern))).encode("latin-1")


@pytest.mark.parametrize("name", TARGETS)
def test_time_is_linear(name: str) -> None:
    """Whatever is repeated."""
    slow = [
        pattern
        for pattern in REPEATED
        if not is_linear(name, *(repeated(name, pattern, length) for length in (SHORT, LONG)))
    ]

    assert slow == []


def behind(first: str, filler: str, pattern: str, length: int) -> bytes:
    return f"{first}{filler * (length // 2)},{pattern * (length // 2 // len(pattern))}".encode()


@pytest.mark.parametrize(
    "name",
    ["cache_control", "lists", "vary", "entity_tags", "connection", "conditions", "directives"],
)
def test_time_is_linear_behind_something_long(name: str) -> None:
    """Also where what is repeated is compared with what stands before it."""
    slow = [
        (*before, pattern)
        for before in BEFORE
        for pattern in REPEATED
        if not is_linear(name, *(behind(*before, pattern, length) for length in (SHORT, LONG)))
    ]

    assert slow == []
