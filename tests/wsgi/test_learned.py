"""How a hit is rendered, for how long that holds, and what a server gets of it."""

import math
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from werkzeug.test import create_environ

from flask_larder.entries import Entries
from flask_larder.entry import NO_TARGETS, StoredResponse
from flask_larder.learned import FOR_FLASK, Lesson, Tier
from flask_larder.local_purges import LocalPurges
from flask_larder.memory import L1, MemoryStore
from flask_larder.purges import ALL, Purge, PurgeTable
from flask_larder.rendered import Additions, Rendered
from flask_larder.wsgi import LESSON, BeforeFlask
from tests.targets import targets

ALL_OF_IT = Additions(vary=frozenset({"accept"}), status=True, tags=True, hit_indication=True)
FIELDS = (("Content-Type", "text/plain"), ("ETag", '"1"'))
START = 1_000_000.0


def response(lifetime: float = 60.0, stored_at: float = START) -> StoredResponse:
    return StoredResponse(
        "http://api.example", 200, FIELDS, b"body", stored_at, lifetime, (1, 0), targets("a", "b")
    )


def shown(rendered: Rendered) -> list[tuple[str, str]]:
    return [field for field in rendered.whole[1] if field[0] != "Server-Timing"]


@given(
    age=st.floats(0, 50, exclude_min=True),
    lifetime=st.floats(55, 100),
)
def test_what_is_rendered_is_the_same_until_it_changes(age: float, lifetime: float) -> None:
    """Age and ttl count whole seconds, which begin at different moments."""
    stored, now = response(lifetime), START + age
    first = Rendered(stored, ALL_OF_IT, now, 0.0)
    assert 0 <= first.changes_in <= 1.0
    if first.changes_in > 0.001:
        before = Rendered(stored, ALL_OF_IT, now + first.changes_in - 0.0005, 0.0)
        assert shown(before) == shown(first)
    after = Rendered(stored, ALL_OF_IT, now + first.changes_in + 0.0005, 0.0)
    assert shown(after) != shown(first)


def test_a_clock_that_is_behind_makes_no_age_below_0() -> None:
    """That of another host, which has stored it."""
    rendered = Rendered(response(stored_at=START + 5), ALL_OF_IT, START, 0.0)
    assert ("Age", "0") in rendered.whole[1]
    assert 0 <= rendered.changes_in <= 1.0


class Silent(LocalPurges):
    """Purges of which nothing is heard from a moment on."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__(100, lambda: START)
        self._monotonic = monotonic
        self.holds_until = math.inf

    def known(self) -> PurgeTable | None:  # type: ignore[override]
        return super().known() if self._monotonic() <= self.holds_until else None

    def known_until(self) -> float:
        return self.holds_until


class House:
    """An app that teaches its only URL, and what stands before it."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.answered = 0
        self.purges = Silent(lambda: self.elapsed)
        self.store = MemoryStore(max_entries=10, max_bytes=10_000, clock=lambda: 0.0)
        self.memory = L1(max_bytes=100_000, seconds=10.0, clock=lambda: self.elapsed)
        self.entries = Entries(self.store, self.memory)
        self.tier = Tier(
            *(self.entries, self.memory, self.purges, lambda _: nullcontext()),
            clock=lambda: START + self.elapsed,
            monotonic=lambda: self.elapsed,
        )
        self.lesson = Lesson(
            tier=self.tier,
            key="k",
            variants=None,
            origin="http://api.example",
            url=NO_TARGETS,
            additions=ALL_OF_IT,
            is_open=lambda: True,
            by_query=False,
            fields=(),
            for_flask=FOR_FLASK,
            session="session",
            early_factor=0.0,
            is_checked=False,
        )
        self.before = BeforeFlask(self._flask)
        self.keep(self.entries)
        self.ask()

    def keep(self, entries: Entries, body: bytes = b"body") -> None:
        entries.keep("k", replace(response(), position=self.purges.position(), body=body), 600.0)

    def _flask(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.answered += 1
        environ[LESSON] = self.lesson
        start_response("200 OK", [])
        return [b"from the app"]

    def ask(self, method: str = "GET", **fields: str) -> tuple[str, list[tuple[str, str]], Any]:
        """The status, the fields themselves that the server gets, and the body."""
        seen: list[Any] = []
        environ = create_environ("/page", "http://api.example", method=method, headers=fields)
        environ.pop("CONTENT_LENGTH", None)
        body = self.before(
            environ, lambda status, fields, exc_info=None: seen.append((status, fields))
        )
        ((status, fields_sent),) = seen
        return status, fields_sent, body

    def age(self) -> str | None:
        return dict(self.ask()[1]).get("Age")


@pytest.fixture
def house() -> House:
    return House()


def test_the_age_goes_on(house: House) -> None:
    """Also of what is in memory."""
    ages = []
    for house.elapsed in (0.0, 0.9, 1.0, 1.9, 2.5, 9.0):
        ages.append(house.age())
    assert ages == ["0", "0", "1", "1", "2", "9"]
    assert house.answered == 1


def test_nothing_is_sent_when_it_is_no_longer_known_what_was_purged(house: House) -> None:
    """At once, and not when the age is another one."""
    house.purges.holds_until = 0.5
    assert house.age() == "0"
    house.elapsed = 0.4
    assert house.age() == "0"
    house.elapsed = 0.6
    assert house.age() is None
    assert house.answered == 2


def test_a_purge_is_seen_at_once(house: House) -> None:
    """Whatever was rendered just now."""
    assert house.age() == "0"
    house.purges.add(Purge((ALL,)))
    assert house.age() is None


def test_what_is_rendered_is_not_sent_for_longer_than_what_is_remembered(house: House) -> None:
    """Though it would be the same for longer."""
    house.elapsed = 0.5
    house.keep(house.entries)
    house.elapsed = 10.2
    assert house.age() == "10"
    house.keep(Entries(house.store), b"new!")  # as another process does
    house.elapsed = 10.4
    assert house.ask()[2] == [b"body"]
    house.elapsed = 10.6
    assert house.ask()[2] == [b"new!"]
    assert house.answered == 1


@pytest.mark.parametrize("elapsed", [0.0, 1.0])
def test_what_is_sent_counts_as_used(house: House, elapsed: float) -> None:
    """Also where it is sent as it was rendered before."""
    assert house.age() == "0"
    record = house.memory.here().get("k")
    assert record is not None
    record.is_used, house.elapsed = False, elapsed
    house.ask()
    assert record.is_used
    assert house.answered == 1


def test_what_a_server_does_to_the_fields_is_not_seen_by_the_next_client(house: House) -> None:
    """WSGI gives the list to the server, and middleware adds to it."""
    for number in range(3):
        fields = house.ask()[1]
        assert "X-Client" not in dict(fields)
        fields.append(("X-Client", str(number)))
    assert house.answered == 1


@pytest.mark.parametrize(("method", "fields"), [("HEAD", {}), ("GET", {"If-None-Match": '"1"'})])
def test_what_has_no_body_has_no_chunk(house: House, method: str, fields: dict[str, str]) -> None:
    """Servers of the standard library would take the length of an empty one for the response's."""
    house.ask(method)
    status, sent, body = house.ask(method, **fields)
    assert list(body) == []
    assert status == ("304 NOT MODIFIED" if fields else "200 OK")
    assert dict(sent).get("Content-Length") == (None if fields else "4")


def test_a_child_that_was_forked_without_pythons_hooks_learns_for_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers in C fork: from when it would render anew, it knows nothing of its parent's."""
    assert house.age() == "0"
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    house.elapsed = 1.0
    assert house.age() is None
    assert house.answered == 2
    # Its memory is its own, too.
    house.keep(house.entries)
    assert house.age() == "1"
    assert house.answered == 2


def test_a_child_that_python_has_forked_learns_for_itself_at_once(house: House) -> None:
    """What its parent knew stays behind, with the locks of that."""
    assert house.age() == "0"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            house.ask()
            code = 0 if house.answered == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
