"""Specs: what changes one, and what does not."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from accelbench import config as models
from accelbench.config import Config, Model, Scenario
from accelbench.config.configfile import load_config
from accelbench.errors import UserError
from accelbench.plan import specs
from accelbench.plan.specs import InferRound, TrainRun
from accelbench.store import paths

from .planned import CONFIG, PARAMS, Tree, all_specs, config_with, here  # noqa: F401

RELEASED = Path(__file__).parents[1] / "released_defaults.json"
ALTERNATIVES: dict[str, Tree] = {
    "Training": {"model": "other.yaml", "corpus": "python_docs", "max_steps": 7, "log_steps": 3,
                 "micro_batch_size": 2, "eval_frequency": 5, "checkpoint_steps": 9, "seed": 4},
    "TorchPlatform": {"device": "cuda", "dtype": "bfloat16", "threads": 2, "processes": 2,
                      "initial_weights": "modelzoo", "sharding": "full", "activation_checkpointing": "full",
                      "compile": True},
    "CerebrasPlatform": {"release": "2.7.0", "num_csx": 2},
    "Scenario": {"prompts": "other", "requests": 20, "warm_up": 2, "stream": False, "nonce": False,
                 "max_tokens": 7, "temperature": 0.5, "top_p": 0.5, "reasoning_effort": "low",
                 "ramp_up_s": 1, "duration_s": 9, "context_tokens": 64, "prefix": "shared"},
    "Endpoint": {"base_url": "http://c/v1", "model": "n", "headers": {"x-team": "t"},
                 "secret_headers": {"x-api-key": {"env": "KEY"}}, "extra_body": {"k": 1}, "reasoning_effort": True,
                 "requests_per_s": 2, "timeout_connect_s": 1, "timeout_read_s": 1, "timeout_total_s": 1,
                 "busy_wait_s": 1, "omit_body": ["top_p"], "query": {"v": "1"}},
    "LlamaCppServer": {"keep": "run", "threads": 2, "slots": 2, "context_tokens": 512},
    "TransformersServer": {"keep": "run", "threads": 2, "dtype": "float32", "context_tokens": 512},
    "CommandServer": {"keep": "run", "command": ["serve", "-p", "{port}"], "env": {"GPUS": "0"}},
    "PromptSet": {"source": "hub", "dataset": "d", "subset": "s", "revision": "r", "split": "train",
                  "columns": {"question": "q"},
                  "template": "short_span", "select": "first", "seed": 2},
}  # fmt: skip
ELSEWHERE = {  # measured fields that are changed by a test of their own, or by the structure of the config
    "TorchPlatform": {"backend", "nodes"}, "CerebrasPlatform": {"backend"}, "LlamaCppServer": {"kind"},
    "TransformersServer": {"kind"}, "CommandServer": {"kind"}, "Endpoint": {"server"}, "PromptSet": {"path"},
    "Scenario": {"concurrency", "arrivals", "rate_per_s", "max_in_flight", "prefix_share", "output_tokens",
                 "ramp_to_per_s", "burstiness", "time_scale", "turns", "think_time_s", "find_max"},
    "Training": {"match", "base_batch_size", "lr_scaling", "schedule_unit"},
}  # fmt: skip


def changed(**changes: Any) -> set[Any]:
    """Give the jobs whose spec these changes change; jobs that come or go are left out."""
    before, after = all_specs(config_with()), all_specs(config_with(**changes))
    return {job for job in before.keys() & after.keys() if before[job] != after[job]}


def measured_fields(model: type[Model]) -> Tree:
    """Give the measured fields of a model."""
    extras = {name: field.json_schema_extra or {} for name, field in model.model_fields.items()}
    return {name: field for name, field in model.model_fields.items() if extras[name].get("measured", True)}


# --- what changes no spec ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", "another"),
        ("restore", False),
        ("training__platforms__cpu__label", "this machine"),
        ("training__platforms__cpu__own_node", True),
        ("training__platforms__wafer__command", ["~/bin/cszoo"]),
        ("training__platforms__wafer__job_time_sec", 60),
        ("training__platforms__wafer__job_labels", {"name": "x"}),
        ("training__platforms__wafer__mount_dirs", ["/data"]),
        ("inference__endpoints__a__label", "A"),
        ("inference__endpoints__a__hardware", "eight of them"),
        ("inference__endpoints__a__notes", "slow on Mondays"),
        ("inference__endpoints__a__token", {"env": "TOKEN"}),
        ("inference__endpoints__a__token", {"command": ["print-token"]}),
        ("inference__endpoints__a__health_url", "http://a/health"),
        ("inference__endpoints__a__ready_timeout_s", 5),
        ("inference__baseline", "b"),
        # defaults written out
        ("seed", 1),
        ("training__max_steps", 200),
        ("training__eval_frequency", None),
        ("training__platforms__cpu__device", "cpu"),
        ("training__sizes", {4: {"max_steps": 200}}),
        ("training__match", "steps"),
        ("training__lr_scaling", "none"),
        ("training__schedule_unit", "steps"),
        ("inference__endpoints__a__timeout_read_s", 120),
        ("inference__endpoints__a__timeout_read_s", 120.0),
        ("inference__endpoints__a__base_url", "http://a/v1/"),
        ("inference__endpoints__b__server__slots", 4),
        ("inference__scenarios__one__temperature", 0),
        ("inference__scenarios__one__concurrency", 1),
        # what nothing follows from
        ("training__base_batch_size", 8),
        # what comes beside
        ("training__batch_sizes", [2, 4, 8]),
        ("training__run", ["wafer"]),
        ("training__repeats", 3),
        ("inference__endpoints__c", {"base_url": "http://c/v1", "model": "m"}),
        ("inference__run", ["b"]),
        ("inference__scenarios__one__rounds", 3),
        ("inference__scenarios__many__concurrency", [1, 2, 5]),
        ("inference__prompts__others", {"source": "hub"}),
    ],
)
def test_nothing_is_measured_again_for(key: str, value: Any) -> None:
    assert changed(**{key: value}) == set()


def test_comments_and_key_order_change_no_spec(tmp_path: Path) -> None:
    plain, turned = tmp_path / "plain.yaml", tmp_path / "turned.yaml"
    plain.write_text(yaml.safe_dump(CONFIG, sort_keys=True))

    def reverse(node: Any) -> Any:
        return {key: reverse(node[key]) for key in reversed(node)} if isinstance(node, dict) else node

    turned.write_text("# a comment\n" + yaml.safe_dump(reverse(CONFIG), sort_keys=False))
    assert all_specs(load_config(plain)) == all_specs(load_config(turned))


def test_a_comment_in_the_params_file_changes_no_spec() -> None:
    before = all_specs(config_with())
    Path("model.yaml").write_text("# a comment\n" + Path("model.yaml").read_text())
    os.utime("model.yaml", ns=(1, 1))
    assert all_specs(config_with()) == before


# --- what changes specs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ALTERNATIVES["Training"])
def test_a_measured_field_of_the_sweep_changes_all_its_runs(field: str) -> None:
    assert changed(**{f"training__{field}": ALTERNATIVES["Training"][field]}) == set(specs.train_runs(config_with()))


@pytest.mark.parametrize(("name", "model"), [("cpu", "TorchPlatform"), ("wafer", "CerebrasPlatform")])
def test_a_measured_field_of_a_platform_changes_its_runs_alone(name: str, model: str) -> None:
    own = {run for run in specs.train_runs(config_with()) if run.platform == name}
    for field, value in ALTERNATIVES[model].items():
        assert changed(**{f"training__platforms__{name}__{field}": value}) == own, field


def test_the_number_of_nodes_changes_a_platforms_runs_and_that_they_are_its_own_does_not() -> None:
    own = {run for run in specs.train_runs(config_with()) if run.platform == "cpu"}
    assert changed(training__platforms__cpu__own_node=True) == set()
    assert changed(training__platforms__cpu__own_node=True, training__platforms__cpu__nodes=2) == own


@pytest.mark.parametrize("field", models.BatchSettings.model_fields)
def test_a_setting_of_one_batch_size_changes_its_runs_alone(field: str) -> None:
    own = {run for run in specs.train_runs(config_with()) if run.batch == 4}
    assert changed(training__sizes={4: {field: 2}}) == own


@pytest.mark.parametrize(("key", "value"), [("match", "samples"), ("lr_scaling", "sqrt"), ("schedule_unit", "samples")])
def test_what_is_matched_to_a_base_changes_no_run_of_the_base(key: str, value: str) -> None:
    others = {run for run in specs.train_runs(config_with()) if run.batch == 8}
    assert changed(**{f"training__{key}": value}) == others


def matched(**training: Any) -> Tree:
    """Give the parts of the spec of batch 8 that come of matching it to batch 4."""
    changes = {f"training__{key}": value for key, value in training.items()}
    spec = json.loads(specs.train_spec(config_with(**changes), TrainRun("cpu", 8, 1)))
    spec["max_steps"] = spec["settings"]["max_steps"]
    return {key: spec[key] for key in ("max_steps", "lr_factor", "schedule_factor") if key in spec}


def test_a_spec_holds_what_comes_of_matching_and_not_the_keys() -> None:
    assert matched() == {"max_steps": 200}
    assert matched(match="samples") == {"max_steps": 100, "schedule_factor": "1/2"}
    assert matched(match="samples", schedule_unit="steps") == {"max_steps": 100}
    assert matched(schedule_unit="samples", lr_scaling="linear") == {
        "max_steps": 200, "lr_factor": "2.0", "schedule_factor": "1/2",
    }  # fmt: skip
    spec = json.loads(specs.train_spec(config_with(training__match="samples"), TrainRun("cpu", 8, 1)))
    assert spec["sweep"] == {}


def test_two_ways_to_say_the_same_run_have_one_spec() -> None:
    assert (
        changed(training__match="samples", training__schedule_unit="steps", training__sizes={8: {"max_steps": 200}})
        == set()
    )


def test_a_list_of_trainers_makes_the_first_ones_corpus() -> None:
    before = specs.corpus_spec(config_with())
    Path("model.yaml").write_text(yaml.safe_dump({"trainer": [PARAMS, {}]}))
    assert specs.corpus_spec(config_with()) == before
    for none in ({"trainer": []}, {"trainer": [1]}):
        Path("model.yaml").write_text(yaml.safe_dump(none))
        with pytest.raises(UserError, match="must have trainer"):
            specs.corpus_spec(config_with())


def test_an_edit_of_the_params_file_changes_all_runs() -> None:
    before = all_specs(config_with())
    Path("model.yaml").write_text(yaml.safe_dump({**PARAMS, "more": 2}))
    after = all_specs(config_with())
    assert {job for job in before if before[job] != after[job]} == set(specs.train_runs(config_with()))


def log_spec(**training: Any) -> Tree:
    """Give the spec of a run whose log was brought along."""
    old = {"backend": "log", "logs": "mytest_{batch}_{repeat}.log"}
    tree = {"run": ["old"], "platforms": {"old": old}, "batch_sizes": [4], **training}
    return json.loads(specs.train_spec(Config.model_validate({"training": tree}), TrainRun("old", 4, 1)))


def test_a_micro_batch_of_the_axis_is_the_same_run_as_one_set_alone() -> None:
    """So an axis that is added or taken away restores what was measured."""
    axis = config_with(training__batch_sizes=[4, 8], training__micro_batch_sizes=[2, 4])
    alone = config_with(training__batch_sizes=[4, 8], training__micro_batch_size=2)
    assert specs.train_spec(axis, TrainRun("cpu", 8, 1, micro=2)) == specs.train_spec(alone, TrainRun("cpu", 8, 1))
    assert specs.train_spec(axis, TrainRun("cpu", 8, 1, micro=4)) != specs.train_spec(alone, TrainRun("cpu", 8, 1))


def test_each_batch_size_is_run_once_per_micro_batch_that_divides_it() -> None:
    config = config_with(training__batch_sizes=[4, 6], training__micro_batch_sizes=[2, 3, 4], training__repeats=1)
    pairs = [(run.batch, run.micro) for run in specs.train_runs(config) if run.platform == "cpu"]
    assert pairs == [(4, 2), (4, 4), (6, 2), (6, 3)]
    folders = [run.folder.parent.name for run in specs.train_runs(config)[:2]]
    assert folders == ["bs4-mb2", "bs4-mb4"]
    assert specs.train_runs(config_with())[0].folder.parent.name == "bs4"


@pytest.mark.parametrize(("vary_seed", "seeds"), [(True, [4, 5]), (False, [4, 4])])
def test_the_seed_varies_between_repeats_or_not(vary_seed: bool, seeds: list[int]) -> None:
    config = config_with(training__seed=4, training__vary_seed=vary_seed, training__repeats=2)
    found = [json.loads(specs.train_spec(config, TrainRun("cpu", 4, repeat))) for repeat in (1, 2)]
    assert [spec["seed"] for spec in found] == seeds
    assert found[0] != found[1]


def test_logs_of_several_micro_batches_are_runs_of_their_own() -> None:
    old = {"backend": "log", "logs": "{batch}-{micro}.log"}
    tree = {"run": ["old"], "platforms": {"old": old}, "batch_sizes": [4], "micro_batch_sizes": [2, 4]}
    config = Config.model_validate({"training": tree})
    Path("4-2.log").write_text("alike")
    Path("4-4.log").write_text("alike")
    first, second = (specs.train_spec(config, run) for run in specs.train_runs(config))
    assert first != second and json.loads(first)["micro_batch_size"] == 2


def test_a_log_that_was_brought_along_is_what_its_run_is() -> None:
    assert log_spec()["log"] == specs.PENDING
    Path("mytest_4_1.log").write_text("one")
    before = log_spec()
    assert before == log_spec(max_steps=7, model="model.yaml", seed=3, corpus="python_docs", match="samples")
    assert (before["model"], before["seed"], before["corpus"]) == (None, None, None)
    os.utime("mytest_4_1.log", (0, 0))
    assert log_spec() == before
    Path("mytest_4_1.log").write_text("two")
    assert log_spec() != before


@pytest.mark.parametrize("field", ALTERNATIVES["Scenario"])
def test_a_measured_field_of_a_scenario_changes_its_rounds_alone(field: str) -> None:
    value = ALTERNATIVES["Scenario"][field]
    own = {item for item in specs.infer_rounds(config_with()) if item.cell == "one"}
    others = {"inference__prompts__other": {"source": "bundled"}}
    assert changed(**{f"inference__scenarios__one__{field}": value}, **others) == own


def test_a_scenario_with_objectives_is_searched_and_has_no_rounds() -> None:
    def planned(objectives: str) -> tuple[list[specs.InferRound], dict[specs.Search, str]]:
        searched = config_with(inference__scenarios__one={"find_max": objectives, "concurrency": 8})
        return specs.infer_rounds(searched), {
            each: specs.search_spec(searched, each) for each in specs.searches(searched)
        }

    (rounds, one), (_, other) = planned("success>0.9"), planned("success>0.8")
    assert "one" not in {each.cell for each in rounds}
    assert {each.cell for each in one} == {"one"} and len(one) == len(config_with().inference.run)
    assert one.keys() == other.keys() and not set(one.values()) & set(other.values())


@pytest.mark.parametrize("field", ALTERNATIVES["Endpoint"])
def test_a_measured_field_of_an_endpoint_changes_its_rounds_alone(field: str) -> None:
    own = {item for item in specs.infer_rounds(config_with()) if item.endpoint == "a"}
    assert changed(**{f"inference__endpoints__a__{field}": ALTERNATIVES["Endpoint"][field]}) == own


@pytest.mark.parametrize(
    ("server", "model"),
    [
        ({"kind": "llama.cpp"}, "LlamaCppServer"),
        ({"kind": "transformers"}, "TransformersServer"),
        ({"kind": "command", "command": ["serve", "{port}"]}, "CommandServer"),
    ],
)
def test_a_measured_field_of_a_server_changes_its_endpoints_rounds(server: Tree, model: str) -> None:
    item = InferRound("b", "one", 1)
    plain = specs.infer_spec(config_with(inference__endpoints__b__server=server), item)
    for field, value in ALTERNATIVES[model].items():
        other = config_with(inference__endpoints__b__server={**server, field: value})
        assert specs.infer_spec(other, item) != plain, field


@pytest.mark.parametrize("field", ALTERNATIVES["PromptSet"])
def test_a_measured_field_of_a_prompt_set_changes_its_spec(field: str) -> None:
    other = config_with(**{f"inference__prompts__questions__{field}": ALTERNATIVES["PromptSet"][field]})
    assert specs.prompts_spec(other, "questions") != specs.prompts_spec(config_with(), "questions")


@pytest.mark.parametrize("model", ALTERNATIVES)
def test_the_tests_above_know_every_measured_field(model: str) -> None:
    known = ALTERNATIVES[model].keys() | ELSEWHERE.get(model, set())
    assert known == measured_fields(getattr(models, model)).keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output_tokens", 9),
        ("ramp_to_per_s", 9.0),
        ("burstiness", 0.5),
        ("time_scale", 0.5),
        ("turns", 3),
        ("think_time_s", 1.0),
    ],
)
def test_what_an_open_loop_or_a_fixed_length_adds_is_part_of_the_spec(key: str, value: float) -> None:
    one, other = Scenario(), Scenario().model_copy(update={key: value})
    assert specs.measured_fields(one) != specs.measured_fields(other)


def test_the_share_of_a_prefix_is_part_of_the_spec() -> None:
    scenario = "inference__scenarios__one__"
    half, most = (
        all_specs(config_with(**{f"{scenario}prefix": "shared", f"{scenario}prefix_share": share}))
        for share in (0.5, 0.9)
    )
    assert half != most
    assert half == all_specs(config_with(**{f"{scenario}prefix": "shared"}))


def test_the_seed_changes_only_what_has_nonces() -> None:
    plain = {item for item in specs.infer_rounds(config_with()) if item.cell == "one"}
    assert changed(seed=2) == set(specs.infer_rounds(config_with()))
    without = {"inference__scenarios__one__nonce": False}
    before, after = all_specs(config_with(**without)), all_specs(config_with(seed=2, **without))
    assert {job for job in before if before[job] == after[job]} == plain | set(specs.train_runs(config_with()))


def test_only_names_of_secrets_stand_in_a_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hunter2")
    secrets = {
        "inference__endpoints__a__secret_headers": {"x-api-key": {"env": "MY_KEY"}},
        "inference__endpoints__a__token": {"env": "MY_KEY", "command": ["print-token"]},
    }
    spec = specs.infer_spec(config_with(**secrets), InferRound("a", "one", 1))
    assert json.loads(spec)["endpoint"]["secret_headers"] == {"x-api-key": {}}
    assert not any(word in spec for word in ("hunter2", "MY_KEY", "print-token"))


def test_a_source_of_a_secret_header_changes_no_spec() -> None:
    one, two = (
        all_specs(config_with(inference__endpoints__a__secret_headers={"x-api-key": source}))
        for source in ({"env": "ONE"}, {"command": ["two"]})
    )
    assert one == two


# --- canonical texts ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
)  # fmt: skip


@given(st.dictionaries(st.text("abcd"), JSON), st.randoms(use_true_random=False))
def test_canonical_is_independent_of_key_order_and_reads_back(record: Tree, draw: Any) -> None:
    keys = list(record)
    draw.shuffle(keys)
    text = specs.canonical(record)
    assert specs.canonical({key: record[key] for key in keys}) == text
    assert json.loads(text) == record
    assert "\n" not in text


def test_a_params_file_may_hold_infinities_and_keys_that_are_no_text() -> None:
    Path("model.yaml").write_text(yaml.safe_dump({**PARAMS, "limit": math.inf, 1: "one", "two": 2}))
    spec = specs.train_spec(config_with(), TrainRun("cpu", 4, 1))
    assert json.loads(spec, parse_constant=pytest.fail)["model"]["limit"] == "inf"


def test_a_broken_params_file_is_said_in_one_line() -> None:
    run = TrainRun("cpu", 4, 1)
    for text, words in (("a: [", "can't be read as YAML"), ("- a", "must be a params file"), (None, "can't be read")):
        Path("model.yaml").unlink()
        if text:
            Path("model.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"^training\.model: model\.yaml {words}[^\n]*$"):
            specs.train_spec(config_with(), run)
        Path("model.yaml").touch()


def test_the_spec_of_random_tokens_has_their_seed() -> None:
    spec = specs.corpus_spec(config_with(training__corpus="synthetic", training__seed=7))
    assert json.loads(spec) == {"kind": "synthetic", "seed": 7, "sequence_length": 8, "vocab_size": 16}


def test_a_params_file_without_a_model_makes_no_corpus() -> None:
    Path("model.yaml").write_text("trainer: {init: {}}")
    with pytest.raises(UserError, match=r"must have trainer\.init\.model with max_position_embeddings and vocab_size"):
        specs.corpus_spec(config_with())


# --- data that specs name -----------------------------------------------------------------------------------------


def write_facts(path: Path, facts: Tree) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts))


def test_digests_are_pending_before_the_data_exist() -> None:
    scenario = config_with().inference.scenarios["one"]
    assert specs.corpus_digest() == specs.PENDING
    assert specs.prompts_digest(scenario, 1) == specs.PENDING
    write_facts(paths.prompt_facts("questions"), {"digests": ["x"] * 19})
    assert specs.prompts_digest(scenario, 1) != specs.PENDING
    assert specs.prompts_digest(scenario, 2) == specs.PENDING


def test_appending_prompts_leaves_the_digests_of_earlier_rounds() -> None:
    scenario, facts = config_with().inference.scenarios["one"], paths.prompt_facts("questions")
    write_facts(facts, {"digests": [str(n) for n in range(20)]})
    before = [specs.prompts_digest(scenario, round_no) for round_no in (1, 2)]
    write_facts(facts, {"digests": [str(n) for n in range(40)]})
    os.utime(facts, ns=(1, 1))
    assert [specs.prompts_digest(scenario, round_no) for round_no in (1, 2)] == before
    assert specs.prompts_digest(scenario, 3) not in before
    assert before[0] != before[1]


def test_a_changed_corpus_changes_the_runs_that_train_on_it() -> None:
    config = config_with(training__corpus="python_docs")
    write_facts(paths.corpus_facts(), {"digest": "one"})
    before = all_specs(config)
    write_facts(paths.corpus_facts(), {"digest": "another"})
    os.utime(paths.corpus_facts(), ns=(1, 1))
    assert {job for job, spec in all_specs(config).items() if spec != before[job]} == set(specs.train_runs(config))


def test_each_sequence_length_is_a_run_of_its_own_on_samples_of_that_length() -> None:
    config = config_with(
        training__run=["cpu"], training__corpus="python_docs", training__sequence_lengths=[4, 16], training__repeats=1
    )
    runs = specs.train_runs(config)
    assert [(run.batch, run.length) for run in runs] == [(4, 4), (4, 16), (8, 4), (8, 16)]
    assert str(runs[1].folder) == "results/training/cpu/bs4-sl16/r1"
    assert json.loads(specs.corpus_spec(config))["sequence_lengths"] == [4, 16]
    write_facts(paths.corpus_facts(), {"digest": "of 8", "sequence_length": 8, "vocab_size": 16,
                                       "lengths": {"4": {"digest": "of 4"}}})  # fmt: skip
    planned = [json.loads(specs.train_spec(config, run)) for run in runs[:2]]
    assert [(spec["sequence_length"], spec["corpus"]) for spec in planned] == [(4, "of 4"), (16, specs.PENDING)]
    assert not specs.corpus_is_made(config)
    without = json.loads(specs.train_spec(config_with(training__corpus="python_docs"), TrainRun("cpu", 4, 1)))
    assert without["corpus"] == "of 8" and "sequence_length" not in without


def test_the_largest_asker_decides_how_many_prompts_are_made() -> None:
    assert specs.prompts_needed(config_with(), "questions") == 20
    with pytest.raises(UserError, match=r"^inference\.prompts\.others: no scenario in .* uses it"):
        specs.prompts_needed(config_with(), "others")


def test_a_code_digest_changes_with_the_code_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "PACKAGE", tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "a.py").write_text("1")
    (tmp_path / "b.py").write_text("1")
    before = specs.code("half", "b.py")
    os.utime(tmp_path / "b.py", ns=(1, 1))
    (tmp_path / "half" / "__pycache__").mkdir()
    (tmp_path / "half" / "__pycache__" / "a.pyc").write_text("x")
    assert specs.code("half", "b.py") == before
    (tmp_path / "half" / "a.py").write_text("2")
    assert specs.code("half", "b.py") != before


@pytest.mark.parametrize("imported", ["accelbench/half/__init__.py", "accelbench/half/inner.py", "accelbench/other.py"])
def test_a_code_digest_follows_what_a_module_imports(
    imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specs, "PACKAGE", tmp_path / "accelbench")
    (tmp_path / "accelbench/half").mkdir(parents=True)
    for name, text in {
        "top.py": "from accelbench.half import thing\n",
        "half/__init__.py": "from accelbench.half.inner import thing\n",
        "half/inner.py": "from accelbench import other\n",
        "other.py": "",
        "apart.py": "",
    }.items():
        (tmp_path / "accelbench" / name).write_text(text)
    before = specs.code("top.py")
    (tmp_path / "accelbench/apart.py").write_text("# edited\n")
    assert specs.code("top.py") == before
    with (tmp_path / imported).open("a") as module:
        module.write("# edited\n")
    assert specs.code("top.py") != before


# --- released defaults ----------------------------------------------------------------------------------------------


def current_defaults() -> Tree:
    fields: Tree = {}
    for model in vars(models).values():
        if isinstance(model, type) and issubclass(model, Model) and model is not Model:
            for name, field in measured_fields(model).items():
                if not field.is_required():
                    default = field.get_default(call_default_factory=True)
                    fields[f"{model.__name__}.{name}"] = default.model_dump() if isinstance(default, Model) else default
    return fields


def test_no_released_default_has_changed() -> None:
    """Specs leave defaults out, so a new default would give old measurements a new meaning.

    A new key is added to the snapshot by `python -m tests.plan.test_specs`, which never touches those that are there.
    A change of behaviour gets a new key instead of another default.
    """
    released = json.loads(RELEASED.read_text())
    now = current_defaults()
    assert {key: now.get(key, "gone, or no longer measured") for key in released} == released
    assert now.keys() == released.keys(), "new keys: run `python -m tests.plan.test_specs`"


if __name__ == "__main__":
    kept = json.loads(RELEASED.read_text()) if RELEASED.exists() else {}
    RELEASED.write_text(json.dumps({**current_defaults(), **kept}, indent=2, sort_keys=True) + "\n")
