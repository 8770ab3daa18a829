"""Delete jobs. Snakemake allows two seconds; a qdel that takes longer continues without it."""

import signal
import sys
from collections.abc import Sequence

from accelbench.jobs.pbs import queue
from accelbench.jobs.pbs.ledger import JOBS_FILE, opened, this_snakemake

WAIT_S, LAST_WAIT_S = 1.0, 10.0


def cancel(jobs: Sequence[str]) -> None:
    """Delete jobs, and wait no longer than Snakemake does."""
    queue.delete(jobs, WAIT_S)


def cancel_what_is_left() -> None:
    """Delete the jobs that this Snakemake still waits for, now that it ends.

    Its own cancel misses the jobs whose status it is querying at the moment of a Ctrl-C (RemoteExecutor.cancel then
    sees an empty list). A killed Snakemake never gets here: its jobs continue, to be adopted.
    """
    if not JOBS_FILE.exists():
        return
    with opened() as ledger:
        jobs = ledger.jobs.items()
        left = [job_id for job_id, job in jobs if job.word == "running" and job.submitter == this_snakemake()]
    if left:
        queue.delete(left, LAST_WAIT_S)


def main() -> None:
    """Delete the named jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave jobs behind
    if sys.argv[1:]:
        cancel(sys.argv[1:])


if __name__ == "__main__":
    main()
