"""Where a series of figures changed: circular binary segmentation (Olshen and others, 2004).

In each segment, every run of values is held against the others; the one that differs most is cut out where it does so
significantly, corrected for all runs. Then neighbours that do not differ significantly are joined.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from accelbench.analysis.intervals import Array, Spread
from accelbench.analysis.verdicts import ALPHA

_NOTHING = 1e-7  # what counts as no spread, on the log scale
_COUNT, _VALUE, _SQUARE, _VARIANCE, _QUOTIENT, _UNKNOWN = range(6)


@dataclass(frozen=True, slots=True)
class Segment:
    """Values in a row without a change: their mean, and how it differs from that of the segment before.

    A spread is null where nothing tells how much the values vary.
    """

    start: int
    end: int
    mean: float
    spread: Spread | None
    shift: float | None = None
    shift_spread: Spread | None = None


def segments_of(values: Sequence[float], spreads: Sequence[Spread | None], figures: int = 1) -> list[Segment]:
    """Return the segments of at least one value; `spreads`: of each, null where it is unknown.

    The changes of `figures` series are one family.
    """
    sums = _running_sums(values, spreads)
    starts = _starts(sums, figures)
    scatter, found = _scatter(sums, starts), list[Segment]()
    for start, end in _between(starts, len(values)):
        own = sums[end] - sums[start]
        shift: tuple[float | None, Spread | None] = (None, None)
        if found:
            shift = _placed(*_contrast(scatter, own, sums[start] - sums[found[-1].start]))
        found.append(Segment(start, end, *_placed(*_contrast(scatter, own)), *shift))
    return found


def _placed(centre: Any, se: Any, df: Any) -> tuple[float, Spread | None]:
    return float(centre), Spread(float(se), float(df)) if se > _NOTHING else None


def _running_sums(values: Sequence[float], spreads: Sequence[Spread | None]) -> Array:
    """Return sums over the first values, so that those of any segment are a difference of two."""
    own, known = np.asarray(values, dtype=float), [spread or Spread(0.0, 1.0) for spread in spreads]
    variances, dfs = (np.array(each) for each in zip(*((s.se**2, s.df) for s in known), strict=True))
    unknown = np.array([spread is None for spread in spreads], dtype=float)
    columns = [np.ones(len(own)), own, own**2, variances, variances**2 / dfs, unknown]
    return np.vstack([np.zeros(len(columns)), np.cumsum(np.column_stack(columns), axis=0)])


def _starts(sums: Array, figures: int) -> list[int]:
    n = len(sums) - 1
    level = ALPHA / (max(1, figures) * max(1, n * (n - 1) // 2))
    starts = [0]
    while True:
        p_value, cuts = _best_cut(sums, starts)
        if p_value > level:
            break
        starts = sorted({*starts, *cuts})
    while len(starts) > 1:
        scatter, edges = _scatter(sums, starts), [*starts, n]
        apart = [
            float(_p(*_contrast(scatter, sums[b] - sums[a], sums[c] - sums[b])))
            for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
        ]
        if max(apart) <= level:
            break
        del starts[apart.index(max(apart)) + 1]
    return starts


def _best_cut(sums: Array, starts: Sequence[int]) -> tuple[float, list[int]]:
    """Return the smallest p-value of a run of values against the rest of its segment, and where the run's ends are."""
    best: tuple[float, list[int]] = (2.0, [])
    squares, df = _scatter_of(sums, starts)
    for start, end in _between(starts, len(sums) - 1):
        first, last = np.triu_indices(end - start, 1)
        if not len(first):
            continue
        run = sums[start + last] - sums[start + first]
        rest = sums[end] - sums[start] - run
        shift = run[:, _VALUE] / run[:, _COUNT] - rest[:, _VALUE] / rest[:, _COUNT]
        explained = shift**2 * run[:, _COUNT] * rest[:, _COUNT] / (end - start)
        left = np.maximum(squares - explained, 0.0)
        p_values = _p(*_contrast((left / max(1, df - 1), df - 1), run, rest))
        place = int(np.argmin(p_values))
        if p_values[place] < best[0]:
            best = float(p_values[place]), [start + int(first[place]), start + int(last[place])]
    return best


def _between(starts: Sequence[int], n: int) -> Iterator[tuple[int, int]]:
    return pairwise([*starts, n])


def _scatter_of(sums: Array, starts: Sequence[int]) -> tuple[float, int]:
    """Return the sum of squares of values around the means of their segments, and its degrees of freedom."""
    n = len(sums) - 1
    each = (sums[end] - sums[start] for start, end in _between(starts, n))
    squares = sum(float(own[_SQUARE] - own[_VALUE] ** 2 / own[_COUNT]) for own in each)
    return max(0.0, squares), n - len(starts)


def _scatter(sums: Array, starts: Sequence[int]) -> tuple[float, int]:
    squares, df = _scatter_of(sums, starts)
    return squares / max(1, df), df


def _contrast(scatter: tuple[ArrayLike, int], *groups: Array) -> tuple[Any, Any, Any]:
    """Return the mean of a group, or the first less the second, with standard error and degrees of freedom.

    The error is that of the values' own spreads or, where it is larger or these are unknown, that of the scatter of
    values around the means of their segments (variance and degrees of freedom). 0: neither is known.
    """
    counts = [own[..., _COUNT] for own in groups]
    means = [own[..., _VALUE] / count for own, count in zip(groups, counts, strict=True)]
    variance = sum(own[..., _VARIANCE] / count**2 for own, count in zip(groups, counts, strict=True))
    quotient = sum(own[..., _QUOTIENT] / count**4 for own, count in zip(groups, counts, strict=True))
    unknown = sum(own[..., _UNKNOWN] for own in groups) > 0
    of_one, df = scatter
    scattered = np.asarray(of_one) * sum(1 / count for count in counts) * (df > 0)
    by_scatter = unknown | (scattered > variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        dfs = np.where(by_scatter, max(1, df), variance**2 / quotient)
    centre = means[0] if len(means) == 1 else means[0] - means[1]
    return centre, np.sqrt(np.where(by_scatter, scattered, variance)), dfs


def _p(centre: Any, se: Any, df: Any) -> Any:
    """Return the two-sided p-value of no difference; 1 where no error is known."""
    known = se > _NOTHING
    return np.where(known, 2 * special.stdtr(df, -np.abs(centre) / np.where(known, se, 1.0)), 1.0)
