"""The one estimator: exact numbers, why there is no interval, shares, stragglers, unequal groups."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.intervals import (
    Influence,
    Observations,
    Spread,
    compare_paired,
    compare_runs,
    contrast_of,
    exact_interval,
    far_from_others,
    half_width,
    proportion,
    too_few,
)

from .simulated import Asked, Observation, crossed, logs, nested, observed


def test_a_spread_is_that_of_the_means_of_groups() -> None:
    assert Influence.of_mean([1.0, 3.0, 5.0, 7.0], "aabb", "xxyy").spreads()[0] == Spread(pytest.approx(2.0), 1)


def test_half_a_t_interval() -> None:
    assert Spread(2.0, 4).half_width() == pytest.approx(2 * 2.7764, rel=1e-4)


def test_the_wider_interval_counts() -> None:
    assert half_width([Spread(1.0, 4), Spread(1.0, 2)]) == pytest.approx(4.3027, rel=1e-4)


def test_a_p_value_is_the_intervals_other_side() -> None:
    spread = Spread(2.0, 4)
    assert spread.p_above(spread.half_width()) == pytest.approx(0.025)


def test_without_spread_any_distance_is_sure() -> None:
    assert Spread(0.0, 4).p_above(0.1) == 0
    assert Spread(0.0, 4).p_above(0) == 1
    assert not math.isnan(Spread(0.0, 4).half_width())


@pytest.mark.parametrize(
    ("passages", "rounds", "why"),
    [
        (1, 9, "only one passage, which says nothing about other texts"),
        (9, 1, "only one round, which says nothing about other times"),
        (4, 3, "4 passages and 3 rounds: an interval needs at least 5 passages and 3 rounds"),
        (5, 2, "5 passages and 2 rounds: an interval needs at least 5 passages and 3 rounds"),
        (5, 3, None),
    ],
)
def test_the_reason_is_said_in_words(passages: int, rounds: int, why: str | None) -> None:
    assert too_few(passages, rounds) == why


def test_a_group_weighs_as_many_requests_as_it_has() -> None:
    even = Influence.of_mean([1.0, 3.0] * 4, [0, 1] * 4, range(8)).spreads()[0]
    uneven = Influence.of_mean([1.0] * 7 + [3.0], [0] * 7 + [1], range(8)).spreads()[0]
    assert even.df == pytest.approx(1) and uneven.df == pytest.approx(64 / 50 - 1)


def test_a_straggler_forbids_the_interval_and_leaves_the_test() -> None:
    draw = np.random.default_rng(4)
    ours, theirs = (np.exp(draw.normal(0, 0.1, 30)) for _ in range(2))
    ours[3] *= 20
    sides = [observed(Observation(v, n, n % 3) for n, v in enumerate(own)) for own in (2 * ours, theirs)]
    found = compare_paired(*sides, "ratio")
    assert found is not None and found.interval() is None and found.p_equivalent(9.0) is None
    assert "1 of 30 lie far from the others" in str(found.why_no_interval)
    assert found.p_value is not None and found.p_value < 0.05


def test_a_slow_round_is_no_straggler() -> None:
    rounds = [n // 10 for n in range(50)]
    values = np.random.default_rng(5).normal(0, 0.1, 50) + [3.0 * (r == 2) for r in rounds]
    assert far_from_others(values, np.array(rounds)) == 0


def test_identical_runs_have_no_interval() -> None:
    assert compare_runs([1.0] * 3, [2.0] * 3).why_no_interval == "the runs of each side are identical"


# --- shares -------------------------------------------------------------------------------------------------


def hits(values: list[bool], passages: int = 5, rounds: int = 3) -> Observations:
    return observed(Observation(value, n % passages, n % rounds) for n, value in enumerate(values))


def test_the_exact_interval_as_published() -> None:
    # 81 of 263: Newcombe, Statistics in Medicine 17 (1998) 857, table I
    assert exact_interval(81 / 263, 263) == (pytest.approx(0.2527, abs=1e-4), pytest.approx(0.3676, abs=1e-4))


def test_nothing_but_successes_leaves_room_for_a_failure_of_a_passage() -> None:
    found = proportion(hits([True] * 30))
    assert found is not None and found.low is not None
    assert (found.value, found.high, found.n_effective) == (1, 1, 5)
    assert found.low == pytest.approx(0.025 ** (1 / 5), abs=1e-4)


def test_one_passage_gives_no_interval_but_the_reason() -> None:
    found = proportion(hits([True, False], passages=1))
    assert found is not None
    assert (found.value, found.low, found.why_no_interval) == (
        0.5,
        None,
        "only one passage, which says nothing about other texts",
    )


def test_nothing_has_no_share() -> None:
    assert proportion(observed([])) is None


@given(st.lists(st.booleans(), min_size=15, max_size=60))
def test_the_share_lies_in_its_interval_and_the_interval_in_0_to_1(values: list[bool]) -> None:
    found = proportion(hits(values))
    assert found is not None and found.low is not None and found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.lists(st.booleans(), min_size=15, max_size=60))
def test_failures_mirror_successes(values: list[bool]) -> None:
    good, bad = proportion(hits(values)), proportion(hits([not value for value in values]))
    assert good is not None and bad is not None and good.low is not None and bad.high is not None
    assert good.low == pytest.approx(1 - bad.high)


@given(st.integers(0, 20), st.floats(1, 1e4))
def test_more_requests_narrow_it(successes: int, n: float) -> None:
    low, high = exact_interval(successes / 20, n)
    lower, higher = exact_interval(successes / 20, 2 * n)
    assert higher - lower < high - low


@pytest.mark.parametrize("typical", [0.0, 2.0])
@pytest.mark.parametrize("asked", [crossed(5, 3, 2), nested(5, 3), crossed(20, 5)], ids=["5x3x2", "5 in 3", "20x5"])
def test_the_interval_covers_where_passages_and_rounds_matter(asked: list[Asked], typical: float) -> None:
    draw, simulations, covered = np.random.default_rng(11), 1000, 0
    nodes = np.random.default_rng(12).normal(0, math.hypot(0.7, 0.3), 200_000)
    truth = float(np.mean(1 / (1 + np.exp(-typical - nodes))))
    for _ in range(simulations):
        odds = [typical + each for each in logs(draw, asked, 0.7, 0.3, 0.0)]
        rows = [
            Observation(draw.random() < 1 / (1 + math.exp(-each)), p, r)
            for each, (p, r) in zip(odds, asked, strict=True)
        ]
        found = proportion(observed(rows))
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert covered / simulations >= 0.93  # Clopper and Pearson's covers at least as often as it says


def test_a_mean_of_scores_stays_between_0_and_1_and_has_its_interval() -> None:
    scores = [Observation(value, n, n % 3) for n, value in enumerate([1.0, 0.9, 1.0, 0.4, 1.0, 1.0, 0.8, 1.0, 1.0])]
    found = proportion(observed(scores))
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(0.9) and 0 <= found.low < 0.9 < found.high <= 1.0


def test_scores_that_are_all_1_leave_room_for_others() -> None:
    found = proportion(observed(Observation(1.0, n % 5, n % 3) for n in range(15)))
    assert found is not None and found.low is not None
    assert found.low < 0.6


def test_two_comparisons_differ_as_two_unpaired_samples_do() -> None:
    draw = np.random.default_rng(5)
    ours, theirs = (contrast_of("difference", Influence.of_runs(draw.normal(middle, 1, 9))) for middle in (3, 1))
    both = ours.minus(theirs)
    assert both.centre == pytest.approx(ours.centre - theirs.centre)
    assert both.spreads and ours.spreads and theirs.spreads
    assert both.spreads[0].se == pytest.approx(math.hypot(ours.spreads[0].se, theirs.spreads[0].se))
    assert ours.minus(replace(theirs, why_no_interval="far")).interval() is None


def test_a_weighted_comparison_has_a_weighted_interval() -> None:
    found = contrast_of("difference", Influence.of_runs([1.0, 2.0, 4.0, 5.0, 6.0]))
    low, high = found.interval() or (0.0, 0.0)
    assert found.weighted(-0.5).interval() == pytest.approx((-high / 2, -low / 2))
