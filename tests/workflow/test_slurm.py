"""A real Slurm of one or two nodes: training measured, failed and timed out, each said rightly; a server on a node."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until
from tests.workflow import slurm_node

from .conftest import Project, clean_environment, jobs
from .node_server import ROUNDS, answers, serving

pytestmark = [pytest.mark.workflow, pytest.mark.local]

RECORDS = "results/training/*/*/r1/run.json"
TRAINING: dict[str, Any] = {
    "run": ["shared"],
    "platforms": {"shared": {"backend": "torch"}},
    "batch_sizes": [2, 4],
    "max_steps": 1_000_000,
    "log_steps": 1,
    "eval_frequency": None,
    "repeats": 1,
}
BOTH = {"backend": "torch", "own_node": True, "nodes": 2, "threads": 1}
NEVER_THERE = {"backend": "torch", "own_node": True, "device": "mps"}  # on Linux
PROFILE = ("--profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue")
IN_HASTE = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5")
LITTLE_MEMORY = (
    "--set-resources",
    "train:mem_mb=150 if (wildcards.platform, wildcards.size) == ('shared', 'bs4') else 1500",
)


def training(root: Path, runtime_min: int = 10, **changes: Any) -> Project:
    """Give a project whose sizes train until they are ended, but for `changes`."""
    cluster = {"train": {"runtime_min": runtime_min}}
    config = {"training": {**TRAINING, **changes}, "inference": {"run": []}, "cluster": cluster}
    return Project.copied(root / "project", config)


@pytest.fixture
def slurm(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    yield from started(getattr(request, "param", 1))


@pytest.fixture
def slurm_with_accounts() -> Iterator[dict[str, str]]:
    yield from started(accounts=True)


def started(nodes: int = 1, *, accounts: bool = False) -> Iterator[dict[str, str]]:
    if reason := slurm_node.why_not(accounts=accounts):
        pytest.skip(f"no Slurm here: {reason}")
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm_node.slurm(Path(folder), nodes, accounts=accounts) as environment,
    ):
        yield environment


@pytest.mark.long
def test_the_training_half_runs_on_slurm(slurm: dict[str, str], tmp_path: Path) -> None:
    """A platform lacks its device, a batch size has too little memory; the other is measured; one at a time."""
    project = training(
        tmp_path,
        run=["shared", "node"],
        platforms={**TRAINING["platforms"], "node": NEVER_THERE},
        max_steps=4,
        sizes={4: {"max_steps": 1_000_000}},
    )
    done = project.snakemake("training", *LITTLE_MEMORY, *PROFILE, *IN_HASTE, env=slurm)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout, done.stdout[-4000:]

    records = {path.parts[-4:-2]: json.loads(path.read_text()) for path in project.root.glob(RECORDS)}
    assert records.keys() == {("shared", "bs2"), ("node", "bs2"), ("node", "bs4")}  # killed before it wrote one
    assert records["shared", "bs2"]["outcome"] == "completed"
    spans = sorted((record["started_at"], record["ended_at"] or record["started_at"]) for record in records.values())
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(spans)), spans

    assert "1 of 4 measurements are done" in done.stdout  # by onerror
    page = project.read("results/partial/report.html")
    assert "Slurm killed it: out of memory" in page
    assert "incomplete: --device mps: torch" in page
    assert "node, batch 2, repeat 1 and node, batch 4, repeat 1" in page
    assert processes_of(project) == []


def processes_of(project: Project) -> list[psutil.Process]:
    """Return the processes that name a project's folder, or work in it."""
    told = psutil.process_iter(["cmdline", "cwd"])
    return [p for p in told if str(project.root) in " ".join([p.info["cwd"] or "", *(p.info["cmdline"] or [])])]


@pytest.mark.long
@pytest.mark.parametrize("slurm", [2], indirect=True)
def test_two_nodes_train_together(slurm: dict[str, str], tmp_path: Path) -> None:
    platforms = {"both": BOTH, "one": {**BOTH, "nodes": 1}}
    project = training(tmp_path, run=["both", "one"], platforms=platforms, batch_sizes=[2], max_steps=4)
    done = project.snakemake("training", *PROFILE, *IN_HASTE, env=slurm)
    assert done.returncode == 0, done.stdout[-4000:]
    found = {path.parts[-4]: json.loads(path.read_text()) for path in project.root.glob(RECORDS)}
    assert {name: (run["trainer"]["nodes"], run["trainer"]["processes"]) for name, run in found.items()} == {
        "both": (2, 2), "one": (1, 1)
    }  # fmt: skip
    lines = (project.root / "results/training/runs.jsonl").read_text().splitlines()
    losses = [run["log"]["final_loss"] for run in map(json.loads, lines)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert sorted(asked(slurm, "squeue", "--noheader", "--states=all", "--format=%D").split()) == ["1", "2"]


@pytest.mark.long
@pytest.mark.parametrize("slurm", [2], indirect=True)
def test_two_nodes_end_together_when_a_process_is_killed_and_at_their_time_limit(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    project = training(tmp_path, runtime_min=2, run=["both"], platforms={"both": BOTH})
    with subprocess.Popen(
        project.command("training", *PROFILE, *IN_HASTE),
        cwd=project.root,
        env={**clean_environment(), **slurm},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as workflow:
        try:
            logs = project.root.glob
            assert until(lambda: any("Step=3" in log.read_text() for log in logs("results/**/run.log")), within_s=240)
            [second] = [each for each in processes_of(project) if each.environ().get("RANK") == "1"]
            second.kill()
            said = workflow.communicate(timeout=480)[0]
        finally:
            workflow.kill()
    assert workflow.returncode == 1 and "Traceback" not in said, said[-4000:]
    page = project.read("results/partial/report.html")
    assert "due to lost process: process 1, on " in page
    assert "at its time limit" in page
    assert processes_of(project) == []


@pytest.mark.long
def test_a_job_at_its_time_limit_says_so(slurm: dict[str, str], tmp_path: Path) -> None:
    """Slurm looks for these every half a minute."""
    project = training(tmp_path, runtime_min=1, batch_sizes=[2])
    done = project.snakemake("training", *PROFILE, *IN_HASTE, env=slurm)
    assert done.returncode == 1
    page = project.read("results/partial/report.html")
    assert "unfinished: Slurm ended job" in page
    assert "at its time limit, 00:01:00 (runtime_min under cluster)" in page


@pytest.mark.long
def test_what_sbatch_refuses_is_in_the_report(slurm: dict[str, str], tmp_path: Path) -> None:
    project = training(tmp_path, batch_sizes=[2])
    nowhere = ("--default-resources", "slurm_partition=nowhere")
    done = project.snakemake("training", *PROFILE, *IN_HASTE, *nowhere, env=slurm)
    assert done.returncode == 1 and "Traceback" not in done.stdout, done.stdout[-4000:]
    assert "not submitted: sbatch: error: " in project.read("results/partial/report.html")


@pytest.mark.long
def test_a_job_that_an_operator_cancels_and_one_that_is_preempted_have_failed(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    """The plugin itself waits for ever for a preempted job."""
    cancelled_and_preempted(slurm, tmp_path)


@pytest.mark.long
def test_so_they_have_where_sacct_is_asked(slurm_with_accounts: dict[str, str], tmp_path: Path) -> None:
    """The plugin itself waits for ever for either."""
    cancelled_and_preempted(slurm_with_accounts, tmp_path, "--slurm-status-command", "sacct")


def cancelled_and_preempted(slurm: dict[str, str], root: Path, *asking: str) -> None:
    project = training(root)
    with subprocess.Popen(
        project.command("training", *PROFILE, *IN_HASTE, *asking),
        cwd=project.root,
        env={**clean_environment(), **slurm},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as workflow:
        try:
            [first] = running(slurm)
            asked(slurm, "scancel", first)
            running(slurm, besides=first)
            asked(slurm, "sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
            said = workflow.communicate(timeout=120)[0]
        finally:
            workflow.kill()
    assert workflow.returncode == 1
    assert "SLURM status is: 'CANCELLED'" in said and "SLURM status is: 'FAILED'" in said, said[-4000:]


def running(slurm: dict[str, str], besides: str = "") -> list[str]:
    """Wait until another job runs, and return it."""

    def found() -> list[str]:
        jobs = asked(slurm, "squeue", "--noheader", "--states=running", "--format=%i").split()
        return [job for job in jobs if job != besides]

    assert until(lambda: bool(found()), within_s=120)
    return found()


def asked(slurm: dict[str, str], *command: str) -> str:
    environment = {**os.environ, **slurm}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_a_server_on_a_node_is_asked_from_that_node(slurm: dict[str, str], tmp_path: Path) -> None:
    config = {"training": {"run": []}, "inference": serving(), "cluster": {"infer": {"runtime_min": 5}}}
    project = Project.copied(tmp_path / "project", config)
    done = project.snakemake("inference", *PROFILE, *IN_HASTE, env=slurm)
    assert done.returncode == 0, done.stdout[-4000:]
    rounds = {f"infer_on_node far/short/{number + 1}" for number in range(ROUNDS)}
    assert {job for job in jobs(done.stdout) if job.startswith("infer_")} == rounds
    said = answers(project)
    assert len(said) == ROUNDS and all(text.removeprefix("Served in ").isdigit() for text in said), said


@pytest.mark.long
def test_all_rounds_of_a_kept_server_are_one_job(slurm: dict[str, str], tmp_path: Path) -> None:
    inference = serving()
    inference["endpoints"]["far"]["server"]["keep"] = "run"
    config = {"training": {"run": []}, "inference": inference, "cluster": {"infer": {"runtime_min": 5}}}
    project = Project.copied(tmp_path / "project", config)
    done = project.snakemake("inference", *PROFILE, *IN_HASTE, env=slurm)
    assert done.returncode == 0, done.stdout[-4000:]
    assert [job for job in jobs(done.stdout) if job.startswith("infer_")] == ["infer_endpoint far"]
    assert len(answers(project)) == 1
