"""Holm's correction: textbook numbers, and what never changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.multiplicity import holm

named = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=8)


def test_the_smallest_is_multiplied_by_all_and_the_next_by_one_less() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == {"a": pytest.approx(0.03), "b": pytest.approx(0.06), "c": pytest.approx(0.06), "d": 0.02}


def test_the_primary_metric_and_what_has_no_p_stand_outside() -> None:
    assert holm({"main": 0.04, "a": 0.02, "b": None}, "main") == {"main": 0.04, "a": 0.02, "b": None}


@given(named)
def test_adjusted_values_keep_their_order_and_never_fall(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    order = sorted(p_values, key=lambda name: p_values[name])
    values = [adjusted[name] for name in order]
    assert all(value is not None and p_values[name] <= value <= 1 for name, value in zip(order, values, strict=True))
    assert values == sorted(values, key=lambda value: value or 0)
