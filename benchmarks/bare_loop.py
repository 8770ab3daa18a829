"""A training loop without anything around it: what the torch trainer is measured against.

    python benchmarks/bare_loop.py PARAMS.yaml cpu|cuda [--compile]

Model, optimizer, clipping, batches and micro batches are those of the params file. There is no log, no check, no
schedule and no loss mask, and all batches lie in memory. Prints the samples/s from step `log_steps` to the last.
"""

import sys
import time
from itertools import islice
from pathlib import Path

import torch
import transformers
from torch.nn import functional

from accelbench.training.torch.batches import INPUTS, LABELS
from accelbench.training.torch.loop import synchronise
from accelbench.training.torch.run import read_run


def main() -> None:
    """Train, and print the rate."""
    run = read_run(Path(sys.argv[1]), sys.argv[2])
    device = torch.device(run.device)
    torch.manual_seed(run.seed or 0)
    with device:  # drawn there: other weights than the trainer's, sooner
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**run.model))
    optimizer = torch.optim.AdamW(model.parameters(), fused=device.type == "cuda", **run.adamw)
    forward = torch.compile(model) if "--compile" in sys.argv[3:] else model
    batches = [torch.from_numpy(batch) for batch in islice(run.train.batches(), run.max_steps)]
    model.train()
    started_s = 0.0
    for step, batch in enumerate(batches, 1):
        parts = batch.to(device).long().split(run.micro_batch_size)
        for samples in parts:
            with torch.autocast(device.type, torch.bfloat16, enabled=run.dtype == "bfloat16"):
                logits = forward(input_ids=samples[:, INPUTS]).logits
            loss = functional.cross_entropy(logits.float().flatten(0, 1), samples[:, LABELS].flatten())
            (loss / len(parts)).backward()
        if run.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), run.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        if step == run.log_steps:
            synchronise(device)
            started_s = time.perf_counter()
    synchronise(device)
    print((run.max_steps - run.log_steps) * run.train.batch_size / (time.perf_counter() - started_s))


if __name__ == "__main__":
    main()
