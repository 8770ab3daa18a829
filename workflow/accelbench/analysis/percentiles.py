"""Percentiles by order statistics, with distribution-free intervals, where n reaches so far into the tail.

n is deflated by what the requests of one passage share; what the requests of one round share enters as a t interval
over the rounds' own percentiles, and the interval spans both. (Deflating n by the rounds' correlation as well would
cover 60 to 80 % with 3 rounds: three rounds that happen to agree can't tell that they might not.) Failures may be
counted as infinite.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from accelbench.analysis.design_effect import excess
from accelbench.analysis.spread import CONFIDENCE, Spread, counted, deviation, too_few
from accelbench.analysis.statistics import Observation

TAIL = (1 - CONFIDENCE) / 2
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


def percentile(observations: Sequence[Observation], percent: float) -> Percentile | None:
    """Estimate a percentile of positive values; None without observations.

    `high` (and `low`, `value`) may be infinite, where so many requests failed.
    """
    if not observations:
        return None
    ordered = sorted(o.value for o in observations)
    share, n = percent / 100, len(ordered)
    why = _too_few(len({o.passage for o in observations}), len({o.round for o in observations}))
    if why:
        return Percentile(percent, None, None, None, ordered[-1], n, None, why)
    value = ordered[_rank(share, n) - 1]
    below = [float(o.value <= value) for o in observations]
    worth = n / (1 + excess(below, [o.passage for o in observations]))
    if worth < needed(percent):
        why = f"the {percent:g}th percentile takes {needed(percent)} independent requests, {n} are worth {worth:.0f}"
        return Percentile(percent, None, None, None, ordered[-1], n, worth, why)
    first, last = ranks(share, n, int(worth))
    drift = _drift(observations, share)
    low = min(ordered[first - 1], value / drift if math.isfinite(drift) else 0.0)
    high = max(ordered[last - 1], value * drift)
    return Percentile(percent, value, low, high, ordered[-1], n, worth)


def needed(percent: float) -> int:
    """Return how many independent requests an interval takes: 6, 36, 72 and 368 for p50, p90, p95 and p99."""
    extreme = max(percent, 100 - percent) / 100
    return math.ceil(math.log(TAIL) / math.log(extreme))


def ranks(share: float, n: int, worth: int) -> tuple[int, int]:
    """Return the ranks (from 1) of n ordered values that enclose a quantile, as `worth` independent ones would.

    Each end is missed with at most 2.5 %. `worth` must reach `needed`.
    """
    below = special.bdtr(np.arange(worth), worth, share)
    first, last = int((below <= TAIL).sum()), int((below < 1 - TAIL).sum()) + 1
    stretch = (n + 1) / (worth + 1)
    return max(1, math.floor(first * stretch)), min(n, math.ceil(last * stretch))


def _too_few(passages: int, rounds: int) -> str | None:
    if passages != 1 and passages < MIN_PASSAGES:
        return f"{counted(passages, 'passage')}: a percentile takes at least {MIN_PASSAGES}"
    return too_few(passages, rounds)


def _rank(share: float, n: int) -> int:
    return min(n, max(1, math.ceil(share * n - 1e-9)))


def _drift(observations: Sequence[Observation], share: float) -> float:
    """Return the factor by which the percentile may be off, judged by the rounds' own percentiles."""
    grouped: dict[Hashable, list[float]] = defaultdict(list)
    for o in observations:
        grouped[o.round].append(o.value)
    own = [_interpolated(sorted(values), share) for values in grouped.values()]
    if not all(map(math.isfinite, own)):
        return math.inf
    logs = [math.log(each) for each in own]
    return math.exp(Spread(deviation(logs) / math.sqrt(len(logs)), len(logs) - 1).half_width())


def _interpolated(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low if low == high else low + (high - low) * (place - math.floor(place))
