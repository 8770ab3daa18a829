"""The machine: its Python and packages, the programs of PBS or Slurm where jobs have nodes of their own, and the disk.

Each site prints quotas differently, so the output of the site's own program is shown. Only one thing in it is parsed:
`quota` and `lfs quota` put a `*` after a figure that is over its limit (their manuals).
"""

import getpass
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from accelbench.analysis.training import multiplied_parameters
from accelbench.config import Cluster, Config
from accelbench.errors import Finding, UserError, fails, ok, warning
from accelbench.plan import specs
from accelbench.preflight.inference import planned_loads
from accelbench.store import paths
from accelbench.store.paths import profile
from accelbench.training.backends import backend_of
from accelbench.training.params.check import trainers
from accelbench.training.params.render import render
from accelbench.words import one_line


def check_machine(config: Config) -> Iterator[Finding]:
    """Yield the state of the interpreter and its packages."""
    yield _python()
    yield _packages("local" if specs.needs_local(config) else "core")


def wrong_packages(environment: str) -> list[str]:
    """Return the packages of an environment (core or local) that are missing, or have another version than required.

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
            found.append(f"{requirement} is required, {installed} is installed")
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
        return warning(what, "accelbench is not installed here, so its requirements are unknown", f"Run `{command}`.")
    if wrong:
        return fails(what, "; ".join(wrong), f"Run `{command}`.")
    return ok(what, "all installed, in the required versions")


PBS = ("qsub", "qstat", "qdel", "qselect")
SLURM = ("sbatch", "squeue", "scancel", "scontrol")
WITHOUT_ACCOUNTING = "--slurm-no-account --slurm-status-command squeue"
SACCT_TIMEOUT_S = 10.0
ON_A_NODE = "Start from a login node of the cluster, or run on a node itself, without a profile."


def check_tools(config: Config) -> Iterator[Finding]:
    """Yield whether the programs that submit jobs to nodes exist."""
    if on_nodes(config):
        yield _pbs(config.cluster) if config.cluster.is_for_pbs else _slurm()


def on_nodes(config: Config) -> int:
    """Return how many jobs get a node of their own with the cluster's profile."""
    runs = sum(backend_of(config, run.platform).own_node for run in specs.train_runs(config))
    rounds = [each for each in specs.infer_rounds(config) if config.inference.endpoints[each.endpoint].own_node]
    return runs + len({specs.result_of(config, each) for each in rounds})


def _pbs(cluster: Cluster) -> Finding:
    what = "PBS"
    if job := os.environ.get("PBS_JOBID"):
        return ok(what, f"this is a node, in job {job}: run without a profile here")
    missing = [program for program in PBS if shutil.which(program) is None]
    if missing and shutil.which("sbatch"):
        return ok(what, f"not found, but sbatch is: use --profile {profile('slurm')}")
    if missing:
        text = f"{', '.join(missing)} can't be found, but the plan has jobs for cluster nodes"
        return fails(what, text, ON_A_NODE)
    if cluster.account is None:
        return warning(
            what, "cluster.account is not set", "ALCF refuses such jobs: name the project (sbank-list-allocations)."
        )
    return ok(what, f"{', '.join(PBS)} are found; {cluster.account} is charged")


def _slurm() -> Finding:
    """Check for Slurm, if the config has nothing for PBS. It may be meant for a node."""
    what = "Slurm"
    if job := os.environ.get("SLURM_JOB_ID"):
        return ok(what, f"this is a node, in job {job}: run without a profile here")
    missing = [program for program in SLURM if shutil.which(program) is None]
    if missing:
        text = f"{', '.join(missing)} can't be found, and cluster has no PBS settings: all jobs would run here"
        return warning(what, text, ON_A_NODE)
    found = f"{', '.join(SLURM)} are found: use --profile {profile('slurm')}"
    if complaint := _no_accounting():
        return warning(what, f"{found}; {complaint}", f"Add `{WITHOUT_ACCOUNTING}` to the command.")
    return ok(what, found)


def _no_accounting() -> str | None:
    """Return why sacct can't be queried for the state of jobs; None if it can."""
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
        return "sacct is not found"
    except (OSError, subprocess.TimeoutExpired):
        return "sacct does not answer"
    return f"sacct says: {one_line(done.stderr, 120)}" if done.returncode else None


_TIMEOUT_S = 10.0  # `quota` queries file servers, which may be down
LINES_SHOWN = 8
_OVER = re.compile(r"\d[\w.]*\*")


def quota(folder: Path) -> list[str] | None:
    """Return the output of the first program here that reports a quota; None if none does."""
    for command in _commands(folder):
        if shutil.which(command[0]) is not None and (lines := _printed(command)):
            return [f"`{' '.join(command)}` says:", *lines[:LINES_SHOWN]]
    return None


def is_exceeded(lines: list[str]) -> bool:
    """Whether a figure is marked as over its limit."""
    return any(_OVER.search(line) for line in lines[1:])


def _commands(folder: Path) -> Iterator[list[str]]:
    yield ["myquota"]  # ALCF
    yield ["lfs", "quota", "-h", "-u", getpass.getuser(), str(folder)]  # fails where the folder is not on Lustre
    yield ["quota", "-w"]


def _printed(command: list[str]) -> list[str]:
    """Return what a command prints, or nothing. Its exit status is ignored: it may only reflect a limit."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


GB = 1e9
PROBE_BYTES = 1_000_000
CHECKPOINT_BYTES_PER_PARAMETER = 12  # float32: the weight and AdamW's two moments
WEIGHTS_BYTES = 520e6  # the packaged weights, converted
BYTES_PER_TOKEN = 500  # a streamed chunk and its record
REST_BYTES = 200e6  # logs, tables, plots
MUCH_BYTES = 20e9  # a home folder's quota is of this order (ALCF: 50 GB)
FREE_SOME = "Free some space, work in another folder, or set training.checkpoint_steps to null."
ASK_SITE = "Ask your site about your quota and where there is space."


def check_disk(config: Config) -> Iterator[Finding]:
    """Yield whether the plan fits into the free space and, as far as the site reports it, into the quota."""
    folder = _existing(Path(paths.RESULTS))
    needed, free = needed_bytes(config), shutil.disk_usage(folder).free
    text = f"{free / GB:,.3g} GB are free; the plan writes about {needed / GB:,.3g} GB"
    if needed > free:
        yield fails("disk", text, FREE_SOME)
    elif needed > free / 2:
        yield warning("disk", text, FREE_SOME)
    else:
        yield ok("disk", text)
    yield _quota(needed, quota(folder.absolute()))
    yield from _unwritable()


def _unwritable() -> Iterator[Finding]:
    """Yield folders other than results/ that programs can't write into: the home folder and TMPDIR."""
    for name, use in (("HOME", "caches"), ("TMPDIR", "temporary files")):
        if not (place := os.environ.get(name)):
            continue
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"0" * PROBE_BYTES)
        except OSError as error:
            remedy = f"Free some space there, or `export {name}=` another folder."
            yield warning(name, f"{place} can't hold {use} ({error.strerror})", remedy)


def _quota(needed: float, said: list[str] | None) -> Finding:
    if said is None:
        text = "no program here reports one (myquota, lfs quota, quota)"
        return warning("quota", text, ASK_SITE) if needed > MUCH_BYTES else ok("quota", text)
    text = "\n".join(said)
    if is_exceeded(said):
        return fails("quota", text, "A figure with * is over its limit. Free some space, or work in another folder.")
    if needed > MUCH_BYTES:
        return warning(
            "quota", text, f"Make sure that it leaves {needed / GB:,.3g} GB, or set checkpoint_steps to null."
        )
    return ok("quota", text)


def needed_bytes(config: Config) -> float:
    """Return about how many bytes the whole plan writes."""
    answers = sum(planned_loads(config, name).answer_tokens * BYTES_PER_TOKEN for name in config.inference.run)
    converted = {
        endpoint.model
        for endpoint in (config.inference.endpoints[name] for name in config.inference.run)
        if endpoint.server is not None and endpoint.server.converts_weights
    }
    checkpoints = sum(_checkpoint_bytes(config, run) for run in specs.train_runs(config))
    return answers + len(converted) * WEIGHTS_BYTES + checkpoints + REST_BYTES


def _checkpoint_bytes(config: Config, run: specs.TrainRun) -> float:
    """Return the size of one run's checkpoints; 0 if its params file is refused, which another check reports."""
    training, backend = config.training, backend_of(config, run.platform)
    if training.checkpoint_steps is None or not backend.platform.trains:
        return 0.0
    try:
        [(_, trainer)] = trainers(render(config, run))
        parameters = multiplied_parameters(trainer["init"]["model"]) or 0
    except (UserError, ValueError, KeyError, TypeError):
        return 0.0
    steps = training.settings(run.batch, run.micro).max_steps or training.max_steps
    saved = -(-steps // training.checkpoint_steps)
    kept = min(saved, backend.checkpoints_kept or saved)
    return float(kept * parameters * CHECKPOINT_BYTES_PER_PARAMETER)


def _existing(path: Path) -> Path:
    return path if path.exists() else Path()
