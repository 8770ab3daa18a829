"""
The log of another trainer, told in ModelZoo's words, so that one reader gives the figures of all.

A `Trainer` recognises its progress lines, and its reader says what each line tells: that a process starts, what it
plans, how far it is, what it evaluates and saves. `TrainerLines` puts that into the words that `transcript` collects.
Launchers' prefixes ("[rank0]:", "0: ", "[1,0]<stdout>:"), colours, and progress bars that overwrite each other are
taken off before. What several ranks print counts once.

Times are the log's timestamps. Where it gives a finer time of its steps (a duration, or a bar's clock), that fills
in for timestamps of whole seconds, and for those that are not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Final, Protocol

from accelbench.store.records import Check, HeldOut
from accelbench.training.log.grammar import Blocks, LogLine, raised
from accelbench.training.log.timeline import Event

_PREFIX: Final = re.compile(
    r"[ \t>]*(?:\[(?:rank|default|Rank )?(\d{1,6})\]:? ?|\[\d+,(\d+)\]<std(?:out|err)>:? ?"
    r"|(?:[a-z][\w.-]*\d )?(\d{1,6}): )"
)
_BAR: Final = re.compile(r"(\d%\|[^\]\r]{0,400}\])(?=[^\r])")
_STAMP: Final = re.compile(
    r"(?<!\d)(?:(\d{4})-(\d\d)-(\d\d)|(\d\d)/(\d\d)/(\d{4}))[ T](\d\d):(\d\d):(\d\d(?:[.,]\d{1,6})?)(?!\d)"
)
_STAMP_WITHIN: Final = 100  # characters of a line
_FAILURE: Final = re.compile(
    r"Traceback \(most recent call last\)|slurmstepd: error:.* (?:CANCELLED|oom)|=>> PBS: job killed|Fatal Python error"
)
_WHOLE_SECONDS: Final = 1.0
_LARGEST: Final = 1e15  # of a count
_LATEST_S: Final = 3e11  # the year 9500
_ROUNDING, _ROUNDED = 0.005, 0.2
"""How far the product of a rate and a time, both rounded, may be from a whole number: as a share, and in samples."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a process plans to train; None for what a line doesn't tell."""

    batch_size: int | None = None
    """Samples of a step, over all devices."""
    sequence_length: int | None = None
    last_step: int | None = None
    resumed_from: int | None = None
    """The step of the checkpoint it was started from."""


@dataclass(frozen=True, slots=True)
class StepLine:
    """A line on the training's progress; None for what it doesn't tell."""

    step: int
    loss: float | None = None
    step_s: float | None = None
    """Seconds for a step, the mean since the last such line."""
    clock_s: float | None = None
    """Seconds since the training started."""
    rate_samples_per_s: float | None = None
    global_rate_samples_per_s: float | None = None
    flops_utilization: float | None = None
    skipped_steps: int = 0
    """Since the last such line."""


@dataclass(frozen=True, slots=True)
class Processed:
    """What the training has done at its end, by the trainer's own clock."""

    samples: int
    seconds: float


Said = Event | Planned | StepLine | HeldOut | Processed
"""What a line tells. The events: START, LOOP (training begins), EVAL, SAVING, SAVED, TRAINED (all steps are done)."""


class LineReader(Protocol):
    """Reads the lines of one trainer's log in their order."""

    def take(self, line: str) -> Iterable[Said]:
        """Return what a line tells, in order."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer whose logs can be read."""

    name: str
    progress: re.Pattern[str]
    """What only its progress lines contain."""
    reader: Callable[[], LineReader]
    says_its_end: bool = True
    """Whether a line tells that all steps are done; else a run counts as completed unless it failed or has a plan."""


_WORDS: Final = {
    Event.START: "Current Working Directory",
    Event.EVAL: "Starting evaluation",
    Event.SAVING: "Saving checkpoint at",
    Event.SAVED: "Saved checkpoint",
}


@dataclass(slots=True)
class TrainerLines:
    """The meaningful lines of a trainer's log, in ModelZoo's words; afterwards what was seen on the way."""

    trainer: Trainer
    blocks: Blocks
    first_s: float | None = None
    last_s: float | None = None
    _line_no: int = 0
    _rank: str | None = None
    """The rank that printed the present line, if its launcher tells."""
    _stamp_s: float | None = None
    """The present line's timestamp."""
    _plan: Planned = field(default_factory=Planned)
    _announced: Planned | None = None
    """The plan of the train loop that runs."""
    _first_step: int | None = None
    _last_step: int | None = None
    _last_rank: str | None = None
    _now_s: float | None = None
    _loop_s: float | None = None
    """When the train loop began, which the clocks of bars count from."""
    _fresh: bool = False
    """Whether nothing has happened since the process started."""
    _evaluating: bool = False
    _trained: bool = False
    _failed: bool = False
    _in_traceback: bool = False
    _reckoned: bool = False
    """Whether times are sums of what the log gives for its steps."""

    def line_no(self) -> int:
        """The number of the line that was yielded last: from 1, as `grep -n` counts."""
        return self._line_no

    def __iter__(self) -> Iterator[LogLine]:
        """Every line that means something, in order. Never raises on any content."""
        reader = self.trainer.reader()
        for line in self._lines():
            yield from self._failures(line)
            for said in reader.take(line):
                yield from self._in_words(said)
        yield from self._leave()

    def doubts(self) -> Iterator[Check]:
        """What of these figures the trainer's way of logging makes doubtful."""
        if self._reckoned and self.first_s is None:
            text = "The log has no timestamps: its times are the sums of those that it gives for its steps."
            yield Check("timestamps", text)

    def _lines(self) -> Iterator[str]:
        """Every line without its prefix; what overwrites itself in a terminal is a line each."""
        before = 0
        for block, _ in self.blocks:
            for self._line_no, line in enumerate(block.decode("utf-8", "replace").split("\n"), before + 1):
                for part in _BAR.sub("\\1\r", line).split("\r"):
                    prefix = _PREFIX.match(part)
                    self._rank = next(filter(None, prefix.groups()), None) if prefix else None
                    self._stamp_s = None if self._reckoned and self.first_s is None else _seconds(part)
                    if self._stamp_s is not None:
                        self.first_s = self._stamp_s if self.first_s is None else self.first_s
                        self.last_s = self._stamp_s
                    yield part[prefix.end() :] if prefix else part
            before += block.count(b"\n")

    def _failures(self, line: str) -> Iterator[LogLine]:
        if failure := _FAILURE.search(line):
            self._in_traceback = failure[0].startswith("Traceback")
            self._fresh, self._failed = False, True
            yield Event.FAILED, self._stamp_s, line[failure.start() :].encode()
        elif self._in_traceback and raised(message := line.encode()[:2000]):
            self._in_traceback = False
            yield None, None, message

    def _in_words(self, said: Said) -> Iterator[LogLine]:
        if isinstance(said, Planned):
            self._learn(said)
            if said.resumed_from:
                yield Event.SETUP, self._stamp_s, b"Loading weights from checkpoint"
        elif isinstance(said, StepLine):
            yield from self._progress(said)
        elif isinstance(said, Processed):
            yield Event.ENDED, self._stamp_s, f"Processed {said.samples} sample(s) in {said.seconds} seconds.".encode()
        elif isinstance(said, HeldOut):
            if self._announced is None:  # evaluated before it trains
                yield from self._loop(None, self._begins_at(said.step or 0))
            self._evaluating = True
            if said.step is not None:
                yield Event.EVAL_STEP, self._stamp_s, f"| Eval GlobalStep={said.step}, Loss={said.loss}".encode()
            yield Event.EVAL_STEP, self._stamp_s, f"Avg Eval Loss: {said.loss}".encode()
        elif said is Event.START:
            if not self._fresh:
                yield from self._leave()
                self._plan, self._announced, self._fresh, self._trained = Planned(), None, True, False
                yield said, self._stamp_s, _WORDS[said].encode()
        elif said is Event.LOOP:
            yield from self._loop(self._stamp_s or self.last_s, self._begins_at(0))
        elif said is Event.TRAINED:
            yield from self._end()
        else:
            self._evaluating = self._evaluating or said is Event.EVAL
            yield said, self._stamp_s, _WORDS[said].encode()

    def _learn(self, plan: Planned) -> None:
        known = {each.name: value for each in fields(plan) if (value := getattr(plan, each.name)) is not None}
        self._plan = replace(self._plan, **known)

    def _progress(self, said: StepLine) -> Iterator[LogLine]:
        last = self._last_step
        if last is not None and said.step <= last and not self._fresh:
            if said.step == last or self._rank != self._last_rank:
                return  # another rank's, or a bar that was drawn again
            yield from self._leave()
            self._announced, self._plan = None, replace(self._plan, resumed_from=None)
            yield Event.START, None, _WORDS[Event.START].encode()
            restarts = self._first_step is not None and said.step <= self._first_step
            yield from self._loop(None, 1 if restarts else said.step)
        elif self._announced is None or self._announced.last_step != self._plan.last_step:
            yield from self._loop(None, self._begins_at(said.step))
        elif self._evaluating:
            yield Event.LOOP, None, b"Starting train loop again"
        self._evaluating = False
        if self._fresh or last is None or said.step < last:
            self._first_step, last = said.step, self._plan.resumed_from or (0 if self._fresh else None)
        if self._fresh:  # the first line's rate counts the compiling, too
            said = replace(said, rate_samples_per_s=None)
        at = self._moment(said, 1 if last is None else said.step - last)
        self._last_step, self._last_rank, self._fresh = said.step, self._rank, False
        self._in_traceback = self._trained = self._failed = False
        yield from self._tell_plan()
        yield Event.STEP, at, _progress_line(said)
        if said.skipped_steps:
            yield None, None, f"Skipped steps: {said.skipped_steps}".encode()
        if said.flops_utilization is not None:
            yield None, None, f"FLOPs utilization: {said.flops_utilization}".encode()
        if said.step == self._plan.last_step:
            yield from self._end()

    def _begins_at(self, step: int) -> int:
        """Return the first step of a train loop of which this is the first that is known."""
        if self._plan.resumed_from is None and self._last_step is not None and step > self._last_step:
            return step  # goes on where another process ended
        return (self._plan.resumed_from or 0) + 1

    def _loop(self, at: float | None, first_step: int) -> Iterator[LogLine]:
        self._loop_s = self._now_s if at is None else at
        self._now_s = self._loop_s
        yield from self._tell_plan(anew=True)
        last = self._plan.last_step
        steps = "" if last is None else f" 1 of 1, from global step {first_step} to {last}"
        yield Event.LOOP, at, f"Starting train loop{steps}".encode()

    def _tell_plan(self, *, anew: bool = False) -> Iterator[LogLine]:
        told = Planned() if anew or self._announced is None else self._announced
        for words, name in (("Batch size", "batch_size"), ("Sequence length", "sequence_length")):
            if (value := getattr(self._plan, name)) and value != getattr(told, name):
                yield None, None, f"{words}: {value}".encode()
        self._announced = self._plan

    def _end(self) -> Iterator[LogLine]:
        if not self._trained:
            self._trained = True
            step = "" if self._plan.last_step is None else f" Step {self._plan.last_step} was the last."
            yield Event.TRAINED, self._stamp_s, f"Training completed successfully!{step}".encode()

    def _leave(self) -> Iterator[LogLine]:
        """A process is over, or the file is."""
        trains_on = self._last_step is not None and not (self._fresh or self._failed)
        if trains_on and not self.trainer.says_its_end and self._plan.last_step is None:
            yield from self._end()

    def _moment(self, said: StepLine, steps: int) -> float | None:
        """When a progress line was printed: by its timestamp, or more finely."""
        stamp, finer = self._stamp_s, math.nan
        if said.clock_s is not None:
            if self._loop_s is None:
                self._loop_s = 0.0 if self.last_s is None else self.last_s - said.clock_s
            finer = self._loop_s + said.clock_s
        elif said.step_s is not None:
            begun_s = self._now_s if self._now_s is not None or self.last_s is not None else 0.0
            finer = self.last_s or 0.0 if begun_s is None else begun_s + said.step_s * steps
        if not 0 <= finer < _LATEST_S or (stamp is not None and abs(finer - stamp) > _WHOLE_SECONDS):
            self._now_s = self._now_s if stamp is None else stamp
            return stamp
        self._now_s, self._reckoned = finer, True
        return finer


def plain_number(text: str | None) -> float | None:
    """A number, with or without commas; None for anything else."""
    try:
        return float((text or "").replace(",", ""))
    except ValueError:
        return None


def whole(text: str | None) -> int | None:
    """A count, with or without commas, also if written as 49.0; None for anything else."""
    found = plain_number(text)
    return int(found) if found is not None and 0 <= found < _LARGEST else None


def whole_batch(rate_samples_per_s: float | None, step_s: float | None) -> int | None:
    """The batch size that a rate and a step's time give; None where it is not about a whole number."""
    samples = (rate_samples_per_s or 0.0) * (step_s or 0.0)
    if not 0.5 < samples < _LARGEST:
        return None
    size = round(samples)
    return size if abs(samples - size) <= _ROUNDING * size and abs(samples - size) < _ROUNDED else None


def clock_s(text: str) -> float:
    """The seconds of a progress bar's clock: "12:34" or "1:02:34"."""
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return float(seconds)


def _progress_line(said: StepLine) -> bytes:
    parts = [f"| Train Step={said.step}"]
    if said.loss is not None:
        parts.append(f"Loss={said.loss}")
    for name, rate in (("Rate", said.rate_samples_per_s), ("GlobalRate", said.global_rate_samples_per_s)):
        if rate is not None:
            parts.append(f"{name}={rate} samples/sec")
    return ", ".join(parts).encode()


def _seconds(line: str) -> float | None:
    """The timestamp of a line, in seconds since year 1."""
    if not (stamp := _STAMP.search(line, 0, _STAMP_WITHIN)):
        return None
    year, month, day, us_month, us_day, us_year, hours, minutes, seconds = stamp.groups()
    try:
        days = date(int(year or us_year), int(month or us_month), int(day or us_day)).toordinal()
    except ValueError:
        return None
    return days * 86400.0 + int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
