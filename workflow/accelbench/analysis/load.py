"""One load in figures: classes, latencies, speeds.

Latencies count from the moment a request was written; those `from_schedule` (open loop) from the moment it was due.
Successes carry them; failures stand in the counts.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from accelbench.analysis.throughput import busy_speed
from accelbench.records import SUCCESS, RequestRecord

PERCENTILES = (50, 90, 95, 99)
DELIVERED = (*SUCCESS, "no_answer")  # a whole generation, if not an answer

Figures = dict[str, float | int | None]


def load_figures(requests: Sequence[RequestRecord], client: dict[str, Any], *, slots: int | None) -> dict[str, Any]:
    """Return the figures of one load. `slots`: the concurrency of a closed loop; None: open loop.

    Speeds are tokens of successes per second of the load: in closed loop while all slots were busy, in open loop
    from the first arrival to the last answer.
    """
    attempts = [r for r in requests if not r.warm_up]
    asked = [r for r in attempts if r.last_attempt]
    good = [r for r in asked if r.class_ in SUCCESS]
    whole = [r for r in asked if r.class_ in DELIVERED]
    figures: dict[str, Any] = {
        "n": len(asked),
        "by_class": dict(Counter(r.class_ for r in asked)),
        "attempts_by_class": dict(Counter(r.class_ for r in attempts)),
        "ttft_s": distribution(r.ttft_s for r in whole),
        "ttfat_s": distribution(r.ttfat_s for r in good),
        "itl_s": distribution(gap for r in whole for gap in _gaps(r)),
        "tpot_s": distribution(r.tpot_s for r in whole),
        "e2e_s": distribution(r.e2e_s for r in whole),
    }
    if slots is None:
        late = [(r, r.sent_unix_s - r.scheduled_unix_s) for r in whole if r.sent_unix_s and r.scheduled_unix_s]
        figures["from_schedule_ttft_s"] = distribution(r.ttft_s + s for r, s in late if r.ttft_s is not None)
        figures["from_schedule_e2e_s"] = distribution(r.e2e_s + s for r, s in late if r.e2e_s is not None)
    return {**figures, **_speeds(asked, good, slots), "client": client}


def distribution(values: Iterable[float | None]) -> Figures:
    """Return n, mean, median, min, max and percentiles; null where n does not reach so far into the tail."""
    there = sorted(value for value in values if value is not None)
    n = len(there)
    names = [f"p{percent}" for percent in PERCENTILES]
    if not there:
        return {"n": 0, **dict.fromkeys(["mean", "median", "min", "max", *names])}
    return {
        "n": n,
        "mean": statistics.fmean(there),
        "median": statistics.median(there),
        "min": there[0],
        "max": there[-1],
        **{f"p{percent}": _percentile(there, percent) for percent in PERCENTILES},
    }


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return a percentile by interpolated order statistics; null with less than one observation beyond it."""
    if len(ordered) * (100 - percent) < 100:
        return None
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _gaps(request: RequestRecord) -> list[float]:
    return [late - early for early, late in pairwise(request.event_times_s)]


def _speeds(asked: Sequence[RequestRecord], good: Sequence[RequestRecord], slots: int | None) -> Figures:
    begun = [r.scheduled_unix_s or r.sent_unix_s or r.dequeued_unix_s for r in asked]
    ended = [r.end_unix_s for r in asked if r.end_unix_s]
    wall_s = max(ended) - min(begun) if begun and ended else None

    def per_s(tokens: str) -> float | None:
        counts = [getattr(r, tokens) for r in good]
        if not wall_s or not counts or None in counts:
            return None
        return busy_speed(asked, slots, tokens) if slots else sum(counts) / wall_s

    return {
        "output_tok_per_s": per_s("completion_tokens"),
        "total_tok_per_s": per_s("total_tokens"),
        "answer_tok_per_s": per_s("answer_tokens"),
        "requests_per_s": len(good) / wall_s if wall_s else None,
        "wall_s": wall_s,
    }
