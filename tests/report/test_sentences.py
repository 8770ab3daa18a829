"""What the summary may say, and what it must not."""

from dataclasses import replace

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.statistics import Description, Estimate
from accelbench.analysis.training import TrainingRow
from accelbench.records import InferRoundRecord, TrainRunRecord
from accelbench.report import sentences

LABELS = {"a": "Alpha", "b": "Beta", "cpu": "this CPU"}
NO_INTERVAL = Estimate(1.7, None, None, 8, "8 passages and 2 rounds: an interval takes at least 5 and 3")


def row(endpoint: str, cell: str = "one", ratio: Estimate | None = None, **changes: object) -> InferenceRow:
    latency = Description(20, 1.0, 0.9, 0.5, 2.0)
    typical = Estimate(0.95, 0.9, 1.0, 20)
    quality = {"exact_match": None, "f1": None, "contains_gold": None}
    speeds = {"total_tok_per_s": None, "output_tok_per_s": None, "system_output_tok_per_s": None}
    made = InferenceRow(
        endpoint=endpoint, cell=cell, concurrency=1, rounds=5, rounds_planned=5, requests=20, successes=20,
        latency=latency, typical_latency=typical, ttft=None, tpot=None, prompt_tokens=None, completion_tokens=30.0,
        failures=None, missing=None, ratio_to_baseline=ratio, baseline="a", **quality, **speeds,
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


def compared(ratio: Estimate | None, **changes: object) -> str:
    return " ".join(sentences.comparisons([row("a"), row("b", ratio=ratio, **changes)], LABELS))


def test_an_interval_above_one_is_slower_for_this_session():
    text = compared(Estimate(2.5, 2.1, 3.0, 40))
    assert "For this session, Beta was slower than Alpha" in text
    assert "2.50 in one (95 % interval 2.10 to 3.00, n = 40 pairs)" in text


def test_an_interval_below_one_is_faster():
    assert "Beta was faster than Alpha" in compared(Estimate(0.5, 0.4, 0.6, 40))


def test_an_interval_around_one_shows_no_difference():
    text = compared(Estimate(1.1, 0.9, 1.3, 40))
    assert "no difference in latency could be shown: ratio 1.10 in one" in text
    assert "slower" not in text and "faster" not in text and "equal" not in text


def test_an_interval_that_touches_one_shows_no_difference():
    assert "no difference" in compared(Estimate(1.2, 1.0, 1.4, 40))


def test_without_an_interval_the_reason_is_said_and_nobody_is_faster():
    text = compared(NO_INTERVAL)
    assert NO_INTERVAL.why_no_interval in text
    assert "neither is called faster" in text


def test_endpoints_without_a_common_answer_are_not_compared():
    text = compared(None, successes=0, latency=None, typical_latency=None)
    assert "can't be compared in one: no prompt was answered by both" in text


def test_a_ratio_refers_to_the_configured_baseline_even_when_it_stands_second():
    ratio = Estimate(2.0, 1.5, 2.5, 9)
    rows = [row("a", ratio=ratio, baseline="b"), row("b", baseline="b")]
    assert "Alpha was slower than Beta" in sentences.comparisons(rows, LABELS)[0]


def test_each_load_has_its_own_verdict():
    rows = [row("a"), row("b", ratio=Estimate(2.0, 1.5, 2.5, 9)), row("a", "two"), row("b", "two", NO_INTERVAL)]
    (text,) = sentences.comparisons(rows, LABELS)
    assert "slower than Alpha: latency ratio 2.00 in one" in text
    assert "latency ratio 1.70 in two" in text


def test_one_endpoint_is_described_not_compared():
    (text,) = sentences.comparisons([row("a")], LABELS)
    assert text.startswith("Alpha, one: median latency 0.900 s (n = 20)")
    assert "slower" not in text and "ratio" not in text


def test_many_endpoints_are_left_to_the_table():
    ratio = Estimate(2.0, 1.5, 2.5, 9)
    said = sentences.comparisons([row("a"), *(row(name, ratio=ratio) for name in "bcde")], LABELS)
    assert len(said) == sentences.MAX_COMPARED
    assert "d and e stands in the table" in said[-1]


def test_failures_are_counted_with_their_class():
    text = sentences.outcomes([row("a"), row("b", successes=18, failures="2 timeout_total")], LABELS)
    assert text.startswith("2 of 40 requests failed: Beta in one (2 timeout_total).")


def test_no_failure_is_said_too():
    assert sentences.outcomes([row("a")], LABELS) == "All 20 requests succeeded."


def test_missing_measurements_are_counted_by_state():
    run = TrainRunRecord("cpu", 4, 1, "failed", "out of memory")
    gone = InferRoundRecord("a", "one", 2, "missing", "not measured yet")
    text = sentences.absent([run], [measured("a"), gone])
    assert text == "2 of 3 planned measurements are not in this report: 1 failed and 1 missing."


def test_nothing_missing_is_no_sentence():
    assert sentences.absent([], [measured("a")]) == ""


def test_rounds_that_were_all_missing_are_said():
    nothing = {"requests": 0, "successes": 0, "rounds": 0, "latency": None, "typical_latency": None}
    assert sentences.comparisons([row("a", **nothing)], LABELS) == ["None of the planned rounds was measured."]


def test_different_precision_of_one_model_is_confounded():
    rounds = [measured("a", facts={"model": "m", "precision": "Q4_1"})]
    rounds += [measured("b", facts={"model": "m", "precision": "bf16"})]
    text = sentences.confounded(rounds, [], LABELS)
    assert "the same model in different precision (Alpha: Q4_1, Beta: bf16)" in text


def test_different_output_lengths_are_confounded():
    rows = [row("a"), row("b", completion_tokens=60.0)]
    text = sentences.confounded([measured("a"), measured("b")], rows, LABELS)
    assert "different mean output lengths in tokens: one (Alpha: 30.0, Beta: 60.0)" in text


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
    assert text.startswith("The client itself was the limit (Beta in one): it took up to 82 % of a core, lagged by up")
    assert "20 ms (p99) and sent up to 3 requests" in text
    assert sentences.limited_client([measured("a", client=fine)], LABELS) == ""


def test_rates_come_with_their_range_and_the_spread_of_repeats():
    rows = [size(4), size(8, steady_rate_samples_per_s=80.0, steady_rate_lowest=78.0, steady_rate_highest=82.0)]
    text = sentences.rates(rows, LABELS)
    assert "between 40.0 samples/s (batch 4) and 80.0 samples/s (batch 8)" in text
    assert "2 runs each, repeats of one size were up to 5.1 % apart (no interval)" in text


def test_one_run_each_has_no_uncertainty():
    text = sentences.rates([size(4, repeats=1), size(8, repeats=1)], LABELS)
    assert "one run each: no uncertainty can be given" in text


def test_sizes_that_saw_different_data_are_not_ranked_by_loss():
    text = sentences.losses([size(4), size(8)], LABELS)
    assert "at the same 50 steps the runs saw 200 to 400 samples" in text
    assert "is not answered" in text


def test_sizes_that_saw_equal_data_show_their_held_out_losses():
    text = sentences.losses([size(4, samples_seen=400), size(8, samples_seen=400, held_out_loss=5.5)], LABELS)
    assert "held-out losses are 5.000 to 5.500" in text
    assert "no size is called better" in text


def test_no_training_and_no_endpoints_are_said():
    said = sentences.summary_sentences([], [], [], {})
    assert said == ["No training runs are part of this.", "No endpoints are part of this."]


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
        "To be read with care: too short for a throughput (Alpha in one and Beta in one); tokens estimated "
        "(Alpha in one). The reasons stand under the tables."
    )
    assert sentences.labelled(rows[2:], LABELS) == ""
