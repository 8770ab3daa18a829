"""Every printed interval holds the truth as often as it says, and docs/statistics.md says how often that is."""

from pathlib import Path

import numpy as np
import pytest

from .coverage import CASES, Case, measure, shown
from .itself import names_a_winner
from .simulated import nested

LEAST = 0.93
"""Of intervals of 95 %. There is no upper bound: the widest of several is longer than need be where one would do."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "statistics.md"
SLOW = "latency law"
APART = 0.006  # other releases of numpy may draw other numbers


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.figure}: {case.asked}: {case.varies}",
            marks=pytest.mark.long if case.figure == SLOW else (),
        )
        for case in CASES
    ],
)
def test_an_interval_covers_and_the_document_says_so(case: Case) -> None:
    documented = _documented()
    for row in measure(case):
        assert row.covered >= LEAST, row
        assert documented[row.figure, row.asked, row.varies] == pytest.approx(row.covered, abs=APART)


def test_the_document_shows_nothing_that_is_not_measured() -> None:
    assert set(_documented()) == {(figure, case.asked, case.varies) for case in CASES for figure in shown(case)}


@pytest.mark.long
def test_an_endpoint_against_itself_seldom_has_a_winner_in_any_sentence() -> None:
    draw, simulations = np.random.default_rng(29), 2000
    winners = sum(names_a_winner(draw, nested(4, 3), streamed=True) for _ in range(simulations))
    assert winners / simulations <= 0.065


def _documented() -> dict[tuple[str, str, str], float]:
    rows = [line.strip("|").split("|") for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 5]
    return {(c[0], c[1], c[2]): float(c[4].split()[0]) / 100 for c in cells if c[4][:1].isdigit()}
