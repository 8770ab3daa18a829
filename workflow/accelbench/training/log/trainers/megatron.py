"""Megatron-LM, and what prints its lines: Megatron-DeepSpeed, GPT-NeoX, MindSpeed.

    [2024-04-06 03:02:12] iteration 71/ 100 | consumed samples: 9088 | elapsed time per iteration (ms): 5361.6 | \
throughput per GPU (TFLOP/s/GPU): 243.6 | learning rate: 1.4E-05 | global batch size: 128 | lm loss: 1.8E+00 | \
loss scale: 1.0 | grad norm: 1.3 | number of skipped iterations: 0 | number of nan iterations: 0 |

Up to 2023 without the time. The elapsed time is the mean since the last such line, and leaves out evaluations; of
5361.6/5300.1 the second is a longer mean. GPT-NeoX leaves out the batch size and prints "samples/sec: 7.8 |" first;
ALCF's Megatron-DeepSpeed writes "elapsed_time_per_iteration_ms=5361.6".

Sources: NVIDIA/Megatron-LM (megatron/training.py, megatron/training/training.py: training_log; arguments.py:
_print_args; checkpointing.py), EleutherAI/gpt-neox (megatron/logging.py),
argonne-lcf/Megatron-DeepSpeed (megatron/training_log.py), and logs in issues of NVIDIA/Megatron-LM
(#756), NVIDIA/nccl (#743), epfLLM/Megatron-LLM (#11) and deepspeedai/DeepSpeed (#3742).
"""

import re
from collections.abc import Iterator

from accelbench.store.records import HeldOut
from accelbench.training.log.timeline import Event
from accelbench.training.log.trainers.trainer import Planned, Said, StepLine, Trainer, plain_number, whole, whole_batch

_ITERATION = re.compile(r"\biteration[ =]+(\d{1,12}) ?/ *(\d{1,12}) +\|")
_ARGUMENT = re.compile(r"^ *(global_batch_size|seq_length|train_iters) \.{2,} (\d{1,12})$")
_VALIDATION = re.compile(r"validation loss at iteration (\d{1,12})\b.*?loss value[:=] ?(\d[\d.]*(?:E[-+]\d+)?|nan)")
_LOADED = re.compile(r"successfully loaded checkpoint .* at iteration (\d{1,12})")
_PLANNED = {"global_batch_size": "batch_size", "seq_length": "sequence_length", "train_iters": "last_step"}
_EVENTS = {
    "- arguments -": Event.START,
    "[before the start of training step]": Event.LOOP,
    "saving checkpoint at iteration": Event.SAVING,
    "successfully saved checkpoint": Event.SAVED,
    "[after training is done]": Event.TRAINED,
}


class _Megatron:
    def take(self, line: str) -> Iterator[Said]:
        if iteration := _ITERATION.search(line):
            said = dict(_fields(line))
            step_ms = said.get("elapsed time per iteration (ms)") or said.get("elapsed time per iteration ms", "")
            step_s = (plain_number(step_ms.partition("/")[0]) or 0.0) / 1000 or None
            rate = plain_number(said.get("samples/sec") or said.get("samples per second"))
            batch = whole(said.get("global batch size") or said.get("gloabl batch size"))
            yield Planned(
                batch_size=batch or whole_batch(rate, step_s),
                sequence_length=whole(said.get("actual seqlen")),
                last_step=int(iteration[2]),
            )
            losses = (said.get(name) for name in ("lm loss", "loss", "total loss"))
            failed = (said.get(f"number of {kind} iterations") for kind in ("skipped", "nan"))
            yield StepLine(
                int(iteration[1]),
                loss=plain_number(next(filter(None, losses), None)),
                step_s=step_s,
                rate_samples_per_s=rate,
                skipped_steps=sum(whole(each) or 0 for each in failed),
            )
        elif argument := _ARGUMENT.match(line):
            yield Planned(**{_PLANNED[argument[1]]: int(argument[2])})
        elif validation := _VALIDATION.search(line):
            yield HeldOut(int(validation[1]), None, plain_number(validation[2]))
        elif loaded := _LOADED.search(line):
            yield Planned(resumed_from=int(loaded[1]))
        else:
            yield from (event for words, event in _EVENTS.items() if words in line)


def _fields(line: str) -> Iterator[tuple[str, str]]:
    for part in line.split("|")[:-1]:  # what no bar closes may be cut
        name, _, value = part.replace("=", ":", 1).partition(":")
        yield name.strip().replace("_", " "), value.strip()


MEGATRON = Trainer(
    "Megatron-LM", re.compile(r"iteration[ =]+\d+ ?/ *\d+ +\|.*elapsed[ _]time[ _]per[ _]iteration"), _Megatron
)
