"""The config: each mistake gives one line that names file, key and what to write; what ships is valid."""

import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.cli import parse_config

from accelbench import config as models
from accelbench.config import Config, Model
from accelbench.config.configfile import load_config, merge, read, write_merged
from accelbench.errors import UserError
from accelbench.plan import specs

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "config" / "config.yaml"
NO_OVERLAYS = {DEFAULT, ROOT / "config" / "hardware.yaml"}
SECOND = {ROOT / "config" / name: ROOT / "config" / "alcf-gpu.yaml" for name in ("polaris.yaml", "aurora.yaml")}
"""Overlays of another overlay."""
OVERLAYS = sorted({*(ROOT / "config").glob("*.yaml")} - NO_OVERLAYS - SECOND.keys())
MODELS = [m for m in vars(models).values() if isinstance(m, type) and issubclass(m, Model) and m is not Model]
BASE = """
training:
  run: [cpu]
  platforms: {cpu: {backend: torch}, wafer: {backend: cerebras}}
  model: model.yaml
  batch_sizes: [4, 8]
inference:
  run: [here]
  scenarios_run: [one]
  endpoints:
    here: {base_url: "http://127.0.0.1:8000/v1", model: m}
    transformers: {server: {kind: transformers}, model: m}
  scenarios: {one: {}}
  prompts: {questions: {source: bundled}}
"""
HERE = "inference: {endpoints: {here: {%s}}}"
ONE = "inference: {scenarios: {one: {%s}}}"
SERVER = "inference: {endpoints: {new: {model: m, server: {kind: command, command: %s}}}}"
SECRET = "hunter2"
NAME_RULE = "must be 1 to 40 of a-z, 0-9 and . _ -, with a letter or digit at both ends (it is used in paths)."


@pytest.fixture
def complaints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Give the lines that a user sees when o.yaml over base.yaml holds this text."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)

    def lines(text: str) -> list[str]:
        Path("o.yaml").write_text(text)
        with pytest.raises(UserError) as error:
            load_config(Path("base.yaml"), [Path("o.yaml")])
        assert not re.search(r"pydantic|Traceback|Error|constrained|\bstr\b|\bdict\b|\bint\b|Model", str(error.value))
        return str(error.value).split("\n")

    return lines


MISTAKES = {
    # unknown keys
    "sedd: 1": "sedd is not a key; did you mean seed?",
    "wholly_unknown: 1": "wholly_unknown is not a key; remove it.",
    HERE % "modle: x": "inference.endpoints.here.modle is not a key; did you mean model?",
    "inference: {endpoints: {transformers: {modle: x}}}": (
        "inference.endpoints.transformers.modle is not a key; did you mean model?"
    ),
    "training: {platforms: {torch: {backend: torch, thread: 1}}}": (
        "training.platforms.torch.thread is not a key; did you mean threads?"
    ),
    "training: {platforms: {cpu: {num_csx: 2}}}": "training.platforms.cpu.num_csx is not a key; remove it.",
    "inference: {endpoints: {transformers: {server: {slots: 2}}}}": (
        "inference.endpoints.transformers.server.slots is not a key; remove it."
    ),
    # wrong types
    "seed: x": "seed is 'x'; it must be an integer.",
    "seed: null": "seed is null; it must be an integer.",
    "seed: 1.5": "seed is 1.5; it must be an integer.",
    "seed: true": "seed is True; it must be an integer.",
    "title: 2025-01-01": "title is 2025-01-01; it must be text (put it in quotes).",
    "training: {platforms: {wafer: {release: 2.6}}}": (
        "training.platforms.wafer.release is 2.6; it must be text (put it in quotes)."
    ),
    "training:": "training is null; it must be a mapping (key: value).",
    "training: {run: cpu}": "training.run is 'cpu'; it must be a list.",
    "training: {platforms: {cpu: torch}}": "training.platforms.cpu is 'torch'; it must be a mapping (key: value).",
    "training: {batch_sizes: [4, x]}": "training.batch_sizes.1 is 'x'; it must be an integer.",
    "training: {sizes: {'4': {max_steps: 1}}}": "training.sizes.4 is '4'; it must be an integer.",
    "training: {eval_frequency: often}": "training.eval_frequency is 'often'; it must be an integer or a number.",
    ONE % "stream: 'yes'": "inference.scenarios.one.stream is 'yes'; it must be true or false.",
    ONE % "concurrency: four": "inference.scenarios.one.concurrency is 'four'; it must be an integer or a list.",
    ONE % "concurrency: [2, x]": "inference.scenarios.one.concurrency.1 is 'x'; it must be an integer.",
    HERE % "headers: {x-team: 3}": "inference.endpoints.here.headers.x-team must be text (put it in quotes).",
    # values out of bounds
    "training: {max_steps: -3}": ("training.max_steps is -3; it must be greater than or equal to 1, or left out."),
    HERE % "requests_per_s: -3": (
        "inference.endpoints.here.requests_per_s is -3; it must be greater than 0, or left out."
    ),
    HERE % "timeout_read_s: .inf": "inference.endpoints.here.timeout_read_s is inf; it must be a finite number.",
    HERE % "model: ''": "inference.endpoints.here.model is empty; it must have at least one character.",
    ONE % "temperature: 3": (
        "inference.scenarios.one.temperature is 3.0; it must be less than or equal to 2.0, or left out."
    ),
    ONE % "concurrency: 0": (
        "inference.scenarios.one.concurrency is 0; it must be greater than or equal to 1, or left out."
    ),
    ONE % "reasoning_effort: hihg": (
        "inference.scenarios.one.reasoning_effort is 'hihg'; it must be 'low', 'medium' or 'high'."
    ),
    "training: {eval_frequency: 0.5}": (
        "training.eval_frequency must be an integer (every k steps), 1.0 (after training) or null."
    ),
    # lists
    "training: {batch_sizes: []}": "training.batch_sizes is empty; it must have at least one entry.",
    "training: {batch_sizes: [4, 4]}": "training.batch_sizes is [4, 4]; it must name each entry once: 4.",
    "training: {run: [cpu, cpu]}": "training.run is ['cpu', 'cpu']; it must name each entry once: cpu.",
    ONE % "concurrency: []": "inference.scenarios.one.concurrency is empty; it must have at least one entry.",
    ONE % "concurrency: [2, 2]": "inference.scenarios.one.concurrency is [2, 2]; it must name each entry once: 2.",
    # names
    "training: {run: [../up]}": f"training.run.0 is '../up'; it {NAME_RULE}",
    "training: {platforms: {My CPU: {backend: torch}}}": f"training.platforms.My CPU {NAME_RULE}",
    "inference: {scenarios: {%s: {}}}" % ("a" * 41): f"inference.scenarios.{'a' * 41} {NAME_RULE}",
    # tagged unions
    "training: {platforms: {cpu: {backend: torhc}}}": (
        "training.platforms.cpu.backend is 'torhc'; it must be 'cerebras' or 'log' or 'torch'."
    ),
    "training: {platforms: {gpu: {device: cuda}}}": (
        "training.platforms.gpu.backend is missing; it must be 'cerebras' or 'log' or 'torch'."
    ),
    "inference: {endpoints: {new: {server: {kind: vllm}, model: m}}}": (
        "inference.endpoints.new.server.kind is 'vllm'; it must be 'command' or 'llama.cpp' or 'transformers'."
    ),
    SERVER % "[vllm, serve, m]": (
        "inference.endpoints.new.server.command must have {port} in it: the job picks a free one (vllm: --port, "
        "'{port}')."
    ),
    SERVER % "[vllm, serve, m, --port, '{port}', --api-key=abc]": (
        "inference.endpoints.new.server.command must not hold credentials (--api-key): export a variable that the "
        "server knows (vLLM: VLLM_API_KEY, HF_TOKEN) before the workflow starts instead; for a PBS job, which does not "
        "get it, start the server by a script that reads it from a file of mode 0600."
    ),
    SERVER % "[vllm, '{port}'], env: {HF_TOKEN: abc}": (
        "inference.endpoints.new.server.env must not hold credentials (HF_TOKEN): export a variable that the server "
        "knows (vLLM: VLLM_API_KEY, HF_TOKEN) before the workflow starts instead; for a PBS job, which does not get "
        "it, start the server by a script that reads it from a file of mode 0600."
    ),
    "inference: {endpoints: {new: {base_url: 'http://h'}}}": (
        "inference.endpoints.new.model is missing; it must be given."
    ),
    # what does not fit together
    "training: {platforms: {old: {backend: log, logs: '{size}.log'}}}": (
        "training.platforms.old.logs is '{size}.log'; it must be a path, optionally with {batch}, {micro} and {repeat}."
    ),
    "training: {run: [old], repeats: 2, platforms: {old: {backend: log, logs: '{batch}.log'}}}": (
        "training.platforms.old.logs is '{batch}.log'; with 2 repeats it must have {repeat} in it, "
        "or one log would count as several runs; with one log per size, set training.repeats to 1."
    ),
    "training: {run: [gpu]}": "training.run names gpu, which training.platforms does not define; it has cpu, wafer.",
    "training: {model: null}": ("training.model must name a base params file, such as config/models/llama_small.yaml."),
    "training: {batch_sizes: [6], micro_batch_size: 4}": (
        "training.batch_sizes has 6, which is not a multiple of the micro batch 4; write 4 or another micro_batch_size."
    ),
    "training: {sizes: {8: {micro_batch_size: 3}}, batch_sizes: [8]}": (
        "training.batch_sizes has 8, which is not a multiple of the micro batch 3; write 6 or another micro_batch_size."
    ),
    "training: {micro_batch_sizes: []}": "training.micro_batch_sizes is empty; it must have at least one entry.",
    "training: {batch_sizes: [8], micro_batch_sizes: [4], micro_batch_size: 4}": (
        "training.micro_batch_sizes and training.micro_batch_size exclude each other; remove one of them."
    ),
    "training: {batch_sizes: [8], micro_batch_sizes: [4], sizes: {8: {micro_batch_size: 4}}}": (
        "training.micro_batch_sizes and training.sizes.8.micro_batch_size exclude each other; remove one of them."
    ),
    "training: {batch_sizes: [6, 8], micro_batch_sizes: [2, 5]}": (
        "training.micro_batch_sizes has 5, which divides none of batch_sizes; remove it."
    ),
    "training: {batch_sizes: [6, 8], micro_batch_sizes: [4]}": (
        "training.batch_sizes has 6, which none of micro_batch_sizes divides; remove or add one."
    ),
    "training: {run: [old], batch_sizes: [8], micro_batch_sizes: [4], "
    "platforms: {old: {backend: log, logs: '{batch}'}}}": (
        "training.platforms.old.logs is '{batch}'; with micro_batch_sizes it must have {micro} in it, or one log would "
        "count as several runs."
    ),
    "training: {run: [old], batch_sizes: [8], platforms: {old: {backend: log, logs: '{batch}-{micro}'}}}": (
        "training.platforms.old.logs is '{batch}-{micro}'; name the micro batches in training.micro_batch_sizes."
    ),
    "training: {sequence_lengths: [64]}": (
        "training.sequence_lengths needs training.corpus, which is cut into samples of each length."
    ),
    "training: {run: [wafer], corpus: synthetic, sequence_lengths: [64]}": (
        "training.sequence_lengths is for the torch backend; training.run has one of cerebras."
    ),
    "training: {match: step}": "training.match is 'step'; it must be 'steps' or 'samples'.",
    "training: {lr_scaling: root}": "training.lr_scaling is 'root'; it must be 'none', 'linear' or 'sqrt'.",
    "training: {schedule_unit: tokens}": "training.schedule_unit is 'tokens'; it must be 'steps' or 'samples'.",
    "training: {base_batch_size: 0}": (
        "training.base_batch_size is 0; it must be greater than or equal to 1, or left out."
    ),
    "training: {run: [this-machine], batch_sizes: [2], platforms: {this-machine: {backend: torch, processes: 4}}}": (
        "training.batch_sizes has 2, and this-machine has 4 processes: each needs a sample of every batch."
    ),
    "training: {platforms: {this-machine: {backend: torch, device: mps, processes: 2}}}": (
        "training.platforms.this-machine.processes is 2, and device mps is a single GPU; remove it."
    ),
    "training: {platforms: {cpu: {nodes: 2}}}": (
        "training.platforms.cpu.nodes is 2; several nodes are a job of a cluster: set own_node: true."
    ),
    "training: {batch_sizes: [4], platforms: {cpu: {own_node: true, nodes: 2, processes: 3}}}": (
        "training.batch_sizes has 4, and cpu has 6 processes: each needs a sample of every batch."
    ),
    "{cluster: {train: {select: '2:ngpus=4'}}, training: {platforms: {cpu: {own_node: true, nodes: 2}}}}": (
        "cluster.train.select is '2:ngpus=4'; for a platform with several nodes write the chunk of one: 1:…."
    ),
    "training: {run: [wafer], batch_sizes: [4], platforms: {wafer: {num_csx: 8}}}": (
        "training.batch_sizes has 4, and wafer has 8 systems (num_csx): each needs a sample of every batch."
    ),
    "training: {platforms: {wafer: {job_labels: {name: my run}}}}": (
        "training.platforms.wafer.job_labels is {'name': 'my run'}; it has name=my run; each side of a label must be "
        "1 to 63 letters, digits, - _ . with a letter or digit at both ends."
    ),
    "training: {sizes: {5: {max_steps: 1}}}": "training.sizes has settings for 5, which is not among batch_sizes.",
    "inference: {run: [there]}": (
        "inference.run names there, which inference.endpoints does not define; it has here, transformers."
    ),
    "inference: {scenarios_run: [two]}": (
        "inference.scenarios_run names two, which inference.scenarios does not define; it has one."
    ),
    "inference: {scenarios_run: []}": (
        "inference.scenarios_run must name at least one scenario for the endpoints in run."
    ),
    "inference: {baseline: there}": (
        "inference.baseline names there, which inference.endpoints does not define; it has here, transformers."
    ),
    "inference: {scenarios_run: [one, one-c2], scenarios: {one: {concurrency: [2]}, one-c2: {}}}": (
        "inference.scenarios_run has two cells named one-c2; rename a scenario."
    ),
    ONE % "arrivals: poisson": ("inference.scenarios.one.rate_per_s must be given, because arrivals is poisson."),
    ONE % "rate_per_s: 2": (
        "inference.scenarios.one.rate_per_s is only used with arrivals: constant, poisson or gamma."
    ),
    ONE % "arrivals: constant, rate_per_s: [1, 2.5], concurrency: 2": (
        "inference.scenarios.one.concurrency is not used with arrivals: constant; remove it."
    ),
    ONE % "max_in_flight: 2": "inference.scenarios.one.max_in_flight is not used with arrivals: closed; remove it.",
    ONE % "think_time_s: 2": "inference.scenarios.one.think_time_s is only used with turns: 2 or more.",
    ONE % "turns: 2, prefix: shared": "inference.scenarios.one.prefix is not used with turns; remove it.",
    ONE % "turns: 2": "inference.scenarios.one.turns needs prompts.questions.select: passages, or first.",
    ONE % "arrivals: trace": "inference.scenarios.one.trace must name a file, because arrivals is trace.",
    ONE % "arrivals: poisson, rate_per_s: 2, burstiness: 0.5": (
        "inference.scenarios.one.burstiness is not used with arrivals: poisson; remove it."
    ),
    ONE % "output_tokens: 9, max_tokens: 9": "inference.scenarios.one.max_tokens is not used with output_tokens; "
    "remove it.",
    ONE % "prefix_share: 0.2": "inference.scenarios.one.prefix_share is only used with prefix: unique, shared or "
    "cold-then-warm.",
    ONE % "prefix: shared, nonce: false": "inference.scenarios.one.nonce must be true with prefix: what follows the "
    "prefix must not be in a cache, too.",
    ONE % "prompts: quiz": (
        "inference.scenarios.one.prompts names quiz, which inference.prompts does not define; it has questions."
    ),
    "inference: {prompts: {questions: {source: path}}}": (
        "inference.prompts.questions.path must name a file, because source is path."
    ),
    "inference: {prompts: {questions: {path: q.csv}}}": (
        "inference.prompts.questions.path is only used with source: path, and source is bundled."
    ),
    "inference: {prompts: {questions: {template: 'Q: {}'}}}": (
        "inference.prompts.questions.template must be reference, short_span, "
        "or a text with {question} and, if wanted, {context}."
    ),
    "inference: {endpoints: {new: {base_url: 'http://h', server: {kind: llama.cpp}, model: m}}}": (
        "inference.endpoints.new.base_url must be given, or server instead of it: exactly one of the two."
    ),
    HERE % "own_node: true": (
        "inference.endpoints.here.own_node is for servers that the job starts; an endpoint with a base_url needs "
        "no node."
    ),
    HERE % "token: {}": (
        "inference.endpoints.here.token.env must name a variable, or command a command that prints the secret."
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_and_remedy(text: str, complaints: Callable[[str], list[str]]) -> None:
    assert complaints(text) == [f"o.yaml: {MISTAKES[text]}"]


def test_the_file_that_holds_the_key_is_named(complaints: Callable[[str], list[str]]) -> None:
    [line] = complaints("training: {micro_batch_size: 3}")
    assert line.startswith("base.yaml: training.batch_sizes has 4")


def test_a_mistake_on_the_command_line_names_the_option(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(BASE)
    with pytest.raises(
        UserError, match=r"^--config: seed is -1; it must be greater than or equal to 0, or left out\.$"
    ):
        load_config(base, overrides={"seed": -1})


def test_several_mistakes_are_one_line_each(complaints: Callable[[str], list[str]]) -> None:
    assert complaints("{seed: x, titel: t, training: {max_steps: 0, batch_sizes: []}}") == [
        "o.yaml: seed is 'x'; it must be an integer.",
        "o.yaml: training.batch_sizes is empty; it must have at least one entry.",
        "o.yaml: training.max_steps is 0; it must be greater than or equal to 1, or left out.",
        "o.yaml: titel is not a key; did you mean title?",
    ]


@pytest.mark.parametrize(
    "text",
    [
        HERE % f"headers: {{Authorization: Bearer {SECRET}}}",
        HERE % f"headers: {{x-api-key: {SECRET}}}",
        HERE % f"headers: {{x-team: Bearer {SECRET}}}",
        HERE % f"token: {SECRET}",
        HERE % f"token: {{env: {SECRET}-}}",
        HERE % f"secret_headers: {{x-api-key: {SECRET}}}",
        HERE % f"api_key: {SECRET}",
        HERE % f"base_url: 'https://me:{SECRET}@host/v1'",
        HERE % f"base_url: 'https://host/v1?key={SECRET}'",
        HERE % f"health_url: 'https://me:{SECRET}@host/v1'",
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(text: str, complaints: Callable[[str], list[str]]) -> None:
    [line] = complaints(text)
    assert line.startswith("o.yaml: inference.endpoints.here.")
    assert SECRET not in line


def test_a_refused_header_is_told_where_its_secret_belongs(complaints: Callable[[str], list[str]]) -> None:
    assert complaints(HERE % "headers: {x-api-key: abc}") == [
        "o.yaml: inference.endpoints.here.headers must not hold credentials: write secret_headers: "
        "{x-api-key: {env: NAME}} instead and put the value of x-api-key into that variable."
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nseed: 2", "line 2 has the key seed a second time; keep one of them."),
        ("training:\n  run: []\n  run: []", "line 3 has the key run a second time; keep one of them."),
        ("seed: [", "line 1, column 8: expected the node content, but found '<stream end>'."),
        ("\tseed: 1", "line 1, column 1: a tab; YAML is indented with spaces."),
        ("{[a]: 1}", "line 1, column 2: found unhashable key."),
        ("- seed", "must hold keys and values, such as `training:` and its keys."),
        ("seed", "must hold keys and values, such as `training:` and its keys."),
    ],
)
def test_a_broken_file_is_one_line(text: str, line: str, complaints: Callable[[str], list[str]]) -> None:
    assert complaints(text) == [f"o.yaml: {line}"]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/none\.yaml: can't be read \(No such file or directory\)\.$"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r": can't be read \(Is a directory\)\.$"):
        read(tmp_path)
    (tmp_path / "latin1.yaml").write_bytes("title: é".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin1\.yaml: is not UTF-8 text\.$"):
        read(tmp_path / "latin1.yaml")


def test_an_empty_overlay_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "o.yaml").write_text("# nothing yet\n")
    assert load_config(tmp_path / "base.yaml", [tmp_path / "o.yaml"]) == load_config(tmp_path / "base.yaml")


def test_yaml_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "o.yaml"
    path.write_text("a: &one {x: 1, y: 2}\nb: &two {<<: *one, y: 3}\nc: {<<: *two, x: 4}\n")
    assert read(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 3}}


def test_mappings_merge_and_lists_replace() -> None:
    assert merge({"a": {"x": 1, "l": [1]}, "b": 1}, [{"a": {"y": 2, "l": [2]}}], {"b": 2}) == {
        "a": {"x": 1, "y": 2, "l": [2]},
        "b": 2,
    }


def test_run_lists_of_several_overlays_add_up_and_one_replaces_the_defaults() -> None:
    base = {"training": {"run": ["here"]}}
    one, two = {"training": {"run": ["a", "b"]}}, {"training": {"run": ["b", "c"]}}
    assert merge(base, [one])["training"]["run"] == ["a", "b"]
    assert merge(base, [one, two])["training"]["run"] == ["a", "b", "c"]
    assert merge(base, [one, two], {"training": {"run": ["d"]}})["training"]["run"] == ["d"]


@given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner)))
def test_merging_a_tree_over_itself_or_nothing_over_it_changes_nothing(tree: Any) -> None:
    if isinstance(tree, dict):
        assert merge(tree, [tree]) == tree
        assert merge(tree, [{}]) == tree


def test_the_merged_config_reads_back_as_the_same_config(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    more = {"training": {"sizes": {4: {"max_steps": 7}}, "eval_frequency": 1.0}, "title": "größer: 1"}
    config = load_config(tmp_path / "base.yaml", overrides=more)
    write_merged(config, tmp_path / "merged.yaml")
    assert load_config(tmp_path / "merged.yaml") == config


@pytest.mark.parametrize(("written", "kept"), [(1, int), (1.0, float)])
def test_eval_frequency_keeps_every_step_and_after_training_apart(tmp_path: Path, written: Any, kept: type) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    config = load_config(tmp_path / "base.yaml", overrides={"training": {"eval_frequency": written}})
    assert type(config.training.eval_frequency) is kept


@pytest.mark.parametrize(
    ("written", "tree"),
    [
        ("restore=false", {"restore": False}),
        ("restore=False", {"restore": False}),
        ("title=Night 3", {"title": "Night 3"}),
        ("training={batch_sizes: [4, 8]}", {"training": {"batch_sizes": [4, 8]}}),
        ("training={sizes: {4: {max_steps: 7}}}", {"training": {"sizes": {4: {"max_steps": 7}}}}),
    ],
)
def test_what_the_command_line_sets_is_read_as_a_file_is(written: str, tree: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    given_there = load_config(tmp_path / "base.yaml", overrides=parse_config([written]))
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(tree))
    assert given_there == load_config(tmp_path / "base.yaml", [tmp_path / "over.yaml"])


# --- what ships -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DEFAULT, *OVERLAYS, *SECOND], ids=lambda path: path.stem)
def test_a_shipped_config_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(DEFAULT, [*([SECOND[path]] if path in SECOND else []), path])
    if config.training.model:
        assert specs.base_params(config.training.model)["trainer"]["fit"]["train_dataloader"]


def test_all_sites_join_in_one_report() -> None:
    sites = [path for path in OVERLAYS if path.name.startswith("alcf-")]
    config = load_config(DEFAULT, sites)
    assert config.training.run == ["cs3", "gpu"]
    assert config.inference.run == ["metis", "sophia"]
    assert not {"this-machine", "llama-cpp"} & {*config.training.run, *config.inference.run}


PAIRS = [pair for pair in combinations(OVERLAYS, 2) if {path.stem for path in pair} != {"alcf-gpu", "quick"}]
"""Eight GPUs can't share the smallest batch of quick."""


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "+".join(p.stem for p in pair))
def test_run_lists_of_shipped_overlays_add_up(pair: tuple[Path, Path]) -> None:
    lists = [set(read(path).get("inference", {}).get("run", [])) for path in pair]
    written = [names for path, names in zip(pair, lists, strict=True) if "run" in read(path).get("inference", {})]
    expected = set.union(*written) if written else set(read(DEFAULT)["inference"]["run"])
    assert set(load_config(DEFAULT, pair).inference.run) == expected


def test_asking_alcf_needs_nothing_local() -> None:
    assert not specs.needs_local(load_config(DEFAULT, [ROOT / "config" / "alcf-endpoints.yaml"]))
    assert specs.needs_local(load_config(DEFAULT))


# --- the models are the documentation -------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[Model]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    assert model.__doc__


def test_the_schema_file_is_the_models_schema() -> None:
    written = (ROOT / "config" / "schema.json").read_text()
    expected = json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert written == expected, "config/schema.json is stale; write it anew: make schema"


def test_the_shipped_configs_name_the_schema_for_editors() -> None:
    assert "$schema=schema.json" in DEFAULT.read_text()
    assert yaml.safe_load(DEFAULT.read_text())["title"]


# --- control: aa ------------------------------------------------------------------------------------------------


def test_control_aa_adds_a_twin_of_the_baseline_once(tmp_path: Path) -> None:
    (tmp_path / "aa.yaml").write_text("inference: {control: aa}\n")
    config = load_config(DEFAULT, [tmp_path / "aa.yaml"]).inference
    plain = load_config(DEFAULT, []).inference
    assert config.run == [*plain.run, "llama-cpp-twin"]
    twin, own = config.endpoints["llama-cpp-twin"], plain.endpoints["llama-cpp"]
    assert (twin.control_of, twin.label) == ("llama-cpp", f"{own.label} (control)")
    assert (twin.server, twin.model) == (own.server, own.model)
    write_merged(load_config(DEFAULT, [tmp_path / "aa.yaml"]), tmp_path / "merged.yaml")
    assert load_config(tmp_path / "merged.yaml", []).inference == config


def test_without_a_baseline_the_first_that_runs_has_the_twin(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "aa.yaml").write_text("inference: {control: aa}\n")
    assert load_config(tmp_path / "base.yaml", [tmp_path / "aa.yaml"]).inference.run == ["here", "here-twin"]
