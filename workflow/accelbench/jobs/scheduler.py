"""What Slurm reports about jobs: why it ended this one, and which have ended, in words that Snakemake's plugin knows.

And what starts a command on all nodes of a job, of Slurm or PBS.

Slurm sends SIGTERM at the time limit and when a job is cancelled, and kills what is left half a minute later. So it is
queried when its signal arrives, while there is time to record the answer. PBS is queried from outside instead
(`jobs/pbs/programs.py`).

The plugin (snakemake-executor-plugin-slurm 2.8.0) waits forever for a job whose state it does not know as an end:
sacct's "CANCELLED by 0" after an operator's scancel, and PREEMPTED, because it expects Slurm to requeue the job, which
this project's profile forbids. So the workflow puts profiles/slurm/shims with sacct and squeue first, which call this
module; and sbatch, so that what it refuses is known later, too.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from accelbench.errors import UserError
from accelbench.foreign import one_line

_TIMEOUT_S = 5.0
SLURM_LOGS = Path(".snakemake/slurm_logs")
SBATCH_REFUSED = "accelbench: Slurm refused it: "
SHIMS = Path(__file__).parents[3] / "profiles/slurm/shims"
STATE = re.compile(r"(?m)^([^|\n]+)\|([A-Z_]+)( by \d+)?$")
_FAILED = ("PREEMPTED", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL")  # ends that the plugin does not know as such
_PASSED_ON = re.compile(r"PATH|LD_LIBRARY_PATH|PYTHONPATH|(OMP|NCCL|TORCH)_\w+")
ENDED = ("COMPLETING", "CANCELLED", "TIMEOUT", "PREEMPTED")


@contextmanager
def end_explained(note: Callable[[str], None]) -> Iterator[None]:
    """Pass the reason to `note` when Slurm, or Ctrl-C, ends the job inside the block."""
    try:
        yield
    except SystemExit:  # what SIGTERM becomes (process.end_with_workflow)
        if reason := why_ended():
            note(reason)
        raise
    except KeyboardInterrupt:
        note("it was stopped by Ctrl-C")
        raise


def why_ended() -> str | None:
    """Return why Slurm ends the job of this process; None if it does not, or can't be queried."""
    job = os.environ.get("SLURM_JOB_ID")
    said = _asked(job) if job else {}
    if said.get("JobState") not in ENDED:
        return None
    if said.get("Reason") == "TimeLimit":
        return f"Slurm ended job {job} at its time limit, {said.get('TimeLimit')} (runtime_min under cluster)"
    return f"Slurm's job {job} was cancelled (reason given: {said.get('Reason')})"


def once_per_node(nodes: int) -> list[str]:
    """Return what starts a command once on each node of this job. Raises UserError outside of a PBS or Slurm job."""
    if "SLURM_JOB_ID" in os.environ:
        tasks = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        return ["srun", "--overlap", *tasks, "--kill-on-bad-exit=1"]
    if "PBS_NODEFILE" in os.environ:
        return ["mpiexec", "-n", str(nodes), *_one_per_node(os.environ["PBS_NODEFILE"])]
    raise UserError(f"{nodes} nodes train together only in a job of PBS or Slurm: submit it (--profile profiles/…).")


def _one_per_node(nodefile: str) -> list[str]:
    """Return the options of this host's mpiexec for one process per node.

    PALS, MPICH and Intel MPI take --ppn, read the job's nodes by themselves and pass on the environment. Open MPI
    (4: OpenRTE) knows no --ppn, reads the nodes only if it was built for PBS, and passes on only the variables named.
    """
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(["mpiexec", "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if re.search(r"\((Open MPI|OpenRTE)\)", said.stdout):
            passed_on = [option for name in os.environ if _PASSED_ON.fullmatch(name) for option in ("-x", name)]
            return ["--map-by", "ppr:1:node", "--hostfile", nodefile, *passed_on]
    return ["--ppn", "1"]


def understood(said: str, starts_again: Callable[[str], bool]) -> str:
    """Return the output of sacct or squeue, with jobs that ended for good as CANCELLED or FAILED."""

    def state(line: re.Match[str]) -> str:
        job, word = line[1], line[2]
        return f"{job}|{'FAILED' if word in _FAILED and not starts_again(job) else word}"

    return STATE.sub(state, said)


def main() -> None:
    """Run Slurm's own program of the name given first; print what it says, understood."""
    name, *arguments = sys.argv[1:]
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder).parent != SHIMS]
    program = shutil.which(name, path=os.pathsep.join(folders))
    if program is None:
        sys.exit(f"{name}: not found")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    print(understood(done.stdout, lambda job: _asked(job).get("Requeue") == "1"), end="")
    print(done.stderr, end="", file=sys.stderr)
    if name == "sbatch" and done.returncode:
        _note_refusal(arguments, done.stderr)
    _note_lost_nodes(done.stdout)
    sys.exit(done.returncode)


def _note_refusal(arguments: Sequence[str], said: str) -> None:
    """Write why a job was not taken to where its log would be."""
    for option, log in pairwise(arguments):
        if option == "--output":
            Path(log).with_name("refused.log").write_text(f"{SBATCH_REFUSED}{one_line(said)}\n")


def _note_lost_nodes(said: str) -> None:
    """Write into the logs of jobs that their node was lost: the jobs could not do so."""
    for job in re.findall(r"(?m)^(\d+)\|NODE_FAIL$", said):
        for log in SLURM_LOGS.glob(f"rule_*/*/{job}.log"):
            line = f"accelbench: Slurm says {job}|NODE_FAIL\n"
            if line not in log.read_text(errors="replace"):
                with log.open("a") as stream:
                    stream.write(line)


def _asked(job: str) -> dict[str, str]:
    """Return Slurm's facts about a job, by the names of `scontrol show job`."""
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(re.findall(r"(JobState|Reason|TimeLimit|Requeue)=(\S+)", done.stdout))


if __name__ == "__main__":
    main()
