"""`snakemake preflight`: the table, and an exit status that says whether the plan can start."""

import subprocess
from pathlib import Path

import pytest

from .conftest import SMALL, Project, clean_environment, jobs

pytestmark = pytest.mark.workflow


def test_the_target_prints_the_table_and_fails_when_a_line_does_and_a_dry_run_counts_measurements(
    tmp_path: Path,
) -> None:
    project = Project.copied(tmp_path / "project", {**SMALL, "inference": {"run": []}, "training": {"run": []}})
    good = project.snakemake("preflight")
    assert good.returncode == 0, good.stdout
    assert "The run can start." in good.stdout

    logs = {"backend": "log", "logs": "run_{batch}.log"}
    training = {"run": ["p"], "platforms": {"p": logs}, "model": None, "corpus": None, "batch_sizes": [8], "repeats": 1}
    project.write({"training": training, "inference": {"run": []}})
    bad = project.snakemake("preflight")
    assert bad.returncode == 1
    assert "not there: run_8.log" in bad.stdout and "Fix what fails first." in bad.stdout
    assert jobs(bad.stdout) == {"preflight"}
    assert "measurements are done" not in bad.stdout

    dry_run = [word for word in project.command("--dry-run") if word != "--printshellcmds"]
    done = subprocess.run(dry_run, cwd=project.root, env=clean_environment(), stdout=subprocess.PIPE, text=True)
    assert done.stdout.endswith("\n1 measurement\n") and "jobid" not in done.stdout
