"""Several runs in one file: each has figures of its own; a run that was resumed stays one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from accelbench.store.records import Compile, ParsedLog
from accelbench.training.log.reader import read_log, read_logs

Parse = Callable[[str], list[ParsedLog]]
TRACEBACK = 'Traceback (most recent call last):\n  File "other.py", line 3, in <module>\nKeyError: 7\n'


@pytest.fixture
def parse(tmp_path: Path) -> Parse:
    def parse(text: str) -> list[ParsedLog]:
        path = tmp_path / "notes.md"
        path.write_bytes(text.encode())
        return read_logs(path)

    return parse


def at(minute: int, second: int, message: str) -> str:
    return f"2026-03-30 13:{minute:02}:{second:02},000 INFO:   {message}\n"


def step(minute: int, second: int, n: int, rate: float) -> str:
    rates = f"Rate={rate:.2f} samples/sec, GlobalRate={rate:.2f} samples/sec"
    return at(minute, second, f"| Train Device=CSX, Step={n}, Loss={10 - n / 100:.5f}, {rates}")


def run(minute: int, batch: int, rate: float, *, stated: bool = True, of: str = "sample(s)") -> str:
    """200 steps of a batch size in 40 s: a steady rate of 5 batches/s."""
    return (
        (at(minute, 0, f"Effective batch size is {batch}.") if stated else "")
        + at(minute, 1, "Beginning appliance run")
        + step(minute, 21, 100, rate)
        + step(minute, 41, 200, rate)
        + at(minute, 42, "Training completed successfully!")
        + at(minute, 42, f"Processed {200 * batch} {of} in 41.0 seconds.")
    )


def figures(log: ParsedLog) -> tuple[object, ...]:
    return (
        log.outcome,
        log.batch_size,
        log.steady_rate_samples_per_s,
        log.global_rate_samples_per_s,
        log.processed_samples,
        log.final_loss,
        log.wall_s,
    )


LARGE, SMALL = run(2, 2048, 9000), run(16, 512, 2900)
LARGE_SAYS = ("completed", 2048, 2048 * 5, 9000, 409_600, 8.0, 42)
SMALL_SAYS = ("completed", 512, 512 * 5, 2900, 102_400, 8.0, 42)


def test_two_runs_in_a_file_are_two(parse: Parse) -> None:
    assert [figures(log) for log in parse(LARGE + SMALL)] == [LARGE_SAYS, SMALL_SAYS]
    assert [(log.run_no, log.runs_in_file) for log in parse(LARGE + SMALL)] == [(1, 2), (2, 2)]


def test_an_excerpt_may_begin_while_its_job_is_waited_for(parse: Parse) -> None:
    later = run(16, 512, 2900, stated=False)
    polls = at(15, 50, "Poll ingress status: Waiting for job ingress readiness.")
    first, second = parse(LARGE + polls + later)
    assert (figures(first), first.wall_s, second.batch_size, second.wall_s) == (LARGE_SAYS, 42, 512, 52)


def test_whichever_comes_first(parse: Parse) -> None:
    assert [figures(log) for log in parse(SMALL + LARGE)] == [SMALL_SAYS, LARGE_SAYS]


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: re.sub("(?m)^", "    ", text), id="indented"),
        pytest.param(lambda text: re.sub("(?m)^", "> ", text), id="quoted"),
        pytest.param(lambda text: re.sub("(?m)^", ">> ", text), id="quoted twice"),
        pytest.param(lambda text: f"Batch:\n```text\n{text}```\n", id="in a fence"),
        pytest.param(lambda text: re.sub("(?m)^(.+)$", "\x1b[1;32m\\1\x1b[0m", text), id="coloured"),
        pytest.param(lambda text: text.replace("INFO:", "\x1b[34mINFO\x1b[0m:"), id="coloured levels"),
        pytest.param(lambda text: re.sub("(?m)^", "[run_0] ", text), id="auto-restarts of 2.8"),
        pytest.param(lambda text: re.sub("(?m)^", "[restart_2] ", text), id="auto-restarts of 2.6"),
    ],
)
def test_however_the_lines_were_pasted(parse: Parse, write: Callable[[str], str]) -> None:
    assert [figures(log) for log in parse(write(LARGE) + "\n" + write(SMALL))] == [LARGE_SAYS, SMALL_SAYS]


@pytest.mark.parametrize("cut", [r"(?m)^.*INFO:   ", r"(?m)^.*,000 "])
def test_without_timestamps_too(parse: Parse, cut: str) -> None:
    logs = parse(re.sub(cut, "", LARGE + SMALL))
    assert [(log.batch_size, log.last_step, log.processed_samples) for log in logs] == [
        (2048, 200, 409_600),
        (512, 200, 102_400),
    ]


def test_a_failure_is_of_the_run_in_which_it_stands(parse: Parse) -> None:
    crashed = LARGE.partition("2026-03-30 13:02:42")[0] + TRACEBACK
    logs = parse(crashed + SMALL + "```\n" + TRACEBACK)
    assert [(log.outcome, log.failure and log.failure["class"]) for log in logs] == [
        ("failed", "KeyError"),
        ("completed", None),
    ]
    assert [(check.what, check.text.split(":")[0]) for check in logs[1].checks if check.what == "failure"] == [
        ("failure", "Line 17 reports a failure after the run had ended")
    ]


def test_a_run_that_failed_before_its_first_step_is_a_row_of_its_own(parse: Parse) -> None:
    logs = parse(
        at(0, 0, "Compiling the model. This may take a few minutes.") + TRACEBACK + run(1, 8, 40, stated=False)
    )
    assert [(log.outcome, log.batch_size) for log in logs] == [("failed", None), ("completed", 8)]


@pytest.mark.parametrize("of", ["sample(s)", "training sample(s)"])
def test_listings_that_do_not_state_their_batch_size(parse: Parse, of: str) -> None:
    logs = parse(run(2, 64, 320, stated=False, of=of) + run(3, 32, 160, stated=False, of=of))
    assert [(log.batch_size, log.steady_rate_samples_per_s) for log in logs] == [(64, 320), (32, 160)]


def test_excerpts_of_progress_lines_alone(parse: Parse) -> None:
    logs = parse("".join(step(minute, 20 * k, 50 * k, 5) for minute in (0, 1, 2) for k in (1, 2)))
    assert [(log.first_step, log.last_step) for log in logs] == [(50, 100)] * 3


def test_a_listing_whose_steps_begin_later_is_another_run_too(parse: Parse) -> None:
    later = (
        run(3, 32, 160, stated=False, of="training sample(s)")
        .replace("Step=200", "Step=400")
        .replace("Step=100", "Step=300")
    )
    assert len(parse(run(2, 64, 320, of="training sample(s)") + later)) == 2


def process(minute: int, first: int, *steps: int, batch: int = 8) -> str:
    """A process of 2.6."""
    return (
        at(minute, 0, "Current Working Directory: /home/user/run")
        + at(minute, 1, f"Effective batch size is {batch}.")
        + at(minute, 2, f"Starting train loop 1 of 1, from global step {first} to 100 ({101 - first} steps)")
        + "".join(step(minute, 10 + k, n, 8) for k, n in enumerate(steps))
    )


def test_a_resumed_run_stays_one_run(parse: Parse) -> None:
    [log] = parse(process(0, 1, 10, 50, 60) + process(5, 51, 60, 100) + at(6, 0, "Training completed successfully!"))
    assert (log.outcome, log.parts, log.resumed_from_steps, log.first_step, log.last_step) == (
        "completed",
        2,
        (50,),
        10,
        100,
    )


def test_an_auto_restart_that_goes_on_from_a_checkpoint_is_of_the_same_run(parse: Parse) -> None:
    """The run.log of ModelZoo's autorestart: all processes in one file, each with its prefix."""
    failed = at(0, 40, "Initiating shutdown sequence due to Appliance error: Ran into error").replace("INFO", "ERROR")
    first = re.sub("(?m)^", "[run_0] ", process(0, 1, 10, 50, 60) + failed)
    second = re.sub("(?m)^", "[run_1] ", process(5, 51, 60, 100) + at(6, 0, "Training completed successfully!"))
    [log] = parse(first + second)
    assert (log.outcome, log.failure, log.parts, log.last_step) == ("completed", None, 2, 100)


def test_a_process_that_begins_at_step_1_is_another_run(parse: Parse) -> None:
    logs = parse(process(0, 1, 10, 50) + process(5, 1, 10, 20, 30))
    assert [(log.outcome, log.first_step, log.last_step, log.parts) for log in logs] == [
        ("incomplete", 10, 50, 1),
        ("incomplete", 10, 30, 1),
    ]


def test_a_process_with_another_batch_size_is_another_run_from_whatever_step(parse: Parse) -> None:
    assert [log.batch_size for log in parse(process(0, 1, 10, 50) + process(5, 51, 60, batch=16))] == [8, 16]


def test_a_run_of_2_2_that_was_resumed_says_so_by_its_checkpoint(parse: Parse) -> None:
    begins = at(3, 0, "Loading weights from checkpoint m/checkpoint_100.mdl") + at(3, 1, "Beginning appliance run")
    ended = at(2, 0, "Job wsjob-a failed due to: x")
    first, second = step(1, 0, 50, 8) + step(1, 10, 100, 8) + ended, step(3, 10, 150, 8)
    assert [log.last_step for log in parse(first + begins + second)] == [150]
    anew = begins.replace("Loading weights from checkpoint m/checkpoint_100.mdl", "No checkpoint was provided. Using")
    assert [log.last_step for log in parse(first + anew + second)] == [100, 150]


def test_an_evaluation_after_the_training_is_of_the_same_run(parse: Parse) -> None:
    evaluation = at(18, 0, "Compiling the model. This may take a few minutes.") + at(18, 30, "Compile was successful!")
    evaluation += at(19, 0, "| Eval Device=CSX, GlobalStep=200, Batch=9, Loss=3.50000, Rate=9.00 samples/sec")
    evaluation += at(19, 1, "Evaluation completed successfully!")
    [log] = parse(SMALL + evaluation)
    assert [(row.step, row.loss) for row in log.held_out] == [(200, 3.5)]


def test_a_compile_is_cached_or_cold_by_itself(parse: Parse) -> None:
    def compile_of(minute: int, *lines: str) -> str:
        messages = ("Compiling the model. This may take a few minutes.", *lines, "Compile was successful!")
        return "".join(at(minute, second, message) for second, message in enumerate(messages))

    cached = compile_of(0, 'Found existing cached compile with hash: "cs_1"')
    trains = at(1, 0, "Beginning appliance run") + step(1, 30, 100, 8) + at(1, 31, "Training completed successfully!")
    evaluates = at(3, 0, "| Eval Device=CSX, GlobalStep=100, Batch=10, Loss=3.00000, Rate=90.00 samples/sec")
    [log] = parse(cached + trains + compile_of(2) + evaluates)
    assert log.compiles == (Compile("train", True), Compile("eval", False))
    assert log.compile_cached is None
    assert "compile_cached" in {check.what for check in log.checks}
    [log] = parse(cached + trains + compile_of(2, 'Found existing cached compile with hash: "cs_2"') + evaluates)
    assert log.compile_cached is True


def test_one_log_of_several_is_the_last(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text(LARGE + SMALL)
    assert read_log(path).batch_size == 512


def test_a_given_batch_size_is_for_the_runs_that_do_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text(LARGE + step(5, 0, 100, 8) + step(5, 10, 200, 8))
    assert [log.batch_size for log in read_logs(path, batch_size=7)] == [2048, 7]


def test_a_file_of_very_many_runs_is_read_to_a_limit_and_says_so(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelbench.training.log.reader.MAX_RUNS", 3)
    logs = parse("".join(step(0, 1, n, 8) for _ in range(5) for n in (1, 2)))
    assert [log.last_step for log in logs] == [2, 2, 2]
    assert "2 more runs follow in this file; they are not read." in [check.text for check in logs[-1].checks]
    assert "runs" not in {check.what for check in logs[0].checks}
