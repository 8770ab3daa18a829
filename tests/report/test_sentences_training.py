"""What may be said of a sweep: sizes against repeats, and runs that mostly did not train."""

from dataclasses import replace
from typing import Any

from accelbench.analysis.sweep import sweeps_of
from accelbench.analysis.training import training_rows
from accelbench.report.sentences import summary_sentences
from accelbench.report.sentences_training import not_training, rates, rates_differ
from accelbench.store.records import ParsedLog, TrainRunRecord

LABELS = {"cpu": "this CPU"}


def run(batch_size: int, repeat: int = 1, platform: str = "cpu", **log: Any) -> TrainRunRecord:
    return TrainRunRecord(platform, batch_size, repeat, "measured", None, log=ParsedLog(**log))


def sweep(rates: dict[int, list[float]], platform: str = "cpu") -> list[TrainRunRecord]:
    return [
        run(size, number, platform, steady_rate_samples_per_s=rate)
        for size, own in rates.items()
        for number, rate in enumerate(own, start=1)
    ]


def test_sizes_that_differ_more_than_repeats_are_said_to_for_this_session():
    text = rates_differ(sweeps_of(sweep({4: [10.0, 10.1, 10.05], 8: [20.0, 20.2, 20.1]})), LABELS)
    assert text.startswith("For this session, the sizes differ more than repeats do")
    assert "size means differed by up to 100 %, repeats of the same size by up to 1.0 %" in text
    assert "6 rates: F =" in text and "p < 0.001" in text
    assert "nor anything about other days" in text


def test_no_difference_is_not_called_equal():
    text = rates_differ(sweeps_of(sweep({4: [10.0, 11.0, 10.5], 8: [10.1, 11.1, 10.4]})), LABELS)
    assert "can't be told from run-to-run variation" in text
    assert "does not show that they are equal" in text


def test_one_run_each_can_not_be_told_from_run_to_run_change():
    text = rates_differ(sweeps_of(sweep({4: [10.0], 8: [20.0]})), LABELS)
    assert text == "Differences between sizes can't be told from run-to-run variation: that needs 3 runs of each."


def test_identical_repeats_allow_no_test():
    assert "no test is possible" in rates_differ(sweeps_of(sweep({4: [10.0] * 3, 8: [20.0] * 3})), LABELS)


def test_two_runs_of_a_size_allow_no_test():
    text = rates_differ(sweeps_of(sweep({4: [10.0, 10.1], 8: [20.0, 20.2, 20.1]})), LABELS)
    assert "a test needs 3 runs of every size" in text and "p = " not in text


def test_the_test_is_corrected_for_all_that_the_report_tests():
    runs = sweep({4: [10.0, 10.1, 10.05], 8: [10.3, 10.5, 10.35]})
    found = sweeps_of(runs)
    assert "the sizes differ" in rates_differ(found, LABELS) and "be told from" in rates_differ(found, LABELS, tests=40)


def test_runs_on_a_busy_host_say_nothing_of_batch_sizes():
    busy = {"share_of_others": 0.83, "steal_share": 0.0, "cores": 2}
    runs = [replace(r, host_activity=busy) for r in sweep({4: [10.0, 10.1, 10.05], 8: [20.0, 20.2, 20.1]})]
    text = rates_differ(sweeps_of(runs), LABELS)
    assert "differ more" not in text and "6 runs on a busy host left out" in text
    (first, *_) = summary_sentences([], [], [], LABELS, runs)
    assert first.startswith("The machine was busy: other programs used 83 % of both cores in 6 of 6 training runs.")


def test_a_single_size_has_nothing_to_differ_from():
    assert rates_differ(sweeps_of(sweep({4: [10.0, 11.0]})), LABELS) == ""
    assert rates_differ(sweeps_of([]), LABELS) == ""


def test_each_platform_is_judged_by_itself():
    runs = [*sweep({4: [10.0], 8: [20.0]}), *sweep({4: [10.0, 10.1, 10.05], 8: [20.0, 20.2, 20.1]}, "gpu")]
    text = rates_differ(sweeps_of(runs), LABELS)
    assert "On this CPU, differences between sizes" in text
    assert "On gpu, for this session, the sizes differ" in text


def shares(*not_trained: float) -> list[TrainRunRecord]:
    return [
        run(2**place, wall_s=100.0, phases_s={"train": 100 * (1 - share), "queue": 60 * share, "compile": 40 * share})
        for place, share in enumerate(not_trained, start=2)
    ]


def test_a_run_that_mostly_waited_is_named_with_where_its_time_went():
    text = not_training(sweeps_of(shares(0.82, 0.26, 0.16, 0.13)), LABELS)
    assert text.startswith("this CPU, batch 4, repeat 1: 82 % of its time is not training (median of the sweep: 21 %)")
    assert "mostly queue 49.2 s and compile 32.8 s" in text


def test_totals_without_phases_do_not_say_where_the_time_went():
    published = {"processed_samples": 51_200, "processed_seconds": 8615.0, "global_rate_samples_per_s": 32.86}
    text = not_training(sweeps_of([*shares(0.2, 0.1), run(256, **published)]), LABELS)
    assert "82 % of its time is not training" in text
    assert "queue, compile, loading or checkpoints; the totals don't say which" in text


def test_an_even_sweep_names_no_run():
    assert not_training(sweeps_of(shares(0.6, 0.5, 0.55)), LABELS) == ""


def test_sizes_without_a_quiet_run_are_in_no_sentence_on_rates():
    busy = {"share_of_others": 0.83, "steal_share": 0.0, "cores": 2}
    runs = sweep({4: [10.0, 10.1], 8: [20.0, 20.2], 16: [5.0, 5.1]})
    runs = [replace(r, host_activity=busy) if r.batch_size == 16 else r for r in runs]
    said = rates(training_rows(runs), LABELS)
    assert "over 2 batch sizes" in said and "(1 batch size left out" in said and "batch 16" not in said
    runs = [replace(r, host_activity=busy) for r in runs]
    assert rates(training_rows(runs), LABELS) == (
        "this CPU: no steady rate is named, as the host was disturbed during all runs."
    )
