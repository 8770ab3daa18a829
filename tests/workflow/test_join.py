"""Two sites measure a half each, with a config of their own; a third clone joins their results and reports both."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.inference.endpoint_stand_in import StandIn, stream

from .conftest import REPOSITORY, Project, jobs

pytestmark = pytest.mark.workflow

BOTH = "config/training.yaml config/inference.yaml"
DERIVED = {"parse", "classify", "analyse", "tables", "plots", "page"}
RUN = "results/training/cs3/bs8/r1/measured.json"
ROUND = "results/inference/one/short/r1/measured.json"


@dataclass(frozen=True)
class Sites:
    """What each site was told, and what it measured."""

    training: Project
    inference: Project
    configs: dict[str, dict[str, Any]]

    def joined(self, root: Path, **changes: Any) -> Project:
        """Return a clone that has measured nothing, with both configs and all results; `changes` of training."""
        configs = {**self.configs}
        configs["training"] = {**configs["training"], "training": {**configs["training"]["training"], **changes}}
        project = clone(root, configs)
        for site in (self.training, self.inference):
            (root / "results").mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", f"{site.root}/results/.", str(root / "results")], check=True)
        return project


def clone(root: Path, configs: dict[str, dict[str, Any]]) -> Project:
    project = Project.copied(root, {})
    for name, config in configs.items():
        (root / f"config/{name}.yaml").write_text(yaml.safe_dump(config))
    model = root / "config/models/llama2_7b.yaml"
    model.write_text(model.read_text().replace("/software/datasets/llama_data_32K/test/", "/tmp"))
    return project


def called(folder: Path, name: str) -> list[str]:
    """Return the command of a stand-in."""
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/tests/standins/{name} "$@"\n')
    program.chmod(0o755)
    return [str(program)]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    folder = tmp_path_factory.mktemp("sites")
    cs3 = {"backend": "cerebras", "label": "the CS-3", "job_time_sec": 600}
    programs = {"command": called(folder, "cszoo"), "csctl": called(folder, "csctl")}
    with StandIn(lambda _: stream()) as server:
        configs: dict[str, dict[str, Any]] = {
            "training": {
                "training": {
                    "run": ["cs3"],
                    "platforms": {"cs3": {**cs3, **programs}},
                    "model": "config/models/llama2_7b.yaml",
                    "corpus": None,
                    "batch_sizes": [8, 16],
                    "max_steps": 20,
                    "log_steps": 5,
                    "repeats": 1,
                },
                "inference": {"run": []},
            },
            "inference": {
                "training": {"run": []},
                "inference": {
                    "run": ["one"],
                    "baseline": "one",
                    "scenarios_run": ["short"],
                    "prompts": {"questions": {"source": "bundled"}},
                    "scenarios": {"short": {"requests": 3, "rounds": 2, "max_tokens": 8}},
                    "endpoints": {"one": {"base_url": server.base_url, "model": "m"}},
                },
            },
        }
        found = Sites(clone(folder / "a", configs), clone(folder / "b", configs), configs)
        state = {"STANDIN_STATE": str(folder / "state"), "STANDIN_SECOND": "0.000001"}
        for site, config in ((found.training, "training"), (found.inference, "inference")):
            done = site.snakemake(config, config=f"config/{config}.yaml", env=state)
            assert done.returncode == 0, done.stdout[-6000:]
    return found


def test_joined_results_are_reported_together_and_nothing_is_measured_again(sites: Sites, tmp_path: Path) -> None:
    project = sites.joined(tmp_path / "c")
    done = project.snakemake(config=BOTH)
    assert done.returncode == 0, done.stdout[-6000:]
    assert {job.split()[0] for job in jobs(done.stdout)} <= DERIVED
    assert len(project.read("results/training/runs.jsonl").splitlines()) == 2  # the other site's lists none
    assert len(project.read("results/inference/rounds.jsonl").splitlines()) == 2
    assert "the CS-3" in project.read("results/report.html")
    assert "Nothing to be done" in project.snakemake(config=BOTH).stdout


def test_results_of_another_spec_are_refused_with_the_command_that_measures_them_and_only_them(
    sites: Sites, tmp_path: Path
) -> None:
    project = sites.joined(tmp_path / "c", max_steps=40)
    refused = project.snakemake(config=BOTH)
    assert refused.returncode == 1
    assert f"{RUN} was measured with another spec: settings.max_steps was 20, the config says 40" in refused.stdout
    assert f"`snakemake --cores 4 --forcerun {RUN}`" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not {job for job in jobs(refused.stdout) if job.startswith(("train", "infer"))}
    assert "2 of 4 measurements are done" in refused.stdout  # by onerror
    [all_at_once] = set(re.findall(r"\(`(--forcerun .*?)` does so for all of them\)", refused.stdout))
    state = {"STANDIN_STATE": str(tmp_path / "state"), "STANDIN_SECOND": "0.000001"}
    done = project.snakemake("training", "inference", *all_at_once.split(), config=BOTH, env=state)
    assert done.returncode == 0, done.stdout[-6000:]
    measured = [json.loads(path.read_text()) for path in project.root.glob("results/training/cs3/*/r1/measured.json")]
    assert [record["spec"]["settings"]["max_steps"] for record in measured] == [40, 40]
    assert json.loads(project.read(ROUND))["restored_at"]  # its server is gone: nothing could ask it again
    assert "Nothing to be done" in project.snakemake("training", "inference", config=BOTH).stdout


def test_what_is_missing_is_named_with_the_command_that_gets_it(sites: Sites, tmp_path: Path) -> None:
    project = sites.joined(tmp_path / "c")
    for path in (RUN, ROUND):
        shutil.rmtree((project.root / path).parent)
    said = project.snakemake("report", config=BOTH).stdout
    assert "2 of 4 measurements are done" in said
    assert f"missing: cs3 batch 8 repeat 1: not measured yet; `snakemake --cores 4 {RUN}` on the CS-3" in said
    assert f"missing: one short round 1: not measured yet; `snakemake --cores 4 {ROUND}`" in said
    planned = {job for job in project.planned(BOTH) if not re.match("|".join(DERIVED), job)}
    assert {job for job in planned if job.startswith(("train", "infer"))} == {"train cs3/bs8/1", "infer one/short/1"}
