"""The benchmark of the workflow, in small: it says figures of real runs, and what it reads of a run that is over."""

import json
import os
import re
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURE = r"\d+\.\d\d s \(CPU \d+\.\d\d s\)"
LOG = "2026-01-31T120000.000000.snakemake.log"
BEGAN_S = 1769860800.0  # the log's name, in UTC


def said(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks/workflow.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "TZ": "UTC"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600).stdout


@pytest.mark.workflow
@pytest.mark.long
def test_it_says_what_planning_nothing_and_a_job_take() -> None:
    printed = said("--quick")
    for what in (
        rf"Snakemake by itself, 20 jobs: nothing to be done {FIGURE}",
        rf"accelbench, 20 cells: dry run from nothing {FIGURE}",
        rf"accelbench, 20 cells: classifying, tables, plots and report {FIGURE}, n = 1",
        rf"accelbench, 20 cells: nothing to be done {FIGURE}; goal at 1,000: 3 s",
        r"a measuring job beside its request: \d+\.\d\d s, of 2 jobs each",
    ):
        assert re.search(f"^{what}$", printed, re.MULTILINE), printed


def test_it_says_what_share_of_a_run_lay_outside_measuring(tmp_path: Path) -> None:
    """Of 100 s: prompts 4 s, a round that takes 60 s and holds its folder after 1 s, tables 10 s, between them 26 s."""
    ran(tmp_path, "prompts", 1, 5, "results/prompts/q.jsonl", "results/prompts/q.json")
    ran(tmp_path, "infer", 10, 70, "results/inference/one/load/r1/measured.json")
    ran(tmp_path, "tables", 80, 90, "results/tables/inference.csv", "results/tables/inference.md")
    ran(tmp_path, "plots", 200, 300, "results/plots/of_a_later_run.svg")
    lock = tmp_path / "results/inference/one/load/r1/.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (BEGAN_S + 11, BEGAN_S + 11))
    logs = tmp_path / ".snakemake/log"
    logs.mkdir()
    (logs / LOG).write_text("…\nElapsed time: 0:01:40.000000\n")
    (logs / LOG.replace("T12", "T13")).write_text("Nothing to be done.\nElapsed time: 0:00:01.000000\n")
    assert said("--run", str(tmp_path)).splitlines() == [
        "measuring jobs: 1; 100.0 s in all (Snakemake's count; its own start comes before it)",
        "outside measuring: 41.0 s, 41.0% (goal 10%)",
        "  measuring jobs, until they hold their folder: 1.0 s",
        "  tables: 10.0 s",
        "  prompts: 4.0 s",
        "  no job at all (Snakemake): 26.0 s",
    ]


def ran(folder: Path, rule: str, start_s: float, end_s: float, *outputs: str) -> None:
    """Leave the metadata that Snakemake 9 leaves of a job."""
    metadata = folder / ".snakemake/metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    record = {"rule": rule, "starttime": BEGAN_S + start_s, "endtime": BEGAN_S + end_s}
    for output in outputs:
        (metadata / urlsafe_b64encode(output.encode()).decode()).write_text(json.dumps(record))
