"""A finished measurement that was damaged afterwards is refused, and the command in the message mends it."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from .conftest import Project

pytestmark = [pytest.mark.workflow, pytest.mark.local, pytest.mark.long]

ROUND = "results/inference/llama-cpp/short/r1"
RUN = "results/training/this-machine/bs4/r1"


def keys(project: Project) -> set[str]:
    lines = project.read(f"{ROUND}/requests.jsonl").splitlines()
    return {record["key"] for record in map(json.loads, lines) if record["last_attempt"]}


def cut(root: Path, name: str, lines: int) -> None:
    """Take away the end of a round's file, and of all copies in the archive."""
    for path in (root / ROUND / name, *(root / "results/archive").rglob(name)):
        os.truncate(path, sum(map(len, path.read_bytes().splitlines(keepends=True)[:-lines])))


@pytest.mark.parametrize("records", ["up to date", "refused"])
def test_the_command_in_the_message_mends_a_round_and_a_run(records: str, project: Project) -> None:
    """Whether it stands in a partial report, with all records up to date, or in what parsing and classifying say."""
    before = keys(project)
    cut(project.root, "exchanges.jsonl", 2)  # an attempt, and the session's end
    (project.root / RUN / "run.log").unlink()
    (project.root / RUN / "run.log").write_text("the disk was full\n")
    if records == "refused":
        done = project.snakemake("--keep-going", "--forcerun", "parse", "classify")
        assert done.returncode == 1
        said = done.stdout
    else:
        said = project.run("report")
        assert "refused: " in said
    assert "Traceback" not in said
    commands = {path: shlex.split(command) for command, path in re.findall(r"`(snakemake .*?--forcerun (\S+))`", said)}
    assert commands.keys() == {f"{ROUND}/measured.json", f"{RUN}/measured.json"}, said[-3000:]

    for command in commands.values():
        project.run(*command[3:], "--keep-going") if records == "up to date" else project.snakemake(*command[3:])
    assert keys(project) == before
    assert "Step=4" in project.read(f"{RUN}/run.log")
    assert project.planned() == set()
