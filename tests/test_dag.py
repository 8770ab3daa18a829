"""What the rules ask: names that fit wildcards, orders, inputs."""

import copy
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from accelbench import dag
from accelbench.config import Config
from accelbench.dag import Dag
from accelbench.jobs.scheduler import SHIMS
from accelbench.plan import specs
from accelbench.store import paths

CONFIG = {
    "training": {
        "run": ["cpu"],
        "platforms": {
            "cpu": {"backend": "torch"},
            "node": {"backend": "torch", "own_node": True},
            "wafer": {"backend": "cerebras"},
        },
        "model": "model.yaml",
        "batch_sizes": [4],
    },
    "inference": {
        "run": ["a.b", "served"],
        "scenarios_run": ["one", "many"],
        "endpoints": {
            "a.b": {"base_url": "http://a/v1", "model": "m"},
            "served": {"server": {"kind": "transformers"}, "model": "m"},
        },
        "scenarios": {"one": {}, "many": {"concurrency": [2, 5]}},
        "prompts": {"questions": {"source": "path", "path": "q.csv"}},
    },
}


def graph(**training: Any) -> Dag:
    tree: Any = {**CONFIG, "training": {**CONFIG["training"], **training}}
    return Dag(Config.model_validate(tree))


def wildcards(**named: Any) -> Any:
    return SimpleNamespace(**{key: str(value) for key, value in named.items()})


@pytest.mark.parametrize(
    ("name", "fits", "does_not"),
    [
        ("platform", ["cpu", "wafer"], ["gpu", "cp", "cpus"]),
        ("endpoint", ["a.b", "served"], ["axb", "a", "served/x"]),
        ("cell", ["one", "many-c2", "many-c5"], ["many", "many-c1", "one-c1"]),
        ("set", ["questions"], ["others", ""]),
        ("size", ["bs4", "bs1024", "bs256-mb64"], ["", "4", "bs", "bs4a", "bs4-mb", "bs4-mb2-mb2"]),
        ("repeat", ["1"], ["one"]),
        ("round", ["1"], ["r1"]),
    ],
)
def test_wildcards_fit_the_names_in_the_config_alone(name: str, fits: list[str], does_not: list[str]) -> None:
    pattern = re.compile(graph().wildcards[name])
    assert all(pattern.fullmatch(value) for value in fits)
    assert not any(pattern.fullmatch(value) for value in does_not)


def test_every_result_fits_its_pattern() -> None:
    patterns = [f"{paths.TRAIN_RUN}/measured.json", f"{paths.INFER_ROUND}/measured.json"]
    constraints = {name: f"({values})" for name, values in graph().wildcards.items()}
    results = [graph().train_results, graph().infer_results]
    for pattern, names in zip(patterns, results, strict=True):
        assert names
        assert all(re.fullmatch(pattern.format(**constraints), name) for name in names)


def test_an_empty_config_has_wildcards_that_fit_nothing_real() -> None:
    assert Dag(Config()).wildcards["platform"] == "none"
    assert Dag(Config()).train_results == Dag(Config()).infer_results == []


def test_priorities_are_the_planned_order_and_preparations_come_first() -> None:
    view = graph()
    planned = specs.priorities(view.config)
    assert view.order(wildcards(platform="cpu", size="bs4", repeat=1)) == planned[specs.TrainRun("cpu", 4, 1)]
    item = specs.InferRound("a.b", "many-c5", 1)
    assert view.order(wildcards(endpoint="a.b", cell="many-c5", round=1)) == planned[item]
    assert max(planned.values()) < dag.FIRST


def test_a_job_outside_the_plan_has_no_priority() -> None:
    assert graph().order(wildcards(platform="wafer", size="bs4", repeat=1)) == 0


@pytest.mark.parametrize(("platform", "host", "csx"), [("cpu", 1, None), ("node", 0, None), ("wafer", None, 1)])
def test_a_run_takes_the_host_or_the_wafer_or_neither(platform: str, host: int, csx: int) -> None:
    asked = {name: graph().train_resource(name)(wildcards(platform=platform)) for name in ("measure", "csx", "nodes")}
    assert asked == {"measure": host, "csx": csx, "nodes": None}


def test_a_run_on_several_nodes_asks_for_a_task_on_each_and_starts_them_itself() -> None:
    several = {"several": {"backend": "torch", "own_node": True, "nodes": 2, "processes": 2}}
    view = graph(run=["several"], platforms=several)
    asked = {name: view.train_resource(name)(wildcards(platform="several")) for name in ("nodes", "tasks", "mpi")}
    assert asked == {"nodes": 2, "tasks": 2, "mpi": "srun"}


def test_a_job_needs_what_its_part_of_the_config_names() -> None:
    view = graph()
    assert view.weights_of(wildcards(endpoint="served")) == ["results/weights/m"]
    assert view.weights_of(wildcards(endpoint="a.b")) == []
    assert view.prompt_files(wildcards(set="questions")) == ["q.csv"]


def planned_compile(view: Dag, platform: str = "wafer") -> list[str]:
    return view.compiled(wildcards(platform=platform, size="bs4", repeat=1))


@pytest.fixture
def _model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "INSTALLATION", tmp_path)
    Path("model.yaml").write_text("{}")


def prewarmed(prewarm: bool = True) -> Dag:
    return graph(platforms={"cpu": {"backend": "torch"}, "wafer": {"backend": "cerebras", "prewarm": prewarm}})


@pytest.mark.usefixtures("_model")
def test_a_compile_beforehand_is_planned_where_it_is_asked_for() -> None:
    assert planned_compile(prewarmed()) == ["results/training/wafer/bs4/compiled.json"]
    assert planned_compile(prewarmed(), "cpu") == planned_compile(prewarmed(False)) == []
    first = wildcards(platform="wafer", size="bs4")
    assert prewarmed().spec(first) == prewarmed().spec(wildcards(platform="wafer", size="bs4", repeat=1))


@pytest.mark.usefixtures("_model")
def test_with_a_micro_batch_axis_each_size_has_its_own_folder_and_compile() -> None:
    platforms = {"cpu": {"backend": "torch"}, "wafer": {"backend": "cerebras", "prewarm": True}}
    view = graph(run=["wafer"], platforms=platforms, batch_sizes=[4], micro_batch_sizes=[2, 4])
    assert view.train_results[:1] == ["results/training/wafer/bs4-mb2/r1/measured.json"]
    run = wildcards(platform="wafer", size="bs4-mb2", repeat=1)
    assert view.compiled(run) == ["results/training/wafer/bs4-mb2/compiled.json"]
    assert view.spec(run) == specs.train_spec(view.config, specs.TrainRun("wafer", 4, 1, 2))
    assert view.order(run) > 0


@pytest.mark.usefixtures("_model")
def test_asking_for_a_compile_or_no_longer_measures_nothing_again() -> None:
    """An input that comes or goes would."""
    folder = paths.train_run("wafer", 4, 1)
    spec = prewarmed().spec(wildcards(platform="wafer", size="bs4", repeat=1))
    folder.mkdir(parents=True)
    (folder / "measured.json").write_text(f'{{"spec": {spec}}}')
    assert planned_compile(prewarmed()) == []
    (folder / "measured.json").write_text('{"spec": {}}')
    assert planned_compile(prewarmed())
    paths.compiled("wafer", 4).touch()
    (folder / "measured.json").write_text(f'{{"spec": {spec}}}')
    assert planned_compile(prewarmed()) == planned_compile(prewarmed(False)) != []


def test_a_log_that_was_brought_along_is_the_one_input_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    view = graph(run=["old"], platforms={"old": {"backend": "log", "logs": "{batch}-{repeat}.log"}}, model=None)
    run = wildcards(platform="old", size="bs4", repeat=1)
    assert view.logs_brought(run) == []
    Path("4-1.log").touch()
    assert view.logs_brought(run) == ["4-1.log"]
    assert not view.renders_params(run)
    trained = wildcards(platform="cpu", size="bs4", repeat=1)
    assert graph().renders_params(trained) and graph().logs_brought(trained) == []
    assert (view.train_resource("measure")(run), view.train_resource("csx")(run)) == (None, None)


def test_the_specs_of_the_rules_are_those_of_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = {"trainer": {"init": {"model": {"max_position_embeddings": 8, "vocab_size": 16}}}}
    Path("model.yaml").write_text(yaml.safe_dump(model))
    view = graph(corpus="python_docs")
    assert view.spec(wildcards(platform="cpu", size="bs4", repeat=1)) == specs.train_spec(
        view.config, specs.TrainRun("cpu", 4, 1)
    )
    assert view.spec(wildcards(endpoint="a.b", cell="one", round=1)) == specs.infer_spec(
        view.config, specs.InferRound("a.b", "one", 1)
    )
    assert specs.corpus_spec(view.config) == '{"kind":"python_docs","sequence_length":8,"vocab_size":16}'


def test_a_power_file_that_comes_later_is_read_and_no_spec_names_it(tmp_path: Path) -> None:
    tree = copy.deepcopy(CONFIG)
    before = Dag(Config.model_validate(tree))
    tree["training"]["platforms"]["cpu"] |= {"power_csv": str(tmp_path / "pdu.csv"), "power_scope": "rack"}
    planned = Dag(Config.model_validate(tree))
    assert planned.power_files("training") == planned.power_files("inference") == []
    (tmp_path / "pdu.csv").touch()
    assert planned.power_files("training") == [str(tmp_path / "pdu.csv")]
    assert planned.derived_spec("training") != before.derived_spec("training")
    assert planned.derived_spec("inference") == before.derived_spec("inference")
    ours, without = (specs.measured_fields(each.config.training.platforms["cpu"]) for each in (planned, before))
    assert ours == without


def test_an_analysis_depends_on_its_own_code() -> None:
    assert graph().analysis_spec("store/paths.py") == graph().analysis_spec("store/paths.py")
    assert graph().analysis_spec("store/paths.py") != graph().analysis_spec("errors.py")


def test_an_analysis_depends_on_what_the_config_tells_of_its_figures(tmp_path: Path) -> None:
    published = tmp_path / "published.yaml"
    figures = "{{source: x, what: y, steps: 200, rows: [{{batch_size: 8, global_rate: {}, total_time_s: 90}}]}}"
    published.write_text(figures.format(30))
    told = [{"project_steps": 1000}, {"sequence_length": 128}, {"reference": str(published)}]
    found = [graph().analysis_spec("store/paths.py"), *(graph(**more).analysis_spec("store/paths.py") for more in told)]
    published.write_text(figures.format(31))
    found.append(graph(**told[-1]).analysis_spec("store/paths.py"))
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("text", "said"), [(None, "can't be read"), ("source: x", "what: Field required")])
def test_published_figures_that_cant_be_shown_end_the_workflow_before_it_measures(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "published.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(SystemExit, match=rf"^training\.reference: .*published\.yaml: {said}"):
        graph(reference=str(path)).analysis_spec("store/paths.py")


def test_jobs_find_this_interpreter_and_this_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "PYTHONPATH", dag.WORKFLOW_PID):
        monkeypatch.setenv(name, "before")
    dag.prepare_environment(tmp_path)
    assert os.environ["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "before"]
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "workflow"), "before"]
    assert os.environ[dag.WORKFLOW_PID] == str(os.getpid())


def test_the_shims_for_slurm_stand_where_slurm_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake takes a sacct that it finds for one that answers."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\n")
    squeue.chmod(0o755)
    for name in ("PYTHONPATH", "ACCELBENCH", dag.WORKFLOW_PID):
        monkeypatch.setenv(name, "before")
    monkeypatch.setenv("PATH", str(tmp_path))
    dag.prepare_environment(tmp_path)
    assert shutil.which("squeue") == str(SHIMS / "squeue/squeue")
    assert shutil.which("sacct") is None


def test_a_bad_config_ends_the_workflow_with_its_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(configfiles=[], config={"seed": -1})
    with pytest.raises(
        SystemExit, match=r"^--config: seed is -1; it must be greater than or equal to 0, or left out\.$"
    ):
        dag.checked_config(main_workflow(settings))


def started(tree: dict[str, Any], *, is_main_process: bool = True) -> Config:
    """Check a config as the Snakefile does."""
    Path("config").mkdir(exist_ok=True)
    Path("config/config.yaml").write_text(yaml.safe_dump(tree))
    settings = SimpleNamespace(configfiles=[], config={})
    return dag.checked_config(main_workflow(settings, is_main_process))


def main_workflow(settings: SimpleNamespace, is_main_process: bool = True) -> SimpleNamespace:
    modifier = SimpleNamespace(is_main_snakefile=lambda: True)
    return SimpleNamespace(config_settings=settings, is_main_process=is_main_process, modifier=modifier)


@pytest.mark.usefixtures("_model")
def test_files_that_the_plan_reads_must_be_there_before_anything_begins() -> None:
    """Where earlier results lie, Snakemake takes what was made of other files for the outputs of missing ones."""
    tree = {**CONFIG, "training": {**CONFIG["training"], "model": "gone.yaml", "reference": "gone-too.yaml"}}
    with pytest.raises(SystemExit) as said:
        started(tree)
    prompts, model, published = str(said.value).splitlines()
    assert prompts == "inference.prompts.questions.path: q.csv does not exist. Put the file there, or correct the path."
    assert model.startswith("training.model: gone.yaml can't be read")
    assert published == "training.reference: gone-too.yaml does not exist. Correct the path, or leave it out."
    started(tree, is_main_process=False)  # a job on a node that does not see the file
    for name in ("q.csv", "gone-too.yaml"):
        Path(name).touch()
    Path("gone.yaml").write_text("{}")
    started(tree)


@pytest.mark.usefixtures("_model")
def test_prompts_that_were_made_of_a_file_that_is_gone_are_enough() -> None:
    """Results of another site come with its prompts, and not with its files."""
    config = Config.model_validate(CONFIG)
    facts = paths.prompt_facts("questions")
    facts.parent.mkdir(parents=True)
    made = {"spec": specs.measured_fields(config.inference.prompts["questions"]), "count": 10}
    facts.write_text(json.dumps(made))
    started(CONFIG)
    facts.write_text(json.dumps({**made, "spec": {"source": "bundled"}}))
    with pytest.raises(SystemExit, match="does not exist"):
        started(CONFIG)


@pytest.mark.usefixtures("_model")
def test_data_that_are_not_here_are_said_and_stop_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    fit = {"train_dataloader": {"data_dir": "gone"}}
    Path("model.yaml").write_text(yaml.safe_dump({"trainer": {"init": {}, "fit": fit}}))
    started({**CONFIG, "inference": {}})
    assert "train_dataloader.data_dir: gone isn't on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "is_run"),
    [
        ("--cores 4", True),
        ("training --cores 4 --configfile config/small.yaml", True),
        ("report --cores 4 -k", True),
        ("-n", False),
        ("--cores 4 -np", False),
        ("--dry-run --cores 4", False),
        ("--dryrun", False),
        ("--lint", False),
        ("--unlock", False),
        ("--report snakemake-report.html", False),
        ("--summary --cores 1", False),
    ],
)
def test_a_dry_run_and_what_does_no_work_is_no_run(
    arguments: str, is_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["snakemake", *arguments.split()])
    assert dag.is_run(SimpleNamespace(is_main_process=True)) == is_run
    assert not dag.is_run(SimpleNamespace(is_main_process=False))


def on_cluster(**cluster: Any) -> Dag:
    logs = {"backend": "log", "logs": "logs/{batch}.log"}
    training = {**CONFIG["training"], "platforms": {**CONFIG["training"]["platforms"], "past": logs}}
    endpoints = {**CONFIG["inference"]["endpoints"]}
    endpoints["far"] = {"server": {"kind": "llama.cpp"}, "model": "m", "own_node": True}
    inference = {**CONFIG["inference"], "endpoints": endpoints}
    return Dag(Config.model_validate({**CONFIG, "training": training, "inference": inference, "cluster": cluster}))


def test_only_what_needs_a_node_is_a_clusters_business() -> None:
    plan = on_cluster()
    assert plan.endpoints(on_node=False).split("|") == [r"a\.b", "served"]
    assert plan.endpoints(on_node=True) == "far"
    assert plan.platforms(trains=True).split("|") == ["cpu", "node", "wafer"]
    assert plan.platforms(trains=False) == "past"


def test_all_rounds_of_a_server_that_is_kept_on_a_node_are_one_job() -> None:
    tree = copy.deepcopy(CONFIG)
    tree["inference"]["endpoints"]["served"] |= {"own_node": True, "server": {"kind": "transformers", "keep": "run"}}
    plan = Dag(Config.model_validate(tree))
    assert plan.endpoints(on_node=True, in_one_job=True) == "served"
    assert plan.endpoints(on_node=True) == "none"
    results = "results/inference/{}/measured.json"
    cells = ["one", "many-c2", "many-c5"]
    assert plan.infer_results == [*(results.format(f"a.b/{cell}/r1") for cell in cells), results.format("served")]
    job = wildcards(endpoint="served")
    assert plan.prompt_sets_of(job) == ["questions"]
    assert set(json.loads(plan.spec(job))["rounds"]) == {f"{cell}/r1" for cell in cells}


def test_what_jobs_on_nodes_ask_for_comes_from_the_config() -> None:
    plan = on_cluster(account="mine", filesystems="home:eagle", train={"queue": "debug", "runtime_min": 90})
    shared = {"pbs_account": "mine", "pbs_filesystems": "home:eagle", "pbs_select": "1", "pbs_place": "scatter:excl"}
    assert plan.on_node("train") == {**shared, "pbs_queue": "debug", "runtime": 90}
    assert plan.on_node("infer") == {**shared, "runtime": 60}


def test_what_the_config_leaves_out_is_not_asked_for() -> None:
    assert on_cluster(train={"place": None}).on_node("train") == {"pbs_select": "1", "runtime": 60}
