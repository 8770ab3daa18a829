"""A sweep as a whole: sizes against repeats, the line through the totals, and runs that mostly did not train."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accelbench.analysis.sweep import outliers, rate_spread, sweeps_of, total_time_line
from accelbench.store.records import ParsedLog, TrainRunRecord

PUBLISHED = {512: (102_400, 4151.0), 1024: (204_800, 7394.0), 2048: (409_600, 13_866.0)}


def run(batch_size: int, repeat: int = 1, **log: Any) -> TrainRunRecord:
    return TrainRunRecord("p", batch_size, repeat, "measured", None, log=ParsedLog(**log))


def sweep(rates: dict[int, list[float]]) -> list[TrainRunRecord]:
    return [run(size, n, steady_rate_samples_per_s=rate) for size, own in rates.items() for n, rate in enumerate(own)]


def test_sizes_far_apart_differ() -> None:
    found = rate_spread(sweep({4: [10.0, 10.1, 10.05], 8: [20.0, 20.2, 20.1]}))
    assert found is not None and found.p is not None
    assert (found.sizes, found.runs) == (2, 6)
    assert found.p < 0.01
    assert found.between == pytest.approx(1.0, rel=0.01)
    assert found.within == pytest.approx(0.01)


def test_sizes_as_far_apart_as_repeats_do_not_differ() -> None:
    found = rate_spread(sweep({4: [10.0, 11.0, 10.4], 8: [10.1, 11.1, 10.5]}))
    assert found is not None and found.p is not None
    assert found.p > 0.5


@given(st.floats(0.01, 1000))
def test_the_unit_of_the_rate_does_not_matter(unit: float) -> None:
    rates = {4: [10.0, 11.0, 10.3], 8: [13.0, 12.5, 12.9], 16: [14.0, 15.0, 14.1]}
    plain, scaled = rate_spread(sweep(rates)), rate_spread(sweep({k: [unit * r for r in v] for k, v in rates.items()}))
    assert plain is not None and scaled is not None
    assert scaled.p == pytest.approx(plain.p, rel=1e-6)


def test_the_test_of_sizes_is_welchs() -> None:
    rates = {4: [10.0, 11.0, 10.3], 8: [13.0, 12.5, 12.9, 12.2], 16: [14.0, 15.0, 14.1]}
    found, expected = rate_spread(sweep(rates)), stats.f_oneway(*map(np.log, rates.values()), equal_var=False)
    assert found is not None
    assert (found.f, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)


def test_one_run_each_can_not_be_compared() -> None:
    assert rate_spread(sweep({4: [10.0], 8: [20.0]})) is None
    assert rate_spread(sweep({4: [10.0, 11.0], 8: [20.0]})) is None


def test_identical_repeats_have_no_test() -> None:
    found = rate_spread(sweep({4: [10.0] * 3, 8: [20.0] * 3}))
    assert found is not None
    assert (found.f, found.p, found.within) == (None, None, 0.0)


def test_a_failed_run_and_a_rate_that_is_none_stay_out() -> None:
    failed = TrainRunRecord("p", 8, 9, "failed", "out of memory")
    found = rate_spread(
        [*sweep({4: [10.0, 10.1, 10.05], 8: [20.0, 20.2, 20.1]}), failed, run(8, 8, steady_rate_samples_per_s=None)]
    )
    assert found is not None
    assert found.runs == 6


def totals(repeats: int, **log: Any) -> list[TrainRunRecord]:
    return [
        run(size, repeat, processed_samples=samples, processed_seconds=seconds, **log)
        for size, (samples, seconds) in PUBLISHED.items()
        for repeat in range(repeats)
    ]


def test_the_line_through_the_published_totals() -> None:
    found = total_time_line(totals(2))
    assert found is not None
    assert (found.runs, found.sizes) == (6, 3)
    assert found.start_s == pytest.approx(915, abs=3)
    assert found.rate_samples_per_s == pytest.approx(31.62, abs=0.02)
    assert found.furthest_s < 3


def test_the_queue_is_no_part_of_the_line() -> None:
    plain, queued = total_time_line(totals(2)), total_time_line(totals(2, phases_s={"queue": 100.0}))
    assert plain is not None and queued is not None
    assert queued.start_s == pytest.approx(plain.start_s - 100)


def test_a_line_needs_two_repeats_of_three_sizes() -> None:
    assert total_time_line(totals(1)) is None
    assert total_time_line([r for r in totals(2) if r.batch_size != 512]) is None


def test_totals_that_fall_with_samples_have_no_line() -> None:
    logs = [{"processed_samples": n, "processed_seconds": 100.0 - n} for n in (10, 20, 30)]
    assert total_time_line([run(n, r, **log) for n, log in enumerate(logs) for r in (1, 2)]) is None


def shares(*not_training: float) -> list[TrainRunRecord]:
    return [
        run(2**place, wall_s=100.0, phases_s={"train": 100 * (1 - share), "queue": 60 * share, "compile": 40 * share})
        for place, share in enumerate(not_training)
    ]


def test_a_run_that_mostly_queued_stands_out_with_its_phases() -> None:
    (found,) = outliers(shares(0.82, 0.26, 0.16, 0.13))
    assert (found.batch_size, found.median_share) == (1, pytest.approx(0.21))
    assert list(found.phases_s) == ["queue", "compile"]


def test_a_sweep_of_short_runs_has_no_outlier() -> None:
    assert outliers(shares(0.8, 0.75, 0.7)) == []


def test_a_small_share_stands_out_from_nothing() -> None:
    assert outliers(shares(0.45, 0.1, 0.1)) == []


def test_two_runs_have_no_median_to_stand_out_from() -> None:
    assert outliers(shares(0.9, 0.1)) == []


def test_a_log_without_times_is_judged_by_its_totals() -> None:
    by_totals = run(256, processed_samples=51_200, processed_seconds=8615.0, global_rate_samples_per_s=32.86)
    (found,) = outliers([*shares(0.2, 0.1), by_totals])
    assert found.share == pytest.approx(0.82, abs=0.005)
    assert found.phases_s == {}


def test_the_totals_of_old_releases_cover_training_alone_and_tell_no_share() -> None:
    old = {"processed_samples": 51_200, "processed_seconds": 8615.0, "global_rate_samples_per_s": 32.86}
    assert outliers([*shares(0.2, 0.1), run(256, **old, processed_covers="train_loop")]) == []
    assert total_time_line(totals(2, processed_covers="train_loop")) is None


def test_a_resumed_run_is_no_point_of_the_line() -> None:
    assert total_time_line(totals(2, resumed_from_steps=(100,))) is None


def test_each_platform_is_a_sweep_of_its_own_with_all_that_its_sizes_say() -> None:
    rated = sweep({4: [10.0, 10.1, 10.05], 8: [20.0, 20.2, 20.1]})
    busy = replace(rated[0], platform="q", host_activity={"share_of_others": 0.8, "steal_share": 0.0})
    one, other = sweeps_of([*rated, busy])
    assert (one.platform, one.rated_sizes, one.busy_runs, one.spread) == ("p", 2, 0, rate_spread(rated))
    assert (other.platform, other.rated_sizes, other.busy_runs, other.spread) == ("q", 1, 1, None)
