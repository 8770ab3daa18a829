"""Load shapes through the whole DAG: open loop and filled contexts, measured, tabled and drawn."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ..inference.endpoint_stand_in import StandIn, stream
from .conftest import SMALL, Project

pytestmark = pytest.mark.workflow

LOAD = {"prompts": "questions", "requests": 3, "rounds": 1, "max_tokens": 6, "warm_up": 0}
SCENARIOS: dict[str, Any] = {
    "arriving": {**LOAD, "arrivals": "constant", "rate_per_s": 20.0, "max_in_flight": 1},
    "long": {**LOAD, "context_tokens": [300, 600]},
    "parallel": {**LOAD, "concurrency": [1, 2], "requests": 20},
}


def test_shapes_become_cells_tables_and_plots(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", SMALL)
    with StandIn(lambda _: stream("a", "b", "c", gap_s=0.03)) as server:

        def plant(config: dict[str, Any]) -> None:
            config["training"]["run"] = []
            endpoint = {"model": "m", "base_url": server.base_url, "label": "stand-in"}
            inference = {"run": ["one"], "baseline": None, "endpoints": {"one": endpoint}}
            config["inference"].update(inference, scenarios_run=list(SCENARIOS), scenarios=SCENARIOS)

        project.edit(plant)
        project.run(env={"no_proxy": "127.0.0.1"})
    with (project.root / "results/tables/inference.csv").open() as table:
        rows = {row["cell"]: row for row in csv.DictReader(table)}
    assert set(rows) == {"arriving", "long-in300", "long-in600", "parallel-c1", "parallel-c2"}
    assert rows["arriving"]["rate_per_s"] == "20.0"
    labels = {cell: row["labels"].split("; ") for cell, row in rows.items()}
    assert any(label.startswith("not open loop") for label in labels["arriving"])
    assert (rows["long-in600"]["context_tokens"], rows["long-in600"]["prompt_tokens"]) == ("600", "7.0")
    assert any(label.startswith("too short for a throughput") for label in labels["long-in300"])
    of_a_busy_machine = ("busy host", "late sends")
    assert not [label for label in labels["parallel-c2"] if label and not label.startswith(of_a_busy_machine)]
    assert float(rows["parallel-c2"]["system_output_tok_per_s_mean"]) > 0
    lines = project.read("results/inference/one/long-in600/r1/requests.jsonl").splitlines()
    asked = [json.loads(line) for line in lines]
    assert [request["class_"] for request in asked] == ["ok"] * 3
    page = project.read("results/report.html")
    assert "Throughput by concurrency" in page and "TTFT by prompt length" in page
    assert re.search(r"Read with care: .*not open loop \(stand-in in arriving\)", page)
