"""DeepSpeed's engine, its pipeline engine, and ezpz.

    [2023-07-25 21:03:17,041] [INFO] [logging.py:96:log_dist] [Rank 0] step=34, skipped=0, lr=[2.1e-06], mom=[[0.9]]
    [2023-07-25 21:03:17,269] [INFO] [timer.py:215:stop] epoch=0/micro_step=34/global_step=34, \
RunningAvgSamplesPerSec=7.86, CurrSamplesPerSec=8.01, MemAllocated=59.65GB, MaxMemAllocated=63.31GB
    steps: 200 loss: 5.5508 iter time (s): 0.936 samples/sec: 136.706
    [2025-12-31 12:15:32,154227][I][examples/vit:445:train_fn] iter=10 loss=7.1 dt=0.74 dtf=0.02 dtb=0.02

Only the pipeline engine and ezpz print a loss. Up to 0.7 the timer's line has "0/34, SamplesPerSec=7.86", which
counts micro batches: it is taken where it agrees with the step.

Sources: deepspeedai/DeepSpeed (deepspeed/runtime/engine.py, runtime/pipe/engine.py, utils/timer.py,
runtime/config.py), its issues (#1825, #3742, #5779), and saforem2/ezpz (docs/examples, src/ezpz/history.py).
"""

import re
from collections.abc import Iterator

from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import Planned, Said, StepLine, Trainer, plain_number, whole_batch

_STEP = re.compile(r"\bstep=(\d{1,12}), skipped=(\d{1,12}), lr=")
_TIMER = re.compile(
    r"(?:global_step=|\b\d{1,9}/)(\d{1,12}), (?:RunningAvg)?SamplesPerSec=([\d.]+)(?:, CurrSamplesPerSec=([\d.]+))?"
)
_PIPELINE = re.compile(
    r"\bsteps?: +(\d{1,12})(?: / +(\d{1,12}))? loss: (\S+) .*?iter time \(s\): ([\d.]+) samples/sec: ([\d.]+)"
)
_EZPZ = re.compile(r"\biter=(\d{1,12}) loss=([^\s=]+) ")
_BATCH = re.compile(r"\btrain_batch_size(?:\"?: | \.{2,} )(\d{1,12})\b")

_EVENTS = {
    "DeepSpeed info: version=": Event.START,
    " is about to be saved!": Event.SAVING,
    " is ready now!": Event.SAVED,
}


class _DeepSpeed:
    def __init__(self) -> None:
        self._step: int | None = None
        self._skipped = self._told_skipped = 0
        self._timer_counts_steps = False

    def take(self, line: str) -> Iterator[Said]:
        if timer := _TIMER.search(line):
            step = int(timer[1])
            if "global_step=" in timer[0] or step == self._step:
                self._timer_counts_steps = True
                yield self._progress(step, plain_number(timer[3]), plain_number(timer[2]))
        elif found := _STEP.search(line):
            self._step, self._skipped = int(found[1]), int(found[2])
            if not self._timer_counts_steps:
                yield self._progress(self._step)
        elif pipeline := _PIPELINE.search(line):
            step_s, rate = plain_number(pipeline[4]), plain_number(pipeline[5])
            yield Planned(whole_batch(rate, step_s), last_step=int(pipeline[2]) if pipeline[2] else None)
            yield StepLine(int(pipeline[1]), plain_number(pipeline[3]), step_s, rate_samples_per_s=rate)
        elif ezpz := _EZPZ.search(line):
            yield StepLine(int(ezpz[1]), plain_number(ezpz[2]))
        elif batch := _BATCH.search(line):
            yield Planned(int(batch[1]))
        else:
            yield from (event for words, event in _EVENTS.items() if words in line)

    def _progress(self, step: int, rate: float | None = None, global_rate: float | None = None) -> StepLine:
        skipped, self._told_skipped = self._skipped - self._told_skipped, self._skipped
        return StepLine(
            step,
            rate_samples_per_s=rate,
            global_rate_samples_per_s=global_rate,
            skipped_steps=max(0, skipped),
        )


DEEPSPEED = Trainer(
    "DeepSpeed",
    re.compile(
        r"\bstep=\d+, skipped=\d+, lr=|SamplesPerSec=[\d.]+|iter time \(s\): [\d.]+ samples/sec:|\]\[.*\biter=\d+ loss="
    ),
    _DeepSpeed,
    says_its_end=False,
)
