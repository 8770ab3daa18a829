"""Rounds of a load: who is asked when, and what."""

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelbench.analysis import pairs
from accelbench.analysis.intervals import t_quantile
from accelbench.analysis.verdicts import ALPHA
from accelbench.cli import DEFAULT_ROUNDS, app
from accelbench.compare.sides import read_sides
from accelbench.config import Endpoint, PromptSet, Scenario
from accelbench.errors import UserError
from accelbench.inference import infer
from accelbench.load.loadtest import measure_rounds
from accelbench.store.files import read_jsonl

from ..inference.endpoint_stand_in import Seen, StandIn, stream

PROMPTS = PromptSet(source="bundled", template="short_span")


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def measured(sides: dict[Path, StandIn], rounds: int, requests: int = 2) -> None:
    endpoints = {at: Endpoint(base_url=server.base_url, model=at.name) for at, server in sides.items()}
    measure_rounds(endpoints, Scenario(rounds=rounds, requests=requests, warm_up=0), PROMPTS, quiet=True)


def questions(seen: list[Seen]) -> list[str]:
    return [each.content.partition("\n\n")[2] for each in seen]


def test_two_sides_take_turns_and_are_asked_the_same_with_prefixes_of_their_own(tmp_path: Path) -> None:
    with StandIn(lambda _: stream()) as server:
        measured({tmp_path / "a": server, tmp_path / "b": server}, rounds=2)
        order = [seen.json["model"] for seen in server.posts]
        asked = {name: [seen for seen in server.posts if seen.json["model"] == name] for name in "ab"}
    assert order[:4] == order[:3:-1] and Counter(order) == {"a": 4, "b": 4}
    assert questions(asked["a"]) == questions(asked["b"])
    assert len(set(questions(asked["a"]))) == 4  # each round has questions of its own
    assert len({seen.content for seen in server.posts}) == 8
    record = read_jsonl(tmp_path / "b/r2/requests.jsonl")[0]
    assert (record["endpoint"], record["round"]) == ("endpoint", 2)


def test_an_interrupted_round_is_read_with_the_finished_ones(tmp_path: Path) -> None:
    with StandIn(lambda _: stream()) as server:
        measured({tmp_path / "a": server}, rounds=2)
    (tmp_path / "a/r2/requests.jsonl").unlink()
    ((load,),) = read_sides([tmp_path / "a"])
    assert Counter(attempt.round for attempt in load.attempts) == {1: 2, 2: 2}


def test_each_round_waits_for_a_quiet_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(infer, "wait_until_quiet", lambda name, *_: waited.append(name))
    with StandIn(lambda _: stream()) as server:
        measured({tmp_path: server}, rounds=2)
    assert waited == [str(tmp_path / "r1"), str(tmp_path / "r2")]


def test_more_rounds_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    with StandIn(lambda _: stream()) as server:
        measured({tmp_path: server}, rounds=1)
        measured({tmp_path: server}, rounds=2)
        assert len(server.posts) == 4


def test_a_folder_of_another_load_is_refused(tmp_path: Path) -> None:
    with StandIn(lambda _: stream()) as server:
        measured({tmp_path: server}, rounds=1)
        with pytest.raises(UserError, match="holds another load test"):
            measured({tmp_path: server}, rounds=1, requests=3)


def test_load_prints_what_its_rounds_amount_to(tmp_path: Path) -> None:
    with StandIn(lambda _: stream()) as server:
        asked = ["load", "--base-url", server.base_url, "--model", "m", "--rounds", "3", "--requests", "5"]
        done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "| success" in done.stdout and "15/15" in done.stdout
    assert (tmp_path / "out/r3/run.json").exists()


def test_as_many_rounds_by_default_as_the_first_test_of_a_pair_needs() -> None:
    def reach(rounds: int) -> float:
        """Return the smallest difference that can be shown, in spreads between rounds."""
        return t_quantile(1 - ALPHA / pairs.tests_of_a_pair() / 2, rounds - 1) / rounds**0.5

    assert reach(DEFAULT_ROUNDS) <= 2 < reach(DEFAULT_ROUNDS - 1)


def test_without_a_folder_the_records_go_into_a_new_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with StandIn(lambda _: stream()) as server:
        done = CliRunner().invoke(app, ["load", "--base-url", server.base_url, "--model", "m", "--requests", "1"])
    [folder] = tmp_path.glob("load-*")
    assert (folder / "requests.jsonl").exists() and f"--out {folder.name} continues there" in done.stderr
