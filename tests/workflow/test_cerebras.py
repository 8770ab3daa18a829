"""The reference sweep on a CS-3 end to end, with stand-ins for cszoo and csctl; and logs that were brought along."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import REPOSITORY, Project, jobs

pytestmark = pytest.mark.workflow

CSZOO, CSCTL = (REPOSITORY / "tests/standins" / name for name in ("cszoo", "csctl"))
ALCF_DATA = "/software/datasets/llama_data_32K/test/"
SIZES = (256, 512, 1024, 2048)


def swept(root: Path, **platform: Any) -> Project:
    """Give a project with config/alcf-cs3.yaml and checkpoints, in whose environment cszoo and csctl are replaced."""
    config = yaml.safe_load((REPOSITORY / "config/alcf-cs3.yaml").read_text())
    config["training"]["checkpoint_steps"] = 100
    config["training"]["platforms"]["cs3"].update({"venv": str(root / "venv"), **platform})
    project = Project.copied(root, config)
    for program in (CSZOO, CSCTL):
        called = root / "venv/bin" / program.name
        called.parent.mkdir(parents=True, exist_ok=True)
        called.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
        called.chmod(0o755)
    model = root / config["training"]["model"]
    model.write_text(model.read_text().replace(ALCF_DATA, str(root)))
    return project


def standin(root: Path, mode: str = "") -> dict[str, str]:
    return {"STANDIN_STATE": str(root / "state"), "STANDIN_SECOND": "0.0002", "STANDIN_MODE": mode}


def run_record(project: Project, size: int) -> Any:
    return json.loads(project.read(f"results/training/cs3/bs{size}/r1/run.json"))


def trained(output: str) -> set[int]:
    return {
        int(job.split("/")[1].removeprefix("bs")) for job in jobs(output) if job.startswith(("train ", "train_log "))
    }


def test_a_sweep_with_a_size_that_fails_and_one_that_is_interrupted(tmp_path: Path) -> None:
    """The others are measured and the report shows both; a second call repeats the one and resumes the other."""
    project = swept(tmp_path / "project")
    done = project.snakemake(env=standin(tmp_path, "512=nan,1024=kill@150"))
    assert done.returncode == 1
    assert "the run ended as failed (exit status 1): Initiating shutdown sequence due to NaN error" in done.stdout
    assert "bs1024/r1: the run ended as incomplete (exit status 137, as after signal 9): " in done.stdout
    assert done.stdout.count("The same command resumes from step 100 (delete ") == 1
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    assert trained(done.stdout) == set(SIZES)

    assert "2 of 4 measurements are done" in done.stdout  # by onerror
    page = project.read("results/partial/report.html")
    assert "Initiating shutdown sequence due to NaN error" in page
    assert "incomplete: exit status 137" in page

    again = project.run(env=standin(tmp_path))
    assert trained(again) == {512, 1024}
    calls = [json.loads(line) for line in (tmp_path / "state/calls.jsonl").read_text().splitlines()]
    spans = sorted((call["began_unix_s"], call["ended_unix_s"]) for call in calls)
    assert len(spans) == 5  # the sixth was killed
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans)), "two wafer jobs at once"
    tries = {size: run_record(project, size)["tries"] for size in SIZES}
    assert {size: [one["from_step"] for one in own] for size, own in tries.items()} == {
        256: [0], 512: [0], 1024: [0, 100], 2048: [0],
    }  # fmt: skip
    assert [size for size in SIZES if run_record(project, size)["pieced_together"]] == [1024]
    pieced = "Resumed: Cerebras CS-3, batch 1,024, repeat 1, from step 100; its phases cover 2 parts."
    assert pieced in project.read("results/tables/training.md")
    assert project.read("results/report.html").count(pieced) == 2  # under the sweep and under its phases
    runs = [json.loads(line) for line in project.read("results/training/runs.jsonl").splitlines()]
    assert [(run["batch_size"], run["state"]) for run in runs] == [(size, "measured") for size in SIZES]
    assert all(run["log"]["steady_rate_samples_per_s"] == pytest.approx(33, rel=0.01) for run in runs)
    assert all(run["trainer"]["flops_utilization"] for run in runs)
    assert (project.root / "results/report.html").exists()

    # a compile beforehand is for what is new: asking for it measures nothing again
    def prewarm(config: dict[str, Any]) -> None:
        config["training"]["platforms"]["cs3"]["prewarm"] = True
        config["training"]["batch_sizes"].append(128)

    project.edit(prewarm)
    done = project.run("training", env=standin(tmp_path))
    assert trained(done) == {128}
    assert {job for job in jobs(done) if job.startswith("compile ")} == {"compile cs3/bs128"}
    assert '"cached": false' in project.read("results/training/cs3/bs128/compiled.json")
    assert "Found existing cached compile" in project.read("results/training/cs3/bs128/r1/run.log")
    assert "Compile was successful!" in project.read("results/training/cs3/bs128/compile.log")


def test_logs_that_were_brought_along(measured_logs: Path, tmp_path: Path) -> None:
    """Yesterday's mytest.log files are a sweep; one that failed is shown as failed; a changed one is read anew."""
    training = {
        "run": ["yesterday"],
        "platforms": {"yesterday": {"backend": "log", "logs": str(measured_logs / "mytest_{batch}.log")}},
        "model": None,
        "corpus": None,
        "batch_sizes": list(SIZES),
        "repeats": 1,
    }
    project = Project.copied(tmp_path / "project", {"training": training, "inference": {"run": []}})
    done = project.snakemake()
    assert done.returncode == 1
    assert "bs1024/r1: the run ended as failed: Initiating shutdown" in done.stdout
    assert not any(job.startswith(("params", "corpus")) for job in jobs(done.stdout))
    assert "3 of 4 measurements are done" in done.stdout  # by onerror

    good = (measured_logs / "mytest_512.log").read_text()
    for size in (256, 1024):
        (measured_logs / f"mytest_{size}.log").write_text(good)
    assert trained(project.run("training")) == {256, 1024}


@pytest.fixture
def measured_logs(tmp_path: Path) -> Path:
    """Four small logs; that of batch 1024 failed."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for size in SIZES:
        lines = ["Starting train loop 1 of 1, from global step 1 to 20 (20 steps)"]
        lines += [
            f"| Train Device=CSX, Step={step}, Loss=7.{40 - step}, Rate=33 samples/sec, GlobalRate=33 samples/sec"
            for step in (10, 20)
        ]
        ended = ["Training completed successfully!", f"Processed {20 * size} training sample(s) in 900.0 seconds."]
        failed = ["Initiating shutdown sequence due to Appliance error: weight server 3 crashed"]
        lines += failed if size == 1024 else ended
        stamped = [f"2025-11-25 15:{minute:02}:45,243 INFO:   {line}\n" for minute, line in enumerate(lines)]
        (folder / f"mytest_{size}.log").write_text("".join(stamped))
    return folder
