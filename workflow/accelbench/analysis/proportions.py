"""Shares of requests (success, exact match, contains) with Wilson's interval, n deflated by the design effect.

Means of scores between 0 and 1 (F1) have it, too: they vary at most as hits and misses of the same mean do. (The t
interval of such a mean covers 39 to 92 % at 5 passages and 3 rounds where most scores are 1.)
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.design_effect import effective_size
from accelbench.analysis.spread import CONFIDENCE, t_quantile, too_few
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
    """Estimate a share from ones and zeros, or a mean from scores between them; None without observations.

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


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of n independent trials."""
    z = t_quantile((1 + CONFIDENCE) / 2, math.inf)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
