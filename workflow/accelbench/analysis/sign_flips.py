"""A paired test without a distribution: were the sides alike, each passage's difference could have had either sign."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_PASSAGES = 6  # with 5, no result could have p below 1/16
EXACT_UP_TO = 12  # passages: 4,096 patterns
DRAWS, DRAWN_AT_ONCE, SEED = 9_999, 1_111, 1


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the sum of independent differences, one per passage.

    Exact up to 12 passages, drawn beyond; the same differences in any order, or all turned round, give the same.
    """
    sizes = np.sort(np.abs(np.asarray(differences, dtype=float)))
    reached = abs(float(np.sum(differences))) * (1 - 1e-9)
    if len(sizes) <= EXACT_UP_TO:
        return float(np.mean(np.abs(_patterns(len(sizes)) @ sizes) >= reached))
    draw = np.random.default_rng(SEED)
    beyond = 0
    for _ in range(DRAWS // DRAWN_AT_ONCE):
        signs = draw.integers(0, 2, (DRAWN_AT_ONCE, len(sizes)), dtype=np.int8) * 2.0 - 1
        beyond += int(np.count_nonzero(np.abs(signs @ sizes) >= reached))
    return (1 + beyond) / (1 + DRAWS)


@functools.cache
def _patterns(n: int) -> NDArray[np.float64]:
    """Return all patterns of n signs that begin with +; the others are their mirror images."""
    return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=n - 1)])
