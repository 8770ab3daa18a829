"""How the workflow grows: the time to plan, and to find that nothing is to be done; what a job costs beside its work.

    python benchmarks/workflow.py [--cells 100 1000] [--times 3] [--jobs 20] [--quick]
    python benchmarks/workflow.py --run DIR

A cell is here one round of one load against one endpoint: a measuring job of its own, and an entry in every table. The
project is copied to a temporary folder; its endpoints are one truth server (`accelbench.inference.truth_server`), which
answers a request in 0.2 s. The real job measures one round. The others get its raw files under their own spec, finished
and archived as that job does it, and Snakemake itself takes them over (`--touch`, without its pause of 0.1 s per job).
Classifying, tables, plots and the report are real jobs over all rounds. So what Snakemake finds when nothing is to be
done is what it would have found after measuring all of them. "Snakemake by itself" is a Snakefile of the same shape
that holds nothing of ours: a checkpoint, and so many jobs that wait for it. Where other programs want the cores too,
the CPU time is the workflow's own.

`--run DIR` reads a finished run of the project in DIR, from Snakemake's own metadata and log: what share of its wall
time lay outside measuring. A measuring job measures from the lock on its folder to its last file.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accelbench.config import Config, configfile
from accelbench.inference.calibration import serving_truth
from accelbench.inference.client.journal import EXCHANGES, attempts
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, finish
from accelbench.store import paths
from accelbench.store.files import read_json, write_json

REPOSITORY = Path(__file__).parents[1]
COPIED = ("Snakefile", "workflow", "config", "profiles", "envs")
BASE, CONFIG = Path("config/config.yaml"), Path("config/cells.yaml")
ENDPOINTS, ROUNDS = 4, 5
RUN_JSON = "run.json"
SNAKEMAKE = (str(Path(sys.executable).with_name("snakemake")), "--cores", "4")
NOTHING = "Nothing to be done"
GOAL_NOTHING_S, GOAL_SHARE = 3.0, 0.1
MEASURING, LOCK = ("train", "infer", "infer_on_node"), ".lock"
BARE = """
checkpoint prompts:
    output: "prompts"
    shell: "touch {{output}}"

rule infer:
    input: lambda wildcards: ancient(checkpoints.prompts.get().output)
    output: "results/{{cell}}"
    params: spec=lambda wildcards: 50 * f"cell {{wildcards.cell}} "
    shell: "touch {{output}}"

rule all:
    default_target: True
    input: expand("results/{{cell}}", cell=range({cells}))
"""
TAKE_OVER = """
import sys
from snakemake.cli import main
from snakemake.executors import touch
touch.Executor.SLEEPING_TIME = 0
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    """Measure the growth, or read a finished run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 1000], help="10000 takes long")
    parser.add_argument("--times", type=int, default=3, help="how often each command is timed")
    parser.add_argument("--jobs", type=int, default=20, help="real measuring jobs at a time, for the cost of one")
    parser.add_argument("--quick", action="store_true", help="20 cells, once, and two jobs")
    parser.add_argument("--run", type=Path, metavar="DIR", help="read the finished run of the project in this folder")
    options = parser.parse_args()
    if options.run:
        print("\n".join(outside_measuring(options.run)))
        return
    if options.quick:
        options.cells, options.times, options.jobs = [ENDPOINTS * ROUNDS], 1, 2
    print(f"load average {os.getloadavg()[0]:.1f}; median (smallest to largest) of {options.times}", flush=True)
    with tempfile.TemporaryDirectory() as folder, serving_truth(Path(folder) / "server.log") as base_url:
        for cells in [1, *options.cells]:
            nothing = bare(Path(folder) / f"bare-{cells}", cells, options.times)
            print(
                f"Snakemake by itself, {cells:,} job{'s' if cells > 1 else ''}: nothing to be done {nothing}",
                flush=True,
            )
        for cells in options.cells:
            for line in growth(Path(folder) / str(cells), base_url, cells, options.times):
                print(line, flush=True)
        print(job_cost(Path(folder) / "jobs", base_url, options.jobs, options.times), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


def growth(folder: Path, base_url: str, cells: int, times: int) -> Iterator[str]:
    """Yield what planning and finding nothing to do takes, and the jobs over all cells."""
    project = Project.planning(folder, base_url, cells)
    name = f"accelbench, {len(project.rounds):,} cells"
    yield f"{name}: dry run from nothing {timed(times, lambda: project.snakemake('--dry-run'))}"
    project.finish_all()
    yield f"{name}: classifying, tables, plots and report {timed(1, project.snakemake)}, n = 1"
    nothing = timed(times, lambda: project.snakemake(says=NOTHING))
    yield f"{name}: nothing to be done {nothing}; goal at 1,000: {GOAL_NOTHING_S:g} s"
    shutil.rmtree(folder)


def bare(folder: Path, cells: int, times: int) -> "Seconds":
    """Time a workflow of the same shape that holds nothing but its jobs: a checkpoint, and so many that wait for it."""
    for path in [folder / "prompts", *(folder / "results" / str(cell) for cell in range(cells))]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "Snakefile").write_text(BARE.format(cells=cells))
    take_over(folder, "prompts", "infer")
    return timed(times, lambda: run([*SNAKEMAKE], folder, NOTHING))


def job_cost(folder: Path, base_url: str, jobs: int, times: int) -> str:
    """Say what a measuring job takes beside its request: Snakemake's part, the start of Python, the records."""
    project = Project.planning(folder, base_url, jobs * times)
    project.snakemake(f"{paths.PROMPTS}.jsonl".format(set="questions"))
    batches = [project.results[batch * jobs : (batch + 1) * jobs] for batch in range(times)]
    costs = [cost_s(project, results) for results in batches]
    return f"a measuring job beside its request: {spread(costs)} s, of {jobs} jobs each"


def cost_s(project: "Project", results: Sequence[str]) -> float:
    """Measure some cells; return the seconds of each, without its request and what finding nothing to do takes."""
    worked = timed(1, lambda: project.snakemake(*results))
    idle = timed(1, lambda: project.snakemake(*results, says=NOTHING))
    own_s = sum(asking_s(project.root / result) for result in results)
    return (worked.median - idle.median - own_s) / len(results)


def asking_s(measured: Path) -> float:
    """Return the seconds in which a round had a request in flight, one at a time."""
    return sum(attempt["end_s"] - attempt["dequeued_s"] for attempt in attempts(measured.with_name(EXCHANGES)))


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the project that plans many rounds against one server."""

    root: Path
    config: Config

    @classmethod
    def planning(cls, root: Path, base_url: str, cells: int) -> "Project":
        """Copy the project, with at least so many cells in its config."""
        root.mkdir()
        for name in COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, root)
        loads = list(range(1, math.ceil(cells / ENDPOINTS / ROUNDS) + 1))
        (root / CONFIG).write_text(yaml.safe_dump(planned(base_url, loads), sort_keys=False))
        return cls(root, configfile.load_config(root / BASE, [root / CONFIG]))

    @property
    def rounds(self) -> list[specs.InferRound]:
        """All cells."""
        return specs.infer_rounds(self.config)

    @property
    def results(self) -> list[str]:
        """The results of all cells, below the project."""
        return [str(folder_of(item) / MEASURED) for item in self.rounds]

    def finish_all(self) -> None:
        """Measure the first cell, finish all others with its raw files, and let Snakemake take them over."""
        first = self.results[0]
        self.snakemake(first)
        measured = (self.root / first).parent
        record = read_json(measured / RUN_JSON)
        with contextlib.chdir(self.root):
            for item in self.rounds[1:]:
                folder, spec = folder_of(item), specs.infer_spec(self.config, item)
                folder.mkdir(parents=True)
                shutil.copy2(measured / EXCHANGES, folder)
                write_json(folder / RUN_JSON, {**record, "spec": json.loads(spec)})
                finish(folder, spec, [EXCHANGES, RUN_JSON])
        take_over(self.root, "infer", "--until", "infer", "--configfile", str(CONFIG))

    def snakemake(self, *arguments: str, says: str = "") -> None:
        """Run Snakemake as a user does."""
        run([*SNAKEMAKE, *arguments, "--configfile", str(CONFIG)], self.root, says)


def planned(base_url: str, loads: list[int]) -> dict[str, Any]:
    """Return a config of many loads, each of one request, against one server under several names."""
    names = [f"endpoint-{number}" for number in range(1, ENDPOINTS + 1)]
    scenario = {"concurrency": loads, "requests": 1, "rounds": ROUNDS, "max_tokens": 1, "warm_up": 0}
    inference = {
        "run": names,
        "scenarios_run": ["load"],
        "baseline": names[0],
        "endpoints": {name: {"base_url": base_url, "model": "truth"} for name in names},
        "prompts": {"questions": {"source": "bundled"}},
        "scenarios": {"load": scenario},
    }
    return {"training": {"run": []}, "inference": inference}


def folder_of(item: specs.InferRound) -> Path:
    """Return the folder of one cell, below the project."""
    return paths.infer_round(item.endpoint, item.cell, item.round)


def take_over(folder: Path, *arguments: str) -> None:
    """Let Snakemake record what is there as made by these rules, and up to date."""
    run([sys.executable, "-c", TAKE_OVER, "--cores", "1", "--touch", "--forcerun", *arguments], folder)


def run(command: list[str], folder: Path, says: str = "") -> None:
    """Run a command. Raises RuntimeError when it fails, or doesn't say what it should."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode or says not in done.stdout:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-3000:]}")


@dataclass(frozen=True, slots=True)
class Seconds:
    """What was timed, wall and CPU."""

    wall: list[float]
    cpu: list[float]

    @property
    def median(self) -> float:
        """The middle wall time."""
        return statistics.median(self.wall)

    def __str__(self) -> str:
        """Show the median, the range where there is one, and the median CPU time."""
        return f"{spread(self.wall)} s (CPU {statistics.median(self.cpu):.2f} s)"


def spread(seconds: Sequence[float]) -> str:
    """Return the median, and the range where there is one."""
    seen = f" ({min(seconds):.2f} to {max(seconds):.2f})" if seconds[1:] else ""
    return f"{statistics.median(seconds):.2f}{seen}"


def timed(times: int, work: Callable[[], None]) -> Seconds:
    """Time some work that is done by processes of its own."""
    wall, cpu = [], []
    for _ in range(times):
        start_s, cpu_start_s = time.perf_counter(), children_s()
        work()
        wall.append(time.perf_counter() - start_s)
        cpu.append(children_s() - cpu_start_s)
    return Seconds(wall, cpu)


def children_s() -> float:
    """Return the CPU seconds of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- a finished run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One job that Snakemake ran, by its metadata: seconds since 1970."""

    rule: str
    start_s: float
    end_s: float
    output: str

    @property
    def is_measuring(self) -> bool:
        """Whether it measures."""
        return self.rule in MEASURING


def outside_measuring(folder: Path) -> Iterator[str]:
    """Yield what share of a run's wall time lay outside measuring, and in what."""
    start_s, wall_s = longest_run(folder)
    jobs = [job for job in finished_jobs(folder) if start_s <= job.start_s < start_s + wall_s]
    measuring = [(measuring_since(folder, job), job.end_s) for job in jobs if job.is_measuring]
    measured_s, running_s = covered(measuring), covered((job.start_s, job.end_s) for job in jobs)
    starting_s = covered((job.start_s, job.end_s) for job in jobs if job.is_measuring) - measured_s
    other = {rule: covered((j.start_s, j.end_s) for j in jobs if j.rule == rule) for rule in {j.rule for j in jobs}}
    yield f"measuring jobs: {len(measuring)}; {wall_s:.1f} s in all (Snakemake's count; its own start comes before it)"
    outside_s = wall_s - measured_s
    yield f"outside measuring: {outside_s:.1f} s, {outside_s / wall_s:.1%} (goal {GOAL_SHARE:.0%})"
    yield f"  measuring jobs, until they hold their folder: {starting_s:.1f} s"
    for rule in sorted(set(other) - set(MEASURING), key=lambda rule: -other[rule]):
        yield f"  {rule}: {other[rule]:.1f} s"
    yield f"  no job at all (Snakemake): {wall_s - running_s:.1f} s"


def longest_run(folder: Path) -> tuple[float, float]:
    """Return when Snakemake's longest run in a folder began, and the seconds it took, by its logs."""
    found = []
    for log in (folder / ".snakemake/log").glob("*.snakemake.log"):
        elapsed = re.search(r"^Elapsed time: (?:(\d+) days?, )?(\d+):(\d+):([\d.]+)$", log.read_text(), re.MULTILINE)
        if elapsed:
            days, hours, minutes, seconds = (float(part or 0) for part in elapsed.groups())
            began = datetime.datetime.strptime(log.name, "%Y-%m-%dT%H%M%S.%f.snakemake.log").timestamp()
            found.append((((days * 24 + hours) * 60 + minutes) * 60 + seconds, began))
    if not found:
        sys.exit(f"{folder} holds no finished run: no log in .snakemake/log says how long it took.")
    wall_s, began_s = max(found)
    return began_s, wall_s


def finished_jobs(folder: Path) -> list[Job]:
    """Return the jobs whose outputs are in a folder, each once."""
    metadata, jobs = folder / ".snakemake/metadata", {}
    for path in filter(Path.is_file, metadata.rglob("*")):
        record = read_json(path)
        name = "".join(part.removeprefix("@") for part in path.relative_to(metadata).parts)
        output = urlsafe_b64decode(name).decode()
        jobs[record["rule"], record["starttime"]] = Job(record["rule"], record["starttime"], record["endtime"], output)
    return list(jobs.values())


def measuring_since(folder: Path, job: Job) -> float:
    """Return when a job began to measure: when it made the lock on its folder, if that wasn't there already."""
    locked_s = (folder / job.output).with_name(LOCK).stat().st_mtime
    return max(job.start_s, min(locked_s, job.end_s))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the seconds that spans cover together, each second once."""
    total, reached_s = 0.0, -math.inf
    for start_s, end_s in sorted(spans):
        total += max(0.0, end_s - max(start_s, reached_s))
        reached_s = max(reached_s, end_s)
    return total


if __name__ == "__main__":
    main()
