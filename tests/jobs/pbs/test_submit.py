"""Submitting: what PBS is asked, what it is not told, and that no job is submitted twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accelbench.errors import UserError
from accelbench.jobs.pbs.programs import qsub_command, read_jobscript, status, submit, walltime
from accelbench.jobs.pbs.queue import JOBS_FILE, Job, opened
from accelbench.jobs.process import PACKAGE_PARENT
from tests.waiting import until

from .conftest import Server

ASKED = {"runtime": 90, "pbs_account": "my-project", "pbs_queue": "debug", "pbs_select": "1:ngpus=2"}
OUTPUT, LOG = "results/r1/measured.json", "results/r1/job.log"


def script(path: Path = Path("snakejob.sh"), resources: dict[str, Any] = ASKED, **changed: Any) -> Path:
    properties = {
        "type": "single",
        "rule": "train",
        "wildcards": {"platform": "gpu", "size": "bs4", "repeat": "1"},
        "params": {"spec": '{"kind":"train"}'},
        "log": [LOG],
        "output": [OUTPUT],
        "resources": resources,
        **changed,
    }
    path.write_text(f"#!/bin/sh\n# properties = {json.dumps(properties)}\nexit 0\n")
    return path


def name(path: Path, workdir: Path = Path("/work")) -> str:
    return read_jobscript(path).name(workdir)


def test_the_command_asks_for_what_the_config_says(server: Server) -> None:
    command = qsub_command(read_jobscript(script()), "train-0")
    output = f"{Path.cwd()}/results/logs/pbs/"
    assert command == [
        *["qsub", "-N", "train-0", "-S", "/bin/sh", "-r", "n", "-k", "doe", "-j", "oe", "-o", output],
        *["-A", "my-project", "-q", "debug", "-l", "walltime=01:30:00", "-l", "select=1:ngpus=2", "snakejob.sh"],
    ]


def test_several_nodes_are_as_many_of_the_configs_chunk(server: Server) -> None:
    for chunk, chunks in {"1": "3", "1:ngpus=8": "3:ngpus=8"}.items():
        asked = script(resources={**ASKED, "pbs_select": chunk, "nodes": 3})
        assert f"select={chunks}" in qsub_command(read_jobscript(asked), "train-0")


@pytest.mark.parametrize(("minutes", "text"), [(5, "00:05:00"), (90, "01:30:00"), (6000, "100:00:00")])
def test_walltime(minutes: int, text: str) -> None:
    assert walltime(minutes) == text


def test_without_an_account_the_key_is_named(server: Server) -> None:
    with pytest.raises(UserError, match=r"^cluster\.account is missing"):
        submit(script(resources={"runtime": 5}))
    assert server.calls("qsub") == []
    assert "cluster.account is missing" in Path(LOG).read_text()


def test_the_id_is_all_that_is_printed_while_another_asks_pbs(server: Server) -> None:
    """Snakemake takes the first line of stdout for the id."""
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    command = [sys.executable, "-m", "accelbench.jobs.pbs.programs", "submit", str(script())]
    said = Path("stderr")
    with opened() as ledger, said.open("w") as stderr:
        assert ledger.jobs == {}
        waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert until(lambda: "another accelbench pbs is querying PBS" in said.read_text(), within_s=30)
    assert waiting.communicate(timeout=60)[0] == "101.pbs-01.example\n"
    with opened() as ledger:
        assert list(ledger.jobs) == ["101.pbs-01.example"]


def test_a_refusal_of_qsub_is_said_and_logged(server: Server) -> None:
    with pytest.raises(UserError, match="qsub refused with status 170: qsub: Unknown queue"):
        submit(script(resources={**ASKED, "pbs_queue": "nosuch"}))
    assert "not submitted: qsub refused with status 170" in Path(LOG).read_text()


def test_a_script_of_another_kind_is_refused(server: Server) -> None:
    Path("other.sh").write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match=r"other\.sh has no line"):
        submit(Path("other.sh"))


def test_names_fit_every_pbs_and_tell_jobs_apart(tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    first = name(script(path))
    assert len(first) <= 15
    assert name(script(path)) == first
    assert name(script(path, log=["elsewhere"], jobid=9)) == first
    assert name(script(path, rule="infer_on_node")).startswith("infer-")
    others = [name(script(path, wildcards={"repeat": "2"})), name(script(path, params={"spec": "{}"}))]
    assert len({first, *others, name(script(path), Path("/elsewhere"))}) == 4


@pytest.mark.parametrize("state", ["Q", "R", "H", "E"])
def test_a_live_job_is_adopted(server: Server, state: str) -> None:
    job = server.plant("101", Job_Name=name(script(), Path.cwd()), job_state=state)
    assert submit(script()) == job
    assert server.calls("qsub") == []


@pytest.mark.parametrize("thought", ["failed", "success"])
def test_what_was_thought_of_a_job_before_says_nothing_of_one_that_runs(server: Server, thought: Any) -> None:
    """PBS started it after all: the server lost it for a while, or its hold was released."""
    job = server.plant("101", Job_Name=name(script(), Path.cwd()), job_state="R")
    with opened() as ledger:
        ledger.jobs[job] = Job(name(script(), Path.cwd()), LOG, word=thought, reason="lost", told=True)
    assert submit(script()) == job
    assert status(job) == "running"
    server.plant("101", Job_Name=name(script(), Path.cwd()), job_state="F", Exit_status=1)
    with opened() as ledger:
        ledger.asked_at_s = 0
    assert status(job) == "failed"
    assert "its command failed with exit status 1" in Path(LOG).read_text()


def test_a_job_that_pbs_gave_up_starting_is_deleted_and_submitted_anew(server: Server) -> None:
    held = {"job_state": "H", "comment": "job held, too many failed attempts to run"}
    job = server.plant("101", Job_Name=name(script(), Path.cwd()), **held)
    assert submit(script()) != job
    assert server.calls("qdel") == [[job]]


@pytest.mark.parametrize(("place", "statuses"), [("scatter", [0, 0]), ("scatter:excl", [0, 3])])
def test_two_jobs_share_a_node_unless_each_has_it_for_itself(server: Server, place: str, statuses: list[int]) -> None:
    """As an OpenPBS 23.06 places two jobs of one chunk on a node with spare CPUs. A job fails where it meets none."""
    for own, other in ("12", "21"):
        path = script(Path(f"{own}.sh"), {**ASKED, "pbs_place": place}, wildcards={"repeat": own})
        wait = f"for n in $(seq 30); do [ -e '{server.root}/{other}' ] && exit 0; sleep 0.1; done"
        path.write_text(path.read_text().replace("exit 0", f"touch '{server.root}/{own}'; {wait}; exit 3"))
        submit(path)

    def ended() -> list[int]:
        found = [json.loads(path.read_text()) for path in (server.root / "jobs").glob("*.json")]
        return sorted(facts["Exit_status"] for facts in found if facts["job_state"] == "F")

    assert until(lambda: len(ended()) == 2, within_s=30)
    assert ended() == statuses


def test_a_job_that_can_not_be_started_is_told_deleted_and_submitted_anew_once_it_can(server: Server) -> None:
    server.become("failing")
    job = submit(script())
    assert until(lambda: '"job_state": "H"' in (server.root / "jobs/101.json").read_text(), within_s=30)
    assert status(job) == "failed"
    assert "repeatedly, and holds it" in Path(LOG).read_text() and "It is deleted." in Path(LOG).read_text()
    server.recover("failing")
    assert submit(script()) != job


def test_a_job_that_ended_well_unseen_is_adopted_once(server: Server) -> None:
    job = server.plant("101", Job_Name=name(script(), Path.cwd()), job_state="R")
    assert submit(script()) == job
    server.plant("101", Job_Name=name(script(), Path.cwd()), job_state="F", Exit_status=0)
    Path(OUTPUT).parent.mkdir(parents=True, exist_ok=True)
    Path(OUTPUT).touch()
    assert submit(script()) == job
    assert status(job) == "success"
    assert submit(script()) != job  # measuring again was asked for
    assert len(server.calls("qsub")) == 1


def test_a_job_that_failed_unseen_is_submitted_again(server: Server) -> None:
    job = server.plant("101", Job_Name=name(script(), Path.cwd()), job_state="R")
    submit(script())
    server.plant("101", Job_Name=name(script(), Path.cwd()), job_state="F", Exit_status=1)
    with opened() as ledger:
        ledger.asked_at_s = 0
    assert submit(script()) != job


def test_no_token_reaches_pbs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALCF_AI_TOKEN", "token-canary-4711")
    submit(script())
    assert "-V" not in server.calls("qsub")[0]
    kept = [path for path in server.root.rglob("*") if path.is_file()]
    assert len(kept) >= 3
    assert not any("token-canary-4711" in path.read_text() for path in [*kept, JOBS_FILE])
