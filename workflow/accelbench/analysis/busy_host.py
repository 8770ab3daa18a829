"""Was the host busy with other work while a round or run was measured? By the share of CPU time that others took.

Results that recorded nothing are taken for quiet: nothing is known of them.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from accelbench import foreign_json

MOST_OTHERS, MOST_STEAL = 0.10, 0.05
"""Of all CPU time. Chosen beforehand, not measured: a tenth of the CPU time can move a measurement that needs all of it
by more than the 5 % within which two sides are called equal. Stolen time comes in bursts: half as much."""


def is_busy(activity: Mapping[str, Any] | None) -> bool:
    """Tell whether other programs, or other guests of the same machine, took more than the stated shares."""
    return _share(activity, "share_of_others") > MOST_OTHERS or _share(activity, "steal_share") > MOST_STEAL


def busy_in_words(activities: Sequence[Mapping[str, Any] | None], what: str = "rounds") -> str | None:
    """Say how many of some rounds (or runs) were measured on a busy host, and how busy; None where none was."""
    busy = [each for each in activities if is_busy(each)]
    if not busy:
        return None
    taken = statistics.fmean(_share(each, "share_of_others") + _share(each, "steal_share") for each in busy)
    cores = {(each or {}).get("cores") for each in busy}
    of = f"all {cores.pop()} cores" if len(cores) == 1 and None not in cores else "the CPU time"
    return f"other programs used {100 * taken:.0f} % of {of} in {len(busy)} of {len(activities)} {what}"


def _share(activity: Mapping[str, Any] | None, key: str) -> float:
    return foreign_json.number((activity or {}).get(key)) or 0.0
