"""Goodput counts what met every limit."""

import math

import numpy as np
import pytest

from accelbench.analysis.economy import goodput
from accelbench.store.requests import Column

LIMITS = {"ttft_s": 2.0, "tpot_s": 0.02}


def answers(*times_s: tuple[float, float]) -> dict[str, Column]:
    """Return answers by their TTFT and TPOT."""
    return dict(zip(LIMITS, np.array(times_s).T, strict=True))


def test_all_limits_must_be_met() -> None:
    within, late, slow = (1.0, 0.01), (3.0, 0.01), (1.0, 0.1)
    found = goodput(answers(within, within, late, slow), 5, LIMITS, 10)
    assert (found.n, found.met, found.requests_per_s) == (5, 2, pytest.approx(0.2))


def test_a_limit_is_met_when_it_is_just_reached() -> None:
    assert goodput(answers((2.0, 0.02)), 1, LIMITS, 1).met == 1


def test_an_unknown_figure_makes_it_unknown() -> None:
    found = goodput(answers((1.0, math.nan)), 1, LIMITS, 1)
    assert (found.met, found.why) == (None, "not every answer has a known tpot_s")


def test_wider_limits_never_count_less() -> None:
    asked = answers(*((n / 10, 0.0) for n in range(50)))
    met = [goodput(asked, 50, {"ttft_s": limit}, 1).met or 0 for limit in (0.5, 1, 2, 9)]
    assert met == sorted(met)
