"""Endpoints in figures: what counts, against what, and which speed is meant."""

import math
from collections.abc import Sequence

import pytest

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Description
from accelbench.analysis.load import Load
from accelbench.analysis.percentiles import Tail, Times
from accelbench.store.records import InferRoundRecord, RequestRecord

from .records import failed, measured, request, rows_of, spanned

ONE = {"load": Load("load", 1)}


def row(*requests: RequestRecord, slots: int = 1, rounds: Sequence[InferRoundRecord] = ()) -> InferenceRow:
    (only,) = rows_of(rounds or [measured()], requests, {"load": Load("load", slots)}, None, 60.0)
    return only


def whole_speed(found: InferenceRow) -> float | None:
    return found.system_output_tok_per_s and found.system_output_tok_per_s.mean


def test_failures_stay_in_the_denominator_and_are_named() -> None:
    found = row(request(key="a"), failed(key="b"), failed("rate_limited", key="c"), failed(key="d"))
    assert (found.requests, found.successes) == (4, 1)
    assert found.failures == "2 connection, 1 rate_limited"


def test_an_answer_cut_by_its_length_is_a_success() -> None:
    assert row(request(class_="truncated_length")).successes == 1


@pytest.mark.parametrize(
    ("tokens", "estimated", "said"),
    [
        (10, False, None),
        (9, False, "answers of other lengths: 1 of 2 don't have 10 tokens (they have 9 to 10)"),
        (10, True, "answers of other lengths: 1 of 2 don't have 10 tokens (they have 10 to 10, 1 not known)"),
    ],
)
def test_answers_of_another_length_than_asked_for_are_told(tokens: int, estimated: bool, said: str | None) -> None:
    requests = [request(), request(key="b", completion_tokens=tokens, tokens_estimated=estimated)]
    loads = {"load": Load("load", 1, output_tokens=10)}
    (found,) = rows_of([measured()], requests, loads, None, 60.0)
    told = next((part for part in (found.labels or "").split("; ") if "other lengths" in part), None)
    assert told == said


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ((9, 30), None),
        ((9, 27), "answers of other lengths: 1 of 2 don't have the tokens of the trace (they differ by -3 to +0)"),
    ],
)
def test_answers_of_another_length_than_the_traces_are_told_and_counted(tokens: tuple[int, int], said: str) -> None:
    requests = [
        request(key=key, completion_tokens=count, output_tokens_asked=asked)
        for key, count, asked in zip("ab", tokens, (9, 30), strict=True)
    ]
    (found,) = rows_of([measured()], requests, {"load": Load("load", 1)}, None, 60.0)
    assert [part for part in (found.labels or "").split("; ") if "lengths" in part] == ([said] if said else [])


def test_warm_ups_are_left_out() -> None:
    found = row(request(key="warm-up-1", warm_up=True, e2e_s=99.0), request(e2e_s=2.0))
    assert (found.requests, found.latency and found.latency.max) == (1, 2.0)


def test_the_last_attempt_decides() -> None:
    found = row(failed(attempt=1, last_attempt=False), request(attempt=2))
    assert (found.requests, found.successes, found.failures) == (1, 1, None)


def test_latency_describes_successes() -> None:
    found = row(request(key="a", e2e_s=1.0), request(key="b", e2e_s=3.0), failed("no_answer", key="c", e2e_s=99.0))
    assert found.latency is not None
    assert (found.latency.n, found.latency.mean, found.latency.max) == (2, 2.0, 3.0)
    assert found.typical_latency is not None
    assert found.typical_latency.value == pytest.approx(math.sqrt(3))


def test_total_and_output_speed_are_told_apart() -> None:
    found = row(
        request(key="a", prompt_tokens=90, completion_tokens=10, e2e_s=2.0),
        request(key="b", prompt_tokens=30, completion_tokens=50, e2e_s=4.0),
    )
    assert found.figures["total_tok_per_s"] == pytest.approx(180 / 6)
    assert found.output_tok_per_s == pytest.approx(60 / 6)


def test_a_missing_count_makes_a_speed_unknown_not_smaller() -> None:
    found = row(request(key="a"), request(key="b", completion_tokens=None))
    assert [found.figures.get(f"{kind}_tok_per_s") for kind in ("total", "output", "system_output")] == [None] * 3


def test_an_empty_answer_counts_as_a_wrong_one_and_a_failure_not_at_all() -> None:
    wrong = request(key="b", class_="no_answer", exact_match=False, f1=0.0, contains_gold=False)
    found = row(request(key="a"), wrong, failed(key="c"))
    assert [found.figures[score] for score in ("exact_match", "f1", "contains_gold")] == [0.5, 0.5, 0.5]


def test_without_gold_answers_there_is_no_score() -> None:
    assert "f1" not in row(request(exact_match=None, f1=None, contains_gold=None)).figures


# --- system speed -------------------------------------------------------------------------------------------


def test_system_speed_counts_only_the_span_with_all_slots_busy() -> None:
    # 0–10 s and 2–6 s: both slots are busy from 2 to 6, in which 4 s × 10 tok/s + 4 s × 5 tok/s arrive
    found = row(spanned(0, 10, 100), spanned(2, 4, 20), slots=2)
    assert whole_speed(found) == pytest.approx(60 / 4)


def test_tokens_are_spread_from_the_first_token_on() -> None:
    # busy 2 to 6; the first request's 100 tokens come from 5 to 10 s, so 20 of them fall inside
    found = row(spanned(0, 10, 100, ttft_s=5.0), spanned(2, 4, 20), slots=2)
    assert whole_speed(found) == pytest.approx((20 + 20) / 4, rel=1e-4)


def test_a_failing_request_keeps_its_slot_busy_and_brings_nothing() -> None:
    stuck = failed("timeout_read", key="stuck", sent_unix_s=1e9, end_unix_s=1e9 + 10)
    found = row(spanned(0, 10, 100), stuck, slots=2)
    assert whole_speed(found) == pytest.approx(10)


def test_an_answer_that_came_all_at_once_was_made_since_it_was_asked() -> None:
    assert whole_speed(row(spanned(0, 10, 100, ttft_s=10.0))) == pytest.approx(10)


def test_one_slot_sees_the_speed_of_one_request() -> None:
    found = row(spanned(0, 2, 10), spanned(3, 2, 30), slots=1)
    assert whole_speed(found) == pytest.approx(found.output_tok_per_s)


def test_slots_that_were_never_all_busy_give_no_system_speed() -> None:
    assert row(spanned(0, 1, 10), spanned(2, 1, 10), slots=2).system_output_tok_per_s is None


def test_system_speed_is_the_mean_over_rounds() -> None:
    requests = [spanned(0, 1, 10, round=1), spanned(100, 1, 30, round=2)]
    found = row(*requests, rounds=[measured(round_no=1), measured(round_no=2)])
    assert whole_speed(found) == pytest.approx(20)


def test_the_spread_of_system_speed_is_that_of_its_rounds() -> None:
    requests = [spanned(0, 1, 10, round=1), spanned(100, 1, 30, round=2)]
    found = row(*requests, rounds=[measured(round_no=1), measured(round_no=2)]).system_output_tok_per_s
    assert found is not None
    assert (found.n, found.min, found.max) == (2, pytest.approx(10), pytest.approx(30))


def test_a_wait_for_a_busy_endpoint_is_in_the_throughput_and_in_no_latency() -> None:
    busy = failed("rate_limited", key="w", sent_unix_s=1e9, end_unix_s=1e9 + 1, last_attempt=False)
    again = spanned(4, 1, 10, key="w", attempt=2, dequeued_unix_s=1e9 + 4)
    found = row(busy, again)
    assert whole_speed(found) == pytest.approx(10 / 5)
    assert found.waited_s == pytest.approx(3)
    assert found.latency is not None and found.latency.max == 1


# --- shapes -------------------------------------------------------------------------------------------------


def arrivals(*late_s: float, **given: object) -> list[RequestRecord]:
    """Return requests that were due a second apart, each taken up so late and answered within half a second."""
    return [
        request(
            **{"key": f"p{n}", "scheduled_unix_s": 1e9 + n, "dequeued_unix_s": 1e9 + n + late, "e2e_s": 0.5,
               "sent_unix_s": 1e9 + n + late, "end_unix_s": 1e9 + n + late + 0.5, **given}
        )
        for n, late in enumerate(late_s)
    ]  # fmt: skip


def open_row(*requests: RequestRecord) -> InferenceRow:
    (only,) = rows_of([measured()], requests, {"load": Load("load", 64, rate_per_s=1.0)}, None, 60.0)
    return only


def test_open_loop_says_what_was_drawn_and_what_was_sent() -> None:
    found = open_row(*arrivals(0.0, 0.0, 0.02))
    assert (found.rate_per_s, found.late_sends, found.labels) == (1.0, 1, None)
    assert found.due_per_s == pytest.approx(1.0)
    assert found.sent_per_s == pytest.approx(2 / 2.02)
    delayed = found.figures["from_schedule_latency"]
    assert isinstance(delayed, Times) and delayed.max == pytest.approx(0.52)
    assert whole_speed(found) == pytest.approx(30 / 2.52)


def test_arrivals_that_were_held_back_are_no_open_loop() -> None:
    assert (open_row(*arrivals(0.0, 0.3)).labels or "").startswith("not open loop: 1 of 2 requests were held back")


@pytest.mark.parametrize(("requests", "lasted_s", "short"), [(2, 4.0, True), (20, 4.0, False), (2, 31.0, False)])
def test_a_short_closed_loop_is_too_short_for_a_throughput(requests: int, lasted_s: float, short: bool) -> None:
    found = row(*(spanned(0, lasted_s, 10, key=f"p{n}", dequeued_unix_s=1e9) for n in range(requests)), slots=2)
    assert (found.labels or "").startswith("too short for a throughput") is short


def test_a_label_that_all_rounds_share_stands_once() -> None:
    requests = [spanned(0, 1, 10, round=n, dequeued_unix_s=1e9) for n in (1, 2)]
    found = row(*requests, rounds=[measured(round_no=1), measured(round_no=2)])
    assert (found.labels or "").count("too short") == 1
    assert (found.labels or "").endswith("(the first of 2 such rounds)")


def test_percentiles_of_all_requests_count_failures_as_infinite() -> None:
    good = [request(key=f"p{n}", e2e_s=float(n)) for n in range(1, 9)]
    found = row(*good, failed(key="x"), failed(key="y"))
    of_all = found.figures["latency_of_all"]
    assert found.latency is not None and isinstance(of_all, Tail)
    assert (found.latency.n, found.latency.p90) == (8, None)
    assert (of_all.n, of_all.p90) == (10, math.inf)
    assert of_all.p50 == pytest.approx(5.5)


def test_a_whole_generation_without_an_answer_carries_latency_but_no_success() -> None:
    found = row(request(key="a", e2e_s=1.0), request(key="b", class_="no_answer", e2e_s=9.0))
    assert (found.successes, found.latency and found.latency.max) == (1, 9.0)
    guessed = row(request(key="a", e2e_s=1.0), request(key="b", class_="no_answer", e2e_s=9.0, tokens_estimated=True))
    assert guessed.latency and guessed.latency.max == 1.0


def test_times_of_a_stream_that_came_in_batches_are_withheld() -> None:
    found = row(request(key="a", streaming="batched"), request(key="b", streaming="faithful", ttft_s=0.7))
    ttft = found.figures["ttft"]
    assert isinstance(ttft, Times) and (ttft.n, ttft.max) == (1, 0.7)
    assert found.latency and found.latency.n == 2
    assert "times between tokens withheld: 1 of 2 streams came in batches" in (found.labels or "")
    assert "ttft_of_all" not in found.figures


def test_itl_is_described_over_all_gaps_and_withheld_where_streams_came_in_batches() -> None:
    times = {"event_times_s": [0.1, 0.2, 0.5]}
    found = row(request(key="a", **times), request(key="b", streaming="batched", **times), failed(key="c"))
    itl = found.figures["itl"]
    assert isinstance(itl, Times)
    assert (itl.n, itl.median, itl.max) == (2, pytest.approx(0.2), pytest.approx(0.3))


def test_speeds_tell_total_output_and_answer_tokens_apart() -> None:
    found = row(spanned(0, 2, 20, prompt_tokens=80, reasoning_tokens=15, reasoning="so"))
    kinds = ("total", "output", "answer")
    assert [found.figures[f"{kind}_tok_per_s"] for kind in kinds] == [50, 10, 2.5]
    system = [found.figures[f"system_{kind}_tok_per_s"] for kind in kinds]
    assert [speed.mean for speed in system if isinstance(speed, Description)] == pytest.approx([50, 10, 2.5])


def test_a_round_in_which_all_failed_counts_as_one_without_any_success() -> None:
    lost = failed(key="x", round=2, sent_unix_s=1e9, dequeued_unix_s=1e9, end_unix_s=1e9 + 1)
    good = spanned(0, 1, 10, dequeued_unix_s=1e9)
    found = row(good, lost, rounds=[measured(), measured(round_no=2)])
    assert found.requests_per_s is not None
    assert (found.requests_per_s.n, found.requests_per_s.min) == (2, 0.0)


def test_the_lengths_that_were_asked_for_stand_beside_those_counted() -> None:
    load = Load("long", 1, context_tokens=2000, max_tokens=64)
    (found,) = rows_of([measured()], [request(prompt_tokens=2100)], {"load": load}, None, 60.0)
    assert (found.context_tokens, found.figures["prompt_tokens"], found.max_tokens) == (2000, 2100, 64)


# --- ratios -------------------------------------------------------------------------------------------------

BOTH = [measured("one"), measured("two")]


def test_the_ratio_is_paired_on_the_same_prompts() -> None:
    requests = [
        request(endpoint="one", key="a", e2e_s=1.0),
        request(endpoint="one", key="b", e2e_s=10.0),
        request(endpoint="two", key="a", e2e_s=3.0),
        failed(endpoint="two", key="b"),
    ]
    base, other = rows_of(BOTH, requests, ONE, "one", 60.0)
    assert base.ratio_to_baseline is None
    ratio = other.ratio_to_baseline and other.ratio_to_baseline["typical_latency"]
    assert ratio is not None
    assert (ratio.value, ratio.n) == (pytest.approx(3.0), 1)


@pytest.mark.parametrize(("baseline", "against"), [("two", "two"), ("one", "one"), (None, "one"), ("elsewhere", "one")])
def test_rows_say_what_their_ratio_is_against(baseline: str | None, against: str) -> None:
    rows = rows_of(BOTH, [request(endpoint="one"), request(endpoint="two")], ONE, baseline, 60.0)
    assert {r.baseline for r in rows} == {against}
    assert [r.endpoint for r in rows if r.ratio_to_baseline is None] == [against]


def test_a_baseline_without_answers_gives_no_ratio() -> None:
    rows = rows_of(BOTH, [failed(endpoint="one"), request(endpoint="two")], ONE, "one", 60.0)
    base, other = (r.ratio_to_baseline for r in rows)
    assert base is None and other == {}


def test_warm_ups_and_earlier_attempts_are_not_paired() -> None:
    requests = [
        request(endpoint="one", e2e_s=1.0),
        request(endpoint="two", e2e_s=2.0),
        request(endpoint="two", e2e_s=50.0, last_attempt=False),
        request(endpoint="one", key="w", warm_up=True),
        request(endpoint="two", key="w", warm_up=True, e2e_s=50.0),
    ]
    _, other = rows_of(BOTH, requests, ONE, "one", 60.0)
    ratio = other.ratio_to_baseline and other.ratio_to_baseline["typical_latency"]
    assert ratio is not None
    assert (ratio.value, ratio.n) == (pytest.approx(2.0), 1)


# --- what is missing ----------------------------------------------------------------------------------------


def test_a_round_that_is_not_there_is_named_and_counted() -> None:
    rounds = [measured(), InferRoundRecord("one", "load", 2, "failed", "is gone")]
    found = row(request(), rounds=rounds)
    assert (found.rounds, found.rounds_planned, found.missing) == (1, 2, "round 2 failed: is gone")


def test_an_endpoint_without_any_round_still_has_its_row() -> None:
    found = row(rounds=[InferRoundRecord("one", "load", 1, "missing", "not measured yet")])
    assert (found.requests, found.latency, found.typical_latency, found.output_tok_per_s) == (0, None, None, None)


def test_rows_stand_cell_by_cell_in_the_order_of_the_config() -> None:
    rounds = [measured(endpoint, cell=cell) for endpoint in ("two", "one") for cell in ("x", "y")]
    rows = rows_of(rounds, [], {"x": Load("x", 1), "y": Load("y", 4)}, None, 60.0)
    assert [(r.cell, r.endpoint, r.concurrency) for r in rows] == [
        ("x", "two", 1), ("x", "one", 1), ("y", "two", 4), ("y", "one", 4),
    ]  # fmt: skip
