"""The training sweep in figures: one row per platform and batch size, over its repeats."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accelbench.records import TrainRunRecord


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One batch size on one platform: means over its completed repeats; lowest and highest where it matters.

    `rate` is the mean of the log's moving average, `global_rate` its last whole-run average, `steady_rate` comes
    from the timestamps of the progress lines. `samples_per_total_s` divides by all the time the log says it took:
    start-up included, so it measures more than the machine.
    """

    platform: str
    batch_size: int
    repeats: int
    repeats_planned: int
    steps: int | None
    rate_samples_per_s: float | None
    global_rate_samples_per_s: float | None
    steady_rate_samples_per_s: float | None
    steady_rate_lowest: float | None
    steady_rate_highest: float | None
    tokens_per_s: float | None
    total_time_s: float | None
    samples_per_total_s: float | None
    samples_seen: int | None
    final_loss: float | None
    held_out_loss: float | None
    seeds: str
    missing: str | None


def summarise(records: Sequence[TrainRunRecord]) -> list[TrainingRow]:
    """Return one row per platform and batch size, in the order of the config."""
    sizes = dict.fromkeys((record.platform, record.batch_size) for record in records)
    return [_row([r for r in records if (r.platform, r.batch_size) == size]) for size in sizes]


def _row(repeats: Sequence[TrainRunRecord]) -> TrainingRow:
    done = [record for record in repeats if record.state == "measured"]
    steady, steps = _logged(done, "steady_rate_samples_per_s"), _logged(done, "last_step")
    lengths = {(record.trainer or {}).get("sequence_length") for record in done}
    length = lengths.pop() if len(lengths) == 1 else None
    total_s, samples = _mean(_logged(done, "processed_seconds")), _mean(_logged(done, "processed_samples"))
    missing = [f"r{r.repeat} {r.state}: {r.why}" for r in repeats if r.state != "measured"]
    return TrainingRow(
        platform=repeats[0].platform,
        batch_size=repeats[0].batch_size,
        repeats=len(done),
        repeats_planned=len(repeats),
        steps=int(max(steps)) if steps else None,
        rate_samples_per_s=_mean(_logged(done, "rate_mean_samples_per_s")),
        global_rate_samples_per_s=_mean(_logged(done, "global_rate_samples_per_s")),
        steady_rate_samples_per_s=_mean(steady),
        steady_rate_lowest=_extreme(min, steady),
        steady_rate_highest=_extreme(max, steady),
        tokens_per_s=statistics.fmean(steady) * length if steady and length else None,
        total_time_s=total_s,
        samples_per_total_s=samples / total_s if samples and total_s else None,
        samples_seen=round(samples) if samples else None,
        final_loss=_mean(_logged(done, "final_loss")),
        held_out_loss=_mean([loss for record in done if (loss := _held_out(record)) is not None]),
        seeds=", ".join(str(record.seed) for record in done),
        missing="; ".join(missing) or None,
    )


def _logged(records: Sequence[TrainRunRecord], key: str) -> list[float]:
    """Return a figure of each log that has it ("nan" and "inf" stand as text in JSON and count as numbers)."""
    values = [(record.log or {}).get(key) for record in records]
    return [float(value) for value in values if value is not None]


def _held_out(record: TrainRunRecord) -> float | None:
    rows = (record.log or {}).get("held_out") or []
    return float(rows[-1]["loss"]) if rows and rows[-1]["loss"] is not None else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _extreme(pick: Callable[[Sequence[float]], float], values: Sequence[float]) -> float | None:
    return pick(values) if values else None
