"""What n is worth: everything for independent requests, one per group where a group's are all alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.design_effect import effective_size, excess

from .simulated import crossed


def test_requests_that_repeat_their_passage_count_once_per_passage() -> None:
    values = [float(p) for p in range(20) for _ in range(5)]
    assert 100 / (1 + excess(values, [p for p in range(20) for _ in range(5)])) == pytest.approx(20)


def test_a_group_per_request_takes_nothing_away() -> None:
    assert excess([1.0, 5.0, 2.0], ["a", "b", "c"]) == 0
    assert excess([1.0, 5.0, 2.0], ["a", "a", "a"]) == 0


def test_independent_requests_keep_most_of_their_n() -> None:
    draw = np.random.default_rng(4)
    asked = crossed(20, 10)
    sizes = [
        effective_size(list(draw.normal(size=200)), [p for p, _ in asked], [r for _, r in asked]) for _ in range(50)
    ]
    assert 130 < np.mean(sizes) <= 200


def test_few_rounds_that_differ_are_worth_less_than_their_number() -> None:
    asked = crossed(20, 3)
    values = [float(r) for _, r in asked]
    assert effective_size(values, [p for p, _ in asked], [r for _, r in asked]) < 3


@given(st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=12), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(values: list[float], shuffle: object) -> None:
    order = list(range(12))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    groups = [n % 4 for n in range(12)]
    there = excess(values, groups)
    assert excess([values[n] for n in order], [groups[n] for n in order]) == pytest.approx(there, abs=1e-6)
