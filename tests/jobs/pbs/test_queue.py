"""qstat's answers, sound, broken and missing; qselect, qdel."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.errors import UserError
from accelbench.jobs.pbs import queue

from .conftest import Server

BROKEN = """{
    "timestamp":1795460000,
    "pbs_version":"23.06.06",
    "Jobs":{
        "101.pbs-01.example":{
            "Job_Name":"train-0",
            "Resource_List":{
                "walltime":"00:30:00"
            },
            "job_state":"F",
            "Variable_List":{
                "BUILD":0123.e,
                "job_state":"R",
                "PS1":"\\[\\e"
            },
            "comment":"Job run and failed",
            "Exit_status":-29
        },
        "102.pbs-01.example":{
            "job_state":"Q"
        }
    }
}"""


def test_one_call_asks_for_many_jobs(server: Server) -> None:
    jobs = [server.plant("101"), server.plant("102", job_state="F", Exit_status=0)]
    known = queue.ask(jobs)
    assert known is not None
    assert {job: facts["job_state"] for job, facts in known.items()} == {"101": "R", "102": "F"}
    assert server.calls("qstat") == [["-x", "-f", "-F", "json", *jobs]]


def test_an_unknown_job_beside_a_known_one_is_left_out(server: Server) -> None:
    known = queue.ask([server.plant("101"), "7.pbs-01.example"])
    assert known is not None
    assert list(known) == ["101"]


def test_an_answer_without_jobs_knows_none(server: Server) -> None:
    assert queue.ask(["7.pbs-01.example"]) == {}


def test_a_server_that_is_not_reached_is_no_answer_though_it_looks_like_one(server: Server) -> None:
    server.become("unreachable")
    assert queue.ask(["7.pbs-01.example"]) is None


def test_a_server_that_hangs_is_no_answer(server: Server) -> None:
    server.become("stopped")
    assert queue.ask(["7.pbs-01.example"], timeout_s=0.5) is None


def test_no_qstat_at_all_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert queue.ask(["7"]) is None


def test_broken_json_gives_what_a_verdict_needs() -> None:
    with pytest.raises(ValueError):
        json.loads(BROKEN)
    assert queue.parse_qstat(BROKEN) == {
        "101": {"walltime": "00:30:00", "job_state": "F", "comment": "Job run and failed", "Exit_status": -29},
        "102": {"job_state": "Q"},
    }


def test_broken_json_of_the_server_is_read(server: Server) -> None:
    job = server.plant("101", job_state="F", Exit_status=1)
    server.become("broken")
    known = queue.ask([job])
    assert known is not None
    assert known["101"] == {"job_state": "F", "Exit_status": 1}


@given(st.text())
def test_parsing_never_raises(text: str) -> None:
    queue.parse_qstat(text)


def test_only_live_jobs_of_the_name_are_selected(server: Server) -> None:
    server.plant("101", Job_Name="train-a", job_state="F")
    server.plant("102", Job_Name="train-b")
    live = server.plant("103", Job_Name="train-a", job_state="H")
    assert queue.live("train-a") == [live]


def test_a_server_that_can_not_select_is_said(server: Server) -> None:
    server.become("unreachable")
    with pytest.raises(UserError, match=r"qselect refused with status 255: .*cannot connect"):
        queue.live("train-a")


def test_deleting_takes_no_longer_than_it_may(server: Server) -> None:
    server.become("slow")
    job = server.plant("101", job_state="Q")
    begun_s = time.monotonic()
    queue.delete([job], timeout_s=0.2)
    assert time.monotonic() - begun_s < 2
