"""How far a mean may be off: t intervals over passages, over rounds and over both, of which the widest one counts.

Requests on one passage, and requests of one round, are not independent, so neither is counted as such. Where the same
passages are asked in every round and both matter alike, each of the first two sees half of the variance: they cover
86 % with 100 passages and 30 rounds. The third adds up what passages and rounds bring beyond the noise of single
requests (Cameron, Gelbach and Miller, Journal of Business & Economic Statistics 29 (2011) 238). Nothing is said of
fewer than 5 passages or 3 rounds.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from scipy import special

MIN_PASSAGES, MIN_ROUNDS = 5, 3
CONFIDENCE = 0.95


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


def t_quantile(probability: float, df: float) -> float:
    """Return a quantile of Student's t."""
    return float(special.stdtrit(df, probability))


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


def welch(one: Spread, other: Spread) -> Spread:
    """Return the spread of a difference of independent means, with Welch's degrees of freedom."""
    se = math.hypot(one.se, other.se)
    if se == 0:
        return Spread(0.0, min(one.df, other.df))
    return Spread(se, se**4 / (one.se**4 / one.df + other.se**4 / other.df))


def half_width(spreads: Iterable[Spread], confidence: float = CONFIDENCE) -> float:
    """Return half the width of the widest interval."""
    return max(spread.half_width(confidence) for spread in spreads)


def spreads_of(values: Sequence[float], passages: Sequence[Hashable], rounds: Sequence[Hashable]) -> Spreads:
    """Return the spreads of a mean over passages, over rounds and over both, of at least two each."""
    by_passage, by_round = spread_of(values, passages), spread_of(values, rounds)
    by_cell = spread_of(values, list(zip(passages, rounds, strict=True)))
    return by_passage, by_round, over_both(by_passage, by_round, by_cell)


def spread_of(values: Sequence[float], groups: Sequence[Hashable]) -> Spread:
    """Return the spread of a mean over the means of at least two groups."""
    means = group_means(values, groups)
    return Spread(deviation(means) / math.sqrt(len(means)), len(means) - 1)


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample; 0 of a single value."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))


def group_means(values: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    """Return the mean of each group, in the order in which the groups come."""
    grouped: dict[Hashable, list[float]] = defaultdict(list)
    for value, group in zip(values, groups, strict=True):
        grouped[group].append(value)
    return [math.fsum(own) / len(own) for own in grouped.values()]


def too_few(passages: int, rounds: int) -> str | None:
    """Say why so many passages and rounds give no interval; None when they do."""
    if passages == 1:
        return "one passage: says nothing about other texts"
    if rounds == 1:
        return "one round: says nothing about other times"
    if passages < MIN_PASSAGES or rounds < MIN_ROUNDS:
        few = f"{counted(passages, 'passage')} and {counted(rounds, 'round')}"
        return f"{few}: an interval takes at least {MIN_PASSAGES} passages and {MIN_ROUNDS} rounds"
    return None


def counted(n: int, what: str) -> str:
    """Return "1 round", "2 rounds"."""
    return f"{n} {what}" + ("" if n == 1 else "s")
