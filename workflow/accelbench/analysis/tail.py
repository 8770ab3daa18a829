"""A sample of times, and the gaps between tokens (ITL), in figures: plain percentiles, as far as n reaches.

They describe only the sample. A gap is the time from one token event of a stream to the next. A million requests
have tens of millions of them: they are kept as one array of single precision (event times are kept to 1 µs), never as
Python numbers. A stream that came in batches has none: its times are a gateway's.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from accelbench.store.records import RequestRecord

PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Tail:
    """`n` values and the percentiles that they support: null where less than one value is expected beyond it."""

    n: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Times:
    """A sample of times in figures, in seconds; a percentile is null where less than one is expected beyond it."""

    n: int
    mean: float | None = None
    median: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


def times(values: Iterable[float | None]) -> Times:
    """Describe the values that are there."""
    there = np.array([value for value in values if value is not None], dtype=float)
    if not len(there):
        return Times(0)
    reached = (quantile(there, percent / 100) if supports(len(there), percent) else None for percent in PERCENTS)
    middle = statistics.fmean(there), float(np.median(there))
    return Times(len(there), *middle, float(there.min()), float(there.max()), *reached)


def tail(values: Iterable[float | None], *, failures: int = 0) -> Tail:
    """Describe the known values; `failures` more count as infinite."""
    there = [value for value in values if value is not None] + [math.inf] * failures
    reached = (quantile(there, percent / 100) if supports(len(there), percent) else None for percent in PERCENTS)
    return Tail(len(there), *reached)


def supports(n: int, percent: float) -> bool:
    """Tell whether at least one of n values is expected beyond a percentile."""
    return n > 0 and n * (100 - percent) >= 100


def quantile(values: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """Return a quantile by interpolated order statistics: the one definition of a percentile here.

    Infinite where a neighbour is (np.quantile has no number for that).
    """
    above = float(np.quantile(values, share, method="higher"))
    return above if math.isinf(above) else float(np.quantile(values, share))


TOGETHER = 4096  # requests whose event times are in memory at once


def gaps(requests: Sequence[RequestRecord]) -> Times:
    """Describe the gaps of requests that carry latencies."""
    there = np.concatenate([np.empty(0, np.float32), *_gaps_s(requests)])
    n = len(there)
    if not n:
        return Times(0)
    reached = np.percentile(there, PERCENTS, overwrite_input=True)
    p50, p90, p95, p99 = (
        float(value) if supports(n, percent) else None for value, percent in zip(reached, PERCENTS, strict=True)
    )
    return Times(
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
