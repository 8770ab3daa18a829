"""Wafer jobs that a killed cszoo left running: which they are, and what is said of each."""

import signal
import sys
import time
from pathlib import Path

import pytest

from accelbench.jobs.process import guarded
from accelbench.training.backends.wafer_jobs import left_running, main

NOW = "2025-11-25 15:39:45,243 INFO:   "
COMPILE = f"{NOW}Initiating a new compile wsjob against the cluster server.\n{NOW}Job id: wsjob-c, workflow id: w\n"
EXECUTE = f"{NOW}Initiating a new execute wsjob against the cluster server.\n{NOW}Job id: wsjob-e, workflow id: w\n"
COMPILED = f"{NOW}Compile was successful!\n"
CSCTL = """
import sys
print(*sys.argv[2:], file=open("calls", "a"))
if sys.argv[1] == "refuses":
    sys.exit("Error: no such job")
print("Job canceled successfully")
"""
AFTERWARDS = "import sys; print('afterwards', *sys.argv[1:])"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("csctl.py").write_text(CSCTL)


@pytest.mark.parametrize(
    ("log", "left"),
    [
        ("", []),
        ("no-such-cszoo can't be started", []),
        (COMPILE, ["wsjob-c"]),
        (COMPILE + COMPILED, []),
        (COMPILE + COMPILED + EXECUTE, ["wsjob-e"]),
        (COMPILE + EXECUTE, ["wsjob-c", "wsjob-e"]),
        (EXECUTE + f"{NOW}Job wsjob-e failed due to: job has failed because\n", []),
        (EXECUTE + f"{NOW}Job wsjob-e was cancelled due to \n", ["wsjob-e"]),  # said before it is done
        (EXECUTE + f"{NOW}Training completed successfully!\n", ["wsjob-e"]),
        (EXECUTE + EXECUTE, ["wsjob-e"]),
        (COMPILE + f"{NOW}Current Working Directory: /home\n" + EXECUTE, ["wsjob-e"]),  # resumed
        (f"{NOW}Compile job id: wsjob-a, remote\n{COMPILED}{NOW}Execute job id: wsjob-b, remote\n", ["wsjob-b"]),
        (f"{NOW}compile job id: wsjob-a, remote\n{COMPILED}{NOW}execute job id: wsjob-b, remote", ["wsjob-b"]),
    ],
)
def test_a_job_is_left_running_unless_the_log_shows_its_end(log: str, left: list[str]) -> None:
    Path("log").write_text(log)
    assert left_running(Path("log")) == left


def said(capsys: pytest.CaptureFixture[str], *csctl: str) -> list[str]:
    Path("log").write_text(COMPILE + EXECUTE)
    main([*csctl, "log"])
    return capsys.readouterr().out.splitlines()


def test_each_job_is_cancelled_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, sys.executable, "csctl.py", "agrees")
    assert Path("calls").read_text() == "cancel job wsjob-c\ncancel job wsjob-e\n"
    assert lines == [
        f"accelbench: {job} was left running by a killed cszoo and has been cancelled: Job canceled successfully"
        for job in ("wsjob-c", "wsjob-e")
    ]


def test_a_job_that_can_not_be_cancelled_is_said_with_the_command_to_do_it(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = said(capsys, sys.executable, "csctl.py", "refuses")
    assert f"could NOT be cancelled (Error: no such job): {sys.executable} csctl.py refuses cancel job wsjob-c" in first
    assert "wsjob-e" in second


def test_a_csctl_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "could NOT be cancelled (no-csctl can't be started: No such file" in said(capsys, "no-csctl")[0]


# --- when the guard does so -----------------------------------------------------------------------------------------


def after(code: str, *, stop_it: bool = False) -> str:
    """Run code under guard, asking it to stop when it is up; give the log."""
    log = Path("log")
    command, afterwards = [sys.executable, "-c", code], [sys.executable, "-c", AFTERWARDS, "two words"]
    with guarded(command, log, stop=signal.SIGINT, grace_s=0.2, afterwards=afterwards) as process:
        end_s = time.monotonic() + 10
        while stop_it and "up" not in log.read_text() and time.monotonic() < end_s:
            time.sleep(0.02)
        if not stop_it:
            process.wait()
    return log.read_text()


RAN = "afterwards two words"


@pytest.mark.parametrize("ended", ["raise SystemExit(0)", "raise SystemExit(1)", "raise SystemExit(130)"])
def test_a_command_that_ends_by_itself_is_left_alone(ended: str) -> None:
    assert after(ended) == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_kill_the_log_is_looked_through(number: signal.Signals) -> None:
    assert after(f"import os; os.kill(os.getpid(), {int(number)})") == f"{RAN} {Path('log').absolute()}\n"


def test_a_wrapper_script_may_report_the_kill() -> None:
    assert RAN in after("raise SystemExit(143)")


def test_a_command_that_stops_when_asked_has_cleaned_up_itself() -> None:
    code = "import sys, time\ntry: print('up', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: sys.exit(130)"
    assert after(code, stop_it=True) == "up\n"


def test_a_command_that_does_not_stop_in_the_grace_is_killed() -> None:
    code = "import signal, time; signal.signal(2, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    assert RAN in after(code, stop_it=True)


def test_when_the_guard_is_killed_the_parent_takes_over(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    afterwards = [sys.executable, "-c", AFTERWARDS, "two words"]
    with guarded([sys.executable, "-c", code], Path("log"), afterwards=afterwards) as process:
        while Path("log").read_text() != "up\n":
            time.sleep(0.02)
        process.kill()
        process.wait()
    assert RAN in capfd.readouterr().out


def test_a_command_for_afterwards_that_is_not_there_is_said() -> None:
    with guarded([sys.executable, "-c", "import os; os.abort()"], Path("log"), afterwards=["no-such"]) as process:
        assert process.wait() == 128 + signal.SIGABRT
    assert "no-such can't be started: No such file or directory" in Path("log").read_text()
