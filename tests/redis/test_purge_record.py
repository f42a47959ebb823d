"""How a purge is written to the log, and what is made of what is found there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.purges import ALL, KINDS, Purge
from flask_larder.redis.purge_record import fields_of, id_of, position_of, purge_of

names = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
targets = st.tuples(st.sampled_from(sorted(KINDS - {"all"})), names) | st.just(ALL)
purges = st.builds(
    Purge,
    st.lists(targets, min_size=1, max_size=5).map(tuple),
    st.booleans(),
    st.sampled_from(["", "0123abcd"]),
)


@given(purges)
def test_what_is_written_is_read(purge: Purge) -> None:
    """Any name, also with half a character in it."""
    assert purge_of(list(fields_of(purge))) == purge


@given(st.lists(st.binary(max_size=10) | st.sampled_from([*(k.encode() for k in KINDS), b"soft"])))
def test_nothing_raises(fields: list[bytes]) -> None:
    """Whoever may write to the log, and whatever they write: it purges something."""
    assert purge_of(fields).targets


NOT_UNDERSTOOD = [
    [],
    [b"tag"],
    [b"soft", b"1"],
    [b"tag", b"\xff"],
    [b"tag", b"a", b"region", b"eu"],
    [b"tag", b"a", b"soft", b"0"],
    [b"tag", b"a", b"soft", b"1", b"server", b"nobody"],
    [b"\xff", b"a"],
]


@pytest.mark.parametrize("fields", NOT_UNDERSTOOD)
def test_what_is_not_understood_may_mean_anything(fields: list[bytes]) -> None:
    """So everything is purged, and nothing of that is merely stale."""
    assert purge_of(fields) == Purge((ALL,))


@given(st.tuples(*[st.integers(0, 2**64 - 1)] * 2))
def test_positions(position: tuple[int, int]) -> None:
    """They are the ids of the records."""
    assert position_of(id_of(position)) == position
