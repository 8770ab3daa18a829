"""What the summary may say, and what it must not."""

import re
from dataclasses import replace

import pytest

from accelbench.analysis.evidence import evidence_of
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate
from accelbench.analysis.metrics import METRICS
from accelbench.analysis.pairs import Judged, judge_all, pair_up
from accelbench.analysis.percentiles import Times
from accelbench.analysis.training import TrainingRow
from accelbench.report import sentences
from accelbench.report.verdicts import in_two_sentences
from accelbench.store.records import InferRoundRecord, SearchRecord, SearchResult, TrainRunRecord

from ..analysis.records import asked_rounds, side, sides

LABELS = {"a": "Alpha", "b": "Beta", "cpu": "this CPU"}


def row(endpoint: str, cell: str = "one", ratio: dict[str, Estimate] | None = None, **changes: object) -> InferenceRow:
    figures = {
        "latency": Times(20, 1.0, 0.9, 0.5, 2.0),
        "typical_latency": Estimate(0.95, 0.9, 1.0, 20),
        "completion_tokens": 30.0,
        **{key: changes.pop(key) for key in METRICS.keys() & changes.keys()},
    }
    made = InferenceRow(
        endpoint=endpoint, cell=cell, concurrency=1, rounds=5, rounds_planned=5, requests=20, successes=20,
        failures=None, missing=None, figures={key: figure for key, figure in figures.items() if figure is not None},
        ratio_to_baseline=ratio, baseline="a",
    )  # fmt: skip
    return replace(made, **changes)


def size(batch: int, **changes: object) -> TrainingRow:
    made = TrainingRow(
        platform="cpu", batch_size=batch, repeats=2, repeats_planned=2, steps=50, rate_samples_per_s=40.0,
        global_rate_samples_per_s=40.0, steady_rate_samples_per_s=40.0, steady_rate_lowest=39.0,
        steady_rate_highest=41.0, tokens_per_s=None, total_time_s=10.0, samples_per_total_s=20.0,
        samples_seen=50 * batch, final_loss=5.0, held_out_loss=5.0, seeds="1, 2", missing=None,
    )  # fmt: skip
    return replace(made, **changes)


def measured(endpoint: str, started_at: str = "2026-01-01T10:00:00+00:00", **changes: object) -> InferRoundRecord:
    record = InferRoundRecord(endpoint, "one", 1, "measured", None, started_at=started_at, facts={"model": "m"})
    return replace(record, **changes)


def judged(
    name: str = "b", factor: float = 2.5, cell: str = "one", largest_gap_s: float = 60.0, **changes: object
) -> Judged:
    """Judge an endpoint that takes `factor` times as long as Alpha; the requests differ by some per cent."""
    base = changes.pop("base", "a")
    control = bool(changes.pop("control", False))
    ours = asked_rounds(name, lambda n: factor * (1 + n / 97 % 0.1), start_s=2.0, cell=cell, **changes)
    theirs = asked_rounds(base, lambda n: 1 + n / 89 % 0.1, cell=cell, **changes)
    (made,) = judge_all(
        [pair_up(side(name, ours), side(base, theirs), largest_gap_s)], controls=[name] if control else []
    )
    return replace(made, scenario="load")


def compared(*given: Judged) -> str:
    return " ".join(sentences.comparisons([row("a"), row("b")], LABELS, given or [judged()]))


def test_an_interval_above_one_is_slower_for_this_session():
    text = compared(judged(factor=2.5))
    assert re.match(
        r"For this session, Beta was slower than Alpha: E2E latency ratio of geometric means 2\.\d\d in one "
        r"\(95 % interval 2\.\d\d to 2\.\d\d, n = 40 pairs, p [<=] [\d.]+\)\. "
        r"The interval holds for requests like those seen: stragglers rarer than 1 in 13 may be missing\.$",
        text,
    )


def test_an_interval_below_one_is_faster():
    assert "Beta was faster than Alpha" in compared(judged(factor=0.5))


def test_an_interval_within_the_margin_is_equal():
    text = compared(judged(factor=1.0))
    assert (
        "Beta and Alpha were equal in E2E latency within ±5 % among requests like those seen (stragglers rarer than"
        in text
    )
    assert "slower" not in text and "faster" not in text


def test_without_an_interval_the_reason_is_said_once_and_nobody_is_faster():
    text = compared(judged(rounds=2), judged(rounds=2, cell="two"))
    assert "no difference in E2E latency could be shown: ratio of geometric means 2." in text
    assert text.count("an interval needs at least") == 1
    assert "slower" not in text and "faster" not in text and "equal" not in text


def test_an_undecided_comparison_says_what_it_would_take():
    text = compared(judged(rounds=2))
    assert re.search(r"Resolving ±5 % would take about \d+ rounds \(\d+ more, about [\d.]+ minutes?\)", text)
    assert "set inference.scenarios.load.rounds to" in text


def test_unpaired_endpoints_are_said_to_be():
    apart = judged(largest_gap_s=1.0)
    assert "Compared unpaired in one: the same prompt was sent to the two up to 2 s apart; at most 1 s" in compared(
        apart
    )


def test_endpoints_without_a_common_answer_are_not_compared():
    text = compared(judged(class_="http_5xx"))
    assert "can't be compared in one: E2E latency is not known for both" in text


def test_each_load_has_its_own_ratio():
    text = compared(judged(), judged(cell="two"))
    assert re.search(r"ratio of geometric means 2\.\d+ in one \(95 % interval .*\), 2\.\d+ in two \(", text)


def test_of_many_loads_the_range_is_said():
    text = compared(*(judged(cell=f"c{n}", factor=2 + n) for n in range(4)))
    assert re.search(r"ratio of geometric means [\d.]+ to [\d.]+ in 4 loads \(n = 40 each; see All verdicts for", text)


def test_the_control_is_the_noise_floor_and_no_endpoint():
    said = sentences.comparisons([row("a"), row("b")], LABELS, [judged(), judged("a-twin", 1.0, control=True)])
    assert len(said) == 2
    assert said[1].startswith("Control: Alpha against itself: E2E latency ratio ")
    assert said[1].endswith("smaller differences can't be distinguished from noise.")
    assert "faster" not in said[1] and "slower" not in said[1]


def test_an_endpoint_that_differs_from_itself_casts_doubt():
    text = compared(judged("a-twin", 2.0, control=True))
    assert "It differed from itself in one, so no verdict there can be trusted." in text


def test_one_endpoint_is_described_not_compared():
    (text,) = sentences.comparisons([row("a")], LABELS)
    assert text.startswith("Alpha, one: median latency 0.900 s (n = 20)")
    assert "slower" not in text and "ratio" not in text


def test_one_endpoint_under_many_loads_is_one_sentence():
    loads = [row("a", f"c{n}", latency=Times(20, 1.0, float(n), 0.5, 2.0)) for n in (4, 1, 16, 2)]
    broken = row("a", "c64", latency=None, typical_latency=None, successes=0)
    planned = row("a", "c128", latency=None, typical_latency=None, successes=0, requests=0)
    (text,) = sentences.comparisons([*loads, broken, planned], LABELS)
    assert text == (
        "Alpha: of 4 loads, the median latency was shortest in c1, 1.00 s (n = 20), and longest in c16, 16.0 s "
        "(n = 20). No request succeeded in c64."
    )


def test_an_endpoint_that_answered_nothing_is_said():
    text = sentences.comparisons([row("a", latency=None, typical_latency=None, successes=0)], LABELS)
    assert text == ["Alpha: no request succeeded in one."]


def test_many_endpoints_without_a_common_load_are_left_to_the_table():
    said = sentences.comparisons([row(name, name) for name in "abcd"], LABELS)
    assert len(said) == sentences.MAX_COMPARED
    assert said[-1].endswith("For c and d, see Inference.")


def test_many_endpoints_are_left_to_the_table():
    said = sentences.comparisons([row("a"), *(row(name) for name in "bcde")], LABELS, [judged(n) for n in "bcde"])
    assert len(said) == sentences.MAX_COMPARED
    assert "For d and e, see Inference" in said[-1]


def test_what_was_not_tested_is_said():
    requests, rounds = asked_rounds("a", lambda n: 1.0, rounds=1), [measured("a", cell="load")]
    assert sentences.untested([row("a", concurrency=8)], evidence_of(rounds, sides(rounds, requests))) == (
        "Not tested: more than 8 in flight, 90 prompt tokens and 125 output tokens."
    )
    assert sentences.untested([], []) == ""


def test_failures_are_counted_with_their_class():
    text = sentences.outcomes([row("a"), row("b", successes=18, failures="2 timeout_total")], LABELS)
    assert text.startswith("2 of 40 requests failed: Beta in one (2 timeout_total).")


def test_no_failure_is_said_too():
    assert sentences.outcomes([row("a")], LABELS) == "All 20 requests succeeded."


def test_missing_measurements_are_counted_by_state():
    run = TrainRunRecord("cpu", 4, 1, "failed", "out of memory")
    gone = InferRoundRecord("a", "one", 2, "missing", "not measured yet")
    text = sentences.absent([run, measured("a"), gone])
    assert text == "2 of 3 planned measurements are not in this report: 1 failed and 1 missing."


def test_nothing_missing_is_no_sentence():
    assert sentences.absent([measured("a")]) == ""


def test_rounds_that_were_all_missing_are_said():
    nothing = {"requests": 0, "successes": 0, "rounds": 0, "latency": None, "typical_latency": None}
    assert sentences.comparisons([row("a", **nothing)], LABELS) == ["None of the planned rounds was measured."]


@pytest.mark.parametrize(
    ("model", "said"), [("openai/GPT-oss-120b", ""), ("openai/gpt-oss-20b", "different models (Alpha: gpt-oss-120b")]
)
def test_a_model_is_told_by_its_name_whoever_owns_it(model, said):
    rounds = [measured("a", facts={"model": "gpt-oss-120b"}), measured("b", facts={"model": model})]
    text = sentences.confounded(rounds, [], LABELS)
    assert said in text and ("different models" in text) == bool(said)


def test_different_precision_of_one_model_is_confounded():
    rounds = [measured("a", facts={"model": "m", "precision": "Q4_1"})]
    rounds += [measured("b", facts={"model": "m", "precision": "bf16"})]
    text = sentences.confounded(rounds, [], LABELS)
    assert "different precisions of the same model (Alpha: Q4_1, Beta: bf16)" in text


def test_different_output_lengths_are_confounded():
    rows = [row("a"), row("b", completion_tokens=60.0)]
    text = sentences.confounded([measured("a"), measured("b")], rows, LABELS)
    assert "different mean output lengths in tokens (Alpha: 30.0, Beta: 60.0)" in text


def test_rounds_one_side_after_the_other_are_not_interleaved():
    hours = {"a": (10, 11), "b": (12, 13)}
    rounds = [measured(name, f"2026-01-01T{hour}:00:00+00:00") for name in hours for hour in hours[name]]
    assert "were not interleaved" in sentences.confounded(rounds, [], LABELS)


def test_interleaved_rounds_are_not_confounded_by_time():
    hours = {"a": (10, 12), "b": (11, 13)}
    rounds = [measured(name, f"2026-01-01T{hour}:00:00+00:00") for name in hours for hour in hours[name]]
    assert sentences.confounded(rounds, [], LABELS) == ""


def test_a_client_that_was_the_limit_is_named():
    fine = {"cpu_share": 0.1, "lag_p99_s": 0.001, "late_sends": 0, "limited": False}
    limited = {"cpu_share": 0.82, "lag_p99_s": 0.02, "late_sends": 3, "limited": True}
    text = sentences.limited_client([measured("a", client=fine), measured("b", client=limited)], LABELS)
    assert text.startswith("The client may have added to the latencies (Beta in one): it used up to 82 % of a core, ")
    assert "lagged by up to 20 ms (p99), and sent up to 3 requests of a round late" in text
    assert sentences.limited_client([measured("a", client=fine)], LABELS) == ""


def test_a_client_without_late_sends_says_nothing_of_them():
    limited = {"cpu_share": 0.95, "lag_p99_s": 0.02, "late_sends": 0, "limited": True}
    assert "late" not in sentences.limited_client([measured("b", client=limited)], LABELS).replace("latencies", "")


def test_what_limits_a_comparison_is_said_in_short_lines():
    rounds = [measured("a", facts={"model": "m", "precision": "Q4_1"}, host_activity={"share_of_others": 0.3})]
    rounds += [measured("b", facts={"model": "m", "precision": "bf16"})]
    rows = [row("a", labels="too short for a throughput: 2 requests per slot"), row("b", completion_tokens=60.0)]
    assert sentences.limitations([], rounds, rows, LABELS) == [
        "Busy host: other programs used 30 % of the CPU time in 1 of 2 rounds. Comparisons leave these out.",
        "Not like for like: Q4_1 against bf16; different mean output lengths in tokens.",
        "Too short for a throughput (1 load).",
    ]
    assert sentences.limitations([], [measured("a")], [row("a")], LABELS) == []
    named = sentences.limitations([], rounds, rows, {"a": "Llama, 8 A100", "b": "Llama, CS-3"})
    assert "Not like for like: Q4_1 against bf16;" in named[1]


def test_a_lag_and_one_late_send_that_are_nothing_beside_the_latency_are_not_said():
    client = {"cpu_share": 0.01, "lag_p99_s": 0.006, "late_sends": 1, "limited": True}
    slow, quick = (row("b", latency=Times(20, median, median, median, median)) for median in (4.0, 0.3))
    assert sentences.limited_client([measured("b", client=client)], LABELS, [slow]) == ""
    assert sentences.limited_client([measured("b", client=client)], LABELS, [quick]) != ""


def test_rates_come_with_their_range_and_the_spread_of_repeats():
    rows = [size(4), size(8, steady_rate_samples_per_s=80.0, steady_rate_lowest=78.0, steady_rate_highest=82.0)]
    text = sentences.rates(rows, LABELS)
    assert "between 40.0 samples/s (batch 4) and 80.0 samples/s (batch 8)" in text
    assert "2 runs each, repeats of the same size differed by up to 5.1 % (no interval)" in text


def test_one_run_each_has_no_uncertainty():
    text = sentences.rates([size(4, repeats=1), size(8, repeats=1)], LABELS)
    assert "one run each: no uncertainty can be given" in text


def test_sizes_that_saw_different_data_are_not_ranked_by_loss():
    text = sentences.losses([size(4), size(8)], LABELS)
    assert "at the same 50 steps the runs saw 200 to 400 samples" in text
    assert "don't show which batch size learns better" in text


def test_sizes_that_saw_equal_data_show_their_held_out_losses():
    text = sentences.losses([size(4, samples_seen=400), size(8, samples_seen=400, held_out_loss=5.5)], LABELS)
    assert "held-out losses are 5.000 to 5.500" in text
    assert "no size is called better" in text


def test_no_training_and_no_endpoints_are_said():
    said = sentences.summary_sentences([], [], [], {})
    assert said == ["No training runs are in this report.", "No endpoints are in this report."]


def test_planned_but_unmeasured_training_is_said():
    gone = size(4, repeats=0, steady_rate_samples_per_s=None, samples_seen=None)
    assert sentences.rates([gone], LABELS) == "None of the planned training runs was measured."
    assert sentences.losses([gone], LABELS) == ""


def test_a_rate_that_no_log_has_is_said():
    assert "no steady rate could be measured" in sentences.rates([size(4, steady_rate_samples_per_s=None)], LABELS)


def test_a_held_out_loss_that_is_nan_is_said():
    rows = [size(4, samples_seen=400), size(8, samples_seen=400, held_out_loss=float("nan"))]
    assert "a run diverged" in sentences.losses(rows, LABELS)


def test_labels_are_told_by_kind_with_their_loads():
    rows = [row("a", labels="too short for a throughput: 2 requests per slot; tokens estimated: 1 of 2"),
            row("b", labels="too short for a throughput: 3 requests per slot"), row("b", cell="two")]  # fmt: skip
    assert sentences.labelled(rows, LABELS) == (
        "Read with care: too short for a throughput (Alpha in one and Beta in one); tokens estimated "
        "(Alpha in one). The reasons are listed under the tables."
    )
    assert sentences.labelled(rows[2:], LABELS) == ""


@pytest.mark.parametrize(
    ("factor", "rounds", "said"),
    [
        (2.5, 4, r"Beta took 2\.5 times as long as Alpha per answer\. 95 % interval [\d.]+× to [\d.]+×; "
                 r"\d+ pairs in 4 rounds; stragglers rarer than 1 in \d+ may be missing\."),
        (1.0, 4, r"Beta and Alpha: equal within ±5 %\. 95 % interval .+; \d+ pairs in 4 rounds; stragglers .+"),
        (1.0, 2, r"Beta against Alpha: too few rounds to decide\. \d+ passages and 2 rounds: .+; \d+ pairs in 2 "
                 r"rounds; to resolve 5 %: \d+ rounds, .+ more\."),
    ],
)  # fmt: skip
def test_in_two_sentences_a_verdict_comes_with_what_it_rests_on(factor: float, rounds: int, said: str) -> None:
    text = in_two_sentences(judged(rounds=rounds, factor=factor), LABELS)
    assert re.fullmatch(said, text), text


@pytest.mark.parametrize(
    ("holds_at", "fails_at", "said"),
    [
        (8, 12, "metis meets success>0.9 up to 8 at a time (90 % interval 8 to 12; busy host in 1 of 9 rounds)."),
        (16, None, "metis meets success>0.9 up to 16 at a time (the maximum lies above; busy host in 1 of 9 rounds)."),
        (None, 1, "metis misses success>0.9 even at 1 at a time."),
    ],
)
def test_the_highest_load_is_told_with_how_sure_it_is(holds_at: int | None, fails_at: int | None, said: str) -> None:
    labels = ("busy host in 1 of 9 rounds",)
    found = SearchResult("concurrency", "success>0.9", holds_at, fails_at, (), 9, 90, (), labels)
    assert sentences.searched(SearchRecord("m", "users", "measured", result=found), {"m": "metis"}) == said
