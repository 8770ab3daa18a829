"""The target `calibrate`: by name only, once, and then beside the measurements; it asks no endpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Project, jobs

pytestmark = pytest.mark.workflow

CONFIG: dict[str, Any] = {
    "training": {"run": []},
    "inference": {
        "run": ["elsewhere"],
        "baseline": "elsewhere",
        "scenarios_run": ["few"],
        "endpoints": {"elsewhere": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}},
        "prompts": {"questions": {"source": "bundled"}},
        "scenarios": {"few": {"concurrency": 3, "requests": 6}},
    },
}


@pytest.mark.long
def test_calibrating_is_asked_for_by_name_and_done_once(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", CONFIG)
    assert "calibrate" not in project.planned()
    assert jobs(project.run("calibrate")) == {"calibrate"}
    record = json.loads(project.read("results/calibration/calibration.json"))
    assert [(row["load"], row["cells"]) for row in record["loads"]] == [("3 at a time", ["few"])]
    assert "3 at a time (few)" in project.read("results/logs/calibrate.log")
    assert "Nothing to be done" in project.run("calibrate")
    assert "calibrate" not in project.planned()

    project.edit(lambda config: config["inference"]["scenarios"]["few"].update(concurrency=2))
    assert "calibrate" not in project.planned()
    assert jobs(project.run("calibrate", "--dry-run")) == {"calibrate"}
    project.run("report")
    assert "3 at a time (few)" in project.read("results/partial/tables/calibration.md")
    assert "own error is at most" in project.read("results/partial/report.html")
