"""What an edit makes stale, on the real DAG: only what it changes is measured again."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from accelbench.config.configfile import load_config
from accelbench.plan.specs import InferRound, TrainRun, priorities

from .conftest import SMALL, Project, jobs

pytestmark = [pytest.mark.workflow, pytest.mark.local]

Change = Callable[[dict[str, Any]], None]
ANALYSIS = {"analyse", "tables", "plots", "page"}


def test_a_finished_run_has_nothing_to_do(project: Project) -> None:
    assert "Nothing to be done" in project.run()


def test_the_run_leaves_tables_plots_and_a_report(project: Project) -> None:
    for path in ("tables/training.csv", "tables/inference.md", "plots/latency_vs_tokens.png", "report.html"):
        assert (project.root / "results" / path).stat().st_size > 0


def test_a_report_made_again_is_remembered_once(project: Project) -> None:
    (line,) = project.read("results/history.jsonl").splitlines()
    rows = {(row["name"], row["load"]) for row in json.loads(line)["rows"]}
    assert {("this-machine", "bs2"), ("llama-cpp", "short")} <= rows
    project.run("--forcerun", "page")
    assert project.read("results/history.jsonl") == f"{line}\n"


def test_measurements_take_turns_in_the_drawn_order(project: Project) -> None:
    results = project.root / "results"
    records = [json.loads(path.read_text()) for path in results.glob("*/**/r[0-9]*/run.json")]
    assert len(records) == 4
    spans = sorted((r["started_at"], r["ended_at"], r["spec"]) for r in records)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    config = load_config(project.root / "config/config.yaml", [project.root / "config/small.yaml"])
    drawn = sorted(priorities(config), key=lambda job: -priorities(config)[job])
    assert [name_of(spec) for _, _, spec in spans] == [name_of_job(job) for job in drawn]


def name_of(spec: dict[str, Any]) -> str:
    return str(spec["batch_size"]) if spec["kind"] == "train" else str(spec["endpoint"]["name"])


def name_of_job(job: TrainRun | InferRound) -> str:
    return str(job.batch) if isinstance(job, TrainRun) else job.endpoint


def unmeasured_edits() -> dict[str, Change]:
    def label(config: dict[str, Any]) -> None:
        config["inference"]["endpoints"] = {"llama-cpp": {"label": "another label", "notes": "a note"}}

    def written_default(config: dict[str, Any]) -> None:
        config["inference"]["scenarios"]["short"]["temperature"] = 0.0
        config["training"]["platforms"] = {"this-machine": {"dtype": "float32"}}

    def key_order(config: dict[str, Any]) -> None:
        for section in ("inference", "training"):
            config[section] = dict(reversed(config.pop(section).items()))

    return {"label": label, "written default": written_default, "key order": key_order}


@pytest.mark.parametrize("edit", unmeasured_edits())
def test_an_edit_of_nothing_measured_does_nothing(project: Project, edit: str) -> None:
    project.edit(unmeasured_edits()[edit])
    assert project.planned() == set()


def test_a_comment_does_nothing(project: Project) -> None:
    path = project.root / "config/config.yaml"
    path.write_text(f"# a comment\n{path.read_text()}")
    model = project.root / "config/models/llama_small.yaml"
    model.write_text(f"# a comment\n{model.read_text()}")
    assert project.planned() == set()


def measured_edits() -> dict[str, tuple[Change, set[str]]]:
    def one_batch_size(config: dict[str, Any]) -> None:
        config["training"]["sizes"] = {4: {"max_steps": 3}}

    def one_endpoint(config: dict[str, Any]) -> None:
        config["inference"]["endpoints"] = {"llama-cpp": {"server": {"threads": 1}}}

    def another_batch_size(config: dict[str, Any]) -> None:
        config["training"]["batch_sizes"].append(8)

    def another_repeat(config: dict[str, Any]) -> None:
        config["training"]["repeats"] = 2

    def another_endpoint(config: dict[str, Any]) -> None:
        config["inference"]["run"] = ["llama-cpp", "transformers", "third"]
        config["inference"]["endpoints"] = {"third": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}}

    def without_a_batch_size(config: dict[str, Any]) -> None:
        config["training"]["batch_sizes"].remove(4)

    def without_an_endpoint(config: dict[str, Any]) -> None:
        config["inference"]["run"] = ["llama-cpp"]

    return {
        "one batch size": (
            one_batch_size,
            {"params this-machine/bs4/1", "train this-machine/bs4/1", "parse", *ANALYSIS},
        ),
        "one endpoint": (one_endpoint, {"infer llama-cpp/short/1", "classify", *ANALYSIS}),
        "another batch size": (
            another_batch_size,
            {"params this-machine/bs8/1", "train this-machine/bs8/1", "parse", *ANALYSIS},
        ),
        "another repeat": (
            another_repeat,
            {f"{rule} this-machine/bs{size}/2" for rule in ("params", "train") for size in (2, 4)}
            | {"parse", *ANALYSIS},
        ),
        "another endpoint": (another_endpoint, {"infer third/short/1", "classify", *ANALYSIS}),
        "without a batch size": (without_a_batch_size, {"parse", *ANALYSIS}),
        "without an endpoint": (without_an_endpoint, {"classify", *ANALYSIS}),
    }


@pytest.mark.parametrize("edit", measured_edits())
def test_an_edit_measures_only_what_it_changes(project: Project, edit: str) -> None:
    change, expected = measured_edits()[edit]
    project.edit(change)
    assert project.planned() == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("report/plots/load.py", {"plots", "page"}),
        ("report/tables.py", {"tables", "page"}),
        ("analysis/sweep.py", ANALYSIS),
        ("inference/answers/events.py", {"classify", *ANALYSIS}),
        ("training/log/reader.py", {"parse", *ANALYSIS}),
        ("training/torch/loop.py", set()),
        ("inference/client/http.py", set()),
        ("inference/servers/__init__.py", set()),
    ],
)
def test_an_edit_of_code_never_measures_again(project: Project, module: str, expected: set[str]) -> None:
    path = project.root / "workflow/accelbench" / module
    path.write_text(f"{path.read_text()}\n# edited\n")
    assert project.planned() == expected


def test_another_round_asks_only_its_own_prompts(project: Project) -> None:
    project.edit(lambda config: config["inference"].update(run=["llama-cpp"]))
    project.edit(lambda config: config["inference"]["scenarios"]["short"].update(rounds=2))
    first = project.read("results/inference/llama-cpp/short/r1/measured.json")
    assert not {job for job in project.planned() if job.startswith("train")}
    done = jobs(project.run("inference"))
    assert {job for job in done if job.startswith("infer ")} == {"infer llama-cpp/short/2"}
    assert project.read("results/inference/llama-cpp/short/r1/measured.json") == first
    asked = [set(keys(project, round_no)) for round_no in (1, 2)]
    assert not asked[0] & asked[1]


def keys(project: Project, round_no: int) -> list[str]:
    lines = project.read(f"results/inference/llama-cpp/short/r{round_no}/requests.jsonl").splitlines()
    return [record["key"] for record in map(json.loads, lines) if not record["warm_up"]]


def test_prompts_made_anew_with_the_same_content_ask_nothing_again(project: Project) -> None:
    done = jobs(project.run("inference", "--forcerun", "prompts"))
    assert "prompts questions" in done
    assert not {job for job in done if job.startswith("infer ")}


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


def test_results_of_another_spec_are_refused_by_file_and_key(project: Project) -> None:
    path = project.root / "results/training/this-machine/bs4/r1/measured.json"
    record = json.loads(path.read_text())
    record["spec"]["settings"]["max_steps"] = 400
    path.unlink()
    path.write_text(json.dumps(record))
    shutil.rmtree(project.root / ".snakemake/metadata")
    done = project.snakemake("--forcerun", "parse")
    assert done.returncode == 1
    assert "results/training/this-machine/bs4/r1/measured.json was measured with" in done.stdout
    assert "settings.max_steps was 400, the config says 4" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_default_config_is_planned_by_a_bare_snakemake(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "fresh", SMALL)
    planned = project.planned(config=None)
    assert len([job for job in planned if job.startswith("train")]) == 12
    assert len([job for job in planned if job.startswith("infer")]) == 24


@pytest.mark.parametrize("overlay", ["alcf-cs3", "alcf-gpu", "alcf-endpoints"])
def test_a_site_plans_only_its_own_jobs(tmp_path: Path, overlay: str) -> None:
    planned = Project.copied(tmp_path / "fresh", SMALL).planned(config=f"config/{overlay}.yaml")
    others = r"this-machine|llama-cpp|transformers|weights" + ("" if overlay == "alcf-gpu" else "|corpus")
    assert not {job for job in planned if re.search(others, job)}
    assert any(job.startswith("infer" if overlay == "alcf-endpoints" else "train") for job in planned)


def test_sites_add_up(tmp_path: Path) -> None:
    files = " ".join(f"config/{name}.yaml" for name in ("alcf-cs3", "alcf-gpu", "alcf-endpoints"))
    planned = Project.copied(tmp_path / "fresh", SMALL).planned(config=files)
    platforms = {job.split()[1].split("/")[0] for job in planned if job.startswith(("train", "infer"))}
    assert platforms == {"cs3", "gpu", "metis", "sophia"}


def test_snakemakes_own_report_works(project: Project) -> None:
    project.run("--report", "results/snakemake-report.html")
    report = project.read("results/snakemake-report.html")
    assert all(name in report for name in ("rate_vs_batch_size", "tables/training.csv", "results/report.html"))
