"""kill -9 at random moments: the next run ends as if nothing had happened.

KILLS victims in turn (1; `make kill`: 50), at moments drawn from KILL_SEED: what sends the requests, a local server,
the workflow, the trainer, a remote endpoint, a guard. After some kills the next run begins at once, while what the
workflow left is still ending. Each endpoint answers a request with a digest of it, so that the journal says which were
finished before. The remote one is a stand-in in this process, the local one (`kill_server.py`) a process of its own.
"""

import csv
import datetime
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from accelbench.inference.client.journal import EXCHANGES, attempts, finished_keys, sessions
from accelbench.store.files import read_jsonl, sha256
from accelbench.telemetry.recorder import TELEMETRY
from tests.inference.endpoint_stand_in import StandIn
from tests.waiting import until

from .conftest import SMALL, Project, processes_of, started
from .kill_server import answer, said

pytestmark = [pytest.mark.workflow, pytest.mark.local]

KILLS = int(os.environ.get("KILLS", "1"))
SEED = int(os.environ.get("KILL_SEED", "1"))
LOST = {
    "generator": "inference/*",
    "server": "inference/local",
    "workflow": "*",
    "trainer": "training/*",
    "endpoint": "inference/remote",
    "guard": "*",
}
"""What is to be measured, and who is killed meanwhile."""
SERVER = Path(__file__).with_name("kill_server.py")
COMMANDS = {
    "generator": ("-m", "accelbench", "infer"),
    "server": (str(SERVER),),
    "trainer": ("-m", "accelbench.training.torch.trainer"),
    "guard": ("-m", "accelbench.jobs.guard"),
}
REQUESTS = 10
ANSWER = r'"content": "([0-9a-f]{12})"'
ENDPOINTS = ("remote", "local")
ASKED = "asked.txt"
RUN = Path("results/training/this-machine/bs2/r1")
MEASURED = (f"{RUN}/measured.json", *(f"results/inference/{name}/short/r1/measured.json" for name in ENDPOINTS))
RESULTS = ("results/training/runs.jsonl", "results/inference/rounds.jsonl", "results/tables/requests.csv")
STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ", re.MULTILINE)
MEASURED_VALUE = re.compile(r"\d+(\.\d+(e-?\d+)?|e-\d+)")
FROM_TIMES = {"attempt", "session", "streaming", "labels", "late_sends"}
"""Columns of no decimal numbers that tell of times all the same, or of how often a run was interrupted."""
UNTIMED = ("success", "exact_match", "f1", "contains", "samples_seen")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, int]:
    """A project measured without any harm, and the port of its remote endpoint."""
    with StandIn(answer) as server:
        command = [sys.executable, str(SERVER), "{port}", ASKED]
        endpoints = {
            "remote": {"model": "m", "base_url": server.base_url, "ready_timeout_s": 1.0},
            "local": {"model": "m", "server": {"kind": "command", "command": command}, "ready_timeout_s": 20.0},
        }
        scenario = {"requests": REQUESTS, "rounds": 1, "max_tokens": 6, "warm_up": 0}
        inference = {"run": [*ENDPOINTS], "baseline": None, "endpoints": endpoints, "scenarios": {"short": scenario}}
        config = {
            "training": {**SMALL["training"], "batch_sizes": [2]},
            "inference": {**SMALL["inference"], **inference},
        }
        project = Project.copied(tmp_path_factory.mktemp("kill") / "undisturbed", config)
        project.run(*MEASURED)
    tabulated_as_quiet(project)
    assert_apart(project)
    return project, server.port


def outcome(project: Project) -> Any:
    """Return what a run ends in, measured values apart."""
    (run,) = [json.loads(line) for line in project.read(RESULTS[0]).splitlines()]
    rounds = [json.loads(line) for line in project.read(RESULTS[1]).splitlines()]
    tables = project.root / "results/tables"
    return {
        "run": (run["state"], run["log"]["outcome"], len(run["log"]["steps"])),
        "rounds": [(found["endpoint"], found["state"]) for found in rounds],
        **{name: masked_csv(tables / f"{name}.csv") for name in ("training", "inference", "requests")},
        **{path.name: masked_text(path) for path in sorted(tables.glob("*.[mt][de]*"))},
    }


def masked_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, of requests the last attempts, without what was measured."""
    rows = [row for row in csv.DictReader(path.open()) if row.get("last_attempt") != "False"]
    kept = [
        {
            name: value if name.startswith(UNTIMED) else MEASURED_VALUE.sub("#", value)
            for name, value in row.items()
            if name not in FROM_TIMES
        }
        for row in rows
    ]
    return sorted(kept, key=lambda row: (row.get("endpoint", ""), row.get("key", "")))


def masked_text(path: Path) -> list[str]:
    """Return the lines of a table for reading; the sentences below it are about times."""
    lines = [line for line in path.read_text().splitlines() if "|" in line or "&" in line]
    return [re.sub(r"(\d[\d,.]*|[\s–-])+", "#", line) for line in lines]


def tabulated_as_quiet(project: Project) -> None:
    """Make the tables without what else this host did, which no two runs share."""
    for path in project.root.glob("results/*/**/r1/measured.json"):
        record = json.loads(path.read_bytes())
        if record["raw_sha256"].pop(TELEMETRY, None):
            path.write_text(json.dumps(record))
    project.run(*RESULTS)


def journal_of(project: Project, endpoint: str) -> Path:
    return project.root / "results/inference" / endpoint / "short/r1" / EXCHANGES


def finished(project: Project, endpoint: str) -> set[str]:
    """Return the digests of the requests whose answers are on the disk."""
    path = journal_of(project, endpoint)
    keys = finished_keys(path) if path.exists() else set()
    texts = {a["key"]: "".join(text for _, text in a["reads"]) for a in (attempts(path) if keys else ())}
    return {found[1] for key, text in texts.items() if key in keys and (found := re.search(ANSWER, text))}


def asked(project: Project, server: StandIn) -> dict[str, list[str]]:
    """Return the digests of all requests that reached an endpoint."""
    path = project.root / ASKED
    local = path.read_text().split() if path.exists() else []
    return {"remote": [said(seen) for seen in server.posts], "local": local}


def commands_of(project: Project, victim: str) -> list[psutil.Process]:
    found = []
    for process in processes_of(project.root):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words and "python" in words[0] and tuple(words[1 : 1 + len(COMMANDS[victim])]) == COMMANDS[victim]:
            found.append(process)
    return found


def kill(
    victim: str, project: Project, workflow: subprocess.Popen[bytes], server: StandIn, draw: random.Random
) -> None:
    """Kill it at a random moment, and wait until the workflow has ended."""
    if victim == "workflow":
        time.sleep(draw.uniform(2.0, 14.0))
        workflow.kill()
    elif victim == "endpoint":
        begun = draw.randint(0, REQUESTS - 6)  # of fewer that are left, failing is a remote endpoint's result
        assert until(lambda: len(server.posts) >= begun or workflow.poll() is not None, 60)
        server.stop()
    else:
        assert until(lambda: commands_of(project, victim) or workflow.poll() is not None, 60)
        time.sleep(draw.uniform(0.0, 2.0))
        for process in commands_of(project, victim):
            process.send_signal(signal.SIGKILL)
    workflow.wait(90)


def assert_whole(folder: Path) -> None:
    """Check that each JSON file is a whole one, and each finished measurement what it says."""
    for path in folder.rglob("*.json"):
        record = json.loads(path.read_bytes())
        if path.name == "measured.json":
            assert {name: sha256(path.parent / name) for name in record["raw_sha256"]} == record["raw_sha256"]
    for path in folder.rglob("*.jsonl"):
        assert path.name == EXCHANGES or path.read_bytes().endswith(b"\n")


def assert_finished_once(journal: Path) -> None:
    """Check that no request was sent again, in whatever session, after its last attempt."""
    done: set[str] = set()
    for record in read_jsonl(journal):
        assert record.get("key") not in done
        done.update({record["key"]} if record.get("final") else ())
        done.difference_update(record.get("reopened", ()))


def assert_apart(project: Project) -> None:
    """Check that no two measurements, or sessions of one, overlap, by the times that they recorded."""
    spans = sorted(measured_spans(project))
    assert len(spans) >= 1 + len(ENDPOINTS)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), spans


def measured_spans(project: Project) -> Iterator[tuple[float, float, str]]:
    """Yield begin and end, in seconds of the epoch, of the training and of each session of requests."""
    stamps = [
        datetime.datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()
        for stamp in STAMP.findall(project.read(f"{RUN}/run.log"))
    ]
    yield min(stamps), max(stamps), "training"
    for endpoint in ENDPOINTS:
        path = journal_of(project, endpoint)
        for header in sessions(path):
            own = [attempt for attempt in attempts(path) if attempt["session"] == header["session"]]
            if own:
                begin_s, end_s = min(a["dequeued_s"] for a in own), max(a["end_s"] for a in own)
                zero_s = header["started_unix_s"]
                yield zero_s + begin_s, zero_s + end_s, f"{endpoint} {header['session']}"


def forget(project: Project, lost: str) -> None:
    """Take away what is to be measured, and all that it could be had from."""
    for path in list(project.root.glob(f"results/{lost}/**/r1/measured.json")):
        shutil.rmtree(path.parent)
    for folder in ("archive", "tables"):
        shutil.rmtree(project.root / "results" / folder)
    for path in (*RESULTS[:2], ASKED):
        (project.root / path).unlink()


@pytest.mark.parametrize("number", range(KILLS))
def test_after_a_kill_the_next_run_ends_as_if_undisturbed(
    number: int, undisturbed: tuple[Project, int], tmp_path: Path
) -> None:
    measured, port = undisturbed
    victim, draw = [*LOST][number % len(LOST)], random.Random(f"{SEED} {number}")
    project = measured.twin(tmp_path / "twin")
    forget(project, LOST[victim])
    with ExitStack() as stack:
        server = stack.enter_context(StandIn(answer, port=port))
        workflow = started(project, *RESULTS)
        try:
            kill(victim, project, workflow, server, draw)
        finally:
            workflow.kill()
        if draw.random() < 0.5:
            assert until(lambda: not processes_of(project.root), 15), processes_of(project.root)
        if victim == "endpoint":
            server = stack.enter_context(StandIn(answer, port=port))
        done = {endpoint: finished(project, endpoint) for endpoint in ENDPOINTS}
        before = {endpoint: len(digests) for endpoint, digests in asked(project, server).items()}
        assert_whole(project.root / "results")

        project.run(*MEASURED)
        assert server.most_in_flight <= 1
        for endpoint, digests in asked(project, server).items():
            assert not done[endpoint] & set(digests[before[endpoint] :]), "a finished request was sent a second time"
            assert_finished_once(journal_of(project, endpoint))
    tabulated_as_quiet(project)
    assert outcome(project) == outcome(measured)
    assert_apart(project)
    assert_whole(project.root / "results")
    assert until(lambda: not processes_of(project.root), 15), processes_of(project.root)
