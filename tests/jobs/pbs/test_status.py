"""The status command: one word and status 0 whatever happens, and the reason in the log."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from accelbench.jobs.pbs.programs import status
from accelbench.jobs.pbs.queue import LOST_AFTER_S, Job, opened
from accelbench.jobs.process import PACKAGE_PARENT
from tests.waiting import until

from .conftest import Server

REPOSITORY = Path(__file__).parents[3]
PROFILE = yaml.safe_load((REPOSITORY / "profiles/alcf-pbs/config.yaml").read_text())
LOG = "results/job.log"


def as_snakemake_runs_it(key: str) -> str:
    """Give a command of the profile; a file beside the profile by its path, as Snakemake finds it."""
    beside = REPOSITORY / "profiles/alcf-pbs" / str(PROFILE[key])
    return str(beside if beside.exists() else PROFILE[key])


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": PACKAGE_PARENT, "ACCELBENCH": str(REPOSITORY)}


def asked(job: str) -> subprocess.CompletedProcess[str]:
    command = f"{as_snakemake_runs_it('cluster-generic-status-cmd')} '{job}'"
    return subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, check=False)


def known(job: str, log: str | None = LOG) -> str:
    with opened() as ledger:
        ledger.jobs[job] = Job("train-0", log)
    return job


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"job_state": "Q"}, "running"),
        ({"job_state": "R"}, "running"),
        ({"job_state": "F", "Exit_status": 0}, "success"),
        ({"job_state": "F", "Exit_status": 1}, "failed"),
        ({"job_state": "F", "Exit_status": -29}, "failed"),
    ],
)
def test_one_word(server: Server, facts: dict[str, object], word: str) -> None:
    done = asked(known(server.plant("101", **facts)))
    assert (done.returncode, done.stdout) == (0, f"{word}\n")


@pytest.mark.parametrize("state", ["unreachable", "broken"])
def test_a_server_in_trouble_is_running(server: Server, state: str) -> None:
    job = known(server.plant("101"))
    server.become(state)
    done = asked(job)
    assert (done.returncode, done.stdout) == (0, "running\n")


def test_a_job_of_nobody_knows_where_is_running_at_first(server: Server) -> None:
    done = asked("999.pbs-01.example")
    assert (done.returncode, done.stdout) == (0, "running\n")


def test_a_job_whose_history_was_purged_has_failed_after_the_grace_period(server: Server) -> None:
    """PBS then answers without any "Jobs"."""
    job = known(server.plant("101"))
    server.purge(job)
    with opened() as ledger:
        ledger.jobs[job].unknown_since_s = time.time() - LOST_AFTER_S
    assert status(job) == "failed"
    assert f"job {job}: PBS no longer knows the job: its history was purged" in Path(LOG).read_text()


def test_without_python_it_is_running(server: Server) -> None:
    command = [str(REPOSITORY / "profiles/alcf-pbs/status"), "1"]
    bare = {"PATH": str(server.root)}
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "running\n")


def test_a_folder_that_can_not_be_written_is_running(server: Server) -> None:
    Path(".snakemake").write_text("in the way")
    done = asked("1.pbs-01.example")
    assert (done.returncode, done.stdout) == (0, "running\n")


def test_ctrl_c_does_not_reach_it(server: Server) -> None:
    job = known(server.plant("101", job_state="F", Exit_status=0))
    command = f"{as_snakemake_runs_it('cluster-generic-status-cmd')} '{job}'"
    slow = server.root / "slow-bin"
    slow.mkdir()
    (slow / "qstat").write_text(f'#!/bin/sh\ntouch "{server.root}/asking"\nsleep 1\nexec "$STANDINS/qstat" "$@"\n')
    (slow / "qstat").chmod(0o755)
    standins = Path(__file__).parents[2] / "standins/pbs"
    env = {**environment(), "STANDINS": str(standins)}
    env["PATH"] = f"{slow}:{env['PATH']}"
    process = subprocess.Popen(
        command,
        shell=True,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run behind a `&`
    )
    assert until((server.root / "asking").exists)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=10)[0] == "success\n"
    assert process.returncode == 0


def test_the_reason_stands_once_in_the_log_below_the_rules_own_error(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(LOG).parent.mkdir()
    Path(LOG).write_text("accelbench: out of memory\n")
    job = known(server.plant("101", job_state="F", Exit_status=-29, Resource_List={"walltime": "00:30:00"}))
    assert [status(job), status(job)] == ["failed", "failed"]
    own, added = Path(LOG).read_text().splitlines()
    assert own == "accelbench: out of memory"
    assert added == (
        f"accelbench pbs: job {job}: it exceeded its walltime of 00:30:00; raise it in the config (cluster: "
        f"runtime_min). PBS output: results/logs/pbs/{job}.OU"
    )
    assert capsys.readouterr().err.splitlines() == [added]


def test_a_job_that_never_started_has_a_log_all_the_same(server: Server) -> None:
    job = known(server.plant("101", job_state="F", comment="Job deleted by operator@pbs-01"))
    assert status(job) == "failed"
    assert "it was deleted before it started (PBS says: Job deleted by operator@pbs-01)" in Path(LOG).read_text()


def test_a_poll_of_many_jobs_calls_qstat_once(server: Server) -> None:
    jobs = [known(server.plant(str(100 + n))) for n in range(20)]
    assert {status(job) for job in jobs} == {"running"}
    assert len(server.calls("qstat")) == 1


@pytest.mark.parametrize(("state", "said"), [(None, "It is deleted."), ("unreachable", "Delete it with `qdel {}`.")])
def test_a_job_that_pbs_holds_after_failed_starts_is_deleted_or_said_how(
    server: Server, state: str | None, said: str
) -> None:
    job = known(server.plant("101", job_state="H", comment="job held, too many failed attempts to run"))
    with opened() as ledger:
        ledger.survey(time.time())
    if state:
        server.become(state)
    assert status(job) == "failed"
    assert said.format(job) in Path(LOG).read_text()
    assert server.calls("qdel") == [[job]]
