"""Training sweeps compared from their files alone."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelbench.cli import app
from accelbench.compare.sides import names_of
from accelbench.compare.tables import training_text
from accelbench.compare.training import compare_training, is_training
from accelbench.errors import UserError
from accelbench.store.files import write_json
from accelbench.telemetry.recorder import TELEMETRY

from ..analysis.records import request
from ..report.test_tables import cells_of
from .test_endpoints import side


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sweep(folder: str, *rates: float, batch_size: int = 256) -> Path:
    for number, rate in enumerate(rates, 1):
        summary = {"batch_size": batch_size, "steady_rate_samples_per_s": rate, "outcome": "completed"}
        write_json(Path(folder) / f"bs{batch_size}" / f"r{number}" / "summary.json", summary)
    return Path(folder)


def test_two_releases_are_compared_batch_size_by_batch_size() -> None:
    sweep("old", 30.0, batch_size=512)
    said = compare_training([sweep("old", 32.0, 32.2, 31.8), sweep("new", 40.0, 40.4, 39.6)])
    (pair,) = said["pairs"]
    assert (pair["a"], pair["b"], pair["batch_size"], pair["n"]) == ("new", "old", 256, [3, 3])
    assert pair["ratio"] == pytest.approx(1.25, rel=0.001)
    assert 1.2 < pair["ratio_ci"][0] < 1.25 < pair["ratio_ci"][1]
    assert pair["verdict"][0].startswith(
        "At batch size 256, new was faster than old: ratio of steady rates, new ÷ old, 1.250 ("
    )
    assert "3 and 3 runs; p < 0.001" in pair["verdict"][0]
    found = cells_of(training_text(said))
    assert found["256"][0] == "32.00 (31.80 to 32.20), n = 3" and found["512"] == ["30.00, n = 1", "–", "–"]


def test_one_run_each_has_a_ratio_without_an_interval() -> None:
    said = compare_training([sweep("old", 30.0), sweep("new", 33.0)])
    (pair,) = said["pairs"]
    assert pair["ratio_ci"] is pair["p_value"] is None
    assert pair["notes"] == ["ratio_ci: 1 run on a side: an interval needs at least 3 of a size on both"]
    rates = "the steady rate of new was 1.100 times that of old"
    assert pair["verdict"] == [f"At batch size 256, {rates}. No uncertainty can be given: one run each."]
    assert cells_of(training_text(said))["256"][2] == "1.100 (no interval)"


def test_equal_rates_are_called_equal_and_noisy_ones_nothing() -> None:
    rates = (30.0, 30.1, 29.9, 30.05)
    (equal,) = compare_training([sweep("old", *rates), sweep("new", *rates[::-1])])["pairs"]
    (noisy,) = compare_training([sweep("a", 20.0, 30.0, 40.0), sweep("b", 25.0, 35.0, 24.0)])["pairs"]
    assert "new and old were equal within ±5 %" in equal["verdict"][0]
    assert "no difference between b and a could be shown" in noisy["verdict"][0]
    assert "Resolving ±5 % would take about" in noisy["verdict"][0]


def test_identical_runs_have_no_interval() -> None:
    (pair,) = compare_training([sweep("old", 30.0, 30.0, 30.0), sweep("new", 33.0, 33.0, 33.0)])["pairs"]
    assert pair["ratio_ci"] is None and "identical" in pair["notes"][0]


def test_a_rate_that_is_none_is_no_run() -> None:
    said = compare_training([sweep("old", 30.0, 0.0, math.inf), sweep("new", 33.0)])
    assert said["pairs"][0]["n"] == [1, 1]


def test_what_else_differs_between_sweeps_is_named() -> None:
    for name, steps, length in (("old", 200, 2048), ("new", 100, 4096)):
        spec = {"settings": {"max_steps": steps}, "model": {"seed": steps, "layers": [{"length": length}]}}
        run = {"batch_size": 256, "steady_rate_samples_per_s": 30.0, "outcome": "completed", "spec": spec}
        write_json(Path(name) / "summary.json", run)
    notes = compare_training([Path("old"), Path("new")])["notes"]
    assert "old and new differ in: model.layers.0.length (2048 and 4096); settings.max_steps (200 and 100)" in notes


def test_weights_that_were_drawn_differently_are_named_although_specs_leave_out_what_is_normal() -> None:
    for name, more in {"old": {}, "new": {"initial_weights": "modelzoo"}}.items():
        Path(name).mkdir()
        spec = {"platform": {"name": "cpu", "backend": "torch", **more}}
        run = {"batch_size": 256, "steady_rate_samples_per_s": 30.0, "outcome": "completed", "spec": spec}
        write_json(Path(name) / "summary.json", run)
    notes = compare_training([Path("old"), Path("new")])["notes"]
    assert "old and new differ in: platform.initial_weights (normal and modelzoo)" in notes


@pytest.mark.parametrize(
    ("content", "said"),
    [("{torn", "can't be read as JSON"), ("[]", "holds no summary of a run"), ('{"batch_size": true}', "no completed")],
)
def test_a_broken_summary_is_named(content: str, said: str) -> None:
    Path("bad").mkdir()
    Path("bad/summary.json").write_text(content)
    with pytest.raises(UserError, match=f"bad.*{said}"):
        compare_training([sweep("old", 30.0), Path("bad")])


@pytest.mark.parametrize("rate", [1e-320, 1e300, -1.0])
def test_a_rate_that_no_machine_has_is_none(rate: float) -> None:
    assert compare_training([sweep("old", 30.0, rate), sweep("new", 33.0)])["pairs"][0]["n"] == [1, 1]


def test_facts_of_odd_types_break_nothing() -> None:
    run = '"batch_size": 4, "steady_rate_samples_per_s": 3.0, "outcome": "completed", "device": ["x"]'
    for name in ("old", "new"):
        Path(name).mkdir()
        Path(name, "summary.json").write_text(f'{{{run}, "spec": {{"a": {"[" * 1000}{"]" * 1000}, "b": {{}}}}}}')
    assert compare_training([Path("old"), Path("new")])["pairs"][0]["ratio"] == 1.0


def test_one_side_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="old is named twice"):
        compare_training([sweep("old", 30.0), Path("old")])


def test_sweeps_without_a_common_size_are_told() -> None:
    said = compare_training([sweep("old", 30.0), sweep("new", 33.0, batch_size=512)])
    assert said["pairs"] == [] and "old and new have no batch size in common" in said["notes"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a/one", "a/two"], ["one", "two"]),
        (["monday/one", "friday/one"], ["monday/one", "friday/one"]),
        (["monday/results/one", "friday/results/one"], ["monday/…/one", "friday/…/one"]),
        (["a/x/one", "a/y/one", "b/x/one"], ["a/x/one", "a/y/one", "b/x/one"]),
        (["logs/old.log", "logs/new.log"], ["old.log", "new.log"]),
    ],
)
def test_sides_are_named_by_what_tells_them_apart(given: list[str], names: list[str]) -> None:
    for path in map(Path, given):
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
    assert names_of(list(map(Path, given))) == names


def test_training_is_told_from_inference() -> None:
    assert is_training(sweep("old", 30.0)) and not is_training(side("one", request()))


def test_a_servers_log_beside_its_results_is_no_training() -> None:
    Path("results").mkdir()
    Path("results/vllm.log").write_text("INFO 10-27 17:25:00 [api_server.py:1] Started server process\n")
    assert not is_training(Path("results"))


def test_training_is_not_compared_with_requests() -> None:
    asked = CliRunner().invoke(app, ["compare", str(sweep("old", 30.0)), str(side("one", request()))])
    assert str(asked.exception).endswith("one holds none; compare only training runs, or only endpoints.")
    asked = CliRunner().invoke(app, ["compare", str(sweep("old", 30.0)), "nosuch"])
    assert str(asked.exception) == "old holds training runs, and nosuch is not there."


def test_a_sweep_without_a_completed_run_is_named() -> None:
    write_json(Path("bad/summary.json"), {"batch_size": 1, "outcome": "failed"})
    with pytest.raises(UserError, match="bad: holds no completed training run"):
        compare_training([Path("bad"), sweep("old", 30.0)])


def busy(*folders: str) -> None:
    """Let other programs have used half of the CPU time during these runs."""
    header = {"started_unix_s": 0.0, "at_s": 0.0, "host": {"cores": 2}}
    lines = [header, *({"at_s": at_s, "host": {"busy_s": at_s, "own_s": 0.0}} for at_s in (0.0, 10.0))]
    for folder in folders:
        (Path(folder) / TELEMETRY).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_runs_on_a_busy_host_are_left_out_and_said() -> None:
    sides = [sweep("old", 30.0, 30.1, 29.9, 9.0), sweep("new", 30.0, 30.2, 29.8)]
    busy("old/bs256/r4")
    said = compare_training(sides)
    (pair,) = said["pairs"]
    assert pair["n"] == [3, 3] and pair["ratio"] == pytest.approx(1.0, abs=0.001)
    assert any(
        note.startswith("old, busy host: other programs used 50 % of both cores in 1 of 4") for note in said["notes"]
    )


def test_nothing_is_concluded_where_all_runs_of_a_side_were_on_a_busy_host() -> None:
    sides = [sweep("old", 30.0, 30.1, 29.9), sweep("new", 15.0, 15.1, 14.9)]
    busy(*(f"new/bs256/r{number}" for number in (1, 2, 3)))
    (pair,) = compare_training(sides)["pairs"]
    assert pair["ratio_ci"] is pair["p_value"] is None
    assert "No uncertainty can be given: the host was busy during all runs of a side." in pair["verdict"][0]
