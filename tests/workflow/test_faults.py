"""What goes wrong stays where it is: other cells go on, nothing measured is lost, nothing is left running."""

import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until

from .conftest import SMALL, Project, clean_environment

pytestmark = [pytest.mark.workflow, pytest.mark.local]

MEMORY_BYTES = 5 * 2**30


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def test_failing_cells_are_marked_and_tried_again(tmp_path: Path) -> None:
    """A batch size runs out of memory and an endpoint is down; the rest is measured and reported."""
    project = Project.copied(tmp_path / "project", SMALL)

    def plant(config: dict[str, Any]) -> None:
        config["training"].update(batch_sizes=[2, 2048], max_steps=2)
        dead = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "ready_timeout_s": 1.0}
        config["inference"].update(run=["dead"], baseline=None, endpoints={"dead": dead})

    project.edit(plant)
    done = subprocess.run(
        project.command(),
        cwd=project.root,
        env=clean_environment(),
        preexec_fn=limit_memory,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1
    assert "dead: http://127.0.0.1:9/v1/models was not ready after 1 s" in done.stdout
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    assert "memory" in project.read("results/training/this-machine/bs2048/r1/run.log")
    assert json.loads(project.read("results/training/this-machine/bs2/r1/measured.json"))["measured_at"]

    assert "1 of 3 measurements are done" in done.stdout  # by onerror
    assert "failed: this-machine" not in done.stdout  # reasons are told once, when they happen
    page = project.read("results/partial/report.html")
    assert "this-machine batch 2048 repeat 1" in page and "dead short round 1" in page
    assert "was not ready after 1 s" in page

    planned = project.planned()
    assert {"train this-machine/bs2048/1", "infer dead/short/1"} <= planned
    assert "train this-machine/bs2/1" not in planned


def processes_of(root: Path) -> list[psutil.Process]:
    """Return all live processes that work in a folder or were started with its path."""
    found = []
    for process in psutil.process_iter():
        try:
            here = str(root) in process.cwd() or any(str(root) in word for word in process.cmdline())
            if here and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def started(project: Project, *targets: str) -> subprocess.Popen[bytes]:
    """Start the workflow, to be killed."""
    return subprocess.Popen(
        project.command(*targets),
        cwd=project.root,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )


def finished(project: Project, endpoint: str) -> list[str]:
    """Return what was answered. What a killed server no longer answered is asked again."""
    path = project.root / f"results/inference/{endpoint}/short/r1/exchanges.jsonl"
    records = [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    answered = [record for record in records if record.get("final") and record["status"] == 200 and not record["error"]]
    return [record["key"] for record in answered if not record["key"].startswith("warm-up")]


def test_after_kill_9_nothing_is_left_running_and_no_request_is_sent_twice(measured: Project, tmp_path: Path) -> None:
    project = measured.twin(tmp_path / "twin")
    project.edit(lambda config: config["inference"].update(run=["llama-cpp"]))
    project.edit(lambda config: config["inference"]["scenarios"]["short"].update(requests=10, max_tokens=16))
    journal = project.root / "results/inference/llama-cpp/short/r1/exchanges.jsonl"
    journal.unlink()
    workflow = started(project, "inference")
    assert until(lambda: journal.exists() and len(finished(project, "llama-cpp")) >= 3, 90)
    os.kill(workflow.pid, signal.SIGKILL)
    assert until(lambda: not processes_of(project.root), 15), processes_of(project.root)
    workflow.wait()
    before = finished(project, "llama-cpp")
    assert before and len(before) < 10

    project.run("inference")
    after = finished(project, "llama-cpp")
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 10
    assert json.loads(project.read("results/inference/llama-cpp/short/r1/run.json"))["resumed"] is True


def test_a_killed_trainer_is_a_failed_run_that_the_next_call_repeats(measured: Project, tmp_path: Path) -> None:
    project = measured.twin(tmp_path / "twin")
    project.edit(lambda config: config["training"].update(sizes={4: {"max_steps": 400}}))
    log = project.root / "results/training/this-machine/bs4/r1/run.log"
    log.unlink()
    workflow = started(project, "training")
    assert until(lambda: log.exists() and "Step=5" in log.read_text(), 60)
    trainers = [p for p in processes_of(project.root) if "accelbench.training.torch.trainer" in p.cmdline()[1:3]]
    for trainer in trainers:
        trainer.kill()
    assert trainers and workflow.wait(timeout=60) == 1
    record = json.loads(project.read("results/training/this-machine/bs4/r1/run.json"))
    assert record["exit_status"] == 128 + signal.SIGKILL
    assert record["outcome"] != "completed"
    project.edit(lambda config: config["training"].update(sizes={4: {"max_steps": 3}}))
    project.run("training")
    assert json.loads(project.read("results/training/this-machine/bs4/r1/run.json"))["outcome"] == "completed"


def test_config_mistakes_are_one_line_each(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", SMALL)
    project.edit(lambda config: config["training"].update(batch_sizes=[], max_step=3))
    done = project.snakemake("--dry-run")
    assert done.returncode == 1
    assert "config/small.yaml: training.batch_sizes is empty" in done.stdout
    assert "config/small.yaml: training.max_step is not a key; did you mean max_steps?" in done.stdout
    assert "Traceback" not in done.stdout
