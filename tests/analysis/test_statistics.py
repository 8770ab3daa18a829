"""Estimates that keep their promises: intervals that cover, ratios that are found, and no interval from too little."""

import math
import random
import statistics
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accelbench.analysis.intervals import Estimate, Observations, compare_paired, describe, geometric_mean

from .simulated import Asked, Observation, crossed, latencies, nested, observed

positive = st.floats(1e-3, 1e3)
alike = st.floats(0.5, 2.0)  # so near each other that none of them is a straggler


def observations(values: list[float], passages: int, rounds: int) -> Observations:
    return observed(Observation(value, n % passages, n % rounds) for n, value in enumerate(values))


# --- descriptions -------------------------------------------------------------------------------------------


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    described = describe([4.0, 1.0, 2.0, 8.0])
    assert described is not None
    assert (described.n, described.mean, described.median, described.min, described.max) == (4, 3.75, 3.0, 1.0, 8.0)


def test_missing_values_are_left_out_and_none_describes_nothing() -> None:
    described = describe([None, 2.0])
    assert described is not None
    assert described.n == 1
    assert describe([None]) is None
    assert describe([]) is None


@given(st.lists(positive, min_size=1))
def test_mean_and_median_lie_between_the_extremes(values: list[float]) -> None:
    described = describe(values)
    assert described is not None
    assert described.min <= described.median <= described.max
    assert described.min <= described.mean * (1 + 1e-12)
    assert described.mean <= described.max * (1 + 1e-12)


# --- when there is an interval ------------------------------------------------------------------------------


@pytest.mark.parametrize(("passages", "rounds", "said"), [(5, 3, True), (4, 3, False), (5, 2, False), (20, 1, False)])
def test_an_interval_takes_5_passages_and_3_rounds(passages: int, rounds: int, said: bool) -> None:
    estimate = geometric_mean(observations([1.0 + n / 100 for n in range(60)], passages, rounds))
    assert estimate is not None
    assert (estimate.low is not None) is said
    assert (estimate.why_no_interval is None) is said


def test_without_an_interval_the_reason_is_said() -> None:
    estimate = geometric_mean(observed([Observation(2.0, "p", 1)]))
    assert estimate is not None
    assert (estimate.value, estimate.n) == (pytest.approx(2.0), 1)
    assert estimate.why_no_interval == "only one passage, which says nothing about other texts"


def test_nothing_estimates_nothing() -> None:
    assert geometric_mean(observed([])) is None
    assert compare_paired(observed([]), observed([]), "ratio") is None


@given(st.lists(alike, min_size=15, max_size=40))
def test_the_estimate_lies_inside_its_interval(values: list[float]) -> None:
    estimate = geometric_mean(observations(values, 5, 3))
    assert estimate is not None
    assume(estimate.low is not None and estimate.high is not None)
    assert estimate.low <= estimate.value * (1 + 1e-9)
    assert estimate.value <= estimate.high * (1 + 1e-9)


@given(st.lists(alike, min_size=15, max_size=40), st.floats(0.01, 100))
def test_another_unit_changes_only_the_scale(values: list[float], factor: float) -> None:
    one = geometric_mean(observations(values, 5, 3))
    other = geometric_mean(observations([value * factor for value in values], 5, 3))
    assume(one.low is not None and other.low is not None)
    assert other.value == pytest.approx(one.value * factor)
    assert other.low == pytest.approx(one.low * factor)


# --- coverage -----------------------------------------------------------------------------------------------


def drawn(draw: random.Random, rounds: int, each: int, round_sd: float, noise_sd: float) -> Observations:
    """Draw latencies around 1: a prompt of its own each, and a drift that a whole round shares."""
    found = []
    for round_no in range(rounds):
        drift = draw.gauss(0, round_sd)
        found += [Observation(math.exp(drift + draw.gauss(0, noise_sd)), (round_no, n), round_no) for n in range(each)]
    return observed(found)


def share_that_holds_1(estimates: Iterable[Estimate | None]) -> float:
    """Return the share of intervals that hold 1; few are withheld because a value lies far from the others."""
    found = [e for e in estimates if e is not None]
    ends = [(e.low, e.high) for e in found if e.low is not None and e.high is not None]
    assert len(ends) > 0.97 * len(found)
    return sum(low <= 1 <= high for low, high in ends) / len(ends)


@pytest.mark.parametrize("round_sd", [0.1, 0.3])
def test_a_95_percent_interval_covers_the_truth_in_92_to_97_percent(round_sd: float) -> None:
    draw = random.Random(20)
    found = (geometric_mean(drawn(draw, rounds=5, each=4, round_sd=round_sd, noise_sd=0.2)) for _ in range(1500))
    assert 0.92 <= share_that_holds_1(found) <= 0.97


@pytest.mark.parametrize("asked", [crossed(5, 3), nested(5, 3), crossed(10, 5)], ids=["5x3", "5 in each of 3", "10x5"])
@pytest.mark.parametrize(("passage_sd", "round_sd"), [(0.3, 0.1), (0.3, 0.2), (0.1, 0.2)])
def test_the_interval_covers_at_the_smallest_n_whatever_passages_and_rounds_share(
    asked: list[Asked], passage_sd: float, round_sd: float
) -> None:
    draw = np.random.default_rng(31)
    found = (geometric_mean(latencies(draw, asked, passage_sd, round_sd, 0.15)) for _ in range(1500))
    assert 0.915 <= share_that_holds_1(found) <= 0.985  # 92.5 % where passages and rounds add up alike


def test_a_shared_drift_widens_the_interval_beyond_that_of_independent_requests() -> None:
    sample = drawn(random.Random(3), rounds=5, each=4, round_sd=0.5, noise_sd=0.01)
    estimate = geometric_mean(sample)
    assert estimate is not None and estimate.low is not None and estimate.high is not None
    logs = [math.log(value) for value in sample.values]
    naive = 2 * 2.09 * statistics.stdev(logs) / math.sqrt(len(logs))
    assert math.log(estimate.high / estimate.low) > 1.5 * naive


def test_equal_sides_are_called_different_in_about_5_percent() -> None:
    draw, simulations, false_alarms = random.Random(8), 600, 0
    for _ in range(simulations):
        keys = [(round_no, n) for round_no in range(5) for n in range(4)]
        sides = [
            observed(Observation(math.exp(draw.gauss(0, 0.2)), key, key[0]) for key in keys),
            observed(Observation(math.exp(draw.gauss(0, 0.2)), key, key[0]) for key in keys),
        ]
        ratio = paired_ratio(*sides)
        assert ratio.low is not None and ratio.high is not None
        false_alarms += not ratio.low <= 1 <= ratio.high
    assert false_alarms / simulations <= 0.08


# --- ratios -------------------------------------------------------------------------------------------------


def test_a_paired_ratio_finds_a_known_ratio_under_large_differences_between_prompts() -> None:
    draw = random.Random(5)
    theirs, ours = [], []
    for round_no in range(5):
        for n in range(4):
            length = math.exp(draw.gauss(0, 1))  # what both sides share
            theirs.append(Observation(length * math.exp(draw.gauss(0, 0.02)), (round_no, n), round_no))
            ours.append(Observation(1.3 * length * math.exp(draw.gauss(0, 0.02)), (round_no, n), round_no))
    ratio = paired_ratio(observed(ours), observed(theirs))
    assert ratio.low is not None and ratio.high is not None
    assert ratio.low < 1.3 < ratio.high
    assert ratio.high / ratio.low < 1.1


@given(st.lists(st.tuples(positive, positive), min_size=15, max_size=30))
def test_turning_the_sides_round_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    ours = observed(Observation(pair[0], n, n % 3) for n, pair in enumerate(pairs))
    theirs = observed(Observation(pair[1], n, n % 3) for n, pair in enumerate(pairs))
    one, other = paired_ratio(ours, theirs), paired_ratio(theirs, ours)
    assume(one.low is not None and other.high is not None)
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)


def paired_ratio(ours: Observations, theirs: Observations) -> Estimate:
    found = compare_paired(ours, theirs, "ratio")
    assert found is not None
    low, high = found.interval() or (None, None)
    return Estimate(found.value, low, high, found.n)
