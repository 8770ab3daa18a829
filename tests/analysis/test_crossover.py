"""The crossover: each kind where it belongs, marked where it lies outside what was seen."""

import math
from dataclasses import replace

import numpy as np
import pytest

from accelbench.analysis.crossover import Crossover, crossover
from accelbench.analysis.latency_law import Law, latency_law

from .simulated import Asked, answers, crossed, nested


def law(a_s: float, b_s_per_tok: float, *, seed: int, asked: list[Asked] | None = None, **given: float) -> Law:
    timed = answers(np.random.default_rng(seed), asked or nested(10, 5), a_s, b_s_per_tok, **given)  # type: ignore[arg-type]
    found, why = latency_law(timed, faithful=False)
    assert found is not None, why
    return found


def crossed_at(ours: tuple[float, float], theirs: tuple[float, float], noise_sd: float = 0.02) -> Crossover:
    one, other = (
        law(*ours, seed=1, round_sd=0.01, noise_sd=noise_sd),
        law(*theirs, seed=2, round_sd=0.01, noise_sd=noise_sd),
    )
    return crossover(one, other, paired=False)


def test_a_clear_crossing_has_an_interval_around_it() -> None:
    found = crossed_at((2.0, 0.01), (0.5, 0.02))  # 1.5 s / 0.01 s = 150 tokens
    assert found.kind == "interval" and found.low_tokens is not None and found.high_tokens is not None
    assert found.low_tokens < 150 < found.high_tokens
    assert found.tokens == pytest.approx(150, rel=0.1)
    assert (found.faster_below, found.faster_above, found.extrapolated) == ("theirs", "ours", False)


def test_one_side_faster_at_every_length_has_none() -> None:
    found = crossed_at((0.5, 0.01), (2.0, 0.02))
    assert (found.kind, found.tokens, found.low_tokens, found.high_tokens) == ("none", None, None, None)
    assert (found.faster_below, found.faster_above) == ("ours", "ours")
    assert not found.extrapolated


def test_like_speeds_leave_the_far_end_open() -> None:
    found = crossed_at((2.0, 0.02), (0.5, 0.02), noise_sd=0.01)
    assert found.kind == "one_sided" and found.low_tokens is not None
    assert (found.high_tokens, found.faster_below, found.faster_above) == (None, "theirs", None)


def test_like_fixed_costs_leave_the_near_end_open() -> None:
    found = crossed_at((1.0, 0.01), (1.0, 0.02), noise_sd=0.1)
    assert found.kind == "one_sided" and found.high_tokens is not None
    assert (found.low_tokens, found.faster_below, found.faster_above) == (None, None, "ours")


def test_the_same_law_crosses_anywhere() -> None:
    found = crossed_at((1.0, 0.02), (1.0, 0.02), noise_sd=0.2)
    assert (found.kind, found.tokens) == ("unbounded", None)


def test_a_crossing_beyond_the_lengths_seen_is_extrapolated() -> None:
    found = crossed_at((12.0, 0.01), (1.0, 0.02))  # at 1,100 tokens
    assert found.extrapolated


def test_a_law_that_claims_nothing_gives_no_crossover() -> None:
    few = law(1.0, 0.02, seed=1, asked=nested(2, 2))
    found = crossover(law(1.0, 0.02, seed=2), few, paired=False)
    assert found.kind is None
    assert found.why == "4 passages and 2 rounds: an interval needs at least 5 passages and 3 rounds"


def test_swapped_sides_cross_at_the_same_length() -> None:
    one, other = law(2.0, 0.01, seed=1), law(0.5, 0.02, seed=2)
    forth, back = crossover(one, other, paired=False), crossover(other, one, paired=False)
    assert (forth.kind, forth.tokens) == (back.kind, pytest.approx(back.tokens))
    assert (forth.low_tokens, forth.high_tokens) == (pytest.approx(back.low_tokens), pytest.approx(back.high_tokens))
    assert (forth.faster_below, back.faster_below) == ("theirs", "ours")


def test_a_drift_that_both_share_cancels_when_they_are_paired() -> None:
    asked, draw = nested(10, 5), np.random.default_rng(4)
    drift = {round_no: math.exp(draw.normal(0, 0.1)) for round_no in range(5)}
    sides = []
    for a_s, b_s_per_tok in ((2.0, 0.01), (0.5, 0.02)):
        calm = answers(draw, asked, a_s, b_s_per_tok, round_sd=0, noise_sd=0.01)
        drifted = replace(calm, e2e_s=calm.e2e_s * [drift[number] for number in calm.rounds])
        found, _ = latency_law(drifted, faithful=False)
        assert found is not None
        sides.append(found)
    paired, unpaired = (crossover(*sides, paired=each) for each in (True, False))
    assert paired.low_tokens is not None and paired.high_tokens is not None
    assert unpaired.low_tokens is not None and unpaired.high_tokens is not None
    assert paired.high_tokens - paired.low_tokens < 0.7 * (unpaired.high_tokens - unpaired.low_tokens)


@pytest.mark.parametrize("asked", [crossed(5, 3), nested(10, 5)], ids=["5x3", "10 in 5"])
def test_the_set_covers_the_true_crossing(asked: list[Asked]) -> None:
    draw, simulations, covered = np.random.default_rng(21), 300, 0
    for _ in range(simulations):
        laws = [
            latency_law(answers(draw, asked, a_s, b, round_sd=0.02, noise_sd=0.04), faithful=False)[0]
            for a_s, b in ((2.0, 0.01), (0.5, 0.02))
        ]
        assert laws[0] is not None and laws[1] is not None
        found = crossover(laws[0], laws[1], paired=False)
        low, high = found.low_tokens or 0.0, found.high_tokens or math.inf
        covered += found.kind is None or (found.kind != "none" and low <= 150 <= high)
    assert covered / simulations >= 0.93
