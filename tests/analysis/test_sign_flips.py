"""The paired test: exact where it is enumerated, the same each time where it is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.sign_flips import sign_flip_p

differences = st.lists(st.floats(-10, 10), min_size=6, max_size=14)


@pytest.mark.parametrize("n", [6, 12])
def test_all_on_one_side_is_2_of_all_patterns(n: int) -> None:
    assert sign_flip_p([1.0 + k for k in range(n)]) == 2 / 2**n


def test_no_difference_is_no_evidence() -> None:
    assert sign_flip_p([0.0] * 8) == 1
    assert sign_flip_p([1.0, -1.0] * 4) == 1


def test_drawn_patterns_come_near_the_enumerated_ones() -> None:
    values = list(np.random.default_rng(2).normal(0.3, 1, 13))
    signs = np.array(np.meshgrid(*[(1, -1)] * 13)).reshape(13, -1)
    exact = np.mean(np.abs(np.array(values) @ signs) >= abs(sum(values)) * (1 - 1e-9))
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.015)


@given(differences, st.randoms(use_true_random=False))
def test_neither_order_nor_side_nor_unit_matters(values: list[float], shuffle: object) -> None:
    p, other = sign_flip_p(values), list(values)
    shuffle.shuffle(other)  # type: ignore[attr-defined]
    assert sign_flip_p(other) == p
    assert sign_flip_p([-value for value in values]) == p
    assert sign_flip_p([4 * value for value in values]) == p


@given(differences)
def test_p_is_a_probability_above_0(values: list[float]) -> None:
    assert 0 < sign_flip_p(values) <= 1


def test_alike_sides_are_told_apart_in_at_most_5_percent() -> None:
    draw = np.random.default_rng(9)
    p = [sign_flip_p(list(draw.standard_t(3, 8))) for _ in range(3000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.012)
