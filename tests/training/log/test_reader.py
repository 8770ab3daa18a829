"""One training log, read: the outcomes and the figures."""

import pytest

from accelbench.store.records import HeldOut, Step, Wsjob
from accelbench.training.log import grammar
from accelbench.training.log.reader import read_log

from .conftest import CRASH, GOOD, at, doubts, trained

# The figures of a good run


def test_a_good_run_is_read_whole(parse):
    log = parse(*GOOD)
    assert (log.outcome, log.failure, log.checks) == ("completed", None, ())
    assert (log.device, log.max_steps) == ("cpu", 20)
    assert (log.first_step, log.last_step, log.final_loss, log.final_loss_mean) == (10, 20, 6.0, 6.25)
    assert (log.rate_mean_samples_per_s, log.rate_last_samples_per_s) == (8.0, 8.0)
    assert (log.global_rate_samples_per_s, log.steady_rate_samples_per_s) == (8.0, 8.0)
    assert (log.processed_samples, log.processed_seconds, log.processed_covers) == (160, 22.000000001, "fit")
    assert (log.batch_size, log.wall_s) == (8, 23.0)
    assert {name: seconds for name, seconds in log.phases_s.items() if seconds is not None} == {
        "setup": 1.0,
        "train": 21.0,
        "teardown": 1.0,
        "other": 0.0,
    }
    assert log.steps == (Step(10, 11.0, 6.5, 8.0, 8.0), Step(20, 21.0, 6.0, 8.0, 8.0))
    assert log.sources["final_loss"] == "run.log"
    assert "micro_batch" not in log.sources


def test_a_missing_file_is_the_callers_error(tmp_path):
    with pytest.raises(OSError):
        read_log(tmp_path / "none.log")


def test_an_empty_file_says_nothing(tmp_path):
    (tmp_path / "run.log").touch()
    log = read_log(tmp_path / "run.log")
    assert (log.outcome, log.wall_s, log.last_step, log.sources) == ("incomplete", None, None, {})
    assert set(log.phases_s.values()) == {None}


# Outcomes


def test_processed_alone_proves_nothing(parse):
    assert parse(*GOOD[:4], GOOD[5]).outcome == "incomplete"


def test_a_train_loop_that_completed_short_of_the_plan_is_incomplete(parse):
    log = parse(*GOOD[:3], *GOOD[4:])
    assert (log.outcome, log.last_step, log.max_steps) == ("incomplete", 10, 20)
    assert "max_steps" in doubts(log)


def test_a_log_without_its_plan_completes_with_a_doubt(parse):
    log = parse(*GOOD[2:])
    assert (log.outcome, log.max_steps) == ("completed", None)
    assert "max_steps" in doubts(log)


@pytest.mark.parametrize(
    ("lines", "outcome", "name"),
    [
        ([at(30, "Initiating shutdown sequence due to NaN error: x", "ERROR")],
         "failed", "ApplianceNanError"),
        ([at(30, "Initiating shutdown sequence due to job timeout: x", "ERROR")],
         "failed", "ApplianceRuntimeJobTimeoutError"),
        ([at(30, "Job wsjob-a failed during initialization: x"), *CRASH, "a.ClusterJobInitError: x"],
         "failed", "ClusterJobInitError"),
        ([at(30, "Job wsjob-a failed due to: x, canceled-by-csctl", "ERROR")],
         "cancelled", "ClusterJobCancelledByCsctl"),
        (["Job canceled successfully"], "cancelled", None),
        ([at(30, "Job wsjob-ab was cancelled due to ", "WARNING")], "interrupted", "KeyboardInterrupt"),
        ([*CRASH, "KeyboardInterrupt"], "interrupted", "KeyboardInterrupt"),
        ([*CRASH, "ValueError: no", "", "The above exception …", *CRASH, "RuntimeError: yes"],
         "failed", "ValueError"),
        ([*CRASH], "failed", None),
        (["Exception ignored in: <function f>", *CRASH, "TypeError: x"], "incomplete", None),
        ([at(30, "Found deprecated fields. ValueError: is only a word here")], "incomplete", None),
    ],
)  # fmt: skip
def test_how_a_run_that_did_not_complete_ended(parse, lines, outcome, name):
    log = parse(*GOOD[:4], *lines)
    assert (log.outcome, log.failure and log.failure["class"]) == (outcome, name)


def test_a_traceback_over_the_end_of_a_block_still_has_its_name(parse):
    padding = "x" * (grammar.BLOCK_BYTES - 100)
    log = parse(padding, CRASH[0], *["  File y"] * 20, "ValueError: no")
    assert (log.failure and log.failure["class"], log.failure and log.failure["line_no"]) == ("ValueError", 23)


def test_a_failure_after_which_the_run_completes_is_a_doubt(parse):
    log = parse(*GOOD[:3], at(12, "Heartbeat to the Appliance failed with error code 14", "ERROR"), *GOOD[3:])
    assert (log.outcome, log.failure) == ("completed", None)
    assert "failure" in doubts(log)


def test_samples_of_a_failed_run_give_no_batch_size(parse):
    log = parse(*GOOD[1:4], *CRASH, "ValueError: no", GOOD[5])
    assert (log.outcome, log.batch_size) == ("failed", None)
    assert "processed" in doubts(log)


# Batch size, steps, rates


def test_a_given_batch_size_counts_and_a_different_one_in_the_log_is_a_doubt(parse):
    log = parse(*GOOD, batch_size=16)
    assert (log.batch_size, log.steady_rate_samples_per_s, log.sources["batch_size"]) == (
        16,
        16.0,
        "argument",
    )
    assert "batch_size" in doubts(log)


def test_a_resumed_run_counts_only_its_own_steps(parse):
    log = parse(
        at(0, "Starting train loop 1 of 1, from global step 101 to 120 (20 steps)"),
        at(10, trained(110)),
        at(20, trained(120)),
        *GOOD[4:],
    )
    assert (log.outcome, log.max_steps, log.batch_size) == ("completed", 120, 8)


def test_a_resumed_run_whose_beginning_is_missing_gives_no_batch_size(parse):
    log = parse(
        at(10, trained(110)),
        at(20, trained(120)),
        at(21, GOOD[4][32:]),
        at(22, "Processed 240 training sample(s) in 22.0 seconds."),
    )
    assert log.batch_size is None  # 240 / 120 = 2, but 8 samples/s at 1 step/s


def test_a_log_from_the_middle_gives_the_batch_size_when_the_rates_agree_with_it(parse):
    assert parse(*GOOD[2:]).batch_size == 8


def test_of_several_loops_the_plan_is_the_last_ones_end(parse):
    def loop(index: int, first: int, t: float) -> list[str]:
        return [
            at(t, f"Starting train loop {index} of 2, from global step {first} to {first + 9} (10 steps)"),
            at(t + 5, trained(first + 4)),
            at(t + 10, trained(first + 9)),
            at(t + 11, "Training completed successfully!"),
        ]

    plan = at(0, "for a total of 20 train steps.")
    half = parse(plan, *loop(1, 1, 1))
    whole = parse(
        plan, *loop(1, 1, 1), *loop(2, 11, 100), at(112, "Processed 160 training sample(s) in 112.0 seconds.")
    )
    assert (half.outcome, half.max_steps) == ("incomplete", 20)
    assert (whole.outcome, whole.max_steps, whole.batch_size) == ("completed", 20, 8)
    assert whole.steady_rate_samples_per_s == 8.0  # the pause between the loops is no part of it


def test_disagreeing_rates_are_a_doubt(parse):
    assert "rates" in doubts(parse(*GOOD[:2], at(11, trained(10, rate=565.39)), *GOOD[3:]))
    assert "rates" not in doubts(parse(*GOOD))


def test_a_global_rate_that_counts_a_step_more_than_it_has_timed_is_no_doubt(parse):
    """ModelZoo's clock starts at the end of the first step: after 20 steps 20/19 of the rate."""
    log = parse(
        *GOOD[:2], at(11, trained(10, 6.5, global_rate=8 * 10 / 9)), at(21, trained(20, 6.0, global_rate=8 * 20 / 19))
    )
    assert "rates" not in doubts(log)
    assert "rates" in doubts(parse(*GOOD[:3], at(21, trained(20, 6.0, global_rate=8 * 1.1))))


def test_checkpoints_between_all_lines_leave_no_steady_rate(parse):
    log = parse(*GOOD[:3], at(12, "Saving checkpoint at step 10"), at(13, "Saved checkpoint c.mdl"), *GOOD[3:])
    assert log.steady_rate_samples_per_s is None
    assert "steady_rate" in doubts(log)
    assert log.phases_s["checkpoint"] == 1.0


def test_timestamps_that_run_backwards_are_a_doubt(parse):
    log = parse(*GOOD[:3], at(-3600, trained(11)), *GOOD[3:])
    assert log.wall_s == 23.0
    assert "timestamps" in doubts(log)


# Held-out loss


def test_the_held_out_loss_is_the_average_line_and_its_step_the_eval_lines(parse):
    log = parse(
        *GOOD[:5],
        at(22.5, "Starting val_dataloader_0 loop 1 of 1, with 2 steps"),
        at(
            24,
            "| Eval Device=cpu, GlobalStep=20, Batch=1, Loss=9.00000, Rate=1.00 samples/sec",
        ),
        at(
            25,
            "| Eval Device=cpu, GlobalStep=20, Batch=2, Loss=5.92817, Rate=1.00 samples/sec",
        ),
        at(26, "Avg Eval Loss: 5.928174624443054"),
        at(27, "Evaluation metrics:"),
        at(27, "  - eval/lm_perplexity = 375.4686584472656"),
        at(28, "Evaluation completed successfully!"),
        at(29, "Processed 160 training sample(s) in 28.0 seconds."),
    )
    assert log.held_out == (HeldOut(20, 26.0, 5.928174624443054),)
    assert (log.outcome, log.final_loss, log.phases_s["eval"]) == ("completed", 6.0, 5.5)
    assert log.global_rate_samples_per_s == 8.0


def test_a_held_out_loss_may_be_nan_and_may_lack_its_eval_line(parse):
    log = parse(*GOOD[:4], at(22, "Avg Eval Loss: nan"))
    assert [(row.step, str(row.loss)) for row in log.held_out] == [(20, "nan")]


# Older and newer wordings


@pytest.mark.parametrize(
    ("lines", "covers"),
    [
        (["| Train Device=xla:0, Step=5, Loss=1.00000, Rate=1.00 samples/sec, GlobalRate=1.00 samples/sec",
          "Training Complete. Completed 40 sample(s) in 42.468820095062256 seconds."],
         "train_loop"),
        (["Training completed successfully! Processed 40 sample(s) in 42.4 seconds."], "train_loop"),
        (["Training completed successfully!", "Processed 40 sample(s) in 42.4 seconds."],
         "train_loop"),
        (["compile job id: wsjob-a, remote log path: /x", "Processed 40 training sample(s) in 42.4 seconds."],
         "fit"),
        (["Execute job id: wsjob-a, remote log path: /x", "Processed 40 training sample(s) in 42.4 seconds."],
         "fit"),
        (["Starting train loop 1 of 1, from global step 1 to 5",
          "Processed 40 training sample(s) in 9 seconds."],
         "fit"),
    ],
)  # fmt: skip
def test_the_wording_tells_what_the_seconds_cover(parse, lines, covers):
    log = parse(*(at(second, line) for second, line in enumerate(lines)))
    assert (log.processed_samples, log.processed_covers) == (40, covers)


def test_jobs_cached_compile_and_micro_batch(parse):
    log = parse(
        at(0, "Compiling the model. This may take a few minutes."),
        at(1, "Initiating a new compile wsjob against the cluster server."),
        at(2, "Job id: wsjob-aaa, workflow id: wflow-x, namespace: job-operator"),
        at(
            3,
            "Poll ingress status: Job ingress ready, dashboard: https://g/d?orgId=1&var-wsjob=wsjob-aaa&from=1",
        ),
        at(4, "Pre-optimization transforms..."),
        at(5, "Gradient accumulation picked micro batch size 64"),
        at(6, "Compile was successful!"),
        at(7, "Initiating a new execute wsjob against the cluster server."),
        at(8, "Job id: wsjob-bbb, workflow id: wflow-x, namespace: job-operator"),
    )
    assert log.wsjobs == (Wsjob("wsjob-aaa", "compile"), Wsjob("wsjob-bbb", "execute"))
    assert (log.compile_cached, log.micro_batch) == (False, 64)
    assert log.phases_s["compile"] == 6.0
