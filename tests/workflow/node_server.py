"""A config with an endpoint whose server is started on a cluster's node, by a command such as `vllm serve`."""

import json
import sys
from pathlib import Path
from typing import Any

from .conftest import REPOSITORY, Project

VLLM = REPOSITORY / "tests/standins/vllm"
ROUNDS = 2


def serving(token_file: Path | None = None) -> dict[str, Any]:
    """Return an inference half with one endpoint on a node; its token, if any, is read from a file there."""
    server = {
        "kind": "command",
        "command": [sys.executable, str(VLLM), "serve", "{model}", "--port", "{port}"],
        "version_command": [sys.executable, str(VLLM), "--version"],
    }
    token = {"token": {"command": ["cat", str(token_file)]}} if token_file else {}
    return {
        "run": ["far"],
        "baseline": "far",
        "scenarios_run": ["short"],
        "endpoints": {"far": {"model": "m", "server": server, "own_node": True, **token}},
        "prompts": {"questions": {"source": "bundled"}},
        "scenarios": {"short": {"requests": 2, "rounds": ROUNDS, "max_tokens": 8}},
    }


def answers(project: Project) -> set[str]:
    """Return what the attempts of all rounds were answered, each of which must have been whole."""
    rounds = list(project.root.glob("results/inference/far/short/r*/requests.jsonl"))
    assert len(rounds) == ROUNDS
    attempts = [json.loads(line) for path in rounds for line in path.read_text().splitlines()]
    assert {attempt["class_"] for attempt in attempts} == {"ok"}, attempts
    return {attempt["answer"] for attempt in attempts}
