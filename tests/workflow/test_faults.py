"""What goes wrong stays where it is: other cells go on, and nothing measured is lost."""

import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import SMALL, Project, clean_environment

pytestmark = [pytest.mark.workflow, pytest.mark.local]

MEMORY_BYTES = 5 * 2**30


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def test_failing_cells_are_marked_and_tried_again(project: Project) -> None:
    """A batch size runs out of memory and an endpoint is down; what was measured is reported beside them."""

    def plant(config: dict[str, Any]) -> None:
        config["training"]["batch_sizes"] = [2, 2048]
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

    assert "1 of 3 measurements are done" in done.stdout  # by onerror
    assert "failed: this-machine" not in done.stdout  # reasons are told once, when they happen
    page = project.read("results/partial/report.html")
    assert "this-machine batch 2048 repeat 1" in page and "dead short round 1" in page
    assert "was not ready after 1 s" in page

    planned = project.planned()
    assert {"train this-machine/bs2048/1", "infer dead/short/1"} <= planned
    assert "train this-machine/bs2/1" not in planned


def test_config_mistakes_are_one_line_each(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", SMALL)
    project.edit(lambda config: config["training"].update(batch_sizes=[], max_step=3))
    done = project.snakemake("--dry-run")
    assert done.returncode == 1
    assert "config/small.yaml: training.batch_sizes is empty" in done.stdout
    assert "config/small.yaml: training.max_step is not a key; did you mean max_steps?" in done.stdout
    assert "Traceback" not in done.stdout
