"""The training loop of the torch backend, to be read from top to bottom (after nanoGPT's train.py)."""

import math
import os
import platform
import resource
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import transformers

from accelbench.errors import UserError
from accelbench.plan.measurement import cpu_model
from accelbench.store.files import write_json
from accelbench.store.records import TrainerFacts
from accelbench.training.params.memory import Division, MemorySettings, division_that_fits, memory_need
from accelbench.training.torch import ranks
from accelbench.training.torch.batches import MASK
from accelbench.training.torch.checkpoint import START, Position, load_last, save_checkpoint
from accelbench.training.torch.llama import Llama, arranged, is_sharded
from accelbench.training.torch.log import (
    Rates,
    is_first_rank,
    say,
    say_batch,
    say_evaluation,
    say_fit_summary,
    say_progress,
    say_train_loop,
)
from accelbench.training.torch.run import COLLECTIVES, Run


class NonFiniteLoss(Exception):
    """The loss is NaN or infinite; ModelZoo stops there too."""


class AlreadyTrained(Exception):
    """The last checkpoint leaves no step to do; ModelZoo stops there too."""


def fit(run: Run, model_dir: Path) -> None:
    """Train by one params file: the log goes to stdout, what trained it to `model_dir`/trainer.json.

    Goes on from the last checkpoint in `model_dir`, unless the params file says not to. Where several processes
    train together, each calls this; the first prints and saves.
    """
    device = available(run)
    with ranks.joined_ranks(device):
        _train(run, model_dir, device)


def _train(run: Run, model_dir: Path, device: torch.device) -> None:
    """Train from the first step, or the last checkpoint, to the last step."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        torch.set_num_threads(int(threads))
    if run.seed is not None:
        torch.manual_seed(run.seed)
    run, settings = divided(run, device)
    before_bytes = psutil.Process().memory_info().rss
    model = arranged(run, Llama(run.model, run.initial_weights), device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=device.type in COLLECTIVES or None, **run.adamw)
    if is_first_rank():
        write_json(model_dir / "trainer.json", _facts(run, model, settings))
    if run.not_honoured:
        say(f"Not honoured by this backend: {', '.join(run.not_honoured)}", "WARNING")

    started_ns = time.perf_counter_ns()
    say_batch(run)
    start = resumed(run, model_dir, model, optimizer)
    run = run.after(start.step)
    trained = model if is_sharded(model) else ranks.parallel(model)
    say_fit_summary(run)
    batches = run.train.batches(skip=start.batches)
    n_batches, n_trained = start.batches, 0
    evaluation_s: float | None = None
    for number, loop in enumerate(run.loops, 1):
        say_train_loop(run, number, loop)
        if number == 1 and run.compile:
            compile_layers(run, trained)
            optimizer.zero_grad()
        if number == 1 and start == START and run.save_initial_checkpoint:
            save_checkpoint(model_dir, START, model, optimizer)
        evaluations_left = len(run.loops) - number + 1 if run.held_out else 0
        model.train()
        rates = Rates()
        for step in loop:
            for group in optimizer.param_groups:
                group["lr"] = run.learning_rate(step - 1)
            loss = torch.zeros((), device=device)
            n_samples = 0
            for left, batch in zip(reversed(range(run.grad_accum_steps)), batches, strict=False):
                loss += backward(run, trained, batch, last=left == 0)
                n_samples += len(batch)
            if run.max_gradient_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), run.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad()
            n_batches, n_trained = n_batches + run.grad_accum_steps, n_trained + n_samples
            rates.add(n_samples)

            # A GPU runs behind its host: it is waited for, and the clock read, only where a line is printed.
            logged = step % run.log_steps == 0 or step == run.max_steps
            saves = run.saves(step)
            if logged or saves or step in (loop[0], loop[-1]) or device.type == "cpu":
                synchronise(device)
                rates.read()
                _check(ranks.total(loss), f"step {step}")
            if logged:
                say_progress(
                    f"Train Device={run.device}, Step={step}",
                    loss.item(),
                    rates,
                    loop_left_s=(loop[-1] - step) * rates.step_s,
                    left_s=(run.max_steps - step) * rates.step_s + evaluations_left * (evaluation_s or 0),
                    at_least=evaluations_left > 0 and evaluation_s is None,
                )
            if saves:
                save_checkpoint(model_dir, Position(step, n_batches), model, optimizer)
        say("Training completed successfully!")
        if run.held_out:
            evaluation_started_s = time.perf_counter()
            evaluate(run, model, number, train_step_s=rates.step_s)
            evaluation_s = time.perf_counter() - evaluation_started_s
    if is_first_rank():
        write_json(model_dir / "trainer.json", _facts(run, model, settings) | _peak(device, before_bytes))
    seconds = (time.perf_counter_ns() - started_ns) / 1e9
    say(f"Processed {n_trained} training sample(s) in {seconds} seconds.")


def compile_layers(run: Run, model: Any) -> None:
    """Have the layers compiled before the first step, by samples of which no token counts."""
    say("Compiling the model. This may take a few minutes.")
    n_samples = min(run.micro_batch_size, -(-run.train.batch_size // ranks.world_size()))
    samples = torch.zeros((n_samples, 3, run.model["max_position_embeddings"]), dtype=torch.int32)
    model.train()
    summed_loss(run, model, samples).backward()
    synchronise(model.device)
    say("Compile was successful!")
    say("Beginning appliance run")  # the words that end the phase, as on a CS-3


def resumed(run: Run, model_dir: Path, model: Any, optimizer: Any) -> Position:
    """Load the last checkpoint, if wanted and there; return where the run goes on.

    Raises AlreadyTrained where no step is left.
    """
    loaded = load_last(model_dir, model, optimizer) if run.autoload_last_checkpoint else None
    if loaded is None:
        say("No checkpoint was provided. Using randomly initialized model parameters.")
    start = loaded or START
    if start.step >= run.max_steps:
        raise AlreadyTrained(f"Initial global step {start.step} already exceeds max step {run.max_steps}.")
    return start


def backward(run: Run, model: Any, batch: np.ndarray, *, last: bool) -> torch.Tensor:
    """Add one batch's gradients to the weights', micro batch by micro batch; return this rank's part of the loss.

    Whole models meet once per step, in the backward pass of the `last` batch's last micro batch; sharded ones in each,
    so that no rank holds the gradients of all weights.
    """
    loss = torch.zeros((), device=model.device)
    weight = 1 / (batch[:, MASK].sum() * run.grad_accum_steps) if batch[:, MASK].any() else float("nan")
    parts = torch.from_numpy(ranks.share(batch, equal=is_sharded(model))).split(run.micro_batch_size)
    for number, samples in enumerate(parts, 1):
        model.require_backward_grad_sync = last and number == len(parts)
        part = summed_loss(run, model, samples) * weight
        (part * ranks.world_size()).backward()  # the ranks' gradients are averaged, and the loss is their sum
        loss += part.detach()
    return loss


def summed_loss(run: Run, model: Any, samples: torch.Tensor) -> torch.Tensor:
    """Return the loss summed over the tokens that count, reckoned in the run's number format."""
    autocast = run.dtype == "bfloat16" and not is_sharded(model)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast):
        return model(samples.to(model.device).long())


def evaluate(run: Run, model: Any, number: int, train_step_s: float) -> None:
    """Print the held-out loss: the mean over the first batches of the held-out data, the same each time.

    As in ModelZoo the last progress line has the mean, those before it the loss of one batch.
    """
    assert run.held_out is not None
    model.eval()
    step, n_batches, total = run.loops[number - 1][-1], run.held_out_batches, 0.0
    say_evaluation(run, number)
    rates = Rates()
    for batch_no, batch in enumerate(islice(run.held_out.batches(), n_batches), 1):
        with torch.no_grad():
            own = torch.from_numpy(ranks.share(batch, equal=is_sharded(model)))
            part = summed_loss(run, model, own) if len(own) else torch.zeros((), device=model.device)
            loss = ranks.total(part / batch[:, MASK].sum())
        _check(loss, f"evaluation after step {step}")  # waits for the GPU
        rates.add(len(batch))
        rates.read()
        total += loss.item()
        if batch_no % run.log_steps == 0 or batch_no == n_batches:
            loop_left_s = (n_batches - batch_no) * rates.step_s
            evaluations_left_s = (len(run.loops) - number) * n_batches * rates.step_s
            say_progress(
                f"Eval Device={model.device.type}, GlobalStep={step}, Batch={batch_no}",
                total / n_batches if batch_no == n_batches else loss.item(),
                rates,
                loop_left_s=loop_left_s,
                left_s=loop_left_s + (run.max_steps - step) * train_step_s + evaluations_left_s,
                at_least=number < len(run.loops),
            )
    say(f"Avg Eval Loss: {total / n_batches}")
    say("Evaluation completed successfully!")


def _check(loss: torch.Tensor, where: str) -> None:
    """Stop at a loss that no training comes back from, as ModelZoo does."""
    if not math.isfinite(loss.item()):
        kind = "NaN" if math.isnan(loss.item()) else "inf"
        raise NonFiniteLoss(f"{kind} loss detected at {where}. Lower the learning rate, or change the batch size.")


def available(run: Run) -> torch.device:
    """Return the device of this rank; refuse a device that is not there, and batches with less than a sample each."""
    there = ranks.devices_here(run.device)
    if not there:
        raise UserError(
            f"--device {run.device}: torch {torch.__version__} finds no such device. Use --device cpu, "
            "or install a torch built for it."
        )
    processes, here = ranks.world_size(), ranks.ranks_here()
    if run.device in COLLECTIVES and there < here:
        raise UserError(f"{here} processes train, and there are {there} GPUs here: each process needs one.")
    if run.train.smallest_batch < processes:
        raise UserError(
            f"{run.train.name}.batch_size makes a batch of {run.train.smallest_batch} samples, and {processes} "
            "processes train: each needs a sample of every batch. Write a larger batch, or drop_last: true."
        )
    return ranks.own_device(run.device)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def divided(run: Run, device: torch.device) -> tuple[Run, MemorySettings]:
    """Return the run with its division decided, and what its need for memory depends on."""
    settings = MemorySettings(ranks.world_size(), run.train.batch_size, run.micro_batch_size, run.dtype)
    wanted = Division(run.sharding, run.activation_checkpointing)
    division = division_that_fits(run.model, settings, wanted, _memory_bytes(device))
    if "auto" in wanted:
        say(f"Decided by memory: sharding {division.sharding}, activation checkpointing {division[1]}")
    run = replace(run, sharding=division.sharding, activation_checkpointing=division.activation_checkpointing)
    return run, replace(settings, division=division)


def _memory_bytes(device: torch.device) -> int:
    """Return the memory that one rank has."""
    if device.type in COLLECTIVES:
        return int(torch.get_device_module(device).get_device_properties(device).total_memory)
    return psutil.virtual_memory().total // ranks.ranks_here()


def _peak(device: torch.device, before_bytes: int) -> TrainerFacts:
    """Return the most memory that this rank had at a time: of its tensors; on a CPU all that it took since `before`."""
    if device.type in COLLECTIVES:
        return {"memory_peak_bytes": torch.get_device_module(device).max_memory_allocated(device)}
    if device.type == "cpu" and sys.platform == "linux":
        return {"memory_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_bytes}
    return {}


def _facts(run: Run, model: Any, settings: MemorySettings) -> TrainerFacts:
    """Return what trained, and what of the params file it leaves aside."""
    return {
        "not_honoured": run.not_honoured,
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "device": run.device,
        "device_name": device_name(run.device),
        "processes": ranks.world_size(),
        "nodes": ranks.world_size() // ranks.ranks_here(),
        "dtype": run.dtype,
        "initial_weights": run.initial_weights,
        "sharding": run.sharding,
        "activation_checkpointing": run.activation_checkpointing,
        "compiled": run.compile,
        "memory_need_bytes": memory_need(run.model, settings).peak,
        "threads": torch.get_num_threads(),
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "sequence_length": run.model["max_position_embeddings"],
        "samples_per_epoch": run.train.n_samples,
    }


def device_name(device: str) -> str:
    """Return the name its maker gave a device."""
    if device in COLLECTIVES:
        return str(torch.get_device_module(device).get_device_name())
    return cpu_model()
