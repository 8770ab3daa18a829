"""Whose folder it is: what a killed Snakemake left locked is cleared by the next of its host, and by nobody else."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accelbench.config import Config
from accelbench.dag import begin
from accelbench.errors import UserError
from accelbench.jobs.process import PACKAGE_PARENT
from accelbench.store import working_directory
from accelbench.store.paths import RUN_CONFIG
from accelbench.store.working_directory import LOCKS, OWNER_FILE, free_folder, take_folder

WORKFLOW = """
import sys
sys.path.insert(0, sys.argv[1])
from accelbench.store.working_directory import LOCKS, take_folder
take_folder()
LOCKS.mkdir(exist_ok=True)
(LOCKS / "0.output.lock").touch()
print("at work", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    while working_directory._held:
        working_directory._held.pop().close()


@contextmanager
def workflow() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WORKFLOW, PACKAGE_PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def killed() -> None:
    with workflow() as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert LOCKS.exists()


def test_what_a_killed_snakemake_left_locked_is_cleared_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    killed()
    assert take_folder()
    assert not LOCKS.exists()
    assert "was killed; its lock is removed" in capsys.readouterr().err
    assert OWNER_FILE.read_text() == socket.gethostname()


def test_the_lock_of_one_that_works_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with workflow():
        assert not take_folder()
        assert LOCKS.exists()
        with pytest.raises(UserError, match="running in this folder"):
            free_folder()
    assert "another Snakemake is running in this folder" in capsys.readouterr().err


def test_one_that_came_second_is_still_at_work_when_the_first_has_ended() -> None:
    with workflow():
        assert not take_folder()
    with workflow() as third:
        assert third.poll() is None
    assert LOCKS.exists()  # the third is not alone


def test_the_lock_of_another_host_is_never_touched(capsys: pytest.CaptureFixture[str]) -> None:
    killed()
    OWNER_FILE.write_text("login-02")
    assert not take_folder()
    assert LOCKS.exists() and OWNER_FILE.read_text() == "login-02"
    said = capsys.readouterr().err
    assert "locked by a Snakemake on login-02" in said and "`accelbench unlock`" in said


def test_another_hosts_folder_without_a_lock_is_taken_over() -> None:
    OWNER_FILE.parent.mkdir()
    OWNER_FILE.write_text("login-02")
    assert take_folder()
    assert OWNER_FILE.read_text() == socket.gethostname()


def test_a_lock_that_names_no_owner_stays() -> None:
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.output.lock").touch()
    assert not take_folder()
    assert LOCKS.exists()


def test_unlock_frees_the_folder_whoevers_lock_it_was() -> None:
    killed()
    OWNER_FILE.write_text("login-02")
    free_folder()
    assert not LOCKS.exists()
    assert take_folder()


def test_the_config_of_a_workflow_at_work_is_not_replaced() -> None:
    with workflow():
        begin(Config())
        assert not Path(RUN_CONFIG).exists()
    killed()
    while working_directory._held:
        working_directory._held.pop().close()
    begin(Config())
    assert Path(RUN_CONFIG).exists()


def test_a_folder_that_can_not_be_written_is_one_line() -> None:
    Path(".snakemake").write_text("in the way")
    with pytest.raises(SystemExit, match=r"^accelbench: \.snakemake: File exists\."):
        begin(Config())
