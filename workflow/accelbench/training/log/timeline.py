"""
Where a training run's seconds went, and its steady rate, both from the log's own timestamps.

A `Timeline` is fed with the events of a log in their order (`accelbench.training.log.grammar` finds them).
Every second between the first and the last timestamp belongs to exactly one phase, so the phases add up
to the wall time; what is not known is `other`. Some stretches can be named only by what follows them
(after "Starting train loop" a CS-3 compiles but a CPU trains): they wait under a name with a question mark.

The order of events and their meaning: knowledge of ModelZoo 1.7 to 2.10, checked against published logs.
Never looks at text, never raises, keeps no list that grows with the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

PHASES: Final = (
    "setup",
    "queue",
    "compile",
    "staging",
    "weights",
    "programming",
    "train",
    "checkpoint",
    "eval",
    "teardown",
    "other",
)


class Event(Enum):
    """What a line of the log says has just happened."""

    START = auto()  # a process starts: the first, or one that goes on where another was stopped
    SETUP = auto()  # reading params, looking for checkpoints
    LOOP = auto()  # "Starting train loop …"
    COMPILE = auto()
    COMPILE_JOB = auto()  # a compile wsjob was submitted
    EXECUTE_JOB = auto()  # an execute wsjob was submitted
    QUEUED = auto()  # the cluster says: queueing
    POLL = auto()  # the cluster says: past the queue, pods starting
    STAGING = auto()
    WEIGHTS = auto()
    PROGRAMMING = auto()
    RUN = auto()  # "Beginning appliance run"
    STEP = auto()  # a training progress line
    SAVING = auto()
    SAVED = auto()
    EVAL = auto()  # an evaluation loop starts
    EVAL_STEP = auto()  # an evaluation progress line
    EVAL_DONE = auto()
    TRAINED = auto()  # "Training completed successfully!", once per train loop
    ENDED = auto()  # "Processed … in S seconds."
    FAILED = auto()


_NAMED: Final[dict[Event, str]] = {
    Event.START: "setup",
    Event.SETUP: "setup",
    Event.LOOP: "loop?",
    Event.COMPILE: "compile",
    Event.COMPILE_JOB: "job?",
    Event.EXECUTE_JOB: "job?",
    Event.QUEUED: "queue",
    Event.STAGING: "staging",
    Event.WEIGHTS: "weights",
    Event.PROGRAMMING: "programming",
    Event.STEP: "train",
    Event.SAVING: "checkpoint",
    Event.EVAL: "eval",
    Event.EVAL_STEP: "eval",
    Event.EVAL_DONE: "teardown",
    Event.TRAINED: "teardown",
    Event.ENDED: "teardown",
    Event.FAILED: "failed?",
}
"""The phase that begins with an event (RUN, POLL and SAVED depend on what came before)."""

_SPEAKS_OF: Final[dict[Event, tuple[str, ...]]] = {
    Event.START: ("setup",),
    Event.SETUP: ("setup",),
    Event.LOOP: ("setup",),
    Event.COMPILE: ("compile",),
    Event.COMPILE_JOB: ("queue", "compile"),
    Event.EXECUTE_JOB: ("queue", "staging"),
    Event.QUEUED: ("queue",),
    Event.STAGING: ("staging",),
    Event.WEIGHTS: ("weights",),
    Event.PROGRAMMING: ("programming",),
    Event.STEP: ("train",),
    Event.SAVING: ("checkpoint",),
    Event.EVAL: ("eval",),
    Event.EVAL_STEP: ("eval",),
    Event.TRAINED: ("train", "teardown"),
    Event.ENDED: ("teardown",),
    Event.FAILED: ("teardown",),
}
"""The phases of which a log with this event can speak; the others are null, not 0."""

_PASSIVE: Final = frozenset({Event.SETUP, Event.FAILED, Event.ENDED})
"""Events that by themselves don't stop the device."""


@dataclass(slots=True)
class Timeline:
    """Seconds by phase, grown event by event. Times are seconds since any fixed origin."""

    started: float | None = None
    ended: float | None = None
    backwards_s: float = 0.0
    """The furthest that a timestamp lay before an earlier line's; such a line counts as at the later one."""
    between_parts_s: float = 0.0
    """From the last line of a process to the first of the one that went on in its place; part of `other`."""
    _phase: str = "start?"
    _job: str | None = None
    _evaluating: bool = False
    _seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    _spoken_of: set[str] = field(default_factory=set)

    def see(self, t: float) -> None:
        """A timestamp without an event: time passes in the present phase."""
        self._spend(t, self._phase)

    def step(self, t: float | None) -> None:
        """A training progress line: `add(Event.STEP, t)`, cheap for what most lines of a long log are."""
        ended = self.ended
        if t is not None and ended is not None and t >= ended and self._phase == "train":
            self._seconds["train"] += t - ended
            self.ended = t
        else:
            self.add(Event.STEP, t)

    def add(self, event: Event, t: float | None) -> None:
        """One event, at `t` (None: the line had no timestamp, so only what follows is named by it)."""
        if event is Event.FAILED and t is None:
            return  # a traceback: nothing timed follows, or it was noise
        if event is Event.START and self._phase != "start?":
            self._seconds, self._phase = self._settled(), "other"
            self.between_parts_s += max(0.0, t - self.ended) if t is not None and self.ended is not None else 0.0
        if t is not None:
            self._spend(t, self._phase_before(event))
        self._spoken_of.update(_SPEAKS_OF.get(event, ()))
        if event is Event.COMPILE_JOB:
            self._job = "compile"
        elif event is Event.EXECUTE_JOB:
            self._job = "staging"
        elif event in (Event.LOOP, Event.EVAL_DONE):
            self._evaluating = False
        elif event in (Event.EVAL, Event.EVAL_STEP):
            self._evaluating = True
        self._phase = self._phase_after(event)

    def wall_s(self) -> float | None:
        """Last minus first timestamp; None without any."""
        return None if self.started is None or self.ended is None else self.ended - self.started

    def phases_s(self) -> dict[str, float | None]:
        """Seconds by phase, to the millisecond; None for a phase of which the log cannot speak."""
        if self.started is None:
            return dict.fromkeys(PHASES)
        seconds = self._settled()
        spoken_of = self._spoken_of | {name for name, spent in seconds.items() if spent > 0} | {"other"}
        return {name: round(seconds.get(name, 0.0), 3) if name in spoken_of else None for name in PHASES}

    def _settled(self) -> dict[str, float]:
        """Seconds by phase, where nothing more follows that could name what waits for its name."""
        seconds = dict(self._seconds)
        for unresolved in [name for name in seconds if name not in PHASES]:
            named = {"job?": self._job or "other", "failed?": "teardown"}.get(unresolved, "other")
            seconds[named] = seconds.get(named, 0.0) + seconds.pop(unresolved)
        return seconds

    def _spend(self, t: float, phase: str) -> None:
        if self.ended is None:
            self.started = self.ended = t
        if t < self.ended:
            self.backwards_s = max(self.backwards_s, self.ended - t)
            t = self.ended
        if phase != self._phase and self._phase.endswith("?"):  # what waited for its name has it now
            self._seconds[phase] = self._seconds.get(phase, 0.0) + self._seconds.pop(self._phase, 0.0)
        self._seconds[phase] = self._seconds.get(phase, 0.0) + t - self.ended
        self.ended = t

    def _phase_before(self, event: Event) -> str:
        """The name of the stretch that `event` ends."""
        now = self._phase
        step, evaluation = event is Event.STEP, event in (Event.EVAL, Event.EVAL_STEP)
        if now == "start?":
            return "setup" if event in (Event.START, Event.SETUP, Event.LOOP, Event.COMPILE) else "other"
        if event is Event.START:
            return "other"  # since the former process was stopped, nothing ran
        if now == "loop?":
            if step or event is Event.TRAINED:
                return "train"
            return "other" if evaluation or event in (Event.ENDED, Event.FAILED) else "setup"
        if now == "saved?":
            if step or event is Event.SAVING:
                return "train"
            return "setup" if event in (Event.SETUP, Event.COMPILE, Event.COMPILE_JOB) else "teardown"
        if now == "job?":
            if event is Event.QUEUED:
                return "queue"
            if event is Event.POLL:
                return now
            return self._job or ("compile" if event is Event.COMPILE else "staging")
        if now == "failed?":
            return "train" if step else "teardown"
        if event is Event.EVAL_STEP and now in ("train", "teardown"):
            return "eval"  # a log without the line that starts an evaluation
        return now

    def _phase_after(self, event: Event) -> str:
        now = self._phase
        if event is Event.RUN:
            return "eval" if self._evaluating else "train"
        if event is Event.POLL:
            return "job?" if now in ("job?", "queue", "start?") else now
        if event is Event.SAVED:
            return "saved?" if now == "checkpoint" else now
        if event is Event.SETUP:
            return "setup" if now in ("start?", "teardown", "failed?") else now
        return _NAMED[event]


@dataclass(slots=True)
class StepPace:
    """Steps and seconds between progress lines, the intervals with a pause in them left out.

    The log's own Rate is a moving average (0.6 new + 0.4 old) and GlobalRate counts checkpoint stalls and
    begins anew with every train loop; the timestamps don't lie.
    Source: ModelZoo 2.6.0, trainer/callbacks/profiler.py and cerebras.pytorch.utils.tracker.
    """

    _steps: int = 0
    _seconds: float = 0.0
    _from: tuple[int, float] | None = None
    """Where the present stretch without a pause began."""
    _step: int = 0
    _t: float = 0.0
    _paused: bool = False

    def step(self, step: int, t: float) -> None:
        """A training progress line."""
        if self._paused or step <= self._step or t < self._t or self._from is None:
            self._close()
            self._from = (step, t)
        self._step, self._t = step, t

    def event(self, event: Event) -> None:
        """Anything else: a checkpoint, an evaluation or a new job makes the present interval no measure."""
        if event not in _PASSIVE:
            self._paused = True

    def step_s(self) -> float | None:
        """Seconds for one step; None when no interval remains or the clock stood still."""
        self._close()
        return self._seconds / self._steps if self._steps and self._seconds > 0 else None

    def samples_per_s(self, batch_size: int | None) -> float | None:
        """The steady rate: steps · batch / seconds."""
        step_s = self.step_s()
        return None if step_s is None or batch_size is None else batch_size / step_s

    def _close(self) -> None:
        if self._from is not None:
            step, t = self._from
            self._steps += self._step - step
            self._seconds += self._t - t
            self._from = (self._step, self._t)
        self._paused = False
