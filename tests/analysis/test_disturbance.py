"""Quiet or disturbed: by the recorded shares alone, and what rests on the quiet rounds and runs alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.disturbance import disturbances, disturbed_in_words, unknown_in_words
from accelbench.analysis.economy import economy
from accelbench.analysis.evidence import evidence_of
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load import Load
from accelbench.analysis.load_curve import LoadCurve, load_curves
from accelbench.analysis.sweep import losses_reached, total_time_line
from accelbench.analysis.training import TrainingRow, training_rows
from accelbench.config import Endpoint
from accelbench.store.records import InferRoundRecord, ParsedLog, RequestRecord, Step, TrainRunRecord

from .records import asked_rounds, failed, measured, request, rows_of, side, sides

BUSY: Any = {"share_of_others": 0.8, "steal_share": 0.0, "cores": 2}


@pytest.mark.parametrize(
    ("activity", "causes"),
    [
        (None, 0),
        ({}, 0),
        ({"share_of_others": None, "steal_share": None}, 0),
        ({"share_of_others": 0.03, "steal_share": 0.03}, 0),
        ({"share_of_others": 0.04, "steal_share": None}, 1),
        ({"share_of_others": 0.0, "steal_share": 0.04}, 1),
        ({"share_of_others": 0.5, "steal_share": 0.5}, 2),
        ({"share_of_others": "much"}, 0),
        ({"throttled": 0.0}, 0),
        ({"throttled": 1.0}, 1),
        ({"waiting_share": {"cpu": 0.9, "io": 0.5, "memory": 0.0}}, 0),
        ({"waiting_share": {"memory": 0.2}}, 1),
        ({"cgroup_throttled_s": 0.5, "wall_s": 10.0, "cores": 2}, 0),
        ({"cgroup_throttled_s": 4.0, "wall_s": 10.0, "cores": 2}, 1),
    ],
)
def test_a_host_is_disturbed_above_the_stated_shares_and_unknown_below(activity: Any, causes: int) -> None:
    assert len(disturbances(activity)) == causes


def test_how_busy_it_was_is_said_of_the_disturbed_rounds_alone() -> None:
    said = disturbed_in_words([BUSY, BUSY, {"share_of_others": 0.01, "cores": 2}, None])
    assert said == "other programs used 80 % of both cores in 2 of 4 rounds"
    assert disturbed_in_words([None]) is None


def test_several_causes_are_said_each_with_its_own_rounds() -> None:
    hot: Any = {**BUSY, "throttled": 2.0, "cores": 8}
    said = disturbed_in_words([hot, {**BUSY, "cores": 8}], "runs")
    assert said == (
        "other programs used 80 % of all 8 cores in 2 of 2 runs; hot processors were throttled in 1 of 2 runs"
    )


def test_an_unknown_activity_is_said_with_its_reason() -> None:
    assert unknown_in_words([BUSY, None]) == "1 of 2 rounds (not recorded)"
    assert unknown_in_words([{"share_of_others": None, "why": "too short"}]) == "1 of 1 rounds (too short)"
    assert unknown_in_words([BUSY]) is None


# --- rounds -------------------------------------------------------------------------------------------------


def rounds_of(requests: Sequence[RequestRecord], busy: Mapping[str, set[int]]) -> list[InferRoundRecord]:
    """Return the rounds of requests; `busy`: by cell, those on a busy host."""
    keys = dict.fromkeys((r.endpoint, r.round, r.cell) for r in requests)
    return [replace(measured(*key), host_activity=BUSY if key[1] in busy.get(key[2], ()) else {}) for key in keys]


def row(requests: Sequence[RequestRecord], busy: set[int]) -> InferenceRow:
    (only,) = rows_of(rounds_of(requests, {"load": busy}), requests, {"load": Load("load", 1)}, None, 60.0)
    return only


def test_times_are_of_the_quiet_rounds_and_failures_of_all() -> None:
    requests = [request(e2e_s=2.0), request(round=2, e2e_s=9.0, exact_match=False), failed(round=2, key="x")]
    found = row(requests, {2})
    assert not found.disturbed and found.latency and (found.latency.n, found.latency.max) == (1, 2.0)
    assert (found.requests, found.successes, found.failures) == (3, 2, "1 connection")
    assert found.figures["exact_match"] == 0.5


def test_a_row_without_a_quiet_round_keeps_its_figures_and_is_marked() -> None:
    found = row([request(e2e_s=2.0), request(round=2, e2e_s=4.0)], {1, 2})
    assert found.disturbed and found.latency and found.latency.n == 2
    assert (found.labels or "").startswith("busy host: other programs used 80 % of both cores in 2 of 2 rounds;")


def test_a_load_without_a_quiet_round_is_on_no_frontier_and_hides_the_knee() -> None:
    seconds = {1: 1.0, 8: 1.1, 64: 8.0}
    requests = [
        request(
            cell=f"load-c{slots}", round=number, key=f"{slot}.{n}", completion_tokens=60, e2e_s=e2e_s, ttft_s=None,
            tpot_s=None, dequeued_unix_s=1e9 + n * e2e_s, sent_unix_s=1e9 + n * e2e_s, end_unix_s=1e9 + (n + 1) * e2e_s,
        )
        for number in (1, 2, 3)
        for slots, e2e_s in seconds.items()
        for slot in range(slots)
        for n in range(10)
    ]  # fmt: skip
    loads = {f"load-c{slots}": Load("load", slots) for slots in seconds}

    def curve(busy: set[int]) -> LoadCurve:
        rounds = rounds_of(requests, {"load-c8": busy})
        rows = rows_of(rounds, requests, loads, None, 60.0)
        ((found,),) = load_curves(rows, sides(rounds, requests, rows))
        return found

    assert curve(set()).knee is not None
    assert curve({2}).rounds == 2 and curve({2}).knee is None
    disturbed = curve({1, 2, 3})
    assert {point.load for point in disturbed.frontier} == {"load-c1", "load-c64"} and disturbed.knee is None
    assert disturbed.why_no_knee == "the host was disturbed in all rounds of load-c8"


def test_what_a_load_yields_is_of_its_quiet_rounds() -> None:
    requests = [*asked_rounds("one", lambda n: 1.0, rounds=2, prompts=4)]
    found = economy(row(requests, {2}), Endpoint(base_url="http://h/v1", model="m"), None, side("one", requests))
    assert found.requests == 4


def test_a_law_is_of_the_quiet_rounds() -> None:
    quiet = asked_rounds("one", lambda n: 1.0 + n / 100, rounds=5)
    slow = [replace(r, e2e_s=(r.e2e_s or 0.0) * 4) if r.round > 3 else r for r in quiet]
    (known,) = evidence_of(rounds := rounds_of(slow, {"load": {4, 5}}), sides(rounds, slow))
    (alone,) = evidence_of(rounds := rounds_of(quiet[:24], {}), sides(rounds, quiet[:24]))
    assert known.law == alone.law and not known.disturbed
    (marked,) = evidence_of(rounds := rounds_of(slow, {"load": {1, 2, 3, 4, 5}}), sides(rounds, slow))
    assert marked.disturbed


# --- runs ---------------------------------------------------------------------------------------------------


def run(repeat: int, rate: float, activity: Any = None, batch_size: int = 4) -> TrainRunRecord:
    log = ParsedLog(
        last_step=50, steady_rate_samples_per_s=rate, processed_seconds=100 / rate, processed_samples=10 * batch_size,
        final_loss=rate, steps=tuple(Step(n, loss=3.0, t_s=float(n)) for n in range(1, 9)),
    )  # fmt: skip
    return TrainRunRecord("p", batch_size, repeat, "measured", None, log=log, host_activity=activity)


def of_runs(*runs: TrainRunRecord) -> TrainingRow:
    (only,) = training_rows(runs)
    return only


def test_rates_are_of_the_quiet_runs_and_losses_of_all() -> None:
    found = of_runs(run(1, 10.0), run(2, 12.0), run(3, 2.0, BUSY))
    assert (found.steady_rate_samples_per_s, found.steady_rate_lowest, round(found.total_time_s or 0, 3)) == (
        11.0,
        10.0,
        9.167,
    )
    assert (found.final_loss, found.repeats, found.timed_repeats, found.disturbed) == (8.0, 3, 2, False)


def test_a_size_without_a_quiet_run_keeps_its_figures_and_is_marked() -> None:
    found = of_runs(run(1, 4.0, BUSY), run(2, 2.0, BUSY))
    assert (found.steady_rate_samples_per_s, found.timed_repeats, found.disturbed) == (3.0, 2, True)


def test_the_line_through_total_times_leaves_disturbed_runs_out() -> None:
    runs = [run(n, 10.0 + size / 4, batch_size=size) for size in (4, 8, 16) for n in (1, 2)]
    assert total_time_line([*runs, run(3, 0.1, BUSY, 8)]) == total_time_line(runs)


def test_a_loss_that_a_disturbed_run_reached_is_marked() -> None:
    assert [row.disturbed for row in losses_reached([run(1, 10.0), run(2, 2.0, BUSY)])] == [False, True]
