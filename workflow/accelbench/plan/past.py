"""What earlier tries tell of a measurement: how long it will take, and why it has no result yet.

A run takes about as long as earlier ones of its size on its platform, a round as long as earlier ones of its load on
its endpoint, by the finished ones that the archive keeps. A measurement whose platform or load was changed meanwhile
counts, too, until newer ones outnumber it.

Why a try ended without a result is collected here, and nowhere else. A job that can still write records it itself
(run.json, failure.json). What the batch system knows about one that could not is in the rule's log (PBS, see
`jobs/pbs/queue.py`) or in the job's own log (Slurm's slurmstepd; refusals and lost nodes, see `jobs/scheduler.py`).
Errors before a job begins are only in the rule's log.
"""

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from accelbench.errors import UserError
from accelbench.foreign import one_line
from accelbench.jobs.process import how_ended
from accelbench.jobs.scheduler import SBATCH_REFUSED, SLURM_LOGS
from accelbench.plan.measurement import MEASURED, OtherSpecError
from accelbench.plan.specs import InferRound, Measurement, Search, TrainRun
from accelbench.store import paths
from accelbench.store.files import read_json, read_record
from accelbench.store.records import FailureFile, State
from accelbench.store.working_directory import is_made_here

LATEST = 5


@dataclass(frozen=True, slots=True)
class Past:
    """One finished measurement; `of`: its batch size, or its cell."""

    name: str
    of: int | str
    ended_at: datetime
    duration_s: float


def past() -> Iterator[Past]:
    """Yield the finished measurements of this folder and of those that it shares the archive with."""
    for record in paths.ARCHIVE.glob("*/run.json"):
        try:
            run = read_json(record)
            spec = run["spec"]
            began_at, ended_at = (datetime.fromisoformat(run[key]) for key in ("started_at", "ended_at"))
            duration_s = run.get("wall_s") or (ended_at - began_at).total_seconds()
            train = spec["kind"] == "train"
            name = spec["platform" if train else "endpoint"]["name"]
            yield Past(name, spec["batch_size" if train else "cell"], ended_at, float(duration_s))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of another version, or damaged: it tells nothing


def past_of(item: Measurement, duration_s: float) -> Past:
    """Return the measurement that has ended just now."""
    return Past(*_kind(item), datetime.now().astimezone(), duration_s)


def usual_s(item: Measurement, finished: Iterable[Past]) -> float | None:
    """Return the median duration of the latest measurements like `item`; None where there is none."""
    kind = _kind(item)
    alike = sorted((each for each in finished if (each.name, each.of) == kind), key=lambda each: each.ended_at)
    return statistics.median(each.duration_s for each in alike[-LATEST:]) if alike else None


def _kind(item: Measurement) -> tuple[str, int | str]:
    return (item.platform, item.batch) if isinstance(item, TrainRun) else (item.endpoint, item.cell)


def together_s(items: Iterable[Measurement], finished: Sequence[Past]) -> tuple[float, bool]:
    """Return how long measurements take one after another, and whether that is known of all of them."""
    each_s = [usual_s(item, finished) for item in items]
    return sum(filter(None, each_s)), None not in each_s


def measured_in(folder: Path) -> Measurement | None:
    """Return the measurement that a folder of results is for; None for another one."""
    with suppress(ValueError):
        match folder.parts:
            case (*_, "training", platform, size, number):
                batch, *axes = paths.parse_size(size)
                return TrainRun(platform, batch, int(number[1:]), *axes)
            case (*_, "inference", endpoint, cell, number):
                return InferRound(endpoint, cell, int(number[1:]))
            case (*_, "inference", endpoint, cell):
                return Search(endpoint, cell)
    return None


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
