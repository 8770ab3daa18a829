"""One training log, read: the grammar, the outcomes, the figures, and the real logs."""

import gzip
import json
import math
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accelbench.training.log import grammar, transcript
from accelbench.training.log.reader import HeldOut, ParsedLog, Step, Wsjob, parse_log

LOGS = Path(__file__).parents[3].parent / "shared/logs"
real_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"{LOGS} isn't here")

T0 = datetime(2026, 1, 31, 23, 59, 0)
RUNS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def at(seconds: float, message: str, level: str = "INFO") -> str:
    stamp = T0 + timedelta(seconds=seconds)
    return f"{stamp:%Y-%m-%d %H:%M:%S},{stamp.microsecond // 1000:03d} {level}:   {message}"


def trained(step: int, loss: float = 7.0, rate: float = 8.0, global_rate: float = 8.0, device: str = "cpu") -> str:
    return (
        f"| Train Device={device}, Step={step}, Loss={loss:.5f}, Rate={rate:.2f} samples/sec, "
        f"GlobalRate={global_rate:.2f} samples/sec, LoopTimeRemaining=0:00:06, TimeRemaining=0:00:06"
    )


GOOD = (
    at(0, "Effective batch size is 8."),
    at(1, "Starting train loop 1 of 1, from global step 1 to 20 (20 steps)"),
    at(11, trained(10, 6.5)),
    at(21, trained(20, 6.0)),
    at(22, "Training completed successfully!"),
    at(23, "Processed 160 training sample(s) in 22.000000001 seconds."),
)
CRASH = ("Traceback (most recent call last):", '  File "run.py", line 1, in <module>', "    raise x")


@pytest.fixture
def parse(tmp_path):
    def parse(*lines: str, end: str = "\n", **options) -> ParsedLog:
        path = tmp_path / "run.log"
        path.write_bytes((end.join(lines) + end).encode())
        return parse_log(path, **options)

    return parse


def doubts(log: ParsedLog) -> set[str]:
    return {check.what for check in log.checks}


# The figures of a good run


def test_a_good_run_is_read_whole(parse):
    log = parse(*GOOD)
    assert (log.outcome, log.failure, log.checks) == ("completed", None, ())
    assert (log.device, log.releases_like, log.max_steps) == ("cpu", "2.5-2.10", 20)
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
        parse_log(tmp_path / "none.log")


def test_an_empty_file_says_nothing(tmp_path):
    (tmp_path / "run.log").touch()
    log = parse_log(tmp_path / "run.log")
    assert (log.outcome, log.wall_s, log.last_step, log.sources) == ("incomplete", None, None, {})
    assert set(log.phases_s.values()) == {None}


# Lines as they come

STEP_LINES = st.tuples(
    st.integers(1, 10**9),
    st.none() | st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.none() | st.floats(1e-9, 1e9) | st.just(math.inf) | st.just(math.nan),
    st.none() | st.floats(1e-9, 1e9),
    st.sampled_from(
        ["", ", LoopTimeRemaining=1 day, 3:04:05, TimeRemaining>1 day, 3:04:05", ", TimeRemaining>0:10:52"]
    ),
)


def rate_like_modelzoo(rate: float) -> str:
    return f"{rate:.3g}" if rate < 1 else f"{rate:.2f}"


@settings(max_examples=100, deadline=None)
@given(STEP_LINES, st.sampled_from(["CSX", "cpu", "xla:0", "GPU"]))
def test_a_progress_line_survives_the_round_trip(fields, device):
    step, loss, rate, global_rate, remaining = fields
    texts = [None if number is None else rate_like_modelzoo(number) for number in (rate, global_rate)]
    message = f"| Train Device={device}, Step={step}"
    message += "" if loss is None else f", Loss={loss:.5f}"
    message += "".join(
        f", {name}={text} samples/sec" for name, text in zip(("Rate", "GlobalRate"), texts, strict=True) if text
    )
    read = grammar.read_progress((message + remaining).encode())
    expected = [None if loss is None else float(f"{loss:.5f}"), *(text and float(text) for text in texts)]
    assert read[:2] == (device.encode(), step)
    assert [str(number) for number in read[2:]] == [str(number) for number in expected]


def test_a_field_between_the_known_ones_hides_none_of_them():
    line = b"| Train Device=GPU, Step=7, LR=1e-4, Loss=6.1, GradNorm=nan, Rate=9.5e-05 x, GlobalRate=2 x"
    assert grammar.read_progress(line) == (b"GPU", 7, 6.1, 9.5e-05, 2.0)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda line: line + "\r", id="CRLF"),
        pytest.param(lambda line: line + "\n" + line, id="twice, by tee"),
        pytest.param(lambda line: "      " + line, id="stray leading blanks"),
        pytest.param(lambda line: "[rank0]: " + line, id="torchrun's prefix"),
        pytest.param(lambda line: "Saving: 45%|███ | 840/1864 [05:10]" + line, id="behind an open progress bar"),
        pytest.param(lambda line: "\x1b[0m  3%|█ | 1/9\r" + line, id="over a progress bar"),
        pytest.param(lambda line: line + "\nE0711 18:04:02.654 609793 hpack.cc:1] Error parsing: x", id="C++ lines"),
        pytest.param(lambda line: "x" * 3_000_000 + "\n" + line, id="behind a very long line"),
    ],
)
def test_however_the_lines_are_written_the_run_is_the_same(parse, write):
    plain, written = parse(*GOOD), parse(*map(write, GOOD))
    assert written.steps == plain.steps
    assert (written.outcome, written.phases_s) == (plain.outcome, plain.phases_s)
    assert written.steady_rate_samples_per_s == plain.steady_rate_samples_per_s


def test_invalid_utf8_hurts_nobody(tmp_path):
    path = tmp_path / "run.log"
    path.write_bytes(b"\xff\xfe\x80\n" + b"\n\xe2\x28\n".join(line.encode() for line in GOOD) + b"\n\xc3")
    assert parse_log(path).outcome == "completed"


def test_without_timestamps_the_figures_stay_and_the_times_are_unknown(parse):
    log = parse(*(line.partition("INFO:   ")[2] for line in GOOD))
    assert (log.outcome, log.final_loss, log.batch_size) == ("completed", 6.0, 8)
    assert (log.wall_s, log.steady_rate_samples_per_s, log.steps[0].t_s) == (None, None, None)
    assert "timestamps" in doubts(log)


def test_a_line_over_the_end_of_a_block_is_one_line(parse):
    noise = "x" * (grammar.BLOCK_BYTES - 300)
    for cut in range(0, 600, 37):
        assert parse(noise + "x" * cut, *GOOD).steps == parse(*GOOD).steps


@pytest.mark.parametrize(
    ("tail", "last"),
    [
        (trained(150)[:-20], 150),  # cut in TimeRemaining
        ("| Train Device=cpu, Step=15", 20),  # may have been 150
        ("| Train Device=cpu, Step=150, Loss=6.1", 150),
    ],
)
def test_half_a_number_at_the_end_of_a_cut_file_is_not_taken_for_a_number(parse, tail, last):
    log = parse(*GOOD[:4], at(31, tail), end="\n")
    assert log.last_step in (15, 150)  # a whole line says what it says
    path = Path(log.file)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    log = parse_log(path)
    assert log.last_step == last
    assert log.final_loss in (6.0, 7.0, None)


def test_nan_and_inf_survive_into_valid_json(parse):
    log = parse(at(0, trained(1, math.nan, math.inf)), at(1, trained(2, -math.inf, math.nan)))
    text = json.dumps(log.to_json(), allow_nan=False)
    said = json.loads(text)
    assert [row["loss"] for row in said["steps"]] == ["nan", "-inf"]
    assert [row["rate"] for row in said["steps"]] == ["inf", "nan"]
    assert said["final_loss"] == "-inf"
    assert {"loss", "rates"} <= doubts(log)


def test_the_json_has_a_key_for_every_figure(parse):
    said = parse(*GOOD[:4], *CRASH, "torch.cuda.OutOfMemoryError: CUDA out of memory.").to_json()
    assert said["failure"] == {
        "class": "OutOfMemoryError",
        "line_no": 8,
        "text": "torch.cuda.OutOfMemoryError: CUDA out of memory.",
    }
    assert set(said["steps"][0]) == {"step", "t_s", "loss", "rate", "global_rate"}
    assert set(said["phases_s"]) == {
        *("setup", "queue", "compile", "staging", "weights", "programming"),
        *("train", "checkpoint", "eval", "teardown", "other"),
    }


# Never raises; phases add up

WORDS = [prefix for prefix, _ in grammar.MARKERS]
JUNK = st.binary(max_size=40)
FRAGMENTS = st.one_of(
    JUNK,
    st.sampled_from([line.encode() for line in (*GOOD, *CRASH)]),
    st.builds(lambda word, junk: word + junk, st.sampled_from(WORDS), JUNK),
    st.builds(
        lambda seconds, word, junk: at(seconds, "").encode() + word + junk,
        st.floats(0, 1e6),
        st.sampled_from([*WORDS, b"Job wsjob-x failed due to: ", b"Job wsjob-x was cancelled due to "]),
        JUNK | st.from_regex(rb"\A *\d{1,30}( of \d{1,12}, from global step \d{1,20} to \d{1,20})?\Z"),
    ),
    st.sampled_from([b"9999-99-99 29:59:69,999 INFO:   | Train Device=,Step=1", b"0000-00-00 00:00:00,000 INFO:   x"]),
)


@RUNS
@given(st.lists(FRAGMENTS, max_size=40), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_it_never_raises_and_phases_add_up(tmp_path, fragments, end):
    path = tmp_path / "run.log"
    path.write_bytes(end.join(fragments))
    log = parse_log(path)
    json.dumps(log.to_json(), allow_nan=False)
    assert sum(seconds or 0 for seconds in log.phases_s.values()) == pytest.approx(log.wall_s or 0, abs=0.1)


@RUNS
@given(st.binary(max_size=2000))
def test_it_never_raises_on_any_bytes(tmp_path, content):
    path = tmp_path / "run.log"
    path.write_bytes(content)
    json.dumps(parse_log(path, batch_size=1).to_json(), allow_nan=False)


def test_wherever_a_log_is_cut_it_is_still_read(tmp_path):
    path = tmp_path / "run.log"
    whole = ("\n".join(GOOD) + "\n").encode()
    for kept in range(len(whole)):
        path.write_bytes(whole[:kept])
        log = parse_log(path)
        assert log.last_step in (None, 10, 20)
        assert log.batch_size in (None, 8)
        assert log.outcome == ("completed" if b"successfully!" in path.read_bytes() else "incomplete")
        assert sum(seconds or 0 for seconds in log.phases_s.values()) == pytest.approx(log.wall_s or 0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(gzip.compress("\n".join(GOOD).encode()), id="compressed"),
        pytest.param("\n".join(GOOD).encode("utf-16"), id="UTF-16"),
        pytest.param(bytes(range(256)) * 9, id="binary"),
        pytest.param(b"2026-01-31 23:59:00,000 INFO:   another program\n", id="another program's"),
    ],
)
def test_a_file_that_is_no_training_log_is_a_doubt(tmp_path, content):
    path = tmp_path / "run.log"
    path.write_bytes(content)
    log = parse_log(path)
    assert (log.outcome, log.last_step, doubts(log)) == ("incomplete", None, {"log"})


# Bounded


def test_many_steps_are_thinned_evenly_and_the_last_is_kept(parse, monkeypatch):
    monkeypatch.setattr(transcript, "MAX_ROWS", 100)
    log = parse(*(at(step, trained(step)) for step in range(1, 1001)), batch_size=8)
    kept = [row.step for row in log.steps]
    assert log.steps_thinned
    assert len(kept) <= 100
    assert kept[-1] == 1000
    assert len({later - earlier for earlier, later in pairwise(kept[:-1])}) == 1
    assert log.steady_rate_samples_per_s == pytest.approx(8)


def test_few_steps_are_all_kept(parse):
    log = parse(*(at(step, trained(step)) for step in range(1, 51)))
    assert [row.step for row in log.steps] == list(range(1, 51))
    assert not log.steps_thinned


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
    assert (log.outcome, log.failure and log.failure.name) == (outcome, name)


def test_a_traceback_over_the_end_of_a_block_still_has_its_name(parse):
    padding = "x" * (grammar.BLOCK_BYTES - 100)
    log = parse(padding, CRASH[0], *["  File y"] * 20, "ValueError: no")
    assert (log.failure and log.failure.name, log.failure and log.failure.line_no) == ("ValueError", 23)


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


# Resumed runs: two parts in one file


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
    assert parse(*part(0, 81), *ended, *part(1000, 101), *CRASH, "ValueError: no").failure.name == "ValueError"


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
    ("lines", "releases", "covers"),
    [
        (["| Train Device=xla:0, Step=5, Loss=1.00000, Rate=1.00 samples/sec, GlobalRate=1.00 samples/sec",
          "Training Complete. Completed 40 sample(s) in 42.468820095062256 seconds."],
         "1.7-1.8", "train_loop"),
        (["Training completed successfully! Processed 40 sample(s) in 42.4 seconds."], "1.9", "train_loop"),
        (["Training completed successfully!", "Processed 40 sample(s) in 42.4 seconds."],
         "2.0-2.2", "train_loop"),
        (["compile job id: wsjob-a, remote log path: /x", "Processed 40 training sample(s) in 42.4 seconds."],
         "2.3", "fit"),
        (["Execute job id: wsjob-a, remote log path: /x", "Processed 40 training sample(s) in 42.4 seconds."],
         "2.3-2.4", "fit"),
        (["Starting train loop 1 of 1, from global step 1 to 5",
          "Processed 40 training sample(s) in 9 seconds."],
         "2.5-2.10", "fit"),
    ],
)  # fmt: skip
def test_the_wording_tells_the_release_and_what_the_seconds_cover(parse, lines, releases, covers):
    log = parse(*(at(second, line) for second, line in enumerate(lines)))
    assert (log.releases_like, log.processed_samples, log.processed_covers) == (releases, 40, covers)


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


# The real logs. Figures are the texts' own or worked out from their timestamps by hand.

REAL = {
    "cs3_r2.6_llama2-7b_bs1024_whole": {
        "outcome": "completed", "device": "CSX", "releases_like": "2.5-2.10", "batch_size": 1024,
        "final_loss": 6.09834, "rate_mean_samples_per_s": (31.97 + 31.98 + 31.99 + 31.97) / 4,
        "global_rate_samples_per_s": 31.99, "compile_cached": True, "processed_seconds": 7303.586917439,
        "steady_rate_samples_per_s": 150 * 1024 / 4801.059,  # 15:20:04,385 to 16:40:05,444
        "wsjobs": (Wsjob("wsjob-kgqvqqxnp9zvpmwulcbxuj", "execute"),), "wall_s": 7223.774,
        "phases": {"compile": 9.267, "weights": 13.223, "programming": 232.427, "checkpoint": 464.466,
                   "train": 6402.659, "teardown": 11.509, "setup": None},
    },
    "cs3_r2.6_llama2-7b_bs1024_from-execute": {
        "outcome": "completed", "batch_size": 1024, "final_loss": 6.10848, "global_rate_samples_per_s": 33.06,
        "compile_cached": None, "steady_rate_samples_per_s": 150 * 1024 / 4644.074, "max_steps": None,
        "wsjobs": (Wsjob("wsjob-i8jjmtsgutxp9jak2qqsvd", "execute"),),
        "phases": {"queue": None, "compile": None, "weights": 19.860, "programming": 208.146,
                   "checkpoint": 551.882, "train": 6194.670},
    },
    "cs3_r2.6_llama2-7b_bs512_from-execute": {
        "outcome": "completed", "batch_size": 512, "final_loss": 6.32152, "processed_samples": 102400,
        "rate_mean_samples_per_s": 33.3, "global_rate_samples_per_s": 33.28,
        "steady_rate_samples_per_s": 150 * 512 / 2305.662,
        "phases": {"checkpoint": 583.772, "programming": 233.452, "train": 3076.925},
    },
    "cs3_r2.6_llama2-7b_bs32_cached-compile": {
        "outcome": "completed", "batch_size": 32, "max_steps": 200, "compile_cached": True,
        "final_loss": 7.34266,
        "steady_rate_samples_per_s": 150 * 32 / 167.281, "global_rate_samples_per_s": 28.51,
        "wall_s": 1216.491,
        "wsjobs": (Wsjob("wsjob-gsnbpvucykpzrp4q43yn2s", "compile"),
                   Wsjob("wsjob-duyk568ov8cdqfmbctuxgk", "execute")),
        "phases": {"compile": 61.077, "checkpoint": 8.612 + 534.742, "weights": 24.291, "train": 224.490,
                   "queue": 0.0, "teardown": 28.330},
        "doubts": {"rates"},
    },
    "cs2_r2.4_llama2-7b_queued_then_crashed": {
        "outcome": "failed", "releases_like": "2.3-2.4", "max_steps": 200, "last_step": None,
        "batch_size": None,
        "processed_samples": 11264, "processed_seconds": 9567.159426912, "compile_cached": True,
        "failure": ("ApplianceUnknownError", 58),
        "wsjobs": (Wsjob("wsjob-duhl7jck7hjhbtxdpxvk67", "compile"),
                   Wsjob("wsjob-7javbqdggsmrb44obfaqft", "execute")),
        "phases": {"queue": 8363.467, "checkpoint": 176.487, "weights": 66.926, "programming": 104.112},
        "doubts": {"processed"},
    },
    "cs2_r2.3_llama-7b": {
        "outcome": "incomplete", "batch_size": 99, "micro_batch": 99, "compile_cached": False,
        "last_step": 1600,
        "final_loss": 5.85938, "steady_rate_samples_per_s": 1500 * 99 / 7264.636, "processed_samples": None,
        "phases": {"checkpoint": 467.569, "queue": 790.457, "weights": 87.151, "programming": 85.373},
        "doubts": set(),
    },
    "cs2_r2.1_bert-large_bs512": {
        "outcome": "completed", "releases_like": "2.0-2.2", "processed_covers": "train_loop",
        "batch_size": 512,
        "processed_samples": 512000, "processed_seconds": 426.819169997, "micro_batch": 512,
        "last_step": 1000,
        "rate_mean_samples_per_s": 1321.7, "steady_rate_samples_per_s": 900 * 512 / 331.191,
        "phases": {"checkpoint": 27.317 + 330.650, "weights": 109.779, "programming": 44.414, "queue": 0.0},
        "doubts": {"rates", "max_steps"},
    },
    "cs2_gpt-j_excerpt": {
        "outcome": "completed", "device": "xla:0", "releases_like": "1.9", "batch_size": 66,
        "processed_samples": 13200, "processed_covers": "train_loop",
        "steady_rate_samples_per_s": 100 * 66 / 333.396,
        "phases": {"checkpoint": 649.483, "train": 333.142 + 333.396 + 0.002, "queue": None},
    },
    "cpu_r2.6_tiny-llama_ok": {
        "outcome": "completed", "device": "cpu", "batch_size": 8, "max_steps": 20, "first_step": 5,
        "final_loss": 5.8607, "final_loss_mean": (6.23023 + 6.10996 + 5.96573 + 5.8607) / 4,
        "steady_rate_samples_per_s": 15 * 8 / 14.665, "global_rate_samples_per_s": 9.69, "wall_s": 18.547,
        "phases": {"checkpoint": 0.266 + 0.300, "queue": None, "compile": None,
        "train": 2.408 + 14.665 + 0.001},
        "doubts": {"rates"},
    },
    "cpu_r2.6_tiny-llama_sigint": {
        "outcome": "interrupted", "max_steps": 400, "last_step": 10, "batch_size": None,
        "failure": ("KeyboardInterrupt", 130), "processed_samples": None, "final_loss": 6.10996,
        "phases": {"checkpoint": 0.306, "train": 9.640 + 8.451, "teardown": None},
    },
    "cpu_r2.6_tiny-llama_already-done": {
        "outcome": "failed", "failure": ("RuntimeError", 25), "processed_samples": 0, "last_step": None,
        "wall_s": 0.604, "phases": {"setup": 0.604, "train": None},
    },
}  # fmt: skip


@real_logs
@pytest.mark.parametrize("name", REAL)
def test_a_real_log_reads_as_its_text_says(name):
    log, expected = parse_log(LOGS / f"{name}.log"), dict(REAL[name])
    phases, failure, doubted = (expected.pop(key, None) for key in ("phases", "failure", "doubts"))
    for figure, value in expected.items():
        assert getattr(log, figure) == (pytest.approx(value) if isinstance(value, float) else value), figure
    for phase, seconds in phases.items():
        assert log.phases_s[phase] == (seconds if seconds is None else pytest.approx(seconds, abs=0.01)), phase
    assert (log.failure and (log.failure.name, log.failure.line_no)) == failure
    if doubted is not None:
        assert doubts(log) == doubted
    assert sum(seconds or 0 for seconds in log.phases_s.values()) == pytest.approx(log.wall_s, abs=1)


@real_logs
def test_every_real_log_has_its_expected_figures():
    assert {path.stem for path in LOGS.glob("*.log")} == set(REAL)
