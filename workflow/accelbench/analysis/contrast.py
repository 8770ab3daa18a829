"""Two sides, one metric: in pairs where they were interleaved, else as two samples.

Verdicts, tables and JSON all take a metric's interval from here, so that no page shows two of them for one ratio. A
prompt that both were asked in a round, and that one did not answer, counts for neither: else an endpoint that fails at
long answers would look fast.
"""

from collections.abc import Collection

from accelbench.analysis.comparison import Comparison, Scale, compare_paired, compare_unpaired
from accelbench.analysis.interleaving import Interleaving
from accelbench.analysis.sides import SCORES, Key, Side

DIFFERENCES = ("success", *SCORES)
"""Metrics compared as a difference; all others are times, compared as a ratio."""


def contrast(ours: Side, theirs: Side, metric: str, met: Interleaving, scale: Scale | None = None) -> Comparison | None:
    """Compare one metric, on its own scale if none is given; None where a side doesn't have it, or no pair does."""
    scale = scale or ("difference" if metric in DIFFERENCES else "ratio")
    one, other = ours.observations(metric), theirs.observations(metric)
    if met.interleaved:
        return compare_paired({key: one[key] for key in one if key in met.near}, other, scale)
    lost = unanswered(ours, theirs, one, other)
    kept = [[own[key] for key in own if key not in lost] for own in (one, other)]
    return compare_unpaired(kept[0], kept[1], scale)


def unanswered(ours: Side, theirs: Side, one: Collection[Key], other: Collection[Key]) -> set[Key]:
    """Return the prompts that both were asked, and that not both answered."""
    return {key for key in {*one, *other} if key in ours.asked and key in theirs.asked} - ({*one} & {*other})
