"""Hugging Face's Trainer, and what builds on it: TRL, LLaMA-Factory, Axolotl, ms-swift.

    ***** Running training *****
      Total train batch size (w. parallel, distributed & accumulation) = 128
      Total optimization steps = 564
    {'loss': 18.6387, 'grad_norm': 1.2, 'learning_rate': 4.9e-05, 'epoch': 0.05}
     10%|█         | 50/500 [01:00<09:00,  1.20s/it]
    {'train_runtime': 1530.1, 'train_samples_per_second': 3.144, 'train_steps_per_second': 0.196, 'train_loss': 0.71}

A line with a loss doesn't tell its step: it is that of the bar that is drawn again below it; in what was copied from
a terminal, of the bar above it; without bars, by the epoch. Without bars and timestamps there is no steady
rate; train_samples_per_second and train_runtime give the samples processed, and their seconds.

Sources: huggingface/transformers (src/transformers/trainer.py, trainer_callback.py: ProgressCallback,
trainer_utils.py: speed_metrics), and logs in issues and repositories (#6998; sentence-transformers #2449, open-r1
#483, LLaMA-Factory #4783).
"""

import re
from collections.abc import Iterator, Mapping

from accelbench.store.records import HeldOut
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import Plan, Processed, Progress, Said, Trainer, clock_s, number, whole

_PLAN = re.compile(r"(Total train batch size .{0,80}|Total optimization steps|Num Epochs) += ?([\d,]+)")
_RESUMED = re.compile(r"Continuing training from global step (\d{1,12})")
_BAR = re.compile(r"^\s*(?:Train: *)?\d+%\|[^|]{0,400}\| *(\d{1,12})/(\d{1,12}) \[((?:\d{1,5}:)?\d{1,5}:\d\d)<")
_VALUE = re.compile(r"'([\w/]+)': '?([-+\w.]+)")
_LONGEST_DICT = 50  # lines
_LARGEST = 1e15  # of a count
_DRAWN_AGAIN_S = 1.0
"""A bar is drawn again at once below what is written; its clock has whole seconds."""
_EPOCHS_ARE_OFF = 0.05
"""By how much of the training the step of an epoch may be off: the last step of an epoch is not always whole."""

_Bar = tuple[int, float]
"""The step and the clock of the training's bar."""


class _HuggingFace:
    def __init__(self) -> None:
        self._last_step: int | None = None
        self._epochs: float | None = None
        self._bar: _Bar | None = None
        self._told: _Bar | None = None
        """The bar above the last line with a loss."""
        self._lost: Mapping[str, float | None] | None = None
        """A line with a loss whose bar is still to come."""
        self._dict: list[str] = []
        """The lines of a dict that isn't closed yet."""

    def take(self, line: str) -> Iterator[Said]:
        if bar := _BAR.match(line):
            if self._last_step in (None, int(bar[2])):
                self._last_step, now = int(bar[2]), (int(bar[1]), clock_s(bar[3]))
                yield Plan(last_step=self._last_step)
                if now[0] == 0 and self._bar is None:
                    yield Event.LOOP
                yield from self._settle(now)
                self._bar = now
            return
        if self._dict or line.lstrip().startswith("{'"):
            yield from self._settle()
            yield from self._of_dict(line)
            return
        yield from self._settle()
        if "***** Running training *****" in line:
            self._last_step = self._bar = self._told = None
            yield Event.START
        elif plan := _PLAN.search(line):
            value = whole(plan[2])
            if plan[1].startswith("Total train"):
                yield Plan(batch_size=value)
            elif plan[1].startswith("Total opt"):
                self._last_step = value
                yield Plan(last_step=value)
            else:
                self._epochs = value
        elif resumed := _RESUMED.search(line):
            yield Plan(resumed_from=int(resumed[1]))
        elif "Saving model checkpoint to" in line:
            yield Event.SAVING
            yield Event.SAVED

    def _of_dict(self, line: str) -> Iterator[Said]:
        self._dict.append(line)
        if "}" not in line and len(self._dict) < _LONGEST_DICT:
            return
        said = {name: number(value) for name, value in _VALUE.findall(" ".join(self._dict))}
        self._dict = []
        if "loss" in said:
            self._lost = said
        elif "eval_loss" in said:
            yield HeldOut(self._bar[0] if self._bar else None, None, said["eval_loss"])
        elif "train_runtime" in said:
            yield from self._ended(said)

    def _settle(self, after: _Bar | None = None) -> Iterator[Said]:
        """Tell of the line with a loss that waited, with the bar below it or the one above."""
        said, self._lost = self._lost, None
        if said is None:
            return
        before, by_epoch = self._bar if self._bar != self._told else None, self._step_of(said.get("epoch"))
        if before and not (after and after[1] - before[1] <= _DRAWN_AGAIN_S):
            after = before
        if after and by_epoch and not before and abs(after[0] - by_epoch) > _EPOCHS_ARE_OFF * (self._last_step or 0):
            after = None  # outputs were mixed: it is a later bar
        step, clock = after or (by_epoch, None)
        self._told = self._bar
        if step := _count(said.get("step")) or step:
            yield Progress(step, said.get("loss"), clock_s=clock)

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
