"""kill -9 at random moments: the next run ends as if nothing had happened.

KILLS victims in turn (3; `make kill`: 50), at moments drawn from KILL_SEED: what sends the requests, the endpoint, the
workflow, the trainer. The endpoint is a stand-in in this process, which sees each request; its answer to a request is a
digest of it, so that the journal says which requests were finished before.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from accelbench.inference.journal import EXCHANGES, attempts, finished_keys
from tests.inference.endpoint_stand_in import Script, Seen, StandIn, stream
from tests.waiting import until

from .conftest import SMALL, Project
from .test_faults import processes_of, started

pytestmark = [pytest.mark.workflow, pytest.mark.local]

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("KILL_SEED", "1"))
VICTIMS = ("generator", "endpoint", "workflow", "trainer")
COMMANDS = {"generator": ("accelbench", "infer"), "trainer": ("accelbench.training.torch_trainer",)}
REQUESTS = 10
ANSWER = r'"content": "([0-9a-f]{12})"'
RESULTS = ("results/training/runs.jsonl", "results/inference/rounds.jsonl")


def said(seen: Seen) -> str:
    return hashlib.sha256(seen.content.encode()).hexdigest()[:12]


def answer(seen: Seen) -> Script:
    return stream(said(seen), "!", gap_s=0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, int]:
    """A project measured without any harm, and the port of its endpoint."""
    with StandIn(answer) as server:
        endpoint = {"model": "m", "base_url": server.base_url, "ready_timeout_s": 1.0}
        scenario = {"requests": REQUESTS, "rounds": 1, "max_tokens": 6, "warm_up": 0}
        inference = {"run": ["one"], "baseline": None, "endpoints": {"one": endpoint}, "scenarios": {"short": scenario}}
        config = {
            "training": {**SMALL["training"], "batch_sizes": [2]},
            "inference": {**SMALL["inference"], **inference},
        }
        project = Project.copied(tmp_path_factory.mktemp("kill") / "undisturbed", config)
        project.run(*RESULTS)
    return project, server.port


def outcome(project: Project) -> Any:
    """Return what a run ends in, measured values apart."""
    (run,) = [json.loads(line) for line in project.read(RESULTS[0]).splitlines()]
    (found,) = [json.loads(line) for line in project.read(RESULTS[1]).splitlines()]
    folder = project.root / "results/inference/one/short/r1"
    requests = [json.loads(line) for line in (folder / "requests.jsonl").read_bytes().splitlines()]
    answers = sorted((r["key"], r["class_"], r["answer"]) for r in requests if r["last_attempt"])
    return run["state"], run["log"]["outcome"], len(run["log"]["steps"]), found["state"], answers


def finished(project: Project) -> set[str]:
    """Return the digests of the requests whose answers are on the disk."""
    path = project.root / "results/inference/one/short/r1" / EXCHANGES
    keys = finished_keys(path) if path.exists() else set()
    texts = {a["key"]: "".join(text for _, text in a["reads"]) for a in (attempts(path) if keys else ())}
    return {found[1] for key, text in texts.items() if key in keys and (found := re.search(ANSWER, text))}


def commands_of(project: Project, victim: str) -> list[psutil.Process]:
    found = []
    for process in processes_of(project.root):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "python" in words[0] and any(tuple(words[2 : 2 + len(c)]) == c for c in (COMMANDS[victim],)):
            found.append(process)
    return found


def kill(
    victim: str, project: Project, workflow: subprocess.Popen[bytes], server: StandIn, draw: random.Random
) -> None:
    """Kill it at a random moment, and wait until the workflow has ended."""
    if victim == "workflow":
        time.sleep(draw.uniform(2.0, 10.0))
        workflow.kill()
    elif victim == "endpoint":
        begun = draw.randint(0, REQUESTS - 6)
        assert until(lambda: len(server.posts) >= begun or workflow.poll() is not None, 60)
        server.stop()
    else:
        assert until(lambda: commands_of(project, victim) or workflow.poll() is not None, 60)
        time.sleep(draw.uniform(0.0, 2.0))
        for process in commands_of(project, victim):
            process.send_signal(signal.SIGKILL)
    workflow.wait(90)


def whole(folder: Path) -> None:
    """Check that each JSON file is a whole one."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_bytes())


@pytest.mark.parametrize("number", range(KILLS))
def test_after_a_kill_the_next_run_ends_as_if_undisturbed(
    number: int, undisturbed: tuple[Project, int], tmp_path: Path
) -> None:
    measured, port = undisturbed
    victim, draw = VICTIMS[number % len(VICTIMS)], random.Random(f"{SEED} {number}")
    project = measured.twin(tmp_path / "twin")
    lost = "inference/one" if victim in ("generator", "endpoint") else "*"
    for path in list(project.root.glob(f"results/{lost}/**/r1/measured.json")):
        shutil.rmtree(path.parent)
    shutil.rmtree(project.root / "results/archive")
    for path in RESULTS:
        (project.root / path).unlink()
    with StandIn(answer, port=port) as server:
        workflow = started(project, *RESULTS)
        try:
            kill(victim, project, workflow, server, draw)
        finally:
            workflow.kill()
        assert until(lambda: not processes_of(project.root), 15), processes_of(project.root)
        assert server.most_in_flight <= 1
    done = finished(project)
    whole(project.root / "results")

    with StandIn(answer, port=port) as server:
        subprocess.run(project.command("--unlock"), cwd=project.root, check=True, capture_output=True)
        project.run(*RESULTS)
        again = [said(seen) for seen in server.posts]
        assert server.most_in_flight <= 1
    assert not done & set(again), "a finished request was sent a second time"
    assert len(again) == len(set(again))
    assert outcome(project) == outcome(measured)
    whole(project.root / "results")
    assert not processes_of(project.root)
