"""Shares with intervals that stay within 0 and 1, and know how few passages there are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.proportions import proportion, wilson
from accelbench.analysis.statistics import Observation

from .simulated import Asked, crossed, logs, nested


def hits(values: list[bool], passages: int = 5, rounds: int = 3) -> list[Observation]:
    return [Observation(value, n % passages, n % rounds) for n, value in enumerate(values)]


def test_wilsons_interval_as_published() -> None:
    # 81 of 263: Newcombe, Statistics in Medicine 17 (1998) 857, table I
    assert wilson(81 / 263, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


def test_nothing_but_successes_leaves_room_for_a_failure_of_a_passage() -> None:
    found = proportion(hits([True] * 30))
    assert found is not None and found.low is not None
    assert (found.value, found.high, found.n_effective) == (1, 1, 5)
    assert found.low == pytest.approx(0.5655, abs=1e-4)


def test_one_passage_gives_no_interval_but_the_reason() -> None:
    found = proportion(hits([True, False], passages=1))
    assert found is not None
    assert (found.value, found.low, found.why_no_interval) == (0.5, None, "one passage: says nothing about other texts")


def test_nothing_has_no_share() -> None:
    assert proportion([]) is None


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
    low, high = wilson(successes / 20, n)
    lower, higher = wilson(successes / 20, 2 * n)
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
        found = proportion(rows)
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.925 <= covered / simulations <= 0.995  # a discrete interval can't hit 95 %


def test_a_mean_of_scores_stays_between_0_and_1_and_has_its_interval() -> None:
    scores = [Observation(value, n, n % 3) for n, value in enumerate([1.0, 0.9, 1.0, 0.4, 1.0, 1.0, 0.8, 1.0, 1.0])]
    found = proportion(scores)
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(0.9) and 0 <= found.low < 0.9 < found.high <= 1.0


def test_scores_that_are_all_1_leave_room_for_others() -> None:
    found = proportion([Observation(1.0, n % 5, n % 3) for n in range(15)])
    assert found is not None and found.low is not None
    assert found.low < 0.6
