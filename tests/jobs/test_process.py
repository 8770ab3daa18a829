"""Processes that end with their parents, however these end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from accelbench.jobs.process import PACKAGE_PARENT, WORKFLOW_PID, end_what_was_left, guarded
from tests.waiting import until

PYTHON = sys.executable
ENVIRONMENT = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
# a child with a grandchild: both write their process ids, then wait
FAMILY = """
import os, subprocess, sys, time
if sys.argv[1:]:
    subprocess.Popen([sys.executable, __file__])
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import sys
from pathlib import Path
from accelbench.jobs.process import guarded
with guarded([sys.executable, "family.py", "with a child"], Path("log")) as process:
    process.wait()
"""
# three that outlive a parent that dies: a plain child, one in a session of its own, one forked twice; then it serves
SCATTERED = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, sleep, {})
    os._exit(0)
time.sleep(float(sys.argv[1]))
"""
SCATTERER = """
import os, sys
from pathlib import Path
from accelbench.jobs.process import guarded
with guarded([sys.executable, "scattered.py", "60"], Path("log")) as process:
    print(process.pid, flush=True)
    process.wait()
"""
WORKER = """
import time
from accelbench.jobs.process import end_with_workflow
end_with_workflow()
try:
    print("at work", flush=True)
    time.sleep(60)
finally:
    print("cleaned up", flush=True)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("family.py").write_text(FAMILY)
    Path("scattered.py").write_text(SCATTERED)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def family(members: int = 2) -> list[int]:
    """Give the process ids of those that the command started, itself perhaps, when all have written theirs."""
    log = Path("log")
    assert until(lambda: log.exists() and len(log.read_text().split()) == members)
    return [int(pid) for pid in log.read_text().split()]


def run(code: str, log: Path = Path("log")) -> int:
    with guarded([PYTHON, "-c", code], log) as process:
        return process.wait()


def test_output_of_both_streams_goes_to_the_log() -> None:
    assert run("import sys; print('out', flush=True); print('err', file=sys.stderr)", Path("new/log")) == 0
    assert Path("new/log").read_text() == "out\nerr\n"


def test_the_status_is_the_commands() -> None:
    assert run("raise SystemExit(7)") == 7


def test_a_signals_status_is_128_more() -> None:
    assert run("import os; os.kill(os.getpid(), 9)") == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_says_so_in_one_line() -> None:
    with guarded(["no-such-command"], Path("log")) as process:
        assert process.wait() == 127
    assert Path("log").read_text() == "no-such-command can't be started: No such file or directory\n"


def test_a_log_in_the_archive_keeps_its_content() -> None:
    Path("log").write_text("old")
    Path("kept").hardlink_to("log")
    run("print('new')")
    assert (Path("kept").read_text(), Path("log").read_text()) == ("old", "new\n")


def test_a_log_may_be_appended_to() -> None:
    run("print('first')")
    with guarded([PYTHON, "-c", "print('second')"], Path("log"), append=True) as process:
        process.wait()
    assert Path("log").read_text() == "first\nsecond\n"


def test_the_command_reads_nothing_and_gets_the_environment(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['MINE'], os.getcwd(), repr(sys.stdin.read()))"
    (tmp_path / "there").mkdir()
    with guarded([PYTHON, "-c", code], Path("log"), env={"MINE": "1"}, cwd=tmp_path / "there") as process:
        assert process.wait() == 0
    assert Path("log").read_text() == f"1 {tmp_path}/there ''\n"


@pytest.mark.parametrize(("users", "order"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_numbers_of_gpus_are_in_pcis_order_unless_the_user_has_set_another(
    monkeypatch: pytest.MonkeyPatch, users: str | None, order: str
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if users:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", users)
    with guarded(["printenv", "CUDA_DEVICE_ORDER"], Path("log")) as process:
        process.wait()
    assert Path("log").read_text().strip() == order


def test_the_child_and_its_children_are_gone_when_the_block_is_left() -> None:
    with pytest.raises(RuntimeError), guarded([PYTHON, "family.py", "with a child"], Path("log")):
        pids = family()
        raise RuntimeError
    assert until(lambda: all(map(is_gone, pids)), within_s=1)


def test_the_child_is_asked_to_stop_by_the_signal_that_was_named() -> None:
    code = (
        "import time\n"
        "print('up', flush=True)\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)"
    )
    with guarded([PYTHON, "-c", code], Path("log"), stop=signal.SIGINT):
        assert until(lambda: Path("log").read_text() == "up\n")
    assert Path("log").read_text() == "up\ninterrupted\n"


def test_grandchildren_that_outlive_the_command_are_ended_with_it() -> None:
    run("import subprocess, sys; subprocess.Popen([sys.executable, 'family.py'])\nimport time; time.sleep(.3)")
    [pid] = map(int, Path("log").read_text().split())
    assert until(lambda: is_gone(pid), within_s=1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_when_the_parent_is_killed_the_child_and_its_children_end_within_two_seconds(number: signal.Signals) -> None:
    with subprocess.Popen([PYTHON, "-c", PARENT], env=ENVIRONMENT) as parent:
        pids = family()
        parent.send_signal(number)
        assert until(lambda: all(map(is_gone, pids)), within_s=2)


def test_when_the_guard_itself_is_killed_the_child_ends() -> None:
    with guarded([PYTHON, "family.py"], Path("log")) as process:
        assert until(lambda: Path("log").read_text() != "")
        process.kill()
        child = int(Path("log").read_text())
        assert until(lambda: is_gone(child), within_s=2)


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group is ended")


@linux
@pytest.mark.parametrize("how", ["ends", "is left", "is killed", "its guard is killed"])
def test_what_a_command_started_is_gone_with_it_wherever_it_went(how: str) -> None:
    with guarded([PYTHON, "scattered.py", "1" if how == "ends" else "60"], Path("log")) as process:
        pids = family(3)
        if how == "ends":
            process.wait()
        elif how == "is killed":
            (command,) = (
                child for child in psutil.Process(process.pid).children() if "scattered.py" in child.cmdline()
            )
            command.kill()
            process.wait()
        elif how == "its guard is killed":
            process.kill()
    assert all(map(is_gone, pids))


@linux
def test_what_others_started_in_this_process_goes_on() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        run("pass")
        assert other.poll() is None
        other.kill()


@linux
def test_when_the_parent_is_killed_its_guard_ends_those_in_other_sessions_too() -> None:
    with subprocess.Popen([PYTHON, "-c", SCATTERER], env=ENVIRONMENT, stdout=subprocess.DEVNULL) as parent:
        pids = family(3)
        parent.kill()
        assert until(lambda: all(map(is_gone, pids)), within_s=5)


@linux
def test_when_parent_and_guard_are_killed_the_next_measurement_ends_what_they_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """But for one whose environment was emptied, too: of that nothing is known any more."""
    with subprocess.Popen([PYTHON, "-c", SCATTERER], env=ENVIRONMENT, stdout=subprocess.PIPE) as parent:
        pids = family(3)
        assert parent.stdout
        end_what_was_left()
        assert not any(map(is_gone, pids))
        guard = int(parent.stdout.readline())
        parent.send_signal(signal.SIGSTOP)
        os.kill(guard, signal.SIGKILL)
        end_what_was_left()
        assert not any(map(is_gone, pids)), "the job lives, and will end them itself"
        parent.kill()
    end_what_was_left()
    unmarked = [pid for pid in pids if not is_gone(pid)]
    assert len(unmarked) == 1
    os.kill(unmarked[0], signal.SIGKILL)
    out, said = capfd.readouterr()
    assert out == "" and said.count("was left by a killed measurement; killing it.\n") == 2


def work(pid: int | None) -> subprocess.Popen[str]:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != WORKFLOW_PID}
    if pid is not None:
        environment[WORKFLOW_PID] = str(pid)
    worker = subprocess.Popen([PYTHON, "-c", WORKER], env=environment, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    worker.stdout.readline()  # cut short when it ends at once
    return worker


def test_a_job_cleans_up_and_ends_when_its_workflow_is_gone() -> None:
    workflow = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(60)"])
    with work(workflow.pid) as worker:
        workflow.kill()
        workflow.wait()
        assert worker.communicate(timeout=5)[0] == "cleaned up\n"
    assert worker.returncode == 128 + signal.SIGTERM


def test_a_workflow_that_is_a_zombie_is_gone() -> None:
    workflow = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(60)"])
    with work(workflow.pid) as worker:
        workflow.kill()  # and not waited for
        assert worker.communicate(timeout=5)[0] == "cleaned up\n"
    assert worker.returncode == 128 + signal.SIGTERM
    workflow.wait()


def test_a_workflow_that_was_gone_before_ends_the_job() -> None:
    workflow = subprocess.Popen(["true"])
    workflow.wait()
    with work(workflow.pid) as worker:
        assert worker.wait(timeout=5) == 128 + signal.SIGTERM


def test_a_job_without_a_workflow_works_until_it_is_asked_to_end() -> None:
    with work(None) as worker:
        worker.terminate()
        assert worker.communicate(timeout=5)[0] == "cleaned up\n"
    assert worker.returncode == 128 + signal.SIGTERM


WAITS = """
import sys, time
from accelbench.jobs.process import interrupted_by_hangup
interrupted_by_hangup()
try:
    print("here", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("cleaning up", flush=True)
"""


@pytest.mark.parametrize(("ignored", "said"), [(False, "cleaning up\n"), (True, "")])
def test_a_terminal_that_is_closed_ends_it_as_ctrl_c_does_but_under_nohup(ignored: bool, said: str) -> None:
    def as_under_nohup() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    command = [sys.executable, "-c", WAITS]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, preexec_fn=as_under_nohup
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGHUP)
        if ignored:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            process.kill()
        assert process.stdout.read() == said
