"""Intervals and p-values: one estimator for means, ratios and differences, paired or not."""

import math
import statistics
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special


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


def describe(values: Iterable[float | None]) -> Description | None:
    """Describe the known values; None when there is none. The median of an even n is the usual one."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    return Description(len(there), statistics.fmean(there), statistics.median(there), min(there), max(there))


MIN_PASSAGES, MIN_ROUNDS = 5, 3
MIN_RUNS = 3  # on each side: with 2 against 10, Welch's interval covers 90 %
CONFIDENCE = 0.95
PLUS = 4  # Agresti and Caffo's plus four: equal scores in a sample don't prove equal scores
FAR, FAR_TIMES = 6.0, 2.0  # in standard deviations of the others, and as a ratio to what is typical
RARE = 0.2  # a larger share of far values is not a tail
MIN_ROUND = 3  # requests that make a round's own middle
_TINY = 1e-6  # of a mean: what counts as nothing
NORMAL_MAD = 0.6745  # the median absolute deviation of a standard normal
_UNSEEN = 3  # of n, at most 3 / n may be of a kind that none was of (rule of three, 95 %)

Scale = Literal["ratio", "difference"]
Groups = Sequence[Hashable] | NDArray[Any]
Numbers = NDArray[np.intp]
"""Of the group of each request, from 0."""
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Values, and what each shares with others: its passage and its round."""

    values: Array
    passages: Groups
    rounds: Groups

    def __len__(self) -> int:
        """Count them."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard error of a figure over one kind of group, and its degrees of freedom."""

    se: float
    df: float

    def half_width(self, confidence: float = CONFIDENCE) -> float:
        """Return half the width of the t interval."""
        return t_quantile((1 + confidence) / 2, self.df) * self.se

    def p_above(self, distance: float) -> float:
        """Return the one-sided p-value of a figure that lies `distance` above what is to be rejected."""
        if self.se == 0:
            return 0.0 if distance > 0 else 1.0
        return float(special.stdtr(self.df, -distance / self.se))


Spreads = tuple[Spread, Spread, Spread]
"""Over passages, over rounds, over both."""


@dataclass(frozen=True, slots=True)
class Influence:
    """A figure, how much each request moves it, and the numbers of the groups they share. Logs if it is a ratio."""

    centre: float
    moves: Array
    passages: Numbers
    rounds: Numbers
    far: int = 0
    """Requests so far from the others that the figure depends on how many of them occurred by chance."""

    @classmethod
    def of_mean(cls, values: ArrayLike, passages: Groups, rounds: Groups, *, tailed: bool = False) -> "Influence":
        """Return the mean of values. `tailed`: they are logs of times, a few of which may lie far from the others."""
        own, numbers = np.asarray(values, dtype=float), numbered(rounds)
        middle, far = float(own.mean()), far_from_others(own, numbers) if tailed else 0
        return cls(middle, (own - middle) / len(own), numbered(passages), numbers, far)

    @classmethod
    def of_means(cls, parts: Array, signs: Sequence[int], passages: Groups, rounds: Groups) -> "Influence":
        """Return the log of a product of positive means, each to the power of its sign: a column of `parts` each."""
        means, powers = parts.mean(axis=0), np.asarray(signs)
        moves = (parts / means - 1) @ powers / len(parts)
        logs, numbers = np.log(np.maximum(parts, _TINY * means)) @ powers, numbered(rounds)
        return cls(float(np.log(means) @ powers), moves, numbered(passages), numbers, far_from_others(logs, numbers))

    @classmethod
    def of_runs(cls, values: ArrayLike) -> "Influence":
        """Return the mean of independent values: runs, or whole rounds."""
        places = range(np.size(values))
        return cls.of_mean(values, places, places)

    @property
    def sd(self) -> float:
        """The standard deviation of what a single request adds."""
        n = len(self.moves)
        return math.sqrt(float(self.moves @ self.moves) * n * n / max(1, n - 1))

    def spreads(self) -> Spreads:
        """Return the spreads over passages, over rounds and over both, of at least two each."""
        cells = numbered(self.passages * _count(self.rounds) + self.rounds)
        by_passage, by_round, by_cell = (spread_of(self.moves, own) for own in (self.passages, self.rounds, cells))
        return by_passage, by_round, over_both(by_passage, by_round, by_cell)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against theirs, or one figure alone. `centre`, `sd` and `spreads` are logs where the scale is ratio.

    `n` counts pairs, or values of both sides together; `sd` is that of one of them; passages and rounds are the fewer
    of both sides. `spreads` are null where there are too few. With spreads and a reason for no interval there is no
    interval and no equivalence, but still a test: if both sides were equal, stragglers would affect both alike.
    """

    scale: Scale
    paired: bool
    centre: float
    sd: float
    spreads: Spreads | None
    n: int
    passages: int
    rounds: int
    why_no_interval: str | None
    plus_four: float = 0.0
    """The standard error that is in each spread because shares and scores in a sample may be equal by chance."""

    @property
    def value(self) -> float:
        """The ratio ours / theirs, or the difference ours - theirs."""
        return self._shown(self.centre)

    @property
    def p_value(self) -> float | None:
        """Of no difference: the largest over the three spreads."""
        if not self.spreads:
            return None
        return min(1.0, max(2 * spread.p_above(abs(self.centre)) for spread in self.spreads))

    @property
    def unseen(self) -> float:
        """The share of requests of a side that may be of a kind (a straggler) of which none was seen."""
        return min(1.0, _UNSEEN * (1 if self.paired else 2) / self.n)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Return the interval of the value."""
        if not self.spreads or self.why_no_interval:
            return None
        half = half_width(self.spreads, confidence)
        low, high = self._shown(self.centre - half), self._shown(self.centre + half)
        return (max(-1.0, low), min(1.0, high)) if self.plus_four else (low, high)

    def estimate(self) -> Estimate:
        """Return the value with its interval, or why there is none."""
        low, high = self.interval() or (None, None)
        return Estimate(self.value, low, high, self.n, self.why_no_interval)

    def reach(self, margin: float) -> float:
        """Return a margin (0.05: ±5 % of a ratio; 0.02: ±2 points of a score) on the scale of `centre`."""
        return math.log1p(margin) if self.scale == "ratio" else margin

    def p_equivalent(self, margin: float) -> float | None:
        """Return the p-value of two one-sided tests: small if the value is significantly within the margin."""
        if not self.spreads or self.why_no_interval:
            return None
        inside = self.reach(margin) - abs(self.centre)
        return max(spread.p_above(inside) for spread in self.spreads)

    def weighted(self, weight: float) -> "Comparison":
        """Return it multiplied by a weight, on the scale of `centre`."""
        found = replace(self, centre=weight * self.centre, sd=abs(weight) * self.sd)
        if self.spreads is None:
            return found
        one, other, both = (Spread(abs(weight) * each.se, each.df) for each in self.spreads)
        return replace(found, spreads=(one, other, both))

    def minus(self, other: "Comparison") -> "Comparison":
        """Return by how much it differs from another, as if the two were independent."""
        return replace(
            self,
            centre=self.centre - other.centre,
            sd=math.hypot(self.sd, other.sd),
            spreads=_welch(self.spreads, other.spreads) if self.spreads and other.spreads else None,
            n=self.n + other.n,
            passages=min(self.passages, other.passages),
            rounds=min(self.rounds, other.rounds),
            why_no_interval=self.why_no_interval or other.why_no_interval,
        )

    def _shown(self, centre: float) -> float:
        return math.exp(centre) if self.scale == "ratio" else centre


def contrast_of(scale: Scale, ours: Influence, theirs: Influence | None = None, *, why: str | None = "") -> Comparison:
    """Compare two independent samples, or describe one (of pairs, or of a single side).

    `why`: why there is no interval, where that does not depend on passages and rounds; empty where it does.
    """
    samples = [ours] if theirs is None else [ours, theirs]
    passages, rounds = min(_count(s.passages) for s in samples), min(_count(s.rounds) for s in samples)
    n, far = sum(len(s.moves) for s in samples), sum(s.far for s in samples)
    too_small = too_few(passages, rounds) if why == "" else why
    each = [] if too_small else [s.spreads() for s in samples]
    return Comparison(
        scale=scale,
        paired=theirs is None,
        centre=ours.centre - (theirs.centre if theirs else 0.0),
        sd=math.hypot(*(s.sd for s in samples)),
        spreads=None if too_small else each[0] if theirs is None else _welch(*each),
        n=n,
        passages=passages,
        rounds=rounds,
        why_no_interval=too_small or (f"{far} of {n} lie far from the others: {RESTS_ON_CHANCE}" if far else None),
    )


RESTS_ON_CHANCE = "the mean depends on how many of them occurred by chance"


def geometric_mean(observations: Observations) -> Estimate | None:
    """Estimate the typical one of positive values, on the log scale; None without observations."""
    found = of_one_side(observations, "ratio")
    return found.estimate() if found else None


def of_one_side(observations: Observations, scale: Scale) -> Comparison | None:
    """Describe one side as it is compared: its geometric mean, or its mean; None without observations."""
    if not len(observations):
        return None
    found = contrast_of(scale, _scaled(observations, scale))
    return found if scale == "ratio" else _plus(found, len(observations))


def compare_paired(ours: Observations, theirs: Observations, scale: Scale) -> Comparison | None:
    """Compare over the prompts that both answered, which stand in the same order; None when there is no pair."""
    if not len(ours):
        return None
    one, other = (np.log(own.values) if scale == "ratio" else own.values for own in (ours, theirs))
    pairs = Influence.of_mean(one - other, ours.passages, ours.rounds, tailed=scale == "ratio")
    found = contrast_of(scale, pairs)
    return found if scale == "ratio" else _plus(found, len(ours))


def compare_unpaired(ours: Observations, theirs: Observations, scale: Scale) -> Comparison | None:
    """Compare two sides unpaired; None when one is empty."""
    if not len(ours) or not len(theirs):
        return None
    found = contrast_of(scale, _scaled(ours, scale), _scaled(theirs, scale))
    return found if scale == "ratio" else _plus(found, len(ours), len(theirs))


def compare_runs(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Compare positive figures of single runs, at least one on each side, as a ratio; runs share nothing."""
    fewest, why = min(len(ours), len(theirs)), None
    if fewest < MIN_RUNS:
        why = f"{counted(fewest, 'run')} on a side: an interval needs at least {MIN_RUNS} of a size on both"
    elif len(set(ours)) == 1 == len(set(theirs)):
        why = "the runs of each side are identical"
    return contrast_of("ratio", Influence.of_runs(np.log(ours)), Influence.of_runs(np.log(theirs)), why=why)


# --- shares -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its 95 % interval, or the reason why there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    n_effective: float | None
    why_no_interval: str | None = None


def proportion(observations: Observations) -> Proportion | None:
    """Estimate a share from ones and zeros, or a mean from scores between them; None without observations.

    The interval is Clopper and Pearson's, of as many independent requests as the spread over passages and rounds is
    worth (Korn and Graubard), or the widest one where groups are so unequal that fewer than 5 and 3 of them count.
    Scores between 0 and 1 vary at most as hits and misses of the same mean do. If all values are equal, the correlation
    within passages is unknown, so each passage counts as one request.
    """
    if not len(observations):
        return None
    own = Influence.of_mean(observations.values, observations.passages, observations.rounds)
    share, n, passages = own.centre, len(observations), _count(own.passages)
    why = too_few(passages, _count(own.rounds))
    if why:
        return Proportion(share, None, None, n, None, why)
    variance, spreads = share * (1 - share), own.spreads()
    enough = spreads[0].df + 1 > MIN_PASSAGES - _TINY and spreads[1].df + 1 > MIN_ROUNDS - _TINY
    half = spreads[2].half_width() if enough else half_width(spreads)
    if not own.moves.any():
        worth = float(passages)
    else:
        worth = min(n, max(1.0, variance * (t_quantile((1 + CONFIDENCE) / 2, math.inf) / half) ** 2)) if half else n
    return Proportion(share, *exact_interval(share, worth), n, worth)


def exact_interval(share: float, n: float) -> tuple[float, float]:
    """Return Clopper and Pearson's 95 % interval of a share of n independent trials, which need not be whole.

    (scipy.stats.binomtest has the same interval, but only of whole numbers.)
    """
    tail, hits = (1 - CONFIDENCE) / 2, share * n
    low = float(special.betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return min(share, low), max(share, high)


def worth(values: NDArray[np.bool_], groups: Numbers) -> float:
    """Return how many independent requests hits and misses are worth, by what the requests of one group share."""
    own = Influence.of_mean(values, (), ())
    n, shared = len(own.moves), spread_of(own.moves, groups).se if groups.any() else 0.0
    alone = own.sd / math.sqrt(n)
    return n if shared <= alone * (1 + _TINY) else n * (alone / shared) ** 2


# --- spreads ------------------------------------------------------------------------------------------------


def spread_of(moves: Array, groups: Numbers) -> Spread:
    """Return the spread over at least two groups, numbered from 0; none is empty."""
    sums, sizes = np.bincount(groups, moves), np.bincount(groups).astype(float)
    effective = float(sizes.sum() ** 2 / (sizes @ sizes))
    return Spread(math.sqrt(float(sums @ sums) * effective / (effective - 1)), effective - 1)


def over_both(by_passage: Spread, by_round: Spread, by_cell: Spread) -> Spread:
    """Return the spread to which passages and rounds add up; a cell is one passage in one round.

    Degrees of freedom are Satterthwaite's. Where each round asks passages of its own, this is no more than `by_round`.
    """
    cell = by_cell.se**2
    parts = [
        (cell, by_cell.df),
        (max(0.0, by_passage.se**2 - cell), by_passage.df),
        (max(0.0, by_round.se**2 - cell), by_round.df),
    ]
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return Spread(0.0, by_cell.df)
    return Spread(math.sqrt(variance), variance**2 / math.fsum(part**2 / df for part, df in parts))


def half_width(spreads: Iterable[Spread], confidence: float = CONFIDENCE) -> float:
    """Return half the width of the widest interval."""
    return max(spread.half_width(confidence) for spread in spreads)


def t_quantile(probability: float, df: float) -> float:
    """Return a quantile of Student's t."""
    return float(special.stdtrit(df, probability))


def far_from_others(values: Array, rounds: Numbers, least: float = math.log(FAR_TIMES)) -> int:
    """Count the stragglers: values so far from the others of their round that a mean depends on how many occurred.

    0 if there are many: then they are not stragglers.
    """
    off = np.abs(values - np.median(values))
    spread = float(np.median(off)) / NORMAL_MAD
    for number in range(_count(rounds)):
        own = values[rounds == number]
        if len(own) >= MIN_ROUND:
            off[rounds == number] = np.abs(own - np.median(own))
    far = int((off > max(FAR * spread, least)).sum())
    return far if far <= RARE * len(values) else 0


def numbered(groups: Groups) -> Numbers:
    """Number groups from 0, in the order in which they come."""
    return pd.factorize(_plain(groups))[0]


def distinct(groups: Groups) -> int:
    """Count the groups."""
    return len(pd.unique(_plain(groups)))


def _count(numbers: Numbers) -> int:
    return int(numbers.max(initial=-1)) + 1


def _plain(groups: Groups) -> NDArray[Any]:
    return groups if isinstance(groups, np.ndarray) else np.fromiter(groups, object, len(groups))


def too_few(passages: int, rounds: int) -> str | None:
    """Return why this many passages and rounds give no interval; None if they give one."""
    if passages == 1:
        return "only one passage, which says nothing about other texts"
    if rounds == 1:
        return "only one round, which says nothing about other times"
    if passages < MIN_PASSAGES or rounds < MIN_ROUNDS:
        few = f"{counted(passages, 'passage')} and {counted(rounds, 'round')}"
        return f"{few}: an interval needs at least {MIN_PASSAGES} passages and {MIN_ROUNDS} rounds"
    return None


def counted(n: int, what: str) -> str:
    """Return "1 round", "2 rounds"."""
    return f"{n} {what}" + ("" if n == 1 else "s")


def _scaled(own: Observations, scale: Scale) -> Influence:
    values = np.log(own.values) if scale == "ratio" else own.values
    return Influence.of_mean(values, own.passages, own.rounds, tailed=scale == "ratio")


def _welch(ours: Spreads, theirs: Spreads) -> Spreads:
    """Return the spreads of a difference of independent figures, with Welch's degrees of freedom."""
    one, other, both = (_welch_of(mine, other) for mine, other in zip(ours, theirs, strict=True))
    return one, other, both


def _welch_of(one: Spread, other: Spread) -> Spread:
    se = math.hypot(one.se, other.se)
    if se == 0:
        return Spread(0.0, min(one.df, other.df))
    return Spread(se, se**4 / (one.se**4 / one.df + other.se**4 / other.df))


def _plus(found: Comparison, *sizes: int) -> Comparison:
    if not found.spreads:
        return found
    added = math.hypot(*(math.sqrt(PLUS) / n for n in sizes))
    one, other, both = (Spread(math.hypot(spread.se, added), spread.df) for spread in found.spreads)
    return replace(found, spreads=(one, other, both), plus_four=added)
