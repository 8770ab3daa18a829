"""Checkpoints of the torch backend: a run that was stopped goes on from the last one, bit by bit the same on a CPU.

`model_dir`/checkpoint_{step}.pt holds the weights, the optimizer's moments, the states of the random numbers and
the position in the data; the learning rate follows from the step, and no loss is scaled. Only the last two are
kept: one to go on from, and one more should that one be broken. ModelZoo keeps all, and names them .mdl.
The log's words: ModelZoo 2.6.0, trainer/callbacks/checkpoint.py.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from accelbench.errors import UserError
from accelbench.training.torch.log import say

_KEPT = 2
_NAME = re.compile(r"checkpoint_(\d+)\.pt")


class Position(NamedTuple):
    """How far a run has come: its last step, and the batches it has read over all epochs."""

    step: int
    batches: int


START = Position(0, 0)


def save_checkpoint(model_dir: Path, at: Position, model: Any, optimizer: Any) -> None:
    """Write a checkpoint, whole or not at all, and delete those before the last two."""
    say(f"Saving checkpoint at step {at.step}")
    path, partial = model_dir / f"checkpoint_{at.step}.pt", model_dir / ".checkpoint.partial"
    state = {
        "position": at._asdict(),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": _random_states(model.device),
    }
    try:
        with partial.open("wb") as stream:
            torch.save(state, stream)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path}: the checkpoint can't be written ({error.strerror}). Make room, or set "
            "trainer.init.checkpoint.steps to null (training.checkpoint_steps in a config)."
        ) from None
    say(f"Saved checkpoint {path}")
    for old in [path for step, path in _checkpoints(model_dir) if step <= at.step][:-_KEPT]:
        old.unlink()


def load_last(model_dir: Path, model: Any, optimizer: Any) -> Position | None:
    """Load the last checkpoint that can be read, if there is one. Raises UserError when it is another model's."""
    say(
        f'Checkpoint autoloading is enabled. Looking for latest checkpoint in "{model_dir}" directory with the '
        "following naming convention: `checkpoint_(step).pt`."
    )
    found = [path for _, path in reversed(_checkpoints(model_dir))]
    for path in found:
        say(f'Found latest checkpoint at "{path}".')
        if state := _read(path):
            say(f"Loading weights from checkpoint {path}")
            return _restore(path, state, model, optimizer)
    if found:
        say(f'None of the checkpoints in "{model_dir}" can be read: training starts afresh.', "WARNING")
    else:
        say(f'No checkpoints were found in "{model_dir}".')
    return None


def _checkpoints(model_dir: Path) -> list[tuple[int, Path]]:
    """Return all checkpoints with their steps, in the order of the steps."""
    names = ((_NAME.fullmatch(path.name), path) for path in model_dir.glob("checkpoint_*.pt"))
    return sorted((int(name[1]), path) for name, path in names if name)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a checkpoint holds, read into the host's memory; None, with a warning, for a broken one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: state[key] for key in ("position", "model", "optimizer", "random")}
    except Exception as error:  # what torch.load raises on a broken file is any of a dozen types
        reason = " ".join(str(error).split())[:100]
        say(f"Checkpoint {path} can't be read and is left aside ({type(error).__name__}: {reason})", "WARNING")
        return None


def _restore(path: Path, state: dict[str, Any], model: Any, optimizer: Any) -> Position:
    if _shapes(state["model"]) != _shapes(model.state_dict()):
        raise UserError(
            f"{path}: the checkpoint is of another model than the params file's. Delete {path.parent}, or set "
            "trainer.init.checkpoint.autoload_last_checkpoint to false."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    for device, random in state["random"].items():
        if device == "cpu":
            torch.set_rng_state(random)
        elif device == model.device.type:
            torch.get_device_module(device).set_rng_state(random)
    return Position(**state["position"])


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}
