"""The tail of a sample, as far as it reaches: plain percentiles, which claim nothing beyond the sample."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Tail:
    """`n` values and the percentiles that they support: null where less than one value is expected beyond it."""

    n: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


def tail(values: Iterable[float | None], *, failures: int = 0) -> Tail:
    """Describe the values that are there; `failures` more count as infinite: they never came."""
    ordered = sorted(value for value in values if value is not None) + [math.inf] * failures
    return Tail(len(ordered), *(_percentile(ordered, percent) for percent in PERCENTS))


def supports(n: int, percent: float) -> bool:
    """Tell whether at least one of n values is expected beyond a percentile."""
    return n > 0 and n * (100 - percent) >= 100


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return a percentile by interpolated order statistics."""
    if not supports(len(ordered), percent):
        return None
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    below, share = ordered[low], place - low
    if not share or math.isinf(below):
        return below
    return below + (ordered[low + 1] - below) * share
