"""Two sides' training rates at one batch size: over runs, on the log scale."""

import math
import statistics
from collections.abc import Sequence

from accelbench.analysis.comparison import Comparison
from accelbench.analysis.spread import Spread, counted, deviation, welch

MIN_RUNS = 3  # on each side: with 2 against 10, Welch's interval covers 90 %


def compare_rates(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Compare the rates of single runs, at least one on each side; a run counts as a round of its own."""
    logs = [[math.log(rate) for rate in own] for own in (ours, theirs)]
    deviations, fewest = [deviation(own) for own in logs], min(map(len, logs))
    centre, why = statistics.fmean(logs[0]) - statistics.fmean(logs[1]), None
    spread = None
    if fewest < MIN_RUNS:
        why = f"{counted(fewest, 'run')} on a side: an interval takes at least {MIN_RUNS} of a size on both"
    elif not any(deviations):
        why = "the runs of each side are identical"
    else:
        one, other = (Spread(sd / math.sqrt(len(own)), len(own) - 1) for sd, own in zip(deviations, logs, strict=True))
        spread = welch(one, other)
    return Comparison(
        scale="ratio",
        paired=False,
        centre=centre,
        sd=math.hypot(*deviations),
        spreads=(spread, spread, spread) if spread else None,
        p_value=min(1.0, 2 * spread.p_above(abs(centre))) if spread else None,
        n=len(ours) + len(theirs),
        passages=fewest,
        rounds=fewest,
        why_no_interval=why,
        why_no_p=why,
    )
