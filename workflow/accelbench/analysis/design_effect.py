"""How many independent requests a sample is worth: n deflated by what passages and rounds share.

Kish's design effect, 1 + (m - 1) ρ, with the intra-class correlation ρ of passages and of rounds and m, the mean
size of a group as a request sees it.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelbench.analysis.spread import CONFIDENCE, t_quantile


def effective_size(values: Sequence[float], passages: Sequence[Hashable], rounds: Sequence[Hashable]) -> float:
    """Return how many independent requests an interval for the mean may count.

    Few groups know their own correlation badly. As Korn and Graubard do, n is deflated further by the ratio of the
    normal to the t quantile, whose degrees of freedom are Satterthwaite's for the parts of the design effect.
    """
    n = len(values)
    by_passage, by_round = excess(values, passages), excess(values, rounds)
    effect = 1 + by_passage + by_round
    parts = [(1.0, n - 1), (by_passage, len(set(passages)) - 1), (by_round, len(set(rounds)) - 1)]
    df = effect**2 / sum(part**2 / groups for part, groups in parts if part)
    upper = (1 + CONFIDENCE) / 2
    return n / effect * (t_quantile(upper, math.inf) / t_quantile(upper, df)) ** 2


def excess(values: Sequence[float], groups: Sequence[Hashable]) -> float:
    """Return (m - 1) ρ: by how much the design effect of one kind of group exceeds 1."""
    return excess_of(np.asarray(values, dtype=float), codes(groups))


def excess_of(values: NDArray[Any], groups: NDArray[np.intp]) -> float:
    """Return the same of arrays; groups are numbered from 0, none is empty."""
    sizes = np.bincount(groups)
    n, k = len(values), len(sizes)
    if k in (1, n):
        return 0.0
    means = np.bincount(groups, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (k - 1)
    within = float(((values - means[groups]) ** 2).sum()) / (n - k)
    squares = float((sizes.astype(float) ** 2).sum())
    size = (n - squares / n) / (k - 1)
    total = between + (size - 1) * within
    correlation = max(0.0, (between - within) / total) if total > 0 else 0.0
    return (squares / n - 1) * correlation


def codes(groups: Sequence[Hashable]) -> NDArray[np.intp]:
    """Number groups from 0, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(group, len(numbers)) for group in groups), np.intp, len(groups))
