"""A log of a run that was taken up again: two parts in one file."""

import pytest

from .conftest import CRASH, at, doubts, trained


def part(t: float, first: int, *, start: str = "Current Working Directory: /home/user/run") -> list[str]:
    """20 steps of 8 samples in 40 s, logged every 10."""
    return [
        at(t, start),
        at(t + 1, f"Starting train loop 1 of 1, from global step {first} to 120 ({121 - first} steps)"),
        at(t + 11, trained(first + 9)),
        at(t + 21, trained(first + 19)),
    ]


DONE = ("Training completed successfully!", "Processed {} training sample(s) in 22.5 seconds.")


def test_a_run_in_two_parts_is_one_run_and_what_lies_between_is_other(parse):
    log = parse(
        *part(0, 81), *CRASH, "KeyboardInterrupt",
        *part(3621, 101), at(3642, DONE[0]), at(3642.5, DONE[1].format(160)),
    )  # fmt: skip
    assert (log.outcome, log.failure, log.parts) == ("completed", None, 2)
    assert (log.first_step, log.last_step, log.max_steps, log.batch_size) == (90, 120, 120, 8)
    assert log.steady_rate_samples_per_s == 8.0
    assert (log.wall_s, log.phases_s["other"]) == (3642.5, 3600)
    assert (log.phases_s["setup"], log.phases_s["train"]) == (2.0, 40.0)
    assert sum(seconds or 0 for seconds in log.phases_s.values()) == log.wall_s
    assert doubts(log) == {"parts", "failure"}


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param([], id="killed"),
        pytest.param([at(22, "Job wsjob-a was cancelled due to ", "WARNING")], id="Ctrl-C"),
        pytest.param([at(22, "Job wsjob-a failed due to: canceled-by-csctl", "ERROR")], id="csctl"),
        pytest.param([at(22, "Initiating shutdown sequence due to NaN error: x", "ERROR"),
                      at(22, DONE[1].format(176))], id="failed"),
    ],
)  # fmt: skip
def test_how_the_first_part_ended_is_no_outcome_of_the_second(parse, ended):
    log = parse(*part(0, 81), *ended, *part(1000, 101)[:3])
    assert (log.outcome, log.failure, log.batch_size) == ("incomplete", None, None)
    assert parse(*part(0, 81), *ended, *part(1000, 101), *CRASH, "ValueError: no").failure["class"] == "ValueError"


def test_a_resumed_run_repeats_the_steps_since_its_checkpoint(parse):
    log = parse(*part(0, 81), *part(1000, 91), at(1022, DONE[0]))
    assert (log.outcome, log.last_step, log.max_steps) == ("incomplete", 110, 120)
    assert [(row.step, row.t_s) for row in log.steps] == [(90, 11), (100, 1011), (110, 1021)]
    assert "parts" in doubts(log)
    assert log.steady_rate_samples_per_s is None  # no batch size is stated
    assert parse(*part(0, 81), *part(1000, 91), batch_size=8).steady_rate_samples_per_s == 8.0


@pytest.mark.parametrize(
    "start", ["Checkpoint autoloading is enabled. Looking for …", "Gradient accumulation steps is 1"]
)
def test_a_part_also_begins_where_the_log_does_not_name_its_folder(parse, start):
    log = parse(*part(0, 81, start=start), *part(1000, 101, start=start))
    assert log.parts == 2
    assert log.phases_s["other"] == pytest.approx(979, abs=1)


def test_a_job_that_was_still_starting_when_it_was_killed_keeps_its_phase(parse):
    log = parse(
        at(0, "Initiating a new compile wsjob against the cluster server."),
        at(10, "Poll ingress status: Waiting for all Coordinator pods to be running, current running: 0/1."),
        at(30, "Poll ingress status: Waiting for job ingress readiness."),
        *part(100, 1),
    )
    assert (log.phases_s["compile"], log.phases_s["other"]) == (30, 70)


def test_several_loops_of_one_process_are_one_part(parse):
    loops = [at(n * 30, f"Starting train loop {n} of 3, from global step {n} to {n} (1 steps)") for n in (1, 2, 3)]
    assert parse(*(line for n, loop in enumerate(loops) for line in (loop, at(n * 30 + 40, trained(n + 1))))).parts == 1
