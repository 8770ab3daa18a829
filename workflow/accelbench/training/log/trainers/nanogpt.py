"""nanoGPT.

    tokens per iteration will be: 491,520
    step 2000: train loss 3.2, val loss 3.3
    iter 2010: loss 3.2513, time 250.12ms, mfu 41.23%

The time is that of the last iteration alone, with the evaluation that came before it; it stands for those since the
last such line. The batch size follows from block_size, where a config file prints it.

Sources: karpathy/nanoGPT (train.py, configurator.py), and logs in its issues (#110, #167, #179).
"""

import re
from collections.abc import Iterator

from accelbench.store.records import HeldOut
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import Planned, Said, StepLine, Trainer, plain_number, whole

_ITER = re.compile(r"^iter (\d{1,12}): loss ([^\s,]+), time ([\d.]+)ms(?:, mfu (-?[\d.]+)%)?")
_EVALUATION = re.compile(r"^step (\d{1,12}): train loss \S+, val loss (\S+)")
_TOKENS = re.compile(r"tokens per iteration will be: ([\d,]+)")
_SETTING = re.compile(r"^(?:Overriding: )?(block_size|max_iters) = (\d{1,12})\b")
_OF_SEQUENCE = re.compile(r"\* (\d{1,12}) max seq len")


class _NanoGPT:
    def __init__(self) -> None:
        self._tokens: int | None = None
        self._sequence_length: int | None = None
        self._last_step: int | None = None
        self._step: int | None = None
        self._evaluated = False
        self._step_s = self._clock_s = 0.0

    def take(self, line: str) -> Iterator[Said]:
        if iteration := _ITER.match(line):
            step, mfu = int(iteration[1]), plain_number(iteration[4])
            yield StepLine(
                step,
                loss=plain_number(iteration[2]),
                clock_s=self._reckon(step, (plain_number(iteration[3]) or 0.0) / 1000),
                flops_utilization=mfu / 100 if mfu is not None and mfu >= 0 else None,
            )
        elif evaluation := _EVALUATION.match(line):
            self._evaluated = True
            yield HeldOut(int(evaluation[1]), None, plain_number(evaluation[2]))
        elif setting := _SETTING.match(line):
            if setting[1] == "max_iters":
                self._last_step = int(setting[2])
            else:
                self._sequence_length = int(setting[2])
        elif tokens := _TOKENS.search(line):
            self._step, self._clock_s, self._tokens = None, 0.0, whole(tokens[1])
            yield Event.START
            yield self._plan()
        elif length := _OF_SEQUENCE.search(line):
            self._sequence_length = int(length[1])
            yield self._plan()
        elif line.startswith("Initializing "):
            yield Event.LOOP
        elif line.startswith("saving checkpoint to"):
            yield Event.SAVING
            yield Event.SAVED

    def _plan(self) -> Planned:
        tokens, length = self._tokens, self._sequence_length
        return Planned(
            tokens // length if tokens and length and tokens % length == 0 else None, length, self._last_step
        )

    def _reckon(self, step: int, seconds: float) -> float:
        """Return the seconds since the training started; an iteration after an evaluation stands for itself alone."""
        steps = step - self._step if self._step is not None and step > self._step else 1
        self._step_s = self._step_s if self._evaluated and self._step_s else seconds
        self._clock_s += seconds + (steps - 1) * self._step_s
        self._step, self._evaluated = step, False
        return self._clock_s


NANOGPT = Trainer("nanoGPT", re.compile(r"iter \d+: loss \S+, time [\d.]+ms"), _NanoGPT, says_its_end=False)
