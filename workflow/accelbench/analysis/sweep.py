"""What a sweep says as a whole: whether its batch sizes differ in rate, its total times, the cost of one loss."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.intervals import MIN_RUNS
from accelbench.analysis.training import TrainingRow, by_series, not_training_share
from accelbench.store.records import ParsedLog, TrainRunRecord

MIN_REPEATS, MIN_SIZES_FOR_LINE = 2, 3
MOSTLY_NOT_TRAINING = 0.5  # the share of a run's time from which on it may be an outlier
APART = 0.25  # of its share from the median share of the sweep
MIN_RUNS_FOR_MEDIAN = 3
IDENTICAL = 1e-12  # of logs


@dataclass(frozen=True, slots=True)
class RateSpread:
    """The spread of steady rates between batch sizes against that between repeats of one size."""

    sizes: int
    runs: int
    between: float
    """Highest over lowest mean of a size, minus 1."""
    within: float
    """The largest difference between repeats of one size: highest over lowest, minus 1."""
    f: float | None
    p: float | None
    """Welch's ANOVA on log rates: sizes may differ in variance."""
    why_no_p: str | None = None


@dataclass(frozen=True, slots=True)
class TotalTimeLine:
    """t = T0 + n / r through the total times of all runs, without the queue: a cross-check, not a finding."""

    start_s: float
    rate_samples_per_s: float
    furthest_s: float
    """The largest distance of a run from the line."""
    runs: int
    sizes: int


@dataclass(frozen=True, slots=True)
class Outlier:
    """A run that mostly did not train, unlike the rest of its sweep."""

    platform: str
    batch_size: int
    repeat: int
    micro_batch_size: int | None
    share: float
    median_share: float
    phases_s: dict[str, float]
    """Where its other seconds went, as far as the log says; longest first."""
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Alternatives:
    """What one batch size on one platform was trained with, side by side: its micro batches, or its lengths."""

    platform: str
    batch_size: int
    rows: Sequence[TrainingRow]
    """Those with a rate, in the order of what varies."""
    rates: Sequence[float]
    """Samples per second; where the lengths vary, tokens per second."""

    @property
    def between(self) -> float:
        """Highest over lowest mean rate, minus 1."""
        return max(self.rates) / min(self.rates) - 1

    @property
    def within(self) -> float | None:
        """The largest difference between repeats of one of them; None if none was repeated."""
        repeated = [row for row in self.rows if row.repeats >= MIN_REPEATS]
        spreads = [(row.steady_rate_highest or 0.0) / (row.steady_rate_lowest or 1.0) - 1 for row in repeated]
        return max(spreads, default=None)


def micro_batches(rows: Sequence[TrainingRow]) -> list[Alternatives]:
    """Return each batch size that has steady rates at several micro batches."""
    return _alternatives(rows, "micro_batch_size", "length", "steady_rate_samples_per_s")


def sequence_lengths(rows: Sequence[TrainingRow]) -> list[Alternatives]:
    """Return each batch size that has rates at several sequence lengths, in tokens per second."""
    return _alternatives(rows, "length", "micro_batch_size", "tokens_per_s")


def _alternatives(rows: Sequence[TrainingRow], varied: str, kept: str, rate: str) -> list[Alternatives]:
    sizes: dict[tuple[str, int, int | None], list[TrainingRow]] = {}
    for row in rows:
        if getattr(row, varied) and (getattr(row, rate) or 0) > 0 and math.isfinite(getattr(row, rate)):
            sizes.setdefault((row.platform, row.batch_size, getattr(row, kept)), []).append(row)
    for own in sizes.values():
        own.sort(key=lambda row: int(getattr(row, varied)))
    return [
        Alternatives(own[0].platform, own[0].batch_size, own, [getattr(row, rate) for row in own])
        for own in sizes.values()
        if len(own) > 1
    ]


def rate_spread(records: Sequence[TrainRunRecord]) -> RateSpread | None:
    """Compare the steady rates of one series' sizes with those of repeats; disturbed runs don't count.

    None with fewer than two sizes that have two repeats.
    """
    groups = [rates for rates in _by_size(records).values() if len(rates) >= MIN_REPEATS]
    if len(groups) < 2:
        return None
    means = [statistics.fmean(rates) for rates in groups]
    logs = [np.log(rates) for rates in groups]
    why = None
    if any(len(rates) < MIN_RUNS for rates in groups):
        why = f"a test needs {MIN_RUNS} runs of every size"
    elif any(float(np.ptp(own)) < IDENTICAL for own in logs):
        why = "repeats of a size were identical, so no test is possible"
    f, p = (None, None) if why else _welch(logs)
    return RateSpread(
        sizes=len(groups),
        runs=sum(map(len, groups)),
        between=max(means) / min(means) - 1,
        within=max(max(rates) / min(rates) for rates in groups) - 1,
        f=f,
        p=p,
        why_no_p=why,
    )


def _welch(groups: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the F of Welch's ANOVA and its p-value, as scipy.stats does, which takes seconds to import."""
    count, sizes = len(groups), np.array([len(own) for own in groups])
    means, weights = np.array([own.mean() for own in groups]), sizes / [own.var(ddof=1) for own in groups]
    off = (1 / (sizes - 1)) @ (1 - weights / weights.sum()) ** 2
    between = weights @ (means - weights @ means / weights.sum()) ** 2 / (count - 1)
    f = between / (1 + 2 * (count - 2) / (count**2 - 1) * off)
    return float(f), float(special.fdtrc(count - 1, (count**2 - 1) / (3 * off), f))


def total_time_line(records: Sequence[TrainRunRecord]) -> TotalTimeLine | None:
    """Fit t = T0 + n / r by least squares; None without two repeats of each of three sizes, or without a slope."""
    points: dict[int, list[tuple[int, float]]] = {}
    for record in records:
        log = record.logged
        samples, total_s = log.processed_samples, log.processed_seconds
        if log.processed_covers == "train_loop" or log.resumed_from_steps:
            continue  # up to Release 2.2 the total is that of the training loop; a resumed run started more than once
        if record.state == "measured" and samples and total_s and not disturbances(record.host_activity):
            points.setdefault(record.batch_size, []).append((samples, total_s - (log.phases_s.get("queue") or 0.0)))
    repeated = [own for own in points.values() if len(own) >= MIN_REPEATS]
    used = [point for own in repeated for point in own]
    samples_seen = [samples for samples, _ in used]
    if len(repeated) < MIN_SIZES_FOR_LINE or len(set(samples_seen)) < MIN_SIZES_FOR_LINE:
        return None
    slope, start = statistics.linear_regression(samples_seen, [total_s for _, total_s in used])
    if slope <= 0:
        return None
    furthest = max(abs(total_s - start - slope * samples) for samples, total_s in used)
    return TotalTimeLine(start, 1 / slope, furthest, len(used), len(repeated))


def outliers(records: Sequence[TrainRunRecord]) -> list[Outlier]:
    """Return one series' runs that mostly did not train, far from the median share of its sweep."""
    shares = [(record, share) for record in records if (share := not_training_share(record.logged)) is not None]
    if len(shares) < MIN_RUNS_FOR_MEDIAN:
        return []
    median = statistics.median(share for _, share in shares)
    return [
        Outlier(
            record.platform,
            record.batch_size,
            record.repeat,
            record.micro_batch_size,
            share,
            median,
            _other_phases(record),
            record.length,
        )
        for record, share in shares
        if stands_out(share, median)
    ]


def stands_out(share: float, median_share: float) -> bool:
    """Tell whether a run's share of time that is not training sets it apart from its sweep."""
    return share > MOSTLY_NOT_TRAINING and share - median_share > APART


def _by_size(records: Sequence[TrainRunRecord]) -> dict[int, list[float]]:
    rates: dict[int, list[float]] = {}
    for record in records:
        rate = record.logged.steady_rate_samples_per_s or 0.0
        if record.state == "measured" and rate > 0 and math.isfinite(rate) and not disturbances(record.host_activity):
            rates.setdefault(record.batch_size, []).append(rate)
    return rates


def _other_phases(record: TrainRunRecord) -> dict[str, float]:
    spent = {name: seconds for name, seconds in record.logged.phases_s.items() if seconds and name != "train"}
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


WINDOW = 3  # logged losses in the mean


@dataclass(frozen=True, slots=True)
class LossReached:
    """When one run's mean loss first was at or below the target of its series."""

    platform: str
    batch_size: int
    repeat: int
    target: float
    samples: int | None
    """None, as the seconds, when its losses ended in nan or were too few."""
    seconds: float | None
    """Since its training began: start-up left out, pauses counted; None for a run that was resumed."""
    micro_batch_size: int | None = None
    disturbed: bool = False
    """Whether the host was disturbed, so that the seconds are not the trainer's alone."""
    length: int | None = None


def losses_reached(records: Sequence[TrainRunRecord]) -> list[LossReached]:
    """Return when each run of a series reached the highest of their final losses; nothing for a single run."""
    means = [(record, _means(record.logged)) for record in records if record.state == "measured"]
    finals = [points[-1][2] for _, points in means if points]
    if len(finals) < 2:
        return []
    target = max(finals)
    rows = []
    for record, points in means:
        step, t_s = next(((step, t_s) for step, t_s, loss in points if loss <= target), (None, None))
        samples = step * record.batch_size if step is not None else None
        began = began_s(record)
        seconds = t_s - began if t_s is not None and began is not None else None
        size = (record.platform, record.batch_size, record.repeat)
        disturbed = bool(disturbances(record.host_activity))
        rows.append(LossReached(*size, target, samples, seconds, record.micro_batch_size, disturbed, record.length))
    return rows


def began_s(record: TrainRunRecord) -> float | None:
    """Return when training began: the first progress line less its steps at the steady rate.

    None for a run that was resumed: its later lines follow another start.
    """
    log = record.logged
    first = next(((row.step, row.t_s) for row in log.steps if row.step and row.t_s is not None), None)
    if first is None or not log.steady_rate_samples_per_s or log.resumed_from_steps:
        return None
    return first[1] - first[0] * record.batch_size / log.steady_rate_samples_per_s


def _means(log: ParsedLog) -> list[tuple[int, float | None, float]]:
    """Return (step, time, trailing mean of the losses); nothing if the last is not finite."""
    rows = [(row.step, row.t_s, row.loss) for row in log.steps if row.loss is not None and row.step]
    means = [
        (step, t_s, statistics.fmean(loss for _, _, loss in rows[place - WINDOW + 1 : place + 1]))
        for place, (step, t_s, _) in enumerate(rows[WINDOW - 1 :], WINDOW - 1)
    ]
    return means if means and math.isfinite(means[-1][2]) else []


@dataclass(frozen=True, slots=True)
class Sweep:
    """The batch sizes of one series: a platform's, or those of one of its several micro batches or lengths."""

    platform: str
    micro: int | None
    rated_sizes: int
    """How many sizes have a steady rate."""
    busy_runs: int
    """Runs on a busy host: where sizes are compared, they are left out."""
    spread: RateSpread | None
    line: TotalTimeLine | None
    outliers: list[Outlier]
    reached: list[LossReached]
    length: int | None = None


def sweeps_of(records: Sequence[TrainRunRecord]) -> list[Sweep]:
    """Return what each series says as a whole."""
    return [
        Sweep(
            series.platform,
            series.micro,
            length=series.length,
            rated_sizes=len({run.batch_size for run in own if run.logged.steady_rate_samples_per_s is not None}),
            busy_runs=sum(bool(disturbances(run.host_activity)) for run in own),
            spread=rate_spread(own),
            line=total_time_line(own),
            outliers=outliers(own),
            reached=losses_reached(own),
        )
        for series, own in by_series(records).items()
    ]
