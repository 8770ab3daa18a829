"""Jobs on nodes by PBS: a stand-in for its commands, but real Snakemakes, on the host and in each job."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until

from .conftest import REPOSITORY, Project, clean_environment, jobs, processes_of
from .node_server import ROUNDS, answers, serving

pytestmark = pytest.mark.workflow

PROFILE = ("--profile", "profiles/alcf-pbs", "--seconds-between-status-checks", "1", "--latency-wait", "5")
CANARY = "token-canary-4711"
NODE: dict[str, Any] = {
    "training": {
        "run": ["node"],
        "platforms": {"node": {"backend": "torch", "own_node": True, "threads": 1}},
        "batch_sizes": [2],
        "max_steps": 4,
        "log_steps": 1,
        "eval_frequency": None,
        "repeats": 1,
    },
    "inference": {"run": []},
    "cluster": {
        "account": "my-project",
        "filesystems": "home:eagle",
        "train": {"queue": "debug", "select": "1:ngpus=2", "runtime_min": 30},
    },
}


def submitting(root: Path, **changed: dict[str, Any]) -> Project:
    """Give a project in a folder with a blank and a quote in its name."""
    tree = {key: {**value, **changed.get(key, {})} for key, value in NODE.items()}
    return Project.copied(root / "it's a place", tree)


def started(project: Project, root: Path, half: str = "training") -> "subprocess.Popen[str]":
    """Start a half of the workflow in a process group of its own."""
    return subprocess.Popen(
        project.command(half, *PROFILE),
        cwd=project.root,
        env={**clean_environment(), **environment(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run behind a `&`
    )


def delete(root: Path, *job_ids: str) -> None:
    """Delete jobs as an operator does."""
    (root / "pbs/unreachable").unlink(missing_ok=True)
    subprocess.run(["qdel", *job_ids], env={**os.environ, **environment(root)}, check=True)


def asked_for(submitted: list[str]) -> list[str]:
    """Return what a qsub's `-l` options say."""
    return [submitted[place + 1] for place, option in enumerate(submitted) if option == "-l"]


def environment(root: Path, **more: str) -> dict[str, str]:
    (root / "pbs").mkdir(exist_ok=True)
    path = os.pathsep.join([str(REPOSITORY / "tests/standins/pbs"), os.environ["PATH"]])
    return {"PATH": path, "STANDIN_PBS": str(root / "pbs"), "ALCF_AI_TOKEN": CANARY, **more}


def calls(root: Path, command: str) -> list[list[str]]:
    lines = (root / "pbs/calls.jsonl").read_text().splitlines()
    return [call[1:] for call in map(json.loads, lines) if call[0] == command]


def test_a_run_and_the_rounds_of_a_server_are_submitted_and_all_else_stays_here(tmp_path: Path) -> None:
    """A server's node also sends its requests, with a token of a file there; PBS is told no secret."""
    token = tmp_path / "token"
    token.write_text(CANARY)
    infer = {"queue": "by-gpu", "select": "1:ngpus=4", "runtime_min": 20}
    project = submitting(tmp_path, inference=serving(token), cluster={**NODE["cluster"], "infer": infer})
    output = project.run(*PROFILE, env=environment(tmp_path))
    rounds = {f"infer_on_node far/short/{number + 1}" for number in range(ROUNDS)}
    assert {"train node/bs2/1", "parse", "tables", "page", "corpus"} <= jobs(output)
    assert {job for job in jobs(output) if job.startswith("infer")} == rounds

    submitted = calls(tmp_path, "qsub")
    [run] = [call for call in submitted if call[call.index("-q") + 1] == "debug"]
    assert asked_for(run) == ["walltime=00:30:00", "select=1:ngpus=2", "place=scatter:excl", "filesystems=home:eagle"]
    options = dict(zip(run[:-1:2], run[1::2], strict=True))
    assert (options["-A"], options["-r"]) == ("my-project", "n")
    assert (options["-k"], options["-j"], options["-o"]) == ("doe", "oe", f"{project.root}/results/logs/pbs/")
    assert len(options["-N"]) <= 15
    assert "-V" not in run and "-v" not in run
    on_gpus = [call for call in submitted if call[call.index("-q") + 1] == "by-gpu"]
    assert [asked_for(call)[:2] for call in on_gpus] == [["walltime=00:20:00", "select=1:ngpus=4"]] * ROUNDS
    assert len(submitted) == 1 + ROUNDS

    outputs = [path.read_text() for path in (project.root / "results/logs/pbs").glob("*.OU")]
    assert len([text for text in outputs if "Finished jobid: 0 (Rule: train)" in text]) == 1
    assert "follow it with: tail -f" in project.read("results/training/node/bs2/r1/job.log")
    nodes = {text.removeprefix("Served in ") for text in answers(project)}
    assert len(nodes) == ROUNDS and all(node.endswith(".pbs-01.example") for node in nodes)
    record = json.loads(project.read("results/inference/far/short/r1/run.json"))
    assert record["endpoint"]["version"] == "0.11.0 (a stand-in)"
    for file in [*project.root.rglob("*"), *(tmp_path / "pbs").rglob("*")]:
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file
    assert "Nothing to be done" in project.run(*PROFILE, env=environment(tmp_path))


@pytest.mark.long
def test_several_nodes_are_one_job(tmp_path: Path) -> None:
    platforms = {"node": {**NODE["training"]["platforms"]["node"], "nodes": 2}}
    project = submitting(tmp_path, training={**NODE["training"], "platforms": platforms})
    project.run("training", *PROFILE, env=environment(tmp_path))
    [submitted] = calls(tmp_path, "qsub")
    assert "select=2:ngpus=2" in asked_for(submitted)
    trainer = json.loads(project.read("results/training/node/bs2/r1/run.json"))["trainer"]
    assert (trainer["nodes"], trainer["processes"]) == (2, 2)


@pytest.mark.long
def test_two_nodes_end_together_at_the_walltime_and_when_a_process_or_a_node_is_lost_and_go_on_from_a_checkpoint(
    tmp_path: Path,
) -> None:
    """PBS signals only what runs on the first node."""
    platforms = {"node": {**NODE["training"]["platforms"]["node"], "nodes": 2}}
    changed = {"platforms": platforms, "max_steps": 300, "checkpoint_steps": 5}
    project = submitting(tmp_path, training={**NODE["training"], **changed})
    folder = project.root / "results/training/node/bs2/r1"

    def ended_by(end: Callable[[], None], beyond: int) -> str:
        """End the job, whose checkpoints are beyond a step; return what the report shows."""
        running = started(project, tmp_path)
        try:
            assert until(lambda: last_checkpoint(folder) > beyond, within_s=120)
            end()
            said = running.communicate(timeout=120)[0]
        finally:
            running.kill()
            (tmp_path / "pbs/expired").touch()
        assert running.returncode == 1 and "Traceback" not in said, said[-4000:]
        assert until(lambda: not processes_of(project.root), within_s=30), processes_of(project.root)
        (tmp_path / "pbs/expired").unlink()
        return project.read("results/partial/report.html")

    def second() -> psutil.Process:
        [found] = [each for each in processes_of(project.root) if each.environ().get("RANK") == "1"]
        return found

    assert "it exceeded its walltime of 00:30:00" in ended_by((tmp_path / "pbs/expired").touch, beyond=0)
    steps = [0, last_checkpoint(folder)]
    assert "process 1, on " in ended_by(lambda: second().kill(), beyond=steps[-1])
    steps.append(last_checkpoint(folder))
    ended_by(lambda: psutil.Process(second().ppid()).kill(), beyond=steps[-1])  # the node's torchrun, and all with it
    steps.append(last_checkpoint(folder))
    project.run("training", *PROFILE, env=environment(tmp_path))
    record = json.loads((folder / "run.json").read_text())
    assert record["outcome"] == "completed"
    assert [each["from_step"] for each in record["tries"]] == steps


def last_checkpoint(folder: Path) -> int:
    """Return the step of a run's last checkpoint."""
    return max((int(path.stem.partition("_")[2]) for path in folder.glob("model_dir/checkpoint_*.pt")), default=0)


@pytest.mark.long
def test_all_rounds_of_a_kept_server_are_one_job_and_one_that_ends_half_way_loses_no_round(tmp_path: Path) -> None:
    asked = serving()
    asked["endpoints"]["far"]["server"]["keep"] = "run"
    asked["scenarios"]["short"] |= {"arrivals": "constant", "rate_per_s": 1.0, "requests": 5}
    project = submitting(tmp_path, training={**NODE["training"], "run": []}, inference=asked)
    first = started(project, tmp_path, "inference")
    folder = project.root / "results/inference/far/short"
    try:
        assert until((folder / "r2/exchanges.jsonl").exists, within_s=90)
        delete(tmp_path, "101")
        said = first.communicate(timeout=120)[0]
    finally:
        first.kill()
    assert first.returncode == 1 and "Traceback" not in said, said[-3000:]
    kept = (folder / "r1/measured.json").read_bytes()
    assert not (folder / "r2/measured.json").exists()
    output = project.run("inference", *PROFILE, env=environment(tmp_path))
    assert {job for job in jobs(output) if job.startswith("infer")} == {"inference", "infer_endpoint far"}
    assert (folder / "r1/measured.json").read_bytes() == kept
    assert len(calls(tmp_path, "qsub")) == 2
    served = {number: json.loads((folder / f"r{number}/run.json").read_bytes())["endpoint"] for number in (1, 2)}
    assert all(served[number]["start_up_s"] for number in served)  # once in each job
    assert "Served in 102.pbs-01.example" in answers(project)
    assert "Nothing to be done" in project.run("inference", *PROFILE, env=environment(tmp_path))


def test_a_job_that_fails_and_one_that_an_operator_deletes_while_pbs_is_out_of_reach_for_a_while(
    tmp_path: Path,
) -> None:
    """Each log says why, below the rule's own error; the silent server ends nothing."""
    platforms = {
        "broken": {"backend": "torch", "own_node": True, "device": "mps"},  # which Linux never has
        **NODE["training"]["platforms"],
    }
    training = {**NODE["training"], "run": ["broken", "node"], "platforms": platforms, "max_steps": 100_000}
    project = submitting(tmp_path, training=training)
    running = started(project, tmp_path)
    unreachable, log = tmp_path / "pbs/unreachable", "results/training/{}/bs2/r1/job.log"
    try:
        assert until((project.root / "results/training/node/bs2/r1/run.log").exists, within_s=90)
        asked = len(calls(tmp_path, "qstat"))
        unreachable.touch()
        assert until(lambda: len(calls(tmp_path, "qstat")) > asked, within_s=30)
        unreachable.unlink()
        assert running.poll() is None
        submitted = json.loads(project.read(".snakemake/pbs/jobs.json"))["jobs"]
        [alive] = [job for job, facts in submitted.items() if facts["log"] == log.format("node")]
        delete(tmp_path, alive)
        said = running.communicate(timeout=120)[0]
    finally:
        running.kill()
        delete(tmp_path, "101", "102")
    assert running.returncode == 1
    assert "Traceback" not in said, said[-4000:]
    own, _, added = project.read(log.format("broken")).rpartition("accelbench pbs: ")
    assert "--device mps" in own
    assert "its command failed with exit status 1; its error message is above" in added
    assert "it was killed by SIGTERM (exit status 271): by qdel, an operator or its node" in (
        project.read(log.format("node"))
    )
    assert len(calls(tmp_path, "qsub")) == 2  # no retry
    assert "0 of 2 measurements are done" in said  # by onerror


def test_a_job_outlives_snakemake_and_is_adopted(tmp_path: Path) -> None:
    project = submitting(tmp_path, training={**NODE["training"], "max_steps": 100, "log_steps": 50})
    first = subprocess.Popen(
        project.command("training", *PROFILE),
        cwd=project.root,
        env={**clean_environment(), **environment(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert until((project.root / "results/training/node/bs2/r1/run.log").exists, within_s=90)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    output = project.run("training", *PROFILE, env=environment(tmp_path))
    assert "already submitted" in output or "while no Snakemake was running" in output
    assert len(calls(tmp_path, "qsub")) == 1
    record = json.loads(project.read("results/training/node/bs2/r1/run.json"))
    assert (record["outcome"], len(record["tries"])) == ("completed", 1)


def test_a_job_beyond_its_walltime_says_so_in_its_log(tmp_path: Path) -> None:
    project = submitting(
        tmp_path,
        training={**NODE["training"], "max_steps": 100_000},
        cluster={**NODE["cluster"], "train": {"runtime_min": 15}},
    )
    done = project.snakemake("training", *PROFILE, env=environment(tmp_path, STANDIN_MINUTE_S="1"))
    assert done.returncode == 1
    log = project.read("results/training/node/bs2/r1/job.log")
    assert "follow it with: tail -f" in log
    assert "it exceeded its walltime of 00:15:00; raise it in the config (cluster: runtime_min)" in log
    assert "it exceeded its walltime" in done.stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_an_interrupted_workflow_has_its_jobs_deleted(sent: signal.Signals, tmp_path: Path) -> None:
    """By Ctrl-C, or by a terminal that is closed."""
    project = submitting(tmp_path, training={**NODE["training"], "max_steps": 100_000})
    running = started(project, tmp_path)
    try:
        assert until((project.root / "results/training/node/bs2/r1/run.log").exists, within_s=90)
        os.killpg(running.pid, sent)
        said = running.communicate(timeout=60)[0]
    finally:
        running.kill()
    assert "is expected" not in said and "Traceback" not in said, said[-3000:]
    assert not list((project.root / ".snakemake/locks").glob("*"))
    [job] = {job for call in calls(tmp_path, "qdel") for job in call}
    record = tmp_path / f"pbs/jobs/{job.partition('.')[0]}.json"
    assert until(lambda: json.loads(record.read_text())["job_state"] == "F", within_s=20)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"train": {"queue": "debug"}}, "cluster.account is missing: PBS needs the project"),
        (
            {"account": "my-project", "train": {"queue": "nosuch"}},
            "qsub refused with status 170: qsub: Unknown queue",
        ),
    ],
)
def test_what_pbs_does_not_take_is_said_in_one_line(tmp_path: Path, cluster: dict[str, Any], said: str) -> None:
    project = Project.copied(tmp_path / "project", {**NODE, "cluster": cluster})
    done = project.snakemake("training", *PROFILE, env=environment(tmp_path))
    assert done.returncode == 1
    assert done.stdout.count(said) >= 1
    assert "Traceback" not in done.stdout
    assert said in project.read("results/training/node/bs2/r1/job.log")
