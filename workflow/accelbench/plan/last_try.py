"""Why the last try of a measurement ended without a result: the one place where the reasons are collected.

A job that can still write records it itself (run.json, failure.json). What the batch system knows about one that could
not is in the rule's log (PBS, see `jobs/pbs/queue.py`) or in the job's own log (Slurm's slurmstepd; refusals and lost
nodes, see `jobs/scheduler.py`). Errors before a job begins are only in the rule's log.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from accelbench.errors import UserError
from accelbench.jobs.process import how_ended
from accelbench.jobs.scheduler import SBATCH_REFUSED, SLURM_LOGS
from accelbench.plan.measurement import MEASURED, OtherSpecError
from accelbench.store.files import read_json, read_record
from accelbench.store.ownership import is_made_here
from accelbench.store.records import FailureFile, State
from accelbench.words import one_line

RULE_LOG, RECORD, FAILURE = "job.log", "run.json", "failure.json"
COMPLAINS = "accelbench: "
TAIL_BYTES, MOST_LETTERS = 65_536, 600
PBS_SAYS = re.compile(r"^accelbench pbs: (?:job \S+: )?(.*?)(?: PBS output: \S+)?$")
OWN_FAILURE = "its command failed with exit status"
"""Then PBS only knows that the job failed by itself."""
RUN_ENDED = re.compile(r"^\S+: the run ended as \w+(?: \([^)]*\))?: ")
SLURM_SAYS = (
    (
        re.compile(r"oom[_-]kill|Out Of Memory|exceeded (?:job )?memory limit", re.IGNORECASE),
        "Slurm killed it: out of memory (mem_mb asks for more)",
    ),
    (re.compile(r"DUE TO TIME LIMIT"), "Slurm ended it at its time limit (runtime_min under cluster)"),
    (re.compile(r"DUE TO PREEMPTION"), "Slurm preempted it for another job"),
    (re.compile(r"DUE TO NODE FAILURE|\|NODE_FAIL$"), "its node was lost (Slurm: NODE_FAIL)"),
    (re.compile(r"error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED"), "it was cancelled (scancel, or an operator)"),
    (re.compile(f"^{SBATCH_REFUSED}(.*)"), r"not submitted: \1"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """What a try says of itself (run.json)."""

    outcome: str | None = None
    exit_status: int | None = None
    failure: str | None = None


def unmeasured(folder: Path, error: UserError) -> tuple[State, str | None]:
    """Return the state of a measurement without a valid result, and the reason; None: it was never tried.

    Snakemake itself repeats what it made from another spec; it knows nothing about results from elsewhere.
    """
    if isinstance(error, OtherSpecError) and is_made_here(str(folder / MEASURED)):
        return "stale", f"will be measured again: {error.differences}"
    if (folder / MEASURED).exists():
        return "refused", str(error)
    why = reason(folder)
    return ("failed", why) if why else ("missing", None)


def reason(folder: Path) -> str | None:
    """Return why the last try in a folder has no result; None if there was no known try."""
    failed: FailureFile = read_record(folder / FAILURE)
    if failed.get("text"):
        return failed["text"]
    run = _read(folder / RECORD)
    if run.outcome == "completed":
        return None
    said = _said_by_pbs(folder) or _said_by_slurm(folder)
    own = said is None or said.startswith(OWN_FAILURE)
    text = run.failure or (_own(folder, run) or said if own else said)
    if run.outcome is None:
        return text
    text = text or _ended(run)
    return text if run.outcome == "failed" else f"{run.outcome}: {text}"


def _read(path: Path) -> _Run:
    try:
        record = read_json(path)
    except FileNotFoundError:
        return _Run()
    except (OSError, ValueError):
        return _Run(f"{path} can't be read")
    if not isinstance(record, dict):
        return _Run()
    return _Run(record.get("outcome"), record.get("exit_status"), (record.get("failure") or {}).get("text"))


def _ended(run: _Run) -> str:
    return "the log breaks off" if run.exit_status is None else how_ended(run.exit_status)


def _own(folder: Path, run: _Run) -> str | None:
    """Return what the job's own error says, after its exit status where that is known."""
    said = log_complaint(folder / RULE_LOG)
    return f"{_ended(run)}: {said}" if said and run.exit_status else said


def _said_by_pbs(folder: Path) -> str | None:
    said = [found[1] for line in last_lines(folder / RULE_LOG) if (found := PBS_SAYS.match(line))]
    return said[-1] if said else None


def _said_by_slurm(folder: Path) -> str | None:
    """Return what the last job's log ends with, unless the measurement was tried elsewhere since."""
    *_, first, second, number = folder.parts
    logs = sorted(SLURM_LOGS.glob(f"rule_*/{first}_{second}_{number[1:]}/*.log"), key=_written)
    if not logs or (_written(logs[-1]) < _written(folder / RULE_LOG) and last_lines(folder / RULE_LOG)):
        return None  # an empty log says nothing of when: a job that never wrote into it may have had it made
    lines = last_lines(logs[-1])
    found = ((pattern.search(line), words) for pattern, words in SLURM_SAYS for line in lines)
    return next((match.expand(words) for match, words in found if match), None)


def log_complaint(log: Path) -> str | None:
    """Return the message that a command ended with, by its log."""
    lines = [line for line in last_lines(log) if not line.startswith("accelbench pbs: ")]
    begins = [place for place, line in enumerate(lines) if line.startswith(COMPLAINS)]
    if not begins:
        return None
    text = " ".join(lines[begins[-1] :]).removeprefix(COMPLAINS)
    return one_line(RUN_ENDED.sub("", text).partition(" Its log is ")[0], MOST_LETTERS)


def last_lines(path: Path) -> list[str]:
    """Return the last lines of a log."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            return stream.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
