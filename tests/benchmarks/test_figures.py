"""Medians, percentiles and ratios."""

import pytest

from benchmarks.figures import Ratio, median, percentile, ratio


@pytest.mark.parametrize(("values", "expected"), [([3, 1, 2], 2), ([4, 1, 2, 3], 2.5), ([7], 7)])
def test_median(values: list[float], expected: float) -> None:
    """The value in the middle, in whichever order they come."""
    assert median(values) == expected


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentile(percent: float, expected: float) -> None:
    """The nearest rank, which is always a value that was measured."""
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_percentile_of_nothing() -> None:
    """There is none."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_ratio() -> None:
    """That of the medians, and those of the single rounds, of which each compares its own two."""
    assert ratio([10, 30, 20], [1, 2, 4]) == Ratio(10.0, 5.0, 15.0)
