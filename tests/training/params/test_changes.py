"""What rendering changed: every value that differs, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.training.params.render import changes

TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b 1 → 2"]),
        ({}, {"a": {"b": "x"}}, ['a.b – → "x"']),
        ({"a": None}, {"a": {"b": 1}}, ["a.b – → 1"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, ["a.b 1 → –"]),
        ({"a": {"b": 1}}, {}, ['a {"b": 1} → –']),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}, 4]}, ["a[1].b 2 → 3", "a[2] – → 4"]),
        ({"a": 1}, {"a": 1.0}, ["a 1 → 1.0"]),
        ({"a": {"b": 1}}, {"a": None}, ['a {"b": 1} → null']),
    ],
)
def test_each_value_is_named_with_what_it_was(old: Any, new: Any, said: list[str]) -> None:
    assert changes(old, new) == said


@given(old=TREES, new=TREES)
def test_nothing_is_said_only_of_the_same(old: Any, new: Any) -> None:
    said = changes({"a": old}, {"a": new})
    assert bool(said) == (old != new)
