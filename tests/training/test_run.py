"""One training run, with a small script in cszoo's place: how it ends, and what is kept of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import Config
from accelbench.config.configfile import write_merged
from accelbench.errors import UserError
from accelbench.jobs.process import PACKAGE_PARENT, WORKFLOW_PID
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.telemetry.summary import telemetry_of
from accelbench.training.backends.backend import Launch
from accelbench.training.params.render import write_params
from accelbench.training.run import _trained, measure_run
from accelbench.training.runs import parse_runs
from accelbench.training.tries import Try

RUN = specs.TrainRun("cs3", 4, 1)
FOLDER = paths.train_run("cs3", 4, 1)
PARAMS = FOLDER / "params.yaml"
CSZOO = r"""
import sys, time
from pathlib import Path

how, fit, params, *flags = sys.argv[1:]
flag = dict(zip(flags[::2], flags[1::2]))
model_dir = Path(flag["--model_dir"])
if model_dir.exists():
    sys.exit("RuntimeError: Initial global step 2 already exceeds max step 2.")

def say(text, level="INFO", at=iter(range(60))):
    print(f"2025-11-25 15:39:{next(at):02},243 {level}:   {text}", flush=True)

assert fit == "fit" and flag["--target_device"] == "CSX"
model_dir.mkdir(parents=True)
with open("calls", "a") as calls:
    print(*sys.argv[1:], file=calls)
say("Starting train loop 1 of 1, from global step 1 to 2 (2 steps)")
if how == "wait":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        say("Job canceled successfully")
        sys.exit(130)
for step in (1, 2):
    say(f"| Train Device=CSX, Step={step}, Loss=8.0000{step}, Rate=4.00 samples/sec, GlobalRate=4.00 samples/sec, "
        "LoopTimeRemaining=0:00:01, TimeRemaining=0:00:01")
if how == "fail":
    say("Initiating shutdown sequence due to Appliance error: weight server 3 crashed", "ERROR")
    say("Processed 8 training sample(s) in 3.5 seconds.")
    sys.exit(1)
if how == "silent":
    sys.exit(0)
if how == "refuse":
    sys.exit("there is no such device here")
performance = model_dir / "cerebras_logs" / "1" / "executors" / "000001" / "performance.json"
performance.parent.mkdir(parents=True)
performance.write_text("{}")
say("Training completed successfully!")
say("Processed 8 training sample(s) in 3.5 seconds.")
sys.exit(3 if how == "completed with 3" else 0)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(WORKFLOW_PID, raising=False)
    Path("cszoo.py").write_text(CSZOO)
    Path("model.yaml").write_text("trainer: {init: {}, fit: {train_dataloader: {batch_size: 1}}}")
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def config_for(how: str, **platform: Any) -> Config:
    cs3 = {"backend": "cerebras", "command": [sys.executable, "cszoo.py", how], **platform}
    training = {"run": ["cs3"], "platforms": {"cs3": cs3}, "model": "model.yaml", "batch_sizes": [4], "max_steps": 2}
    return Config.model_validate({"training": training})


def run(how: str, **platform: Any) -> None:
    config = config_for(how, **platform)
    write_params(config, RUN, PARAMS)
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)


def said_by(how: str) -> str:
    with pytest.raises(UserError) as error:
        run(how)
    return str(error.value)


def record() -> Any:
    return json.loads((FOLDER / "run.json").read_text())


def calls() -> list[str]:
    return Path("calls").read_text().splitlines()


def test_a_completed_run_keeps_log_record_and_measurement() -> None:
    run("complete")
    assert "Training completed successfully!" in (FOLDER / "run.log").read_text()
    kept, spec = record(), specs.train_spec(config_for("complete"), RUN)
    assert (kept["outcome"], kept["exit_status"], kept["failure"]) == ("completed", 0, None)
    assert kept["spec"] == json.loads(spec)
    assert kept["command"][1:] == [
        "cszoo.py", "complete", "fit", str(PARAMS), "--target_device", "CSX", "--model_dir", str(FOLDER / "model_dir"),
    ]  # fmt: skip
    assert kept["wall_s"] > 0 and kept["started_at"] <= kept["ended_at"] and kept["host"]["cores"]
    assert kept["trainer"]["performance_file"].endswith("000001/performance.json")
    measured = json.loads((FOLDER / "measured.json").read_text())
    assert measured["spec_digest"] == specs.digest(spec)
    assert measured["raw_sha256"].keys() == {"run.log", "run.json"}


def test_what_else_this_host_did_is_recorded_where_it_is_what_trains(tmp_path: Path) -> None:
    launch, begun = Launch([sys.executable, "-c", "import time; time.sleep(.6)"]), Try("2025-11-25T10:00:00+00:00", 0)
    for here, folder in ((True, tmp_path / "here"), (False, tmp_path / "elsewhere")):
        _trained(launch, folder / "run.log", begun, here=here)
    found = telemetry_of(tmp_path / "here")
    assert found and found.host_activity and found.host_activity["wall_s"] >= 0.6
    assert telemetry_of(tmp_path / "elsewhere") is None


def test_the_trainer_reads_the_params_file_that_it_is_given() -> None:
    config = config_for("complete")
    write_params(config, RUN, PARAMS)
    given = PARAMS.read_text() + "# as it was rendered\n"
    PARAMS.write_text(given)
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert PARAMS.read_text() == given


@pytest.mark.parametrize("left", [None, "[]", "{"])
def test_a_run_without_its_params_file_says_what_writes_it(left: str | None) -> None:
    config = config_for("complete")
    if left:
        PARAMS.parent.mkdir(parents=True)
        PARAMS.write_text(left)
    with pytest.raises(UserError, match=rf"{PARAMS} is not there, or .* `accelbench params` writes it\."):
        measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert not (FOLDER / "run.log").exists() and not (FOLDER / "run.json").exists()


def test_job_labels_are_given_to_cszoo() -> None:
    run("complete", job_labels={"name": "x", "team": "y"})
    assert record()["command"][-3:] == ["--job_labels", "name=x", "team=y"]


def test_a_failed_run_says_why_and_where_its_log_is() -> None:
    assert said_by("fail").startswith(f"{FOLDER}: the run ended as failed (exit status 1): ")
    assert "weight server 3 crashed" in said_by("fail")
    assert f"Its log is {FOLDER / 'run.log'}." in said_by("fail")
    assert record()["failure"]["class"] == "ApplianceUnknownError"
    assert not (FOLDER / "measured.json").exists()
    assert not paths.ARCHIVE.exists()


def test_exit_status_0_without_the_final_line_is_no_success() -> None:
    assert "the run ended as incomplete (exit status 0): 2025-11-25 15:39:02,243 INFO:   | Train" in said_by("silent")
    assert record()["outcome"] == "incomplete"
    assert not (FOLDER / "measured.json").exists()


def test_data_that_is_not_on_the_machine_that_trains_is_an_error_before_anything_is_started() -> None:
    Path("model.yaml").write_text("trainer: {init: {}, fit: {train_dataloader: {data_dir: /no/such/folder}}}")
    assert "model.yaml: trainer.fit.train_dataloader.data_dir: /no/such/folder isn't on this machine" in said_by(
        "complete"
    )
    assert not (FOLDER / "run.log").exists() and not (FOLDER / "run.json").exists()
    assert not Path("calls").exists()


def test_what_is_known_of_the_data_stands_in_the_record() -> None:
    run("complete")
    assert record()["dataset"] == {
        "n_samples": None, "sequence_length": None, "why_unknown": "its data_dir holds no .h5 file",
    }  # fmt: skip
    [found] = parse_runs(config_for("complete"))
    assert (found.dataset, found.lr_factor, found.micro_batch_size) == (record()["dataset"], 1.0, None)


def test_the_final_line_with_another_exit_status_is_no_success() -> None:
    assert "the run ended as failed (exit status 3)" in said_by("completed with 3")
    assert record()["outcome"] == "failed"


def test_a_command_that_is_not_there_is_named() -> None:
    config = config_for("complete", command=["no-such-cszoo"])
    with pytest.raises(
        UserError, match=r"training\.platforms\.cs3\.command: no-such-cszoo can't be found .* Set .*venv"
    ):
        measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert not (FOLDER / "run.log").exists() and not (FOLDER / "run.json").exists()


def test_a_failed_run_is_tried_anew_in_an_empty_model_dir() -> None:
    said_by("fail")
    (FOLDER / "model_dir" / "checkpoint_2.mdl").touch()
    run("complete")
    assert len(calls()) == 2
    assert not (FOLDER / "model_dir" / "checkpoint_2.mdl").exists()
    assert record()["outcome"] == "completed"


def test_a_finished_run_is_restored_and_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    run("complete")
    log = (FOLDER / "run.log").read_text()
    for path in (FOLDER / "run.log", FOLDER / "run.json", FOLDER / "measured.json"):
        path.unlink()
    run("fail")  # the command is descriptive: the spec is the same
    assert len(calls()) == 1
    assert (FOLDER / "run.log").read_text() == log
    assert "restored from" in capsys.readouterr().out
    assert json.loads((FOLDER / "measured.json").read_text())["restored_at"]


def test_restoring_can_be_switched_off() -> None:
    run("complete")
    config = config_for("complete").model_copy(update={"restore": False})
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert len(calls()) == 2


def test_a_run_that_fails_later_leaves_the_archived_one_alone() -> None:
    run("complete")
    kept = paths.ARCHIVE / specs.digest(specs.train_spec(config_for("complete"), RUN))
    log = (kept / "run.log").read_text()
    config = config_for("fail").model_copy(update={"restore": False})
    with pytest.raises(UserError):
        measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert (kept / "run.log").read_text() == log
    assert not (FOLDER / "measured.json").exists()


@pytest.mark.parametrize(
    ("how", "state", "why"),
    [
        ("complete", "measured", None),
        ("fail", "failed", ".*weight server 3 crashed"),
        ("silent", "failed", "incomplete: exit status 0"),
        ("refuse", "failed", "incomplete: there is no such device here"),
        (None, "missing", "not measured yet"),
    ],
)
def test_a_partial_report_says_what_became_of_a_run(how: str | None, state: str, why: str | None) -> None:
    if how == "complete":
        run(how)
    elif how:
        said_by(how)
    [found] = parse_runs(config_for("complete"), partial=True)
    assert found.state == state
    assert found.why is None if why is None else re.match(why, str(found.why))


def test_parsing_refuses_what_is_not_measured_or_is_broken() -> None:
    with pytest.raises(UserError, match="is missing"):
        parse_runs(config_for("complete"))
    run("complete")
    (FOLDER / "run.json").unlink()
    with pytest.raises(UserError, match=r"run\.json was deleted or changed"):
        parse_runs(config_for("complete"))
    [found] = parse_runs(config_for("complete"), partial=True)
    assert found.state == "refused"


def test_steps_and_summary_are_derived() -> None:
    run("complete")
    parse_runs(config_for("complete"))
    assert (FOLDER / "steps.csv").read_text().splitlines() == [
        "step,t_s,loss,rate,global_rate,held_out_loss", "1,1.0,8.00001,4.0,4.0,", "2,2.0,8.00002,4.0,4.0,",
    ]  # fmt: skip
    assert json.loads((FOLDER / "summary.json").read_text())["spec"]["batch_size"] == 4


def test_sigterm_to_the_command_interrupts_cszoo_which_cancels_its_job() -> None:
    end_by_sigterm()
    assert "Job canceled successfully" in (FOLDER / "run.log").read_text()
    assert not (FOLDER / "measured.json").exists()


def test_a_run_that_slurm_ends_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho JobState=COMPLETING Reason=TimeLimit TimeLimit=06:00:00")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    end_by_sigterm()
    [found] = parse_runs(config_for("wait"), partial=True)
    assert found.why == "unfinished: Slurm ended job 7 at its time limit, 06:00:00 (runtime_min under cluster)"


def end_by_sigterm() -> None:
    """Train in a process of its own, and end it by SIGTERM once the run is under way."""
    config = config_for("wait")
    write_merged(config, Path("run.yaml"))
    write_params(config, RUN, PARAMS)
    command = [sys.executable, "-m", "accelbench", "train", "--platform", "cs3", "--size", "bs4", "--repeat", "1"]
    command += ["--spec", specs.train_spec(config, RUN), "--config", "run.yaml"]
    command += ["--out", str(FOLDER / "measured.json")]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    log = FOLDER / "run.log"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        end_s = time.monotonic() + 20
        while not (log.exists() and "Starting train loop" in log.read_text()):
            assert time.monotonic() < end_s
            time.sleep(0.02)
        job.terminate()
        _, errors = job.communicate(timeout=10)
    assert job.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
