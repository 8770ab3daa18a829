"""What PBS says of jobs: one `qstat` for many, read even where its JSON is broken.

Facts of OpenPBS 23.06: an id that is not known, or no more, is left out of the JSON and makes the exit status 153
(35 when only the history has it); with all ids unknown there is no "Jobs" at all. A server that can't be reached gives
the same JSON with another status, or no answer for minutes. Values of Variable_List that look like numbers are printed
without quotes, which no JSON parser reads.
"""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence

from accelbench.errors import UserError

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
