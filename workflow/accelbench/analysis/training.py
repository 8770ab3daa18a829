"""The training sweep in figures: one row per platform and size, over its repeats."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from typing_extensions import TypedDict

from accelbench.analysis.disturbance import disturbances, disturbed_in_words
from accelbench.config import Training
from accelbench.store.records import EnergyFacts, JsonObject, ParsedLog, TrainerFacts, TrainRunRecord
from accelbench.telemetry.energy import IMPORTED, of_one_scope

SIZES = ("hidden_size", "num_hidden_layers", "num_heads", "filter_size", "vocab_size")
UNKNOWN = ("num_experts", "moe_params", "attention_sliding_window_length")
"""Keys of models with other arithmetic: experts, or attention that does not reach back to the first token."""


def why_unknown(model: JsonObject | None) -> str | None:
    """Return why the arithmetic of a model can't be counted; None when it can."""
    if model is None:
        return "the run has no readable params file"
    lacking = [key for key in SIZES if not _size(model, key)]
    if lacking:
        return f"the params file does not say {', '.join(lacking)}"
    other = [key for key in UNKNOWN if model.get(key)]
    return f"models with {', '.join(other)} are not supported" if other else None


def multiplied_parameters(model: JsonObject) -> int | None:
    """Return N: the parameters of the linear layers and of the output layer, shared with the embedding or not."""
    if why_unknown(model):
        return None
    hidden, layers, heads, filter_size, vocabulary = (_size(model, key) for key in SIZES)
    key_value = hidden * _key_value_heads(model, heads) // heads
    attention = 2 * hidden * hidden + 2 * hidden * key_value
    gated = str(model.get("nonlinearity", "")).endswith("glu")
    feed_forward = (3 if gated else 2) * hidden * filter_size
    return layers * (attention + feed_forward) + hidden * vocabulary


def flop_per_sample(model: JsonObject | None, sequence_length: int | None, *, attention: bool = True) -> float | None:
    """Return the floating-point operations of training on one sample of L tokens; None when not known."""
    parameters = multiplied_parameters(model) if model else None
    if model is None or parameters is None or not sequence_length:
        return None
    flop = 6.0 * parameters * sequence_length
    if attention:
        flop += 6.0 * _size(model, "num_hidden_layers") * sequence_length**2 * _size(model, "hidden_size")
    return flop


def _key_value_heads(model: JsonObject, heads: int) -> int:
    """Return the heads of keys and values: fewer than of queries where they are grouped (ModelZoo's names)."""
    for key in ("attention_module_kwargs", "extra_attention_params"):
        kwargs = model.get(key)
        if isinstance(kwargs, Mapping) and (groups := _size(kwargs, "num_kv_groups")):
            return groups
    return 1 if model.get("attention_module") == "multiquery_attention" else heads


def _size(model: JsonObject, key: str) -> int:
    """Return a size of the model; 0 where it is not said."""
    size = model.get(key)
    return size if type(size) is int and size > 0 else 0


V = TypeVar("V")
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
    start-up included, so it is not the machine's speed.
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
    length: int | None = None
    """The sequence length, where it is an axis of the sweep."""
    model_tflops: float | None = None
    """Achieved: the model's own arithmetic (analysis/training.py) at the steady rate."""
    why_no_tflops: str | None = None
    mfu: float | None = None
    mfu_peak_tflops: float | None = None
    mfu_peak_kind: Literal["dense", "sparse", "unstated"] | None = None
    mfu_peak_source: str | None = None
    flops_utilization: float | None = None
    """The trainer's own figure (ModelZoo's, or of another trainer's log), where there is one."""
    projected_steps: int | None = None
    projected_time_s: float | None = None
    projected_rate_samples_per_s: float | None = None
    why_no_projection: str | None = None
    resumed_from_steps: str | None = None
    """The checkpoints from which interrupted runs resumed."""
    micro_batch_size: int | None = None
    """As the config sets it."""
    micro_batch_logged: int | None = None
    """As logged: what a CS-3 chose if the choice was left to it."""
    lr_factor: float | None = None
    schedule_factor: float | None = None
    dataset_samples: int | None = None
    epochs: float | None = None
    """Samples trained on over the samples of the data."""
    why_no_epochs: str | None = None
    initial_weights: str | None = None
    """How they were drawn; None for an existing log."""
    shared_node: str | None = None
    """How many of its runs shared their node with another measurement, and with which."""
    busy_host: str | None = None
    """What disturbed how many of its runs: no time and no rate is of them, unless all runs were disturbed."""
    disturbed_repeats: int = 0
    memory_need_bytes: int | None = None
    """Estimated, for one process; null where the peak is not known."""
    memory_peak_bytes: int | None = None
    """The most measured, of one process."""
    trained_on_random_tokens: bool = False
    joules_per_sample: float | None = None
    """Measured, start-up included; gross, of `energy_scope`."""
    joules_per_sample_lowest: float | None = None
    joules_per_sample_highest: float | None = None
    energy_scope: str | None = None
    why_no_energy: str | None = None
    idle_before_w: float | None = None
    """The power of the same scope before and after the runs; means over them."""
    idle_after_w: float | None = None

    @property
    def disturbed(self) -> bool:
        """Whether all runs were disturbed, so that no time and no rate carries a statement."""
        return 0 < self.repeats <= self.disturbed_repeats

    @property
    def timed_repeats(self) -> int:
        """The runs that times and rates are of."""
        return self.repeats if self.disturbed else self.repeats - self.disturbed_repeats


S = TypeVar("S", TrainRunRecord, TrainingRow)


class SizeOf(NamedTuple):
    """What runs share that are repeats of each other."""

    platform: str
    batch_size: int
    micro: int | None
    length: int | None


def size_of(item: TrainRunRecord | TrainingRow) -> SizeOf:
    """Return the size that a run or a row is of."""
    return SizeOf(item.platform, item.batch_size, item.micro_batch_size, item.length)


def training_rows(records: Sequence[TrainRunRecord], training: Training | None = None) -> list[TrainingRow]:
    """Return one row per platform and size, in the order of the config."""
    sizes: dict[SizeOf, list[TrainRunRecord]] = {}
    for record in records:
        sizes.setdefault(size_of(record), []).append(record)
    return [_row(repeats, training or Training()) for repeats in sizes.values()]


def not_training_share(log: ParsedLog) -> float | None:
    """Return the share of a run's time in which it did not train: by its phases, else by its totals."""
    train_s = log.phases_s.get("train")
    if log.wall_s and train_s is not None:
        return 1 - train_s / (log.wall_s - log.between_parts_s + _unseen_s(log))
    total_s, samples, rate = log.processed_seconds, log.processed_samples, log.global_rate_samples_per_s
    if not (samples and rate and total_s) or log.processed_covers == "train_loop":
        return None
    return 1 - samples / rate / total_s


def start_up_s(log: ParsedLog) -> float | None:
    """Return the seconds before training, the queue left out; None where the log's lines have no times.

    None for a run that was resumed, too: it started more than once; and for a log that does not show all of its run.
    """
    if log.phases_s.get("train") is None or log.resumed_from_steps or _unseen_s(log):
        return None
    return sum(log.phases_s.get(name) or 0.0 for name in START_UP)


def total_time_s(log: ParsedLog) -> float | None:
    """Return what the log gives as the run's total; of a run that was resumed, the time of all its parts."""
    if not log.resumed_from_steps:
        return log.processed_seconds
    return None if log.wall_s is None else log.wall_s - log.between_parts_s


def samples_seen(record: TrainRunRecord) -> int | None:
    """Return the samples that the model was trained on; those that a resumed run trained again count once."""
    log = record.logged
    if not log.resumed_from_steps:
        return log.processed_samples
    return None if log.last_step is None else log.last_step * record.batch_size


def _unseen_s(log: ParsedLog) -> float:
    """Return the seconds of a run that lie outside of its log; 0 where that is not known, or hardly any."""
    if log.processed_covers != "fit" or log.resumed_from_steps:
        return 0.0
    unseen_s = (log.processed_seconds or 0.0) - (log.wall_s or 0.0)
    return unseen_s if unseen_s > UNSEEN_S else 0.0


def _row(repeats: Sequence[TrainRunRecord], told: Training) -> TrainingRow:
    first = repeats[0]
    done = [record for record in repeats if record.state == "measured"]
    quiet = [record for record in done if not disturbances(record.host_activity)]
    timed = quiet or done
    logs, timed_logs = [record.logged for record in done], [record.logged for record in timed]
    steady, steps = _known(log.steady_rate_samples_per_s for log in timed_logs), _known(log.last_step for log in logs)
    length = _same([_sequence_length(record, told) for record in done])
    rate = _mean(steady)
    flop = _same([flop_per_sample(record.model, length) for record in done])
    tflops = rate * flop / 1e12 if rate and flop else None
    platform = told.platforms.get(first.platform)
    peak = platform.peak_tflops if platform and tflops else None
    total_s, samples = _mean(map(total_time_s, timed_logs)), _mean(map(samples_seen, timed))
    missing = [f"r{r.repeat} {r.state}: {r.why}" for r in repeats if r.state != "measured"]
    starts, projected_samples = _known(map(start_up_s, timed_logs)), (told.project_steps or 0) * first.batch_size
    projected_s = statistics.fmean(starts) + projected_samples / rate if starts and rate and projected_samples else None
    peak_bytes = _most(_trainer(record).get("memory_peak_bytes") for record in done)
    dataset_samples, epochs, why_no_epochs = _epochs(done, max(steps, default=None))
    return TrainingRow(
        platform=first.platform,
        batch_size=first.batch_size,
        repeats=len(done),
        repeats_planned=len(repeats),
        steps=max(steps, default=None),
        rate_samples_per_s=_mean(log.rate_mean_samples_per_s for log in timed_logs),
        global_rate_samples_per_s=_mean(log.global_rate_samples_per_s for log in timed_logs),
        steady_rate_samples_per_s=rate,
        steady_rate_lowest=min(steady, default=None),
        steady_rate_highest=max(steady, default=None),
        tokens_per_s=rate * length if rate and length else None,
        total_time_s=total_s,
        samples_per_total_s=samples / total_s if samples and total_s else None,
        samples_seen=round(samples) if samples else None,
        final_loss=_mean(log.final_loss for log in logs),
        held_out_loss=_mean(log.held_out[-1].loss for log in logs if log.held_out),
        seeds=", ".join(str(record.seed) for record in done if record.seed is not None),
        missing="; ".join(missing) or None,
        busy_host=disturbed_in_words([record.host_activity for record in done], "runs"),
        disturbed_repeats=len(done) - len(quiet),
        not_training_share=_mean(map(not_training_share, timed_logs)),
        sequence_length=length,
        length=first.length,
        model_tflops=tflops,
        why_no_tflops=_why_no_tflops(done, length) if rate and not tflops else None,
        mfu=tflops / peak.value if tflops and peak else None,
        mfu_peak_tflops=peak.value if peak else None,
        mfu_peak_kind=peak.kind if peak else None,
        mfu_peak_source=peak.source if peak else None,
        flops_utilization=_mean(
            (record.trainer or {}).get("flops_utilization") or record.logged.flops_utilization for record in timed
        ),
        projected_steps=told.project_steps,
        projected_time_s=projected_s,
        projected_rate_samples_per_s=projected_samples / projected_s if projected_s else None,
        why_no_projection=_why_no_projection(rate) if done and projected_samples and not projected_s else None,
        resumed_from_steps=", ".join(str(step) for log in logs for step in log.resumed_from_steps) or None,
        micro_batch_size=first.micro_batch_size,
        micro_batch_logged=_same([log.micro_batch for log in logs]),
        lr_factor=_same([record.lr_factor for record in done]),
        schedule_factor=_same([record.schedule_factor for record in done]),
        dataset_samples=dataset_samples,
        epochs=epochs,
        why_no_epochs=why_no_epochs,
        initial_weights=first.initial_weights,
        memory_need_bytes=_most(_trainer(record).get("memory_need_bytes") for record in done) if peak_bytes else None,
        memory_peak_bytes=peak_bytes,
        trained_on_random_tokens=told.corpus == "synthetic" and bool(platform and platform.trains),
        **_energy(timed),
    )


class _Energy(TypedDict, total=False):
    """What a row says of the energy of its runs."""

    joules_per_sample: float | None
    joules_per_sample_lowest: float | None
    joules_per_sample_highest: float | None
    energy_scope: str
    why_no_energy: str | None
    idle_before_w: float | None
    idle_after_w: float | None


def _energy(timed: Sequence[TrainRunRecord]) -> _Energy:
    """Return the energy per sample of the runs of one scope of which it is known; nothing where none was read."""
    read = [(run, spent) for run in timed if (spent := of_one_scope(_energy_read(run)))]
    if not read:
        return {}
    scope = Counter(spent.scope for _, spent in read).most_common(1)[0][0]
    own = [(run, spent) for run, spent in read if spent.scope == scope]
    known = [
        (spent.joules, samples) for run, spent in own if spent.joules is not None and (samples := samples_seen(run))
    ]
    each = [joules / samples for joules, samples in known]
    unknown = len(timed) - len(each)
    why = next((spent.why for _, spent in own if spent.why), "not read, or the samples are unknown")
    return {
        "joules_per_sample": sum(joules for joules, _ in known) / sum(samples for _, samples in known)
        if known
        else None,
        "joules_per_sample_lowest": min(each, default=None),
        "joules_per_sample_highest": max(each, default=None),
        "energy_scope": scope,
        "why_no_energy": f"unknown in {unknown} of {len(timed)} runs ({why})" if unknown else None,
        "idle_before_w": _mean(spent.idle_before_w for _, spent in own),
        "idle_after_w": _mean(spent.idle_after_w for _, spent in own),
    }


def _energy_read(run: TrainRunRecord) -> list[EnergyFacts]:
    """Return what was read of a run's energy: on several nodes only what others recorded, for we read the first."""
    parts = (run.surroundings or {}).get("energy") or []
    return parts if _trainer(run).get("nodes", 1) == 1 else [part for part in parts if part["read"] == IMPORTED]


def _trainer(record: TrainRunRecord) -> TrainerFacts:
    return record.trainer or {}


def _most(values: Iterable[int | None]) -> int | None:
    return max(_known(values), default=None)


def _sequence_length(record: TrainRunRecord, told: Training) -> int | None:
    """Return the tokens of a sample: as the trainer says, else the config, else the data's files."""
    said = (record.trainer or {}).get("sequence_length") or record.logged.sequence_length or told.sequence_length
    return said or (record.dataset or {}).get("sequence_length")


def _epochs(done: Sequence[TrainRunRecord], steps: int | None) -> tuple[int | None, float | None, str | None]:
    """Return the samples of the data and how often a size went over them, or why that is not known."""
    samples = _same([(record.dataset or {}).get("n_samples") for record in done])
    if not samples:
        whys = [(record.dataset or {}).get("why_unknown") for record in done]
        return None, None, next(filter(None, whys), NO_DATASET) if done else None
    if steps is None:
        return samples, None, "the logs contain no steps"
    return samples, steps * done[0].batch_size / samples, None


def _why_no_tflops(done: Sequence[TrainRunRecord], length: int | None) -> str:
    for record in done:
        if why := why_unknown(record.model):
            return why
    return "the runs differ in their model" if length else "the sequence length is not known"


def _why_no_projection(rate: float | None) -> str:
    return "their logs do not show a complete start-up" if rate else "they have no steady rate"


def _same(values: Sequence[V]) -> V | None:
    """Return the one value that all share, or None."""
    return values[0] if values and all(value == values[0] for value in values) else None


def _known(values: Iterable[V | None]) -> list[V]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known."""
    known = _known(values)
    return statistics.fmean(known) if known else None


class Series(NamedTuple):
    """What a series is called by."""

    platform: str
    micro: int | None
    """None where the platform has one micro batch for all."""
    length: int | None = None
    """None where the platform has one sequence length for all."""


def by_series(items: Sequence[S]) -> dict[Series, list[S]]:
    """Return the items by platform and, where a platform has several, by micro batch and length; in their order."""
    found: dict[Series, list[S]] = {}
    micro_batches = Counter(platform for platform, _ in {(item.platform, item.micro_batch_size) for item in items})
    lengths = Counter(platform for platform, _ in {(item.platform, item.length) for item in items})
    for item in items:
        micro = item.micro_batch_size if micro_batches[item.platform] > 1 else None
        length = item.length if lengths[item.platform] > 1 else None
        found.setdefault(Series(item.platform, micro, length), []).append(item)
    return found
