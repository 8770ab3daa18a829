"""From what PBS says of a job to running, success or failed, and why it failed, in words.

Exit statuses: below 0 are PBS's own (OpenPBS, job.h), up to 127 the command's, above that a signal's (128 + n; 256 + n
when PBS itself sent it).

The reason for a failure is written where the user looks: in the rule's log, below the rule's own error, and on the
terminal.
"""

import contextlib
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Word = Literal["running", "success", "failed"]
OVER = "F"
TOO_MANY_STARTS = "too many failed attempts to run"
LOST = (
    "PBS no longer knows the job: its history was purged, or the server lost it. If it succeeded, the same command "
    "restores its measurement."
)
NEVER_STARTED = "it was deleted before it started"
WALLTIME = "it exceeded its walltime{limit}; raise it in the config (cluster: runtime_min)"
NODE_LOST = "its node was lost (rebooted, crashed or cut off)"
_NOT_STARTED = "PBS could not start it on its node"
HOOK = "a hook of the site rejected it"
BY_PBS = {
    -1: _NOT_STARTED,
    -2: _NOT_STARTED,
    -3: _NOT_STARTED,
    -4: NODE_LOST,
    -5: NODE_LOST,
    -6: NODE_LOST,
    -10: "PBS could not start it as this user",
    -11: "PBS ended it to rerun it, although it is not rerunnable (-r n)",
    -14: NODE_LOST,
    -16: HOOK,
    -17: HOOK,
    -18: HOOK,
    -19: HOOK,
    -20: NODE_LOST,
    -22: HOOK,
    -24: "it used more CPUs than it requested",
    -25: "it used more CPUs than it requested",
    -26: "it used more virtual memory than it requested",
    -27: "it used more memory than it requested",
    -28: "it used more CPU time than it requested",
}


def verdict(job: Mapping[str, object]) -> tuple[Word, str | None]:
    """Return the state of a job for Snakemake, and why it failed if it did."""
    state, comment = job.get("job_state"), str(job.get("comment", ""))
    if state == "H" and TOO_MANY_STARTS in comment:
        return "failed", _quoted(f"{_NOT_STARTED}, repeatedly, and holds it", comment)
    if state != OVER:
        return "running", None
    if "Exit_status" not in job:
        return "failed", _quoted(NEVER_STARTED, comment)
    status = int(str(job["Exit_status"]))
    return ("success", None) if status == 0 else ("failed", _quoted(_why(status, comment, job), comment))


def _why(status: int, comment: str, job: Mapping[str, object]) -> str:
    if status == -29 or "exceeded resource walltime" in comment:
        return WALLTIME.format(limit=f" of {job['walltime']}" if "walltime" in job else "")
    if status < 0:
        return BY_PBS.get(status, f"PBS ended it (exit status {status})")
    if status > 128:
        return f"it was killed by {_signal(status)} (exit status {status}): by qdel, an operator or its node"
    return f"its command failed with exit status {status}; its error message is above, or in the PBS output"


def _signal(status: int) -> str:
    sent = status % 128
    return signal.Signals(sent).name if sent in set(signal.Signals) else f"signal {sent}"


def _quoted(reason: str, comment: str) -> str:
    return f"{reason} (PBS says: {comment})" if comment else reason


def append_reason(log: str | None, reason: str) -> None:
    """Say a reason on stderr and at the end of a rule's log, which begins with it where the rule never ran."""
    line = f"accelbench pbs: {reason}"
    print(line, file=sys.stderr)
    if log:
        with contextlib.suppress(OSError):
            Path(log).parent.mkdir(parents=True, exist_ok=True)
            with Path(log).open("a") as stream:
                stream.write(f"{line}\n")
