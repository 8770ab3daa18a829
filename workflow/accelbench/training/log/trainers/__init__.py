"""Logs of other trainers. A trainer is one module with a `Trainer`, and one entry in TRAINERS (docs/extending.md)."""

from typing import Final

from accelbench.training.log.grammar import Blocks
from accelbench.training.log.trainers.deepspeed import DEEPSPEED
from accelbench.training.log.trainers.hugging_face import HUGGING_FACE
from accelbench.training.log.trainers.lightning import LIGHTNING
from accelbench.training.log.trainers.megatron import MEGATRON
from accelbench.training.log.trainers.nanogpt import NANOGPT
from accelbench.training.log.trainers.torchtitan import TORCHTITAN
from accelbench.training.log.trainers.trainer import Trainer

TRAINERS: tuple[Trainer, ...] = (MEGATRON, TORCHTITAN, LIGHTNING, HUGGING_FACE, NANOGPT, DEEPSPEED)
"""In this order: DeepSpeed's engine prints its lines among those of a trainer that uses it."""


def trainer_of(blocks: Blocks) -> Trainer | None:
    """Return the first trainer of which a log holds a progress line."""
    left: Final = list(TRAINERS)
    for block, _ in blocks:
        text = block.decode("utf-8", "replace")
        if found := next((trainer for trainer in left if trainer.progress.search(text)), None):
            del left[left.index(found) :]
            last = found
        if not left:
            break
    return last if len(left) < len(TRAINERS) else None
