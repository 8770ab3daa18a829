"""The training sweep in figures: one row per platform, batch size and micro batch, over its repeats."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from accelbench.analysis.disturbance import busy_in_words
from accelbench.config import PeakTflops, Training
from accelbench.store.records import TrainRunRecord

SIZES = ("hidden_size", "num_hidden_layers", "num_heads", "filter_size", "vocab_size")
UNKNOWN = ("num_experts", "moe_params", "attention_sliding_window_length")
"""Keys of models with other arithmetic: experts, or attention that does not reach back to the first token."""


def why_unknown(model: Mapping[str, Any] | None) -> str | None:
    """Say why the arithmetic of a model can't be counted; None when it can."""
    if model is None:
        return "the run has no readable params file"
    lacking = [key for key in SIZES if not _size(model.get(key))]
    if lacking:
        return f"the params file does not say {', '.join(lacking)}"
    other = [key for key in UNKNOWN if model.get(key)]
    return f"models with {', '.join(other)} are not supported" if other else None


def multiplied_parameters(model: Mapping[str, Any]) -> int | None:
    """Return N: the parameters of the linear layers and of the output layer, shared with the embedding or not."""
    if why_unknown(model):
        return None
    hidden, layers, heads, filter_size, vocabulary = (int(model[key]) for key in SIZES)
    key_value = hidden * _key_value_heads(model, heads) // heads
    attention = 2 * hidden * hidden + 2 * hidden * key_value
    gated = str(model.get("nonlinearity", "")).endswith("glu")
    feed_forward = (3 if gated else 2) * hidden * filter_size
    return layers * (attention + feed_forward) + hidden * vocabulary


def flop_per_sample(
    model: Mapping[str, Any] | None, sequence_length: int | None, *, attention: bool = True
) -> float | None:
    """Return the floating-point operations of training on one sample of L tokens; None when not known."""
    parameters = multiplied_parameters(model) if model else None
    if model is None or parameters is None or not sequence_length:
        return None
    flop = 6.0 * parameters * sequence_length
    if attention:
        flop += 6.0 * int(model["num_hidden_layers"]) * sequence_length**2 * int(model["hidden_size"])
    return flop


def _key_value_heads(model: Mapping[str, Any], heads: int) -> int:
    """Return the heads of keys and values: fewer than of queries where they are grouped (ModelZoo's names)."""
    for key in ("attention_module_kwargs", "extra_attention_params"):
        kwargs = model.get(key)
        if isinstance(kwargs, Mapping) and _size(kwargs.get("num_kv_groups")):
            return int(kwargs["num_kv_groups"])
    return 1 if model.get("attention_module") == "multiquery_attention" else heads


def _size(value: Any) -> bool:
    return type(value) is int and value > 0


START_UP = ("setup", "compile", "staging", "weights", "programming")
"""The phases that every run goes through before it trains; the queue depends on who else is there."""

UNSEEN_S = 5.0
"""A run that took so much longer than its log shows has a log that begins late, or lines left out."""

NO_DATASET = "the run's record doesn't state the size of its data set"


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One size on one platform: means over its completed repeats; lowest and highest where it matters.

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
    """Achieved: the model's own arithmetic (analysis/training.py) at the steady rate."""
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
    why_no_projection: str | None = None
    resumed_from_steps: str | None = None
    """The checkpoints from which interrupted runs went on."""
    micro_batch_size: int | None = None
    """As the config sets it."""
    micro_batch_logged: int | None = None
    """As the logs say it: what a CS-3 picked where it was left to it."""
    lr_factor: float | None = None
    schedule_factor: float | None = None
    dataset_samples: int | None = None
    epochs: float | None = None
    """Samples trained on over the samples of the data."""
    why_no_epochs: str | None = None
    initial_weights: str | None = None
    """How they were drawn; None for a log that was brought along."""
    shared_node: str | None = None
    busy_host: str | None = None
    """How many of its runs were measured while the host was busy with other work."""
    """How many of its runs shared their node with another measurement, and with which."""


def training_rows(records: Sequence[TrainRunRecord], training: Training | None = None) -> list[TrainingRow]:
    """Return one row per platform, batch size and micro batch, in the order of the config."""
    sizes: dict[tuple[str, int, int | None], list[TrainRunRecord]] = {}
    for record in records:
        sizes.setdefault((record.platform, record.batch_size, record.micro_batch_size), []).append(record)
    return [_row(repeats, training or Training()) for repeats in sizes.values()]


def not_training_share(record: TrainRunRecord) -> float | None:
    """Return the share of a run's time in which it did not train: by its phases, else by its totals."""
    log = record.log or {}
    wall_s, train_s = log.get("wall_s"), (log.get("phases_s") or {}).get("train")
    if wall_s and train_s is not None:
        return 1 - float(train_s) / (float(wall_s) - _between_parts_s(record) + _unseen_s(record))
    total_s, samples, rate = (
        log.get(key) for key in ("processed_seconds", "processed_samples", "global_rate_samples_per_s")
    )
    if not (samples and rate and total_s) or log.get("processed_covers") == "train_loop":
        return None
    return 1 - float(samples) / float(rate) / float(total_s)


def start_up_s(record: TrainRunRecord) -> float | None:
    """Return the seconds before training, the queue left out; None where the log's lines have no times.

    None for a run that was resumed, too: it started more than once; and for a log that does not show all of its run.
    """
    phases = (record.log or {}).get("phases_s") or {}
    if phases.get("train") is None or record.resumed_from_steps or _unseen_s(record):
        return None
    return float(sum(phases.get(name) or 0.0 for name in START_UP))


def total_time_s(record: TrainRunRecord) -> float | None:
    """Return what the log gives as the run's total; of a run that was resumed, the time of all its parts."""
    log = record.log or {}
    if not record.resumed_from_steps:
        return log.get("processed_seconds")
    return None if log.get("wall_s") is None else float(log["wall_s"]) - _between_parts_s(record)


def samples_seen(record: TrainRunRecord) -> int | None:
    """Return the samples that the model was trained on; those that a resumed run trained again count once."""
    log = record.log or {}
    return log["last_step"] * record.batch_size if record.resumed_from_steps else log.get("processed_samples")


def _unseen_s(record: TrainRunRecord) -> float:
    """Return the seconds of a run that lie outside of its log; 0 where that is not known, or hardly any."""
    log = record.log or {}
    if log.get("processed_covers") != "fit" or record.resumed_from_steps:
        return 0.0
    unseen_s = float(log.get("processed_seconds") or 0.0) - float(log.get("wall_s") or 0.0)
    return unseen_s if unseen_s > UNSEEN_S else 0.0


def _between_parts_s(record: TrainRunRecord) -> float:
    return float((record.log or {}).get("between_parts_s") or 0.0)


def _row(repeats: Sequence[TrainRunRecord], told: Training) -> TrainingRow:
    done = [record for record in repeats if record.state == "measured"]
    steady, steps = _logged(done, "steady_rate_samples_per_s"), _logged(done, "last_step")
    length = _same([_sequence_length(record, told) for record in done])
    rate = _mean(steady)
    flop = _same([flop_per_sample(record.model, length) for record in done])
    tflops = rate * flop / 1e12 if rate and flop else None
    platform = told.platforms.get(repeats[0].platform)
    peak = platform.peak_tflops if platform else None
    shares = [share for record in done if (share := not_training_share(record)) is not None]
    total_s, samples = (
        _mean([float(value) for record in done if (value := figure(record)) is not None])
        for figure in (total_time_s, samples_seen)
    )
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
        busy_host=busy_in_words([record.host_activity for record in done], "runs"),
        not_training_share=_mean(shares),
        sequence_length=length,
        model_tflops=tflops,
        why_no_tflops=_why_no_tflops(done, length) if done and rate and not tflops else None,
        **_utilisation(tflops, peak),
        flops_utilization=_mean([float(u) for r in done if (u := (r.trainer or {}).get("flops_utilization"))]),
        **_projection(done, rate, told.project_steps),
        resumed_from_steps=", ".join(str(step) for record in done for step in record.resumed_from_steps) or None,
        micro_batch_size=repeats[0].micro_batch_size,
        micro_batch_logged=_same([(record.log or {}).get("micro_batch") for record in done]),
        lr_factor=_same([record.lr_factor for record in done]),
        schedule_factor=_same([record.schedule_factor for record in done]),
        **_epochs(done),
        initial_weights=repeats[0].initial_weights,
    )


def _sequence_length(record: TrainRunRecord, told: Training) -> int | None:
    """Return the tokens of a sample: as the trainer says, else the config, else the data's files."""
    said = (record.trainer or {}).get("sequence_length") or told.sequence_length
    length: int | None = said or (record.dataset or {}).get("sequence_length")
    return length


def _epochs(done: Sequence[TrainRunRecord]) -> dict[str, Any]:
    """Return how often a size went over its data, or why that is not known."""
    if not done:
        return {}
    samples = _same([(record.dataset or {}).get("n_samples") for record in done])
    if not samples:
        whys = [(record.dataset or {}).get("why_unknown") for record in done]
        return {"why_no_epochs": next(filter(None, whys), NO_DATASET)}
    steps = _logged(done, "last_step")
    epochs = max(steps) * done[0].batch_size / samples if steps else None
    return {
        "dataset_samples": samples,
        "epochs": epochs,
        "why_no_epochs": None if steps else "the logs contain no steps",
    }


def _why_no_tflops(done: Sequence[TrainRunRecord], length: int | None) -> str:
    for record in done:
        if why := why_unknown(record.model):
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
        why = "their logs do not show a complete start-up" if rate else "they have no steady rate"
        return {"projected_steps": steps, "why_no_projection": why if done and steps else None}
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


class Sized(Protocol):
    """A run, or a row over its repeats."""

    @property
    def platform(self) -> str:
        """The platform's name."""

    @property
    def micro_batch_size(self) -> int | None:
        """As the config sets it."""


S = TypeVar("S", bound=Sized)


class Series(NamedTuple):
    """What a series is called by."""

    platform: str
    micro: int | None
    """None where the platform has one micro batch for all."""


def by_series(items: Sequence[S]) -> dict[Series, list[S]]:
    """Return the items by platform and, where a platform has several, by micro batch; in their order."""
    found: dict[Series, list[S]] = {}
    several = micro_batches_vary(items)
    for item in items:
        micro = item.micro_batch_size if item.platform in several else None
        found.setdefault(Series(item.platform, micro), []).append(item)
    return found


def micro_batches_vary(items: Sequence[Sized]) -> set[str]:
    """Return the platforms that have several micro batches."""
    pairs = {(item.platform, item.micro_batch_size) for item in items}
    platforms = [platform for platform, _ in pairs]
    return {platform for platform in platforms if platforms.count(platform) > 1}
