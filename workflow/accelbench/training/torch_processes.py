"""Several processes that train together: torchrun's agent, on this machine; when one dies, all end."""

import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def run_together(processes: int, arguments: Sequence[str]) -> int:
    """Run the trainer in so many processes; return the exit status of the first that failed (128 + n: by signal n)."""
    here = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(here, sys.executable)("-m", "accelbench.training.torch_trainer", *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        status = int(failure.exitcode)
        return status if status >= 0 else 128 - status
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
