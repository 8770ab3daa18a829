"""Why the runs of one size take longer per sample than those of another: the candidates.

The time of a run is that of its phases, which its log shows; the queue is left out. Each phase has the share of the
difference that its seconds have, over the logarithmic mean of both sides (LMDI).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.intervals import MIN_RUNS, Comparison, Influence, compare_runs, contrast_of, counted
from accelbench.analysis.training import START_UP, samples_seen
from accelbench.compare.reasons.case import Candidate, Experiment, Known, log_mean
from accelbench.config import Config, TorchPlatform
from accelbench.plan.specs import base_params
from accelbench.report.reasons import EXPERIMENT
from accelbench.report.text import listed, number, size_name
from accelbench.store.records import TrainRunRecord
from accelbench.training.params.check import micro_batch_of

_BREAKS = ("eval", "teardown", "other")
_TRAIN, _COMPILE, _CHECKPOINT = ("train",), ("compile",), ("checkpoint",)
_START_UP = tuple(phase for phase in START_UP if phase != "compile")


@dataclass(frozen=True, eq=False)
class SizeRuns:
    """The completed runs of one batch size on a platform, on a quiet host."""

    runs: Sequence[TrainRunRecord]

    @property
    def first(self) -> TrainRunRecord:
        """One of them."""
        return self.runs[0]

    @property
    def name(self) -> str:
        """Its name in lists."""
        return size_name(self.first, {})

    def s_per_sample(self, phases: Sequence[str]) -> list[float]:
        """Return the seconds per sample that each run spent in some phases."""
        return [
            sum(run.logged.phases_s.get(phase) or 0.0 for phase in phases) / samples
            for run in self.runs
            if (samples := samples_seen(run)) and run.logged.phases_s.get("train")
        ]

    @property
    def rates(self) -> list[float]:
        """The steady rate of each run."""
        return [rate for run in self.runs if (rate := run.logged.steady_rate_samples_per_s)]


@dataclass(frozen=True, eq=False)
class SizePair:
    """Two sizes to be compared, and all others."""

    ours: SizeRuns
    theirs: SizeRuns
    all: Sequence[SizeRuns]
    config: Config

    @property
    def names(self) -> tuple[str, str]:
        """What is compared with what."""
        return self.ours.name, self.theirs.name

    def micro(self, size: SizeRuns) -> int | None:
        """Return the micro batch of a size: as logged or configured, or, with torch, as its params file leads to it."""
        first, training = size.first, self.config.training
        told = first.logged.micro_batch or first.micro_batch_size
        if told or not isinstance(training.platforms.get(first.platform), TorchPlatform):
            return told
        return micro_batch_of(base_params(str(training.model)), first.batch_size)

    @cached_property
    def whole_s(self) -> float:
        """The logarithmic mean of both sides' time per sample."""
        return log_mean(*(float(np.mean(self._whole(side))) for side in (self.ours, self.theirs)))

    @property
    def ratio(self) -> Comparison | None:
        """The time per sample of ours against theirs; None where a log does not show it."""
        ours, theirs = self._whole(self.ours), self._whole(self.theirs)
        return compare_runs(ours, theirs) if ours and theirs else None

    def _whole(self, side: SizeRuns) -> list[float]:
        return side.s_per_sample([*START_UP, *_TRAIN, *_CHECKPOINT, *_BREAKS])

    @property
    def trained(self) -> float:
        """The share of the time in which they trained."""
        return (
            log_mean(*(float(np.mean(side.s_per_sample(_TRAIN))) for side in (self.ours, self.theirs))) / self.whole_s
        )

    def of_phases(self, phases: Sequence[str]) -> Known:
        """Return what some phases make up of the ratio."""
        spent = [side.s_per_sample(phases) for side in (self.ours, self.theirs)]
        shown = " against ".join(f"{number(1000 * float(np.mean(own)), 3)} ms" for own in spent)
        if not any(map(any, spent)):
            return Known("no log shows any", excludes=True)
        few = min(map(len, spent))
        why = f"{counted(few, 'run')} on a side: an interval needs {MIN_RUNS}" if few < MIN_RUNS else None
        ours, theirs = (Influence.of_runs(np.asarray(own) / self.whole_s) for own in spent)
        return Known(f"{shown} per sample", contrast_of("ratio", ours, theirs, why=why))


def sizes_of(runs: Sequence[TrainRunRecord]) -> list[SizeRuns]:
    """Return the sizes that were trained on a quiet host."""
    found: dict[tuple[str, int, int | None], list[TrainRunRecord]] = {}
    for run in runs:
        if run.state == "measured" and run.logged.outcome == "completed" and not disturbances(run.host_activity):
            found.setdefault((run.platform, run.batch_size, run.micro_batch_size), []).append(run)
    return list(map(SizeRuns, found.values()))


# --- the candidates -----------------------------------------------------------------------------------------


def _micro_batch(case: SizePair) -> Known:
    ours, theirs = case.micro(case.ours), case.micro(case.theirs)
    if ours and ours == theirs:
        return Known(f"both train micro batches of {ours}", excludes=True)
    said = f"micro batches of {ours or 'unknown size'} against {theirs or 'unknown size'}"
    if (changed := _in_one_micro_batch(case)) is None:
        return Known(said)
    size, micro = changed
    there = (size.first.platform, size.first.batch_size, micro)
    other = next((s for s in case.all if (s.first.platform, s.first.batch_size, case.micro(s)) == there), None)
    if other is None or not size.rates or not other.rates:
        return Known(said)
    slower = compare_runs(size.rates, other.rates)
    told = f"{said}; in micro batches of {micro}, {size.name} takes {number(slower.value)} times as long per sample"
    return Known(told, slower.weighted(-case.trained if size is case.ours else case.trained))


def _in_one_micro_batch(case: SizePair) -> tuple[SizeRuns, int] | None:
    """Return one of the two and the micro batch of the other, which divides its batch; None where neither does."""
    ours, theirs = case.micro(case.ours), case.micro(case.theirs)
    if theirs and case.ours.first.batch_size % theirs == 0:
        return case.ours, theirs
    return (case.theirs, ours) if ours and case.theirs.first.batch_size % ours == 0 else None


def _same_micro_batch(case: SizePair) -> Iterator[Experiment]:
    of_both = list(filter(None, (case.micro(case.ours), case.micro(case.theirs))))
    if len(of_both) == 2 and _in_one_micro_batch(case):
        micros = sorted({*(case.config.training.micro_batch_sizes or ()), *of_both})
        tree = {"training": {"micro_batch_size": None, "micro_batch_sizes": micros}}
        yield Experiment(f"micro batches {listed(list(map(str, micros)))}", tree)


def _more_repeats(case: SizePair) -> Iterator[Experiment]:
    repeats = max(2 * case.config.training.repeats, MIN_RUNS)
    yield Experiment(f"{repeats} repeats", {"training": {"repeats": repeats}})


def _compiled(case: SizePair) -> Known:
    platforms = [_torch(case, side) for side in (case.ours, case.theirs)]
    if None in platforms:
        return Known("only the torch backend can do with or without torch.compile")
    ours, theirs = (bool(platform and platform.compile) for platform in platforms)
    if ours == theirs:
        return Known(f"both run {'' if ours else 'un'}compiled", excludes=True)
    wanted = (_twin(case), case.ours.first.batch_size)
    twin = next((size for size in case.all if (size.first.platform, size.first.batch_size) == wanted), None)
    said = f"{case.names[0] if ours else case.names[1]} is compiled"
    if twin is None or not twin.rates or not case.ours.rates:
        return Known(said)
    effect = compare_runs(twin.rates, case.ours.rates)
    how = "uncompiled" if ours else "compiled"
    told = f"{said}; {how}, a sample takes {number(1 / effect.value)} times as long"
    return Known(told, effect.weighted(case.trained))


def _torch(case: SizePair, side: SizeRuns) -> TorchPlatform | None:
    platform = case.config.training.platforms[side.first.platform]
    return platform if isinstance(platform, TorchPlatform) else None


def _twin(case: SizePair) -> str:
    return f"{EXPERIMENT}compile-{case.ours.first.platform}"


def _other_compile(case: SizePair) -> Iterator[Experiment]:
    ours, theirs = _torch(case, case.ours), _torch(case, case.theirs)
    if ours and theirs and ours.compile != theirs.compile:
        name = _twin(case)
        platform = {**ours.model_dump(exclude_unset=True), "label": name, "compile": theirs.compile}
        tree = {"training": {"run": [name], "platforms": {name: platform}}}
        yield Experiment(name, tree, like_side=case.ours.first.platform)


def _nothing(_: SizePair) -> Iterator[Experiment]:
    yield from ()


def _phases(phases: Sequence[str]) -> Callable[[SizePair], Known]:
    return partial(SizePair.of_phases, phases=phases)


OF_TRAINING = (
    Candidate("the training steps themselves", "the steady rates differ", _phases(_TRAIN), _more_repeats),
    Candidate("compilation", "its phase takes longer per sample", _phases(_COMPILE), _more_repeats),
    Candidate("checkpoints", "its phase takes longer per sample", _phases(_CHECKPOINT), _more_repeats),
    Candidate("start-up", "its phases take longer per sample", _phases(_START_UP), _more_repeats),
    Candidate(
        "evaluation, and what the log does not name", "it takes longer per sample", _phases(_BREAKS), _more_repeats
    ),
    Candidate("the micro batch", "there is no difference at one micro batch", _micro_batch, _same_micro_batch),
    Candidate("torch.compile", "the rate is another with the other setting", _compiled, _other_compile),
    Candidate(
        "data loading",
        "there is no difference with data that need no loading",
        lambda case: Known("no log shows it"),
        _nothing,
        "train both with corpus: synthetic in a folder of its own (accelbench init)",
    ),
)
