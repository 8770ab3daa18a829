"""Why a measurement has no result: what the job wrote, what the batch system knows, what the command complained of."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from accelbench.errors import UserError
from accelbench.plan.measurement import OtherSpecError
from accelbench.plan.past import reason, unmeasured

FOLDER = Path("results/training/gpu/bs4/r1")
UNFINISHED = {"outcome": "unfinished", "exit_status": None, "failure": None}
PBS = "accelbench pbs: job 101.pbs-01: {} PBS output: results/logs/pbs/101.pbs-01.OU\n"
WALLTIME = "it exceeded its walltime of 00:30:00; raise it in the config (cluster: runtime_min)."
OWN = "its command failed with exit status 1; its error message is above, or in the PBS output."


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)


def ran(**record: Any) -> None:
    (FOLDER / "run.json").write_text(json.dumps({**UNFINISHED, **record}))


def logged(text: str) -> None:
    (FOLDER / "job.log").write_text(text)


def by_slurm(text: str, job: int = 7) -> Path:
    log = Path(f".snakemake/slurm_logs/rule_train/gpu_bs4_1/{job}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


def test_what_was_never_tried_has_no_reason() -> None:
    assert reason(FOLDER) is None


def test_a_run_says_itself_why_it_failed() -> None:
    ran(outcome="failed", exit_status=1, failure={"text": "CUDA out of memory"})
    logged(f"accelbench: {FOLDER}: the run ended as failed\n{PBS.format(OWN)}")
    assert reason(FOLDER) == "CUDA out of memory"


@pytest.mark.parametrize("recorded", [True, False])
def test_what_pbs_knows_of_a_job_that_could_not_say_it(recorded: bool) -> None:
    if recorded:
        ran()
    logged(f"follow it with: tail -f x\n{PBS.format(WALLTIME)}")
    assert reason(FOLDER) == f"{'unfinished: ' if recorded else ''}{WALLTIME}"


def test_what_was_not_submitted_says_what_qsub_said() -> None:
    logged("accelbench pbs: not submitted: qsub refused with status 170: qsub: Unknown queue\n")
    assert reason(FOLDER) == "not submitted: qsub refused with status 170: qsub: Unknown queue"


def test_a_job_that_complained_before_it_began_is_quoted() -> None:
    logged(f"accelbench: training.platforms.gpu.venv: /x/bin is not there.\nGive another.\n{PBS.format(OWN)}")
    assert reason(FOLDER) == "training.platforms.gpu.venv: /x/bin is not there. Give another."


def test_a_run_that_logged_no_failure_says_how_it_ended_and_what_it_said_last() -> None:
    ran(outcome="incomplete", exit_status=137)
    logged(f"accelbench: {FOLDER}: the run ended as incomplete (exit status 137): Step=4\nIts log is x. Again?\n")
    assert reason(FOLDER) == "incomplete: exit status 137, as after signal 9: Step=4"


def test_a_round_says_it_in_failure_json() -> None:
    (FOLDER / "failure.json").write_text(json.dumps({"text": "metis: the token was refused (401)."}))
    assert reason(FOLDER) == "metis: the token was refused (401)."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # as slurmd 22.05 writes them
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks", "out of memory"),
        ("slurmstepd: error: *** JOB 7 ON vm CANCELLED AT 2026-11-27T12:00:00 DUE TO TIME LIMIT ***", "time limit"),
        ("slurmstepd: error: *** JOB 7 ON vm CANCELLED AT 2026-11-27T12:00:00 DUE TO PREEMPTION ***", "preempted"),
        ("slurmstepd: error: *** JOB 7 ON vm CANCELLED AT 2026-11-27T12:00:00 ***", "cancelled (scancel"),
        ("accelbench: Slurm says 7|NODE_FAIL", "node was lost"),
        (
            "accelbench: Slurm refused it: sbatch: error: invalid partition",
            "not submitted: sbatch: error: invalid part",
        ),
    ],
)
def test_what_slurm_wrote_into_the_jobs_log(text: str, words: str) -> None:
    ran()
    by_slurm(f"rule train:\n{text}\n")
    said = reason(FOLDER)
    assert said is not None and said.startswith("unfinished: ") and words in said


def test_a_job_of_slurm_before_the_last_try_says_nothing_of_it() -> None:
    os.utime(by_slurm("slurmstepd: error: Detected 1 oom_kill event\n"), (1, 1))
    by_slurm("all went well\n", job=8)
    ran(outcome="failed", exit_status=3)
    logged("training; follow it with: tail -f run.log\n")
    assert reason(FOLDER) == "exit status 3"


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_broken_record_is_said(text: str) -> None:
    (FOLDER / "run.json").write_text(text)
    said = reason(FOLDER)
    assert said is None if text == "[]" else said is not None and "can't be read" in said


def test_what_snakemake_measures_again_by_itself_is_stale_and_all_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (FOLDER / "measured.json").touch()
    other = OtherSpecError("settings.max_steps was 20, the config says 40", "the whole message")
    assert unmeasured(FOLDER, other) == ("refused", "the whole message")  # of another site
    monkeypatch.setattr("accelbench.plan.past.is_made_here", lambda _: True)
    assert unmeasured(FOLDER, other) == (
        "stale",
        "will be measured again: settings.max_steps was 20, the config says 40",
    )
    assert unmeasured(FOLDER, UserError("run.log is gone")) == ("refused", "run.log is gone")
    (FOLDER / "measured.json").unlink()
    assert unmeasured(FOLDER, UserError("is missing")) == ("missing", None)
    logged("accelbench: no such device\n")
    assert unmeasured(FOLDER, UserError("is missing")) == ("failed", "no such device")
