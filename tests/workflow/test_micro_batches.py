"""The micro batch or the sequence length as an axis of the sweep, trained for real; then one micro batch alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Project, jobs

pytestmark = [pytest.mark.workflow, pytest.mark.long]

TRAINING: dict[str, Any] = {
    "batch_sizes": [2, 6], "micro_batch_sizes": [2, 3], "max_steps": 4, "log_steps": 1, "repeats": 1,
    "eval_frequency": None,
}  # fmt: skip


def records(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in project.read("results/training/runs.jsonl").splitlines()]


def trained(output: str) -> set[str]:
    return {job.split("/")[1] for job in jobs(output) if job.startswith("train ")}


def test_micro_batches_are_an_axis_and_one_alone_is_restored(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", {"training": TRAINING, "inference": {"run": []}})
    assert trained(project.run()) == {"bs2-mb2", "bs6-mb2", "bs6-mb3"}
    assert "micro_batch_size: 3" in project.read("results/training/this-machine/bs6-mb3/r1/params.yaml")
    assert [(r["batch_size"], r["micro_batch_size"]) for r in records(project)] == [(2, 2), (6, 2), (6, 3)]
    assert all(record["dataset"]["n_samples"] > 100 for record in records(project))
    assert "micro batch" in project.read("results/tables/training.md")
    assert "Nothing to be done" in project.run()

    def alone(config: dict[str, Any]) -> None:
        del config["training"]["micro_batch_sizes"]
        config["training"]["micro_batch_size"] = 2

    project.edit(alone)
    done = project.run("training")
    assert trained(done) == {"bs2", "bs6"}
    assert all(record["restored_at"] for record in records(project))


@pytest.mark.long
def test_sequence_lengths_are_an_axis(tmp_path: Path) -> None:
    training = {**TRAINING, "batch_sizes": [2], "micro_batch_sizes": None, "sequence_lengths": [32, 64]}
    project = Project.copied(tmp_path / "project", {"training": training, "inference": {"run": []}})
    assert trained(project.run()) == {"bs2-sl32", "bs2-sl64"}
    assert [record["trainer"]["sequence_length"] for record in records(project)] == [32, 64]
    assert records(project)[0]["dataset"]["n_samples"] > 1.9 * records(project)[1]["dataset"]["n_samples"]
    assert "sequence length" in project.read("results/tables/training.md")
    assert "Nothing to be done" in project.run()
