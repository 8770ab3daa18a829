"""How many samples and seconds runs took to one loss that all of them reached.

The loss is a trailing mean of a few logged training losses. Sizes differ in learning rate per sample, in seeds
and in where their schedule stood, so these figures describe runs; they don't rank batch sizes.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.series import by_series
from accelbench.records import TrainRunRecord

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


def losses_reached(records: Sequence[TrainRunRecord]) -> list[LossReached]:
    """Return when each run reached the highest final loss of its series' runs; nothing for a single run."""
    return [row for series in by_series(records).values() for row in _of_series(series)]


def began_s(record: TrainRunRecord) -> float | None:
    """Return when training began: the first progress line less its steps at the steady rate.

    None for a run that was resumed: its later lines stand after another start.
    """
    log = record.log or {}
    first = next((row for row in log.get("steps") or [] if row.get("step") and row.get("t_s") is not None), None)
    rate = float(log.get("steady_rate_samples_per_s") or 0.0)
    if first is None or not rate or record.resumed_from_steps:
        return None
    return float(first["t_s"]) - int(first["step"]) * record.batch_size / rate


def _of_series(records: Sequence[TrainRunRecord]) -> list[LossReached]:
    means = [(record, _means(record)) for record in records if record.state == "measured" and record.log]
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
        rows.append(LossReached(*size, target, samples, seconds, record.micro_batch_size))
    return rows


def _means(record: TrainRunRecord) -> list[tuple[int, float | None, float]]:
    """Return (step, time, trailing mean of the losses); nothing where the last is no number."""
    rows = [row for row in (record.log or {}).get("steps") or [] if row.get("loss") is not None and row.get("step")]
    losses = [float(row["loss"]) for row in rows]
    means = [
        (int(rows[place]["step"]), rows[place].get("t_s"), statistics.fmean(losses[place - WINDOW + 1 : place + 1]))
        for place in range(WINDOW - 1, len(rows))
    ]
    return means if means and math.isfinite(means[-1][2]) else []
