"""Times in figures: percentiles as far as n reaches, plain or with distribution-free intervals; gaps between tokens.

Plain ones (`Times`, `Tail`) describe only the sample. A gap (ITL) is the time from one token event of a stream to the
next. A million requests have tens of millions of them: they are kept as one array of single precision (event times are
kept to 1 µs), never as Python numbers. A stream that came in batches has none: its times are a gateway's.

Of an interval, n is deflated by what the requests of one passage share; what the requests of one round share enters as
a t interval over the rounds' own percentiles. The interval spans both, and what they add up to beyond the noise of
single requests, as the means' does (intervals). (Deflating n by the rounds' correlation as well would cover 60 to 80 %
with 3 rounds: three rounds that happen to agree can't tell that they might not.) Failures may be counted as infinite.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from accelbench.analysis.intervals import CONFIDENCE, Influence, Observations, counted, numbered, too_few, worth
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
    middle = math.fsum(there) / len(there), float(np.median(there))
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
    if math.isinf(values.max()) and math.isinf(above := float(np.quantile(values, share, method="higher"))):
        return above
    return float(np.quantile(values, share))


def gaps(requests: Requests) -> Times:
    """Describe the gaps of requests that carry latencies."""
    kept = array("f")
    for gaps_s in _gaps_s(requests):
        kept.frombytes(gaps_s.tobytes())
    there = np.frombuffer(kept, np.float32)
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


# --- with intervals -------------------------------------------------------------------------------------------


_TAIL = (1 - CONFIDENCE) / 2
MIN_PASSAGES = 10  # with 5 that differ much, a p90's interval covers 81 %


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with its 95 % interval; where n does not reach it, only the maximum, and the reason."""

    percent: float
    value: float | None
    low: float | None
    high: float | None
    max: float
    n: int
    n_effective: float | None
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The percentiles that are reported."""

    p50: Percentile
    p90: Percentile
    p95: Percentile
    p99: Percentile


def percentiles(observations: Observations) -> Percentiles | None:
    """Estimate all reported percentiles of positive values; None without observations."""
    if not len(observations):
        return None
    sample = _Sample.of(observations)
    return Percentiles(*(_percentile(sample, percent) for percent in PERCENTS))


def percentile(observations: Observations, percent: float) -> Percentile | None:
    """Estimate a percentile of positive values; None without observations.

    `high` (and `low`, `value`) may be infinite, where so many requests failed.
    """
    return _percentile(_Sample.of(observations), percent) if len(observations) else None


def requests_needed(percent: float) -> int:
    """Return how many independent requests an interval takes: 6, 36, 72 and 368 for p50, p90, p95 and p99."""
    extreme = max(percent, 100 - percent) / 100
    return math.ceil(math.log(_TAIL) / math.log(extreme))


def ranks(share: float, n: int, worth: int) -> tuple[int, int]:
    """Return the ranks (from 1) of n ordered values that enclose a quantile, as `worth` independent ones would.

    Each end is missed with at most 2.5 %. `worth` must reach `needed`.
    """

    def at_most(hits: int) -> float:
        return float(special.bdtr(hits, worth, share))

    first = bisect_right(range(worth), _TAIL, key=at_most)
    last = bisect_left(range(worth), 1 - _TAIL, key=at_most) + 1
    stretch = (n + 1) / (worth + 1)
    return max(1, math.floor(first * stretch)), min(n, math.ceil(last * stretch))


@dataclass(frozen=True, slots=True)
class _Sample:
    """Values in order, each with the number of its passage and of its round."""

    ordered: NDArray[np.float64]
    passages: NDArray[np.intp]
    rounds: NDArray[np.intp]

    @classmethod
    def of(cls, observations: Observations) -> "_Sample":
        order = np.argsort(observations.values, kind="stable")
        groups = (numbered(own)[order] for own in (observations.passages, observations.rounds))
        return cls(observations.values[order], *groups)


def _percentile(sample: _Sample, percent: float) -> Percentile:
    share, n, largest = percent / 100, len(sample.ordered), float(sample.ordered[-1])
    why = _too_few(int(sample.passages.max()) + 1, int(sample.rounds.max()) + 1)
    if why:
        return Percentile(percent, None, None, None, largest, n, None, why)
    value = quantile(sample.ordered, share)
    effective = worth(sample.ordered <= value, sample.passages)
    if effective < (least := requests_needed(percent)):
        why = f"the {percent:g}th percentile needs {least} independent requests, {n} count as {effective:.0f}"
        return Percentile(percent, None, None, None, largest, n, effective, why)
    drift = _drift(sample, share)
    as_worth, as_alone = (_off(sample.ordered, ranks(share, n, size), value) for size in (int(effective), n))
    below, above = (_reach(own, alone, drift) for own, alone in zip(as_worth, as_alone, strict=True))
    low = 0.0 if math.isinf(below) else value * math.exp(-below)
    return Percentile(percent, value, low, value * math.exp(above), largest, n, effective)


def _off(ordered: NDArray[np.float64], ends: tuple[int, int], value: float) -> tuple[float, float]:
    """Return by how much, in logs, the values at two ranks lie below and above a value."""
    low, high = (float(ordered[rank - 1]) for rank in ends)
    return math.log(value / low) if low < value else 0.0, math.log(high / value) if high > value else 0.0


def _reach(by_passage: float, alone: float, by_round: float) -> float:
    """Return how far, in logs, an end lies: by passages, by rounds, or by both, the noise of requests counted once."""
    wider = max(by_passage, by_round)
    if math.isinf(wider):
        return math.inf
    return max(wider, math.sqrt(max(0.0, by_passage**2 + by_round**2 - alone**2)))


def _too_few(passages: int, rounds: int) -> str | None:
    if passages != 1 and passages < MIN_PASSAGES:
        return f"{counted(passages, 'passage')}: a percentile needs at least {MIN_PASSAGES}"
    return too_few(passages, rounds)


def _drift(sample: _Sample, share: float) -> float:
    """Return by how much, in logs, the percentile may be off, judged by the rounds' own percentiles."""
    own = [quantile(sample.ordered[sample.rounds == number], share) for number in range(int(sample.rounds.max()) + 1)]
    if not all(map(math.isfinite, own)):
        return math.inf
    return Influence.of_runs(np.log(own)).spreads()[0].half_width()
