"""Why a cluster ended this job: asked of Slurm when its signal comes, while there is time to write the answer down.

Slurm sends SIGTERM at the time limit and when a job is cancelled, and kills what is left half a minute later. PBS is
asked from outside instead (`pbs/status.py`).
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMEOUT_S = 5.0
ENDED = ("COMPLETING", "CANCELLED", "TIMEOUT", "PREEMPTED")


@contextmanager
def end_explained(note: Callable[[str], None]) -> Iterator[None]:
    """Pass the reason to `note` when Slurm ends the job inside the block."""
    try:
        yield
    except SystemExit:  # what SIGTERM becomes (process.end_with_workflow)
        if reason := why_ended():
            note(reason)
        raise


def why_ended() -> str | None:
    """Say why Slurm ends the job that this process belongs to; None when it does not, or can't be asked."""
    job = os.environ.get("SLURM_JOB_ID")
    said = _asked(job) if job else {}
    if said.get("JobState") not in ENDED:
        return None
    if said.get("Reason") == "TimeLimit":
        return f"Slurm ended job {job} at its time limit, {said.get('TimeLimit')} (runtime_min under cluster)"
    return f"Slurm's job {job} was cancelled (reason given: {said.get('Reason')})"


def _asked(job: str) -> dict[str, str]:
    """Return what Slurm says of a job, by the names of `scontrol show job`."""
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(re.findall(r"(JobState|Reason|TimeLimit)=(\S+)", done.stdout))
