"""Two sides: the estimate, the interval and p say the same; swapped sides say the opposite."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accelbench.analysis.intervals import Comparison, Observations, Scale, compare_paired, compare_unpaired

from .simulated import Asked, Observation, crossed, latencies, logs, nested, observed

positive = st.floats(0.1, 100)


def side(values: list[float], passages: int = 6, rounds: int = 3) -> Observations:
    return observed(Observation(value, n % passages, n % rounds) for n, value in enumerate(values))


def paired(ours: list[float], theirs: list[float], scale: Scale = "ratio", passages: int = 6) -> Comparison:
    found = compare_paired(side(ours, passages), side(theirs, passages), scale)
    assert found is not None
    return found


def test_a_ratio_is_found() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, (2, 18))
    found = paired(list(1.3 * np.exp(noise[0])), list(np.exp(noise[1])))
    interval = found.interval()
    assert interval is not None and interval[0] < 1.3 < interval[1]
    assert found.p_value is not None and found.p_value <= 0.05


def test_a_score_is_compared_as_a_difference() -> None:
    found = paired([1.0, 0.0, 1.0] * 6, [0.0, 0.0, 1.0] * 6, "difference")
    assert found.value == pytest.approx(1 / 3)


def test_5_passages_give_an_interval_and_its_p() -> None:
    found = paired([1.0, 1.1, 1.2] * 5, [1.0] * 15, passages=5)
    assert found.interval() is not None and found.p_value is not None


def test_one_passage_gives_the_estimate_and_the_reason() -> None:
    found = paired([2.0] * 9, [1.0] * 9, passages=1)
    assert (found.value, found.interval(), found.p_value) == (pytest.approx(2), None, None)
    assert found.why_no_interval == "only one passage, which says nothing about other texts"


def test_without_a_pair_there_is_no_comparison() -> None:
    assert compare_paired(side([]), side([]), "ratio") is None
    assert compare_unpaired(side([]), side([1.0]), "ratio") is None


def test_scores_that_never_differed_may_still_differ_a_little() -> None:
    found = paired([1.0] * 30, [1.0] * 30, "difference")
    interval = found.interval()
    assert interval is not None and interval[0] < 0 < interval[1]
    assert found.p_value == 1.0 and found.p_equivalent(0.02) == pytest.approx(0.41, abs=0.02)


@given(st.lists(st.tuples(positive, positive), min_size=18, max_size=30))
def test_swapped_sides_say_the_opposite(pairs: list[tuple[float, float]]) -> None:
    one, other = paired(*map(list, zip(*pairs, strict=True))), paired([b for _, b in pairs], [a for a, _ in pairs])
    forth, back = one.interval(), other.interval()
    assume(forth is not None and back is not None)
    assert (one.value, forth[0]) == (pytest.approx(1 / other.value), pytest.approx(1 / back[1]))
    assert one.p_value == pytest.approx(other.p_value, rel=1e-6, abs=1e-12)


@given(st.lists(st.tuples(positive, positive), min_size=18, max_size=30), st.sampled_from([0.25, 2.0, 8.0]))
def test_a_unit_of_both_sides_changes_nothing(pairs: list[tuple[float, float]], factor: float) -> None:
    one = paired([a for a, _ in pairs], [b for _, b in pairs])
    other = paired([factor * a for a, _ in pairs], [factor * b for _, b in pairs])
    assert other.centre == pytest.approx(one.centre, abs=1e-9)
    assert other.p_value == pytest.approx(one.p_value, abs=0.01)


@given(st.lists(st.tuples(positive, positive), min_size=18, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_requests_does_not_matter(pairs: list[tuple[float, float]], shuffle: object) -> None:
    rows = [(Observation(a, n % 6, n % 3), Observation(b, n % 6, n % 3)) for n, (a, b) in enumerate(pairs)]
    one = compare_paired(*map(observed, zip(*rows, strict=True)), "ratio")
    shuffle.shuffle(rows)  # type: ignore[attr-defined]
    other = compare_paired(*map(observed, zip(*rows, strict=True)), "ratio")
    assert one is not None and other is not None
    assert one.centre == pytest.approx(other.centre, abs=1e-12)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-6, abs=1e-12)


@given(st.lists(st.tuples(positive, positive), min_size=18, max_size=30))
def test_a_wider_margin_makes_equivalence_no_less_likely(pairs: list[tuple[float, float]]) -> None:
    found = paired([a for a, _ in pairs], [b for _, b in pairs])
    p = [found.p_equivalent(margin) for margin in (0.01, 0.05, 0.5, 5.0)]
    assume(p[0] is not None)
    assert None not in p and p == sorted(p, key=lambda each: -(each or 0))


@pytest.mark.parametrize("asked", [crossed(5, 3), nested(5, 3)], ids=["5x3", "5 in each of 3"])
@pytest.mark.parametrize("is_paired", [True, False])
def test_the_interval_covers_at_the_smallest_n(asked: list[Asked], is_paired: bool) -> None:
    draw, simulations, covered = np.random.default_rng(3), 1000, 0
    for _ in range(simulations):
        ours, theirs = (latencies(draw, asked, 0.15, 0.08, 0.1) for _ in range(2))
        found = (compare_paired if is_paired else compare_unpaired)(ours, theirs, "ratio")
        interval = found.interval() if found else None
        covered += interval is None or interval[0] <= 1 <= interval[1]
    assert 0.93 <= covered / simulations <= 0.985


def test_the_interval_of_a_difference_of_scores_covers() -> None:
    draw, simulations, covered = np.random.default_rng(5), 1000, 0
    asked = crossed(12, 5)
    for _ in range(simulations):
        odds = logs(draw, asked, 1.0, 0.0, 0.0)
        sides = [
            observed(
                Observation(draw.random() < 1 / (1 + math.exp(-o)), p, r) for o, (p, r) in zip(odds, asked, strict=True)
            )
            for _ in range(2)
        ]
        found = compare_paired(*sides, "difference")
        interval = found.interval() if found else None
        assert interval is not None
        covered += interval[0] <= 0 <= interval[1]
    assert 0.94 <= covered / simulations <= 0.995  # plus four
