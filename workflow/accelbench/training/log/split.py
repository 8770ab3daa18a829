"""
Where in a file one training run ends and the next begins: logs are appended, and pasted into notes.

A new process may begin another run, or go on with the run from a checkpoint, and its first lines are alike. They
wait until one tells: a train loop from step 1, another batch size, steps that go back, or weights drawn anew are
another run's; a train loop from a later step, an evaluation, and steps that go on are the same run's.
"""

from __future__ import annotations

from typing import Final

from accelbench.training.log.grammar import LogLine, LogLines, read_progress
from accelbench.training.log.timeline import Event
from accelbench.training.log.transcript import STATED_BATCH, Transcript, first_step_of

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
