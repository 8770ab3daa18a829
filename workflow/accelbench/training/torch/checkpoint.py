"""Checkpoints of the torch backend: a run that was stopped goes on from the last one, bit by bit the same on a CPU.

`model_dir`/checkpoint_{step}.pt holds the weights, the optimizer's moments, the states of the random numbers and
the position in the data; the learning rate follows from the step, and no loss is scaled. Only the last two are
kept: one to go on from, and one more should that one be broken. ModelZoo keeps all, and names them .mdl.

The ranks of a sharded model write a folder together, checkpoint_{step}.dcp (torch.distributed.checkpoint), which any
number of ranks can load, also one with the whole model. Random states are not in it: once the weights are drawn, no
random number is.
The log's words: ModelZoo 2.6.0, trainer/callbacks/checkpoint.py.
"""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint import CheckpointException

from accelbench.errors import UserError
from accelbench.training.torch.llama import is_sharded
from accelbench.training.torch.log import is_first_rank, say

_KEPT = 2
_NAME = re.compile(r"checkpoint_(\d+)\.(pt|dcp)")


class Position(NamedTuple):
    """How far a run has come: its last step, and the batches it has read over all epochs."""

    step: int
    batches: int


START = Position(0, 0)


def save_checkpoint(model_dir: Path, at: Position, model: Any, optimizer: Any) -> None:
    """Write a checkpoint, whole or not at all, and delete those before the last two. All ranks call this.

    Raises UserError if it can't be written, on a full disk for instance.
    """
    say(f"Saving checkpoint at step {at.step}")
    whole = not is_sharded(model)
    path, partial = model_dir / f"checkpoint_{at.step}.{'pt' if whole else 'dcp'}", model_dir / ".checkpoint.partial"
    if whole and not is_first_rank():
        return
    try:
        _delete(partial)
        if whole:
            _save_whole(partial, at, model, optimizer)
        else:
            distributed_checkpoint.save(_named(at, model, optimizer), checkpoint_id=partial)
        if is_first_rank():
            if path.is_dir():
                _delete(path)
            partial.replace(path)
    except (OSError, CheckpointException) as error:
        _delete(partial)
        reason = error.strerror if isinstance(error, OSError) else _in_one_line(error)
        raise UserError(
            f"{path}: the checkpoint can't be written ({reason}). Make room, or set "
            "trainer.init.checkpoint.steps to null (training.checkpoint_steps in a config)."
        ) from None
    say(f"Saved checkpoint {path}")
    if is_first_rank():
        for old in [path for step, path in _checkpoints(model_dir) if step <= at.step][:-_KEPT]:
            _delete(old)


def _save_whole(path: Path, at: Position, model: Any, optimizer: Any) -> None:
    state = {
        "position": at._asdict(),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": _random_states(model.device),
    }
    with path.open("wb") as stream:
        torch.save(state, stream)


def _named(at: Position, model: Any, optimizer: Any) -> dict[str, Any]:
    """Return the tensors of a run by names that don't depend on the number of ranks."""
    moments = {name: _moments(optimizer, weights) for name, weights in model.named_parameters()}
    return {"position": torch.tensor(at), "model": dict(model.named_parameters()), "optimizer": moments}


def _moments(optimizer: Any, weights: Any) -> dict[str, torch.Tensor]:
    """Return what AdamW knows of weights; before its first step it is all zeros."""
    zeros = {"exp_avg": torch.zeros_like(weights), "exp_avg_sq": torch.zeros_like(weights)}
    return optimizer.state[weights] if weights in optimizer.state else {"step": torch.zeros(()), **zeros}


def _delete(path: Path) -> None:
    """Delete a checkpoint, a file or a folder; only the first rank does."""
    if not is_first_rank():
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def load_last(model_dir: Path, model: Any, optimizer: Any) -> Position | None:
    """Load the last checkpoint that can be read, if there is one. Raises UserError when it is another model's."""
    say(
        f'Checkpoint autoloading is enabled. Looking for latest checkpoint in "{model_dir}" directory with the '
        "following naming convention: `checkpoint_(step)`."
    )
    kinds = (".dcp",) if is_sharded(model) else (".pt", ".dcp")
    found = [path for _, path in reversed(_checkpoints(model_dir)) if path.suffix in kinds]
    for path in found:
        say(f'Found latest checkpoint at "{path}".')
        if path.suffix == ".dcp":
            if position := _load_parts(path, model, optimizer):
                return position
        elif state := _read(path):
            say(f"Loading weights from checkpoint {path}")
            return _restore(path, state, model, optimizer)
    if found:
        say(f'None of the checkpoints in "{model_dir}" can be read: training starts afresh.', "WARNING")
    else:
        say(f'No checkpoints were found in "{model_dir}".')
    return None


def _checkpoints(model_dir: Path) -> list[tuple[int, Path]]:
    """Return all checkpoints with their steps, in the order of the steps."""
    names = ((_NAME.fullmatch(path.name), path) for path in model_dir.glob("checkpoint_*"))
    return sorted((int(name[1]), path) for name, path in names if name)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a checkpoint holds, read into the host's memory; None, with a warning, for a broken one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: state[key] for key in ("position", "model", "optimizer", "random")}
    except Exception as error:  # what torch.load raises on a broken file is any of a dozen types
        _say_unreadable(path, error)
        return None


def _load_parts(path: Path, model: Any, optimizer: Any) -> Position | None:
    """Load a checkpoint of a sharded model into this rank's part, or a whole model; None, with a warning, if broken."""
    state = _named(START, model, optimizer)
    try:
        saved = distributed_checkpoint.FileSystemReader(path).read_metadata().state_dict_metadata
    except Exception as error:  # a file that is not there, or no longer what it was: any of a dozen types
        _say_unreadable(path, error)
        return None
    if {name: each.size for name, each in saved.items() if name.startswith("model.")} != {
        f"model.{name}": weights.shape for name, weights in state["model"].items()
    }:
        raise _another_model(path)
    say(f"Loading weights from checkpoint {path}")
    try:
        with torch.no_grad():
            distributed_checkpoint.load(state, checkpoint_id=path)
    except CheckpointException as error:
        _say_unreadable(path, error)
        return None
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(enumerate(state["optimizer"].values())), "param_groups": groups})
    return Position(*state["position"].tolist())


def _say_unreadable(path: Path, error: Exception) -> None:
    say(f"Checkpoint {path} can't be read and is left aside ({type(error).__name__}: {_in_one_line(error)})", "WARNING")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _another_model(path: Path) -> UserError:
    return UserError(
        f"{path}: the checkpoint is of another model than the params file's. Delete {path.parent}, or set "
        "trainer.init.checkpoint.autoload_last_checkpoint to false."
    )


def _restore(path: Path, state: dict[str, Any], model: Any, optimizer: Any) -> Position:
    if _shapes(state["model"]) != _shapes(model.state_dict()):
        raise _another_model(path)
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
