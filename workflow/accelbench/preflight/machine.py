"""The machine: its Python and packages, the programs of PBS or Slurm where jobs have nodes of their own, and the disk.

Each site prints quotas differently, so the output of the site's own program is shown. Only one thing in it is parsed:
`quota` and `lfs quota` put a `*` after a figure that is over its limit (their manuals).

What makes this machine's figures vary, and what to do about it, is told as `pyperf system show` does. All of it is
advice; nothing is said of what is fine, or can't be read here. Processes are counted, never named.
"""

import getpass
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from accelbench.analysis.disturbance import MOST_TAKEN
from accelbench.analysis.training import multiplied_parameters
from accelbench.config import Cluster, Config
from accelbench.errors import Finding, UserError, fails, ok, warning
from accelbench.foreign import one_line
from accelbench.plan import specs
from accelbench.preflight.inference import planned_loads
from accelbench.store import paths
from accelbench.store.paths import profile
from accelbench.training.backends import backend_of
from accelbench.training.params.check import trainers
from accelbench.training.params.render import render


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
    searches = [each for each in specs.searches(config) if config.inference.endpoints[each.endpoint].own_node]
    return runs + len({specs.result_of(config, each) for each in rounds}) + len(searches)


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


CPUS, CGROUPS, OWN_CGROUP = Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_LOOK_S, _MUCH_SWAPPED_BYTES, _FIRST_PERSON = 0.5, 100e6, 1000  # uids below are the system's


def check_noise(config: Config) -> Iterator[Finding]:
    """Yield what makes figures vary here."""
    yield from _clock()
    yield from _limits()
    yield from _others()
    swapped = psutil.swap_memory().used
    if swapped > _MUCH_SWAPPED_BYTES:
        text = f"{swapped / 1e9:.1f} GB of memory are swapped out; reading them back delays whatever needs them"
        yield warning("swap", text, "Free memory, then `sudo swapoff -a && sudo swapon -a`.")


def _clock() -> Iterator[Finding]:
    governors = {text for path in CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor") if (text := _read(path))}
    if governors - {"performance"}:
        text = f"the clock follows the load (governor {', '.join(sorted(governors))})"
        yield warning("CPU governor", text, "`sudo cpupower frequency-set --governor performance`")
    for switch, turbo in ((CPUS / "intel_pstate/no_turbo", "0"), (CPUS / "cpufreq/boost", "1")):
        if _read(switch) == turbo:
            text = "the clock rises above its nominal value until the processor is hot: long runs get slower"
            yield warning("turbo", text, f"`echo {1 - int(turbo)} | sudo tee {switch}`")
    if _read(CPUS / "smt/active") == "1":
        text = "two threads share each core (SMT), so more threads than cores slow each other"
        yield warning("SMT", text, "Set the threads of servers and trainers to the number of cores.")


def _limits() -> Iterator[Finding]:
    cores = psutil.cpu_count() or 1
    allowed = _allowed_cores()
    if allowed is not None and allowed < cores:
        text = f"a control group allows {allowed:g} of {cores} cores, and stops programs that want more"
        yield warning(
            "CPU limit", text, f"Lift it, or set the threads of servers and trainers to {max(1, int(allowed))}."
        )
    spent = psutil.cpu_times()
    steal_s = getattr(spent, "steal", 0.0)
    if steal_s > MOST_TAKEN * (spent.user + spent.system + steal_s):
        share = steal_s / (spent.user + spent.system + steal_s)
        text = f"other virtual machines took {share:.0%} of the CPU time that this one wanted since it started"
        yield warning("virtual machine", text, "Measure on a machine with cores of its own.")


def _allowed_cores() -> float | None:
    """Return how many cores the limit of our control group (version 2) allows; None without a limit."""
    with suppress(ValueError, StopIteration):
        own = next(line[3:] for line in (_read(OWN_CGROUP) or "").splitlines() if line.startswith("0::"))
        quota, period = (_read(CGROUPS / own.lstrip("/") / "cpu.max") or "").split()
        return int(quota) / int(period)  # "max" is no number: there is no limit
    return None


def _others() -> Iterator[Finding]:
    """Yield how busy the machine is, and with how many other users' processes."""
    cores = psutil.cpu_count() or 1
    before, begun_s = _spent_by_others(), time.monotonic()
    all_before_s = psutil.cpu_times()
    time.sleep(_LOOK_S)
    after, all_after_s, lasted_s = _spent_by_others(), psutil.cpu_times(), time.monotonic() - begun_s
    spent_s = {pid: after[pid] - before[pid] for pid in after.keys() & before.keys()}
    share = sum(spent_s.values()) / (cores * lasted_s)
    if share > MOST_TAKEN:
        text = f"{sum(s > 0 for s in spent_s.values())} processes of other users use {share:.0%} of the CPU time"
        yield warning("other users", text, "Measure when they have ended, or on a machine of your own.")
    used_s = sum(getattr(all_after_s, key) - getattr(all_before_s, key) for key in ("user", "system"))
    busy = used_s / (cores * lasted_s)
    if busy - share > MOST_TAKEN:
        text = f"programs use {busy:.0%} of the CPU time before anything is measured (load {os.getloadavg()[0]:.1f})"
        yield warning("busy", text, "End them. A round waits up to 60 s for a quiet machine (measurement.when_busy).")


def _spent_by_others() -> dict[int, float]:
    """Return the CPU time of each process of another person."""
    spent = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (uid := process.uids().real) >= _FIRST_PERSON and uid != os.getuid():
                spent[process.pid] = sum(process.cpu_times()[:2])
    return spent


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return None
