"""The calls of an application are counted, and the same each time."""

from benchmarks.calls import counted
from benchmarks.contenders import named


def test_calls_are_the_same_each_time() -> None:
    """Those of a view that is not cached, which takes a hit for what a miss is."""
    (uncached,) = named("uncached")
    first, second = (counted(uncached, "redis://127.0.0.1:1/0") for _ in range(2))
    assert first == second
    assert first["hit"] == first["miss"] > 100


def test_a_hit_calls_fewer_than_a_miss() -> None:
    """In the memory of the process, whatever the store."""
    (simple,) = named("larder-simple")
    seen = counted(simple, "")
    assert 0 < seen["hit"] < seen["miss"]
