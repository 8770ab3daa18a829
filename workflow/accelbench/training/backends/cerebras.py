"""A Cerebras CS-3 through ModelZoo's `cszoo fit` (flags of Release 2.6.0).

SIGTERM leaves the wafer job running (cszoo has no handler); SIGINT shuts it down cleanly, so that is how it is
asked to stop. Batch size and steps are set in the params file only: cszoo has no flags for them.
"""

import signal
import sys
from pathlib import Path

import yaml

from accelbench.config import CerebrasPlatform
from accelbench.training.backends import Launch, steps_of
from accelbench.training.backends.cerebras_calls import called, environment, require
from accelbench.training.model_dir import facts

__all__ = ["checkpoints", "facts", "launch", "require"]


def launch(platform: CerebrasPlatform, params: Path, model_dir: Path) -> Launch:
    """Return the cszoo command for one params file, and what cancels its wafer jobs when cszoo is killed."""
    fit = ["fit", str(params), "--target_device", "CSX", "--model_dir", str(model_dir)]
    if platform.job_labels:
        fit += ["--job_labels", *(f"{key}={value}" for key, value in platform.job_labels.items())]
    cancel = [sys.executable, "-m", "accelbench.training.cancel", *called(platform, platform.csctl)]
    command = [*called(platform, platform.command), *fit]
    return Launch(command, env=environment(platform), stop=signal.SIGINT, afterwards=cancel)


def checkpoints(model_dir: Path) -> dict[str, int]:
    """Return the names and steps of the checkpoints that cszoo would load from: those that its index lists.

    Without an index it takes all files of that name. Source: ModelZoo 2.6.0, trainer/callbacks/checkpoint.py.
    """
    paths = list(model_dir.glob("checkpoint_*"))
    index = model_dir / "checkpoints_index.yaml"
    try:
        listed = yaml.safe_load(index.read_text()) if index.exists() else None
    except (OSError, ValueError, yaml.YAMLError):
        listed = []  # cszoo can't read it either
    if index.exists():
        names = {Path(str(path)).name for path in (listed if isinstance(listed, list) else [])}
        paths = [path for path in paths if path.name in names]
    return steps_of(paths, ".mdl")
