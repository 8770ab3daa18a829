"""Two endpoints, one metric: the estimate, its interval and its p-value from one model.

Times are compared as a ratio (on the log scale), scores as a difference. Paired: the same prompts of the same
round, each passage and each round a group. Unpaired, for endpoints that were not interleaved: Welch's t over each
side's passage means, over its round means and over both. The widest interval and the largest p-value count, for an
endpoint may drift from round to round against another as well as differ from text to text.
"""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from accelbench.analysis.sign_flips import MIN_PASSAGES as MIN_FLIPPED
from accelbench.analysis.sign_flips import sign_flip_p
from accelbench.analysis.spread import (
    CONFIDENCE,
    Spread,
    Spreads,
    counted,
    deviation,
    group_means,
    half_width,
    spreads_of,
    too_few,
    welch,
)
from accelbench.analysis.statistics import Estimate, Observation

Scale = Literal["ratio", "difference"]
Key = tuple[Hashable, Hashable]
PLUS = 4  # Agresti and Caffo's plus four: scores never differ so little that nothing unseen may differ


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against theirs. `centre`, `sd` and `spreads` (null where too few) are logs where the scale is ratio.

    `n` counts pairs, or values of both sides together; `sd` is that of one of them.
    """

    scale: Scale
    paired: bool
    centre: float
    sd: float
    spreads: Spreads | None
    p_value: float | None
    n: int
    passages: int
    rounds: int
    why_no_interval: str | None
    why_no_p: str | None

    @property
    def value(self) -> float:
        """The ratio ours / theirs, or the difference ours - theirs."""
        return self._shown(self.centre)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Return the interval of the value."""
        if not self.spreads:
            return None
        half = half_width(self.spreads, confidence)
        return self._shown(self.centre - half), self._shown(self.centre + half)

    def estimate(self) -> Estimate:
        """Return the value with its interval, or why there is none."""
        low, high = self.interval() or (None, None)
        return Estimate(self.value, low, high, self.n, self.why_no_interval)

    def reach(self, margin: float) -> float:
        """Return a margin (0.05: ±5 % of a ratio; 0.02: ±2 points of a score) on the scale of `centre`."""
        return math.log1p(margin) if self.scale == "ratio" else margin

    def p_equivalent(self, margin: float) -> float | None:
        """Return the p-value of two one-sided tests: small where the value surely lies within the margin."""
        if not self.spreads:
            return None
        inside = self.reach(margin) - abs(self.centre)
        return max(spread.p_above(inside) for spread in self.spreads)

    def _shown(self, centre: float) -> float:
        return math.exp(centre) if self.scale == "ratio" else centre


def compare_paired(
    ours: Mapping[Key, Observation], theirs: Mapping[Key, Observation], scale: Scale
) -> Comparison | None:
    """Compare over the prompts, by (round, key), that both answered; None when there is no pair."""
    keys = [key for key in ours if key in theirs]
    if not keys:
        return None
    differences = [_scaled(ours[key].value, scale) - _scaled(theirs[key].value, scale) for key in keys]
    passages, rounds = [ours[key].passage for key in keys], [ours[key].round for key in keys]
    spreads: Spreads | None = None
    p = None
    why_no_interval = why_no_p = too_few(len(set(passages)), len(set(rounds)))
    if not why_no_interval:
        measured = spreads_of(differences, passages, rounds)
        spreads = _plus(measured, len(keys), scale)
        by_passage = group_means(differences, passages)
        if len(by_passage) < MIN_FLIPPED:
            why_no_p = f"{counted(len(by_passage), 'passage')}: a test takes at least {MIN_FLIPPED}"
        else:
            centre = abs(statistics.fmean(differences))
            p = max(sign_flip_p(by_passage), *(2 * spread.p_above(centre) for spread in measured[1:]))
    return Comparison(
        scale=scale,
        paired=True,
        centre=statistics.fmean(differences),
        sd=deviation(differences),
        spreads=spreads,
        p_value=None if p is None else min(1.0, p),
        n=len(keys),
        passages=len(set(passages)),
        rounds=len(set(rounds)),
        why_no_interval=why_no_interval,
        why_no_p=why_no_p,
    )


def compare_unpaired(ours: Sequence[Observation], theirs: Sequence[Observation], scale: Scale) -> Comparison | None:
    """Compare two sides that share no conditions; None when one is empty. Passages and rounds: the fewer of both."""
    if not ours or not theirs:
        return None
    sides = [_Side.of(own, scale) for own in (ours, theirs)]
    passages, rounds = min(s.passages for s in sides), min(s.rounds for s in sides)
    centre = sides[0].mean - sides[1].mean
    why = too_few(passages, rounds)
    spreads: Spreads | None = None
    if sides[0].spreads and sides[1].spreads and not why:
        one, other, both = map(welch, sides[0].spreads, sides[1].spreads)
        spreads = one, other, both
    return Comparison(
        scale=scale,
        paired=False,
        centre=centre,
        sd=math.hypot(sides[0].sd, sides[1].sd),
        spreads=spreads,
        p_value=min(1.0, max(2 * spread.p_above(abs(centre)) for spread in spreads)) if spreads else None,
        n=len(ours) + len(theirs),
        passages=passages,
        rounds=rounds,
        why_no_interval=why,
        why_no_p=why,
    )


@dataclass(frozen=True, slots=True)
class _Side:
    mean: float
    sd: float
    spreads: Spreads | None
    passages: int
    rounds: int

    @classmethod
    def of(cls, observations: Sequence[Observation], scale: Scale) -> "_Side":
        values = [_scaled(o.value, scale) for o in observations]
        kinds = ([o.passage for o in observations], [o.round for o in observations])
        known = all(len(set(groups)) > 1 for groups in kinds)
        spreads = _plus(spreads_of(values, *kinds), len(values), scale) if known else None
        return cls(statistics.fmean(values), deviation(values), spreads, len(set(kinds[0])), len(set(kinds[1])))


def _plus(spreads: Spreads, n: int, scale: Scale) -> Spreads:
    if scale == "ratio":
        return spreads
    one, other, both = (Spread(math.hypot(spread.se, math.sqrt(PLUS) / n), spread.df) for spread in spreads)
    return one, other, both


def _scaled(value: float, scale: Scale) -> float:
    return math.log(value) if scale == "ratio" else float(value)
