"""A Cerebras CS-3 through ModelZoo's `cszoo fit` (flags of Release 2.6.0).

SIGTERM leaves the wafer job running (cszoo has no handler); SIGINT shuts it down cleanly, so that is how it is
asked to stop. Batch size and steps are set in the params file only: cszoo has no flags for them.
"""

import os
import signal
from pathlib import Path
from typing import Any

from accelbench.config import CerebrasPlatform
from accelbench.training.backends import Launch


def launch(platform: CerebrasPlatform, params: Path, model_dir: Path) -> Launch:
    """Return the cszoo command for one params file."""
    command = [os.path.expanduser(word) for word in platform.command]  # noqa: PTH111  (words, not only paths)
    command += ["fit", str(params), "--target_device", "CSX", "--model_dir", str(model_dir)]
    if platform.job_labels:
        command += ["--job_labels", *(f"{key}={value}" for key, value in platform.job_labels.items())]
    return Launch(command, stop=signal.SIGINT)


def facts(model_dir: Path) -> dict[str, Any]:
    """Return what cszoo leaves beside the log: its own record of rates, where it wrote one."""
    found = sorted(model_dir.glob("cerebras_logs/*/executors/*/performance.json"))
    return {"performance_file": str(found[-1])} if found else {}
