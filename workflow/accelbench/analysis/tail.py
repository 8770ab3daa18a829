"""The tail of a sample, as far as it reaches: plain percentiles, which claim nothing beyond the sample."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    there = [value for value in values if value is not None] + [math.inf] * failures
    reached = (quantile(there, percent / 100) if supports(len(there), percent) else None for percent in PERCENTS)
    return Tail(len(there), *reached)


def supports(n: int, percent: float) -> bool:
    """Tell whether at least one of n values is expected beyond a percentile."""
    return n > 0 and n * (100 - percent) >= 100


def quantile(values: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """Return a quantile by interpolated order statistics: the one definition of a percentile here.

    Infinite where a neighbour is (np.quantile has no number for that).
    """
    above = float(np.quantile(values, share, method="higher"))
    return above if math.isinf(above) else float(np.quantile(values, share))
