"""Params files: what ModelZoo would find late, or never, is said before a run waits for its machine."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from accelbench.training.params.check import MICRO_BATCH, check_params

ROOT = Path(__file__).parents[3]
LOADER = "trainer.fit.train_dataloader"
CLUSTER = "trainer.init.backend.cluster_config"


def found(init: Any = None, loader: Any = None, **stages: Any) -> list[tuple[str, str]]:
    fit = {"train_dataloader": loader or {"batch_size": 1}}
    return check_params({"trainer": {"init": init or {}, "fit": fit, **stages}})  # type: ignore[return-value]


def on_csx(**cluster: Any) -> Any:
    return {"backend": {"backend_type": "CSX", "cluster_config": cluster}}


def map_loader(**more: Any) -> Any:
    return {"data_processor": "GptHDF5MapDataProcessor", "batch_size": 4, "data_dir": ".", **more}


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_base_file_has_no_error(path: Path) -> None:
    findings = check_params(yaml.safe_load(path.read_text()))
    assert all(severity == "warning" and "isn't on this machine" in sentence for severity, sentence in findings)


def test_a_file_that_says_little_is_fine() -> None:
    assert found() == found({"backend": None, "loop": None, "callbacks": None}) == []


# --- backend ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "severity", "sentence"),
    [
        ({"num_csx": 2}, "error", f"trainer.init.backend.num_csx does nothing; write {CLUSTER}.num_csx"),
        ({"job_labels": ["a=b"]}, "error", f"trainer.init.backend.job_labels does nothing; write {CLUSTER}.job_labels"),
        ({"wholly_unknown": 1}, "error",
         "trainer.init.backend.wholly_unknown does nothing: ModelZoo ignores it silently; remove it"),
        ({"compile_only": True, "backend_type": "CPU"}, "warning",
         "trainer.init.backend.compile_only does nothing with backend_type CPU"),
        ({"backend_type": "TPU"}, "error", "trainer.init.backend.backend_type is TPU; it must be CSX, CPU or GPU"),
        ({"cluster_config": {"num_csk": 2}}, "error", f"{CLUSTER}.num_csk is not a key; did you mean num_csx?"),
    ],
)  # fmt: skip
def test_a_key_that_does_nothing_is_named(backend: Any, severity: str, sentence: str) -> None:
    assert found({"backend": backend}) == [(severity, sentence)]


def test_all_keys_of_a_backend_are_known() -> None:
    cluster = {"mount_dirs": ["/d"], "job_priority": "p2"}
    keys = {"compile_dir": "d", "compile_only": True, "validate_only": False, "artifact_dir": "a"}
    assert found({"backend": {"backend_type": "csx", "cluster_config": cluster, **keys}}) == []


@pytest.mark.parametrize("label", ["name=llama2_7b", "a=b", "A.b-c_1=9", "k=" + "v" * 63])
def test_a_good_job_label_passes(label: str) -> None:
    assert found(on_csx(job_labels=[label])) == []


@pytest.mark.parametrize("label", ["name", "a=b=c", "=b", "a=", "a b=c", "-a=b", "a=b-", "k=" + "v" * 64, "a=b\n", 3])
def test_a_bad_job_label_is_an_error(label: Any) -> None:
    [(severity, sentence)] = found(on_csx(job_labels=["good=1", label]))
    assert severity == "error"
    assert sentence.startswith(f"{CLUSTER}.job_labels[1] is {label!r}; ")


def test_job_labels_must_be_a_list() -> None:
    assert found(on_csx(job_labels="a=b")) == [("error", f"{CLUSTER}.job_labels must be a list of key=value")]


# --- counts -----------------------------------------------------------------------------------------------------

COUNTS = [
    ("loop", "max_steps"), ("loop", "num_steps"), ("loop", "eval_steps"), ("loop", "grad_accum_steps"),
    ("loop", "steps_per_epoch"), ("logging", "log_steps"),
]  # fmt: skip


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "3", True, [4]])
@pytest.mark.parametrize(("section", "key"), COUNTS)
def test_a_count_must_be_an_integer_of_1_or_more(section: str, key: str, value: Any) -> None:
    assert found({section: {key: value}}) == [
        ("error", f"trainer.init.{section}.{key} is {value!r}; it must be an integer, 1 or more")
    ]


@pytest.mark.parametrize("value", [0, "8", True])
@pytest.mark.parametrize("key", ["num_csx", "num_workers_per_csx", "job_time_sec"])
def test_a_count_of_the_cluster_must_be_an_integer_of_1_or_more(key: str, value: Any) -> None:
    assert found(on_csx(**{key: value})) == [
        ("error", f"{CLUSTER}.{key} is {value!r}; it must be an integer, 1 or more")
    ]


@pytest.mark.parametrize("value", [None, 1, 10**9])
def test_a_count_may_be_left_to_modelzoo(value: Any) -> None:
    assert found({"loop": {"max_steps": value}}) == found(on_csx(job_time_sec=value)) == []


@pytest.mark.parametrize(
    ("size", "good"),
    [("auto", True), ("explore", True), ("none", True), (None, True), (4, True), ({"explore": {"min": 1}}, True),
     (0, False), (-2, False), (1.5, False), (True, False)],
)  # fmt: skip
def test_a_micro_batch_is_a_count_or_a_word(size: Any, good: bool) -> None:
    findings = found({"callbacks": ["CheckLoss", {"ScopedTrainFlags": {MICRO_BATCH: size}}]})
    assert [severity for severity, _ in findings] == ([] if good else ["error"])
    assert all(f"callbacks[1].ScopedTrainFlags.{MICRO_BATCH} is {size}" in sentence for _, sentence in findings)


def test_too_few_progress_lines_for_a_rate_are_a_warning() -> None:
    [(severity, sentence)] = found({"loop": {"max_steps": 13}, "logging": {"log_steps": 10}})
    assert severity == "warning"
    assert sentence == (
        "trainer.init.logging.log_steps is 10 in 13 steps: too few progress lines for a rate; set training.log_steps "
        "(or this size's log_steps) to 2 or less"
    )
    assert found({"loop": {"max_steps": 20}, "logging": {"log_steps": 10}}) == []


def test_what_ends_a_run_before_its_steps_is_named() -> None:
    assert [severity for severity, _ in found({"loop": {"max_steps": 9, "num_steps": 8}})] == ["warning"]
    assert found({"loop": {"max_steps": 9, "num_steps": 9}}) == []
    assert [severity for severity, _ in found({"loop": {"num_epochs": 1}})] == ["warning"]
    assert [severity for severity, _ in found({"loop": {"num_epochs": 1, "num_steps": 1}})] == ["error", "warning"]


def test_checkpoints_may_follow_a_schedule() -> None:
    assert found({"checkpoint": {"steps": {"start": 1}}}) == found({"checkpoint": {"steps": None}}) == []
    assert found({"checkpoint": {"steps": 0}}) == []  # none
    assert [severity for severity, _ in found({"checkpoint": {"steps": -1}})] == ["error"]


# --- data -------------------------------------------------------------------------------------------------------


def test_a_batch_has_a_sample_for_every_system() -> None:
    sentence = f"{LOADER}.batch_size is 3; it must be at least num_csx, which is 4"
    assert found(on_csx(num_csx=4), {"batch_size": 3}) == [("error", sentence)]
    assert found(on_csx(num_csx=4), {"batch_size": 5}) == []


def test_a_streamed_batch_is_shared_out_evenly() -> None:
    streamed = {"data_processor": "GptHDF5DataProcessor", "data_dir": ".", "batch_size": 5, "shuffle": False}
    [(severity, sentence)] = found(on_csx(num_csx=2), streamed)
    assert (severity, sentence) == (
        "error", f"{LOADER}.batch_size is 5; GptHDF5DataProcessor takes multiples of num_csx, which is 2"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("processor", "key", "severity", "remedy"),
    [
        ("GptHDF5MapDataProcessor", "shufle", "error", "did you mean shuffle?"),
        ("GptHDF5MapDataProcessor", "shuffle_buffer", "error", "GptHDF5MapDataProcessor"),
        ("GptHDF5DataProcessor", "num_samples", "error", "GptHDF5DataProcessor"),
        ("GptHDF5MapDataProcessor", "repeat", "warning", "deprecated"),
        ("GptHDF5MapDataProcessor", "vocab_size", "warning", "deprecated"),
        ("GptHDF5DataProcessor", "use_multiple_workers", "warning", "deprecated"),
    ],
)
def test_a_key_that_a_data_loader_does_not_take_is_named(processor: str, key: str, severity: str, remedy: str) -> None:
    [(found_severity, sentence)] = found(loader=map_loader(data_processor=processor, shuffle=False, **{key: 1}))
    assert found_severity == severity
    assert sentence.startswith(f"{LOADER}.{key} is ") and remedy in sentence


def test_a_key_that_a_data_loader_must_have_is_missed() -> None:
    findings = found(loader={"data_processor": "GptHDF5DataProcessor", "batch_size": 4, "shuffle": None})
    assert findings == [
        ("error", f"{LOADER}.{key} is missing; GptHDF5DataProcessor needs it") for key in ("data_dir", "shuffle")
    ]


def test_the_keys_of_another_data_processor_are_its_own() -> None:
    assert found(loader={"data_processor": "MyProcessor", "batch_size": 1, "anything": 1}) == []


def test_loaders_of_all_stages_are_checked_as_modelzoo_does() -> None:
    bad = map_loader(extra=1)
    findings = found(
        fit={"train_dataloader": bad, "val_dataloader": [bad]},
        validate={"val_dataloader": bad},
        validate_all={"val_dataloaders": [bad, bad]},
    )
    assert [sentence.split(".extra")[0] for _, sentence in findings] == [
        LOADER, "trainer.fit.val_dataloader[0]", "trainer.validate.val_dataloader",
        "trainer.validate_all.val_dataloaders[0]", "trainer.validate_all.val_dataloaders[1]",
    ]  # fmt: skip


@pytest.mark.parametrize("more", [{"data_dir": None}, {"mixture": [{"data_dir": ".", "weight": 1}]}])
def test_data_come_from_one_folder_or_a_mixture(more: Any) -> None:
    assert found(loader=map_loader(**more)) == [
        ("error", f"{LOADER} must have data_dir or mixture: exactly one of the two")
    ]


def test_a_folder_that_is_not_here_is_a_warning_since_another_machine_may_train(tmp_path: Path) -> None:
    sentence = f"{LOADER}.data_dir: {tmp_path}/no isn't on this machine; the machine that trains must have it"
    assert found(loader=map_loader(data_dir=[str(tmp_path), f"{tmp_path}/no"])) == [("warning", sentence)]


# --- trainers ---------------------------------------------------------------------------------------------------


def test_every_trainer_of_a_list_is_checked() -> None:
    bad = {"trainer": {"init": {"loop": {"max_steps": 0}}}}
    findings = check_params({"trainer": [bad, bad, 3]})
    assert [sentence.split(" ")[0] for _, sentence in findings] == [
        "trainer[0].trainer.init.loop.max_steps", "trainer[1].trainer.init.loop.max_steps", "trainer[2].trainer",
        "trainer",
    ]  # fmt: skip
    assert findings[-1][0] == "warning"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text("a=", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["trainer", "init", "fit", "backend", "cluster_config", "job_labels", "loop", "max_steps",
                         "callbacks", "ScopedTrainFlags", "train_dataloader", "batch_size", "data_dir"]), inner),
    max_leaves=30,
)  # fmt: skip


@given(st.fixed_dictionaries({"trainer": st.fixed_dictionaries({"init": ANYTHING, "fit": ANYTHING}) | ANYTHING}))
def test_checking_never_raises_and_says_one_line_each(params: Any) -> None:
    for severity, sentence in check_params(params):
        assert severity in ("error", "warning")
        assert sentence and not sentence.endswith(".")


def test_a_flag_among_the_keys_of_the_backend_is_a_warning() -> None:
    """As in vit_base of ModelZoo 2.10.0."""
    [(severity, sentence)] = found({"backend": {"backend_type": "CSX", "csx.debug.implicit_cast_cb16_to_fp32": True}})
    assert severity == "warning"
    assert sentence.startswith("trainer.init.backend.csx.debug.implicit_cast_cb16_to_fp32 may do nothing: ")


@pytest.mark.parametrize(("frequency", "said"), [(1.0, True), (10, True), (None, False), (0, False)])
def test_an_evaluation_without_data_is_said_not_to_take_place(frequency: Any, said: bool) -> None:
    sentences = [sentence for _, sentence in found({"loop": {"eval_frequency": frequency}})]
    assert [sentence.endswith("nothing will be evaluated") for sentence in sentences] == [True] * said


def test_the_missing_folders_of_a_mixture_are_one_line(tmp_path: Path) -> None:
    mixture = [{"data_dir": str(tmp_path / name), "weight": 1} for name in ("a", "b", "c")]
    (tmp_path / "b").mkdir()
    loader = {"data_processor": "GptHDF5MapDataProcessor", "batch_size": 4, "mixture": mixture}
    assert found(loader=loader) == [
        (
            "warning",
            f"{LOADER}.mixture: {tmp_path}/a, {tmp_path}/c aren't on this machine; the machine that trains must have "
            "them",
        )
    ]
