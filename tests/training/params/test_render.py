"""Params files: the sweep's values are set, all else stays as the base file has it."""

import json
import re
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from accelbench.cli import app
from accelbench.config import Config
from accelbench.config.configfile import load_config
from accelbench.errors import UserError
from accelbench.plan.specs import TrainRun, train_runs
from accelbench.training.params.render import MICRO_BATCH, dump, remove_outdated, render, scale, write_params
from accelbench.training.torch.run import read_schedule
from accelbench.training.torch.settings import Settings

ROOT = Path(__file__).parents[3]
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
    base: str = BASE,
    batch: int = 4,
    repeat: int = 1,
    platform: Any = None,
    length: int | None = None,
    **training: Any,
) -> dict[str, Any]:
    Path("base.yaml").write_text(base)
    tree = {"platforms": {"p": platform or {"backend": "cerebras"}}, "model": "base.yaml", "batch_sizes": [batch]}
    config = Config.model_validate({"training": {**tree, **training}})
    return render(config, TrainRun("p", batch, repeat, length=length))


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


def test_the_micro_batch_of_the_axis_is_what_its_run_trains_with() -> None:
    Path("base.yaml").write_text(BASE)
    tree = {"platforms": {"p": {"backend": "torch"}}, "model": "base.yaml", "batch_sizes": [8]}
    config = Config.model_validate({"training": {**tree, "micro_batch_sizes": [2, 4], "vary_seed": False}})
    params = render(config, TrainRun("p", 8, 3, micro=4))
    assert flags(params)[0][MICRO_BATCH] == 4
    assert params["trainer"]["init"]["seed"] == 1


def test_the_micro_batch_flag_stays_when_the_sweep_leaves_it_out() -> None:
    assert flags(rendered()) == [{MICRO_BATCH: "auto", "other": 1}]


def test_a_list_of_train_loaders_gets_the_batch_size_in_each() -> None:
    base = "trainer: {fit: {train_dataloader: [{batch_size: 1, data_dir: a}, {batch_size: 2, data_dir: b}]}}"
    loaders = rendered(base, batch=8)["trainer"]["fit"]["train_dataloader"]
    assert loaders == [{"batch_size": 8, "data_dir": "a"}, {"batch_size": 8, "data_dir": "b"}]


def test_a_sequence_length_is_the_models_and_that_of_the_samples_both_loaders_read() -> None:
    trainer = rendered(corpus="python_docs", length=64)["trainer"]
    assert trainer["init"]["model"]["max_position_embeddings"] == 64
    folders = [trainer["fit"][f"{part}_dataloader"]["data_dir"] for part in ("train", "val")]
    assert folders == ["results/corpus/sl64/train", "results/corpus/sl64/val"]


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


def test_a_params_file_that_is_not_the_configs_any_more_is_rendered_anew_unless_its_run_is_measured() -> None:
    def remove(**platform: Any) -> set[int]:
        p = {"backend": "cerebras", **platform}
        sweep = {"run": ["p"], "platforms": {"p": p}, "model": "base.yaml", "batch_sizes": [4, 8, 16]}
        config = Config.model_validate({"training": sweep})
        for run in train_runs(config)[:2]:
            if not (run.folder / "params.yaml").exists():
                write_params(config, run, run.folder / "params.yaml")
        remove_outdated(config)
        return {run.batch for run in train_runs(config) if (run.folder / "params.yaml").exists()}

    Path("base.yaml").write_text(BASE)
    assert remove() == {4, 8} == remove(label="CS-3")
    (TrainRun("p", 8, 1).folder / "measured.json").touch()
    assert remove(job_time_sec=60) == {8}
    Path("base.yaml").write_text("trainer: {init: []}")
    (TrainRun("p", 4, 1).folder / "params.yaml").touch()
    assert remove() == {8}


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
        ("trainer: [{init: {}}]", r"trainer\[0\]\.trainer must be a mapping"),
        ("trainer: [3]", r"trainer\[0\]\.trainer must be a mapping"),
        ("trainer: 3", "trainer must be a mapping"),
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


# --- a list of trainers ---------------------------------------------------------------------------------------------


def test_each_of_a_list_of_trainers_is_rendered() -> None:
    phase = "{trainer: {init: {seed: 9}, fit: {train_dataloader: {batch_size: 1}}}}"
    params = rendered(f"trainer: [{phase}, {phase}]", batch=8, max_steps=3)
    assert len(params["trainer"]) == 2
    for item in params["trainer"]:
        init, fit = item["trainer"]["init"], item["trainer"]["fit"]
        assert (init["seed"], init["loop"]["max_steps"], fit["train_dataloader"]["batch_size"]) == (1, 3, 8)


def test_an_empty_list_of_trainers_is_refused() -> None:
    with pytest.raises(UserError, match=r"^base\.yaml: trainer is an empty list; write at least one trainer\.$"):
        rendered("trainer: []")


# --- what a batch size does to training -----------------------------------------------------------------------------

SCHEDULED = """
trainer:
  init:
    optimizer: {AdamW: {learning_rate: 0.1, weight_decay: 0.1, params: [{params: bias, lr: 0.2}]}}
    schedulers:
    - SequentialLR:
        milestones: [10]
        schedulers:
        - LinearLR: {initial_learning_rate: 0.0, end_learning_rate: 3e-4, total_iters: 10}
        - CosineDecayLR: {initial_learning_rate: 3.0e-4, end_learning_rate: 3.0e-5, total_iters: 41}
    - LinearWD: {initial_val: 0.1, end_val: 0.2, total_iters: 8}
  fit: {train_dataloader: {batch_size: 1}}
"""


def matched(base: str = SCHEDULED, batch: int = 16, **training: Any) -> Any:
    return rendered(base, batch=batch, base_batch_size=4, **training)["trainer"]["init"]


def stages(init: Any) -> list[Any]:
    return [next(iter(stage.values())) for stage in init["schedulers"][0]["SequentialLR"]["schedulers"]]


@given(steps=st.integers(1, 10**6), base=st.integers(1, 4096), batch=st.integers(1, 4096))
def test_matched_samples_are_never_fewer_than_the_bases_and_less_than_one_batch_more(
    steps: int, base: int, batch: int
) -> None:
    tree = {"batch_sizes": [batch], "max_steps": steps, "match": "samples", "base_batch_size": base}
    matched_steps = Config.model_validate({"training": tree}).training.settings(batch).max_steps or 0
    assert steps * base <= matched_steps * batch < steps * base + batch
    assert type(matched_steps) is int and matched_steps >= 1


def test_matched_samples_take_fewer_steps_and_a_shorter_schedule() -> None:
    init = matched(match="samples", max_steps=50)
    assert init["loop"]["max_steps"] == 13
    assert [stage["total_iters"] for stage in stages(init)] == [3, 11]
    assert init["schedulers"][0]["SequentialLR"]["milestones"] == [3]
    assert init["schedulers"][1] == {"LinearWD": {"initial_val": 0.1, "end_val": 0.2, "total_iters": 2}}
    assert stages(init)[0]["end_learning_rate"] == "3e-4"  # as it was written: rates are not scaled
    assert init["optimizer"] == yaml.safe_load(SCHEDULED)["trainer"]["init"]["optimizer"]


def test_the_steps_of_one_batch_size_go_before_matched_ones() -> None:
    assert matched(match="samples", sizes={16: {"max_steps": 7}})["loop"]["max_steps"] == 7


def test_the_smallest_batch_size_is_the_base_where_none_is_named() -> None:
    tree = {"batch_sizes": [8, 2], "max_steps": 6, "match": "samples", "lr_scaling": "linear"}
    training = Config.model_validate({"training": tree}).training
    assert (training.settings(2).max_steps, training.settings(8).max_steps) == (6, 2)
    assert (training.lr_factor(2), training.lr_factor(8)) == (1, 4)
    assert (training.schedule_factor(2), training.schedule_factor(8)) == (1, Fraction(1, 4))


def test_the_schedule_may_keep_its_steps_or_its_samples_whatever_is_matched() -> None:
    assert stages(matched(match="samples", schedule_unit="steps"))[0]["total_iters"] == 10
    init = matched(match="steps", schedule_unit="samples")
    assert (stages(init)[0]["total_iters"], init["loop"]["max_steps"]) == (3, 200)


@pytest.mark.parametrize(("scaling", "factor"), [("linear", 4), ("sqrt", 2)])
def test_learning_rates_are_scaled_wherever_they_stand(scaling: str, factor: int) -> None:
    init = matched(lr_scaling=scaling)
    warm_up, decay = stages(init)
    assert warm_up == {"initial_learning_rate": 0.0, "end_learning_rate": 3e-4 * factor, "total_iters": 10}
    assert (decay["initial_learning_rate"], decay["end_learning_rate"]) == (3e-4 * factor, 3e-5 * factor)
    groups = [{"params": "bias", "lr": 0.2 * factor}]
    assert init["optimizer"] == {"AdamW": {"learning_rate": 0.1 * factor, "weight_decay": 0.1, "params": groups}}
    assert init["schedulers"][1] == {"LinearWD": {"initial_val": 0.1, "end_val": 0.2, "total_iters": 8}}


@pytest.mark.parametrize("scaling", ["none", "linear", "sqrt"])
def test_the_base_batch_size_is_trained_as_the_file_says(scaling: str) -> None:
    init = matched(batch=4, match="samples", lr_scaling=scaling)
    as_written = yaml.safe_load(SCHEDULED)["trainer"]["init"]
    assert {key: init[key] for key in as_written} == as_written


def test_a_scaled_file_reads_back_as_the_same_numbers() -> None:
    init = matched(lr_scaling="sqrt", match="samples", batch=6)
    text = dump(init)
    assert yaml.safe_load(text) == init
    numbers = [line.split(": ")[1] for line in text.splitlines() if "learning_rate: " in line]
    assert numbers and all(FLOAT_1_2.fullmatch(number) and "." in number for number in numbers)
    assert "0000000000" not in text


def test_the_base_file_is_never_scaled_in_memory() -> None:
    assert matched(lr_scaling="linear") == matched(lr_scaling="linear")


def scaled(scheduler: Any, lr_factor: float = 1, schedule_factor: Fraction = Fraction(1)) -> Any:
    init = {"optimizer": {"SGD": {"lr": 1.0}}, "schedulers": [json.loads(json.dumps(scheduler))]}
    scale(init, lr_factor, schedule_factor)
    return init["schedulers"][0]  # type: ignore[index]


# before and after: rates twice, steps times 4
SCHEDULERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"ConstantLR": {"learning_rate": 1}}, {"ConstantLR": {"learning_rate": 2.0}}),
    ({"constantlr": {"learning_rate": 1, "total_iters": 3}}, {"constantlr": {"learning_rate": 2.0, "total_iters": 12}}),
    ({"LinearLR": {"initial_learning_rate": 0, "end_learning_rate": 1, "total_iters": 2}},
     {"LinearLR": {"initial_learning_rate": 0.0, "end_learning_rate": 2.0, "total_iters": 8}}),
    ({"CosineDecayLR": {"initial_learning_rate": 1, "end_learning_rate": 0.1, "total_iters": 2}},
     {"CosineDecayLR": {"initial_learning_rate": 2.0, "end_learning_rate": 0.2, "total_iters": 8}}),
    ({"CosineDecayWD": {"initial_val": 1, "end_val": 0.1, "total_iters": 3}},
     {"CosineDecayWD": {"initial_val": 1, "end_val": 0.1, "total_iters": 12}}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), SCHEDULERS, ids=lambda scheduler: next(iter(scheduler)))
def test_the_schedulers_of_language_models_are_scaled(before: Any, after: Any) -> None:
    assert scaled(before, 2, Fraction(4)) == after


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=4), base=st.integers(1, 512), batch=st.integers(1, 512)
)
def test_a_scaled_schedule_follows_the_base_files_sample_for_sample(lengths: list[int], base: int, batch: int) -> None:
    own = [
        {"LinearLR": {"initial_learning_rate": n, "end_learning_rate": n + 1, "total_iters": length}}
        for n, length in enumerate(lengths)
    ]
    before = {"SequentialLR": {"schedulers": own, "milestones": list(accumulate(lengths))[:-1]}}
    after = scaled(before, 1, Fraction(base, batch))
    counts = [stage["LinearLR"]["total_iters"] for stage in after["SequentialLR"]["schedulers"]]
    for count, length in zip(counts, lengths, strict=True):
        assert type(count) is int and count >= 1
        assert length * base <= count * batch < length * base + batch
    read_schedule(Settings(Path("p.yaml"), (), {"schedulers": [after]}), None)  # refuses milestones that don't add up


@given(st.integers(1, 8), st.integers(1, 50), st.integers(1, 50), st.integers(0, 150))
def test_a_stretched_schedule_has_the_rates_it_had_at_the_same_samples(
    factor: int, warm_up: int, decay: int, step: int
) -> None:
    own = [
        {"LinearLR": {"initial_learning_rate": 0.0, "end_learning_rate": 1.0, "total_iters": warm_up}},
        {"CosineDecayLR": {"initial_learning_rate": 1.0, "end_learning_rate": 0.1, "total_iters": decay}},
    ]
    before = {"SequentialLR": {"schedulers": own}}
    was, now = (
        read_schedule(Settings(Path("p.yaml"), (), {"schedulers": [scheduler]}), None)
        for scheduler in (before, scaled(before, 3, Fraction(factor)))
    )
    assert now(step * factor) == pytest.approx(3 * was(step))


@given(st.floats(1e-9, 1e3), st.integers(1, 4096), st.integers(1, 4096))
def test_a_scaled_rate_is_the_product_to_twelve_digits(rate: float, base: int, batch: int) -> None:
    found = scaled({"ConstantLR": {"learning_rate": rate}}, batch / base)["ConstantLR"]["learning_rate"]
    assert found == (rate if base == batch else pytest.approx(rate * batch / base, rel=1e-11))


@pytest.mark.parametrize(
    ("scheduler", "complaint"),
    [
        ({"StepLR": {"initial_learning_rate": 1, "gamma": 0.1, "step_size": 3}},
         r"schedulers\[0\] is StepLR, but only ConstantLR, LinearLR, CosineDecayLR and SequentialLR can be scaled"),
        ({"FancyWD": {"val": 1}}, r"schedulers\[0\] is FancyWD, but only"),
        ({"LinearXX": {"val": 1}}, r"schedulers\[0\] is LinearXX, but only"),
        ("ConstantLR", r"schedulers\[0\] must be one scheduler and its settings"),
        ({"ConstantLR": {"learning_rate": "much"}}, r"ConstantLR\.learning_rate is 'much'; it must be a number"),
        ({"ConstantLR": {"learning_rate": True}}, r"ConstantLR\.learning_rate is True; it must be a number"),
        ({"ConstantLR": {"learning_rate": -1}}, r"ConstantLR\.learning_rate is -1; it must not be negative"),
        ({"LinearLR": {"total_iters": 1.5}}, r"LinearLR\.total_iters is 1\.5; it must be an integer"),
        ({"LinearLR": {"total_iters": -1}}, r"LinearLR\.total_iters is -1; it must be an integer"),
        ({"SequentialLR": {"schedulers": {"ConstantLR": {}}}}, r"SequentialLR\.schedulers must be a list"),
        ({"SequentialLR": {"milestones": [3], "schedulers": [{"ConstantLR": {}}, {"ConstantLR": {}}]}},
         r"SequentialLR\.schedulers must have total_iters, except for the last"),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_is_refused_in_one_line(scheduler: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=rf"^training\.model: the base params file's trainer[^\n]*{complaint}[^\n]*\.$"):
        scaled(scheduler, 2, Fraction(2))


def test_a_file_without_a_learning_rate_cannot_have_it_scaled() -> None:
    base = "trainer: {init: {schedulers: [{ConstantWD: {val: 1}}]}, fit: {train_dataloader: {batch_size: 1}}}"
    with pytest.raises(UserError, match=r"has no learning rate for training\.lr_scaling to scale"):
        matched(base, lr_scaling="linear")
    assert matched(base)["schedulers"] == [{"ConstantWD": {"val": 1}}]


# --- what is said ---------------------------------------------------------------------------------------------------


def written(base: str = BASE, **training: Any) -> list[str]:
    Path("base.yaml").write_text(base)
    tree = {"platforms": {"p": {"backend": "cerebras"}}, "model": "base.yaml", **training}
    return write_params(Config.model_validate({"training": tree}), TrainRun("p", 16, 2), Path("params.yaml"))


def test_the_lines_say_what_was_set_and_all_that_differs() -> None:
    Path("data").mkdir()
    base = SCHEDULED.replace("batch_size: 1", "batch_size: 1, data_dir: data")
    settings = {"batch_sizes": [4, 16], "match": "samples", "lr_scaling": "sqrt", "max_steps": 500}
    stages = "trainer.init.schedulers[0].SequentialLR.schedulers"
    assert written(base, **settings) == [
        "params.yaml: 125 steps of 16 samples (2,000), seed 2, learning rates × 2, iterations of their schedule × 1/4",
        "params.yaml: differs from base.yaml in: "
        "trainer.init.optimizer.AdamW.learning_rate 0.1 → 0.2, trainer.init.optimizer.AdamW.params[0].lr 0.2 → 0.4, "
        "trainer.init.schedulers[0].SequentialLR.milestones[0] 10 → 3, "
        f'{stages}[0].LinearLR.end_learning_rate "3e-4" → 0.0006, {stages}[0].LinearLR.total_iters 10 → 3, '
        f"{stages}[1].CosineDecayLR.initial_learning_rate 0.0003 → 0.0006, "
        f"{stages}[1].CosineDecayLR.end_learning_rate 3e-05 → 6e-05, {stages}[1].CosineDecayLR.total_iters 41 → 11, "
        "trainer.init.schedulers[1].LinearWD.total_iters 8 → 2, trainer.init.seed – → 2, "
        "trainer.init.loop.max_steps – → 125, trainer.init.loop.eval_frequency – → null, "
        "trainer.init.logging.log_steps – → 10, trainer.init.checkpoint.steps – → null, "
        'trainer.init.backend.backend_type – → "CSX", trainer.init.backend.cluster_config.num_csx – → 1, '
        "trainer.fit.train_dataloader.batch_size 1 → 16.",
    ]


@pytest.mark.parametrize(
    ("text", "lost"),
    [(SCHEDULED, ""), (f"# tuned by hand\n{SCHEDULED}", "; without its comments"),
     (f"x: &rate 1\n{SCHEDULED}  # why\n", "; without its comments and anchors")],
)  # fmt: skip
def test_comments_and_anchors_that_are_lost_are_said(text: str, lost: str) -> None:
    assert written(text, batch_sizes=[4, 16])[1].endswith(f"train_dataloader.batch_size 1 → 16{lost}.")


def test_the_command_prints_it() -> None:
    Path("base.yaml").write_text(SCHEDULED)
    tree = {"platforms": {"p": {"backend": "torch"}}, "model": "base.yaml", "batch_sizes": [4], "max_steps": 25}
    Path("run.yaml").write_text(yaml.safe_dump({"training": tree}))
    said = "params --platform p --size bs4 --out p.yaml --config run.yaml"
    asked = CliRunner().invoke(app, said.split())
    assert asked.output.startswith("p.yaml: 25 steps of 4 samples (100), seed 1, ")
    assert Path("p.yaml").exists()


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("{callbacks: {ScopedTrainFlags: {}}}", "training.model: the base params file's callbacks must be a list."),
        (
            "&i {itself: *i}",
            "training.model: base.yaml can't be read as YAML: line 1, column 29: an anchor contains itself; "
            "write the value out.",
        ),
    ],
)
def test_a_base_file_that_can_not_be_is_refused_in_one_line(init: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        rendered(f"trainer: {{init: {init}, fit: {{train_dataloader: {{}}}}}}", micro_batch_size=2)
    assert str(error.value) == said


def test_several_systems_of_the_base_file_are_never_cut_to_the_default_of_one() -> None:
    base = BASE.replace("num_csx: 1", "num_csx: 2")
    with pytest.raises(UserError, match=r"^training\.platforms\.p\.num_csx is not set, .* has 2\. Set the right one"):
        rendered(base)
    for meant in (1, 2):
        cluster = rendered(base, platform={"backend": "cerebras", "num_csx": meant})["trainer"]["init"]["backend"]
        assert cluster["cluster_config"]["num_csx"] == meant


def test_warnings_are_printed_and_the_file_written() -> None:
    lines = written(batch_sizes=[16])
    assert lines[0].endswith("seed 2, learning rates × 1, iterations of their schedule × 1")
    assert lines[1].startswith("params.yaml: differs from base.yaml in: trainer.init.seed 7 → 2, ")
    assert lines[2] == (
        "params.yaml: trainer.fit.train_dataloader.data_dir: /data isn't on this machine; the machine that trains "
        "must have it."
    )
    assert Path("params.yaml").exists()


def test_data_that_the_workflow_makes_are_not_said_to_be_missing() -> None:
    assert not any("on this machine" in line for line in written(batch_sizes=[16], corpus="synthetic"))


def test_errors_are_one_line_each_with_file_and_key_and_nothing_is_written() -> None:
    base = BASE.replace("backend_type: CSX", "backend_type: CSX, num_csx: 2, compile_dri: x")
    with pytest.raises(UserError) as error:
        written(base, batch_sizes=[16])
    assert str(error.value).split("\n") == [
        "base.yaml: trainer.init.backend.num_csx does nothing; write trainer.init.backend.cluster_config.num_csx.",
        "base.yaml: trainer.init.backend.compile_dri does nothing: ModelZoo ignores it silently; "
        "did you mean compile_dir?",
    ]
    assert not Path("params.yaml").exists()


@pytest.mark.parametrize("flags", ["ScopedTrainFlags", "GlobalFlags"])
def test_a_micro_batch_of_the_base_file_must_divide_the_batch_as_the_configs_must(flags: str) -> None:
    base = BASE.replace("ScopedTrainFlags: {csx.performance.micro_batch_size: auto", f"{flags}: {{{MICRO_BATCH}: 64")
    assert rendered(base, batch=128)
    with pytest.raises(UserError) as error:
        rendered(base, batch=96)
    assert str(error.value) == (
        f"base.yaml: trainer.init.callbacks[1].{flags}.{MICRO_BATCH} is 64; it must divide the batch, 96 samples: set "
        "training.micro_batch_size, or use another batch size."
    )


def test_a_file_of_modelzoo_1_is_named_with_its_layout() -> None:
    with pytest.raises(UserError, match=r"base\.yaml is in the layout of ModelZoo 1\.x \(runconfig, train_input"):
        rendered("train_input: {batch_size: 4}\nmodel: {}\nrunconfig: {max_steps: 3}\n")


def test_the_lines_say_what_the_run_needs_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    monkeypatch.chdir(ROOT)
    config = load_config(ROOT / "config" / "config.yaml", [ROOT / "config" / "alcf-gpu.yaml"])
    lines = write_params(config, TrainRun("gpu", 256, 1), tmp_path / "params.yaml")
    assert "memory: 17.2 of 40 GiB per process (estimated)" in lines[-1]
    assert lines[-1].endswith("sharding full, activation checkpointing full.")
