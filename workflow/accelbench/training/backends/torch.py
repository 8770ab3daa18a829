"""This machine or a GPU node: the project's own trainer, in a process of its own."""

import os
import sys
from pathlib import Path
from typing import Any

from accelbench.config import TorchPlatform
from accelbench.store.files import read_record
from accelbench.training.backends import Launch, steps_of


def launch(platform: TorchPlatform, params: Path, model_dir: Path) -> Launch:
    """Return the trainer's command for one params file."""
    trainer = [sys.executable, "-m", "accelbench.training.torch.trainer"]
    arguments = [str(params), "--model_dir", str(model_dir), "--device", platform.device]
    if platform.initial_weights != "normal":
        arguments += ["--initial_weights", platform.initial_weights]
    threads = platform.threads
    if platform.processes > 1:
        arguments += ["--processes", str(platform.processes)]
        threads = threads or max(1, (os.cpu_count() or 1) // platform.processes)
    env = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return Launch(trainer + arguments, env={"OMP_WAIT_POLICY": "passive", **env})


def facts(model_dir: Path) -> dict[str, Any]:
    """Return what the trainer says of itself: versions, device, parameters, keys it does not honour."""
    return read_record(model_dir / "trainer.json")


def checkpoints(model_dir: Path) -> dict[str, int]:
    """Return the names and steps of the checkpoints that the trainer left."""
    return steps_of(model_dir.glob("checkpoint_*"), ".pt")
