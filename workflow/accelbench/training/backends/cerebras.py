"""A Cerebras CS-3 through ModelZoo's `cszoo fit` (flags of Release 2.6.0).

SIGTERM leaves the wafer job running (cszoo has no handler); SIGINT shuts it down cleanly, so that is how it is
asked to stop. Batch size and steps are set in the params file only: cszoo has no flags for them.
"""

import signal
import sys
from pathlib import Path

from accelbench.config import CerebrasPlatform
from accelbench.training.backends import Launch, last_step
from accelbench.training.backends.cerebras_calls import called, environment, require
from accelbench.training.model_dir import facts

__all__ = ["facts", "last_checkpoint", "launch", "require"]


def launch(platform: CerebrasPlatform, params: Path, model_dir: Path) -> Launch:
    """Return the cszoo command for one params file, and what cancels its wafer jobs when cszoo is killed."""
    fit = ["fit", str(params), "--target_device", "CSX", "--model_dir", str(model_dir)]
    if platform.job_labels:
        fit += ["--job_labels", *(f"{key}={value}" for key, value in platform.job_labels.items())]
    cancel = [sys.executable, "-m", "accelbench.training.cancel", *called(platform, platform.csctl)]
    command = [*called(platform, platform.command), *fit]
    return Launch(command, env=environment(platform), stop=signal.SIGINT, afterwards=cancel)


def last_checkpoint(model_dir: Path) -> int | None:
    """Return the step of the checkpoint that cszoo would load (ModelZoo 2.6.0, trainer/callbacks/checkpoint.py)."""
    return last_step(model_dir, ".mdl")
