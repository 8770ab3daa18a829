"""Logs of runs that are over, read as if they had been measured here."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.training import training_rows
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.jobs.process import WORKFLOW_PID
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.training.run import measure_run
from accelbench.training.runs import parse_runs

RUN = specs.TrainRun("old", 4, 1)
FOLDER = paths.train_run("old", 4, 1)
SOURCE = Path("mytest_4.log")
START = "Starting train loop 1 of 1, from global step 1 to 2 (2 steps)"
STEPS = [f"| Train Device=CSX, Step={n}, Loss=8.{n}, Rate=4.0 samples/sec, GlobalRate=4.0 samples/sec" for n in (1, 2)]
DONE = ["Training completed successfully!", "Processed 8 training sample(s) in 3.5 seconds."]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(WORKFLOW_PID, raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def config(logs: str = "mytest_{batch}.log") -> Config:
    training = {"run": ["old"], "platforms": {"old": {"backend": "log", "logs": logs}}, "batch_sizes": [4]}
    return Config.model_validate({"training": training})


def bring(*messages: str) -> None:
    SOURCE.write_text("".join(f"2025-11-25 15:39:{n:02},243 INFO:   {text}\n" for n, text in enumerate(messages)))


def read(logs: str = "mytest_{batch}.log") -> Any:
    measure_run(config(logs), RUN, specs.train_spec(config(logs), RUN), FOLDER)
    return json.loads((FOLDER / "run.json").read_text())


def test_a_log_of_a_completed_run_is_a_measurement() -> None:
    bring(START, *STEPS, *DONE)
    kept = read()
    assert (kept["outcome"], kept["command"], kept["exit_status"], kept["host"]) == ("completed", None, None, None)
    assert kept["trainer"] == {"log_file": "mytest_4.log"}
    assert (FOLDER / "run.log").read_text() == SOURCE.read_text()
    [found] = parse_runs(config())
    assert (found.state, found.seed, found.model) == ("measured", None, None)
    assert found.log and found.log.steady_rate_samples_per_s == 4.0


def test_a_log_of_another_trainer_stands_in_the_same_table() -> None:
    line = (
        " [2026-03-01 10:00:{0:02d}] iteration {0}/ 3 | elapsed time per iteration (ms): 1000.0 | global batch size: 4 "
        "| lm loss: 2.5E+00 | actual seqlen: 2048 |\n"
    )
    SOURCE.write_text("".join(map(line.format, (1, 2, 3))))
    assert read()["outcome"] == "completed"
    [row] = training_rows(parse_runs(config()))
    assert (row.steady_rate_samples_per_s, row.tokens_per_s, row.final_loss) == (4.0, 4 * 2048, 2.5)


def test_a_log_of_a_failed_run_is_a_failed_run_with_its_reason() -> None:
    bring(START, STEPS[0], "Initiating shutdown sequence due to NaN error: NaN loss detected", DONE[1])
    with pytest.raises(UserError, match=r"ended as failed: Initiating .* NaN loss") as error:
        read()
    assert "(mytest_4.log). Provide another log" in str(error.value)
    [found] = parse_runs(config(), partial=True)
    assert (found.state, found.why) == (
        "failed",
        "Initiating shutdown sequence due to NaN error: NaN loss detected",
    )
    assert not (FOLDER / "measured.json").exists()


def test_a_log_that_is_not_there_is_named_with_the_key_that_names_it() -> None:
    [found] = parse_runs(config(), partial=True)
    assert (found.state, found.why) == (
        "missing",
        "there is no mytest_4.log, which training.platforms.old.logs names",
    )
    bring(START, *STEPS, *DONE)
    [found] = parse_runs(config(), partial=True)
    assert (found.state, found.why) == ("missing", "mytest_4.log is not read yet")


def test_a_log_that_breaks_off_is_no_measurement() -> None:
    bring(START, STEPS[0])
    with pytest.raises(UserError, match=r"ended as incomplete: .*Step=1"):
        read()
    [found] = parse_runs(config(), partial=True)
    assert found.why == "incomplete: the log breaks off"


def test_a_log_that_is_not_there_is_named_with_its_key() -> None:
    with pytest.raises(UserError, match=r"^mytest_4\.log is not there: training\.platforms\.old\.logs names it for"):
        read()


def test_a_log_that_still_grows_is_not_taken_for_the_planned_one() -> None:
    bring(START, *STEPS, *DONE)
    planned = specs.train_spec(config(), RUN)
    bring(START, *STEPS, *DONE, "more")
    with pytest.raises(UserError, match="changed while it was read"):
        measure_run(config(), RUN, planned, FOLDER)


def test_another_log_is_read_anew_and_the_old_one_is_restored() -> None:
    bring(START, *STEPS, *DONE)
    first, log = read()["spec"], SOURCE.read_text()
    bring(START, STEPS[1], *DONE)
    assert read()["spec"] != first
    assert (FOLDER / "run.log").read_text() == SOURCE.read_text() != log
    SOURCE.write_text(log)
    assert read()["spec"] == first
    assert (FOLDER / "run.log").read_text() == log


def test_repeats_and_home_folders_are_filled_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    bring(START, *STEPS, *DONE)
    there = tmp_path / "home/4/r1.log"
    there.parent.mkdir(parents=True)
    SOURCE.rename(there)
    assert read("~/{batch}/r{repeat}.log")["trainer"] == {"log_file": str(there)}


@pytest.mark.parametrize("logs", ["", "{size}.log", "{batch", "{batch:04}.log", "{}.log", "{batch!r}"])
def test_a_pattern_names_no_more_than_the_run(logs: str) -> None:
    with pytest.raises(ValueError, match=r"must be a path, optionally with \{batch\}, \{micro\} and \{repeat\}"):
        config(logs)


def sized(minute: int, batch: int, last_loss: float) -> str:
    lines = [
        f"Effective batch size is {batch}.",
        *(f"| Train Device=CSX, Step={n}, Loss={last_loss}, Rate={batch}.0 samples/sec" for n in (1, 2)),
        "Training completed successfully!",
        f"Processed {2 * batch} training sample(s) in 3.5 seconds.",
    ]
    return "".join(f"2025-11-25 15:{minute}:{n:02},243 INFO:   {text}\n" for n, text in enumerate(lines))


def test_one_file_holds_the_runs_of_all_sizes_and_repeats() -> None:
    Path("notes.md").write_text("# Notes\n" + sized(10, 8, 6.0) + sized(11, 4, 7.0) + "\nAgain:\n" + sized(12, 4, 8.0))
    tree = {"run": ["old"], "platforms": {"old": {"backend": "log", "logs": "notes.md"}}}
    notes = Config.model_validate({"training": {**tree, "batch_sizes": [4, 8], "repeats": 2}})
    found = {}
    for run in specs.train_runs(notes):
        if (run.batch, run.repeat) == (8, 2):
            continue
        measure_run(notes, run, specs.train_spec(notes, run), run.folder)
    for record in parse_runs(notes, partial=True):
        found[record.batch_size, record.repeat] = record.log and (record.log.batch_size, record.log.final_loss)
    assert found == {(4, 1): (4, 7.0), (4, 2): (4, 8.0), (8, 1): (8, 6.0), (8, 2): None}


def test_a_run_that_the_file_does_not_hold_is_named_with_those_that_it_holds() -> None:
    Path("notes.md").write_text(sized(10, 8, 6.0) + sized(11, 512, 7.0))
    with pytest.raises(UserError, match=r"holds 1 of batch 8, 1 of batch 512; run 1 of batch 4 is not among them"):
        read("notes.md")
