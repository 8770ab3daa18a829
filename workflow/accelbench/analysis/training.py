"""The training sweep in figures: one row per platform and batch size, over its repeats."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from accelbench.analysis import flops
from accelbench.config import PeakTflops, Training
from accelbench.records import TrainRunRecord

START_UP = ("setup", "compile", "staging", "weights", "programming")
"""The phases that every run goes through before it trains; the queue depends on who else is there."""


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
    not_training_share: float | None = None
    sequence_length: int | None = None
    model_tflops: float | None = None
    """Achieved: the model's own arithmetic (analysis/flops.py) at the steady rate."""
    why_no_tflops: str | None = None
    mfu: float | None = None
    mfu_peak_tflops: float | None = None
    mfu_peak_kind: Literal["dense", "sparse", "unstated"] | None = None
    mfu_peak_source: str | None = None
    flops_utilization: float | None = None
    """The vendor's own figure, where the trainer left one."""
    projected_steps: int | None = None
    projected_time_s: float | None = None
    projected_rate_samples_per_s: float | None = None


def summarise(records: Sequence[TrainRunRecord], training: Training | None = None) -> list[TrainingRow]:
    """Return one row per platform and batch size, in the order of the config."""
    sizes = dict.fromkeys((record.platform, record.batch_size) for record in records)
    told = training or Training()
    return [_row([r for r in records if (r.platform, r.batch_size) == size], told) for size in sizes]


def not_training_share(record: TrainRunRecord) -> float | None:
    """Return the share of a run's time in which it did not train: by its phases, else by its totals."""
    log = record.log or {}
    wall_s, train_s = log.get("wall_s"), (log.get("phases_s") or {}).get("train")
    if wall_s and train_s is not None:
        return 1 - float(train_s) / float(wall_s)
    total_s, samples, rate = (
        log.get(key) for key in ("processed_seconds", "processed_samples", "global_rate_samples_per_s")
    )
    if not (samples and rate and total_s) or log.get("processed_covers") == "train_loop":
        return None
    return 1 - float(samples) / float(rate) / float(total_s)


def start_up_s(record: TrainRunRecord) -> float | None:
    """Return the seconds before training, the queue left out; None where the log's lines have no times."""
    phases = (record.log or {}).get("phases_s") or {}
    if phases.get("train") is None:
        return None
    return float(sum(phases.get(name) or 0.0 for name in START_UP))


def _row(repeats: Sequence[TrainRunRecord], told: Training) -> TrainingRow:
    done = [record for record in repeats if record.state == "measured"]
    steady, steps = _logged(done, "steady_rate_samples_per_s"), _logged(done, "last_step")
    length = _same([(record.trainer or {}).get("sequence_length") or told.sequence_length for record in done])
    rate = _mean(steady)
    flop = _same([flops.flop_per_sample(record.model, length) for record in done])
    tflops = rate * flop / 1e12 if rate and flop else None
    platform = told.platforms.get(repeats[0].platform)
    peak = platform.peak_tflops if platform else None
    shares = [share for record in done if (share := not_training_share(record)) is not None]
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
        steady_rate_samples_per_s=rate,
        steady_rate_lowest=_extreme(min, steady),
        steady_rate_highest=_extreme(max, steady),
        tokens_per_s=rate * length if rate and length else None,
        total_time_s=total_s,
        samples_per_total_s=samples / total_s if samples and total_s else None,
        samples_seen=round(samples) if samples else None,
        final_loss=_mean(_logged(done, "final_loss")),
        held_out_loss=_mean([loss for record in done if (loss := _held_out(record)) is not None]),
        seeds=", ".join(str(record.seed) for record in done if record.seed is not None),
        missing="; ".join(missing) or None,
        not_training_share=_mean(shares),
        sequence_length=length,
        model_tflops=tflops,
        why_no_tflops=_why_no_tflops(done, length) if done and rate and not tflops else None,
        **_utilisation(tflops, peak),
        flops_utilization=_mean([float(u) for r in done if (u := (r.trainer or {}).get("flops_utilization"))]),
        **_projection(done, rate, told.project_steps),
    )


def _why_no_tflops(done: Sequence[TrainRunRecord], length: int | None) -> str:
    for record in done:
        if why := flops.why_unknown(record.model):
            return why
    return "the runs differ in their model" if length else "the sequence length is not known"


def _utilisation(tflops: float | None, peak: PeakTflops | None) -> dict[str, Any]:
    if tflops is None or peak is None:
        return {}
    return {
        "mfu": tflops / peak.value,
        "mfu_peak_tflops": peak.value,
        "mfu_peak_kind": peak.kind,
        "mfu_peak_source": peak.source,
    }


def _projection(done: Sequence[TrainRunRecord], rate: float | None, steps: int | None) -> dict[str, Any]:
    """Return what a run of so many steps takes, from this size's own start-up and steady rate."""
    starts = [start for record in done if (start := start_up_s(record)) is not None]
    if not (starts and rate and steps):
        return {"projected_steps": steps}
    samples = steps * done[0].batch_size
    time_s = statistics.fmean(starts) + samples / rate
    return {
        "projected_steps": steps,
        "projected_time_s": time_s,
        "projected_rate_samples_per_s": samples / time_s,
    }


def _same(values: Sequence[Any]) -> Any:
    """Return the one value that all share, or None."""
    return values[0] if values and all(value == values[0] for value in values) else None


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
