"""Descriptions, and means and ratios on the log scale with intervals that hold at small n.

An interval is the widest of the t intervals over passage means, over round means and over both (analysis/spread.py);
with fewer than 5 passages or 3 rounds there is none. Its simulated coverage stands in docs/statistics.md.
"""

import math
import statistics
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from accelbench.analysis.spread import CONFIDENCE, MIN_PASSAGES, MIN_ROUNDS, half_width, spreads_of, too_few

__all__ = [
    "CONFIDENCE",
    "MIN_PASSAGES",
    "MIN_ROUNDS",
    "Description",
    "Estimate",
    "Observation",
    "describe",
    "geometric_mean",
]


@dataclass(frozen=True, slots=True)
class Description:
    """A sample in figures."""

    n: int
    mean: float
    median: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, or the reason why there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    why_no_interval: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One value, and what it shares with others: its passage and its round."""

    value: float
    passage: Hashable
    round: Hashable


def describe(values: Iterable[float | None]) -> Description | None:
    """Describe the values that are there; None when there is none. The median of an even n is the usual one."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    return Description(len(there), statistics.fmean(there), statistics.median(there), min(there), max(there))


def geometric_mean(observations: Sequence[Observation]) -> Estimate | None:
    """Estimate the typical one of positive values, on the log scale; None without observations."""
    if not observations:
        return None
    logs = [math.log(o.value) for o in observations]
    passages, rounds = [o.passage for o in observations], [o.round for o in observations]
    middle = statistics.fmean(logs)
    why = too_few(len(set(passages)), len(set(rounds)))
    if why:
        return Estimate(math.exp(middle), None, None, len(logs), why)
    half = half_width(spreads_of(logs, passages, rounds))
    return Estimate(math.exp(middle), math.exp(middle - half), math.exp(middle + half), len(logs))
