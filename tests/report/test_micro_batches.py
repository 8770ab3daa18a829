"""With the micro batch or the sequence length as an axis nothing is pooled over it, and it is compared."""

from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.sweep import micro_batches, sweeps_of
from accelbench.analysis.training import TrainingRow, training_rows
from accelbench.report.sentences_training import (
    length_sentence,
    micro_batch_sentence,
    not_training,
    rates,
    rates_differ,
)
from accelbench.report.training_tables import training_markdown
from accelbench.store.records import ParsedLog, TrainRunRecord

from ..analysis.records import log_of

LABELS = {"cs3": "CS-3"}
RATES = {(256, 64): 30.0, (256, 128): 40.0, (512, 64): 33.0, (512, 128): 42.0}


def run(batch_size: int, micro: int | None, repeat: int = 1, **changes: Any) -> TrainRunRecord:
    rate = RATES.get((batch_size, micro or 0), 30.0) + repeat / 10
    steps = [{"step": n, "t_s": float(n), "loss": 9.0 - n / 10 - (micro or 0) / 1000} for n in (5, 10, 15, 20)]
    log = {"steady_rate_samples_per_s": rate, "last_step": 20, "steps": steps}
    made = TrainRunRecord("cs3", batch_size, repeat, "measured", None, log=log_of(log), micro_batch_size=micro)
    return replace(made, **changes)


def swept(repeats: int = 2) -> list[TrainRunRecord]:
    return [run(*size, repeat) for size in RATES for repeat in range(1, repeats + 1)]


def rows(runs: list[TrainRunRecord]) -> list[TrainingRow]:
    return training_rows(runs)


def test_runs_that_differ_in_micro_batch_are_rows_of_their_own() -> None:
    found = rows(swept())
    assert [(row.batch_size, row.micro_batch_size, row.repeats) for row in found] == [(*size, 2) for size in RATES]


def test_the_micro_batch_is_a_column_when_it_is_known() -> None:
    assert "| micro batch |" in training_markdown(rows(swept()), LABELS)
    assert "micro batch" not in training_markdown(rows([run(256, None)]), LABELS)
    picked = run(256, None, log=log_of({"micro_batch": 32, "last_step": 20}))
    assert "32 (logged)" in training_markdown(rows([picked]), LABELS)


def test_batch_sizes_are_compared_within_one_micro_batch() -> None:
    said = rates(rows(swept()), LABELS)
    assert "CS-3, micro batch 64: over 2 batch sizes the steady rate was between 30.1 samples/s (batch 256)" in said
    assert "CS-3, micro batch 128: over 2 batch sizes" in said
    assert rates_differ(sweeps_of(swept(3)), LABELS).count("Welch's ANOVA on the logarithms of 6 rates") == 2


def test_micro_batches_are_compared_at_each_batch_size_with_the_spread_of_repeats() -> None:
    found = rows(swept())
    assert [(size.batch_size, len(size.rows)) for size in micro_batches(found)] == [(256, 2), (512, 2)]
    assert micro_batch_sentence(found, LABELS) == (
        "CS-3: micro batches at one batch size differed by up to 33 % in steady rate (batch 256: 30.1 samples/s at "
        "micro batch 64, 40.2 samples/s at micro batch 128); repeats of one differed by up to 0.3 % (no test is made)."
    )


def of_lengths() -> list[TrainRunRecord]:
    """Runs of two lengths: the longer samples are fewer per second, and more tokens."""
    rates = {1024: 30.0, 4096: 10.0}
    return [
        replace(
            run(256, None, repeat),
            log=log_of({"steady_rate_samples_per_s": rate + repeat / 10, "last_step": 20}),
            length=length,
            trainer={"sequence_length": length},
        )
        for length, rate in rates.items()
        for repeat in (1, 2)
    ]


def test_sequence_lengths_are_rows_of_their_own_and_compared_in_tokens_per_second() -> None:
    found = rows(of_lengths())
    assert [(row.length, row.repeats, row.tokens_per_s) for row in found] == [
        (1024, 2, pytest.approx(30.15 * 1024)), (4096, 2, pytest.approx(10.15 * 4096))
    ]  # fmt: skip
    assert length_sentence(found, LABELS) == (
        "CS-3: sequence lengths at one batch size differed by up to 35 % in tokens/s (batch 256: 30,874 tokens/s at "
        "1,024 tokens per sample, 41,574 tokens/s at 4,096 tokens per sample); repeats of one differed by up to 1.0 % "
        "(no test is made)."
    )
    assert micro_batch_sentence(found, LABELS) == length_sentence(rows(swept()), LABELS) == ""
    assert "| sequence length |" in training_markdown(found, LABELS)
    assert "CS-3, 4,096 tokens: over 1 batch size" not in rates(found, LABELS)
    assert [(sweep.length, sweep.rated_sizes) for sweep in sweeps_of(of_lengths())] == [(1024, 1), (4096, 1)]


def test_one_run_each_says_that_nothing_is_known_of_the_spread() -> None:
    assert "one run each: no uncertainty can be given" in micro_batch_sentence(rows(swept(1)), LABELS)


def test_without_an_axis_there_is_no_comparison() -> None:
    alone = rows([run(256, 64), run(512, 64)])
    assert micro_batch_sentence(alone, LABELS) == ""


def test_the_loss_to_reach_and_the_median_share_are_those_of_one_micro_batch() -> None:
    targets = {row.micro_batch_size: row.target for sweep in sweeps_of(swept()) for row in sweep.reached}
    assert targets[64] > targets[128]
    wasted = ParsedLog(phases_s={"train": 10.0, "compile": 90.0}, wall_s=100.0)
    busy = ParsedLog(phases_s={"train": 90.0, "compile": 10.0}, wall_s=100.0)
    runs = [run(256, 64, n, log=wasted) for n in (1, 2, 3)] + [run(256, 128, n, log=busy) for n in (1, 2, 3, 4)]
    assert not_training(sweeps_of(runs), LABELS) == ""
    assert "CS-3, batch 256, micro batch 128, repeat 9: 90 %" in not_training(
        sweeps_of([*runs, run(256, 128, 9, log=wasted)]), LABELS
    )
