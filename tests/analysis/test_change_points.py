"""Where a series of figures changed."""

from collections.abc import Sequence

import numpy as np
import pytest

from accelbench.analysis.change_points import Segment, segments_of
from accelbench.analysis.intervals import Spread

SD = 0.01


def found(middles: Sequence[float], *, sd: float = SD, known: bool = True, figures: int = 1) -> list[Segment]:
    """Return the segments of values around their middles, each with a spread of its own, if it is known."""
    values = np.array(middles) + np.random.default_rng(3).normal(0, sd, len(middles))
    return segments_of(values.tolist(), [Spread(SD, 5.0) if known else None] * len(middles), figures)


def lengths(segments: Sequence[Segment]) -> list[int]:
    return [segment.end - segment.start for segment in segments]


@pytest.mark.parametrize(
    ("middles", "expected"),
    [
        ([0.0] * 20, [20]),
        ([0.0] * 12 + [0.2] * 8, [12, 8]),
        ([0.0] * 8 + [0.2] * 4 + [0.0] * 8, [8, 4, 8]),
        ([0.0] * 6 + [0.2] * 7 + [0.5] * 7, [6, 7, 7]),
        ([0.0] * 19 + [0.3], [19, 1]),
        ([0.0, 0.7], [1, 1]),
        ([0.0], [1]),
    ],
)
def test_segments_begin_where_the_values_change(middles: list[float], expected: list[int]) -> None:
    assert lengths(found(middles)) == expected


def test_a_shift_has_a_spread_that_holds_it() -> None:
    first, second = found([0.0] * 10 + [0.2] * 10)
    assert first.shift is None
    assert second.shift and second.shift_spread
    assert abs(second.shift - 0.2) < second.shift_spread.half_width() < 0.02


def test_values_that_scatter_more_than_their_spreads_say_are_no_change() -> None:
    (segment,) = found([0.0] * 12, sd=10 * SD)
    assert segment.spread and segment.spread.se > 2 * SD / 12**0.5


def test_without_spreads_the_scatter_tells_a_change() -> None:
    assert lengths(found([0.0] * 10 + [0.2] * 10, known=False)) == [10, 10]


@pytest.mark.parametrize("values", [[0.0, 0.0, 1.0], [1.0, 2.0], [0.3] * 5])
def test_where_nothing_tells_how_much_values_vary_there_is_no_change(values: list[float]) -> None:
    assert lengths(segments_of(values, [None] * len(values))) == [len(values)]


def test_more_figures_demand_more_of_each() -> None:
    assert [lengths(segments_of([0.0, 0.05], [Spread(SD, 5.0)] * 2, n)) for n in (1, 30)] == [[1, 1], [2]]
