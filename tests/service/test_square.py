"""``GET /square/<number>`` over HTTP, under both servers."""

import re
from collections.abc import Callable

import pytest

from tests.service.conftest import SERVERS
from tests.service.processes import Service, wait_until


def test_asked_again_it_is_not_computed_again(service: Service, number: int) -> None:
    """One worker computes, both answer: the same body, one log line."""
    answers = [service.get(f"/square/{number}") for _ in range(3)]
    pids: set[str] = set()

    def both_have_answered() -> bool:
        answers.append(service.get(f"/square/{number}"))
        lines = service.lines(f"GET /square/{number} 200")
        pids.update(re.search(r"\[(\d+)\]", line)[1] for line in lines)  # type: ignore[index]
        return len(pids) == 2

    wait_until(both_have_answered)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["computed"] for answer in answers} == {number**2}
    assert len({answer.content for answer in answers}) == 1
    first, *rest = [answer.headers["Cache-Status"] for answer in answers]
    assert first == "larder; fwd=uri-miss; stored; ttl=50"
    assert all(re.fullmatch(r"larder; hit; ttl=\d+", status) for status in rest)
    assert len(service.lines(f"Computing the square of {number}")) == 1


@pytest.mark.parametrize("server", SERVERS)
def test_after_the_timeout_it_is_computed_again(
    start: Callable[..., Service], server: str, number: int
) -> None:
    """Once the entry has expired in the store, the view runs again."""
    service = start(SERVER=server, CACHE_L1_BYTES="0")  # here before its time
    service.get(f"/square/{number}")
    with service.store() as store:
        (key,) = store.scan_iter(f"*/square/{number}")
        assert 0 < store.pttl(key) <= 50_000
        assert store.pexpire(key, 1)
        wait_until(lambda: not store.exists(key))
    assert "fwd=uri-miss" in service.get(f"/square/{number}").headers["Cache-Status"]
    assert len(service.lines(f"Computing the square of {number}")) == 2


def test_keys_can_be_read_and_expire(service: Service, number: int) -> None:
    """A GUI on the store shows the path, a time to live, and the JSON."""
    service.get(f"/square/{number}")
    with service.store() as store:
        (key,) = store.scan_iter(f"*/square/{number}")
        assert store.type(key) == b"string"
        assert store.get(key).endswith(b'{"computed":%d}\n' % number**2)
        assert all(store.ttl(each) > 0 for each in store.scan_iter("*", _type="string"))
        assert list(store.scan_iter("*", _type="stream")) == [b"flask_cache_larder1:purges"]


@pytest.mark.parametrize(
    ("number", "square"),
    [("0", 0), ("-4", 16), ("-1", 1), ("9" * 1000, int("9" * 1000) ** 2), ("-" + "9" * 1000, None)],
    ids=["zero", "negative", "minus one", "1,000 digits", "negative with 1,000 digits"],
)
def test_integers(service: Service, number: str, square: int | None) -> None:
    """Any integer of up to 1,000 digits has a square."""
    answer = service.get(f"/square/{number}")
    assert answer.status_code == 200
    assert answer.json() == {"computed": int(number) ** 2 if square is None else square}


@pytest.mark.parametrize("number", ["1" + "0" * 1000, "-1" + "0" * 1000, "9" * 4000])
def test_too_many_digits(service: Service, number: str) -> None:
    """More than 1,000 digits are refused, and the refusal is not stored."""
    for _ in range(2):
        answer = service.get(f"/square/{number}")
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"] == "The number has more than 1000 digits."
        assert "hit" not in answer.headers["Cache-Status"]


@pytest.mark.parametrize(
    "number",
    [
        "abc",
        "-0",
        "+4",
        "%2B4",
        "04",
        "%D9%A4",
        "4.0",
        "1_000",
        "%204",
        "4%20",
        "4%0A",
        "--4",
        "-",
        "4%00",
    ],
)
def test_one_way_to_write_an_integer(service: Service, number: str) -> None:
    """Else one square would have many URLs, and many entries."""
    answer = service.get(f"/square/{number}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 404
