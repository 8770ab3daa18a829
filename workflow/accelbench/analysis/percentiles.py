"""Percentiles by order statistics, with distribution-free intervals, where n reaches so far into the tail.

n is deflated by what the requests of one passage share; what the requests of one round share enters as a t interval
over the rounds' own percentiles. The interval spans both, and what they add up to beyond the noise of single requests,
as the means' does (intervals). (Deflating n by the rounds' correlation as well would cover 60 to 80 % with 3 rounds:
three rounds that happen to agree can't tell that they might not.) Failures may be counted as infinite.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from accelbench.analysis.intervals import CONFIDENCE, Influence, Observations, counted, numbered, too_few, worth
from accelbench.analysis.tail import PERCENTS, quantile

_TAIL = (1 - CONFIDENCE) / 2
MIN_PASSAGES = 10  # with 5 that differ much, a p90's interval covers 81 %


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with its 95 % interval; where n does not reach it, only the maximum, and the reason."""

    percent: float
    value: float | None
    low: float | None
    high: float | None
    max: float
    n: int
    n_effective: float | None
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The percentiles that are reported."""

    p50: Percentile
    p90: Percentile
    p95: Percentile
    p99: Percentile


def percentiles(observations: Observations) -> Percentiles | None:
    """Estimate all reported percentiles of positive values; None without observations."""
    if not len(observations):
        return None
    sample = _Sample.of(observations)
    return Percentiles(*(_percentile(sample, percent) for percent in PERCENTS))


def percentile(observations: Observations, percent: float) -> Percentile | None:
    """Estimate a percentile of positive values; None without observations.

    `high` (and `low`, `value`) may be infinite, where so many requests failed.
    """
    return _percentile(_Sample.of(observations), percent) if len(observations) else None


def requests_needed(percent: float) -> int:
    """Return how many independent requests an interval takes: 6, 36, 72 and 368 for p50, p90, p95 and p99."""
    extreme = max(percent, 100 - percent) / 100
    return math.ceil(math.log(_TAIL) / math.log(extreme))


def ranks(share: float, n: int, worth: int) -> tuple[int, int]:
    """Return the ranks (from 1) of n ordered values that enclose a quantile, as `worth` independent ones would.

    Each end is missed with at most 2.5 %. `worth` must reach `needed`.
    """
    below = special.bdtr(np.arange(worth), worth, share)
    first, last = int((below <= _TAIL).sum()), int((below < 1 - _TAIL).sum()) + 1
    stretch = (n + 1) / (worth + 1)
    return max(1, math.floor(first * stretch)), min(n, math.ceil(last * stretch))


@dataclass(frozen=True, slots=True)
class _Sample:
    """Values in order, each with the number of its passage and of its round."""

    ordered: NDArray[np.float64]
    passages: NDArray[np.intp]
    rounds: NDArray[np.intp]

    @classmethod
    def of(cls, observations: Observations) -> "_Sample":
        order = np.argsort(observations.values, kind="stable")
        groups = (numbered(own)[order] for own in (observations.passages, observations.rounds))
        return cls(observations.values[order], *groups)


def _percentile(sample: _Sample, percent: float) -> Percentile:
    share, n, largest = percent / 100, len(sample.ordered), float(sample.ordered[-1])
    why = _too_few(int(sample.passages.max()) + 1, int(sample.rounds.max()) + 1)
    if why:
        return Percentile(percent, None, None, None, largest, n, None, why)
    value = quantile(sample.ordered, share)
    effective = worth(sample.ordered <= value, sample.passages)
    if effective < (least := requests_needed(percent)):
        why = f"the {percent:g}th percentile needs {least} independent requests, {n} count as {effective:.0f}"
        return Percentile(percent, None, None, None, largest, n, effective, why)
    drift = _drift(sample, share)
    as_worth, as_alone = (_off(sample.ordered, ranks(share, n, size), value) for size in (int(effective), n))
    below, above = (_reach(own, alone, drift) for own, alone in zip(as_worth, as_alone, strict=True))
    low = 0.0 if math.isinf(below) else value * math.exp(-below)
    return Percentile(percent, value, low, value * math.exp(above), largest, n, effective)


def _off(ordered: NDArray[np.float64], ends: tuple[int, int], value: float) -> tuple[float, float]:
    """Return by how much, in logs, the values at two ranks lie below and above a value."""
    low, high = (float(ordered[rank - 1]) for rank in ends)
    return math.log(value / low) if low < value else 0.0, math.log(high / value) if high > value else 0.0


def _reach(by_passage: float, alone: float, by_round: float) -> float:
    """Return how far, in logs, an end lies: by passages, by rounds, or by both, the noise of requests counted once."""
    wider = max(by_passage, by_round)
    if math.isinf(wider):
        return math.inf
    return max(wider, math.sqrt(max(0.0, by_passage**2 + by_round**2 - alone**2)))


def _too_few(passages: int, rounds: int) -> str | None:
    if passages != 1 and passages < MIN_PASSAGES:
        return f"{counted(passages, 'passage')}: a percentile needs at least {MIN_PASSAGES}"
    return too_few(passages, rounds)


def _drift(sample: _Sample, share: float) -> float:
    """Return by how much, in logs, the percentile may be off, judged by the rounds' own percentiles."""
    own = [quantile(sample.ordered[sample.rounds == number], share) for number in range(int(sample.rounds.max()) + 1)]
    if not all(map(math.isfinite, own)):
        return math.inf
    return Influence.of_runs(np.log(own)).spreads()[0].half_width()
