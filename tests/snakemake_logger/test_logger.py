"""Snakemake's events in, lines out."""

import io
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from accelbench.store import paths
from snakemake_logger_plugin_accelbench import LogHandler

ROUND = "results/inference/metis/short-c8/r2"
RUN = "results/training/cs3/bs8/r1"
HIDDEN = "\x1b[2K"
NOT_ASKED = {"quiet": None, "verbose": False, "printshellcmds": False, "debug_dag": False, "nocolor": False}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Session:
    """A handler, what Snakemake tells it, and what it has shown."""

    def __init__(self, stream: io.StringIO, **asked: Any) -> None:
        self.stream = stream
        settings = {**NOT_ASKED, "stdout": False, "dryrun": False, "show_failed_logs": False, **asked}
        self.handler = LogHandler(SimpleNamespace(**settings), None)  # type: ignore[arg-type]
        self.handler._stream = stream

    def tell(self, event: LogEvent | None, message: str = "", level: int = logging.INFO, **facts: Any) -> None:
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        record.__dict__.update({"event": event} if event else {}, **facts)
        self.handler.handle(record)

    def begin(self, **stats: int) -> None:
        self.tell(LogEvent.WORKFLOW_STARTED)
        self.tell(LogEvent.RUN_INFO, "Job stats:\njob  count", stats=stats)

    def start(self, number: int, rule: str, folder: str | None = None, log: str | None = None) -> None:
        output = [f"{folder}/measured.json"] if folder else ["results/report.html"]
        self.tell(LogEvent.JOB_INFO, jobid=number, rule_name=rule, output=output, log=[log] if log else [])

    def shown(self) -> str:
        self.handler.close()
        return self.stream.getvalue()


def written(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return Session(io.StringIO())


def test_a_measurement_that_ends_is_one_line_with_what_its_job_said_last(session: Session) -> None:
    log = written(f"{ROUND}/job.log", f"{ROUND}: waiting up to 60 s\n{ROUND}: 7 of 8 answered, typical latency 0.4 s\n")
    session.begin(infer=1, page=1)
    session.start(1, "infer", ROUND, log)
    session.tell(None, "Select jobs to execute...")
    session.tell(LogEvent.JOB_FINISHED, job_id=1)
    session.tell(LogEvent.PROGRESS, done=1, total=2)
    assert session.shown() == "metis short-c8 round 2: 7 of 8 answered, typical latency 0.4 s\n"


def test_a_job_of_several_rounds_is_a_line_per_round(session: Session) -> None:
    rounds = [f"results/inference/metis/short/r{number}" for number in (1, 2)]
    log = written("results/inference/metis/job.log", "".join(f"{each}: 8 of 8 answered\n" for each in rounds))
    session.begin(infer_endpoint=1)
    session.start(1, "infer_endpoint", "results/inference/metis", log)
    session.tell(LogEvent.JOB_FINISHED, job_id=1)
    assert session.shown() == "metis short round 1: 8 of 8 answered\nmetis short round 2: 8 of 8 answered\n"


def test_a_failure_is_one_line_with_its_reason(session: Session) -> None:
    log = written(f"{RUN}/job.log", f"accelbench: {RUN}: the run ended as failed: NaN\nat step 3 \x1b[2J\n")
    session.begin(train=1)
    session.start(1, "train", RUN, log)
    session.tell(
        LogEvent.ERROR, "RuleException:\nCalledProcessError in file x", logging.ERROR, exception="RuleException"
    )
    session.tell(LogEvent.JOB_ERROR, "Error in rule train", logging.ERROR, jobid=1)
    session.tell(None, "Exiting because a job execution failed. Look above", logging.ERROR)
    assert session.shown() == "failed: cs3 batch 8 repeat 1: NaN at step 3 \\x1b[2J\n"


def test_a_job_that_ctrl_c_ends_was_stopped(session: Session) -> None:
    session.begin(train=1, corpus=1)
    session.start(1, "train", RUN)
    session.start(2, "corpus")
    session.tell(None, "Terminating processes on user request, this might take some time.")
    for number in (1, 2):
        session.tell(LogEvent.JOB_ERROR, "Error in rule", logging.ERROR, jobid=number)
    assert session.shown() == "stopped: cs3 batch 8 repeat 1\nstopped: corpus\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "can't be read (No such file or directory)."), ("a:\n\tb: 1\n", "line 2, column 1: a tab; ")],
)
def test_a_config_file_that_snakemake_can_not_read_is_one_line(
    session: Session, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    if text:
        written("mine.yaml", text)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "1", "--configfile", "mine.yaml"])
    session.tell(LogEvent.ERROR, "Traceback (most recent call last):", logging.ERROR, exception="FileNotFoundError")
    assert session.shown().startswith(f"mine.yaml: {said}")


def test_another_error_before_the_workflow_begins_is_shown(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "1", "--configfile", written("mine.yaml", "a: 1")])
    session.tell(LogEvent.ERROR, "MissingRuleException", logging.ERROR, exception="MissingRuleException")
    assert session.shown() == "MissingRuleException\n"


def test_a_failure_of_a_preparation_names_its_log(session: Session) -> None:
    log = written("results/logs/corpus.log", "accelbench: no Python documentation here.\n")
    session.begin(corpus=1)
    session.start(1, "corpus", log=log)
    session.tell(LogEvent.JOB_ERROR, "Error in rule corpus", logging.ERROR, jobid=1)
    assert session.shown() == f"failed: corpus: no Python documentation here. (its log is {log})\n"


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_warnings_and_errors_of_snakemake_are_shown(session: Session, level: int) -> None:
    session.begin(train=1)
    session.tell(None, "MissingOutputException in rule train", level)
    assert session.shown() == "MissingOutputException in rule train\n"


def test_what_is_no_run_shows_what_snakemake_says(session: Session) -> None:
    session.tell(None, "Congratulations, your workflow is in a good condition!")
    assert session.shown() == "Congratulations, your workflow is in a good condition!\n"


def test_an_unknown_event_is_shown(session: Session) -> None:
    session.begin(train=1)
    session.tell("of a later version", "something new")  # type: ignore[arg-type]
    assert session.shown() == "something new\n"


@pytest.mark.parametrize(("folders", "said"), [([ROUND, RUN], "2 measurements"), ([], "nothing to measure")])
def test_a_dry_run_ends_with_the_number_of_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(io.StringIO(), dryrun=True)
    session.begin(train=1)
    for number, folder in enumerate(folders):
        session.start(number, "train", folder)
    assert session.shown() == f"Job stats:\njob  count\n\n{said}\n"


def test_what_is_asked_of_snakemake_itself_is_shown_as_it_shows_it(session: Session) -> None:
    asked = Session(io.StringIO(), printshellcmds=True)
    asked.tell(LogEvent.JOB_FINISHED, "Finished jobid: 1 (Rule: train)", job_id=1)
    assert "Finished jobid: 1 (Rule: train)" in asked.shown()


def test_a_mistake_in_the_logger_leaves_the_rest_to_snakemake(session: Session) -> None:
    session.begin(train=1)
    session.tell(LogEvent.JOB_INFO, "no facts")
    session.tell(LogEvent.JOB_FINISHED, "Finished jobid: 1 (Rule: train)", job_id=1)
    assert "Finished jobid: 1 (Rule: train)" in session.shown()


def test_a_terminal_gets_a_bar_with_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    session = Session(Terminal())
    session.begin(train=2)
    session.start(1, "train", RUN)
    assert session.handler._told() == "0 of 2 · cs3 batch 8 repeat 1"
    session.tell(LogEvent.JOB_FINISHED, job_id=1)
    assert session.handler._told() == "1 of 2"
    assert session.stream.getvalue().endswith(HIDDEN)  # nothing runs: what is printed now has the terminal to itself
    assert "cs3 batch 8 repeat 1: measured" in session.shown()


def test_the_time_left_is_that_of_all_rounds_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    server = {"kind": "command", "command": ["serve", "{port}"], "keep": "run"}
    written(
        paths.RUN_CONFIG,
        json.dumps(
            {
                "inference": {
                    "endpoints": {"node": {"model": "m", "server": server, "own_node": True}},
                    "run": ["node"],
                    "prompts": {"questions": {"source": "bundled"}},
                    "scenarios": {"short": {"rounds": 3}},
                    "scenarios_run": ["short"],
                }
            }
        ),
    )
    took = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:00:20+00:00"}
    spec = {"kind": "infer", "endpoint": {"name": "node"}, "cell": "short"}
    written(str(paths.ARCHIVE / "a/run.json"), json.dumps({"spec": spec, **took}))
    session = Session(Terminal())
    session.begin(infer_endpoint=1)
    session.start(1, "infer_endpoint", "results/inference/node")
    assert session.handler._told() == "0 of 1 · 60 s left · node"
    session.tell(LogEvent.JOB_FINISHED, job_id=1)
    assert session.handler._told() == "1 of 1"
