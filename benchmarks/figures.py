"""Medians, percentiles and ratios of what several rounds have given."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def median(values: Sequence[float]) -> float:
    """The value in the middle; between the two in the middle where their number is even."""
    return float(statistics.median(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not exceeded by *percent* of them (the nearest rank)."""
    if not values:
        raise ValueError("no values, so no percentile")
    ordered = sorted(values)
    return float(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)])


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of medians, and the lowest and highest ratio that one round gave by itself."""

    of_medians: float
    lowest: float
    highest: float


def ratio(values: Sequence[float], others: Sequence[float]) -> Ratio:
    """How many times *others* the *values* are, of which those of one round stand at one place."""
    each = [a / b for a, b in zip(values, others, strict=False)]
    return Ratio(median(values) / median(others), min(each), max(each))
