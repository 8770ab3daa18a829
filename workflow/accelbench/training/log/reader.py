"""
One training log, read: outcome, losses, rates, and where the time went.

Reads what ModelZoo 1.7 to 2.10 prints on a CS-2, CS-3, GPU or CPU, and what accelbench's own torch trainer
prints in the same words (`progress` has the grammar, `transcript` collects, `timeline` has the phases):

    2025-11-25 15:39:45,243 INFO:   Starting train loop 1 of 1, from global step 1 to 200 (200 steps)
    2025-11-25 15:39:45,243 INFO:   | Train Device=CSX, Step=50, Loss=7.67166, Rate=33.08 samples/sec, …
    2025-11-25 17:06:37,138 INFO:   Training completed successfully!
    2025-11-25 17:06:37,145 INFO:   Processed 204800 training sample(s) in 7279.638811971 seconds.

Held-out loss is what stands in these lines, one per evaluation (ModelZoo 2.6.0, trainer/callbacks/loss.py):

    2025-10-09 18:20:02,564 INFO:   | Eval Device=CSX, GlobalStep=400, Batch=100, Loss=5.92817, Rate=…
    2025-10-09 18:20:23,263 INFO:   Avg Eval Loss: 5.928174624443054

The loss and its time are of the second, the step is of the last Eval line before it (else of the last Train
line). The Loss of an evaluation's last Eval line is the average too, and counts where the second line is missing;
that of the others is one batch's.

Where no line is ModelZoo's, the log may be another trainer's (`trainers`): its lines are put into the same words.

A file may hold several runs, appended, or pasted into notes: each has figures of its own, and none is taken over two of
them. A new process may begin another run, or go on with the run from a checkpoint, and its first lines are alike. They
wait until one tells: a train loop from step 1, another batch size, steps that go back, or weights drawn anew are
another run's; a train loop from a later step, an evaluation, and steps that go on are the same run's.

What is taken for success: "Training completed successfully!" and the last step is the one the log announced.
"Processed …" proves nothing: it comes after failures too, and then counts the batches that were started.
The exit status is the backend's to judge. Raises only what opening a file raises (OSError).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from accelbench.store.records import Check, Compile, ParsedLog, Wsjob
from accelbench.training.log.grammar import Blocks, Lines, LogLine, LogLines, read_progress
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers import trainer_of
from accelbench.training.log.trainers.trainer import TrainerLines
from accelbench.training.log.transcript import STATED_BATCH, Transcript, first_step_of

DISAGREEMENT: Final = 0.02


def read_log(path: Path, *, batch_size: int | None = None) -> ParsedLog:
    """Reads the last run of a log; never raises on any content."""
    return read_logs(path, batch_size=batch_size)[-1]


def read_logs(path: Path, *, batch_size: int | None = None) -> list[ParsedLog]:
    """Reads all runs of a log in a single pass with bounded memory; never raises on any content.

    A batch size that is given counts for a file of one run, and for those of several that don't tell theirs.
    """
    with path.open("rb") as log:
        runs, others = Runs(Lines(Blocks(log))), None
        if all(said.last_step is None for said in runs.transcripts):
            log.seek(0)
            if trainer := trainer_of(Blocks(log)):
                log.seek(0)
                others = TrainerLines(trainer, Blocks(log))
                runs = Runs(others)
    parsed = []
    for run_no, said in enumerate(runs.transcripts, 1):
        own = said.stated_batch or said.derived_batch()
        given = None if own and len(runs.transcripts) > 1 else batch_size
        parsed.append(_parsed(said, path, given, runs, run_no, others))
    return parsed


def _parsed(
    said: Transcript, path: Path, given_batch: int | None, runs: Runs, run_no: int, others: TrainerLines | None
) -> ParsedLog:
    batch = given_batch or said.stated_batch or said.derived_batch()
    last, wall_s, losses = said.last(), said.timeline.wall_s(), said.losses
    samples, seconds, covers = said.processed or (None, None, None)
    parsed = ParsedLog(
        file=str(path),
        run_no=run_no,
        runs_in_file=len(runs.transcripts),
        is_a_log=runs.is_a_log,
        trainer=others.trainer.name if others else None,
        started_at=_moment(said.timeline.started),
        parts=said.parts,
        resumed_from_steps=tuple(said.resumed_from),
        between_parts_s=round(said.timeline.between_parts_s, 3),
        outcome=said.outcome(),
        failure=said.failure,
        device=said.device,
        wsjobs=tuple(Wsjob(job, kind) for job, kind in said.jobs.items()),
        first_step=said.first_step,
        last_step=said.last_step,
        max_steps=said.max_steps,
        final_loss=last.loss if last else None,
        final_loss_mean=sum(losses) / len(losses) if losses else None,
        rate_mean_samples_per_s=said.rate_sum / said.rates if said.rates else None,
        rate_last_samples_per_s=last.rate if last else None,
        global_rate_samples_per_s=last.global_rate if last else None,
        steady_rate_samples_per_s=said.pace.samples_per_s(batch),
        processed_samples=samples,
        processed_seconds=seconds,
        processed_covers=covers,
        batch_size=batch,
        micro_batch=said.micro_batch,
        sequence_length=said.sequence_length,
        flops_utilization=said.utilizations[0] / said.utilizations[1] if said.utilizations[1] else None,
        compile_cached=_one_word(said.compiles),
        compiles=tuple(said.compiles),
        phases_s=said.timeline.phases_s(),
        wall_s=None if wall_s is None else round(wall_s, 3),
        steps=said.steps(),
        steps_thinned=said.stride > 1,
        held_out=tuple(said.held_out),
    )
    doubts = [*_doubts(parsed, said), *_left_out(runs, run_no), *(others.doubts() if others else ())]
    sources = {name: path.name for name in _FIGURES if _is_said(getattr(parsed, name))}
    if given_batch:
        sources["batch_size"] = "argument"
    return replace(parsed, checks=tuple(doubts), sources=sources)


def _left_out(runs: Runs, run_no: int) -> Iterator[Check]:
    if runs.left_out and run_no == len(runs.transcripts):
        yield Check("runs", f"{runs.left_out} more runs follow in this file; they are not read.")


def _one_word(compiles: Sequence[Compile]) -> bool | None:
    """What all compiles were; None where they differ."""
    cached = {each.cached for each in compiles}
    return cached.pop() if len(cached) == 1 else None


def _doubts(parsed: ParsedLog, said: Transcript) -> Iterator[Check]:
    """What a reader of these figures should doubt."""
    if not parsed.is_a_log:
        text = "No line of it looks like a training log. Unpack it first if it is compressed; convert it if UTF-16."
        yield Check("log", text)
    yield from _doubts_about_rates(parsed, said)
    if said.skipped_steps:
        yield Check("steps", f"Skipped steps: {said.skipped_steps}. They changed no weights.")
    if parsed.steps and parsed.batch_size is None:
        yield Check("batch_size", "The log doesn't tell the batch size, so there is no steady rate: give --batch-size.")
    if said.later_batch:
        text = (
            f"The batch size changes from {said.stated_batch} to {said.later_batch}: the steady rate counts the first."
        )
        yield Check("batch_size", text)
    if said.losses_not_finite:
        yield Check("loss", f"{said.losses_not_finite} progress lines have a loss that is nan or infinite.")
    if parsed.outcome == "completed" and parsed.max_steps is None:
        yield Check(
            "max_steps",
            "The log doesn't say how many steps were planned, so it is unknown whether the run is complete.",
        )
    if said.trained and parsed.outcome == "incomplete":
        yield Check(
            "max_steps",
            f"A train loop completed, but the last step logged is {parsed.last_step} of {parsed.max_steps}.",
        )
    if parsed.processed_samples and parsed.outcome in ("failed", "cancelled", "interrupted"):
        yield Check(
            "processed",
            f"{parsed.processed_samples} samples count the batches started, not those completed.",
        )
    stated = "its lines" if parsed.trainer else "'Effective batch size'"
    others = {stated: said.stated_batch, "samples / steps": said.derived_batch()}
    if others := {name: size for name, size in others.items() if size not in (None, parsed.batch_size)}:
        listed = " and ".join(f"{size} by {name}" for name, size in others.items())
        yield Check("batch_size", f"{parsed.batch_size} is used, but the log has {listed}.")
    if past := said.overcome:
        yield Check("failure", f"Line {past['line_no']} reports a failure that the run survived: {past['text']}")
    if len({each.cached for each in parsed.compiles} - {None}) > 1:
        words = {True: "cached", False: "cold", None: "unknown"}
        listed = ", ".join(f"{each.of or 'nothing'} {words[each.cached]}" for each in parsed.compiles)
        yield Check("compile_cached", f"The compiles were not all cached alike: {listed}.")
    if after := said.afterwards:
        yield Check("failure", f"Line {after['line_no']} reports a failure after the run had ended: {after['text']}")
    if said.parts > 1:
        yield Check("parts", f"{said.parts} processes wrote it, one after another: it is one run that was resumed.")
    if said.repeated_steps:
        yield Check("steps", f"They go back {said.repeated_steps} times: a restart, or several processes at a time.")
    if said.timeline.backwards_s >= 1:
        yield Check(
            "timestamps",
            f"They run backwards by up to {said.timeline.backwards_s:.0f} s: phases may be wrong.",
        )
    if parsed.wall_s is None and parsed.steps:
        yield Check("timestamps", "The log has none, so there are no phases and no steady rate.")
    if said.lines.blocks.cut_lines:
        yield Check(
            "long_lines", f"Of {said.lines.blocks.cut_lines} lines longer than a MiB only the beginning was read."
        )


def _doubts_about_rates(parsed: ParsedLog, said: Transcript) -> Iterator[Check]:
    rates = {
        "mean of the Rate fields": parsed.rate_mean_samples_per_s,
        "last GlobalRate": parsed.global_rate_samples_per_s,
        "steady rate by timestamps": parsed.steady_rate_samples_per_s,
    }
    usable = {name: rate for name, rate in rates.items() if rate and math.isfinite(rate) and rate > 0}
    if len(usable) > 1 and (apart := _apart(usable, said)) > DISAGREEMENT:
        listed = ", ".join(f"{name} {rate:.4g}" for name, rate in usable.items())
        trust = " Trust the steady rate." if parsed.steady_rate_samples_per_s else ""
        yield Check("rates", f"{listed} samples/s: up to {100 * apart:,.1f} % apart.{trust}")
    if any(rate is not None and not math.isfinite(rate) for rate in rates.values()):
        yield Check("rates", "A Rate or GlobalRate is nan or infinite.")
    if parsed.first_step != parsed.last_step and parsed.wall_s and said.pace.step_s() is None:
        yield Check(
            "steady_rate",
            "A checkpoint or an evaluation lies between any two progress lines, so there is no steady rate.",
        )


def _apart(rates: Mapping[str, float], said: Transcript) -> float:
    """How far rates are apart, as a share. GlobalRate may count a step more than it has timed: n of n - 1.

    Source: ModelZoo 2.6.0, trainer/callbacks/profiler.py; not so in this project's own logs of before 2026-11-27.
    """
    steps = 0 if said.last_step is None or said.loop_start is None else said.last_step - said.loop_start
    timed = dict.fromkeys(rates, 1.0) | ({"last GlobalRate": (steps - 1) / steps} if steps > 1 else {})
    return min(
        max(scaled) / min(scaled) - 1
        for scaled in ([*rates.values()], [rate * timed[name] for name, rate in rates.items()])
    )


_ABOUT_THE_LOG: Final = (
    "file", "run_no", "runs_in_file", "is_a_log", "trainer", "started_at", "parts", "resumed_from_steps",
    "between_parts_s", "outcome", "steps_thinned", "checks", "sources",
)  # fmt: skip
_FIGURES: Final = tuple(name for name in ParsedLog.__dataclass_fields__ if name not in _ABOUT_THE_LOG)


def _moment(seconds: float | None) -> str | None:
    """ISO 8601, of seconds since year 1; None for a moment that isn't on the calendar."""
    if seconds is None:
        return None
    days, milliseconds = divmod(round(seconds * 1000), 86_400_000)
    try:
        moment = datetime.fromordinal(days) + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        return None
    return moment.isoformat(timespec="milliseconds")


def _is_said(figure: object) -> bool:
    if isinstance(figure, dict):
        return any(seconds is not None for seconds in figure.values())
    return figure is not None and figure != ()


MAX_WAITING: Final = 100_000
MAX_RUNS: Final = 1000
_OTHERS_SAY_IT_TOO: Final = frozenset({None, Event.FAILED, Event.SETUP, Event.ENDED})
_WORK: Final = frozenset(
    {
        Event.COMPILE,
        Event.COMPILE_JOB,
        Event.EXECUTE_JOB,
        Event.QUEUED,
        Event.POLL,
        Event.STAGING,
        Event.WEIGHTS,
        Event.PROGRAMMING,
        Event.RUN,
    }
)
"""What a process does before it trains; one that has trained does it for an evaluation."""
_EVALUATION: Final = frozenset({Event.EVAL, Event.EVAL_STEP, Event.EVAL_DONE})
_RESUMES: Final = (b"Found latest checkpoint", b"Loading weights from checkpoint")
_BEGINS: Final = b"No checkpoint was provided"


class Runs:
    """The runs of one file, in their order."""

    def __init__(self, lines: LogLines) -> None:
        """Read a file to its end."""
        self.transcripts: list[Transcript] = []
        self.left_out = 0
        """How many runs after the first `MAX_RUNS` are not kept."""
        self.is_a_log = False
        """Whether any line reads like a training log's."""
        self._lines = lines
        self._waiting: list[tuple[LogLine, int | None]] = []
        self._begin()
        step, left = Event.STEP, iter(lines)
        for line in left:
            self._see(lines.first_s)
            self._take(line)
            break
        for line in left:
            if line[0] is not step or self._waiting or not self._said.take(line):
                self._take(line)
        while self._waiting:
            self._settle(other=self._is_left_behind())
        if self._said.timeline.started is None:
            self._see(lines.first_s)
        self._see(lines.last_s)
        self.is_a_log = self.is_a_log or self._said.last_step is not None

    def _begin(self) -> None:
        self._said = Transcript(self._lines)
        if len(self.transcripts) < MAX_RUNS:
            self.transcripts.append(self._said)
        else:
            self.left_out += 1

    def _see(self, seconds: float | None) -> None:
        if seconds is not None:
            self._said.timeline.see(seconds)

    def _take(self, line: LogLine, line_no: int | None = None) -> None:
        if not self._waiting and not self._may_be_anothers(line):
            self._give(line, line_no)
            return
        if line_no is None and line[0] in (None, Event.FAILED):
            line_no = self._lines.line_no()
        self._waiting.append((line, line_no))
        told = self._is_anothers(line)
        if told is not None or len(self._waiting) == MAX_WAITING:
            self._settle(other=self._is_left_behind() if told is None else told)

    def _give(self, line: LogLine, line_no: int | None) -> None:
        self.is_a_log = self.is_a_log or line[0] not in _OTHERS_SAY_IT_TOO
        self._said.waited_at = line_no
        if not self._said.take(line):
            self._begin()
            self._said.take(line)

    def _settle(self, *, other: bool) -> None:
        """Give the lines that waited to another run, which may end among them, or to the same."""
        waiting, self._waiting = self._waiting, []
        if other:
            self._begin()
        for line, line_no in waiting:
            (self._take if other else self._give)(line, line_no)

    def _may_be_anothers(self, line: LogLine) -> bool:
        event, _, message = line
        said = self._said
        if event is Event.START:
            return said.under_way
        works = event in _WORK or (event is Event.SETUP and message.startswith((*_RESUMES, _BEGINS)))
        return said.begins_anew(event, message) or (works and self._has_worked())

    def _is_anothers(self, line: LogLine) -> bool | None:
        """Whether a line is of another run than those before it waited; None when it doesn't tell."""
        event, _, message = line
        said = self._said
        if event is Event.STEP:
            step = read_progress(message)[1]
            if step is None:
                return None
            stopped = said.ended or said.failure is not None
            return said.is_other(step) or (stopped and not self._resumes())
        if event in _EVALUATION:
            return False
        if event is Event.LOOP and (loop := first_step_of(message)):
            return loop == (1, 1) and self._has_worked()
        if stated := STATED_BATCH.match(message):
            batch = said.stated_batch or said.derived_batch()
            return True if batch not in (None, int(stated[1])) else None
        if message.startswith(_BEGINS):
            return True if self._has_worked() else None
        return None

    def _has_worked(self) -> bool:
        """Whether the run has come so far that it has something to lose."""
        return self._said.last_step is not None or self._said.ended or self._said.failure is not None

    def _resumes(self) -> bool:
        """Whether a line that waits tells of a checkpoint that is loaded."""
        return any(message.startswith(_RESUMES) for (_, _, message), _ in self._waiting)

    def _is_left_behind(self) -> bool:
        """Whether lines that wait are another run's, when none of them tells."""
        said = self._said
        if said.over or (said.failure is not None and said.last_step is None):
            return True
        return (said.ended or said.failure is not None) and not self._resumes()
