"""A CS-3 run, with a stand-in for cszoo and csctl: how it ends, and that no wafer job is ever left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from accelbench.config import Config
from accelbench.config.configfile import write_merged
from accelbench.errors import UserError
from accelbench.jobs.process import PACKAGE_PARENT, WORKFLOW_PID
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.training.backends import backend_of
from accelbench.training.log.model_dir import left_behind
from accelbench.training.log.reader import read_log
from accelbench.training.params.render import write_params
from accelbench.training.run import measure_run
from accelbench.training.runs import parse_runs
from tests.waiting import until

CSZOO, CSCTL = (Path(__file__).parents[2] / "standins" / name for name in ("cszoo", "csctl"))
MODEL = Path(__file__).parents[3] / "config/models/llama2_7b.yaml"
ALCF_DATA = "/software/datasets/llama_data_32K/test/"
RUN = specs.TrainRun("cs3", 256, 1)
FOLDER = paths.train_run("cs3", 256, 1)
LOG = FOLDER / "run.log"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STANDIN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("STANDIN_SECOND", "0.000002")
    monkeypatch.delenv(WORKFLOW_PID, raising=False)
    Path("model.yaml").write_text(MODEL.read_text().replace(ALCF_DATA, str(tmp_path)))
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def config_for(mode: str = "ok", **platform: Any) -> Config:
    cs3 = {
        "backend": "cerebras",
        "command": [sys.executable, str(CSZOO)],
        "csctl": [sys.executable, str(CSCTL)],
        "job_labels": {"mode": mode},
        **platform,
    }
    training = {"run": ["cs3"], "platforms": {"cs3": cs3}, "model": "model.yaml", "batch_sizes": [256]}
    return Config.model_validate({"training": training})


def run(mode: str = "ok") -> Any:
    config = config_for(mode)
    write_params(config, RUN, FOLDER / "params.yaml")
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    return record()


def said_by(mode: str) -> str:
    with pytest.raises(UserError) as error:
        run(mode)
    return str(error.value)


def record() -> Any:
    return json.loads((FOLDER / "run.json").read_text())


def jobs() -> dict[str, str]:
    """Give the phase of each wafer job, by kind."""
    listed = subprocess.run(
        [sys.executable, CSCTL, "get", "jobs", "-a", "-ojson"], capture_output=True, text=True, check=True
    )
    return {job["type"]: job["phase"] for job in json.loads(listed.stdout)["items"]}


# --- how a run ends -------------------------------------------------------------------------------------------------


def test_a_run_completes_and_its_log_and_the_trainers_own_record_agree() -> None:
    kept = run()
    log = read_log(LOG, batch_size=256)
    assert (kept["outcome"], kept["exit_status"], log.outcome) == ("completed", 0, "completed")
    assert (log.last_step, log.max_steps, len(log.steps)) == (200, 200, 20)
    assert log.checks == ()
    assert kept["trainer"]["global_rate_samples_per_s"] == pytest.approx(log.steady_rate_samples_per_s, rel=0.01)
    assert kept["trainer"]["flops_utilization"] == 0.047
    assert [(job["kind"], job["id"]) for job in kept["trainer"]["jobs"]] == [(job.kind, job.id) for job in log.wsjobs]
    assert jobs() == {"compile": "SUCCEEDED", "execute": "SUCCEEDED"}


def test_the_second_compile_of_a_size_is_cached() -> None:
    run()
    assert read_log(LOG).compile_cached is False
    config = config_for().model_copy(update={"restore": False})
    measure_run(config, RUN, specs.train_spec(config, RUN), FOLDER)
    assert read_log(LOG).compile_cached is True


def test_waiting_in_the_queue_is_no_time_of_the_run() -> None:
    kept = run("queue")
    assert read_log(LOG).phases_s["queue"] == pytest.approx(7200, rel=0.01)
    assert kept["trainer"]["queue_s"] == pytest.approx(7240, rel=0.01)
    [parsed] = [record.log for record in parse_runs(config_for("queue"))]
    assert parsed is not None
    assert parsed.phases_s["queue"] == kept["trainer"]["queue_s"]
    assert parsed.sources["phases_s.queue"] == "run_meta.json"
    assert parsed.sources["global_rate_samples_per_s"] == "performance.json"
    assert sum(seconds or 0 for seconds in parsed.phases_s.values()) == pytest.approx(parsed.wall_s, abs=0.1)
    assert parsed.checks == ()


@pytest.mark.parametrize(
    ("mode", "name", "text"),
    [
        ("nan", "ApplianceNanError", "NaN loss detected"),
        ("appliance", "ApplianceUnknownError", "Appliance error: Ran into error"),
        ("crash", "ApplianceUnknownError", "total 1 replica"),
        ("compile", "ApplianceCompilationError", "Compilation failed"),
    ],
)
def test_a_failure_is_named_although_the_log_counts_samples(mode: str, name: str, text: str) -> None:
    assert text in said_by(mode)
    assert (record()["outcome"], record()["exit_status"], record()["failure"]["class"]) == ("failed", 1, name)
    assert "Processed" in LOG.read_text()
    assert "FAILED" in jobs().values() and "RUNNING" not in jobs().values()
    assert "left running" not in LOG.read_text()


def test_a_finished_model_dir_is_refused_by_cszoo_and_train_never_offers_one() -> None:
    params = FOLDER / "params.yaml"
    write_params(config_for().model_copy(), RUN, params)
    params.write_text(params.read_text().replace("steps: null", "steps: 200"))
    command = [sys.executable, str(CSZOO), "fit", str(params), "--model_dir", str(FOLDER / "model_dir")]
    assert subprocess.run(command, capture_output=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "Initial global step 200 already exceeds max step 200." in again.stdout
    assert run()["outcome"] == "completed"


# --- no wafer job is left behind ------------------------------------------------------------------------------------


def start(mode: str, **environment: str) -> "subprocess.Popen[str]":
    """Start the train command and wait until its wafer job trains."""
    config = config_for(mode)
    write_merged(config, Path("run.yaml"))
    write_params(config, RUN, FOLDER / "params.yaml")
    command = [sys.executable, "-m", "accelbench", "train", "--platform", "cs3", "--size", "bs256", "--repeat", "1"]
    command += ["--spec", specs.train_spec(config, RUN), "--config", "run.yaml", "--out", str(FOLDER / "measured.json")]
    job = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": PACKAGE_PARENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert until(lambda: LOG.exists() and "Beginning appliance run" in LOG.read_text(), within_s=15)
    assert jobs() == {"compile": "SUCCEEDED", "execute": "RUNNING"}
    return job


def cszoo_of(job: "subprocess.Popen[str]") -> psutil.Process:
    found = psutil.Process(job.pid).children(recursive=True)
    return next(child for child in found if str(CSZOO) in child.cmdline()[:2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_lets_cszoo_cancel_its_job(number: signal.Signals) -> None:
    with start("hold") as job:
        job.send_signal(number)
        assert job.wait(timeout=15) == 128 + number
    assert jobs()["execute"] == "CANCELLED"
    assert "left running" not in LOG.read_text()
    assert read_log(LOG).outcome == "interrupted"


def test_kill_9_of_the_command_lets_cszoo_cancel_its_job() -> None:
    with start("hold") as job:
        job.kill()
    assert until(lambda: jobs()["execute"] == "CANCELLED", within_s=15)


def test_the_death_of_the_workflow_cancels_the_job() -> None:
    workflow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with start("hold", **{WORKFLOW_PID: str(workflow.pid)}) as job:
        workflow.kill()
        workflow.wait()
        assert job.wait(timeout=15) == 128 + signal.SIGTERM
    assert jobs()["execute"] == "CANCELLED"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_cszoo_that_is_killed_has_its_job_cancelled_by_csctl(number: signal.Signals) -> None:
    with start("hold") as job:
        cszoo_of(job).send_signal(number)
        output, _ = job.communicate(timeout=15)
    assert jobs() == {"compile": "SUCCEEDED", "execute": "CANCELLED"}
    said = "was left running by a killed cszoo and has been cancelled: Job canceled successfully"
    assert LOG.read_text().count(said) == 1
    assert said in output and job.returncode == 1
    assert record()["exit_status"] == 128 + number


def test_a_walltime_kill_cancels_the_job() -> None:
    """A batch system sends SIGTERM to all processes of the job at once."""
    with start("hold") as job:
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            process.terminate()
        job.wait(timeout=15)
    assert until(lambda: jobs()["execute"] == "CANCELLED", within_s=15)


def test_kill_9_of_the_command_and_of_cszoo_cancels_the_job() -> None:
    with start("stubborn") as job:
        cszoo = cszoo_of(job)
        job.kill()
        cszoo.kill()
    assert until(lambda: jobs()["execute"] == "CANCELLED", within_s=15)
    assert until(lambda: "was left running" in LOG.read_text(), within_s=15)


def test_a_job_that_someone_cancels_is_a_cancelled_run() -> None:
    with start("hold") as job:
        [running] = [path.stem for path in Path("state/jobs").glob("*.json") if '"RUNNING"' in path.read_text()]
        subprocess.run([sys.executable, CSCTL, "cancel", "job", running], check=True, capture_output=True)
        assert job.wait(timeout=15) == 1
    assert record()["outcome"] == "cancelled"


# --- compiling beforehand -------------------------------------------------------------------------------------------


def warm(mode: str, **platform: Any) -> Any:
    config, out = config_for(mode, **platform), paths.compiled("cs3", 256)
    write_params(config, RUN, FOLDER / "params.yaml")
    backend_of(config, "cs3").compile(FOLDER / "params.yaml", out)
    return json.loads(out.read_text())


def test_a_compile_beforehand_holds_no_wafer_and_fills_the_cache() -> None:
    compiled = warm("ok", prewarm=True)
    assert (compiled["outcome"], compiled["cached"], compiled["command"][-1]) == ("completed", False, "--compile_only")
    assert jobs() == {"compile": "SUCCEEDED"}
    assert "Compile was successful!" in (FOLDER.parent / "compile.log").read_text()
    run()
    assert read_log(LOG).compile_cached is True


def test_a_compile_that_fails_is_recorded_and_left_to_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    compiled = warm("compile", prewarm=True)
    assert (compiled["outcome"], compiled["exit_status"]) == ("failed", 1)
    assert "Compilation failed: no micro batch size fits the memory" in capsys.readouterr().out


def test_nothing_is_compiled_that_is_not_asked_for() -> None:
    assert warm("ok") == {"outcome": "not asked for"}
    assert jobs() == {}


# --- what it leaves in model_dir ------------------------------------------------------------------------------------


def facts_of(performance: str | None, run_meta: str | None) -> dict[str, Any]:
    executor = Path("m/cerebras_logs/1/executors/000001")
    executor.mkdir(parents=True)
    if performance is not None:
        (executor / "performance.json").write_text(performance)
    if run_meta is not None:
        Path("m/cerebras_logs/run_meta.json").write_text(run_meta)
    return left_behind(Path("m"))


def test_a_model_dir_that_is_not_there_says_nothing() -> None:
    assert left_behind(Path("none")) == {}


@pytest.mark.parametrize("broken", ["", "{", "[1]", "null", '{"global_rate": "fast", "compile_jobs": {}}'])
def test_broken_files_say_nothing(broken: str) -> None:
    facts = facts_of(broken, broken)
    assert facts.keys() == {"performance_file"}


@pytest.mark.parametrize(
    ("start", "scheduled", "queue_s"),
    [
        ("2025-11-25T15:00:00", "2025-11-25T15:01:30.5", 90.5),
        ("2025-11-25 15:00:00", "2025-11-25 15:00:07", 7.0),
        ("2025-11-25T15:00:00Z", "2025-11-25T17:00:00+01:00", 3600.0),
        (1764082621, 1764082631.25, 10.25),
        ("yesterday", "2025-11-25T15:00:00", None),
        (None, None, None),
    ],
)
def test_the_queue_is_from_the_start_to_the_scheduled_time(start: Any, scheduled: Any, queue_s: float | None) -> None:
    job = {"id": "wsjob-a", "start_time": start, "scheduled_time": scheduled}
    facts = facts_of(None, json.dumps({"execute_jobs": [job, "no job"]}))
    assert [found["queue_s"] for found in facts["jobs"]] == [queue_s]
    assert facts.get("queue_s") == queue_s
