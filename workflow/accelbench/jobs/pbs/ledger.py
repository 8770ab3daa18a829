"""The jobs that this folder has submitted, and what became of them: one small file, changed under a lock.

It is also the cache of `qstat`: one query updates all open jobs, and nobody else queries for a while.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelbench.jobs.pbs import queue
from accelbench.jobs.pbs.queue import LOST, OVER, Word, verdict
from accelbench.store.files import locked, read_json, write_json

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
