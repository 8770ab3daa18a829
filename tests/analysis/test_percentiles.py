"""Percentiles where n reaches; the maximum and the reason elsewhere."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr, ndtri

from accelbench.analysis.intervals import Observations
from accelbench.analysis.percentiles import percentile, percentiles, ranks, requests_needed

from .simulated import Asked, Observation, crossed, latencies, nested, observed


def spread_out(values: list[float]) -> Observations:
    return observed(Observation(value, n, n % 3) for n, value in enumerate(values))


@pytest.mark.parametrize(("percent", "n"), [(50, 6), (90, 36), (95, 72), (99, 368)])
def test_so_many_independent_requests_are_needed(percent: float, n: int) -> None:
    assert requests_needed(percent) == n
    draw = np.random.default_rng(1)
    for there, reached in ((max(n, 10), True), (n - 1, False)):
        found = percentile(spread_out(list(draw.uniform(1, 2, there))), percent)
        assert found is not None
        assert (found.low is not None) is reached


@pytest.mark.parametrize(("share", "n"), [(0.5, 6), (0.5, 50), (0.9, 36), (0.95, 72), (0.95, 500)])
def test_each_end_is_missed_with_at_most_2_5_percent(share: float, n: int) -> None:
    first, last = ranks(share, n, n)
    assert bdtr(first - 1, n, share) <= 0.025
    assert 1 - bdtr(last - 1, n, share) <= 0.025 + 1e-12


def test_too_few_give_the_maximum_and_the_reason() -> None:
    found = percentile(spread_out([1.0, 2.0, 9.0] * 5), 95)
    assert found is not None
    assert (found.value, found.low, found.max) == (None, None, 9.0)
    assert found.why_not == "the 95th percentile needs 72 independent requests, 15 count as 15"


def test_few_passages_are_not_enough_however_often_they_are_asked() -> None:
    found = percentile(observed(Observation(1.0 + n, n % 9, n % 3) for n in range(500)), 95)
    assert found is not None and found.why_not == "9 passages: a percentile needs at least 10"


def test_requests_that_repeat_their_passage_are_worth_less() -> None:
    found = percentile(observed(Observation(1.0 + n % 20, n % 20, n % 3) for n in range(400)), 95)
    assert found is not None and found.why_not is not None and found.n_effective is not None
    assert found.n_effective < 30


def test_failures_count_as_infinite() -> None:
    found = percentile(spread_out([1.0 + n / 100 for n in range(90)] + [math.inf] * 10), 95)
    assert found is not None
    assert (found.value, found.max) == (math.inf, math.inf)
    assert percentile(spread_out([]), 95) is None


@given(st.lists(st.floats(0.1, 100), min_size=40, max_size=60), st.floats(0.01, 100))
def test_another_unit_changes_only_the_scale(values: list[float], factor: float) -> None:
    one, other = (percentile(spread_out([f * value for value in values]), 90) for f in (1, factor))
    assert one is not None and other is not None
    if one.value is not None and one.low is not None and other.value is not None and other.low is not None:
        assert other.value == pytest.approx(factor * one.value)
        assert other.low == pytest.approx(factor * one.low)


@given(st.lists(st.floats(0.1, 100), min_size=40, max_size=60))
def test_the_percentile_lies_in_its_interval_and_rises_with_the_percentage(values: list[float]) -> None:
    found = [percentile(spread_out(values), percent) for percent in (50, 75, 90)]
    there = [each.value for each in found if each and each.value is not None]
    assert there == sorted(there)
    for each in found:
        if each and each.low is not None and each.high is not None and each.value is not None:
            assert each.low <= each.value <= each.high


@pytest.mark.parametrize(
    ("percent", "asked"),
    [(50, nested(5, 3)), (90, nested(12, 3)), (95, nested(24, 3)), (95, nested(20, 5)), (95, crossed(20, 3, 4))],
    ids=["p50 of 15", "p90 of 36", "p95 of 72", "p95 of 100 in 5 rounds", "p95 of 20 passages, 12 times each"],
)
def test_the_interval_covers_at_the_smallest_n(percent: float, asked: list[Asked]) -> None:
    draw, simulations, given_, covered = np.random.default_rng(6), 500, 0, 0
    truth = math.exp(ndtri(percent / 100) * math.sqrt(0.1**2 + 0.15**2 + 0.3**2))
    for _ in range(simulations):
        found = percentile(latencies(draw, asked, 0.1, 0.15, 0.3), percent)
        assert found is not None
        if found.low is not None and found.high is not None:
            given_ += 1
            covered += found.low <= truth <= found.high
    assert given_ > 0.9 * simulations
    assert 0.93 <= covered / given_ <= 0.995  # order statistics overshoot, all the more where rounds are alike


def test_all_percentiles_together_are_those_one_by_one() -> None:
    draw = np.random.default_rng(2)
    asked = latencies(draw, crossed(20, 3, 8), 0.1, 0.15, 0.3)
    found = percentiles(asked)
    assert found is not None
    assert (found.p50, found.p90, found.p95, found.p99) == tuple(percentile(asked, p) for p in (50, 90, 95, 99))
    assert found.p50.low is not None and found.p99.value is None
    assert percentiles(spread_out([])) is None
