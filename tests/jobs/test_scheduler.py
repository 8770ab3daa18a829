"""What Slurm says of jobs is passed on, and nothing where it says nothing; ends that Snakemake misses are named so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.jobs.process import PACKAGE_PARENT
from accelbench.jobs.scheduler import SHIMS, end_explained, once_per_node, understood, why_ended

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


def test_a_command_is_started_on_each_node_by_the_jobs_own_batch_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match=r"^2 nodes train together only in a job of PBS or Slurm"):
        once_per_node(2)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert once_per_node(2)[:4] == ["srun", "--overlap", "--nodes=2", "--ntasks=2"]


@pytest.mark.parametrize(
    ("version", "options"),
    [
        # of Open MPI 5.0.11, MPICH 5.0.2 and Intel MPI 2021.18 as installed; of Open MPI 4 and PALS as others show them
        ("mpiexec (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/", "open-mpi"),
        ("mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/", "open-mpi"),
        ("HYDRA build details:\n    Version:                                 5.0.2", "--ppn"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 20260626 (id: b44796a)", "--ppn"),
        ("mpiexec version 1.7.1", "--ppn"),
        (None, "--ppn"),  # none there: its start says so
    ],
)
def test_mpiexec_is_asked_for_one_process_per_node_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, options: str
) -> None:
    if version:
        (tmp_path / "mpiexec").write_text(f"#!/bin/sh\n[ $1 = --version ] && /bin/cat <<'END'\n{version}\nEND\n")
        (tmp_path / "mpiexec").chmod(0o755)
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in {"PATH": str(tmp_path), "PBS_NODEFILE": "/pbs/7", "PYTHONPATH": "w", "TOKEN": "t"}.items():
        monkeypatch.setenv(name, value)
    asked = {
        "--ppn": ["--ppn", "1"],
        "open-mpi": ["--map-by", "ppr:1:node", "--hostfile", "/pbs/7", "-x", "PATH", "-x", "PYTHONPATH"],
    }
    assert once_per_node(2) == ["mpiexec", "-n", "2", *asked[options]]


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
    with pytest.raises(KeyboardInterrupt), end_explained(noted.append):
        raise KeyboardInterrupt
    assert noted[1:] == ["it was stopped by Ctrl-C"]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("7|CANCELLED by 0\n8|CANCELLED by 1000\n", "7|CANCELLED\n8|CANCELLED\n"),  # sacct 22.05, an operator's scancel
        ("7|CANCELLED\n", "7|CANCELLED\n"),
        ("7|PREEMPTED\n9|PREEMPTED\n", "7|FAILED\n9|PREEMPTED\n"),  # 9 is to be started again
        ("7_1|REVOKED\n", "7_1|FAILED\n"),
        ("7|RUNNING\n8|COMPLETED\n9|OUT_OF_MEMORY\n", "7|RUNNING\n8|COMPLETED\n9|OUT_OF_MEMORY\n"),
        ("node-7\n", "node-7\n"),
        ("", ""),
    ],
)
def test_ends_that_the_plugin_does_not_know_are_said_as_it_knows_them(said: str, read: str) -> None:
    assert understood(said, lambda job: job == "9") == read


def shim(name: str, own: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the shim of a program whose own script is given."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{own}\n")
    program.chmod(0o755)
    path = [str(SHIMS / name), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": PACKAGE_PARENT}
    return subprocess.run([name, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_what_sbatch_refuses_is_noted_where_the_jobs_log_would_be(slurm: Path, tmp_path: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid partition name specified"
    done = shim("sbatch", f"echo '{said}' >&2; exit 1", tmp_path, "--parsable", "--output", f"{tmp_path}/%j.log")
    assert (done.stdout, done.stderr, done.returncode) == ("", f"{said}\n", 1)
    assert (tmp_path / "refused.log").read_text() == f"accelbench: Slurm refused it: {said}\n"


def test_what_sbatch_takes_is_only_passed_on(slurm: Path, tmp_path: Path) -> None:
    done = shim("sbatch", "cat; echo 7", tmp_path, "--parsable", "--output", f"{tmp_path}/%j.log")
    assert (done.stdout, done.returncode) == ("7\n", 0)
    assert not (tmp_path / "refused.log").exists()


def test_a_lost_node_is_noted_in_the_jobs_log_once(slurm: Path, tmp_path: Path) -> None:
    log = tmp_path / ".snakemake/slurm_logs/rule_train/gpu_bs4_1/7.log"
    log.parent.mkdir(parents=True)
    log.write_text("training\n")
    for _ in range(2):
        shim("sacct", "echo '7|NODE_FAIL'", tmp_path)
    assert log.read_text() == "training\naccelbench: Slurm says 7|NODE_FAIL\n"


@pytest.mark.parametrize(("requeue", "read"), [("Requeue=0", "7|FAILED\n"), ("Requeue=1", "7|PREEMPTED\n")])
def test_the_shim_asks_slurms_own_program(slurm: Path, tmp_path: Path, requeue: str, read: str) -> None:
    slurm.write_text(SAID.format(state="PREEMPTED", reason="None") + f" {requeue}")
    own = '[ "$*" = "--noheader --name x" ] && echo "7|PREEMPTED" && exit 3'
    done = shim("squeue", own, tmp_path, "--noheader", "--name", "x")
    assert (done.stdout, done.returncode) == (read, 3)
