"""The programs that Snakemake's cluster-generic executor calls: `python -m accelbench.jobs.pbs.programs submit SCRIPT`.

submit   submits one of Snakemake's job scripts, unless its job is already queued, running or done: a Snakemake that
         crashed leaves its jobs in PBS. They are found again by their name, so that nothing is measured by two copies
         at once, and what succeeded meanwhile is kept. The submitting environment is never passed on (no -V): it holds
         tokens, and PBS shows a job's variables to others.
status   prints the state of a job: exactly one of running, success, failed, always with exit status 0. Anything else,
         and a signal, too, ends the whole workflow. An unknown state is `running`.
cancel   deletes jobs. Snakemake allows two seconds; a qdel that takes longer continues without it.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from accelbench.errors import UserError
from accelbench.jobs.pbs import queue
from accelbench.jobs.pbs.queue import JOBS_FILE, Job, Word, append_reason, opened, this_snakemake, verdict

_HEAD = "# properties = "
OUTPUT_DIR = Path("results/logs/pbs")
OPTIONS = {"pbs_account": "-A", "pbs_queue": "-q"}
ASKED = ("place", "filesystems")
QDEL_TIMEOUT_S = 10.0  # of a job that PBS holds for good
WAIT_S, LAST_WAIT_S = 1.0, 10.0  # for qdel, when Snakemake cancels, and when it ends
DIGEST_DIGITS = 9  # with five letters and a dash 15 characters: the longest name that every PBS takes


@dataclass(frozen=True, slots=True)
class JobScript:
    """One job of the workflow, as its script names it."""

    path: Path
    rule: str
    wildcards: dict[str, str]
    spec: str
    logs: list[str]
    outputs: list[str]
    resources: dict[str, object]

    @property
    def log(self) -> str | None:
        """The rule's log file."""
        return self.logs[0] if self.logs else None

    def name(self, workdir: Path) -> str:
        """Return the job's name in PBS: the same for the same rule, wildcards and spec in the same folder."""
        identity = json.dumps([str(workdir), self.rule, self.wildcards, self.spec], sort_keys=True)
        return f"{self.rule[:5]}-{hashlib.sha256(identity.encode()).hexdigest()[:DIGEST_DIGITS]}"


def read_jobscript(path: Path) -> JobScript:
    """Read what a job script says of its job. Raises UserError for a script that is not Snakemake's."""
    for line in path.read_text().splitlines():
        if line.startswith(_HEAD):
            properties = json.loads(line.removeprefix(_HEAD))
            return JobScript(
                path=path,
                rule=properties["rule"],
                wildcards=properties["wildcards"],
                spec=str(properties.get("params", {}).get("spec", "")),
                logs=properties["log"],
                outputs=properties["output"] or [],
                resources=properties["resources"],
            )
    raise UserError(f"{path} has no line `{_HEAD}…`; submit expects a job script that Snakemake wrote.")


def submit(path: Path) -> str:
    """Return the id of the job that runs a script: a new one, or the existing one.

    Raises UserError, also written into the rule's log, when PBS refuses the job.
    """
    script = read_jobscript(path)
    name = script.name(Path.cwd())
    try:
        waited_for = _alive(name)
        ended = None if waited_for else _ended_unreported(name)
        job_id = waited_for or ended or queue.enqueue(qsub_command(script, name))
    except UserError as error:
        append_reason(script.log, f"not submitted: {error}")
        raise
    with opened() as ledger:
        if not ended:  # earlier states of a job (failed, lost) don't apply to one that is alive
            ledger.jobs[job_id] = Job(name, script.log, script.outputs)
        ledger.jobs[job_id].submitter = this_snakemake()
    return job_id


def qsub_command(script: JobScript, name: str) -> list[str]:
    """Return the qsub command of one job. Raises UserError when the config names no account."""
    asked = script.resources
    if not asked.get("pbs_account"):
        raise UserError(
            "cluster.account is missing: PBS needs the project to charge. Write `cluster: "
            "{account: …}` into your config file, or add --config cluster='{account: …}' to the command."
        )
    output = OUTPUT_DIR.absolute()
    output.mkdir(parents=True, exist_ok=True)
    command = ["qsub", "-N", name, "-S", "/bin/sh", "-r", "n", "-k", "doe", "-j", "oe", "-o", f"{output}/"]
    for resource, option in OPTIONS.items():
        command += [option, str(asked[resource])] if asked.get(resource) else []
    if asked.get("runtime"):
        command += ["-l", f"walltime={walltime(int(str(asked['runtime'])))}"]
    if chunk := str(asked.get("pbs_select") or ""):
        several = f"{asked['nodes']}{chunk.removeprefix('1')}" if "nodes" in asked else None  # chunk: of one node
        command += ["-l", f"select={several or chunk}"]
    for key in ASKED:
        command += ["-l", f"{key}={asked[f'pbs_{key}']}"] if asked.get(f"pbs_{key}") else []
    return [*command, str(script.path)]


def walltime(minutes: int) -> str:
    """Return minutes as hours:minutes:seconds."""
    return f"{minutes // 60:02}:{minutes % 60:02}:00"


def _alive(name: str) -> str | None:
    """Return the id of a job of this name that is queued, held or running; one that can't start any more is deleted."""
    for job_id in queue.live(name):
        facts = (queue.ask([job_id]) or {}).get(queue.job_number(job_id), {})
        if verdict(facts)[0] == "failed":
            queue.delete([job_id], queue.QSTAT_TIMEOUT_S)
            continue
        print(f"{name}: already submitted as {job_id}; continuing with it.", file=sys.stderr)
        return job_id
    return None


def _ended_unreported(name: str) -> str | None:
    """Return the id of a job of this name that succeeded, whose outputs exist, and that was never reported."""
    with opened() as ledger:
        unreported = {job_id: job for job_id, job in ledger.jobs.items() if job.name == name and not job.told}
        if unreported:
            ledger.survey(time.time())
        for job_id, job in unreported.items():
            if job.word == "success" and job.outputs and all(Path(output).exists() for output in job.outputs):
                print(f"{name}: ended as {job_id} while no Snakemake was running.", file=sys.stderr)
                return job_id
            job.told = True
    return None


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
    """Run the program that is named, with the script or the jobs named after it."""
    program, *named = sys.argv[1:]
    if program != "submit":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for Snakemake, which is in the same process group
    if program == "submit":
        _print_id(Path(named[0]))
    elif program == "status":
        _print_word(named)
    elif named:
        cancel(named)


def _print_id(script: Path) -> None:
    """Print the id of the job that runs a script; a mistake is one line and status 1.

    Nothing else may reach stdout: Snakemake takes its first line as the id.
    """
    try:
        with redirect_stdout(sys.stderr):
            job_id = submit(script)
    except UserError as error:
        sys.exit(f"accelbench pbs: {error}")
    print(job_id)


def _print_word(named: Sequence[str]) -> None:
    """Print the state of the named job, and end with status 0, whatever happens."""
    word: Word = "running"
    try:
        with redirect_stdout(sys.stderr):
            word = status(named[0])
    except Exception as error:
        print(f"accelbench pbs status: {error}", file=sys.stderr)
    print(word, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
