"""Where the seconds go: every one to a phase, none twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelbench.training.log.timeline import PHASES, Event, StepPace, Timeline

EVENTS = st.lists(st.tuples(st.sampled_from(list(Event)), st.none() | st.floats(0, 1e6, allow_nan=False)), max_size=60)


def timeline_of(*events: tuple[Event, float | None]) -> Timeline:
    timeline = Timeline()
    for event, t in events:
        timeline.add(event, t)
    return timeline


def spent(timeline: Timeline) -> dict[str, float]:
    return {name: seconds for name, seconds in timeline.phases_s().items() if seconds}


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_phases_add_up_to_the_wall_time(events):
    timeline = timeline_of(*events)
    phases = timeline.phases_s()
    assert tuple(phases) == PHASES
    if timeline.wall_s() is None:
        assert set(phases.values()) == {None}
    else:
        assert sum(seconds or 0 for seconds in phases.values()) == pytest.approx(timeline.wall_s(), abs=0.1)
        assert all(seconds is None or seconds >= 0 for seconds in phases.values())


def test_after_the_loop_starts_a_cpu_trains_and_a_cs3_is_still_set_up():
    cpu = timeline_of((Event.LOOP, 0), (Event.STEP, 10))
    csx = timeline_of((Event.LOOP, 0), (Event.COMPILE, 10))
    assert (spent(cpu), spent(csx)) == ({"train": 10}, {"setup": 10})


def test_a_job_that_queues_queues_from_its_submission_until_the_cluster_says_otherwise():
    timeline = timeline_of(
        (Event.COMPILE_JOB, 0),
        (Event.QUEUED, 10),
        (Event.QUEUED, 600),
        (Event.POLL, 700),
        (Event.COMPILE, 720),
    )
    assert spent(timeline) == {"queue": 700, "compile": 20}


def test_a_job_that_never_queues_has_a_queue_of_zero_and_its_pods_count_as_what_they_start():
    timeline = timeline_of((Event.EXECUTE_JOB, 0), (Event.POLL, 20), (Event.POLL, 40), (Event.STAGING, 50))
    assert timeline.phases_s()["queue"] == 0
    assert spent(timeline) == {"staging": 50}


def test_a_cpu_run_says_nothing_of_a_queue():
    assert timeline_of((Event.LOOP, 0), (Event.STEP, 1)).phases_s()["queue"] is None


def test_the_last_checkpoint_is_followed_by_teardown_and_one_on_the_way_by_training():
    timeline = timeline_of(
        (Event.STEP, 0),
        (Event.SAVING, 1),
        (Event.SAVED, 11),
        (Event.STEP, 13),
        (Event.SAVING, 14),
        (Event.SAVED, 34),
        (Event.TRAINED, 39),
    )
    assert spent(timeline) == {"train": 4, "checkpoint": 30, "teardown": 5}


def test_between_a_process_that_was_stopped_and_the_next_nothing_trains():
    timeline = timeline_of(
        (Event.START, 0), (Event.LOOP, 2), (Event.STEP, 7), (Event.START, 100), (Event.LOOP, 101), (Event.STEP, 106)
    )
    assert spent(timeline) == {"setup": 3, "train": 10, "other": 93}


def test_an_initial_checkpoint_is_followed_by_setup():
    timeline = timeline_of((Event.SAVING, 0), (Event.SAVED, 5), (Event.COMPILE, 8))
    assert spent(timeline) == {"checkpoint": 5, "setup": 3}


def test_the_compile_of_an_evaluation_is_compile_and_its_batches_are_eval():
    timeline = timeline_of(
        (Event.STEP, 0),
        (Event.TRAINED, 1),
        (Event.EVAL, 2),
        (Event.COMPILE, 3),
        (Event.STAGING, 63),
        (Event.RUN, 70),
        (Event.EVAL_STEP, 75),
        (Event.EVAL_DONE, 80),
    )
    assert spent(timeline) == {"train": 1, "teardown": 1, "eval": 11, "compile": 60, "staging": 7}


def test_an_evaluation_that_nothing_announces_is_still_eval():
    assert spent(timeline_of((Event.RUN, 0), (Event.EVAL_STEP, 4), (Event.EVAL_DONE, 6))) == {"eval": 6}


def test_an_error_that_training_survives_costs_no_teardown():
    assert spent(timeline_of((Event.STEP, 0), (Event.FAILED, 1), (Event.STEP, 3))) == {"train": 3}


def test_time_never_runs_backwards():
    timeline = timeline_of((Event.STEP, 100), (Event.STEP, 40), (Event.STEP, 110))
    assert (timeline.wall_s(), timeline.backwards_s) == (10, 60)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.5, 100)), min_size=1, max_size=30),
    st.integers(1, 4096),
)
def test_the_steady_rate_is_samples_over_seconds(intervals, batch):
    pace, step, t = StepPace(), 10, 1000.0
    pace.step(step, t)
    for steps, seconds in intervals:
        step, t = step + steps, t + seconds
        pace.step(step, t)
    assert pace.samples_per_s(batch) == pytest.approx((step - 10) * batch / (t - 1000.0))


def test_an_interval_with_a_checkpoint_is_left_out_of_the_steady_rate():
    pace = StepPace()
    pace.step(10, 0)
    pace.step(20, 10)
    pace.event(Event.SAVING)
    pace.event(Event.SAVED)
    pace.step(30, 500)
    pace.step(40, 510)
    assert pace.samples_per_s(8) == 8


def test_a_restart_begins_a_new_stretch():
    pace = StepPace()
    for step, t in [(10, 0), (20, 10), (5, 100), (15, 110)]:
        pace.step(step, t)
    assert pace.step_s() == 1


@pytest.mark.parametrize("lines", [[], [(10, 0)], [(10, 0), (20, 0)]])
def test_without_two_lines_apart_there_is_no_steady_rate(lines):
    pace = StepPace()
    for step, t in lines:
        pace.step(step, t)
    assert pace.samples_per_s(8) is None


def test_without_a_batch_size_there_is_no_steady_rate():
    pace = StepPace()
    pace.step(1, 0)
    pace.step(2, 1)
    assert pace.samples_per_s(None) is None
