"""The sweep in figures: means over completed repeats, and names for what is missing."""

import math
from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.training import TrainingRow, training_rows
from accelbench.config import Training
from accelbench.store.records import EnergyFacts, TrainRunRecord

from .records import log_of

LOG = {
    "last_step": 50,
    "rate_mean_samples_per_s": 9.0,
    "global_rate_samples_per_s": 8.0,
    "steady_rate_samples_per_s": 10.0,
    "processed_seconds": 40.0,
    "processed_samples": 200,
    "final_loss": 3.0,
    "held_out": [{"step": 25, "t_s": None, "loss": 5.0}, {"step": 50, "t_s": None, "loss": 4.0}],
}


def run(repeat: int = 1, platform: str = "p", batch_size: int = 4, **log: Any) -> TrainRunRecord:
    return TrainRunRecord(
        platform,
        batch_size,
        repeat,
        "measured",
        None,
        seed=repeat,
        log=log_of({**LOG, **log}),
        trainer={"sequence_length": 128},
    )


def failed(repeat: int = 1) -> TrainRunRecord:
    return TrainRunRecord("p", 4, repeat, "failed", "out of memory")


def row(*records: TrainRunRecord) -> TrainingRow:
    (only,) = training_rows(records)
    return only


def test_one_run_gives_its_own_figures() -> None:
    found = row(run())
    assert (found.steps, found.rate_samples_per_s, found.global_rate_samples_per_s) == (50, 9.0, 8.0)
    assert (found.total_time_s, found.samples_per_total_s, found.samples_seen) == (40.0, 5.0, 200)
    assert (found.final_loss, found.held_out_loss, found.seeds) == (3.0, 4.0, "1")


def test_repeats_are_averaged_with_the_extremes_of_the_steady_rate() -> None:
    found = row(run(1, steady_rate_samples_per_s=10.0), run(2, steady_rate_samples_per_s=14.0))
    assert (found.steady_rate_samples_per_s, found.steady_rate_lowest, found.steady_rate_highest) == (12.0, 10.0, 14.0)
    assert (found.repeats, found.repeats_planned, found.seeds) == (2, 2, "1, 2")


def test_tokens_per_second_are_steady_samples_times_their_length() -> None:
    assert row(run()).tokens_per_s == 1280


def test_tokens_per_second_of_different_lengths_are_not_mixed() -> None:
    other = TrainRunRecord("p", 4, 2, "measured", None, seed=2, log=log_of(LOG), trainer={"sequence_length": 256})
    assert row(run(), other).tokens_per_s is None


def test_a_failed_repeat_is_named_and_stays_out_of_the_means() -> None:
    found = row(run(1), failed(2))
    assert (found.repeats, found.repeats_planned) == (1, 2)
    assert found.missing == "r2 failed: out of memory"
    assert found.steady_rate_samples_per_s == 10.0


def test_a_size_without_any_run_still_has_its_row() -> None:
    found = row(failed())
    assert (found.repeats, found.repeats_planned) == (0, 1)
    assert (found.steps, found.tokens_per_s, found.samples_per_total_s, found.final_loss) == (None, None, None, None)


def test_a_loss_that_is_no_number_is_shown_as_such() -> None:
    loss = row(run(1, final_loss="nan"), run(2)).final_loss
    assert loss is not None
    assert math.isnan(loss)


def test_a_log_without_a_figure_leaves_it_out() -> None:
    found = row(run(1, steady_rate_samples_per_s=None, held_out=[], processed_seconds=None))
    assert (found.steady_rate_samples_per_s, found.tokens_per_s, found.held_out_loss) == (None, None, None)
    assert (found.total_time_s, found.samples_per_total_s) == (None, None)


def test_rows_stand_in_the_order_of_the_config() -> None:
    records = [run(platform="b", batch_size=8), run(platform="b", batch_size=4), run(platform="a", batch_size=8)]
    assert [(r.platform, r.batch_size) for r in training_rows(records)] == [("b", 8), ("b", 4), ("a", 8)]


def test_samples_per_total_second_measures_the_start_up_too() -> None:
    found = row(run(processed_seconds=100.0))
    assert found.samples_per_total_s == pytest.approx(2.0)
    assert found.steady_rate_samples_per_s == 10.0


# --- what the config tells beside the logs --------------------------------------------------------------------

MODEL = {
    "hidden_size": 128, "num_hidden_layers": 4, "num_heads": 4, "filter_size": 344, "vocab_size": 512,
    "nonlinearity": "swiglu", "max_position_embeddings": 128,
}  # fmt: skip


def told(record: TrainRunRecord, **training: Any) -> TrainingRow:
    peak = training.pop("peak_tflops", None)
    platforms = {"p": {"backend": "torch", "peak_tflops": peak}}
    (only,) = training_rows([record], Training.model_validate({"platforms": platforms, **training}))
    return only


def test_without_a_known_sequence_length_there_are_no_tokens() -> None:
    found = told(replace(run(), trainer={}, model=MODEL))
    assert (found.tokens_per_s, found.model_tflops) == (None, None)
    assert found.why_no_tflops == "the sequence length is not known"


def test_the_config_may_tell_the_sequence_length() -> None:
    assert told(replace(run(), trainer={}, model=MODEL), sequence_length=64).tokens_per_s == 640


def test_the_trainers_own_sequence_length_goes_first() -> None:
    assert told(run(), sequence_length=64).sequence_length == 128


def test_achieved_tflops_come_from_the_params_file_and_the_steady_rate() -> None:
    found = told(replace(run(), model=MODEL))
    matrices, attention = 6 * (922_752 - 512 * 128 - 9 * 128) * 128, 6 * 4 * 128**2 * 128
    assert found.model_tflops == pytest.approx(10.0 * (matrices + attention) / 1e12)
    assert (found.mfu, found.why_no_tflops) == (None, None)


def test_a_params_file_that_is_gone_is_the_reason_for_no_tflops() -> None:
    assert told(run()).why_no_tflops == "the run has no readable params file"


def test_mfu_carries_the_kind_of_its_peak() -> None:
    found = told(replace(run(), model=MODEL), peak_tflops={"value": 2, "kind": "sparse", "source": "data sheet"})
    assert found.mfu == pytest.approx((found.model_tflops or 0) / 2)
    assert (found.mfu_peak_tflops, found.mfu_peak_kind, found.mfu_peak_source) == (2.0, "sparse", "data sheet")


def test_the_trainers_own_utilisation_stands_apart_wherever_it_left_it() -> None:
    for each in (replace(run(), trainer={"flops_utilization": 0.31}), run(flops_utilization=0.31)):
        found = told(each)
        assert (found.flops_utilization, found.mfu) == (0.31, None)


def test_on_several_nodes_only_power_that_others_recorded_is_of_all_of_them() -> None:
    def read(scope: str, by: str) -> EnergyFacts:
        return EnergyFacts(
            scope=scope, read=by, joules=400.0, wall_s=20.0, idle_before_w=None, idle_after_w=None, why=None
        )

    several = replace(run(processed_samples=200), trainer={"nodes": 2})
    for parts, joules in (([read("GPU 0", "energy counter")], None), ([read("two nodes", "power_csv")], 2.0)):
        surroundings: Any = {"energy": parts}
        assert row(replace(several, surroundings=surroundings)).joules_per_sample == joules


def test_a_logs_sequence_length_gives_tokens_per_second() -> None:
    [row] = training_rows([replace(run(sequence_length=256), trainer=None)])
    assert (row.sequence_length, row.tokens_per_s) == (256, 2560.0)


PHASES = {"setup": 3.0, "queue": 50.0, "compile": 5.0, "staging": None, "train": 20.0, "eval": 2.0, "other": 0.0}


def test_a_projected_run_has_its_own_start_up_without_the_queue() -> None:
    found = told(run(phases_s=PHASES, wall_s=80.0), project_steps=1000)
    assert (found.projected_steps, found.projected_time_s) == (1000, 8.0 + 4000 / 10.0)
    assert found.projected_rate_samples_per_s == pytest.approx(4000 / 408)


def test_without_phases_nothing_is_projected() -> None:
    found = told(run(), project_steps=1000)
    assert (found.projected_time_s, found.why_no_projection) == (None, "their logs do not show a complete start-up")


def test_a_log_that_begins_late_hides_start_up_and_tells_no_share_of_its_own() -> None:
    late = run(phases_s=PHASES, wall_s=80.0, processed_covers="fit", processed_seconds=120.0)
    found = told(late, project_steps=1000)
    assert (found.projected_time_s, found.why_no_projection) == (None, "their logs do not show a complete start-up")
    assert found.not_training_share == pytest.approx(1 - 20 / 120)


def test_the_share_that_is_not_training_counts_queue_and_evaluation() -> None:
    assert told(run(phases_s=PHASES, wall_s=80.0)).not_training_share == pytest.approx(0.75)


def resumed(**log: Any) -> TrainRunRecord:
    """A run of 50 steps that was interrupted after step 30 and went on from step 20, 500 s later."""
    own = {"resumed_from_steps": [20], "parts": 2, "between_parts_s": 500.0, "wall_s": 600.0}
    phases = {"setup": 10.0, "train": 60.0, "other": 500.0}
    return run(**{**own, "processed_samples": 120, "phases_s": phases, **log})


def test_a_resumed_run_counts_all_its_parts_and_not_the_time_between_them() -> None:
    found = row(resumed())
    assert (found.total_time_s, found.samples_seen, found.samples_per_total_s) == (100.0, 200, 2.0)
    assert found.not_training_share == pytest.approx(0.4)
    assert (found.resumed_from_steps, row(run()).resumed_from_steps) == ("20", None)


def test_a_resumed_run_whose_log_has_no_times_has_no_total() -> None:
    assert row(resumed(wall_s=None)).total_time_s is None


def test_the_start_up_of_a_resumed_run_projects_nothing() -> None:
    (found,) = training_rows([resumed()], Training(project_steps=1000))
    assert found.projected_time_s is None
