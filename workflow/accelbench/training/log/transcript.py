"""
What one training log has said, collected line by line and bounded whatever the log's length.

`Transcript.take` is given the lines that `accelbench.training.log.grammar` finds, those of one run (`reader` tells the
runs of a file apart); `accelbench.training.log.reader` turns the finished transcript into a ParsedLog. Never opens a
file, never raises on any content.

Sources: as in progress; the texts of failures from cerebras-appliance 2.6.0 (clean_shutdown in
appliance_manager.py, cluster/client.py).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final, Literal

from accelbench.store.records import Compile, Failure, HeldOut, JobKind, Outcome, Step
from accelbench.training.log.grammar import NUMBER, LogLine, LogLines, raised, read_progress
from accelbench.training.log.timeline import Event, StepPace, Timeline

MAX_ROWS: Final = 100_000
MAX_COMPILES: Final = 1000
FINAL_LOSSES: Final = 5
_STEP: Final = Event.STEP

SHUTDOWN_CLASSES: Final = {
    "job timeout": "ApplianceRuntimeJobTimeoutError",
    "Appliance deadlock": "ApplianceDeadlockError",
    "NaN error": "ApplianceNanError",
    "likely corruption": "ApplianceCorruptionError",
    "Appliance error": "ApplianceUnknownError",
    "possible stall": "ApplianceStallError",
}
"""cerebras.appliance.appliance_manager.clean_shutdown: "Initiating shutdown sequence due to {key}: …"."""


_Row = tuple[int, float | None, float | None, float | None, float | None]
"""A Step to be, its time still absolute."""


_LOOP: Final = re.compile(rb"Starting train loop (\d{1,9}) of (\d{1,9}), from global step (\d{1,15}) to (\d{1,15})")
_LOOP_TO_2_4: Final = re.compile(rb"Starting training loop (\d{1,9}), from global step (\d{1,15}) to (\d{1,15})")
_PLAN: Final = re.compile(rb"for a total of (\d{1,15}) train step")
_FIRST_LOOP: Final = (b"Starting train loop 1 ", b"Starting training loop 1,")
_FIRST_LINES: Final = (b"Checkpoint autoloading", b"Trainer Fit Summary", b"Effective batch", b"Gradient accum")
"""What a process prints once, before it trains; all but the first two also where another train loop begins."""
_BEFORE_TRAINING: Final = frozenset({Event.START, Event.SETUP, Event.LOOP})
STATED_BATCH: Final = re.compile(rb"Effective batch size is (\d{1,15})")
_MICRO_BATCH: Final = re.compile(
    rb"(?:Gradient accumulation picked (?:micro|sub)[- ]batch size|at original per-box batch size) (\d{1,15})"
)
_JOB: Final = re.compile(rb"(?:[Jj]ob id: |var-wsjob=|^Job )(wsjob-[\w-]{1,80})")
_PROCESSED: Final = re.compile(
    rb"(?:Processed|Completed) (\d{1,18}) (training )?sample\(s\) in " + NUMBER + rb" seconds"
)
_HELD_OUT: Final = re.compile(rb"Avg Eval Loss: *" + NUMBER)
_OTHER_TRAINERS: Final = re.compile(rb"(Batch size|Sequence length|Skipped steps|FLOPs utilization): " + NUMBER)
"""What only the logs of other trainers tell (`trainers.trainer`)."""
_FINISHED: Final = re.compile(rb"Step (\d{1,15}) was the last")
_SHUTDOWN: Final = re.compile(rb"Initiating shutdown sequence due to ([A-Za-z ]{1,40}):")


def first_step_of(message: bytes) -> tuple[int, int] | None:
    """The number of a train loop and its first step; None for a line that doesn't tell."""
    if loop := _LOOP.match(message):
        return int(loop[1]), int(loop[3])
    loop = _LOOP_TO_2_4.match(message)
    return (int(loop[1]), int(loop[2]) + 1) if loop else None


@dataclass(slots=True)
class Transcript:
    """Everything that is remembered between lines; bounded, whatever the log's length."""

    lines: LogLines
    waited_at: int | None = None
    """The number of the line that is taken, if it has waited."""
    timeline: Timeline = field(default_factory=Timeline)
    pace: StepPace = field(default_factory=StepPace)
    device: str | None = None
    jobs: dict[str, JobKind | None] = field(default_factory=dict)
    job_kind: JobKind | None = None
    compiles: list[Compile] = field(default_factory=list)
    micro_batch: int | None = None
    stated_batch: int | None = None
    later_batch: int | None = None
    """Another batch size, that the log told later."""
    sequence_length: int | None = None
    skipped_steps: int = 0
    utilizations: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """The sum and the number of the FLOPs utilizations that were logged."""
    start_step: int | None = None
    loop_start: int | None = None
    """The step before the last train loop."""
    planned_steps: int | None = None
    max_steps: int | None = None
    finished_step: int | None = None
    """The step that was the last by the line that says the training is completed, logged or not."""
    first_step: int | None = None
    last_step: int | None = None
    stride: int = 1
    """Of how many progress lines one is kept."""
    _last_t: float | None = None
    _last_row: _Row | None = None
    _rows: list[_Row] = field(default_factory=list)
    _until_next_row: int = 0
    repeated_steps: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=FINAL_LOSSES))
    losses_not_finite: int = 0
    rate_sum: float = 0.0
    rates: int = 0
    evaluated_step: int | None = None
    evaluated_loss: float | None = None
    """The Loss of the last Eval line: the average over all batches, if it is an evaluation's last."""
    held_out: list[HeldOut] = field(default_factory=list)
    processed: tuple[int, float, Literal["fit", "train_loop"]] | None = None
    trained: bool = False
    failure: Failure | None = None
    overcome: Failure | None = None
    """A failure after which the training went on and completed."""
    afterwards: Failure | None = None
    """A failure after the run was over."""
    cancelled: bool = False
    csctl: bool = False
    traceback: Literal["none", "fatal", "ignored"] = "none"
    parts: int = 1
    """How many processes wrote the log, one after the other."""
    resumed_from: list[int] = field(default_factory=list)
    """The steps of the checkpoints that later parts went on from."""
    ended: bool = False
    """Whether the present part has said how many samples it processed, which is the last that a run says."""
    under_way: bool = False
    """Whether the present part has come further than its setup."""

    @property
    def over(self) -> bool:
        """Whether the run has completed and said so; what follows is no failure of it."""
        return self.ended and self.trained

    def take(self, line: LogLine) -> bool:
        """One line that means something; False, and nothing is taken, for a step that is another run's."""
        event, t, message = line
        if event is _STEP:
            return self._step(t, message)
        if event is None:
            self._remark(message)
        elif event is not Event.FAILED or self._fail(message):
            if event is Event.START or self.begins_anew(event, message):
                self._part(t)
            self.under_way = self.under_way or event not in _BEFORE_TRAINING
            self.timeline.add(event, t)
            self.pace.event(event)
            self._event(event, message)
        return True

    def _step(self, t: float | None, message: bytes) -> bool:
        device, step, loss, rate, global_rate = read_progress(message)
        if step is None:
            return True
        last_step, timeline = self.last_step, self.timeline
        if last_step is None:
            self.device, self.first_step = device.decode("ascii", "replace") or None, step
        elif step <= last_step:
            if step == last_step and (t is None or t == self._last_t) and not self.ended:
                return True  # the same line twice, by tee or by two handlers
            if self.is_other(step):
                return False
            self.repeated_steps += 1
        timeline.step(t)
        self.under_way = True
        at = None if t is None else timeline.ended
        if at is not None:
            self.pace.step(step, at)
        if loss is not None:
            self.losses.append(loss)
            if not isfinite(loss):
                self.losses_not_finite += 1
        if rate is not None:
            self.rate_sum += rate
            self.rates += 1
        self.last_step, self._last_t, self._last_row = step, t, (step, at, loss, rate, global_rate)
        if self._until_next_row == 0:
            self._until_next_row = self.stride
            self._rows.append(self._last_row)
            if len(self._rows) == MAX_ROWS:  # an even number: every other row goes, the next is due as it was
                self._rows, self.stride = self._rows[::2], 2 * self.stride
        self._until_next_row -= 1
        self.traceback = "none"
        self._name_compiles("train")
        return True

    def is_other(self, step: int) -> bool:
        """Whether a step is another run's: it goes back behind the end, or to the first; a fit (2.3 on) has one end."""
        if self.over and self.processed is not None and self.processed[2] == "fit":
            return True
        if self.last_step is None or self.first_step is None or step > self.last_step:
            return False
        return self.over or (step <= self.first_step < self.last_step)

    def begins_anew(self, event: Event | None, message: bytes) -> bool:
        """Whether a line tells of a new process; not all releases print one that says so (START)."""
        if not self.under_way:
            return False
        if event is Event.LOOP:
            return message.startswith(_FIRST_LOOP)
        of_each_loop = self.trained and not self.ended
        return event is Event.SETUP and message.startswith(_FIRST_LINES[: 2 if of_each_loop else None])

    def _part(self, t: float | None) -> None:
        """A new process goes on where the former was stopped: how that one ended is no outcome of the run."""
        if self.under_way:
            self.parts += 1
            self.overcome, self.failure = self.failure or self.overcome, None
            self.trained = self.ended = self.cancelled = self.csctl = self.under_way = False
            self.traceback = "none"
            self.timeline.add(Event.START, t)

    def _event(self, event: Event, message: bytes) -> None:
        if event is Event.LOOP:
            self._loop(message)
        elif event is Event.SETUP:
            if stated := STATED_BATCH.match(message):
                self.stated_batch = self.stated_batch or int(stated[1])
            elif plan := _PLAN.match(message):
                self.planned_steps = int(plan[1])
        elif event in (Event.COMPILE_JOB, Event.EXECUTE_JOB, Event.POLL):
            if event is not Event.POLL:
                self.job_kind = "compile" if event is Event.COMPILE_JOB else "execute"
            self._job(message)
        elif event is Event.COMPILE:
            self._compile(message)
        elif event is Event.STAGING and message.startswith(b"Compile was successful"):
            if self.compiles:
                self._found_in_cache(False)
        elif event is Event.STAGING and message.startswith(b"Preparing to execute"):
            self._name_jobs("execute")
            self.device = self.device or ("CSX" if b" CSX" in message else None)
        elif event is Event.EVAL_STEP:
            self._evaluation(message)
        elif event is Event.EVAL_DONE and self.evaluated_loss is not None:
            self._held_out(self.evaluated_loss)
        elif event in (Event.TRAINED, Event.ENDED):
            self._end(event, message)

    def _loop(self, message: bytes) -> None:
        self.trained = self.ended = False
        if loop := _LOOP.match(message):
            index, loops, first, last = map(int, loop.groups())
            before = first - 1
            if loops == index:
                self.max_steps = last
            elif index == 1:
                self.max_steps = None if self.planned_steps is None else before + self.planned_steps
        elif loop := _LOOP_TO_2_4.match(message):
            index, before, self.max_steps = map(int, loop.groups())
        else:
            return
        self.loop_start = before
        if index == 1 or self.start_step is None:
            self.start_step, self.processed = before, None
        if index == 1 and self.parts > 1 and before:
            self._rewind(before)

    def _rewind(self, step: int) -> None:
        """A part goes on from a checkpoint: what the former trained after it is lost, and trained again."""
        self.resumed_from.append(step)
        self._rows = [row for row in self._rows if row[0] <= step]
        self.held_out = [row for row in self.held_out if row.step is None or row.step <= step]
        self.losses = deque((row[2] for row in self._rows if row[2] is not None), maxlen=FINAL_LOSSES)
        self._last_row = self._rows[-1] if self._rows else None
        self.last_step, self._last_t, self._until_next_row = self._last_row[0] if self._last_row else None, None, 0

    def _compile(self, message: bytes) -> None:
        if found := _MICRO_BATCH.search(message):
            self.micro_batch = self.micro_batch or int(found[1])
        elif message.startswith(b"Compiling the model"):
            if len(self.compiles) < MAX_COMPILES:
                self.compiles.append(Compile())
        elif not message.startswith(b"Initiating"):
            self._name_jobs("compile")
            self._found_in_cache(message.startswith(b"Found existing cached compile"))

    def _found_in_cache(self, cached: bool) -> None:
        """The first line of a compile that tells counts."""
        if not self.compiles:
            self.compiles.append(Compile(cached=cached))
        elif self.compiles[-1].cached is None:
            self.compiles[-1] = replace(self.compiles[-1], cached=cached)

    def _name_compiles(self, of: Literal["train", "eval"]) -> None:
        """What runs now is what was compiled before."""
        if self.compiles and self.compiles[-1].of is None:
            self.compiles[-1] = replace(self.compiles[-1], of=of)

    def _job(self, message: bytes) -> None:
        if (found := _JOB.search(message)) and len(self.jobs) < 1000:
            self.jobs.setdefault(found[1].decode("ascii", "replace"), self.job_kind)

    def _name_jobs(self, kind: JobKind) -> None:
        for job, known in self.jobs.items():
            if known is None:
                self.jobs[job] = kind

    def _evaluation(self, message: bytes) -> None:
        if message.startswith(b"| Eval"):
            device, step, loss, *_ = read_progress(message)
            self.device = self.device or device.decode("ascii", "replace") or None
            self.evaluated_step, self.evaluated_loss = step, loss
            self._name_compiles("eval")
        elif found := _HELD_OUT.match(message):
            self._held_out(float(found[1]))

    def _held_out(self, loss: float) -> None:
        step = self.last_step if self.evaluated_step is None else self.evaluated_step
        if len(self.held_out) < MAX_ROWS:
            self.held_out.append(HeldOut(step, self._now_s(), loss))
        self.evaluated_step = self.evaluated_loss = None

    def _end(self, event: Event, message: bytes) -> None:
        if event is Event.TRAINED:
            self.trained = True
            self.overcome, self.failure = self.failure or self.overcome, None
            if finished := _FINISHED.search(message):
                self.finished_step = int(finished[1])
        if found := _PROCESSED.search(message):
            self.ended = True
            self.processed = (int(found[1]), float(found[3]), "fit" if found[2] else "train_loop")

    def _remark(self, message: bytes) -> None:
        """A line that is no event: a job's id, or the end of a traceback."""
        if told := _OTHER_TRAINERS.match(message):
            self._figure(told[1], float(told[2]))
        elif message.startswith((b"Exception ignored", b"Exception in thread")):
            self.traceback = "ignored"  # printed by Python itself; the program lives on
        elif message.startswith(b"Job id:"):
            self._job(message)
        elif (name := raised(message)) and (self.traceback != "none" or name == "KeyboardInterrupt"):
            if self.traceback != "ignored":
                self._failed(name, message)
            self.traceback = "none"

    def _figure(self, name: bytes, value: float) -> None:
        if name == b"Batch size":
            self.stated_batch = self.stated_batch or int(value)
            self.later_batch = int(value) if value != self.stated_batch else self.later_batch
        elif name == b"Sequence length":
            self.sequence_length = int(value)
        elif name == b"Skipped steps":
            self.skipped_steps += int(value)
        elif self.last_step != self.first_step:  # the first step is slower than those that follow
            self.utilizations = [self.utilizations[0] + value, self.utilizations[1] + 1]

    def _fail(self, message: bytes) -> bool:
        """A line that reports a failure; whether it does."""
        name = None
        if message.startswith(b"Traceback"):
            if self.traceback == "ignored":
                return False
            self.traceback = "fatal"
        if self.over:
            self._failed(None, message)
            return False
        if message.startswith(b"Job wsjob-"):
            self._job(message)
            if b"canceled-by-csctl" in message:
                self.csctl, name = True, "ClusterJobCancelledByCsctl"
            elif b" was cancelled" in message:
                self.cancelled = True
                name = "KeyboardInterrupt" if message.rstrip().endswith(b"was cancelled due to") else None
        elif message.startswith(b"Job canceled successfully"):
            self.csctl = True
        elif message.startswith(b"Appliance job timer"):
            name = "ApplianceRuntimeJobTimeoutError"
        elif shutdown := _SHUTDOWN.match(message):
            name = SHUTDOWN_CLASSES.get(shutdown[1].decode("ascii", "replace"))
        self._failed(name, message)
        return True

    def _failed(self, name: str | None, message: bytes) -> None:
        """The first failure counts; a later line may give it its name."""
        text = message[:300].decode("utf-8", "replace").strip()
        found: Failure = {"class": name, "line_no": self.waited_at or self.lines.line_no(), "text": text}
        if self.over:
            if self.afterwards is None or name:
                self.afterwards = found
            return
        self.trained = False
        self.csctl = self.csctl or name == "ClusterJobCancelledByCsctl"
        known = self.failure
        if known is None or (name and not known["class"] and known["text"].startswith("Traceback")):
            self.failure = found
        elif name and (known["class"] is None or name == "ClusterJobCancelledByCsctl"):
            self.failure = {**known, "class": name}

    def _now_s(self) -> float | None:
        started, now = self.timeline.started, self.timeline.ended
        return None if started is None or now is None else round(now - started, 3)

    def outcome(self) -> Outcome:
        """How the run ended, as far as its log goes."""
        if self.trained:
            return "completed" if self.max_steps in (None, self.last_step, self.finished_step) else "incomplete"
        if self.csctl:
            return "cancelled"
        if self.failure is None:
            return "incomplete"
        if self.failure["class"] == "KeyboardInterrupt":
            return "interrupted"
        return "cancelled" if self.cancelled and self.failure["class"] is None else "failed"

    def steps(self) -> tuple[Step, ...]:
        """The progress lines that were kept, and the last one."""
        rows = self._rows
        if self._last_row is not None and rows[-1] is not self._last_row:
            rows = [*rows, self._last_row]
        start = self.timeline.started or 0.0
        return tuple(Step(step, None if t is None else round(t - start, 3), *rest) for step, t, *rest in rows)

    def last(self) -> Step | None:
        """The last progress line."""
        if self._last_row is None:
            return None
        step, _, loss, rate, global_rate = self._last_row
        return Step(step, None, loss, rate, global_rate)

    def derived_batch(self) -> int | None:
        """Samples over steps; None where the samples include batches that were started and never finished."""
        last = self.last()
        if self.processed is None or last is None or self.failure is not None:
            return None
        steps, samples = last.step - (self.start_step or 0), self.processed[0]
        if steps <= 0 or samples == 0 or samples % steps:
            return None
        batch, step_s = samples // steps, self.pace.step_s()
        if self.start_step is None and step_s:
            by_rate = [rate * step_s for rate in (last.rate, last.global_rate) if rate]
            if by_rate and not any(0.75 < size / batch < 1 / 0.75 for size in by_rate):
                return None  # resumed, and the beginning isn't in the log: these steps count from elsewhere
        return batch
