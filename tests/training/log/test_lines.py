"""The grammar of a log: its lines as they come, cut, torn or foreign; reading never raises."""

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accelbench.store.files import jsonable
from accelbench.training.log import grammar, transcript
from accelbench.training.log.reader import read_log

from .conftest import CRASH, GOOD, at, doubts, trained

RUNS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

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
    assert read_log(path).outcome == "completed"


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
    log = read_log(path)
    assert log.last_step == last
    assert log.final_loss in (6.0, 7.0, None)


def test_nan_and_inf_survive_into_valid_json(parse):
    log = parse(at(0, trained(1, math.nan, math.inf)), at(1, trained(2, -math.inf, math.nan)))
    text = json.dumps(jsonable(log), allow_nan=False)
    said = json.loads(text)
    assert [row["loss"] for row in said["steps"]] == ["nan", "-inf"]
    assert [row["rate"] for row in said["steps"]] == ["inf", "nan"]
    assert said["final_loss"] == "-inf"
    assert {"loss", "rates"} <= doubts(log)


def test_the_json_has_a_key_for_every_figure(parse):
    said = jsonable(parse(*GOOD[:4], *CRASH, "torch.cuda.OutOfMemoryError: CUDA out of memory."))
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
    log = read_log(path)
    json.dumps(jsonable(log), allow_nan=False)
    assert sum(seconds or 0 for seconds in log.phases_s.values()) == pytest.approx(log.wall_s or 0, abs=0.1)


@RUNS
@given(st.binary(max_size=2000))
def test_it_never_raises_on_any_bytes(tmp_path, content):
    path = tmp_path / "run.log"
    path.write_bytes(content)
    json.dumps(jsonable(read_log(path, batch_size=1)), allow_nan=False)


def test_wherever_a_log_is_cut_it_is_still_read(tmp_path):
    path = tmp_path / "run.log"
    whole = ("\n".join(GOOD) + "\n").encode()
    for kept in range(len(whole)):
        path.write_bytes(whole[:kept])
        log = read_log(path)
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
    log = read_log(path)
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
