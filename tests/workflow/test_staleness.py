"""What an edit makes stale, on the real DAG: only what it changes is measured again."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from accelbench.config.configfile import load_config
from accelbench.plan.specs import InferRound, TrainRun, priorities

from .conftest import SMALL, Project, jobs

pytestmark = [pytest.mark.workflow, pytest.mark.local]

ANALYSIS = {"analyse", "tables", "plots", "page"}


def test_the_run_leaves_tables_plots_and_a_report(measured: Project) -> None:
    for path in ("tables/training.csv", "tables/inference.md", "plots/latency_vs_tokens.png", "report.html"):
        assert (measured.root / "results" / path).stat().st_size > 0


def test_a_report_made_again_is_remembered_once(project: Project) -> None:
    (line,) = project.read("results/history.jsonl").splitlines()
    rows = {(row["name"], row["load"]) for row in json.loads(line)["rows"]}
    assert {("this-machine", "bs2"), ("llama-cpp", "short")} <= rows
    project.run("--forcerun", "page")
    assert project.read("results/history.jsonl") == f"{line}\n"


def test_measurements_take_turns_in_the_drawn_order(measured: Project) -> None:
    results = measured.root / "results"
    records = [json.loads(path.read_text()) for path in results.glob("*/**/r[0-9]*/run.json")]
    assert len(records) == 4
    spans = sorted((r["started_at"], r["ended_at"], r["spec"]) for r in records)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    config = load_config(measured.root / "config/config.yaml", [measured.root / "config/small.yaml"])
    drawn = sorted(priorities(config), key=lambda job: -priorities(config)[job])
    assert [name_of(spec) for _, _, spec in spans] == [name_of_job(job) for job in drawn]


def name_of(spec: dict[str, Any]) -> str:
    return str(spec["batch_size"]) if spec["kind"] == "train" else str(spec["endpoint"]["name"])


def name_of_job(job: TrainRun | InferRound) -> str:
    return str(job.batch) if isinstance(job, TrainRun) else job.endpoint


def test_another_label_is_shown_and_measures_nothing(project: Project) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["inference"]["endpoints"] = {"llama-cpp": {"label": "another label"}}

    project.edit(edit)
    assert project.planned() == ANALYSIS


def test_an_edit_of_nothing_measured_does_nothing(project: Project) -> None:
    """A note, a default that is written out, another order of the keys, a comment."""

    def edit(config: dict[str, Any]) -> None:
        config["inference"]["endpoints"] = {"llama-cpp": {"notes": "a note"}}
        config["inference"]["scenarios"]["short"]["temperature"] = 0.0
        config["training"]["platforms"] = {"this-machine": {"dtype": "float32"}}
        for section in ("inference", "training"):
            config[section] = dict(reversed(config.pop(section).items()))

    project.edit(edit)
    for name in ("config.yaml", "models/llama_small.yaml"):
        path = project.root / "config" / name
        path.write_text(f"# a comment\n{path.read_text()}")
    assert project.planned() == set()


def test_an_edit_measures_only_what_it_changes(project: Project) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["training"]["sizes"] = {4: {"max_steps": 3}}
        config["training"]["batch_sizes"].append(8)
        config["inference"]["run"] = ["llama-cpp", "transformers", "third"]
        third = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
        config["inference"]["endpoints"] = {"llama-cpp": {"server": {"threads": 1}}, "third": third}

    project.edit(edit)
    training = {f"{rule} this-machine/bs{size}/1" for rule in ("params", "train") for size in (4, 8)}
    asked = {f"infer {endpoint}/short/1" for endpoint in ("llama-cpp", "third")}
    assert project.planned() == {*training, *asked, "parse", "classify", *ANALYSIS}


def test_what_is_taken_out_of_the_config_or_repeated_leaves_the_rest_as_measured(project: Project) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["training"].update(batch_sizes=[2], repeats=2)
        config["inference"]["run"] = ["llama-cpp"]

    project.edit(edit)
    again = {f"{rule} this-machine/bs2/2" for rule in ("params", "train")}
    assert project.planned() == {*again, "parse", "classify", *ANALYSIS}


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (["report/plots/load.py"], {"plots", "page"}),
        (
            [
                "report/tables.py",
                "training/torch/loop.py",
                "inference/client/http.py",
                "inference/servers/__init__.py",
            ],
            {"tables", "page"},
        ),
        (["inference/answers/events.py"], {"classify", *ANALYSIS}),
        (["training/log/reader.py"], {"parse", *ANALYSIS}),
    ],
)
def test_an_edit_of_code_never_measures_again(project: Project, modules: list[str], expected: set[str]) -> None:
    for module in modules:
        path = project.root / "workflow/accelbench" / module
        path.write_text(f"{path.read_text()}\n# edited\n")
    assert project.planned() == expected


def test_another_round_asks_only_its_own_prompts(project: Project) -> None:
    """Also where the prompts are made anew."""
    project.edit(lambda config: config["inference"].update(run=["llama-cpp"]))
    project.edit(lambda config: config["inference"]["scenarios"]["short"].update(rounds=2))
    first = project.read("results/inference/llama-cpp/short/r1/measured.json")
    done = jobs(project.run("inference", "--forcerun", "prompts"))
    assert "prompts questions" in done
    assert {job for job in done if job.startswith("infer ")} == {"infer llama-cpp/short/2"}
    assert project.read("results/inference/llama-cpp/short/r1/measured.json") == first
    asked = [set(keys(project, round_no)) for round_no in (1, 2)]
    assert not asked[0] & asked[1]


def keys(project: Project, round_no: int) -> list[str]:
    lines = project.read(f"results/inference/llama-cpp/short/r{round_no}/requests.jsonl").splitlines()
    return [record["key"] for record in map(json.loads, lines) if not record["warm_up"]]


def test_undoing_an_edit_restores_the_measurement(project: Project) -> None:
    log = project.read("results/training/this-machine/bs4/r1/run.log")
    project.edit(lambda config: config["training"].update(sizes={4: {"max_steps": 3}}))
    project.run("training")
    assert project.read("results/training/this-machine/bs4/r1/run.log") != log
    project.write(SMALL)
    project.run("training")
    assert "restored from results/archive/" in project.read("results/training/this-machine/bs4/r1/job.log")
    assert project.read("results/training/this-machine/bs4/r1/run.log") == log
    assert json.loads(project.read("results/training/this-machine/bs4/r1/measured.json"))["restored_at"]


def test_the_default_config_is_planned_by_a_bare_snakemake(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "fresh", SMALL)
    planned = project.planned(config=None)
    assert len([job for job in planned if job.startswith("train")]) == 12
    assert len([job for job in planned if job.startswith("infer")]) == 24


def test_sites_add_up_and_leave_this_machine_alone(tmp_path: Path) -> None:
    files = " ".join(f"config/{name}.yaml" for name in ("alcf-cs3", "alcf-gpu", "alcf-endpoints"))
    planned = Project.copied(tmp_path / "fresh", SMALL).planned(config=files)
    platforms = {job.split()[1].split("/")[0] for job in planned if job.startswith(("train", "infer"))}
    assert platforms == {"cs3", "gpu", "metis", "sophia"}
    assert not {job for job in planned if re.search("this-machine|llama-cpp|transformers|weights", job)}


def test_snakemakes_own_report_works(project: Project) -> None:
    project.run("--report", "results/snakemake-report.html")
    report = project.read("results/snakemake-report.html")
    assert all(name in report for name in ("rate_vs_batch_size", "tables/training.csv", "results/report.html"))
