"""Load curves: which loads make one, its frontier, and when a knee is believed."""

from collections.abc import Mapping, Sequence

import pytest

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load import Load, user_speed
from accelbench.analysis.load_curve import LoadCurve, load_curves
from accelbench.store.records import RequestRecord
from accelbench.store.requests import Requests

from .records import failed, measured, request, sides
from .records import rows_of as rows_of_records

TOKENS = 60
KNEED = {1: 1.0, 8: 1.1, 64: 8.0}  # requests in flight -> seconds of each answer


def asked(
    seconds: Mapping[int, float], round_no: int = 1, endpoint: str = "one", per_slot: int = 10
) -> list[RequestRecord]:
    """Return a round of each load: every slot busy all the time, with answers of equal length and time."""
    return [
        request(
            endpoint=endpoint, cell=f"load-c{slots}", round=round_no, key=f"{slot}.{n}", completion_tokens=TOKENS,
            dequeued_unix_s=1e9 + n * e2e_s, sent_unix_s=1e9 + n * e2e_s, end_unix_s=1e9 + (n + 1) * e2e_s,
            e2e_s=e2e_s, ttft_s=None, tpot_s=None,
        )
        for slots, e2e_s in seconds.items()
        for slot in range(slots)
        for n in range(per_slot)
    ]  # fmt: skip


def rows_of(requests: Sequence[RequestRecord], slots: Sequence[int]) -> list[InferenceRow]:
    loads = {f"load-c{count}": Load("load", count) for count in slots}
    keys = dict.fromkeys((r.endpoint, r.round, r.cell) for r in requests)
    return rows_of_records([measured(*key) for key in keys], requests, loads, None, 60.0)


def curves_of(requests: Sequence[RequestRecord], slots: Sequence[int]) -> list[list[LoadCurve]]:
    rows = rows_of(requests, slots)
    return load_curves(rows, sides([measured(row.endpoint, 1, row.cell) for row in rows], requests, rows))


def curve_of(requests: Sequence[RequestRecord], slots: Sequence[int]) -> LoadCurve:
    ((curve,),) = curves_of(requests, slots)
    return curve


def test_speeds_of_user_and_system_are_those_of_the_table() -> None:
    curve = curve_of(asked(KNEED), [*KNEED])
    users, systems = ([getattr(load.point, f"{who}_tok_per_s") for load in curve.loads] for who in ("user", "system"))
    assert users == pytest.approx([TOKENS / e2e_s for e2e_s in KNEED.values()])
    assert systems == pytest.approx([TOKENS * slots / e2e_s for slots, e2e_s in KNEED.items()])


def test_a_knee_is_believed_where_all_rounds_lie_above_the_line() -> None:
    curve = curve_of([*asked(KNEED), *asked(KNEED, 2), *asked(KNEED, 3)], [*KNEED])
    assert curve.knee is not None and curve.knee.row.concurrency == 8
    assert (curve.p_value, curve.rounds, curve.why_no_knee) == (0.0, 3, None)


def test_a_knee_that_is_not_told_from_a_straight_line_is_none() -> None:
    straight = {1: 1.0, 8: 2.0, 64: 8.0}
    curve = curve_of([*asked(KNEED), *asked(straight, 2), *asked(straight, 3)], [*KNEED])
    assert curve.knee is None and curve.why_no_knee == "over 3 rounds it can't be distinguished from a straight line"


def test_a_knee_takes_3_rounds() -> None:
    assert curve_of([*asked(KNEED), *asked(KNEED, 2)], [*KNEED]).why_no_knee == "2 rounds: a knee needs at least 3"


def test_a_load_that_was_too_short_for_a_throughput_carries_no_knee() -> None:
    curve = curve_of(asked(KNEED, per_slot=2), [*KNEED])
    assert curve.knee is None and "too short for a throughput (load-c1, load-c8, load-c64)" in str(curve.why_no_knee)


def test_two_loads_have_a_frontier_and_no_knee() -> None:
    curve = curve_of(asked({1: 1.0, 2: 1.5}), [1, 2])
    assert [point.load for point in curve.frontier] == ["load-c2", "load-c1"]
    assert curve.knee is None and curve.why_no_knee is None


def test_a_load_that_is_beaten_in_both_is_no_part_of_the_frontier() -> None:
    curve = curve_of(asked({1: 1.0, 8: 1.1, 64: 80.0}), [1, 8, 64])
    assert [point.load for point in curve.frontier] == ["load-c8", "load-c1"] and len(curve.loads) == 3


def test_a_curve_takes_two_loads_of_one_endpoint() -> None:
    apart = [*asked({1: 1.0}), *asked({8: 1.0}, endpoint="two")]
    assert curves_of(apart, [1, 8]) == []


def test_the_users_speed_leaves_failures_out_and_needs_every_count() -> None:
    good = request(completion_tokens=30, e2e_s=2.0)
    assert user_speed(Requests.of([good, failed()])) == 15
    assert user_speed(Requests.of([good, request(completion_tokens=None)])) is None
    assert user_speed(Requests.of([failed()])) is None
