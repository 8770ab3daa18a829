"""The reference sweep on a CS-3 end to end, with stand-ins for cszoo and csctl; and logs that were brought along."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import REPOSITORY, Project, jobs

pytestmark = pytest.mark.workflow

CSZOO, CSCTL = (REPOSITORY / "tests/standins" / name for name in ("cszoo", "csctl"))
SIZES = (256, 512, 1024, 2048)


def swept(root: Path, **platform: Any) -> Project:
    """Give a project with config/alcf-cs3.yaml, its cszoo and csctl replaced."""
    config = yaml.safe_load((REPOSITORY / "config/alcf-cs3.yaml").read_text())
    commands = {"command": [sys.executable, str(CSZOO)], "csctl": [sys.executable, str(CSCTL)]}
    config["training"]["platforms"]["cs3"].update({**commands, **platform})
    return Project.copied(root, config)


def standin(root: Path, mode: str = "") -> dict[str, str]:
    return {"STANDIN_STATE": str(root / "state"), "STANDIN_SECOND": "0.000001", "STANDIN_MODE": mode}


def trained(output: str) -> set[int]:
    return {int(job.split("/")[1]) for job in jobs(output) if job.startswith("train ")}


def test_a_sweep_with_one_failing_size(tmp_path: Path) -> None:
    """The others are measured, the report shows the failed one, a second call repeats only that."""
    project = swept(tmp_path / "project")
    done = project.snakemake(env=standin(tmp_path, "512=nan"))
    assert done.returncode == 1
    assert "the run ended as failed (exit status 1): Initiating shutdown sequence due to NaN error" in done.stdout
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    assert trained(done.stdout) == set(SIZES)

    report = project.run("report")
    assert "3 of 4 measurements are there" in report
    assert "failed: cs3 batch 512 repeat 1: failed: Initiating shutdown sequence due to NaN error" in report
    assert "NaN error" in project.read("results/partial/report.html")

    again = project.run(env=standin(tmp_path))
    assert trained(again) == {512}
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
    assert {job for job in jobs(done) if job.startswith("compile ")} == {"compile cs3/128"}
    assert '"cached": false' in project.read("results/training/cs3/bs128/compiled.json")
    assert "Found existing cached compile" in project.read("results/training/cs3/bs128/r1/run.log")
    assert "Compile was successful!" in project.read("results/training/cs3/bs128/compile.log")
    assert "Nothing to be done" in project.run("training")


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
    assert "3 of 4 measurements are there" in done.stdout  # by onerror

    good = (measured_logs / "mytest_512.log").read_text()
    (measured_logs / "mytest_1024.log").write_text(good)
    assert trained(project.run()) == {1024}
    (measured_logs / "mytest_256.log").write_text(good)
    assert trained(project.run("training")) == {256}
    assert "Nothing to be done" in project.run("training")


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
