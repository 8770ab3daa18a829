"""A run that was interrupted goes on from its last checkpoint, with a stand-in for cszoo; any other begins anew."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.jobs.process import WORKFLOW_PID, how_ended
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.store.records import ParsedLog, TrainRunRecord
from accelbench.training.backends import BACKENDS, backend_of
from accelbench.training.log.reader import read_log
from accelbench.training.params.check import check_params, goes_on_until
from accelbench.training.params.render import write_params
from accelbench.training.run import _again, measure_run
from accelbench.training.runs import parse_runs
from accelbench.training.tries import Try, begun_from, earlier_tries, keep_whole_checkpoints, summary

CSZOO, CSCTL = (Path(__file__).parents[1] / "standins" / name for name in ("cszoo", "csctl"))
MODEL = Path(__file__).parents[2] / "config/models/llama2_7b.yaml"
RUN = specs.TrainRun("cs3", 256, 1)
FOLDER = paths.train_run("cs3", 256, 1)
LOG, RECORD, MODEL_DIR = FOLDER / "run.log", FOLDER / "run.json", FOLDER / "model_dir"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STANDIN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("STANDIN_SECOND", "0.0000001")
    monkeypatch.setenv("STANDIN_MODE", "")  # `run` sets it; so it is put back
    monkeypatch.delenv(WORKFLOW_PID, raising=False)
    Path("model.yaml").write_text(MODEL.read_text().replace("/software/datasets/llama_data_32K/test/", str(tmp_path)))
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def config_for(mode: str = "ok", **training: Any) -> Config:
    cs3 = {
        "backend": "cerebras",
        "command": [sys.executable, str(CSZOO)],
        "csctl": [sys.executable, str(CSCTL)],
        "job_labels": {"mode": mode.replace("@", "-at-")},
    }
    settings = {"model": "model.yaml", "batch_sizes": [256], "max_steps": 60, "checkpoint_steps": 20, **training}
    return Config.model_validate({"training": {"run": ["cs3"], "platforms": {"cs3": cs3}, **settings}})


def run(mode: str = "ok", **training: Any) -> Any:
    os.environ["STANDIN_MODE"] = mode
    config = config_for(mode, **training)
    write_params(config, RUN, FOLDER / "params.yaml")
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    return record()


def said_by(mode: str, **training: Any) -> str:
    with pytest.raises(UserError) as error:
        run(mode, **training)
    return str(error.value)


def record() -> Any:
    return json.loads(RECORD.read_text())


def from_steps() -> list[int]:
    return [one["from_step"] for one in record()["tries"]]


def parsed() -> ParsedLog:
    return read_log(LOG, batch_size=256)


def test_a_checkpoint_that_was_not_written_whole_is_deleted_file_or_folder(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(f"INFO:   Saved checkpoint {tmp_path}/checkpoint_2.dcp\n")
    for step in (2, 4):
        (tmp_path / f"checkpoint_{step}.dcp").mkdir()
    (tmp_path / "checkpoint_4.dcp/part").touch()
    (tmp_path / "checkpoint_6.pt").touch()
    keep_whole_checkpoints(log, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint_*")] == ["checkpoint_2.dcp"]


# --- which runs go on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["kill@50", "timeout@50"])
def test_an_interrupted_run_goes_on_from_its_last_checkpoint(mode: str) -> None:
    assert f"The same command resumes from step 40 (delete {MODEL_DIR} to start over)" in said_by(mode)
    first = LOG.read_text()
    kept = run()
    assert (kept["outcome"], kept["exit_status"], kept["failure"]) == ("completed", 0, None)
    assert (from_steps(), kept["pieced_together"]) == ([0, 40], True)
    assert LOG.read_text().startswith(first) and "from global step 41 to 60 (20 steps)" in LOG.read_text()


def test_a_run_of_one_piece_says_so() -> None:
    kept = run()
    assert (from_steps(), kept["pieced_together"], kept["between_tries_s"]) == ([0], False, 0)
    assert parsed().resumed_from_steps == ()


def test_it_may_be_interrupted_again_and_again() -> None:
    said_by("kill@30")
    said_by("kill@30")
    said_by("kill@50")
    run()
    assert from_steps() == [0, 20, 20, 40]


def test_a_run_that_fails_twice_from_one_checkpoint_begins_anew() -> None:
    assert "resumes from step 20" in said_by("timeout@30")
    assert "resumes from step 20" in said_by("timeout@30")
    assert "The same command starts over instead of resuming from step 20" in said_by("timeout@30")
    assert from_steps() == [0, 20, 20]
    run()
    assert from_steps() == [0]


def test_being_killed_is_no_failure_of_the_checkpoint() -> None:
    for _ in range(4):
        assert "resumes from step 20" in said_by("kill@30")
    assert from_steps() == [0, 20, 20, 20]


def test_a_later_checkpoint_is_tried_for_itself() -> None:
    for mode in ("timeout@30", "timeout@30", "timeout@50", "timeout@50"):
        said_by(mode)
    run()
    assert from_steps() == [0, 20, 20, 40, 40]


def test_a_checkpoint_that_was_not_written_whole_is_not_gone_on_from() -> None:
    assert "resumes from step 20" in said_by("torn@40")
    assert run()["outcome"] == "completed"
    assert from_steps() == [0, 20]


def test_a_run_that_was_killed_with_all_that_watched_it_goes_on() -> None:
    """Nobody saw it end: run.json is as it was when the try began."""
    said_by("kill@50")
    one = {**record()["tries"][0], "ended_at": None, "exit_status": None, "wall_s": None}
    RECORD.write_text(json.dumps({**record(), "outcome": "unfinished", "tries": [one]}))
    os.utime(LOG, (2_000_000_000, 2_000_000_000))
    first, second = run()["tries"]
    assert (second["from_step"], first["exit_status"]) == (40, None)
    assert first["ended_at"].startswith("2033-05-1") and first["wall_s"] > 1e6


@pytest.mark.parametrize("mode", ["nan", "kill@10"])
def test_a_loss_that_is_nan_and_a_run_without_a_checkpoint_begin_anew(mode: str) -> None:
    assert "The same command tries it again" in said_by(mode)
    (MODEL_DIR / "of_the_first_try").touch()
    run()
    assert from_steps() == [0]
    assert LOG.read_text().count("Starting train loop") == 1
    assert not (MODEL_DIR / "of_the_first_try").exists()


def test_a_loss_that_is_nan_after_a_checkpoint_comes_again_and_is_not_gone_on_from() -> None:
    said_by("kill@50")
    LOG.write_text(LOG.read_text().replace("Step=50, Loss=", "Step=50, Loss=nan, Was="))
    run()
    assert from_steps() == [0]


def test_a_run_of_another_spec_begins_anew() -> None:
    said_by("kill@50")
    run(seed=7)
    assert from_steps() == [0]


def test_without_checkpoints_in_the_config_a_run_begins_anew() -> None:
    assert "tries it again" in said_by("kill@50", checkpoint_steps=None)
    run(checkpoint_steps=None)
    assert from_steps() == [0]


def test_a_run_that_trained_to_its_end_can_not_go_on() -> None:
    """Initial global step 60 already exceeds max step 60."""
    assert "tries it again" in said_by("kill@60")
    assert run()["outcome"] == "completed"
    assert from_steps() == [0]


def test_a_finished_run_is_measured_in_one_piece_when_asked_for_anew() -> None:
    said_by("kill@50")
    run()
    archived = paths.ARCHIVE / specs.digest(specs.train_spec(config_for(), RUN)) / "run.log"
    before = archived.read_bytes()
    config = config_for().model_copy(update={"restore": False})
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert from_steps() == [0]
    assert LOG.read_text().count("Starting train loop") == 1 and b"from global step 41" in before


def test_nothing_goes_on_where_cszoo_would_not_load_the_checkpoint() -> None:
    text = (
        Path("model.yaml").read_text().replace("checkpoint:\n", "checkpoint:\n      autoload_last_checkpoint: false\n")
    )
    assert "autoload_last_checkpoint: false" in text
    Path("model.yaml").write_text(text)
    assert "tries it again" in said_by("kill@50")
    run()
    assert from_steps() == [0]


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"spec": {}}', '{"spec": {}, "outcome": "failed", "tries": [{}]}'])
def test_a_record_that_is_broken_or_of_an_older_version_is_no_earlier_try(broken: str) -> None:
    Path("record").write_text(broken)
    Path("log").touch()
    assert earlier_tries(Path("record"), Path("log"), "{}") == []


def checkpoints(backend: str, model_dir: Path = Path()) -> dict[str, int]:
    return BACKENDS[backend]("p", None).checkpoints(model_dir)


def test_a_checkpoint_is_known_by_its_name() -> None:
    for name in ("checkpoint_9.mdl", "checkpoint_10_20251125_153945.mdl", "checkpoint_11.pt", "checkpoint_x.mdl"):
        Path(name).touch()
    assert checkpoints("cerebras") == {"checkpoint_9.mdl": 9, "checkpoint_10_20251125_153945.mdl": 10}
    assert (checkpoints("torch"), checkpoints("torch", Path("none"))) == ({"checkpoint_11.pt": 11}, {})


@pytest.mark.parametrize(
    ("index", "steps"),
    [
        ("- m/checkpoint_20.mdl\n", [20]),
        ("- /elsewhere/checkpoint_20.mdl\n- m/checkpoint_40.mdl\n- m/checkpoint_80.mdl\n", [20, 40]),
        ("", []),
        ("{", []),
    ],
)
def test_cszoo_goes_on_from_what_its_index_lists(index: str, steps: list[int]) -> None:
    for step in (20, 40, 60):
        Path(f"checkpoint_{step}.mdl").touch()
    Path("checkpoints_index.yaml").write_text(index)
    assert sorted(checkpoints("cerebras").values()) == steps


def test_a_checkpoint_that_was_logged_but_not_listed_is_not_gone_on_from() -> None:
    """Its line in the log comes before the index is written."""
    said_by("kill@50")
    (MODEL_DIR / "checkpoints_index.yaml").write_text(f"- {MODEL_DIR}/checkpoint_20.mdl\n")
    config = config_for()
    again = _again(backend_of(config, "cs3"), specs.train_spec(config, RUN), FOLDER)
    assert "resumes from step 20" in again
    assert (MODEL_DIR / "checkpoint_40.mdl").exists()


@pytest.mark.parametrize("told", [20, 0])
def test_the_step_that_a_try_began_from_is_the_one_that_its_log_tells(told: int) -> None:
    said_by("kill@50")
    size = LOG.stat().st_size
    with LOG.open("a") as log:
        log.write(f"Starting train loop 1 of 1, from global step {told + 1} to 60 ({60 - told} steps)\n")
    assert (begun_from(LOG, size), begun_from(LOG, LOG.stat().st_size)) == (told, None)


@pytest.mark.parametrize(
    ("status", "said"), [(1, "exit status 1"), (-9, "killed by signal 9"), (137, "exit status 137, as after signal 9")]
)
def test_how_a_process_ended_is_said_by_its_signal(status: int, said: str) -> None:
    assert how_ended(status) == said
    assert Try("now", 0, exit_status=status).failed == (status == 1)


# --- what keeps a run from going on ---------------------------------------------------------------------------------


def trainer(**changes: Any) -> dict[str, Any]:
    init = {"loop": {"max_steps": 60}, "checkpoint": {"steps": 20, **changes.pop("checkpoint", {})}}
    return {"trainer": {"init": init, "fit": {"train_dataloader": {"batch_size": 4}, **changes}}}


@pytest.mark.parametrize(
    ("params", "key"),
    [
        (trainer(checkpoint={"autoload_last_checkpoint": False}), "autoload_last_checkpoint is false"),
        (trainer(ckpt_path=None), "ckpt_path is what every start loads"),
    ],
)
def test_the_check_warns_of_what_keeps_an_interrupted_run_from_going_on(params: dict[str, Any], key: str) -> None:
    assert goes_on_until(params) is None
    [(severity, sentence)] = check_params(params)
    assert severity == "warning" and key in sentence and "starts over" in sentence


def test_only_one_trainer_that_saves_goes_on() -> None:
    assert goes_on_until(trainer()) == 60
    assert check_params(trainer()) == []
    assert goes_on_until(trainer(checkpoint={"steps": None, "autoload_last_checkpoint": False})) is None
    assert goes_on_until({"trainer": [trainer(), trainer()]}) is None


# --- what is said of a run in pieces ----------------------------------------------------------------------------------


def test_the_time_between_the_tries_is_no_time_of_the_run() -> None:
    tries = [
        Try("2025-11-25T10:00:00+00:00", 0, "2025-11-25T11:00:00+00:00", 137, 3600.0),
        Try("2025-11-25T13:00:00+00:00", 20, "2025-11-25T13:30:00+00:00", 0, 1800.0),
    ]
    said = summary(tries)
    assert (said["wall_s"], said["between_tries_s"]) == (5400.0, 7200.0)
    assert (said["started_at"], said["ended_at"]) == ("2025-11-25T10:00:00+00:00", "2025-11-25T13:30:00+00:00")


def test_the_log_of_two_parts_is_one_completed_run() -> None:
    run()
    whole = parsed()
    shutil.rmtree(FOLDER)
    shutil.rmtree(paths.ARCHIVE)
    said_by("kill@50")
    run()
    log = parsed()
    assert (log.outcome, log.parts, log.resumed_from_steps) == ("completed", 2, (40,))
    assert [step.step for step in log.steps] == [10, 20, 30, 40, 50, 60]
    assert {check.what for check in log.checks} == {"parts"}
    assert log.steady_rate_samples_per_s == pytest.approx(whole.steady_rate_samples_per_s, rel=0.001)
    assert log.between_parts_s == pytest.approx(600, abs=1) == log.phases_s["other"]
    spent = [seconds for seconds in log.phases_s.values() if seconds]
    assert sum(spent) == pytest.approx(log.wall_s, abs=0.01)
    for phase in ("programming", "weights"):
        assert log.phases_s[phase] == pytest.approx(2 * (whole.phases_s[phase] or 0), rel=0.01)


def test_the_record_of_the_run_says_where_it_was_resumed() -> None:
    said_by("kill@50")
    run()
    [found] = parse_runs(config_for())
    assert found.logged.resumed_from_steps == (40,)
    assert TrainRunRecord("p", 1, 1, "missing", None).logged.resumed_from_steps == ()


def test_an_interrupted_run_is_shown_as_failed_until_it_has_gone_on() -> None:
    said_by("kill@50")
    RECORD.write_text(json.dumps({**record(), "outcome": "unfinished", "exit_status": None}))
    [found] = parse_runs(config_for(), partial=True)
    assert (found.state, found.why) == ("failed", "unfinished: the log breaks off")
