"""Cancel the wafer jobs that a killed cszoo left running.

    python -m accelbench.training.backends.wafer_jobs CSCTL… LOG

cszoo shuts its jobs down itself when it is asked to stop (SIGINT). When it is killed, its log just stops, and the
cluster holds the wafer until a lease runs out. The ids stand in the log. What the log doesn't show as finished is
cancelled; cancelling a job that has ended after all does no harm.

Lines: cerebras-appliance 2.6.0 (cluster/client.py, appliance_manager.py); older wordings as in `transcript`.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

_TIMEOUT_S = 60.0  # asks the cluster's server
_BEGUN = re.compile(rb"INFO: +Current Working Directory")
_STARTED = re.compile(rb"Initiating a new (compile|execute) wsjob|\b(compile|execute) job id:", re.IGNORECASE)
_NAMED = re.compile(rb"\bjob id: (wsjob-[a-z0-9]+)", re.IGNORECASE)
_FAILED = re.compile(rb"Job (wsjob-[a-z0-9]+) failed ")
_COMPILED = re.compile(rb"INFO: +Compile was successful!")


def left_running(log: Path) -> list[str]:
    """Return the jobs that a log names and does not show as finished, in its order.

    A compile job has finished when the compile was successful, any job when the cluster says that it failed.
    "Job … was cancelled" and "Training completed" are printed before the job is really gone, so they prove nothing.
    In the log of a run that was resumed, the jobs before its last start have been dealt with when they were left.
    """
    kinds: dict[str, bytes] = {}
    finished: set[str] = set()
    kind = b""
    with log.open("rb") as lines:
        for line in lines:
            if _BEGUN.search(line):
                kinds.clear()
            elif started := _STARTED.search(line):
                kind = (started[1] or started[2]).lower()
            if named := _NAMED.search(line):
                kinds.setdefault(named[1].decode(), kind)
            elif failed := _FAILED.search(line):
                finished.add(failed[1].decode())
            elif _COMPILED.search(line):
                finished |= {job for job, of in kinds.items() if of == b"compile"}
    return [job for job in kinds if job not in finished]


def _cancel(csctl: list[str], job: str) -> str:
    """Cancel one job and return what became of it, in one line."""
    command = [*csctl, "cancel", "job", job]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        why = f"{csctl[0]} can't be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        why = f"no answer within {_TIMEOUT_S:.0f} s"
    else:
        why = " ".join((done.stdout + done.stderr).split()) or f"exit status {done.returncode}"
        if done.returncode == 0:
            return f"{job} was left running by a killed cszoo and has been cancelled: {why}"
    return f"{job} was left running by a killed cszoo and could NOT be cancelled ({why}): {shlex.join(command)}"


def main(arguments: list[str]) -> None:
    """Cancel all jobs that the log leaves running; print one line for each."""
    *csctl, log = arguments
    for job in left_running(Path(log)):
        print(f"accelbench: {_cancel(csctl, job)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
