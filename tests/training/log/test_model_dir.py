"""What a run leaves in its model_dir: read tolerantly, and preferred to the log's lines where it is there."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accelbench.errors import UserError
from accelbench.store.records import ParsedLog
from accelbench.training.log.model_dir import left_behind, newest_log, parse_run, prefer
from accelbench.training.log.reader import read_log
from accelbench.training.log.timeline import PHASES

RUN = "20251125_150000"
LINES = (
    (0, "Starting train loop 1 of 1, from global step 1 to 20 (20 steps)"),
    (10, "Compiling the model. This may take a few minutes."),
    (11, "Initiating a new compile wsjob against the cluster server."),
    (11, "Job id: wsjob-a, workflow id: wflow-x, namespace: job-operator"),
    (31, "Poll ingress status: Waiting for all Coordinator pods to be running, current running: 0/1."),
    (100, "Compile was successful!"),
    (101, "Initiating a new execute wsjob against the cluster server."),
    (101, "Job id: wsjob-b, workflow id: wflow-x, namespace: job-operator"),
    (121, "Poll ingress status: Waiting for all Coordinator pods to be running, current running: 0/1."),
    (150, "Preparing to execute using 1 CSX"),
    (160, "About to send initial weights"),
    (180, "Finished sending initial weights"),
    (200, "Beginning appliance run"),
    (210, "| Train Device=CSX, Step=10, Loss=6.50000, Rate=8.00 samples/sec, GlobalRate=8.00 samples/sec"),
    (220, "| Train Device=CSX, Step=20, Loss=6.00000, Rate=8.00 samples/sec, GlobalRate=8.00 samples/sec"),
    (221, "Training completed successfully!"),
    (221, "Processed 160 training sample(s) in 221.0 seconds."),
)
JOBS = {
    "compile_jobs": [{"id": "wsjob-a", "start_time": "2025-11-25T15:00:11Z", "scheduled_time": "2025-11-25T15:00:30Z"}],
    "execute_jobs": [{"id": "wsjob-b", "start_time": "2025-11-25T15:01:41Z", "scheduled_time": "2025-11-25T15:01:59Z"}],
}
TRACK = {
    "Initialization": [5.0, {}],
    "compile": [88.0, {"pt_cirh": [1.0, {}], "compile_coord_start": [25.0, {"scheduler_wait": [38.0, {}]}]}],
    "execute_till_recv_loss": [
        110.0,
        {"execute_prep_details": [40.0, {"scheduler_wait": [38.0, {}]}], "execute_send_weights": [21.5, {}]},
    ],
}


def log_text(*lines: tuple[float, str]) -> str:
    return "".join(f"2025-11-25 15:{int(t) // 60:02d}:{int(t) % 60:02d},000 INFO:   {line}\n" for t, line in lines)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mytest.log"
    path.write_text(log_text(*LINES))
    return path


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    path = tmp_path / "model_dir"
    (path / "cerebras_logs" / RUN).mkdir(parents=True)
    return path


def leave(model_dir: Path, name: str, content: Any, stage: int = 1) -> None:
    """Write one of the files that a run leaves."""
    place = {"run_meta.json": "cerebras_logs", "run.log": f"cerebras_logs/{RUN}"}.get(name)
    path = model_dir / (place or f"cerebras_logs/{RUN}/executors/{stage:06d}") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def doubts(log: ParsedLog) -> list[str]:
    return [check.what for check in log.checks]


# Which figures are preferred


def test_the_trainers_own_rates_are_preferred_and_named(log: Path, model_dir: Path) -> None:
    leave(model_dir, "performance.json", {"global_rate": 8.125, "rate": 8.5, "flops_utilization": 4.7})
    parsed = parse_run(log, model_dir=model_dir)
    assert (parsed.global_rate_samples_per_s, parsed.rate_last_samples_per_s) == (8.125, 8.0)
    assert parsed.flops_utilization == pytest.approx(0.047)  # it is written in percent
    assert parsed.sources["global_rate_samples_per_s"] == "performance.json"
    assert parsed.sources["rate_last_samples_per_s"] == "mytest.log"
    assert "rates" not in doubts(parsed)


def test_a_rate_that_disagrees_with_the_log_is_a_doubt(log: Path, model_dir: Path) -> None:
    leave(model_dir, "performance.json", {"global_rate": 8.2})
    assert doubts(parse_run(log, model_dir=model_dir)) == ["rates"]


def test_the_queue_is_from_submission_to_schedule_and_its_pods_lose_it(log: Path, model_dir: Path) -> None:
    before = read_log(log).phases_s
    leave(model_dir, "run_meta.json", JOBS)
    parsed = parse_run(log, model_dir=model_dir)
    assert (before["queue"], before["compile"], before["staging"]) == (0, 90, 80)
    assert parsed.phases_s == {**before, "queue": 37, "compile": 71.5, "staging": 61.5}
    assert parsed.sources["phases_s.queue"] == "run_meta.json"
    assert parsed.sources["phases_s"] == "mytest.log"
    assert doubts(parsed) == []


def test_sections_of_the_trainers_clock_are_preferred(log: Path, model_dir: Path) -> None:
    leave(model_dir, "run_meta.json", JOBS)
    leave(model_dir, "track.json", TRACK)
    parsed = parse_run(log, model_dir=model_dir)
    assert parsed.phases_s["compile"] == 88 - 19  # its section spans its queue
    assert parsed.phases_s["weights"] == 21.5
    assert {name for name, source in parsed.sources.items() if source == "track.json"} == {
        "phases_s.compile",
        "phases_s.weights",
    }
    assert sum(seconds or 0 for seconds in parsed.phases_s.values()) == pytest.approx(parsed.wall_s, abs=0.01)


def test_without_the_jobs_the_trainers_clock_knows_the_queue(log: Path, model_dir: Path) -> None:
    leave(model_dir, "track.json", TRACK)
    parsed = parse_run(log, model_dir=model_dir)
    assert (parsed.phases_s["queue"], parsed.sources["phases_s.queue"]) == (38, "track.json")


def test_seconds_that_disagree_are_a_doubt(log: Path, model_dir: Path) -> None:
    leave(model_dir, "track.json", {"execute_till_recv_loss": [110, {"execute_send_weights": [60, {}]}]})
    parsed = parse_run(log, model_dir=model_dir)
    assert (parsed.phases_s["weights"], doubts(parsed)) == (60, ["phases_s"])


def test_seconds_that_the_wall_time_has_no_room_for_are_left_and_a_doubt(log: Path, model_dir: Path) -> None:
    leave(model_dir, "track.json", {"execute_send_weights": [6000, {}]})
    parsed = parse_run(log, model_dir=model_dir)
    assert (parsed.phases_s, doubts(parsed)) == (read_log(log).phases_s, ["phases_s"])


def test_a_phase_outside_of_the_log_stays_unknown(tmp_path: Path, model_dir: Path) -> None:
    log = tmp_path / "from_the_run.log"
    log.write_text(log_text(*LINES[12:]))
    leave(model_dir, "run_meta.json", JOBS)
    leave(model_dir, "track.json", TRACK)
    phases = parse_run(log, model_dir=model_dir).phases_s
    assert (phases["queue"], phases["compile"], phases["weights"]) == (None, None, None)


def test_another_runs_folder_is_not_used(log: Path, model_dir: Path) -> None:
    other = {kind: [{**job, "id": "wsjob-z"} for job in jobs] for kind, jobs in JOBS.items()}
    leave(model_dir, "run_meta.json", other)
    leave(model_dir, "performance.json", {"global_rate": 5.0})
    parsed = parse_run(log, model_dir=model_dir)
    assert (parsed.global_rate_samples_per_s, doubts(parsed)) == (8.0, ["model_dir"])


def test_jobs_of_earlier_runs_in_the_folder_do_not_count(log: Path, model_dir: Path) -> None:
    earlier = {"id": "wsjob-0", "start_time": "2025-11-24T15:00:00Z", "scheduled_time": "2025-11-24T16:00:00Z"}
    leave(model_dir, "run_meta.json", {**JOBS, "compile_jobs": [earlier, *JOBS["compile_jobs"]]})
    assert parse_run(log, model_dir=model_dir).phases_s["queue"] == 37


def test_a_resumed_runs_sections_are_of_its_last_part_only_and_not_used(tmp_path: Path, model_dir: Path) -> None:
    log = tmp_path / "both.log"
    resumed = [(t + 1000, line.replace("from global step 1 ", "from global step 11 ")) for t, line in LINES]
    log.write_text(log_text(*LINES[:14], *resumed))
    leave(model_dir, "track.json", TRACK)
    parsed = parse_run(log, model_dir=model_dir)
    assert parsed.parts == 2
    assert "track.json" not in parsed.sources.values()


SECONDS = st.floats(0, 1e5, allow_nan=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SECONDS, min_size=3, max_size=3), st.lists(SECONDS, min_size=2, max_size=2))
def test_whatever_stands_beside_it_phases_add_up(log: Path, sections: list[float], queues: list[float]) -> None:
    jobs = [
        {"id": f"wsjob-{name}", "kind": kind, "queue_s": seconds}
        for name, kind, seconds in zip("ab", ("compile", "execute"), queues, strict=True)
    ]
    names = ("compile", "execute_send_weights", "scheduler_wait")
    parsed = prefer(read_log(log), {"jobs": jobs, "sections_s": dict(zip(names, sections, strict=True))})
    assert tuple(parsed.phases_s) == PHASES
    assert all(seconds is None or seconds >= 0 for seconds in parsed.phases_s.values())
    assert sum(seconds or 0 for seconds in parsed.phases_s.values()) == pytest.approx(parsed.wall_s, abs=0.1)


# Which log is read


def test_a_folder_is_a_model_dir_and_its_log_is_read(model_dir: Path) -> None:
    leave(model_dir, "run.log", log_text(*LINES))
    (model_dir / "latest_run.log").symlink_to(f"cerebras_logs/{RUN}/run.log")
    leave(model_dir, "performance.json", {"global_rate": 8.01})
    parsed = parse_run(model_dir)
    assert (parsed.outcome, parsed.global_rate_samples_per_s) == ("completed", 8.01)
    assert parsed.sources["final_loss"] == "latest_run.log"


def test_without_its_link_the_newest_log_is_the_folders(model_dir: Path) -> None:
    leave(model_dir, "run.log", log_text(*LINES))
    (model_dir / "cerebras_logs/20240101_000000").mkdir()
    (model_dir / "cerebras_logs/20240101_000000/run.log").touch()
    (model_dir / "latest_run.log").symlink_to("gone")
    assert newest_log(model_dir) == model_dir / "cerebras_logs" / RUN / "run.log"


def test_the_folders_log_is_preferred_when_it_says_all_that_the_given_one_does(log: Path, model_dir: Path) -> None:
    log.write_text(log_text(*LINES[:14]))
    leave(model_dir, "run.log", log_text(*LINES))
    parsed = parse_run(log, model_dir=model_dir)
    assert (parsed.outcome, parsed.sources["final_loss"]) == ("completed", "run.log")


@pytest.mark.parametrize(
    "own",
    [
        pytest.param(LINES[:14], id="cut short"),
        pytest.param(LINES[9:], id="without the beginning"),
        pytest.param([(t, line.replace("wsjob-a", "wsjob-z")) for t, line in LINES], id="of other jobs"),
        pytest.param([(t + 1000, line) for t, line in LINES], id="of another time"),
        pytest.param([(t, line) for t, line in LINES if "Step=20" not in line], id="without the last step"),
    ],
)
def test_the_folders_log_is_not_preferred_when_it_says_less(
    own: list[tuple[float, str]], log: Path, model_dir: Path
) -> None:
    leave(model_dir, "run.log", log_text(*own))
    assert parse_run(log, model_dir=model_dir).sources["final_loss"] == "mytest.log"


def test_a_failure_that_only_the_console_shows_is_not_lost(log: Path, model_dir: Path) -> None:
    log.write_text(log_text(*LINES[:14]) + "Job canceled successfully\n")
    leave(model_dir, "run.log", log_text(*LINES[:14]))
    assert parse_run(log, model_dir=model_dir).outcome == "cancelled"


def test_a_log_that_lies_in_a_model_dir_is_a_log_when_nothing_else_is_said(model_dir: Path) -> None:
    leave(model_dir, "run.log", log_text(*LINES))
    leave(model_dir, "performance.json", {"global_rate": 8.01})
    assert parse_run(model_dir / "cerebras_logs" / RUN / "run.log").global_rate_samples_per_s == 8.0


def test_what_is_no_model_dir_is_the_users_error(log: Path, model_dir: Path) -> None:
    with pytest.raises(UserError, match=r"model_dir holds no latest_run\.log"):
        parse_run(model_dir)
    with pytest.raises(UserError, match=r"none is not a folder"):
        parse_run(log, model_dir=model_dir / "none")
    with pytest.raises(UserError, match=r"model_dir is a folder; with --model-dir, name a log"):
        parse_run(model_dir, model_dir=model_dir)


# What is there


def test_the_rates_are_of_the_last_train_loop_not_of_the_evaluation_after_it(model_dir: Path) -> None:
    stages = ("train loop 1 of 2", "val_dataloader_2 loop 1 of 2", "train loop 2 of 2", "val_dataloader_2 loop 2 of 2")
    leave(model_dir, "run.log", log_text(*((n, f"Starting {stage}, from") for n, stage in enumerate(stages))))
    for stage in range(1, 5):
        leave(model_dir, "performance.json", {"global_rate": float(stage)}, stage)
        leave(model_dir, "track.json", {"compile": [10.0 * stage, {}]}, stage)
    said = left_behind(model_dir)
    assert said["global_rate_samples_per_s"] == 3
    assert said["sections_s"] == {"compile": 100}


def test_a_train_loop_that_left_no_rates_has_none(model_dir: Path) -> None:
    leave(model_dir, "run.log", log_text((0, "Starting train loop 1 of 2"), (9, "Starting train loop 2 of 2")))
    leave(model_dir, "performance.json", {"global_rate": 1.0}, 1)
    assert left_behind(model_dir) == {}


@pytest.mark.parametrize(
    "track",
    ["", "[1]", '{"compile": "long"}', '{"compile": [null, 7]}', '{"compile": [-1, {}]}', '{"compile": [1e999, {}]}'],
)
def test_a_broken_track_says_nothing(track: str, model_dir: Path) -> None:
    leave(model_dir, "track.json", track)
    assert "compile" not in left_behind(model_dir).get("sections_s", {})
