"""The jobs that this folder has submitted to PBS, and what became of them.

One small file, changed under a lock, lists them. It is also the cache of `qstat`: one query updates all open jobs, and
nobody else queries for a while.

Facts of OpenPBS 23.06: an id that is not known, or no more, is left out of the JSON and makes the exit status 153
(35 when only the history has it); with all ids unknown there is no "Jobs" at all. A server that can't be reached gives
the same JSON with another status, or no answer for minutes. Values of Variable_List that look like numbers are printed
without quotes, which no JSON parser reads.

A job's exit statuses: below 0 are PBS's own (OpenPBS, job.h), up to 127 the command's, above that a signal's (128 + n;
256 + n when PBS itself sent it).
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from accelbench.errors import UserError
from accelbench.jobs.pbs import queue
from accelbench.store.files import locked, read_json, write_json

ANSWERED = (0, 35, 153)  # 15139 (only in the history) and 15001 (unknown), modulo 256
QSTAT_TIMEOUT_S, QSELECT_TIMEOUT_S, QSUB_TIMEOUT_S = 15.0, 30.0, 120.0
JOB = re.compile(r'"(\d+(?:\[\d*\])?(?:\.[\w.-]+)?)"\s*:\s*\{')
ATTRIBUTE = re.compile(r'"(job_state|substate|Exit_status|comment|Hold_Types|walltime)"\s*:\s*(.+?),?\s*')
Attributes = dict[str, object]


def ask(jobs: Sequence[str], timeout_s: float = QSTAT_TIMEOUT_S) -> dict[str, Attributes] | None:
    """Return what PBS knows of the jobs, by number; None when it can't be asked."""
    try:
        answer = subprocess.run(
            ["qstat", "-x", "-f", "-F", "json", *jobs],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"qstat: {error}", file=sys.stderr)
        return None
    return parse_qstat(answer.stdout.decode(errors="replace")) if answer.returncode in ANSWERED else None


def parse_qstat(text: str) -> dict[str, Attributes]:
    """Read the jobs in qstat's JSON; where that is broken, line by line the attributes that a verdict needs."""
    try:
        jobs = json.loads(text, strict=False).get("Jobs", {})
        return {job_number(job): {**facts, **facts.get("Resource_List", {})} for job, facts in jobs.items()}
    except (ValueError, AttributeError, TypeError):
        return _by_line(text)


def job_number(job: str) -> str:
    """Return what identifies a job on its server: 123 of 123.pbs-01.example."""
    return job.partition(".")[0]


def live(name: str) -> list[str]:
    """Return the ids of one's own jobs of this name that are queued, held or running. Raises UserError."""
    return _called(["qselect", "-N", name], QSELECT_TIMEOUT_S).split()


def enqueue(command: Sequence[str]) -> str:
    """Run qsub and return the job's id. Raises UserError with qsub's own words."""
    return _called(command, QSUB_TIMEOUT_S).strip().splitlines()[-1]


def delete(jobs: Sequence[str], timeout_s: float) -> bool:
    """Have jobs deleted, and tell whether qdel said so within the time; if not, it goes on by itself."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        qdel = subprocess.Popen(
            ["qdel", *jobs],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return qdel.wait(timeout_s) == 0
    return False


def _by_line(text: str) -> dict[str, Attributes]:
    found: dict[str, Attributes] = {}
    facts: Attributes = {}
    for line in text.splitlines():
        if job := JOB.fullmatch(line.strip()):
            facts = found.setdefault(job_number(job[1]), {})
        elif attribute := ATTRIBUTE.fullmatch(line.strip()):
            name, value = attribute.groups()
            # those of the job come before Variable_List; a variable of the same name never replaces them
            facts.setdefault(name, int(value) if re.fullmatch(r"-?\d+", value) else value.strip('"'))
    return found


def _called(command: Sequence[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not on the PATH: this profile is for hosts that submit to PBS.") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} gave no answer within {timeout_s:.0f} s; try again when PBS is up.") from None
    if done.returncode:
        raise UserError(f"{command[0]} refused with status {done.returncode}: {' '.join(done.stderr.split())}")
    return done.stdout


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


JOBS_FILE = Path(".snakemake/pbs/jobs.json")
FRESH_S = 5.0  # an answer of qstat, or its silence, holds for so long
_WORKFLOW_PID = "ACCELBENCH_WORKFLOW_PID"  # as jobs/process.py names it, which is too heavy to be imported here
LOST_AFTER_S = 300.0  # PBS may know nothing of a job for so long (a server that restarts) before it counts as lost
Ask = Callable[[Sequence[str]], dict[str, queue.Attributes] | None]


@dataclass(slots=True)
class Job:
    """One submitted job. Times are seconds since the epoch."""

    name: str = ""
    log: str | None = None
    outputs: list[str] = field(default_factory=list)
    word: Word = "running"
    reason: str | None = None
    unknown_since_s: float | None = None
    held: bool = False  # it failed, and PBS keeps it all the same
    told: bool = False  # Snakemake knows that it is over
    submitter: str = ""  # the Snakemake that waits for it


@dataclass(slots=True)
class Ledger:
    """All jobs by their id, and when PBS was last asked."""

    jobs: dict[str, Job]
    asked_at_s: float = 0.0

    def survey(self, now_s: float, ask: Ask = queue.ask) -> None:
        """Bring all open jobs up to date by one question, unless that was done just now.

        Jobs stay as they are while PBS can't be asked.
        """
        if abs(now_s - self.asked_at_s) < FRESH_S:
            return
        still_open = [job_id for job_id, job in self.jobs.items() if job.word == "running"]
        known = ask(still_open) if still_open else {}
        self.asked_at_s = time.time() if known is None else now_s  # silence may have taken long to notice
        for job_id in still_open if known is not None else ():
            self._judge(job_id, (known or {}).get(queue.job_number(job_id)), now_s)

    def _judge(self, job_id: str, facts: queue.Attributes | None, now_s: float) -> None:
        job = self.jobs[job_id]
        if facts is not None:
            job.unknown_since_s = None
            job.word, job.reason = verdict(facts)
            job.held = job.word == "failed" and facts.get("job_state") != OVER
        elif job.unknown_since_s is None:
            job.unknown_since_s = now_s
        elif now_s - job.unknown_since_s >= LOST_AFTER_S:
            job.word, job.reason = "failed", LOST


def this_snakemake() -> str:
    """Name the Snakemake that this process belongs to, by host and process; the Snakefile tells which it is."""
    return f"{socket.gethostname()}:{os.environ.get(_WORKFLOW_PID, '')}"


@contextmanager
def opened(file: Path = JOBS_FILE) -> Iterator[Ledger]:
    """Yield the ledger for changes; they are kept when the block ends well."""
    with locked(file.with_suffix(".lock"), "another accelbench pbs is querying PBS; waiting until it ends."):
        ledger = _read(file)
        yield ledger
        write_json(file, asdict(ledger))


def _read(file: Path) -> Ledger:
    try:
        record = read_json(file)
        jobs = {job_id: Job(**job) for job_id, job in record["jobs"].items()}
        return Ledger(jobs, record["asked_at_s"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Ledger({})
