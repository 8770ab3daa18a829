"""The parts of the fixed cost add up, or it is said why they don't."""

import pytest

from accelbench.analysis.fixed_cost import fixed_cost


def test_floor_server_and_rest_add_up() -> None:
    found = fixed_cost(0.5, [0.1, 0.12, 0.4], [0.2, 0.2])
    assert (found.floor_s, found.server_s, found.rest_s) == (0.12, 0.2, pytest.approx(0.18))


def test_without_server_times_the_rest_holds_the_server() -> None:
    assert fixed_cost(0.5, [0.1], []).rest_s == pytest.approx(0.4)


def test_without_health_calls_there_is_no_floor_and_no_rest() -> None:
    found = fixed_cost(0.5, [], [0.2])
    assert (found.floor_s, found.rest_s, found.why_no_rest) == (None, None, "no health calls were timed")


def test_parts_beyond_the_whole_leave_no_rest() -> None:
    assert fixed_cost(0.2, [0.1], [0.2]).why_no_rest == "the parts exceed the fixed cost"
