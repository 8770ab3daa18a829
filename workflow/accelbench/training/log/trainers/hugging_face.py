"""Hugging Face's Trainer, and what builds on it: TRL, LLaMA-Factory, Axolotl, ms-swift.

    ***** Running training *****
      Total train batch size (w. parallel, distributed & accumulation) = 128
      Total optimization steps = 564
      9%|█         | 50/564 [01:00<10:17,  1.20s/it]
    {'loss': 18.6387, 'grad_norm': 1.2, 'learning_rate': 4.9e-05, 'epoch': 0.27}
    {'train_runtime': 1530.1, 'train_samples_per_second': 3.144, 'train_steps_per_second': 0.196, 'train_loss': 0.71}

A line with a loss doesn't tell its step: it is that of the bar above it; without a bar, by the epoch, which is less
exact. Without bars and timestamps there is no steady rate; train_samples_per_second and train_runtime give the samples
processed, and their seconds.

Sources: huggingface/transformers (src/transformers/trainer.py, trainer_callback.py: ProgressCallback,
trainer_utils.py: speed_metrics), and logs in issues and repositories (#6998; sentence-transformers #2449, open-r1
#483, LLaMA-Factory #4783).
"""

import re
from collections.abc import Iterator, Mapping

from accelbench.store.records import HeldOut
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import (
    Planned,
    Processed,
    Said,
    StepLine,
    Trainer,
    clock_s,
    plain_number,
    whole,
)

_PLAN = re.compile(r"(Total train batch size .{0,80}|Total optimization steps|Num Epochs) += ?([\d,]+)")
_RESUMED = re.compile(r"Continuing training from global step (\d{1,12})")
_BAR = re.compile(r"^\s*(?:Train: *)?\d+%\|[^|]{0,400}\| *(\d{1,12})/(\d{1,12}) \[((?:\d{1,5}:)?\d{1,5}:\d\d)<")
_VALUE = re.compile(r"'([\w/]+)': '?([-+\w.]+)")
_LONGEST_DICT = 50  # lines
_LARGEST = 1e15  # of a count

_Bar = tuple[int, float]
"""The step and the clock of the training's bar."""


class _HuggingFace:
    def __init__(self) -> None:
        self._last_step: int | None = None
        self._epochs: float | None = None
        self._bar: _Bar | None = None
        self._told: _Bar | None = None
        """The bar above the last line with a loss."""
        self._dict: list[str] = []
        """The lines of a dict that isn't closed yet."""

    def take(self, line: str) -> Iterator[Said]:
        if bar := _BAR.match(line):
            if self._last_step in (None, int(bar[2])):
                begins, self._last_step = self._bar is None and bar[1] == "0", int(bar[2])
                self._bar = int(bar[1]), clock_s(bar[3])
                yield Planned(last_step=self._last_step)
                if begins:
                    yield Event.LOOP
        elif self._dict or line.lstrip().startswith("{'"):
            yield from self._of_dict(line)
        elif "***** Running training *****" in line:
            self._last_step = self._bar = self._told = None
            yield Event.START
        elif plan := _PLAN.search(line):
            value = whole(plan[2])
            if plan[1].startswith("Total train"):
                yield Planned(batch_size=value)
            elif plan[1].startswith("Total opt"):
                self._last_step = value
                yield Planned(last_step=value)
            else:
                self._epochs = value
        elif resumed := _RESUMED.search(line):
            yield Planned(resumed_from=int(resumed[1]))
        elif "Saving model checkpoint to" in line:
            yield Event.SAVING
            yield Event.SAVED

    def _of_dict(self, line: str) -> Iterator[Said]:
        self._dict.append(line)
        if "}" not in line and len(self._dict) < _LONGEST_DICT:
            return
        said = {name: plain_number(value) for name, value in _VALUE.findall(" ".join(self._dict))}
        self._dict = []
        if "loss" in said:
            yield from self._progress(said)
        elif "eval_loss" in said:
            yield HeldOut(self._bar[0] if self._bar else None, None, said["eval_loss"])
        elif "train_runtime" in said:
            yield from self._ended(said)

    def _progress(self, said: Mapping[str, float | None]) -> Iterator[Said]:
        step, clock = self._bar if self._bar and self._bar != self._told else (self._step_of(said.get("epoch")), None)
        self._told = self._bar
        if step := _count(said.get("step")) or step:
            yield StepLine(step, said.get("loss"), clock_s=clock)

    def _step_of(self, epoch: float | None) -> int | None:
        if epoch is None or not self._epochs or not self._last_step:
            return None
        return _count(epoch / self._epochs * self._last_step)

    def _ended(self, said: Mapping[str, float | None]) -> Iterator[Said]:
        seconds, rate = said.get("train_runtime"), said.get("train_samples_per_second")
        if samples := _count((seconds or 0.0) * (rate or 0.0)):
            yield Processed(samples, seconds or 0.0)
        yield Event.TRAINED


def _count(figure: float | None) -> int | None:
    """Return the nearest whole number; None for 0 and for what is no count."""
    return (round(figure) or None) if figure is not None and 0 <= figure < _LARGEST else None


HUGGING_FACE = Trainer(
    "Hugging Face's Trainer", re.compile(r"\{'loss': '?[-\w.]+'?,|'train_samples_per_second': "), _HuggingFace
)
