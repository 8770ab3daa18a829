"""Goodput counts what met every limit."""

import pytest

from accelbench.analysis.economy import goodput

LIMITS = {"ttft_s": 2.0, "tpot_s": 0.02}


def test_all_limits_must_be_met() -> None:
    within, late, slow = (
        {"ttft_s": 1.0, "tpot_s": 0.01},
        {"ttft_s": 3.0, "tpot_s": 0.01},
        {"ttft_s": 1.0, "tpot_s": 0.1},
    )
    found = goodput([within, within, late, slow, None], LIMITS, 10)
    assert (found.n, found.met, found.requests_per_s) == (5, 2, pytest.approx(0.2))


def test_a_limit_is_met_when_it_is_just_reached() -> None:
    assert goodput([{"ttft_s": 2.0, "tpot_s": 0.02}], LIMITS, 1).met == 1


def test_a_single_token_has_no_tpot_to_miss() -> None:
    assert goodput([{"ttft_s": 1.0}], LIMITS, 1).met == 1


def test_an_unknown_figure_makes_it_unknown() -> None:
    found = goodput([{"ttft_s": 1.0, "tpot_s": None}], LIMITS, 1)
    assert (found.met, found.why) == (None, "not every answer has a known tpot_s")


def test_wider_limits_never_count_less() -> None:
    requests = [{"ttft_s": n / 10} for n in range(50)]
    met = [goodput(requests, {"ttft_s": limit}, 1).met or 0 for limit in (0.5, 1, 2, 9)]
    assert met == sorted(met)
