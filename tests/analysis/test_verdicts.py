"""Three verdicts: found when they are true, and seldom when they are not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.intervals import Comparison, Observations, Scale, compare_paired
from accelbench.analysis.verdicts import holm, judge, rounds_needed, smallest_detected

from .simulated import Asked, Observation, crossed, latencies, nested, observed, shifts

MARGIN = 0.05


def compared(
    ratio: float, noise_sd: float, *, asked: list[Asked] | None = None, round_sd: float = 0.0, seed: int = 1
) -> Comparison:
    asked = asked or nested(10, 5)
    draw = np.random.default_rng(seed)
    ours, theirs = (latencies(draw, asked, 0.0, round_sd, noise_sd) for _ in range(2))
    found = compare_paired(replace(ours, values=ratio * ours.values), theirs, "ratio")
    assert found is not None
    return found


def verdict(comparison: Comparison, margin: float = MARGIN, s_per_round: float | None = None) -> str:
    return judge({"m": comparison}, {"m": margin}, s_per_round=s_per_round)["m"].kind


@pytest.mark.parametrize(("ratio", "kind"), [(1.5, "higher"), (1 / 1.5, "lower")])
def test_a_large_difference_is_said_with_its_side(ratio: float, kind: str) -> None:
    assert verdict(compared(ratio, 0.1)) == kind


def test_a_small_one_within_the_margin_is_equivalent() -> None:
    assert verdict(compared(1.01, 0.01)) == "equivalent"


def test_a_sure_difference_inside_the_margin_wins_nothing() -> None:
    found = compared(1.02, 0.005)
    interval = found.interval()
    assert interval is not None and interval[0] > 1
    assert verdict(found) == "equivalent"


def test_noise_leaves_it_undecided_with_what_it_would_take() -> None:
    found = judge({"m": compared(1.0, 0.3)}, {"m": MARGIN}, s_per_round=90.0)["m"]
    assert found.kind == "undecided" and found.needed is not None
    take = found.needed
    assert take.rounds > 5
    assert (take.more_rounds, take.prompts) == (take.rounds - 5, 10 * take.rounds)
    assert take.minutes == pytest.approx(take.more_rounds * 1.5)


def test_a_decided_verdict_needs_nothing() -> None:
    assert judge({"m": compared(1.5, 0.1)}, {"m": MARGIN})["m"].needed is None


def test_with_one_round_it_is_undecided_and_the_reason_said() -> None:
    found = judge({"m": compared(2.0, 0.1, asked=nested(20, 1))}, {"m": MARGIN})["m"]
    assert (found.kind, found.why_undecided) == ("undecided", "only one round, which says nothing about other times")
    assert found.needed is not None and found.needed.rounds >= 3


def test_more_noise_or_a_narrower_margin_takes_more_rounds() -> None:
    quiet, loud = compared(1.0, 0.1), compared(1.0, 0.3)
    rounds = [take.rounds for c, m in ((quiet, 0.1), (loud, 0.1), (loud, 0.05)) if (take := rounds_needed(c, m, 10))]
    assert len(rounds) == 3 and rounds == sorted(set(rounds))


def test_the_n_it_would_take_decides_in_about_4_of_5_cases() -> None:
    take = rounds_needed(compared(1.0, 0.1, asked=nested(10, 40)), MARGIN, 10)
    assert take is not None
    decided = [
        verdict(compared(1.05 * 1.0001, 0.1, asked=nested(10, take.rounds), seed=seed)) == "higher"
        for seed in range(300)
    ]
    assert 0.72 <= np.mean(decided) <= 0.92


def test_all_that_is_said_is_one_family() -> None:
    comparisons = {name: compared(1.12, 0.2, seed=8) for name in ("main", "a", "b", "c")}
    raw = comparisons["main"].p_value
    alone = judge(comparisons, dict.fromkeys(comparisons, 0.0))["main"].p_value
    beside = judge(comparisons, dict.fromkeys(comparisons, 0.0), {"laws": 0.9, "none": None}, others=2)["main"].p_value
    assert raw is not None and (alone, beside) == (pytest.approx(min(1, 4 * raw)), pytest.approx(min(1, 7 * raw)))


def test_the_n_it_would_take_grows_with_the_family() -> None:
    comparison = compared(1.0, 0.3)
    alone, among = (judge({"m": comparison}, {"m": MARGIN}, others=n)["m"].needed for n in (0, 40))
    assert alone is not None and among is not None and among.rounds > 1.5 * alone.rounds


named = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=8)


def test_the_smallest_is_multiplied_by_all_and_the_next_by_one_less() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "none": None})
    expected = {"a": pytest.approx(0.03), "b": pytest.approx(0.06), "c": pytest.approx(0.06), "d": 0.02, "none": None}
    assert adjusted == expected


@given(named)
def test_adjusted_values_keep_their_order_and_never_fall(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    order = sorted(p_values, key=lambda name: p_values[name])
    values = [adjusted[name] for name in order]
    assert all(value is not None and p_values[name] <= value <= 1 for name, value in zip(order, values, strict=True))
    assert values == sorted(values, key=lambda value: value or 0)


# --- by simulation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "round_sd"),
    [(nested(4, 3), 0.0), (nested(4, 3), 0.1), (crossed(6, 3), 0.1)],
    ids=["alike", "drift", "6x3"],
)
def test_an_endpoint_against_itself_seldom_wins_in_any_of_10_metrics(asked: list[Asked], round_sd: float) -> None:
    draw, simulations, winners = np.random.default_rng(17), 2000 if round_sd and len(asked) == 12 else 600, 0
    metrics = [f"metric {n}" for n in range(10)]
    rounds, passages = [r for _, r in asked], [p for p, _ in asked]
    for _ in range(simulations):
        sides = []
        for _ in range(2):
            shared = np.array(shifts(draw, rounds, round_sd)) + shifts(draw, passages, 0.05)
            shared += draw.normal(0, 0.15, len(asked))
            sides.append(np.exp(shared[:, None] + draw.normal(0, 0.1, (len(asked), len(metrics)))))
        comparisons: dict[str, Comparison] = {}
        for number, name in enumerate(metrics):
            ours, theirs = (Observations(own[:, number], passages, rounds) for own in sides)
            found = compare_paired(ours, theirs, "ratio")
            assert found is not None
            comparisons[name] = found
        verdicts = judge(comparisons, dict.fromkeys(metrics, MARGIN))
        winners += any(each.kind in ("lower", "higher") for each in verdicts.values())
    assert winners / simulations <= 0.065


@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_a_difference_of_the_margin_is_seldom_called_equivalent(scale: Scale) -> None:
    draw, simulations, equivalent = np.random.default_rng(23), 600, 0
    asked = crossed(12, 5, 4)
    for _ in range(simulations):
        if scale == "ratio":
            ours = [
                Observation(math.exp(v), p, r) for v, (p, r) in zip(draw.normal(0, 0.1, len(asked)), asked, strict=True)
            ]
            theirs = [Observation(o.value / 1.05 * math.exp(draw.normal(0, 0.1)), o.passage, o.round) for o in ours]
            margin = 0.05
        else:
            ours = [Observation(1.0, p, r) for p, r in asked]
            theirs = [Observation(float(draw.random() > 0.02), p, r) for p, r in asked]
            margin = 0.02
        found = compare_paired(observed(ours), observed(theirs), scale)
        assert found is not None
        equivalent += verdict(found, margin) == "equivalent"
    assert equivalent / simulations <= 0.065


def shares(ours: float, theirs: float) -> Comparison:
    """Compare shares of 4 passages in each of 3 rounds."""
    passages, rounds = range(12), [n // 4 for n in range(12)]
    own = [Observations(np.full(12, value), list(passages), rounds) for value in (ours, theirs)]
    found = compare_paired(*own, "difference")
    assert found
    return found


def test_shares_differ_by_at_most_all_of_them() -> None:
    low, high = shares(0.0, 1.0).interval() or (0.0, 0.0)
    assert low == -1.0 < high
    assert smallest_detected(shares(0.0, 1.0), level=0.005) is None


def test_more_requests_soon_outweigh_what_is_added_to_equal_shares() -> None:
    needed = rounds_needed(shares(1.0, 1.0), 0.05, 4)
    assert needed and needed.rounds < 40
