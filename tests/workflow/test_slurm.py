"""The training half on a real Slurm of one node: measured, failed and timed out, each said rightly."""

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.workflow import slurm_node

from .conftest import Project

pytestmark = [pytest.mark.workflow, pytest.mark.local]

PLATFORMS = {
    "shared": {"backend": "torch"},
    "node": {"backend": "torch", "own_node": True},
    "no-such-gpu": {"backend": "torch", "own_node": True, "device": "mps"},
}
CONFIG: dict[str, Any] = {
    "training": {
        "run": list(PLATFORMS),
        "platforms": PLATFORMS,
        "batch_sizes": [2, 4],
        "max_steps": 4,
        "log_steps": 1,
        "eval_frequency": None,
        "repeats": 1,
    },
    "inference": {"run": []},
    "cluster": {"train": {"runtime_min": 1}},
}
WITHOUT_ACCOUNTING = ("--slurm-no-account", "--slurm-status-command", "squeue")
HERE = (
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
    *("--set-resources", f"train:cpus_per_task={os.cpu_count()}"),
)


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    if reason := slurm_node.why_not():
        pytest.skip(f"no Slurm here: {reason}")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm_node.slurm(Path(folder)) as environment:
        yield environment


def record(project: Project, run: str) -> Any:
    return json.loads(project.read(f"results/training/{run}/r1/run.json"))


def test_the_training_half_runs_on_slurm(slurm: dict[str, str], tmp_path: Path) -> None:
    """One platform has no device, one batch size takes longer than its minute; the others are measured, one by one."""
    config = {**CONFIG, "training": {**CONFIG["training"], "sizes": {4: {"max_steps": 1_000_000}}}}
    project = Project.copied(tmp_path / "project", config)
    profile = ("--profile", "profiles/slurm", *WITHOUT_ACCOUNTING, *HERE)
    done = project.snakemake("training", *profile, env=slurm)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    print(done.stdout[-8000:])
