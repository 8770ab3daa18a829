"""Servers that are kept for a run: started once for all rounds, gone with the workflow, whatever ends it."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from accelbench.jobs.process import KEPT
from tests.waiting import until

from .conftest import SMALL, Project, processes_of, started

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.local,
    pytest.mark.skipif(sys.platform != "linux", reason="servers are kept on Linux"),
]

SERVER = Path(__file__).with_name("kill_server.py")
ROUNDS, REQUESTS, ENDPOINTS, TARGET = 3, 4, ("one", "two"), "results/inference/rounds.jsonl"
ASKED = "asked.txt"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with two small servers of its own, each for three rounds."""
    server = {"kind": "command", "keep": "run", "command": [sys.executable, str(SERVER), "{port}", ASKED]}
    inference = {
        **SMALL["inference"],
        "run": [*ENDPOINTS],
        "baseline": None,
        "endpoints": {name: {"model": "m", "server": server, "ready_timeout_s": 30.0} for name in ENDPOINTS},
        "scenarios": {"short": {"requests": REQUESTS, "rounds": ROUNDS, "max_tokens": 6, "warm_up": 0}},
    }
    return Project.copied(tmp_path / "project", {"training": SMALL["training"], "inference": inference})


def records_of(project: Project, endpoint: str) -> list[dict[str, Any]]:
    """Return what run.json says of the server, of all finished rounds in the order in which they were measured."""
    folders = [path.parent for path in project.root.glob(f"results/inference/{endpoint}/short/r*/measured.json")]
    records = [json.loads((folder / "run.json").read_bytes()) for folder in folders]
    return [record["endpoint"] for record in sorted(records, key=lambda record: str(record["started_at"]))]


def test_each_server_is_started_once_for_all_rounds_and_is_gone_afterwards(project: Project) -> None:
    project.run(TARGET)
    assert until(lambda: not processes_of(project.root)), processes_of(project.root)
    for endpoint in ENDPOINTS:
        records = records_of(project, endpoint)
        assert len(records) == ROUNDS
        assert len({record["base_url"] for record in records}) == 1
        assert len([record for record in records if record["start_up_s"]]) == 1
        assert len([record for record in records if record.get("kept_since")]) == ROUNDS - 1


def asked(project: Project) -> int:
    """Return how many requests the servers got."""
    path = project.root / ASKED
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize(
    "how",
    [
        "kill -9 of Snakemake",
        pytest.param("Ctrl-C", marks=pytest.mark.long),
        pytest.param("kill -9 of everything", marks=pytest.mark.long),
    ],
)
def test_no_server_outlives_its_workflow_and_the_next_run_measures_the_rest(project: Project, how: str) -> None:
    """Of what was answered, nothing is asked again."""
    workflow = started(project, TARGET)
    assert until(lambda: asked(project) > REQUESTS, 120)  # the second server is at work, too
    assert len(list((project.root / KEPT).glob("*.json"))) == len(ENDPOINTS)
    if how == "kill -9 of everything":
        for process in processes_of(project.root):
            os.kill(process.pid, signal.SIGKILL)
    workflow.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGKILL)
    workflow.wait(60)
    assert until(lambda: not processes_of(project.root), 20), processes_of(project.root)
    project.run(TARGET)
    assert [len(records_of(project, name)) for name in ENDPOINTS] == [ROUNDS, ROUNDS]
    assert asked(project) <= len(ENDPOINTS) * ROUNDS * REQUESTS + 1  # the one that was in flight
