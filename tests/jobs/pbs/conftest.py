"""A folder to submit from, and a stand-in server in which any state of a job can be planted."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STANDINS = Path(__file__).parents[2] / "standins/pbs"


class Server:
    """The state of the stand-in for PBS (tests/standins/pbs)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "jobs").mkdir(parents=True)

    def plant(self, job: str, **facts: Any) -> str:
        """Give the server a job; the id by which it is known is returned."""
        record = {"Job_Name": "train-0", "job_state": "R", "Variable_List": {"PBS_O_HOST": "login-01"}, **facts}
        (self.root / f"jobs/{job}.json").write_text(json.dumps(record))
        return f"{job}.pbs-01.example"

    def purge(self, job: str) -> None:
        (self.root / f"jobs/{job.partition('.')[0]}.json").unlink()

    def become(self, state: str) -> None:
        """Make it stopped, unreachable, broken or slow."""
        (self.root / state).touch()

    def recover(self, state: str) -> None:
        (self.root / state).unlink()

    def calls(self, command: str) -> list[list[str]]:
        path = self.root / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call[1:] for call in map(json.loads, lines) if call[0] == command]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The stand-in on the PATH, and an empty folder with blanks and a quote in its name to work in."""
    workdir = tmp_path / "it's a place"
    workdir.mkdir()
    monkeypatch.chdir(workdir)
    monkeypatch.setenv("PATH", os.pathsep.join([str(STANDINS), os.environ["PATH"]]))
    monkeypatch.setenv("STANDIN_PBS", str(tmp_path / "pbs"))
    yield Server(tmp_path / "pbs")
