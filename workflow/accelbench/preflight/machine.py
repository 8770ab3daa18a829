"""The Python that runs the workflow, and the packages that the plan needs.

The programs of PBS or Slurm, where jobs have nodes of their own.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from accelbench.config import Cluster, Config
from accelbench.plan import specs
from accelbench.plan.findings import Finding, fails, ok, warning
from accelbench.store.paths import profile
from accelbench.training.backends import backend_of
from accelbench.words import one_line


def check_machine(config: Config) -> Iterator[Finding]:
    """Yield what the interpreter and its packages are."""
    yield _python()
    yield _packages("local" if specs.needs_local(config) else "core")


def wrong_packages(environment: str) -> list[str]:
    """Return the packages of an environment (core or local) that are missing, or have another version than is asked.

    Raises PackageNotFoundError where accelbench itself is not installed.
    """
    found = []
    for requirement in map(Requirement, requires("accelbench") or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": environment}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            found.append(f"{requirement} is not installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            found.append(f"{requirement} is asked for, {installed} is installed")
    return found


def _python() -> Finding:
    text = f"Python {platform.python_version()}, snakemake {version('snakemake')}, {sys.prefix}"
    if sys.prefix == sys.base_prefix:
        return warning("Python", f"{text}: no virtual environment", "Run `make setup`, then `. .venv/bin/activate`.")
    return ok("Python", text)


def _packages(environment: str) -> Finding:
    what = f"packages ({environment})"
    command = f"pip install --editable {'.' if environment == 'core' else '.[local]'}"
    try:
        wrong = wrong_packages(environment)
    except PackageNotFoundError:
        return warning(what, "accelbench is not installed here, so nothing says what it needs", f"Run `{command}`.")
    if wrong:
        return fails(what, "; ".join(wrong), f"Run `{command}`.")
    return ok(what, "all there, in the versions that are asked for")


PBS = ("qsub", "qstat", "qdel", "qselect")
SLURM = ("sbatch", "squeue", "scancel", "scontrol")
WITHOUT_ACCOUNTING = "--slurm-no-account --slurm-status-command squeue"
SACCT_TIMEOUT_S = 10.0
ON_A_NODE = "Start from a login node of the cluster, or run on a node itself, without a profile."


def check_tools(config: Config) -> Iterator[Finding]:
    """Yield whether what submits jobs to nodes is there."""
    if on_nodes(config):
        yield _pbs(config.cluster) if config.cluster.is_for_pbs else _slurm()


def on_nodes(config: Config) -> int:
    """Return how many jobs have a node of their own, where the cluster's profile is used."""
    runs = sum(backend_of(config, run.platform).own_node for run in specs.train_runs(config))
    return runs + sum(config.inference.endpoints[item.endpoint].own_node for item in specs.infer_rounds(config))


def _pbs(cluster: Cluster) -> Finding:
    what = "PBS"
    if job := os.environ.get("PBS_JOBID"):
        return ok(what, f"this is a node, in job {job}: run without a profile here")
    missing = [program for program in PBS if shutil.which(program) is None]
    if missing and shutil.which("sbatch"):
        return ok(what, f"not here; sbatch is: use --profile {profile('slurm')}")
    if missing:
        text = f"{', '.join(missing)} can't be found, and the plan has jobs for a cluster's nodes"
        return fails(what, text, ON_A_NODE)
    if cluster.account is None:
        return warning(
            what, "cluster.account is left out", "ALCF refuses such jobs: name the project (sbank-list-allocations)."
        )
    return ok(what, f"{', '.join(PBS)} are found; {cluster.account} is charged")


def _slurm() -> Finding:
    """Say what is here of Slurm: all that is left where the config has nothing for PBS. It may be meant for a node."""
    what = "Slurm"
    if job := os.environ.get("SLURM_JOB_ID"):
        return ok(what, f"this is a node, in job {job}: run without a profile here")
    missing = [program for program in SLURM if shutil.which(program) is None]
    if missing:
        text = f"{', '.join(missing)} can't be found, and nothing under cluster is for PBS: all jobs would run here"
        return warning(what, text, ON_A_NODE)
    found = f"{', '.join(SLURM)} are found: use --profile {profile('slurm')}"
    if complaint := _no_accounting():
        return warning(what, f"{found}; {complaint}", f"Add `{WITHOUT_ACCOUNTING}` to the command.")
    return ok(what, found)


def _no_accounting() -> str | None:
    """Say why there is no asking sacct for the state of jobs; None where there is."""
    try:
        done = subprocess.run(
            ["sacct", "--noheader", "--allocations", "--starttime=now"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SACCT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return "sacct is not"
    except (OSError, subprocess.TimeoutExpired):
        return "sacct gives no answer"
    return f"sacct says: {one_line(done.stderr, 120)}" if done.returncode else None
