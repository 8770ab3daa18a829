"""The wider of two t intervals: exact numbers, and why there is none."""

import math

import pytest

from accelbench.analysis.spread import Spread, half_width, spread_of, too_few


def test_a_spread_is_that_of_the_means_of_groups() -> None:
    assert spread_of([1.0, 3.0, 5.0, 7.0], ["a", "a", "b", "b"]) == Spread(pytest.approx(2.0), 1)


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
        (1, 9, "one passage: says nothing about other texts"),
        (9, 1, "one round: says nothing about other times"),
        (4, 3, "4 passages and 3 rounds: an interval takes at least 5 passages and 3 rounds"),
        (5, 2, "5 passages and 2 rounds: an interval takes at least 5 passages and 3 rounds"),
        (5, 3, None),
    ],
)
def test_the_reason_is_said_in_words(passages: int, rounds: int, why: str | None) -> None:
    assert too_few(passages, rounds) == why
