"""Logs in the shapes of other trainers: what they print of a run of 10 to 40 steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from accelbench.store.records import ParsedLog
from accelbench.training.log.reader import read_logs

Read = Callable[..., list[ParsedLog]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, batch_size: int | None = None) -> list[ParsedLog]:
        path = tmp_path / "run.log"
        path.write_text(text)
        return read_logs(path, batch_size=batch_size)

    return read


def megatron(step: int, *, second: int | None = None, ms: float = 500.0, batch: int = 64, **more: object) -> str:
    stamp = "" if second is None else f"[2026-03-01 10:00:{second:02d}] "
    fields = {"lm loss": f"{10 - step / 10:.6E}", "loss scale": "1.0", **more}
    said = " | ".join(f"{name.replace('_', ' ')}: {value}" for name, value in fields.items())
    return (
        f" {stamp}iteration {step:8d}/{40:8d} | consumed samples: {step * batch:12d} | elapsed time per iteration "
        f"(ms): {ms:.1f} | throughput per GPU (TFLOP/s/GPU): 123.4 | learning rate: 1.0E-04 | global batch size: "
        f"{batch:5d} | {said} | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
    )


def torchtitan(step: int, second: float, *, rank: int = 0, tps: int = 2048) -> str:
    return (
        f"[rank{rank}]:\x1b[0m[titan] 2026-03-01 10:00:{second:06.3f} - root - INFO - ".replace(".", ",", 1)
        + f"\x1b[31mstep: {step:2}  \x1b[32mloss: {10 - step / 10:8.5f}  \x1b[38;2;180;60;0mgrad_norm:  1.2000  "
        f"\x1b[36mmemory: 10.00GiB(12.50%)  \x1b[34mtps: {tps:,}  tflops: 100.00  mfu: 40.00%\x1b[0m\n"
    )


def hugging_face(step: int, loss: float, clock: str) -> str:
    bar = f"\r{step * 100 // 40:3d}%|████      | {step}/40 [{clock}<00:10,  2.00it/s]"
    said = f"{{'loss': {loss}, 'grad_norm': 1.5, 'learning_rate': 1e-05, 'epoch': {step / 40:.2f}}}"
    return f"{bar}\r          \r{said}\n{bar}"


def lightning(batch: int, clock: str, *, epoch: int = 0, more: str = "v_num=1, train_loss=2.500") -> str:
    return f"\rEpoch {epoch}: {batch * 10:3d}%|███       | {batch}/10 [{clock}<00:05,  2.00it/s, {more}]"


def deepspeed(step: int, second: int, rate: float = 128.0) -> str:
    stamp = f"[2026-03-01 10:00:{second:02d},000] [INFO]"
    return (
        f"{stamp} [logging.py:96:log_dist] [Rank 0] step={step}, skipped={step // 20}, lr=[0.0001], mom=[(0.9, 0.95)]\n"
        f"{stamp} [timer.py:260:stop] epoch=0/micro_step={4 * step}/global_step={step}, RunningAvgSamplesPerSec="
        f"{rate}, CurrSamplesPerSec={rate + 1}, MemAllocated=1.0GB, MaxMemAllocated=2.0GB\n"
    )


MEGATRON = (
    "------------------------ arguments ------------------------\n"
    "  global_batch_size ............................... 64\n"
    "  seq_length ...................................... 2048\n"
    "  train_iters ..................................... 40\n"
    "[before the start of training step] datetime: 2026-03-01 10:00:00 \n"
    + megatron(10, second=9, ms=900)
    + megatron(20, second=14)
    + "saving checkpoint at iteration      20 to c in torch format\n"
    + "  successfully saved checkpoint from iteration      20 to c [ t 1/1, p 1/1 ]\n"
    + megatron(30, second=21)
    + megatron(40, second=26)
    + " validation loss at iteration 40 | lm loss value: 6.500000E+00 | lm loss PPL: 6.65E+02 | \n"
    + "[after training is done] datetime: 2026-03-01 10:00:28 \n"
)
TORCHTITAN = (
    "[rank0]:[titan] 2026-03-01 10:00:00,000 - root - INFO - Starting job: my run\n"
    "[rank0]:[titan] 2026-03-01 10:00:01,000 - root - INFO - Building device mesh with parallelism: pp=1, "
    "dp_replicate=1, dp_shard=4, cp=1, tp=2, ep=1, etp=1\n"
    "[rank0]:[titan] 2026-03-01 10:00:02,000 - root - INFO - Trainer is initialized with local batch size 2, global "
    "batch size 8, gradient accumulation steps 1, sequence length 4096, total steps 20 (warmup 2)\n"
    "[rank0]:[titan] 2026-03-01 10:00:02,000 - root - INFO - Training starts at step 1\n"
    + torchtitan(1, 12, tps=200)
    + torchtitan(10, 30)
    + torchtitan(20, 50)
    + "[rank0]:[titan] 2026-03-01 10:00:51,000 - root - INFO - Training completed\n"
)
HUGGING_FACE = (
    "***** Running training *****\n  Num examples = 1,280\n  Num Epochs = 1\n"
    "  Total train batch size (w. parallel, distributed & accumulation) = 32\n  Total optimization steps = 40\n"
    "\r  0%|          | 0/40 [00:00<?, ?it/s]"
    + "".join(hugging_face(step, 5 - step / 10, f"00:{step // 2:02d}") for step in (10, 20, 30, 40))
    + "\n{'train_runtime': 20.5, 'train_samples_per_second': 62.439, 'train_steps_per_second': 1.951}\n"
)
LIGHTNING = (
    "LOCAL_RANK: 0 - CUDA_VISIBLE_DEVICES: [0]\n"
    + "".join(lightning(batch, f"00:0{batch // 2}") for batch in (2, 4, 6, 8, 10))
    + "".join(lightning(batch, f"00:0{batch // 2}", epoch=1) for batch in (2, 4, 6, 8, 10))
    + "\n`Trainer.fit` stopped: `max_epochs=2` reached.\n"
)
NANOGPT = (
    "block_size = 256 # context\nmax_iters = 40\ntokens per iteration will be: 8,192\n"
    "Initializing a new model from scratch\n"
    "step 0: train loss 10.9, val loss 10.8\niter 0: loss 10.9000, time 20000.00ms, mfu -100.00%\n"
    "iter 10: loss 9.0000, time 100.00ms, mfu 20.00%\niter 20: loss 8.0000, time 100.00ms, mfu 20.00%\n"
    "step 30: train loss 7.5, val loss 7.6\nsaving checkpoint to out\n"
    "iter 30: loss 7.0000, time 5000.00ms, mfu 18.00%\niter 40: loss 6.0000, time 100.00ms, mfu 20.00%\n"
)
DEEPSPEED = (
    "[2026-03-01 10:00:00,000] [INFO] [logging.py:96:log_dist] [Rank 0] DeepSpeed info: version=0.14.0\n"
    "[2026-03-01 10:00:00,000] [INFO] [config.py:1000:print]   train_batch_size ............. 256\n"
    + "".join(deepspeed(step, 10 + 2 * step) for step in (10, 11, 12, 20))
)
LOGS = {
    "Megatron-LM": MEGATRON,
    "torchtitan": TORCHTITAN,
    "Hugging Face's Trainer": HUGGING_FACE,
    "Lightning": LIGHTNING,
    "nanoGPT": NANOGPT,
    "DeepSpeed": DEEPSPEED,
}
