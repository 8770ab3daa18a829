"""The law: known costs are recovered, and nothing is claimed where the lengths or the noise don't allow it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelbench.analysis.latency_law import Law, Timed, latency_law

from .simulated import Asked, answers, crossed, nested, timed

A_S, B_S_PER_TOK = 0.5, 0.02


def law(given: Timed, *, faithful: bool) -> Law:
    found, why = latency_law(given, faithful=faithful)
    assert found is not None, why
    return found


def unstreamed(given: Timed) -> Timed:
    return replace(given, tpot_s=np.full(len(given), np.nan))


@pytest.mark.parametrize("faithful", [True, False])
def test_known_costs_are_recovered(faithful: bool) -> None:
    found = law(answers(np.random.default_rng(1), nested(40, 8), A_S, B_S_PER_TOK, round_sd=0.01), faithful=faithful)
    assert found.fit.method == ("stream" if faithful else "regression")
    assert found.fit.a_s == pytest.approx(A_S, rel=0.05)
    assert found.fit.b_s_per_tok == pytest.approx(B_S_PER_TOK, rel=0.03)
    assert found.decode_tok_per_s == pytest.approx(50, rel=0.03)
    assert found.decode_ci is not None and found.decode_ci[1] is not None
    assert found.decode_ci[0] < 50 < found.decode_ci[1]
    assert found.r2 is not None and found.r2 > 0.95
    assert found.why is None


def test_an_exact_law_is_found_exactly() -> None:
    found = law(timed((n, 0.3 + 0.01 * n, None, k, k % 3) for k, n in enumerate(range(10, 200, 10))), faithful=False)
    assert (found.fit.a_s, found.fit.b_s_per_tok, found.r2) == (
        pytest.approx(0.3),
        pytest.approx(0.01),
        pytest.approx(1),
    )
    assert found.tokens_seen == (10, 190)


def test_stuck_requests_hardly_move_the_regression() -> None:
    given = answers(np.random.default_rng(3), nested(20, 5), A_S, B_S_PER_TOK, stuck=0.05, round_sd=0.01)
    assert law(given, faithful=False).fit.b_s_per_tok == pytest.approx(B_S_PER_TOK, rel=0.06)


def test_one_length_gives_no_regression_but_a_stream_tells_all() -> None:
    given = timed((128, 0.5 + 2.56, 0.02, k, k % 3) for k in range(15))
    assert latency_law(unstreamed(given), faithful=False) == (
        None,
        "most answers have 128 output tokens: too similar to estimate the time per token",
    )
    found = law(given, faithful=True)
    assert (found.fit.a_s, found.decode_tok_per_s) == (pytest.approx(0.5), pytest.approx(50))


def test_a_cost_per_token_that_may_be_0_gives_no_decode_speed() -> None:
    draw = np.random.default_rng(2)
    lengths = enumerate(draw.uniform(20, 60, 24))
    found = law(timed((int(n), math.exp(draw.normal(0, 0.5)), None, k, k % 3) for k, n in lengths), faithful=False)
    assert found.why == "the interval of the time per output token contains 0"
    assert found.decode_tok_per_s is None
    assert found.decode_ci is not None and found.decode_ci[1] is None


def test_one_passage_gives_costs_but_no_intervals() -> None:
    found = law(timed((n, 0.3 + 0.01 * n, None, "only", n % 3) for n in range(10, 60)), faithful=False)
    assert found.fit.b_s_per_tok == pytest.approx(0.01)
    assert (found.b_ci, found.decode_ci, found.decode_tok_per_s) == (None, None, None)
    assert found.why == "only one passage, which says nothing about other texts"


def test_lengths_that_vary_in_one_passage_alone_give_no_interval() -> None:
    fixed = [(50, 1.0 + k / 100, None, k, k % 3) for k in range(10)]
    varied = [(n, 0.5 + 0.01 * n, None, "long", n % 3) for n in range(60, 90)]
    found = law(timed([*fixed, *varied]), faithful=False)
    assert (found.b_ci, found.why) == (None, "the output lengths vary only in one passage or one round")


def test_fewer_than_two_answers_give_no_law() -> None:
    assert latency_law(timed([]), faithful=True)[0] is None


@given(st.floats(0.1, 10), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_another_clock_scales_both_costs_and_the_order_of_requests_nothing(factor: float, shuffle: object) -> None:
    given = answers(np.random.default_rng(7), nested(6, 3), A_S, B_S_PER_TOK)
    other = list(zip(given.tokens, factor * given.e2e_s, [None] * 18, given.passages, given.rounds, strict=True))
    shuffle.shuffle(other)  # type: ignore[attr-defined]
    one, scaled = law(unstreamed(given), faithful=False), law(timed(other), faithful=False)
    assert one.b_ci is not None and scaled.b_ci is not None
    assert scaled.fit.a_s == pytest.approx(factor * one.fit.a_s, rel=1e-4)
    assert scaled.fit.b_s_per_tok == pytest.approx(factor * one.fit.b_s_per_tok, rel=1e-5)
    assert scaled.b_ci[0] == pytest.approx(factor * one.b_ci[0], rel=1e-4)


@pytest.mark.parametrize("asked", [crossed(5, 3), nested(5, 3), nested(10, 5)], ids=["5x3", "5 in 3", "10 in 5"])
@pytest.mark.parametrize("faithful", [True, False])
def test_the_intervals_cover_at_the_smallest_n(asked: list[Asked], faithful: bool) -> None:
    draw, simulations, of_a, of_b = np.random.default_rng(13), 400, 0, 0
    round_sd = noise_sd = 0.05
    a_s = A_S * math.exp((round_sd**2 + (2 * noise_sd) ** 2) / 2)
    b_s_per_tok = B_S_PER_TOK * math.exp((round_sd**2 + noise_sd**2) / 2)
    for _ in range(simulations):
        found = law(answers(draw, asked, A_S, B_S_PER_TOK), faithful=faithful)
        assert found.a_ci is not None and found.b_ci is not None
        of_a += found.a_ci[0] <= a_s <= found.a_ci[1]
        of_b += found.b_ci[0] <= b_s_per_tok <= found.b_ci[1]
    assert 0.92 <= of_a / simulations <= 1  # a's interval is wide where no short answers were seen
    assert 0.92 <= of_b / simulations <= 0.99
