"""The frontier holds what nothing beats; the knee stands out of it."""

from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.load_curve import LoadPoint, knee, pareto_frontier

points = st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=12).map(
    lambda pairs: [LoadPoint(f"c{n}", *pair) for n, pair in enumerate(pairs)]
)


def test_what_is_beaten_in_both_is_left_out() -> None:
    best, beaten, other = LoadPoint("c8", 40, 300), LoadPoint("c16", 20, 290), LoadPoint("c1", 50, 50)
    assert pareto_frontier([best, beaten, other]) == [best, other]


def test_the_knee_is_where_users_begin_to_pay() -> None:
    curve = [LoadPoint("c1", 50, 50), LoadPoint("c8", 45, 360), LoadPoint("c64", 7, 430)]
    assert knee(curve) == curve[1]


def test_a_straight_line_and_two_points_have_no_knee() -> None:
    assert knee([LoadPoint("a", 10, 30), LoadPoint("b", 20, 20), LoadPoint("c", 30, 10)]) is None
    assert knee([LoadPoint("a", 10, 30), LoadPoint("b", 20, 20)]) is None


@given(points)
def test_no_point_of_the_frontier_beats_another(given_points: list[LoadPoint]) -> None:
    front = pareto_frontier(given_points)
    assert front and set(front) <= set(given_points)
    assert [p.system_tok_per_s for p in front] == sorted((p.system_tok_per_s for p in front), reverse=True)
    assert pareto_frontier(front) == front
    found = knee(given_points)
    assert found is None or found in front


@given(points)
def test_units_do_not_move_the_frontier(given_points: list[LoadPoint]) -> None:
    scaled = [LoadPoint(p.load, 4 * p.user_tok_per_s, 2 * p.system_tok_per_s) for p in given_points]
    assert [p.load for p in pareto_frontier(scaled)] == [p.load for p in pareto_frontier(given_points)]
