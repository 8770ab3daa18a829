"""What a comparison carries: lower or higher, equivalent within a margin, or undecided and what it would take.

"Equivalent" comes first: the margin was named before the run as what makes no difference, so a difference that
surely lies within it wins nothing. The verdict holds figures; the words are made elsewhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from accelbench.analysis.comparison import Comparison
from accelbench.analysis.multiplicity import holm
from accelbench.analysis.sign_flips import MIN_PASSAGES
from accelbench.analysis.spread import MIN_ROUNDS, Spread, t_quantile

ALPHA = 0.05
POWER = 0.8  # with which `Needed` tells a difference of the margin apart
MOST_ROUNDS = 1_000_000
TIME_MARGIN, SCORE_MARGIN = 0.05, 0.02

Kind = Literal["lower", "higher", "equivalent", "undecided"]


@dataclass(frozen=True, slots=True)
class Needed:
    """The n with which a difference as large as the margin would be told apart in four of five cases."""

    rounds: int
    more_rounds: int
    prompts: int
    minutes: float | None
    """For the further rounds; null where the duration of a round is not known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` says how ours lies to theirs; `p_value` and `p_equivalent` are adjusted for all that is said."""

    kind: Kind
    comparison: Comparison
    margin: float
    p_value: float | None
    p_equivalent: float | None
    needed: Needed | None
    why_undecided: str | None


def judge(
    comparisons: Mapping[str, Comparison],
    margins: Mapping[str, float],
    primary: str | None = None,
    s_per_round: float | None = None,
) -> dict[str, Verdict]:
    """Judge named comparisons as one family, in which only the primary one is spared Holm's correction.

    No metric can both be the same and lie outside its margin. So the two claims that may be wrong, a winner and an
    equivalence, are corrected each among its own kind. `s_per_round`: the seconds a round takes on both sides.
    """
    differ = holm({name: c.p_value for name, c in comparisons.items()}, primary)
    alike = holm({name: c.p_equivalent(margins[name]) for name, c in comparisons.items()}, primary)
    return {
        name: _verdict(comparison, margins[name], differ[name], alike[name], s_per_round)
        for name, comparison in comparisons.items()
    }


def _verdict(
    comparison: Comparison, margin: float, p: float | None, p_equivalent: float | None, s_per_round: float | None
) -> Verdict:
    kind: Kind = "undecided"
    zero = 1.0 if comparison.scale == "ratio" else 0.0
    low, high = comparison.interval() or (-math.inf, math.inf)
    if p_equivalent is not None and p_equivalent <= ALPHA:
        kind = "equivalent"
    elif p is not None and p <= ALPHA and not low <= zero <= high:
        kind = "lower" if high < zero else "higher"
    undecided = kind == "undecided"
    return Verdict(
        kind=kind,
        comparison=comparison,
        margin=margin,
        p_value=p,
        p_equivalent=p_equivalent,
        needed=needed(comparison, margin, comparison.n / comparison.rounds, s_per_round) if undecided else None,
        why_undecided=(comparison.why_no_interval or comparison.why_no_p) if undecided else None,
    )


def needed(
    comparison: Comparison, margin: float, prompts_per_round: float, s_per_round: float | None = None
) -> Needed | None:
    """Return the n it would take, from the measured variance; None where nothing varied, or it takes too many rounds.

    Each further round is taken to ask other passages, as rounds here do. `prompts_per_round` counts as `n` does.
    """
    if comparison.n < 2 or (comparison.sd == 0 and not comparison.spreads):
        return None
    reach = comparison.reach(margin)
    few = max(MIN_ROUNDS, math.ceil(MIN_PASSAGES / prompts_per_round))
    if not _told_apart(comparison, MOST_ROUNDS, prompts_per_round, reach):
        return None
    low, high = few - 1, MOST_ROUNDS  # low doesn't do, or is too few; high does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _told_apart(comparison, middle, prompts_per_round, reach) else (middle, high)
    more = max(0, high - comparison.rounds)
    return Needed(
        rounds=high,
        more_rounds=more,
        prompts=math.ceil(high * prompts_per_round - 1e-9),
        minutes=None if s_per_round is None else more * s_per_round / 60,
    )


def _told_apart(comparison: Comparison, rounds: int, prompts_per_round: float, reach: float) -> bool:
    """Whether so many rounds tell `reach` apart from nothing."""
    n = rounds * prompts_per_round
    if comparison.spreads:
        grown = n / comparison.n
        expected = [Spread(s.se / math.sqrt(grown), max(1.0, (s.df + 1) * grown - 1)) for s in comparison.spreads]
    else:
        factor = 1 if comparison.paired else 2
        expected = [Spread(comparison.sd * factor / math.sqrt(n), max(1, int(n) - 1))]
    return all(
        (t_quantile(1 - ALPHA / 2, s.df) + t_quantile(POWER, s.df)) * s.se <= reach for s in expected if s.se > 0
    )
