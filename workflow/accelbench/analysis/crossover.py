"""The crossover: the output length at which the faster of two endpoints changes, as far as it is known.

Fieller's set: all lengths at which the difference of the two laws, a + b · tokens, does not differ significantly from
0. It may be an interval, extend down to 0 or up to infinity (one-sided), contain everything (unbounded) or be empty
(none: one endpoint is faster at every length). The union of the sets over passages, over rounds and over both counts.
The claim concerns many lengths at once, so the laws must first differ by Scheffé's test (all lengths together):
otherwise an endpoint would be faster than itself at some length in 6 to 8 of 100 cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from accelbench.analysis.intervals import CONFIDENCE, Spread, over_both, t_quantile
from accelbench.analysis.latency_law import Law, Moves, _Array

_Kind = Literal["interval", "one_sided", "unbounded", "none"]
_Side = Literal["ours", "theirs"]
Piece = tuple[float, float]
LENGTHS = np.geomspace(1, 1e6, 400)
AT = np.vstack([[1.0, 0.0], np.column_stack([np.ones_like(LENGTHS), LENGTHS]), [0.0, 1.0]])
"""1 and each length, from none to without end."""
TIMES_AS_LONG = 2.0  # above this, the laws of two sides describe different lengths


@dataclass(frozen=True, slots=True)
class Crossover:
    """`kind` is null if the crossover is not known, and `why` gives the reason.

    `low_tokens` and `high_tokens` are null where that end is unbounded; `faster_below` and `faster_above` name the side
    that is significantly faster for short and for long answers. `extrapolated`: a figure lies outside the lengths seen
    on both.
    """

    kind: _Kind | None
    tokens: float | None = None
    low_tokens: float | None = None
    high_tokens: float | None = None
    faster_below: _Side | None = None
    faster_above: _Side | None = None
    extrapolated: bool = False
    why: str | None = None
    p_value: float | None = None
    """That the laws differ at no length (Scheffé's)."""


def crossover(ours: Law, theirs: Law, *, paired: bool) -> Crossover:
    """Find where the laws cross. `paired`: both were interleaved, so passages and rounds of one name are the same."""
    for law in (ours, theirs):
        if law.why:
            return Crossover(None, why=law.why)
    longer = max(one.tokens_median / other.tokens_median for one, other in ((ours, theirs), (theirs, ours)))
    if longer > TIMES_AS_LONG:
        return Crossover(
            None, why=f"one side's answers are {longer:.2g} times as long, so the latency laws cover different lengths"
        )
    a_s, b_s = ours.fit.a_s - theirs.fit.a_s, ours.fit.b_s_per_tok - theirs.fit.b_s_per_tok
    tokens = -a_s / b_s if b_s and -a_s / b_s > 0 else None
    covariances = _covariances(ours, theirs, tokens or 0.0, paired)
    p_value = _p_anywhere(a_s, b_s, covariances)
    if p_value > 1 - CONFIDENCE:
        return Crossover("unbounded", p_value=p_value)
    pieces = _merged(
        [piece for covariance, df in covariances for piece in _fieller(a_s, b_s, covariance, _student(df))]
    )
    kind, low, high = _kind(pieces)
    starts_sure = not pieces or pieces[0][0] > 0
    ends_sure = not pieces or pieces[-1][1] < math.inf
    figures = [figure for figure in (tokens, low, high) if figure is not None] if kind != "none" else []
    shortest = max(law.tokens_seen[0] for law in (ours, theirs))
    longest = min(law.tokens_seen[1] for law in (ours, theirs))
    return Crossover(
        kind=kind,
        tokens=tokens if kind in ("interval", "one_sided") else None,
        low_tokens=low,
        high_tokens=high,
        faster_below=_faster(a_s) if starts_sure else None,
        faster_above=_faster(b_s) if ends_sure else None,
        extrapolated=any(not shortest <= figure <= longest for figure in figures),
        p_value=p_value,
    )


def _kind(pieces: Sequence[Piece]) -> tuple[_Kind, float | None, float | None]:
    if not pieces:
        return "none", None, None
    low, high = pieces[0][0], pieces[-1][1]
    if len(pieces) > 1 or (low == 0 and high == math.inf):
        return "unbounded", None, None
    kind: _Kind = "interval" if low > 0 and high < math.inf else "one_sided"
    return kind, low if low > 0 else None, high if high < math.inf else None


def _faster(difference: float) -> _Side:
    return "ours" if difference < 0 else "theirs"


def _covariances(ours: Law, theirs: Law, tokens: float, paired: bool) -> list[tuple[_Array, float]]:
    """Return the covariance of (a, b) over passages, over rounds and over both, with their degrees of freedom.

    Those of the last are the degrees of freedom of the difference at `tokens`.
    """
    moves = [
        (ours.fit.moves_by_passage, theirs.fit.moves_by_passage),
        (ours.fit.moves_by_round, theirs.fit.moves_by_round),
        (ours.fit.moves_by_cell, theirs.fit.moves_by_cell),
    ]
    by_passage, by_round, by_cell = (
        (_covariance(one, other, paired), min(len(one), len(other)) - 1) for one, other in moves
    )
    at = np.array([1.0, tokens])
    own = [Spread(math.sqrt(float(at @ products @ at)), df) for products, df in (by_passage, by_round, by_cell)]
    both = by_passage[0] + by_round[0] - by_cell[0]
    return [by_passage, by_round, (both, over_both(*own).df)]


def _student(df: float) -> float:
    """Return how many times its variance a squared difference at one length must exceed."""
    return t_quantile((1 + CONFIDENCE) / 2, df) ** 2


def _p_anywhere(a_s: float, b_s: float, covariances: Sequence[tuple[_Array, float]]) -> float:
    """Return Scheffé's p-value at the length where the laws differ most significantly: all lengths were searched."""
    difference = a_s * AT[:, 0] + b_s * AT[:, 1]
    worst = np.zeros(len(AT))
    for covariance, df in covariances:
        variance = np.einsum("xi,ij,xj->x", AT, covariance, AT)
        squares = np.divide(difference**2, variance, out=np.full(len(AT), np.inf), where=variance > 0)
        worst = np.maximum(worst, special.fdtrc(2, df, squares / 2))
    return float(worst.min())


def _fieller(a_s: float, b_s: float, covariance: _Array, t2: float) -> list[Piece]:
    """Return the lengths at which (a + b · tokens)² does not exceed `t2` times its variance."""
    (a_a, a_b), (_, b_b) = covariance.tolist()
    return _not_positive(b_s**2 - t2 * b_b, a_s * b_s - t2 * a_b, a_s**2 - t2 * a_a)


def _covariance(ours: Moves, theirs: Moves, paired: bool) -> _Array:
    if not paired:
        return _products(list(ours.values())) + _products(list(theirs.values()))
    nothing = np.zeros(2)
    groups = list(dict.fromkeys([*ours, *theirs]))
    return _products([ours.get(group, nothing) - theirs.get(group, nothing) for group in groups])


def _products(moves: Sequence[_Array]) -> _Array:
    stacked = np.array(moves)
    return np.asarray(stacked.T @ stacked)


def _not_positive(square: float, half_linear: float, constant: float) -> list[Piece]:
    """Return where, from 0 on, square · x² + 2 · half_linear · x + constant ≤ 0."""
    if square == 0:
        if half_linear == 0:
            return [(0.0, math.inf)] if constant <= 0 else []
        root = -constant / (2 * half_linear)
        pieces = [(-math.inf, root)] if half_linear > 0 else [(root, math.inf)]
    else:
        discriminant = half_linear**2 - square * constant
        if discriminant <= 0:
            pieces = [(-math.inf, math.inf)] if square < 0 else []
        else:
            # the roots without cancellation: their product is constant / square
            far = -(half_linear + math.copysign(math.sqrt(discriminant), half_linear))
            first, last = sorted([far / square, constant / far])
            pieces = [(first, last)] if square > 0 else [(-math.inf, first), (last, math.inf)]
    return [(max(0.0, low), high) for low, high in pieces if high > 0]


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for low, high in sorted(pieces):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged
