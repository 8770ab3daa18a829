"""Rounds as the workflow measures them, against the stand-in."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import Config, Endpoint, Inference, PromptSet, Scenario
from accelbench.inference.answers.classify import classify_rounds
from accelbench.inference.client.journal import attempts
from accelbench.inference.infer import measure_round
from accelbench.inference.prompts import make_prompts
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.store.records import RequestRecord

from .endpoint_stand_in import Script, Seen, stream

CANARY = "canary-6f1d9c0ab7"
Answers = Callable[[Seen], Script]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACCELBENCH_WORKFLOW_PID", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def config_for(base_url: str, *names: str, endpoint: dict[str, Any] | None = None, **scenario: Any) -> Config:
    settings = {"requests": 4, "rounds": 2, "max_tokens": 16, **scenario}
    settings = {key: value for key, value in settings.items() if value is not None}
    turns = settings.get("turns", 1)
    limits = {"timeout_connect_s": 2.0, "timeout_read_s": 2.0, "timeout_total_s": 4.0}
    limits |= {"busy_wait_s": 0.0, "ready_timeout_s": 0.2}
    endpoints = {
        name: Endpoint(base_url=base_url, model="m", **{**limits, **(endpoint or {})}) for name in names or ("one",)
    }
    return Config(
        seed=3,
        inference=Inference(
            run=list(endpoints),
            scenarios_run=["load"],
            endpoints=endpoints,
            scenarios={"load": Scenario(**settings)},
            prompts={"questions": PromptSet(source="bundled", select="stratified" if turns == 1 else "passages")},
        ),
    )


def measure(config: Config, name: str = "one", round_no: int = 1) -> Path:
    """Do what the rules `prompts` and `infer` do, and return the round's folder."""
    prompts = Path("results/prompts/questions.jsonl")
    make_prompts(config.inference.prompts["questions"], "questions", specs.prompts_needed(config, "questions"), prompts)
    item = specs.InferRound(name, "load", round_no)
    folder = paths.infer_round(name, "load", round_no)
    measure_round(config, item, specs.infer_spec(config, item), prompts, folder)
    return folder


def requests_of(config: Config, folder: Path) -> list[RequestRecord]:
    classify_rounds(config, Path("requests.parquet"), partial=True)
    return [RequestRecord(**json.loads(line)) for line in (folder / "requests.jsonl").read_bytes().splitlines()]


def record_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return loaded


def failure_of(folder: Path) -> str:
    assert not (folder / "measured.json").exists()
    return str(json.loads((folder / "failure.json").read_text())["text"])


ROUND = Path("results/inference/one/load/r1")


def always(script: Script) -> Answers:
    return lambda _: script


def from_nth(nth: int, then: Script, before: Script | None = None) -> Answers:
    """Answer well until the nth request (the first is the warm-up), then as said."""
    counted = iter(range(1, 1000))
    return lambda _: then if next(counted) >= nth else (before or stream())


def attempts_of(folder: Path, key: str | None = None) -> list[dict[str, Any]]:
    found = list(attempts(folder / "exchanges.jsonl"))
    return [a for a in found if a["key"] == key] if key else [a for a in found if not a["key"].startswith("warm-up")]


def started(base_url: str, **scenario: Any) -> subprocess.Popen[str]:
    """Start a process that measures a round."""
    program = """
import json, sys
from tests.inference.rounds import config_for, measure
measure(config_for(sys.argv[1], **json.loads(sys.argv[2])))
"""
    python_path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": python_path}
    command = [sys.executable, "-c", program, base_url, json.dumps(scenario)]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
