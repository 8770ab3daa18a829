"""The table says what varied, with the values that were in force."""

from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.training import TrainingRow, training_rows
from accelbench.report.training_tables import training_columns, training_markdown, what_varied
from accelbench.store.records import ParsedLog, TrainRunRecord

DATASET = {"n_samples": 1000, "sequence_length": 64, "why_unknown": None}


def run(batch_size: int = 4, repeat: int = 1, steps: int = 100, **changes: Any) -> TrainRunRecord:
    log = ParsedLog(last_step=steps, steady_rate_samples_per_s=10.0)
    known: dict[str, Any] = {
        "log": log,
        "seed": repeat,
        "lr_factor": 1.0,
        "schedule_factor": 1.0,
        "dataset": DATASET,
    }
    return replace(TrainRunRecord("p", batch_size, repeat, "measured", None), **{**known, **changes})


def rows(*runs: TrainRunRecord) -> list[TrainingRow]:
    return training_rows(runs)


def test_repeats_and_sizes_are_told_apart() -> None:
    scaled = run(16, steps=25, lr_factor=4.0, schedule_factor=0.25)
    found = rows(run(), run(repeat=2), run(repeat=3), scaled)
    assert what_varied(found) == (
        "What varied: between repeats the seed (1–3); between sizes the batch size (4 to 16), the steps (25 to 100), "
        "the learning rates' factor (1 to 4) and the schedule's factor (0.25 to 1)."
    )
    assert what_varied(found) in training_markdown(found, {})


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run()], "no repeats (seed 1)"),
        ([run(), run(repeat=2, seed=1)], "between repeats nothing (seed 1)"),
        ([run(), run(repeat=2, seed=7)], "between repeats the seed (1, 7)"),
        ([run(seed=None), run(repeat=2, seed=None)], "the seeds are not known"),
    ],
)
def test_what_varies_between_repeats(runs: list[TrainRunRecord], said: str) -> None:
    assert what_varied(rows(*runs)) == f"What varied: {said}."


def test_factors_are_columns_only_where_they_are_not_one() -> None:
    assert not [name for name in training_columns(rows(run())) if "×" in name]
    scaled = training_columns(rows(run(), run(16, lr_factor=2.0)))
    assert scaled["learning rates ×"] == [("1", 1.0), ("2", 2.0)]
    assert "schedule's iterations ×" not in scaled


def test_epochs_are_the_samples_trained_on_over_those_of_the_data() -> None:
    [row] = rows(run(steps=500))
    assert (row.epochs, row.dataset_samples) == (2.0, 1000)
    assert training_columns([row])["epochs"] == [("2.00", 2.0)]


def test_no_epochs_without_the_data_and_the_reason_is_said() -> None:
    found = rows(run(dataset={"n_samples": None, "why_unknown": "h5py is not installed where it was trained"}))
    assert found[0].epochs is None
    assert "No epochs for p: h5py is not installed where it was trained." in training_markdown(found, {})


def test_tokens_come_from_the_data_where_neither_trainer_nor_config_says_their_number() -> None:
    [row] = rows(run())
    assert (row.sequence_length, row.tokens_per_s) == (64, 640.0)
    assert rows(run(trainer={"sequence_length": 32}))[0].sequence_length == 32
