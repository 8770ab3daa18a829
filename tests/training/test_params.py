"""Params files: the sweep's values are set, all else stays as the base file has it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.specs import TrainRun
from accelbench.training.params import MICRO_BATCH, dump, render, write_params

BASE = """
trainer:
  init:
    backend: {backend_type: CSX, cluster_config: {num_csx: 1, job_time_sec: 10800}}
    seed: 7
    model: {name: llama, layer_norm_epsilon: 1.0e-05, use_bias: false}
    optimizer: {AdamW: {betas: [0.9, 0.95], correct_bias: true}}
    precision: {enabled: true, fp16_type: cbfloat16}
    loop: {max_steps: 1, eval_frequency: null, eval_steps: 8}
    checkpoint: {steps: 100, keep: 2}
    logging: {log_steps: 1}
    callbacks:
    - CheckLoss: {}
    - ScopedTrainFlags: {csx.performance.micro_batch_size: auto, other: 1}
  fit:
    train_dataloader: &loader {data_processor: P, data_dir: /data, batch_size: 32}
    val_dataloader: *loader
"""
# YAML 1.2.2, 10.3.2: the core schema's float
FLOAT_1_2 = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
INTEGER_1_2 = re.compile(r"[-+]?[0-9]+")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rendered(
    base: str = BASE, batch: int = 4, repeat: int = 1, platform: Any = None, **training: Any
) -> dict[str, Any]:
    Path("base.yaml").write_text(base)
    tree = {"platforms": {"p": platform or {"backend": "cerebras"}}, "model": "base.yaml", "batch_sizes": [batch]}
    config = Config.model_validate({"training": {**tree, **training}})
    return render(config, TrainRun("p", batch, repeat))


def flags(params: dict[str, Any]) -> Any:
    return [c["ScopedTrainFlags"] for c in params["trainer"]["init"]["callbacks"] if "ScopedTrainFlags" in c]


def test_only_the_train_loaders_batch_size_changes_when_an_anchor_shares_it() -> None:
    fit = rendered()["trainer"]["fit"]
    assert (fit["train_dataloader"]["batch_size"], fit["val_dataloader"]["batch_size"]) == (4, 32)


def test_the_base_file_is_never_changed_in_memory() -> None:
    assert rendered(batch=4) == rendered(batch=4)
    assert rendered(batch=8)["trainer"]["fit"]["val_dataloader"]["batch_size"] == 32


def test_what_the_sweep_decides_is_set() -> None:
    init = rendered(repeat=3, seed=5, max_steps=70, log_steps=7, checkpoint_steps=35, eval_frequency=1.0)["trainer"][
        "init"
    ]
    assert init["seed"] == 7
    assert init["loop"] == {"max_steps": 70, "eval_frequency": 1.0, "eval_steps": 8}
    assert type(init["loop"]["eval_frequency"]) is float
    assert init["logging"] == {"log_steps": 7}
    assert init["checkpoint"] == {"steps": 35, "keep": 2}


def test_settings_of_one_batch_size_go_before_the_sweeps() -> None:
    init = rendered(max_steps=70, sizes={4: {"max_steps": 9}})["trainer"]["init"]
    assert init["loop"]["max_steps"] == 9
    assert init["logging"]["log_steps"] == 10


def test_order_and_types_stay_and_all_else_too() -> None:
    base, params = yaml.safe_load(BASE), rendered(seed=7, max_steps=1, log_steps=1, checkpoint_steps=100, batch=32)
    assert json.dumps(params) == json.dumps(base)
    assert json.dumps(yaml.safe_load(dump(params))) == json.dumps(base)


def test_the_written_file_reads_back_and_has_no_anchors() -> None:
    Path("base.yaml").write_text(BASE)
    tree = {"platforms": {"p": {"backend": "cerebras"}}, "model": "base.yaml", "batch_sizes": [4]}
    write_params(Config.model_validate({"training": tree}), TrainRun("p", 4, 1), Path("bs4/params.yaml"))
    text = Path("bs4/params.yaml").read_text()
    assert yaml.safe_load(text) == rendered()
    assert "&" not in text and "*" not in text


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ("callbacks:\n    - ScopedTrainFlags: {csx.performance.micro_batch_size: auto, other: 1}", [(2, 1)]),
        ("callbacks: [{CheckLoss: {}}]", [(2, None)]),
        ("callbacks: [CheckLoss, {ScopedTrainFlags: null}]", [(2, None)]),
        ("callbacks: null", [(2, None)]),
        ("seed: 1", [(2, None)]),
    ],
)
def test_the_micro_batch_flag_is_replaced_or_added(callbacks: str, expected: Any) -> None:
    base = f"trainer:\n  init:\n    {callbacks}\n  fit: {{train_dataloader: {{batch_size: 1}}}}\n"
    assert [(flag[MICRO_BATCH], flag.get("other")) for flag in flags(rendered(base, micro_batch_size=2))] == expected


def test_the_micro_batch_flag_stays_when_the_sweep_leaves_it_out() -> None:
    assert flags(rendered()) == [{MICRO_BATCH: "auto", "other": 1}]


def test_a_list_of_train_loaders_gets_the_batch_size_in_each() -> None:
    base = "trainer: {fit: {train_dataloader: [{batch_size: 1, data_dir: a}, {batch_size: 2, data_dir: b}]}}"
    loaders = rendered(base, batch=8)["trainer"]["fit"]["train_dataloader"]
    assert loaders == [{"batch_size": 8, "data_dir": "a"}, {"batch_size": 8, "data_dir": "b"}]


def test_a_prepared_corpus_is_what_both_loaders_read() -> None:
    fit = rendered(corpus="python_docs")["trainer"]["fit"]
    assert fit["train_dataloader"]["data_dir"] == "results/corpus/train"
    assert fit["val_dataloader"]["data_dir"] == "results/corpus/val"


def test_a_cerebras_platform_trains_on_csx_with_its_clusters_settings() -> None:
    platform = {
        "backend": "cerebras", "num_csx": 2, "job_time_sec": 60, "job_labels": {"name": "x"},
        "mount_dirs": ["/data"], "python_paths": ["/code"],
    }  # fmt: skip
    assert rendered(platform=platform)["trainer"]["init"]["backend"] == {
        "backend_type": "CSX",
        "cluster_config": {
            "num_csx": 2, "job_time_sec": 60, "mount_dirs": ["/data"], "python_paths": ["/code"],
            "job_labels": ["name=x"],
        },
    }  # fmt: skip


def test_what_a_cerebras_platform_leaves_out_stays_as_the_base_file_has_it() -> None:
    backend = rendered()["trainer"]["init"]["backend"]
    assert backend == {"backend_type": "CSX", "cluster_config": {"num_csx": 1, "job_time_sec": 10800}}


@pytest.mark.parametrize(
    ("platform", "backend_type", "precision"),
    [
        ({"device": "cpu"}, "CPU", {"enabled": False, "fp16_type": "cbfloat16"}),
        ({"device": "cuda", "dtype": "bfloat16"}, "GPU", {"enabled": True, "fp16_type": "bfloat16"}),
    ],
)
def test_a_torch_platform_has_its_device_and_no_cluster(platform: Any, backend_type: str, precision: Any) -> None:
    init = rendered(platform={"backend": "torch", **platform})["trainer"]["init"]
    assert init["backend"] == {"backend_type": backend_type}
    assert init["precision"] == precision


@pytest.mark.parametrize(
    ("base", "missing"),
    [
        ("trainer: {init: {}}", r"must have trainer\.fit\.train_dataloader"),
        ("trainer: {init: {}, fit: {train_dataloader: []}}", r"must have trainer\.fit\.train_dataloader"),
        ("trainer: {init: {}, fit: {train_dataloader: [a]}}", r"must have trainer\.fit\.train_dataloader"),
        ("{}", r"must have trainer\.fit\.train_dataloader"),
        ("trainer: [{init: {}}]", "trainer must be a mapping"),
        ("trainer: {init: {loop: 3}, fit: {train_dataloader: {}}}", "loop must be a mapping"),
    ],
)
def test_a_base_file_without_what_a_run_needs_is_said_in_one_line(base: str, missing: str) -> None:
    with pytest.raises(UserError, match=rf"^training\.model: [^\n]*{missing}[^\n]*\.$"):
        rendered(base)


def test_an_empty_section_is_filled() -> None:
    init = rendered("trainer: {init: {loop: null}, fit: {train_dataloader: {}}}")["trainer"]["init"]
    assert init["loop"] == {"max_steps": 200, "eval_frequency": None}
    assert init["logging"] == {"log_steps": 10}


@given(st.floats() | st.integers())
def test_numbers_are_the_same_numbers_in_yaml_1_1_and_1_2(number: float) -> None:
    text = dump({"x": number}).removeprefix("x: ").strip()
    read = yaml.safe_load(text)
    assert type(read) is type(number)
    assert read == number or (number != number and read != read)
    if isinstance(number, float):
        assert FLOAT_1_2.fullmatch(text) and not INTEGER_1_2.fullmatch(text)
        assert "n" in text or float(text) == number
    else:
        assert INTEGER_1_2.fullmatch(text)


def test_small_numbers_keep_a_point() -> None:
    assert dump({"eps": 3e-05, "big": 1e16}) == "eps: 3.0e-05\nbig: 1.0e+16\n"
