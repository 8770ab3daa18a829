"""Jobs remembered: asked for together, seldom, and given up only after the grace period."""

from collections.abc import Sequence
from pathlib import Path

from accelbench.jobs import process
from accelbench.jobs.pbs import queue
from accelbench.jobs.pbs.queue import FRESH_S, LOST_AFTER_S, Attributes, Job, Ledger, opened


class Pbs:
    """What a server answers, and what it was asked."""

    def __init__(self, answer: dict[str, Attributes] | None) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    def __call__(self, jobs: Sequence[str]) -> dict[str, Attributes] | None:
        self.asked.append(list(jobs))
        return self.answer


def test_all_open_jobs_are_asked_for_at_once_and_not_again_soon() -> None:
    ledger = Ledger({"1.s": Job(), "2.s": Job(), "3.s": Job(word="success")})
    pbs = Pbs({"1": {"job_state": "F", "Exit_status": 0}, "2": {"job_state": "R"}})
    for now_s in (1e9, 1e9 + FRESH_S / 2, 1e9 + FRESH_S):
        ledger.survey(now_s, pbs)
    assert pbs.asked == [["1.s", "2.s"], ["2.s"]]
    assert [job.word for job in ledger.jobs.values()] == ["success", "running", "success"]


def test_an_unknown_job_runs_for_the_grace_period_and_has_failed_then() -> None:
    ledger, pbs = Ledger({"1.s": Job()}), Pbs({})
    for now_s in (1e9, 1e9 + LOST_AFTER_S - 1):
        ledger.survey(now_s, pbs)
        assert ledger.jobs["1.s"].word == "running"
    ledger.survey(1e9 + LOST_AFTER_S + FRESH_S, pbs)
    assert ledger.jobs["1.s"].word == "failed"
    assert "PBS no longer knows the job" in str(ledger.jobs["1.s"].reason)


def test_a_job_that_shows_again_gets_a_new_grace_period() -> None:
    ledger, pbs = Ledger({"1.s": Job()}), Pbs({})
    ledger.survey(1e9, pbs)
    pbs.answer = {"1": {"job_state": "R"}}
    ledger.survey(1e9 + 100, pbs)
    pbs.answer = {}
    ledger.survey(1e9 + LOST_AFTER_S + 100, pbs)
    assert ledger.jobs["1.s"].word == "running"


def test_jobs_run_on_while_the_server_is_silent_however_long() -> None:
    ledger = Ledger({"1.s": Job()})
    ledger.survey(1e9, Pbs({}))
    for hour in range(1, 9):
        ledger.asked_at_s = 0
        ledger.survey(1e9 + 3600 * hour, Pbs(None))
    assert ledger.jobs["1.s"].word == "running"


def test_what_is_in_the_ledger_is_there_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    kept = Job("train-0", "job.log", ["measured.json"], word="failed", reason="why", told=True, submitter="host:1")
    with opened(file) as ledger:
        ledger.jobs["1.s"] = kept
    with opened(file) as ledger:
        assert ledger.jobs == {"1.s": kept}


def test_a_ledger_that_can_not_be_read_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    file.write_text('{"jobs": [')
    with opened(file) as ledger:
        assert ledger.jobs == {}


def test_the_workflows_process_is_named_as_the_snakefile_names_it() -> None:
    assert queue._WORKFLOW_PID == process.WORKFLOW_PID
