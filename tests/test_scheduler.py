"""Why a cluster ended a job: what Slurm says is passed on, and nothing where it says nothing."""

import os
from pathlib import Path

import pytest

from accelbench.scheduler import end_explained, why_ended

# as printed by scontrol 22.05 while the job is being ended
SAID = "JobId=7 JobName=wrap Account=(null) JobState={state} Reason={reason} RunTime=00:01:27 TimeLimit=00:01:00"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put this process into Slurm's job 7; what scontrol prints is the fixture's to write."""
    scontrol, said = tmp_path / "scontrol", tmp_path / "said"
    scontrol.write_text(f'#!/bin/sh\n[ "$*" = "show job --oneliner 7" ] && cat {said}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return said


def test_a_time_limit_is_named_with_the_key_that_sets_it(slurm: Path) -> None:
    slurm.write_text(SAID.format(state="COMPLETING", reason="TimeLimit"))
    assert why_ended() == "Slurm ended job 7 at its time limit, 00:01:00 (runtime_min under cluster)"


def test_a_cancelled_job_is_said_to_be(slurm: Path) -> None:
    slurm.write_text(SAID.format(state="COMPLETING", reason="None"))
    assert why_ended() == "Slurm's job 7 was cancelled (reason given: None)"


def test_a_job_that_runs_was_not_ended_by_slurm(slurm: Path) -> None:
    slurm.write_text(SAID.format(state="RUNNING", reason="None"))
    assert why_ended() is None


def test_without_slurm_or_its_answer_nothing_is_said(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_ended() is None  # scontrol fails
    monkeypatch.delenv("SLURM_JOB_ID")
    assert why_ended() is None


def test_the_reason_is_noted_before_the_job_ends(slurm: Path) -> None:
    slurm.write_text(SAID.format(state="COMPLETING", reason="TimeLimit"))
    noted: list[str] = []
    with pytest.raises(SystemExit), end_explained(noted.append):
        raise SystemExit(143)
    assert len(noted) == 1
    with pytest.raises(LookupError), end_explained(noted.append):
        raise LookupError
    assert len(noted) == 1
