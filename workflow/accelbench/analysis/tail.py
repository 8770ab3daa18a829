"""A sample of times, and the gaps between tokens (ITL), in figures: plain percentiles, as far as n reaches.

They describe only the sample. A gap is the time from one token event of a stream to the next. A million requests
have tens of millions of them: they are kept as one array of single precision (event times are kept to 1 µs), never as
Python numbers. A stream that came in batches has none: its times are a gateway's.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelbench.store.requests import Requests

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


def times(values: ArrayLike) -> Times:
    """Describe the values that are there."""
    there = np.asarray(values, dtype=float)
    there = there[~np.isnan(there)]
    if not len(there):
        return Times(0)
    reached = (quantile(there, percent / 100) if supports(len(there), percent) else None for percent in PERCENTS)
    middle = statistics.fmean(there.tolist()), float(np.median(there))
    return Times(len(there), *middle, float(there.min()), float(there.max()), *reached)


def tail(values: ArrayLike, *, failures: int = 0) -> Tail:
    """Describe some values; `failures` more count as infinite."""
    there = np.concatenate([np.asarray(values, dtype=float), np.full(failures, math.inf)])
    reached = (quantile(there, percent / 100) if supports(len(there), percent) else None for percent in PERCENTS)
    return Tail(len(there), *reached)


def supports(n: int, percent: float) -> bool:
    """Tell whether at least one of n values is expected beyond a percentile."""
    return n > 0 and n * (100 - percent) >= 100


def quantile(values: NDArray[np.float64], share: float) -> float:
    """Return a quantile by interpolated order statistics: the one definition of a percentile here.

    Infinite where a neighbour is (np.quantile has no number for that).
    """
    above = float(np.quantile(values, share, method="higher"))
    return above if math.isinf(above) else float(np.quantile(values, share))


def gaps(requests: Requests) -> Times:
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


def _gaps_s(requests: Requests) -> Iterator[NDArray[np.float32]]:
    for piece in requests.where(requests["streaming"] != "batched").tables("event_times_s"):
        streams = piece.column("event_times_s").combine_chunks()
        times_s, counts = streams.flatten().to_numpy(), streams.value_lengths().to_numpy()
        between = np.cumsum(counts[counts > 0])[:-1] - 1  # from one stream's last event to another's first
        yield np.delete(np.diff(times_s), between).astype(np.float32)
