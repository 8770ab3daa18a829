"""A search for the highest load as a scenario of the workflow."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from accelbench.jobs.process import KEPT
from tests.waiting import until

from ..inference.endpoint_stand_in import StandIn, chunked, error, tokens
from .conftest import SMALL, Project, processes_of

pytestmark = pytest.mark.workflow

SCENARIOS: dict[str, Any] = {
    "users": {"find_max": "success>0.9", "concurrency": 4, "requests": 10, "max_tokens": 6, "warm_up": 0},
}


def planned(root: Path, endpoint: dict[str, Any], **more: Any) -> Project:
    project = Project.copied(root, SMALL)

    def plant(config: dict[str, Any]) -> None:
        config["training"]["run"] = []
        inference = {"run": ["one"], "baseline": None, "endpoints": {"one": {"model": "m", **endpoint}}}
        config["inference"].update(inference, scenarios_run=list(SCENARIOS), scenarios=SCENARIOS, **more)

    project.edit(plant)
    return project


def test_a_search_is_measured_once_and_shown(tmp_path: Path) -> None:
    with StandIn(lambda _: error(500) if server.in_flight > 2 else chunked(0.02, *tokens("a"))) as server:
        project = planned(tmp_path / "project", {"base_url": server.base_url, "label": "stand-in"})
        project.run(env={"no_proxy": "127.0.0.1"})
        sent = len(server.posts)
        folder = Path("results/inference/one/users")
        record = json.loads((project.root / folder / "run.json").read_bytes())
        assert (record["holds_at"], record["fails_at"], record["requests"]) == (2, 3, sent)
        with (project.root / "results/tables/searches.csv").open() as table:
            levels = {float(row["at"]): row for row in csv.DictReader(table)}
        assert {(row["scenario"], row["holds_at"]) for row in levels.values()} == {("users", "2.0")}
        assert levels[2]["held"] == levels[2]["rounds"] and levels[3]["held"] == "0"
        assert "users: the highest load of stand-in" in project.read("results/tables/inference.md")
        assert "90 % interval 2 to 3" in project.read("results/report.html")

        for path in (project.root / folder).rglob("*.json*"):
            path.unlink()
        project.run(str(folder / "measured.json"), env={"no_proxy": "127.0.0.1"})  # it is restored
        assert len(server.posts) == sent
        assert json.loads((project.root / folder / "run.json").read_bytes()) == record
        project.edit(lambda config: config["inference"]["scenarios"]["users"].update(requests=12))
        assert "search one/users" in project.planned()


@pytest.mark.long
@pytest.mark.local
@pytest.mark.skipif(sys.platform != "linux", reason="servers are kept on Linux")
def test_one_server_serves_all_rounds_of_a_search_and_is_gone_afterwards(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_server.py")
    server = {"kind": "command", "command": [sys.executable, str(script), "{port}", "asked.txt"]}
    project = planned(tmp_path / "project", {"server": server, "ready_timeout_s": 30.0})
    project.run("results/inference/one/users/measured.json")
    assert until(lambda: not processes_of(project.root)), processes_of(project.root)
    rounds = [json.loads(path.read_bytes()) for path in project.root.glob("results/inference/one/users/*/*/run.json")]
    assert len(rounds) > 1
    assert len({record["endpoint"]["base_url"] for record in rounds}) == 1
    assert len([record for record in rounds if record["endpoint"]["start_up_s"]]) == 1
    assert not list((project.root / KEPT).glob("*.json"))
