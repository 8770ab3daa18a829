"""Tell Snakemake the state of a job: exactly one of running, success, failed, always with exit status 0.

Anything else, and a signal, too, ends the whole workflow. An unknown state is `running`.
"""

import os
import signal
import sys
import time
from contextlib import redirect_stdout

from accelbench.jobs.pbs import queue
from accelbench.jobs.pbs.ledger import Job, opened
from accelbench.jobs.pbs.reasons import Word, append_reason
from accelbench.jobs.pbs.submit import OUTPUT_DIR

QDEL_TIMEOUT_S = 10.0


def status(job_id: str) -> Word:
    """Return the state of a job; when it is first seen to have failed, the reason goes into its log."""
    with opened() as ledger:
        job = ledger.jobs.setdefault(job_id, Job())
        if job.word == "running":
            ledger.survey(time.time())
        if job.word != "running" and not job.told:
            job.told = True
            reason = f"{job.reason}. {_removed(job_id)}" if job.held else f"{job.reason}."
            if job.reason:
                append_reason(job.log, f"job {job_id}: {reason} PBS output: {OUTPUT_DIR / job_id}.OU")
        return job.word


def _removed(job_id: str) -> str:
    """Delete a job that PBS holds for good, and say so, or how to delete it."""
    return "It is deleted." if queue.delete([job_id], QDEL_TIMEOUT_S) else f"Delete it with `qdel {job_id}`."


def main() -> None:
    """Print the word for the job named last, whatever happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for Snakemake, which is in the same process group
    word: Word = "running"
    try:
        with redirect_stdout(sys.stderr):
            word = status(sys.argv[1])
    except Exception as error:
        print(f"accelbench pbs status: {error}", file=sys.stderr)
    print(word, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
