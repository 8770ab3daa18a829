"""`accelbench ab`: two endpoints measured in turn, and what is said of them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelbench.cli import app
from accelbench.compare.ab import Contender
from accelbench.errors import UserError
from accelbench.store.files import read_json

from ..inference.endpoint_stand_in import Script, StandIn, document, stream


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")


def served(*models: str) -> Script:
    return document({"data": [{"id": model} for model in models]})


def test_both_are_measured_compared_and_kept() -> None:
    """How they compare is not held here: the host of a test may be busy, and then no round counts."""
    with StandIn(lambda _: stream(), lambda _: served("m")) as one, StandIn(lambda _: stream()) as other:
        asked = ["ab", "--a", one.base_url, "--b", other.base_url, "--rounds", "3", "--requests", "5", "--b-model", "n"]
        done = CliRunner().invoke(app, [*asked, "--out", "out", "--json", "found.json"])
    assert done.exit_code == 0, done.output
    assert "| a, baseline" in done.stdout and "accelbench compare --full out/a out/b" in done.stdout
    found = read_json(Path("found.json"))
    assert [(side["name"], side["ok"]) for side in found["sides"]] == [("a", 15), ("b", 15)]
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("b", "a")]
    assert all((Path("out") / side / "r3/telemetry.jsonl").exists() for side in "ab")


@pytest.mark.long
def test_a_page_is_written_of_what_was_just_measured() -> None:
    with StandIn(lambda _: stream(), lambda _: served("m")) as server:
        asked = ["ab", "--a", server.base_url, "--b", server.base_url, "--rounds", "3", "--requests", "5"]
        done = CliRunner().invoke(app, [*asked, "--out", "out", "--html", "page/found.html"])
    assert done.exit_code == 0, done.output
    assert "<title>a and b" in Path("page/found.html").read_text()


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
