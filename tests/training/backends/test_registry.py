"""A training backend is one class, one entry and its config model: a toy of one trains, is planned, and is reported."""

import csv
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field

from accelbench.config import Config, Platform, Training
from accelbench.dag import Dag
from accelbench.errors import Finding, ok
from accelbench.foreign import Tree
from accelbench.jobs.process import WORKFLOW_PID
from accelbench.plan import specs
from accelbench.preflight import preflight
from accelbench.report.summary import summarise
from accelbench.report.tables import write_tables
from accelbench.training.backends import BACKENDS, backend_of
from accelbench.training.backends.backend import Backend, Launch
from accelbench.training.params.render import write_params
from accelbench.training.run import measure_run
from accelbench.training.runs import parse_runs

LOG = [
    "Starting train loop 1 of 1, from global step 1 to 2 (2 steps)",
    *(f"| Train Device=TOY, Step={n}, Loss=8.{n}, Rate=4.0 samples/sec, GlobalRate=4.0 samples/sec" for n in (1, 2)),
    "Training completed successfully!",
    "Processed 8 training sample(s) in 3.5 seconds.",
]
TRAINER = "\n".join(f"print('2025-11-25 15:39:{at:02},243 INFO:   {line}')" for at, line in enumerate(LOG))


class ToyPlatform(Platform):
    """A machine that prints a log."""

    backend: Literal["toy"]
    speed: int = Field(1, description="How fast it is.")


class Toy(Backend[ToyPlatform]):
    """Trains by printing."""

    resources: Mapping[str, int] = {"csx": 1}
    initial_weights = "toy's"

    def params(self, init: Tree) -> Tree:
        return {"backend": {"backend_type": "CPU"}, "precision": {"enabled": self.platform.speed > 1}}

    def launch(self, params: Path, model_dir: Path) -> Launch:
        return Launch([sys.executable, "-c", TRAINER])

    def facts(self, model_dir: Path) -> dict[str, Any]:
        return {"sequence_length": 16}

    def preflight(self, config: Config, runs: Sequence[specs.TrainRun]) -> Iterator[Finding]:
        yield ok(f"{self.name}: toy", f"{len(runs)} runs could begin")


class ToySweep(Training):
    platforms: dict[str, ToyPlatform]  # type: ignore[assignment]


class ToyConfig(Config):
    training: ToySweep


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(WORKFLOW_PID, raising=False)
    monkeypatch.setitem(BACKENDS, "toy", Toy)
    Path("model.yaml").write_text("trainer: {init: {}, fit: {train_dataloader: {batch_size: 1}}}")
    platforms = {"box": {"backend": "toy", "speed": 2}}
    sweep = {"run": ["box"], "platforms": platforms, "model": "model.yaml", "batch_sizes": [4], "max_steps": 2}
    handler = signal.getsignal(signal.SIGTERM)
    yield ToyConfig.model_validate({"training": sweep})
    signal.signal(signal.SIGTERM, handler)


def test_a_toy_backend_trains_to_a_record_and_a_row(config: Config) -> None:
    [run] = specs.train_runs(config)
    write_params(config, run, run.folder / "params.yaml")
    init = yaml.safe_load((run.folder / "params.yaml").read_text())["trainer"]["init"]
    assert (init["backend"], init["precision"]) == ({"backend_type": "CPU"}, {"enabled": True})
    measure_run(config, run, specs.train_spec(config, run), run.folder)
    kept = json.loads((run.folder / "run.json").read_text())
    assert (kept["outcome"], kept["trainer"]) == ("completed", {"sequence_length": 16})
    assert kept["spec"]["platform"] == {"name": "box", "backend": "toy", "speed": 2}

    records = parse_runs(config)
    assert [(each.state, each.initial_weights) for each in records] == [("measured", "toy's")]
    write_tables(Path("tables"), summarise(config, records, []))
    with Path("tables/training.csv").open(newline="") as table:
        [row] = csv.DictReader(table)
    assert (row["platform"], row["batch_size"], row["steps"]) == ("box", "4", "2")
    assert float(row["tokens_per_s"]) == 4.0 * 16


def test_a_toy_backend_is_planned_and_looked_at_before_it_runs(config: Config) -> None:
    found = {finding.what: finding for finding in preflight(config)}
    assert found["box: toy"].text == "1 runs could begin"
    assert "all 1 made from model.yaml are accepted" in found["box: params"].text

    class Wildcards:
        platform, size, repeat = "box", "bs4", 1

    plan = Dag(config)
    assert (plan.train_resource("csx")(Wildcards), plan.train_resource("measure")(Wildcards)) == (1, None)
    assert plan.platforms(trains=True) == "box" and plan.compiled(Wildcards) == []


def test_a_backend_of_defaults_trains_nothing_and_asks_for_nothing(config: Config) -> None:
    bare: Backend[Platform] = Backend("box", config.training.platforms["box"])
    assert (bare.params({}), bare.facts(Path()), bare.checkpoints(Path())) == ({}, {}, {})
    assert isinstance(backend_of(config, "box"), Toy)
    with pytest.raises(NotImplementedError, match="box trains nothing"):
        bare.launch(Path(), Path())
