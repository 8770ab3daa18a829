"""`accelbench ab`: two endpoints measured in turn, and what is said of them."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelbench.cli import app
from accelbench.compare.ab import Contender
from accelbench.errors import UserError
from accelbench.store.files import read_json

from ..inference.endpoint_stand_in import Script, Seen, StandIn, document, stream

SLOWER_BY_S = 0.02


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")


def late(_: Seen) -> Script:
    time.sleep(SLOWER_BY_S)
    return stream()


def served(*models: str) -> Script:
    return document({"data": [{"id": model} for model in models]})


def test_the_slower_one_is_named_and_the_records_are_kept() -> None:
    with StandIn(lambda _: stream(), lambda _: served("m")) as one, StandIn(late, lambda _: served("m")) as other:
        asked = ["ab", "--a", one.base_url, "--b", other.base_url, "--rounds", "3", "--requests", "5"]
        done = CliRunner().invoke(app, [*asked, "--out", "out", "--json", "found.json"])
    assert done.exit_code == 0, done.output
    assert "b was slower than a" in done.stdout
    assert "accelbench compare --full out/a out/b" in done.stdout
    (pair,) = read_json(Path("found.json"))["pairs"]
    assert (pair["a"], pair["b"], pair["paired"]) == ("b", "a", True)
    assert all((Path("out") / side / "r3/telemetry.jsonl").exists() for side in "ab")


def test_an_endpoint_of_several_models_asks_which() -> None:
    which = pytest.raises(UserError, match=r"serves m, n\. Name the model with --b-model")
    with StandIn(lambda _: stream(), lambda _: served("m", "n")) as server, which:
        Contender(server.base_url).endpoint("b")


def test_a_file_gives_an_endpoint_and_its_mistakes_are_named() -> None:
    Path("fast.yaml").write_text("server: {kind: llama.cpp, threads: 1}\nmodel: m\n")
    assert Contender("fast.yaml").endpoint("a").server is not None
    Path("fast.yaml").write_text("base_url: http://h/v1\nmodle: m\n")
    with pytest.raises(UserError, match="modle is not a key; did you mean model"):
        Contender("fast.yaml").endpoint("a")
