"""Samples and seconds to a loss that all runs reached."""

from dataclasses import replace

import pytest

from accelbench.analysis.sweep import losses_reached
from accelbench.store.records import TrainRunRecord

from .records import log_of


def run(batch_size: int, losses: list[float | str], repeat: int = 1) -> TrainRunRecord:
    steps = [{"step": n, "t_s": 7.0 + n, "loss": loss} for n, loss in enumerate(losses, start=1)]
    log = {"steps": steps, "steady_rate_samples_per_s": float(batch_size)}
    return TrainRunRecord("p", batch_size, repeat, "measured", None, log=log_of(log))


def test_the_target_is_the_highest_last_mean_and_all_reach_it() -> None:
    slow, fast = run(4, [9.0, 8.0, 7.0, 6.0, 5.0]), run(8, [9.0, 7.0, 5.0, 3.0, 1.0])
    found = losses_reached([slow, fast])
    assert [row.target for row in found] == [6.0, 6.0]
    assert [row.samples for row in found] == [20, 32]


def test_seconds_count_from_the_beginning_of_training() -> None:
    found = losses_reached([run(4, [9.0, 8.0, 7.0, 6.0, 5.0]), run(8, [9.0, 7.0, 5.0, 3.0, 1.0])])
    assert [row.seconds for row in found] == [pytest.approx(5.0), pytest.approx(4.0)]


def test_a_resumed_run_has_samples_but_no_seconds_to_a_loss() -> None:
    once, resumed = (run(4, [9.0, 8.0, 7.0, 6.0, 5.0], repeat) for repeat in (1, 2))
    resumed = replace(resumed, log=replace(resumed.logged, resumed_from_steps=(2,)))
    assert [(row.samples, row.seconds) for row in losses_reached([once, resumed])] == [(20, 5.0), (20, None)]


def test_one_lucky_line_is_not_a_loss_reached() -> None:
    found = losses_reached([run(4, [9.0, 9.0, 1.0, 9.0, 9.0, 3.0, 3.0, 3.0]), run(4, [3.0, 3.0, 3.0], repeat=2)])
    assert [row.samples for row in found] == [32, 12]


def test_a_run_that_diverged_sets_no_target() -> None:
    found = losses_reached([run(4, [3.0, 3.0, 3.0]), run(8, [2.0, 2.0, 2.0]), run(16, [9.0, "nan", "nan"])])
    assert [(row.target, row.samples) for row in found] == [(3.0, 12), (3.0, 24), (3.0, None)]


def test_a_single_run_has_nobody_to_share_a_target_with() -> None:
    assert losses_reached([run(4, [3.0, 3.0, 3.0])]) == []


def test_too_few_losses_are_no_mean() -> None:
    assert losses_reached([run(4, [3.0, 3.0]), run(8, [3.0, 3.0, 3.0])]) == []
