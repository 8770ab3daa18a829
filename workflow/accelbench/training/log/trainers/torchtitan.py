"""torchtitan.

    [rank0]:[titan] 2025-06-16 22:31:04,970 - root - INFO - step: 210  loss:  6.0388  memory: 49.66GiB(52.28%)  \
tps: 5,593  tflops: 323.92  mfu: 32.75%

tps (once wps) are the tokens/s of a device, so the rate needs the number of devices, which the line on the mesh
tells. The first step is logged, then every log_freq steps.

Sources: pytorch/torchtitan (torchtitan/components/metrics.py, train.py, trainer.py, distributed/parallel_dims.py),
and logs in its issues and pull requests (#1287, #2389, #3393).
"""

import math
import re
from collections.abc import Iterator

from accelbench.store.records import HeldOut
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import Planned, Said, StepLine, Trainer, plain_number

_STEP = re.compile(r"(validate )?step: +(\d{1,12}) +loss: +(\S+)\s")
_RATE = re.compile(r" (?:tps|wps): ([\d,.]+)")
_MFU = re.compile(r" mfu: ([\d.]+)%")
_PLAN = re.compile(r"global batch size (\d{1,12}),.*? sequence length (\d{1,12}), total steps (\d{1,12})")
_STARTS = re.compile(r"Training starts at step (\d{1,12})")
_MESH = re.compile(r"Building device mesh with parallelism: (.*)|Building \d-D device mesh with \[.*?\], \[(.*?)\]")
_EVENTS = {
    "Starting job:": Event.START,
    "Saving the checkpoint": Event.SAVING,
    "Saving a full checkpoint": Event.SAVING,
    "Saving a model only checkpoint": Event.SAVING,
    "Finished saving the checkpoint": Event.SAVED,
    "Training completed": Event.TRAINED,
}


class _Torchtitan:
    def __init__(self) -> None:
        self._devices: int | None = None
        self._sequence_length: int | None = None

    def take(self, line: str) -> Iterator[Said]:
        if step := _STEP.search(line):
            loss = plain_number(step[3])
            if step[1]:
                yield HeldOut(int(step[2]), None, loss)
                return
            tokens, mfu = _RATE.search(line), _MFU.search(line)
            utilization = plain_number(mfu[1]) if mfu else None
            yield StepLine(
                int(step[2]),
                loss=loss,
                rate_samples_per_s=self._rate(plain_number(tokens[1])) if tokens else None,
                flops_utilization=None if utilization is None else utilization / 100,
            )
        elif mesh := _MESH.search(line):
            degrees = [int(degree) for degree in re.findall(r"(?:pp|dp_replicate|dp_shard|cp|tp)=(\d{1,6})", line)]
            self._devices = math.prod(degrees or map(int, re.findall(r"\d{1,6}", mesh[2] or ""))) or None
        else:
            if plan := _PLAN.search(line):
                self._sequence_length = int(plan[2])
                yield Planned(int(plan[1]), self._sequence_length, int(plan[3]))
            if starts := _STARTS.search(line):
                yield Planned(resumed_from=int(starts[1]) - 1)
                yield Event.LOOP
            yield from (event for words, event in _EVENTS.items() if words in line)

    def _rate(self, tokens_per_s: float | None) -> float | None:
        if tokens_per_s is None or self._devices is None or self._sequence_length is None:
            return None
        return tokens_per_s * self._devices / self._sequence_length


TORCHTITAN = Trainer("torchtitan", re.compile(r"step: +\d+ +loss: +\S.*? memory: .*? (?:tps|wps): "), _Torchtitan)
