"""PyTorch Lightning, and NeMo on top of it.

    Epoch 0:  40%|████      | 40/100 [00:31<00:47,  1.27it/s, v_num=3, train_loss=2.31]
    Epoch 0: : 100%|██████████| 50/50 [16:26<00:00, v_num=gjbq, reduced_train_loss=11.70, global_step=49.00, \
consumed_samples=12600.0, train_step_timing in s=12.80]
    Training epoch 0, iteration 120/149 | lr: 3e-05 | consumed_samples: 121 | global_batch_size: 1 | \
global_step: 120 | reduced_train_loss: 1.233 | train_step_timing in s: 0.03146 | val_loss: 4.106

The bar's clock has whole seconds and begins anew with every epoch. Lightning counts batches, NeMo steps (from 0, as
its last line does). NeMo's batch size is that of the line, or follows from the samples consumed.

Sources: Lightning-AI/pytorch-lightning (callbacks/progress/tqdm_progress.py, trainer/call.py), its issues (#14428),
NVIDIA/NeMo (nemo/lightning/pytorch/callbacks/progress_printer.py), NeMo-Framework-Launcher
(#55), bionemo (#740), and logs in public guides to NeMo (a bar's line each).
"""

import re
from collections.abc import Iterator, Mapping

from accelbench.store.records import HeldOut
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import Planned, Said, StepLine, Trainer, clock_s, plain_number, whole

_BAR = re.compile(
    r"Epoch (\d{1,9}):[ :]*\d+%\|[^|]{0,400}\| *(\d{1,12})/(\d{1,12}) \[((?:\d{1,5}:)?\d{1,5}:\d\d)<[^,\]]*(,[^\]]*)?\]"
)
_LINE = re.compile(r"Training epoch (\d{1,9}), iteration (\d{1,12})/(\d{1,12}) \|(.*)")
_STOPPED = re.compile(r"Trainer\.fit` stopped: `max_(steps|epochs)=")
_STARTS = "LOCAL_RANK: 0 - CUDA_VISIBLE_DEVICES"
_LOSSES = ("reduced_train_loss", "train_loss", "train_loss_step", "train/loss", "loss")
_VALIDATES = "Validation DataLoader"


class _Lightning:
    def __init__(self) -> None:
        self._epoch = 0
        self._epochs_s = self._clock_s = 0.0
        """Seconds of the epochs before, and of this one."""
        self._consumed: tuple[int, int] | None = None
        self._held_out: float | None = None

    def take(self, line: str) -> Iterator[Said]:
        if bar := _BAR.search(line):
            epoch, batch, batches, said = int(bar[1]), int(bar[2]), int(bar[3]), _fields(bar[5] or "", ",", "=")
            if not epoch and not batch:
                yield Event.LOOP
            elif batch and (said.keys() & {*_LOSSES, "v_num"}):
                self._tick(epoch, clock_s(bar[4]))
                yield from self._progress(said, epoch * batches + batch, self._epochs_s + self._clock_s)
        elif printed := _LINE.search(line):
            epoch, iteration, last, said = (*map(int, printed.groups()[:3]), _fields(printed[4], "|", ":"))
            yield Planned(last_step=last if epoch == 0 else None)
            yield from self._progress(said, iteration)
        elif _STOPPED.search(line):
            yield Event.TRAINED
        elif _STARTS in line:
            yield Event.START
        elif _VALIDATES in line:
            yield Event.EVAL

    def _tick(self, epoch: int, seconds: float) -> None:
        if epoch > self._epoch:
            self._epochs_s += self._clock_s
        elif epoch < self._epoch or seconds < self._clock_s:
            self._epochs_s = 0.0
        self._epoch, self._clock_s = epoch, seconds

    def _progress(self, said: Mapping[str, str], step: int, clock: float | None = None) -> Iterator[Said]:
        if "e" not in (printed := said.get("global_step", "")) and (exact := whole(printed)) is not None:
            step = exact
        yield Planned(batch_size=self._batch_size(said, step))
        yield StepLine(
            step,
            plain_number(next((said[name] for name in _LOSSES if name in said), None)),
            step_s=plain_number(said.get("train_step_timing in s")) if clock is None else None,
            clock_s=clock,
        )
        held_out = plain_number(said.get("val_loss"))
        if held_out is not None and held_out != self._held_out:
            self._held_out = held_out
            yield HeldOut(step, None, held_out)

    def _batch_size(self, said: Mapping[str, str], step: int) -> int | None:
        """Return the batch size: printed, or by the samples consumed between two lines that print them exactly."""
        if printed := whole(said.get("global_batch_size")):
            return printed
        text = said.get("consumed_samples", "")
        consumed, before = None if "e" in text else whole(text), self._consumed
        if consumed is None:
            return None
        self._consumed = step, consumed
        if before is None or step <= before[0] or (consumed - before[1]) % (step - before[0]):
            return None
        return max(0, consumed - before[1]) // (step - before[0]) or None


def _fields(text: str, between: str, equals: str) -> dict[str, str]:
    pairs = (part.partition(equals) for part in text.split(between))
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}


LIGHTNING = Trainer(
    "Lightning",
    re.compile(
        r"Epoch \d+:[ :]*\d+%\|[^|]{0,400}\| *\d+/\d+ \[[^\]]{0,400}(?:loss|v_num)="
        r"|Training epoch \d+, iteration \d+/\d+ \|"
    ),
    _Lightning,
)
