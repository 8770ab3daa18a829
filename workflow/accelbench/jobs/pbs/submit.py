"""Submit one of Snakemake's job scripts, unless its job is already queued, running or done.

A Snakemake that crashed leaves its jobs in PBS. They are found again by their name, so that nothing is measured by two
copies at once, and what succeeded meanwhile is kept. The submitting environment is never passed on (no -V): it holds
tokens, and PBS shows a job's variables to others.
"""

import hashlib
import json
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from accelbench.errors import UserError
from accelbench.jobs.pbs import queue
from accelbench.jobs.pbs.ledger import Job, opened, this_snakemake
from accelbench.jobs.pbs.reasons import append_reason, verdict

_HEAD = "# properties = "
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


OUTPUT_DIR = Path("results/logs/pbs")
OPTIONS = {"pbs_account": "-A", "pbs_queue": "-q"}
ASKED = ("select", "place", "filesystems")


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


def main() -> None:
    """Print the id of the job that runs the script named last; a mistake is one line and status 1.

    Nothing else may reach stdout: Snakemake takes its first line as the id.
    """
    try:
        with redirect_stdout(sys.stderr):
            job_id = submit(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"accelbench pbs: {error}")
    print(job_id)


if __name__ == "__main__":
    main()
