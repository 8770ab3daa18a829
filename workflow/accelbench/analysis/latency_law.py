"""The latency law: latency = a + b · output tokens, of one endpoint under one load and input length.

Where streaming is faithful, each request gives both: b is its TPOT, and a its latency minus TPOT · tokens. Otherwise
they are fitted by Huber's regression on relative residuals, which a few stuck requests hardly affect. (Latencies
scatter in proportion to their length: absolute residuals made intervals of b that cover 70 to 95 %, relative ones 93 to
99 %. Theil and Sen's median of slopes covers as well, with intervals a third wider and a cost of n² per passage; for
Huber's fit, leaving out a passage has a closed form.)

Intervals come from leaving out one passage, one round, or one passage of one round at a time: over passages, over
rounds and over both; the widest counts. Decode speed is 1/b with the interval's ends inverted, so that its upper end
may be unbounded.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accelbench.analysis.intervals import (
    NORMAL_MAD,
    RESTS_ON_CHANCE,
    Influence,
    Spread,
    contrast_of,
    distinct,
    far_from_others,
    half_width,
    numbered,
    over_both,
    too_few,
)

LENGTHS_VARY = 1.2  # the least ratio of the 90th to the 10th percentile of output tokens for a regression
HUBER_K = 1.345  # in standard deviations: 95 % as efficient as least squares under normal noise
ITERATIONS, CONVERGED = 50, 1e-10
LEAST_FITTED = 0.05  # of the median latency: a fit that comes near 0 there must not carry all weight
_TINY = SINGULAR = 1e-12
BENDS = 0.01  # below this p-value of a quadratic term, latency is not treated as linear

Interval = tuple[float, float]
Method = Literal["stream", "regression"]
_Array = NDArray[np.float64]
_Numbers = NDArray[np.intp]
_Mover = Callable[[_Numbers, int], _Array]
Moves = Mapping[Hashable, _Array]


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """Complete answers: their output tokens and times. `tpot_s` is NaN if the stream doesn't show it."""

    tokens: _Array
    e2e_s: _Array
    tpot_s: _Array
    passages: NDArray[Any]
    rounds: NDArray[Any]

    def __len__(self) -> int:
        """Count them."""
        return len(self.tokens)

    def where(self, chosen: NDArray[np.bool_]) -> "Timed":
        """Return the chosen answers."""
        columns = (self.tokens, self.e2e_s, self.tpot_s, self.passages, self.rounds)
        return Timed(*(column[chosen] for column in columns))


@dataclass(frozen=True, slots=True)
class Fit:
    """a and b, and by how much each passage, round and cell moves them when it is left out (scaled to add up).

    A cell is one passage in one round. The moves' products add up to the covariance of (a, b), also of a difference of
    two fits on the same passages.
    """

    method: Method
    a_s: float
    b_s_per_tok: float
    n: int
    moves_by_passage: Moves
    moves_by_round: Moves
    moves_by_cell: Moves

    def at(self, tokens: float) -> float:
        """Return the latency of so many output tokens, in seconds."""
        return self.a_s + self.b_s_per_tok * tokens

    @property
    def why_no_interval(self) -> str | None:
        """Return why a and b have no interval."""
        return too_few(len(self.moves_by_passage), len(self.moves_by_round)) or (
            None if self._moved() else "the output lengths vary only in one passage or one round"
        )

    def interval(self, direction: Sequence[float]) -> Interval | None:
        """Return the interval of a (1, 0), of b (0, 1), or of the latency of n tokens (1, n)."""
        if self.why_no_interval:
            return None
        towards = np.asarray(direction, dtype=float)
        middle = float(towards @ (self.a_s, self.b_s_per_tok))
        by_passage, by_round, by_cell = (
            spread_along(moves, towards) for moves in (self.moves_by_passage, self.moves_by_round, self.moves_by_cell)
        )
        half = half_width((by_passage, by_round, over_both(by_passage, by_round, by_cell)))
        return middle - half, middle + half

    def _moved(self) -> bool:
        moves = (*self.moves_by_passage.values(), *self.moves_by_round.values())
        return all(bool(np.isfinite(move).all()) for move in moves)


@dataclass(frozen=True, slots=True)
class LawFigures:
    """What is told of a law: all but what each group of requests moves."""

    method: Method
    a_s: float
    a_ci: Interval | None
    b_s_per_tok: float
    b_ci: Interval | None
    decode_tok_per_s: float | None
    decode_ci: tuple[float, float | None] | None
    r2: float | None
    tokens_seen: tuple[int, int]
    n: int
    why: str | None


@dataclass(frozen=True, slots=True)
class Law:
    """The law in figures. `why` says why no decode speed and no crossover is claimed; the upper end of `decode_ci`
    is null where it is unbounded.
    """

    fit: Fit
    a_ci: Interval | None
    b_ci: Interval | None
    decode_tok_per_s: float | None
    decode_ci: tuple[float, float | None] | None
    r2: float | None
    tokens_seen: tuple[int, int]
    tokens_median: float
    why: str | None

    @property
    def figures(self) -> LawFigures:
        """The law as it is told."""
        return LawFigures(
            method=self.fit.method,
            a_s=self.fit.a_s,
            a_ci=self.a_ci,
            b_s_per_tok=self.fit.b_s_per_tok,
            b_ci=self.b_ci,
            decode_tok_per_s=self.decode_tok_per_s,
            decode_ci=self.decode_ci,
            r2=self.r2,
            tokens_seen=self.tokens_seen,
            n=self.fit.n,
            why=self.why,
        )


def latency_law(answers: Timed, *, faithful: bool) -> tuple[Law | None, str | None]:
    """Return the law, or why there is none. `faithful`: chunks came as tokens were made, so TPOT can be believed."""
    known = ~np.isnan(answers.tpot_s)
    streamed = faithful and bool(known.any())
    used = answers.where(known) if streamed else answers
    if len(used) < 2:
        return None, "fewer than two answers with a known length"
    if streamed:
        return _law(_stream(used), used), None
    regression, why = _regressed(used)
    return (_law(regression, used), None) if regression else (None, why)


def spread_along(moves: Moves, direction: _Array) -> Spread:
    """Return the spread of a combination of a and b, from what each group moves."""
    return Spread(math.sqrt(sum(float(direction @ move) ** 2 for move in moves.values())), len(moves) - 1)


# --- fits ---------------------------------------------------------------------------------------------------


def _stream(answers: Timed) -> Fit:
    own = np.column_stack([answers.e2e_s - answers.tpot_s * answers.tokens, answers.tpot_s])
    mean = own.mean(axis=0)

    def moved(groups: _Numbers, count: int) -> _Array:
        """Return what leaving out each group does to the means."""
        left = len(groups) - np.bincount(groups, minlength=count)
        return -_sums(own - mean, groups, count) / left[:, None]

    return Fit("stream", float(mean[0]), float(mean[1]), len(answers), *_moves(answers, moved))


def _lengths(shortest: float, longest: float) -> str:
    low, high = f"{shortest:.0f}", f"{longest:.0f}"
    return low if low == high else f"{low} to {high}"


def _regressed(answers: Timed) -> tuple[Fit | None, str | None]:
    tokens = answers.tokens
    shortest, longest = np.percentile(tokens, (10, 90))
    if longest < LENGTHS_VARY * shortest or tokens.min() == tokens.max():
        return None, (
            f"most answers have {_lengths(shortest, longest)} output tokens: too similar to estimate the time per token"
        )
    x = np.column_stack([np.ones(len(tokens)), tokens])
    found, fitted_s, pulls, counted = _huber(x, answers.e2e_s)
    scaled = x / fitted_s[:, None]
    products = (scaled[:, :, None] * scaled[:, None, :] * counted[:, None, None]).reshape(-1, 4)
    gram = products.sum(axis=0).reshape(2, 2)

    def moved(groups: _Numbers, count: int) -> _Array:
        """Return what leaving out each group does, by one Newton step; without end where no fit is left."""
        left = gram - _sums(products, groups, count).reshape(-1, 2, 2)
        pulled = _sums(scaled * pulls[:, None], groups, count)
        fits = np.linalg.det(left) > SINGULAR * np.linalg.det(gram)
        moves = np.full((count, 2), math.inf)
        moves[fits] = -np.linalg.solve(left[fits], pulled[fits][:, :, None])[:, :, 0]
        return moves

    a_s, b_s_per_tok = (float(each) for each in found)
    return Fit("regression", a_s, b_s_per_tok, len(answers), *_moves(answers, moved)), None


def _huber(x: _Array, y: _Array) -> tuple[_Array, _Array, _Array, _Array]:
    """Return Huber's coefficients, and of each request the latency to which it is relative, its pull and its count.

    The pull is the relative residual, held to the limit; a request counts (1, else 0) while it is within the limit.
    """
    least_s = LEAST_FITTED * max(float(np.median(y)), _TINY)
    found = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)
    for _ in range(ITERATIONS):
        fitted_s = np.maximum(x @ found, least_s)
        residual = (y - x @ found) / fitted_s
        limit = HUBER_K * max(float(np.median(np.abs(residual))) / NORMAL_MAD, _TINY)
        root = np.sqrt(np.minimum(1.0, limit / np.maximum(np.abs(residual), _TINY))) / fitted_s
        last, found = found, np.asarray(np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0], dtype=np.float64)
        if np.allclose(found, last, rtol=CONVERGED, atol=0):
            break
    residual = (y - x @ found) / fitted_s
    return found, fitted_s, np.clip(residual, -limit, limit), (np.abs(residual) <= limit).astype(float)


def _sums(values: _Array, groups: _Numbers, count: int) -> _Array:
    """Sum each column over each group."""
    return np.column_stack([np.bincount(groups, column, count) for column in values.T])


def _moves(answers: Timed, moved: _Mover) -> tuple[Moves, Moves, Moves]:
    """Return the moves of passages, of rounds and of cells."""
    (passages, passage_names), (rounds, round_names) = map(pd.factorize, (answers.passages, answers.rounds))
    cells, codes = pd.factorize(passages * len(round_names) + rounds)
    cell_names = zip(passage_names[codes // len(round_names)], round_names[codes % len(round_names)], strict=True)
    return (
        _moves_of(passages, passage_names, moved),
        _moves_of(rounds, round_names, moved),
        _moves_of(cells, list(cell_names), moved),
    )


def _moves_of(groups: _Numbers, names: Sequence[Hashable] | NDArray[Any], moved: _Mover) -> Moves:
    """Return each group's move, scaled so that the squares add up to the jackknife's variance."""
    if len(names) == 1:
        return {names[0]: np.zeros(2)}
    scale = math.sqrt((len(names) - 1) / len(names))
    return dict(zip(names, scale * moved(groups, len(names)), strict=True))


# --- law ----------------------------------------------------------------------------------------------------


def _law(fit: Fit, answers: Timed) -> Law:
    slow_starts, slow_tokens = _far(answers) if fit.method == "stream" else (0, 0)
    b_ci = None if slow_tokens else fit.interval((0, 1))
    contains_0 = fit.b_s_per_tok <= 0 or (b_ci is not None and b_ci[0] <= 0)
    why = fit.why_no_interval
    if not why and contains_0:
        why = "the interval of the time per output token contains 0"
    if not why and (far := slow_starts or slow_tokens):
        of_what = "waits before the first token" if slow_starts else "times per token"
        why = f"{far} of {len(answers)} {of_what} lie far from the others: {RESTS_ON_CHANCE}"
    if not why and _bends(answers):
        why = "latency is not linear in the output tokens: a quadratic term fits better"
    return Law(
        fit=fit,
        a_ci=None if slow_starts else fit.interval((1, 0)),
        b_ci=b_ci,
        decode_tok_per_s=None if contains_0 or (why and fit.method == "regression") else 1 / fit.b_s_per_tok,
        decode_ci=_inverted(b_ci),
        r2=_r2(fit, answers),
        tokens_seen=(int(answers.tokens.min()), int(answers.tokens.max())),
        tokens_median=float(np.median(answers.tokens)),
        why=why,
    )


def _far(answers: Timed) -> tuple[int, int]:
    """Count the cold starts, and the answers whose tokens were slow, that lie far from the others."""
    tpot_s, rounds = answers.tpot_s, numbered(answers.rounds)
    a_s = answers.e2e_s - tpot_s * answers.tokens
    least_s = max(float(np.median(a_s)), LEAST_FITTED * float(np.median(tpot_s)))
    slow_tokens = far_from_others(np.log(np.maximum(tpot_s, _TINY)), rounds)
    return far_from_others(a_s, rounds, least_s), slow_tokens


def _bends(answers: Timed) -> bool:
    """Tell whether latency is significantly nonlinear, by the quadratic term of a fit on relative residuals."""
    tokens, latencies = answers.tokens, answers.e2e_s
    groups = numbered(answers.passages), numbered(answers.rounds)
    if distinct(tokens) < 4 or too_few(*map(distinct, groups)):
        return False
    steps = (tokens - tokens.mean()) / tokens.std()
    terms = np.column_stack([np.ones_like(steps), steps, steps**2])
    line = np.maximum(terms[:, :2] @ np.linalg.lstsq(terms[:, :2], latencies, rcond=None)[0], latencies.min())
    terms, latencies = terms / line[:, None], latencies / line
    found = np.linalg.lstsq(terms, latencies, rcond=None)[0]
    moves = (latencies - terms @ found) * (terms @ np.linalg.pinv(terms.T @ terms)[2])
    p = contrast_of("difference", Influence(float(found[2]), moves, *groups)).p_value
    return p is not None and p < BENDS


def _inverted(b_ci: Interval | None) -> tuple[float, float | None] | None:
    if b_ci is None or b_ci[1] <= 0:
        return None
    return 1 / b_ci[1], (1 / b_ci[0] if b_ci[0] > 0 else None)


def _r2(fit: Fit, answers: Timed) -> float | None:
    """Return the share of the variance of latencies that the law explains; null where they don't vary."""
    latencies, explained = answers.e2e_s, fit.a_s + fit.b_s_per_tok * answers.tokens
    total = float(((latencies - latencies.mean()) ** 2).sum())
    return 1 - float(((latencies - explained) ** 2).sum()) / total if total > 0 else None
