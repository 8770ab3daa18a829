"""Shares of requests (success, exact match, contains) with Wilson's interval, n deflated by the design effect."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.design_effect import effective_size
from accelbench.analysis.spread import CONFIDENCE, half_width, spread_of, t_quantile, too_few
from accelbench.analysis.statistics import Observation


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its 95 % interval, or the reason why there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    n_effective: float | None
    why_no_interval: str | None = None


def proportion(observations: Sequence[Observation]) -> Proportion | None:
    """Estimate a share from ones and zeros; None without observations.

    Where all are alike, nothing tells how much passages have in common, so each passage counts as one request.
    """
    if not observations:
        return None
    values = [float(o.value) for o in observations]
    passages, rounds = [o.passage for o in observations], [o.round for o in observations]
    share, n = statistics.fmean(values), len(values)
    why = too_few(len(set(passages)), len(set(rounds)))
    if why:
        return Proportion(share, None, None, n, None, why)
    alike = min(values) == max(values)
    worth = len(set(passages)) if alike else min(n, max(1.0, effective_size(values, passages, rounds)))
    low, high = wilson(share, worth)
    return Proportion(share, low, high, n, worth)


def mean_share(observations: Sequence[Observation]) -> Proportion | None:
    """Estimate the mean of scores between 0 and 1 (F1): the wider t interval over passages and rounds, cut there."""
    if not observations:
        return None
    values = [float(o.value) for o in observations]
    passages, rounds = [o.passage for o in observations], [o.round for o in observations]
    mean, n = statistics.fmean(values), len(values)
    why = too_few(len(set(passages)), len(set(rounds)))
    if why:
        return Proportion(mean, None, None, n, None, why)
    half = half_width([spread_of(values, passages), spread_of(values, rounds)])
    return Proportion(mean, max(0.0, mean - half), min(1.0, mean + half), n, None)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of n independent trials."""
    z = t_quantile((1 + CONFIDENCE) / 2, math.inf)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
