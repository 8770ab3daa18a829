"""A machine that others use: the report says so first, and names neither a winner nor a batch size."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..inference.endpoint_stand_in import StandIn, stream
from .conftest import SMALL, Project

pytestmark = [pytest.mark.workflow, pytest.mark.long]

HOG = "while True: pass"


def test_beside_hogs_the_first_line_says_busy_and_no_sentence_names_a_faster_endpoint(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", SMALL)
    slow, fast = (StandIn(lambda _, gap_s=gap_s: stream("a", "b", "c", gap_s=gap_s)) for gap_s in (0.08, 0.04))
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(3)]
    try:
        with slow, fast:
            project.edit(lambda config: config.update(_plan({"slow": slow.base_url, "fast": fast.base_url})))
            project.run(env={"no_proxy": "127.0.0.1"})
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    page = project.read("results/report.html")
    first = re.search(r'class="limits"[^>]*><p>(Busy host: other programs used .*?)</p>', page)
    assert first and "rounds" in first[1]
    assert not re.search(r"was (faster|slower) than|were equal in|(more|less) time than|: equal within", page)


def _plan(urls: dict[str, str]) -> dict[str, object]:
    endpoints = {name: {"model": "m", "base_url": url} for name, url in urls.items()}
    load = {"prompts": "questions", "requests": 5, "rounds": 3, "max_tokens": 6, "warm_up": 0}
    inference = {"run": [*urls], "baseline": None, "endpoints": endpoints}
    inference |= {"scenarios_run": ["short"], "scenarios": {"short": load}}
    prompts = {"questions": {"source": "bundled"}}
    return {"training": {"run": []}, "inference": {**inference, "prompts": prompts}}
