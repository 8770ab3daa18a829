"""What Snakemake is told of a job in each state that an OpenPBS was seen to give, and the words for the log."""

from typing import Any

import pytest

from accelbench.jobs.pbs.queue import verdict

RAN = "Job run at Mon Nov 23 at 12:00 on (node-7:ncpus=8)"


@pytest.mark.parametrize("state", ["Q", "W", "T", "R", "S", "U", "E", "B", "M", "X", None])
def test_a_job_that_is_not_finished_is_running(state: str | None) -> None:
    assert verdict({"job_state": state, "comment": "Not Running: Insufficient amount of resource"}) == ("running", None)


def test_a_job_held_by_its_user_is_running() -> None:
    assert verdict({"job_state": "H", "Hold_Types": "u"})[0] == "running"


def test_exit_status_0_is_success() -> None:
    assert verdict({"job_state": "F", "Exit_status": 0, "comment": f"{RAN} and finished"}) == ("success", None)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"Exit_status": 1, "comment": f"{RAN} and failed"}, "its command failed with exit status 1"),
        (
            {"Exit_status": -29, "comment": f"{RAN} and exceeded resource walltime", "walltime": "00:30:00"},
            "it exceeded its walltime of 00:30:00",
        ),
        ({"Exit_status": 271, "comment": f"{RAN} and exceeded resource walltime"}, "it exceeded its walltime;"),
        ({"Exit_status": 143, "comment": f"{RAN} and failed"}, "it was killed by SIGTERM (exit status 143)"),
        ({"Exit_status": 271, "comment": f"{RAN} and terminated"}, "it was killed by SIGTERM (exit status 271)"),
        ({"Exit_status": 137}, "it was killed by SIGKILL (exit status 137)"),
        ({"Exit_status": 265}, "it was killed by SIGKILL (exit status 265)"),
        ({"Exit_status": 254}, "it was killed by signal 126 (exit status 254)"),
        ({"Exit_status": -4}, "its node was lost"),
        ({"Exit_status": -20}, "its node was lost"),
        ({"Exit_status": -27}, "it used more memory than it requested"),
        ({"Exit_status": -3}, "PBS could not start it on its node"),
        ({"Exit_status": -99}, "PBS ended it (exit status -99)"),
        ({"comment": "Not Running: Queue not started. and terminated"}, "it was deleted before it started"),
    ],
)
def test_a_failure_is_said_in_words_with_what_pbs_says(facts: dict[str, Any], words: str) -> None:
    word, reason = verdict({"job_state": "F", **facts})
    assert word == "failed"
    assert reason is not None and reason.startswith(words)
    if "comment" in facts:
        assert reason.endswith(f"(PBS says: {facts['comment']})")


def test_a_job_that_pbs_gave_up_starting_is_not_waited_for() -> None:
    held = {"job_state": "H", "Exit_status": -3, "comment": "job held, too many failed attempts to run"}
    word, reason = verdict(held)
    assert word == "failed"
    assert reason is not None and "repeatedly" in reason
