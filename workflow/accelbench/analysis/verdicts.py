"""What a comparison shows: lower or higher, equivalent within a margin, or undecided and the n that is needed.

"Equivalent" comes first: the margin was chosen before the run as negligible, so a significant difference within it
makes no winner. The verdict has figures; report.verdicts puts them into words.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scipy import special

from accelbench.analysis.intervals import MIN_PASSAGES, MIN_ROUNDS, Comparison, Spread, t_quantile

ALPHA = 0.05
POWER = 0.8  # with which `Needed` detects a difference of the margin
_MOST_ROUNDS = 1_000_000
TIME_MARGIN, SCORE_MARGIN = 0.05, 0.02

Kind = Literal["lower", "higher", "equivalent", "undecided"]


@dataclass(frozen=True, slots=True)
class Needed:
    """The n with which a difference as large as the margin would be detected with a power of 80 %."""

    rounds: int
    more_rounds: int
    prompts: int
    minutes: float | None
    """For the further rounds; null where the duration of a round is not known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` says how ours compares with theirs; `p_value` and `p_equivalent` are adjusted for the family."""

    kind: Kind
    comparison: Comparison
    margin: float
    p_value: float | None
    p_equivalent: float | None
    needed: Needed | None
    why_undecided: str | None


def holm(p_values: Mapping[str, float | None], others: int = 0) -> dict[str, float | None]:
    """Return p-values adjusted by Holm, by name; nulls aren't counted. `others`: tests of the family made elsewhere.

    (scipy.stats adjusts by Benjamini and Hochberg or Yekutieli alone, which control another error rate.)
    """
    family = {name: p for name, p in p_values.items() if p is not None}
    adjusted, least = dict(p_values), 0.0
    for place, name in enumerate(sorted(family, key=lambda name: family[name])):
        least = max(least, min(1.0, (others + len(family) - place) * family[name]))
        adjusted[name] = least
    return adjusted


def judge(
    comparisons: Mapping[str, Comparison],
    margins: Mapping[str, float],
    beside: Mapping[str, float | None] | None = None,
    others: int = 0,
    s_per_round: float | None = None,
) -> dict[str, Verdict]:
    """Judge named comparisons as one family, together with the p-values `beside` and `others` tests made elsewhere.

    No metric can both be the same and lie outside its margin. So the two claims that may be wrong, a winner and an
    equivalence, are each corrected among their own kind. `s_per_round`: the seconds a round takes on both sides.
    """
    tests = {**{name: c.p_value for name, c in comparisons.items()}, **(beside or {})}
    differ = holm(tests, others)
    alike = holm({name: c.p_equivalent(margins[name]) for name, c in comparisons.items()})
    told = sum(p is not None and p <= ALPHA for p in differ.values())
    level = ALPHA / max(1, len(tests) + others - told)
    return {
        name: _verdict(comparison, margins[name], differ[name], alike[name], level, s_per_round)
        for name, comparison in comparisons.items()
    }


def _verdict(
    comparison: Comparison,
    margin: float,
    p: float | None,
    p_equivalent: float | None,
    level: float,
    s_per_round: float | None,
) -> Verdict:
    kind: Kind = "undecided"
    if p_equivalent is not None and p_equivalent <= ALPHA:
        kind = "equivalent"
    elif p is not None and p <= ALPHA:
        kind = "lower" if comparison.centre < 0 else "higher"
    undecided = kind == "undecided"
    per_round = comparison.n / comparison.rounds
    return Verdict(
        kind=kind,
        comparison=comparison,
        margin=margin,
        p_value=p,
        p_equivalent=p_equivalent,
        needed=rounds_needed(comparison, margin, per_round, s_per_round, level) if undecided else None,
        why_undecided=comparison.why_no_interval if undecided else None,
    )


def rounds_needed(
    comparison: Comparison,
    margin: float,
    prompts_per_round: float,
    s_per_round: float | None = None,
    level: float = ALPHA,
) -> Needed | None:
    """Return the n needed, from the measured variance; None if nothing varied, or if it needs too many rounds.

    Each further round is assumed to have new passages, as rounds do here. `prompts_per_round` counts as `n` does;
    `level` is that of the first test that Holm's procedure leaves undecided.
    """
    if comparison.n < 2 or (comparison.sd == 0 and not comparison.spreads):
        return None
    reach = comparison.reach(margin)
    few = max(MIN_ROUNDS, math.ceil(MIN_PASSAGES / prompts_per_round))
    if not _told_apart(comparison, _MOST_ROUNDS, prompts_per_round, reach, level):
        return None
    low, high = few - 1, _MOST_ROUNDS  # low doesn't do, or is too few; high does
    while high - low > 1:
        middle = (low + high) // 2
        does = _told_apart(comparison, middle, prompts_per_round, reach, level)
        low, high = (low, middle) if does else (middle, high)
    more = max(0, high - comparison.rounds)
    return Needed(
        rounds=high,
        more_rounds=more,
        prompts=math.ceil(high * prompts_per_round - 1e-9),
        minutes=None if s_per_round is None else more * s_per_round / 60,
    )


def smallest_detected(comparison: Comparison, level: float = ALPHA) -> float | None:
    """Return the smallest change, as a margin, that as many rounds detect with the power; None where there is none."""
    if not comparison.spreads:
        return None
    reach = max(spread.se * _distance_detected(spread.df, level) for spread in comparison.spreads)
    if comparison.plus_four and reach >= 1:
        return None
    return math.expm1(reach) if comparison.scale == "ratio" else reach


def _distance_detected(df: float, level: float) -> float:
    """Return the standard errors at which `_power` is that of a detection."""
    critical = t_quantile(1 - level / 2, df)
    spread = math.sqrt(1 + critical**2 / (2 * df))
    return critical * (1 - 1 / (4 * df)) + float(special.ndtri(POWER)) * spread


def _told_apart(comparison: Comparison, rounds: int, prompts_per_round: float, reach: float, level: float) -> bool:
    """Whether this many rounds detect a difference of `reach`."""
    n = rounds * prompts_per_round
    if comparison.spreads:
        grown, plus = n / comparison.n, comparison.plus_four
        expected = [
            Spread(
                math.hypot(math.sqrt(max(0.0, s.se**2 - plus**2) / grown), plus / grown),
                max(1.0, (s.df + 1) * grown - 1),
            )
            for s in comparison.spreads
        ]
    else:
        factor = 1 if comparison.paired else 2
        expected = [Spread(comparison.sd * factor / math.sqrt(n), max(1, int(n) - 1))]
    return all(_power(reach / s.se, s.df, level) >= POWER for s in expected if s.se > 0)


def _power(distance: float, df: float, level: float) -> float:
    """Return how often a t test rejects, its figure being so many standard errors off (normal approximation)."""
    critical = t_quantile(1 - level / 2, df)
    return float(special.ndtr((distance - critical * (1 - 1 / (4 * df))) / math.sqrt(1 + critical**2 / (2 * df))))
