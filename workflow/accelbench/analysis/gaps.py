"""The gaps between tokens (ITL): from one token event of a stream to the next.

A million requests have tens of millions of them: they are kept as one array of single precision (event times are kept
to 1 µs), never as Python numbers. A stream that came in batches has none: its
times are a gateway's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from accelbench.analysis.tail import PERCENTS, supports
from accelbench.records import RequestRecord

TOGETHER = 4096  # requests whose event times are in memory at once


@dataclass(frozen=True, slots=True)
class Gaps:
    """All gaps of a load in figures, in seconds; a percentile is null where less than one gap is expected beyond it."""

    n: int
    mean: float | None = None
    median: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


def gaps(requests: Sequence[RequestRecord]) -> Gaps:
    """Describe the gaps of requests that carry latencies."""
    there = np.concatenate([np.empty(0, np.float32), *_gaps_s(requests)])
    n = len(there)
    if not n:
        return Gaps(0)
    reached = np.percentile(there, PERCENTS, overwrite_input=True)
    p50, p90, p95, p99 = (
        float(value) if supports(n, percent) else None for value, percent in zip(reached, PERCENTS, strict=True)
    )
    return Gaps(
        n=n,
        mean=float(there.mean(dtype=np.float64)),
        median=float(reached[0]),
        min=float(there.min()),
        max=float(there.max()),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
    )


def _gaps_s(requests: Sequence[RequestRecord]) -> Iterator[NDArray[np.float32]]:
    streams = (r.event_times_s for r in requests if r.streaming != "batched" and len(r.event_times_s) > 1)
    while some := list(islice(streams, TOGETHER)):
        times_s = np.concatenate(some, dtype=np.float64)
        between = np.cumsum([len(own) for own in some])[:-1] - 1  # from one stream's last event to another's first
        yield np.delete(np.diff(times_s), between).astype(np.float32)
