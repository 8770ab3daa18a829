"""One of two ranks that train each params file that they are given; the first writes all digits of the losses.

    RANK=0 WORLD_SIZE=2 python -m tests.training.torch.ranks_cases FOLDER

FOLDER/cases.json: {name: [params file, model_dir, {fields of Run}]}; FOLDER/losses.json: {name: losses};
FOLDER/held.json: [estimated, held] bytes of this rank for the first case, by what they are; FOLDER/peaks.json: those at
the peak of a step, of a model of several settings.
"""

import json
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from accelbench.training.params.memory import Division, MemorySettings, memory_need
from accelbench.training.torch import loop, ranks
from accelbench.training.torch.llama import Llama, arranged
from accelbench.training.torch.run import Run, read_run
from tests.training.accounting import llama, peak_of_a_step

Losses = dict[str, list[float]]
Case = tuple[str, str, dict[str, Any]]
"""A params file, a model_dir, and fields of the Run."""


def train(cases: dict[str, Case]) -> Losses:
    """Train case by case; return the losses of all progress lines, all digits of them."""
    found: Losses = {}
    say = loop.say_progress
    try:
        for name, (params, model_dir, fields) in cases.items():
            found[name] = []
            loop.say_progress = lambda where, loss, *_, to=found[name], **__: to.append(loss)
            loop.fit(replace(read_run(Path(params), "cpu"), **fields), Path(model_dir))
    finally:
        loop.say_progress = say
    return found


def held_bytes(run: Run) -> dict[str, tuple[int, int]]:
    """Return what a rank is estimated to hold between steps and the size of its tensors then, by what they are."""
    run, settings = loop.divided(run, torch.device("cpu"))
    model = arranged(run, Llama(run.model), torch.device("cpu")).train()
    optimizer = torch.optim.AdamW(model.parameters())
    loop.backward(run, model, next(run.train.batches()), last=True)
    optimizer.step()
    weights = list(model.parameters())
    moments = [moment for each in optimizer.state.values() for name, moment in each.items() if name != "step"]
    need = memory_need(run.model, settings)
    return {
        "weights": (need.weights, _local_bytes(weights)),
        "gradients": (need.gradients, _local_bytes(each.grad for each in weights)),
        "optimizer": (need.optimizer, _local_bytes(moments)),
    }


def _local_bytes(tensors: Iterable[Any]) -> int:
    return sum(tensor.to_local().nbytes for tensor in tensors)


def peaks() -> dict[str, tuple[int, int]]:
    """Return the bytes that a rank is estimated to need at most and those of its tensors, by setting."""
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "num_key_value_heads": 2}
    small = {**sizes, "vocab_size": 512, "num_hidden_layers": 4, "max_position_embeddings": 32}
    found = {}
    for dtype, sharding, checkpointing, micro, passes, changed in (
        ("float32", "full", "none", 16, 1, {}),
        ("float32", "full", "full", 1, 1, {}),
        ("bfloat16", "full", "none", 1, 1, {"vocab_size": 4096}),
        ("bfloat16", "full", "full", 2, 2, {"vocab_size": 4096, "tie_word_embeddings": True}),
        ("float32", "none", "none", 4, 1, {}),
    ):
        model, division = llama(**{**small, **changed}), Division(sharding, checkpointing)
        batch_size = micro * passes * ranks.world_size()
        need = memory_need(model, MemorySettings(ranks.world_size(), batch_size, micro, dtype, division))
        name = f"{dtype}, {sharding}, {checkpointing}, {passes} of {micro}, {changed}"
        found[name] = (need.peak, peak_of_a_step(model, micro, passes, dtype, division))
    return found


def main() -> None:
    """Join the other rank, train, and write the losses."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/ranks", rank=int(os.environ["RANK"]), world_size=ranks.world_size()
    )
    ranks.joined_ranks = nullcontext  # joined once for all cases
    cases: dict[str, Case] = json.loads((folder / "cases.json").read_text())
    found = train(cases)
    params, _, fields = next(iter(cases.values()))
    held = held_bytes(replace(read_run(Path(params), "cpu"), **fields))
    at_most = peaks()
    if loop.is_first_rank():
        (folder / "losses.json").write_text(json.dumps(found))
        (folder / "peaks.json").write_text(json.dumps(at_most))
        (folder / "held.json").write_text(json.dumps(held))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
