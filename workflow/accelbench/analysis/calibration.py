"""The client's error: what it reports minus what the truth server says, over what the server says.

The tokens of a truth server are the instants at which they were written; the first also says when the request had
arrived (arrival:write).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from accelbench.analysis.tail import Times, times
from accelbench.store.records import RequestRecord

CLIENT_METRICS = {"ttft_s": "TTFT", "itl_s": "ITL", "e2e_s": "E2E"}
PERCENTILES = ("p50", "p99")

ReportedAndTrue = tuple[float, float]
"""What the client reports, and the truth."""


def client_error(requests: Sequence[RequestRecord]) -> dict[str, Any]:
    """Return the error of each metric at each percentile; null where n does not support the percentile.

    `worst_ms` is the largest error of a single observation, its sign kept. Requests that failed stand in `failed`.
    """
    pairs: dict[str, list[ReportedAndTrue]] = {metric: [] for metric in CLIENT_METRICS}
    for request in (r for r in requests if r.is_success):
        arrived_s, written_s = truth(request.answer)
        times_s = request.event_times_s
        pairs["ttft_s"].append((times_s[0], written_s[0] - arrived_s))
        pairs["itl_s"] += zip(_gaps(times_s), _gaps(written_s), strict=True)
        pairs["e2e_s"].append((times_s[-1], written_s[-1] - arrived_s))
    failed = sum(not request.is_success for request in requests)
    return {"requests": len(requests), "failed": failed, **{metric: _errors(found) for metric, found in pairs.items()}}


def truth(text: str) -> tuple[float, list[float]]:
    """Return when a request arrived and when each of its tokens was written, in seconds of one clock."""
    arrived, _, written = text.partition(":")
    return float(arrived), [float(instant) for instant in written.split()]


def _gaps(times_s: Sequence[float]) -> list[float]:
    return [late - early for early, late in pairwise(times_s)]


def _errors(pairs: Sequence[ReportedAndTrue]) -> dict[str, Any]:
    client, true = (times(side) for side in zip(*pairs, strict=True)) if pairs else (Times(0), Times(0))
    worst_s = max((reported - was for reported, was in pairs), key=abs, default=None)
    return {
        "n": len(pairs),
        **{name: _error(getattr(client, name), getattr(true, name)) for name in PERCENTILES},
        "worst_ms": None if worst_s is None else round(1000 * worst_s, 4),
    }


def _error(client_s: float | None, truth_s: float | None) -> dict[str, float] | None:
    if client_s is None or truth_s is None:
        return None
    error_s = client_s - truth_s
    return {
        "truth_ms": round(1000 * truth_s, 4),
        "client_ms": round(1000 * client_s, 4),
        "error_ms": round(1000 * error_s, 4),
        "error_share": round(error_s / truth_s, 6),
    }
