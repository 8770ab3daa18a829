"""The cancel command: executed as one word, within Snakemake's two seconds."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from accelbench.jobs.pbs.programs import cancel_what_is_left
from accelbench.jobs.pbs.queue import Job, Word, opened, this_snakemake
from tests.waiting import until

from .conftest import Server
from .test_status import as_snakemake_runs_it, environment


def cancel(*jobs: str) -> float:
    """Cancel as the executor does; give the seconds that it took."""
    begun_s = time.monotonic()
    subprocess.check_call([as_snakemake_runs_it("cluster-generic-cancel-cmd"), *jobs], timeout=2, env=environment())
    return time.monotonic() - begun_s


def test_all_jobs_go_in_one_call(server: Server) -> None:
    jobs = [server.plant("101", job_state="Q"), server.plant("102", job_state="Q")]
    assert cancel(*jobs) < 2
    assert server.calls("qdel") == [jobs]


def test_a_slow_server_is_left_to_it(server: Server) -> None:
    server.become("slow")
    job = server.plant("101", job_state="Q")
    assert cancel(job) < 2
    state = server.root / "jobs/101.json"
    assert until(lambda: json.loads(state.read_text())["job_state"] == "F", within_s=15)


def test_a_second_ctrl_c_does_not_reach_it(server: Server) -> None:
    server.become("slow")
    job = server.plant("101", job_state="Q")
    command = [as_snakemake_runs_it("cluster-generic-cancel-cmd"), job]
    process = subprocess.Popen(command, env=environment(), start_new_session=True)
    assert until(lambda: server.calls("qdel"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) == 0


def test_nothing_to_cancel_is_no_call(server: Server) -> None:
    cancel()
    assert server.calls("qdel") == []


def test_a_snakemake_that_ends_leaves_no_job_that_it_waits_for(server: Server) -> None:
    states: dict[str, tuple[Word, str]] = {
        "101": ("running", this_snakemake()),
        "102": ("success", this_snakemake()),
        "103": ("running", "another-host:1"),
    }
    with opened() as ledger:
        for job, (word, submitter) in states.items():
            ledger.jobs[server.plant(job)] = Job(word=word, submitter=submitter)
            server.plant(job, job_state="Q")
    cancel_what_is_left()
    assert server.calls("qdel") == [["101.pbs-01.example"]]


def test_a_folder_that_never_submitted_has_nothing_left(server: Server) -> None:
    cancel_what_is_left()
    assert not Path(".snakemake").exists()
