"""The host's lock: one holder, told to those who wait, free when it dies, and nothing planted holds it for ever."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.jobs import host_lock
from accelbench.jobs.host_lock import alone_on_host
from accelbench.jobs.process import PACKAGE_PARENT

HOLDER = """
import sys
from pathlib import Path
from accelbench.jobs.host_lock import alone_on_host
with alone_on_host(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")


@pytest.fixture(autouse=True)
def _a_lock_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(host_lock.LOCK_NAME, f"accelbench-{tmp_path.name}-{os.getpid()}")
    monkeypatch.setattr(host_lock, "_FOLDER", tmp_path)
    monkeypatch.setattr(host_lock, "RETRY_S", 0.01)


@pytest.fixture
def by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock.sys, "platform", "darwin")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "LONGEST_WAIT_S", 0.3)
    monkeypatch.setattr(host_lock, "_ANSWER_S", 0.1)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "\x1b[2J there")]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT, "TMPDIR": "/nowhere", "HOME": "/"}
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@linux
def test_a_second_one_waits_until_the_first_is_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    waits_until_the_first_is_done(tmp_path, capsys)


@pytest.mark.usefixtures("by_file")
def test_a_second_one_waits_for_the_file_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    waits_until_the_first_is_done(tmp_path, capsys)


def waits_until_the_first_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entered = threading.Event()

    def second() -> None:
        with alone_on_host(folder / "second"):
            entered.set()

    with alone_on_host(folder / "first"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.2)
    waiting.join(5)
    assert entered.is_set()
    out, said = capsys.readouterr()
    assert out == "" and said.count("\n") == 1 and said.endswith("runs on this machine; waiting for it to end.\n")


@linux
def test_who_waits_is_told_which_process_whose_and_where(
    holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    threading.Timer(0.3, holder.kill).start()
    with alone_on_host(tmp_path):  # at once when the holder is killed
        said = capsys.readouterr().err
    assert said.startswith(f"another measurement (process {holder.pid} of ")
    assert f"in {tmp_path}/\\x1b[2J there)" in said


@linux
@pytest.mark.usefixtures("impatient")
def test_waiting_ends_in_one_line_that_names_the_holder(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    said = rf"^another measurement \(process {holder.pid} of [^\n]*$"
    with pytest.raises(UserError, match=said), alone_on_host(tmp_path):
        pytest.fail("two hold it")


@linux
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("does", ["nothing", "listen", "talk"])
def test_a_strangers_socket_in_its_place_hangs_nobody(does: str, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as planted:
        planted.bind(f"\0{os.environ[host_lock.LOCK_NAME]}")
        if does != "nothing":
            planted.listen()
        if does == "talk":
            threading.Thread(target=talk, args=[planted], daemon=True).start()
        with pytest.raises(UserError, match="still runs on this machine"), alone_on_host(tmp_path):
            pytest.fail("two hold it")


def talk(planted: socket.socket) -> None:
    try:
        other, _ = planted.accept()
        while True:
            other.send(b"x" * 100)
    except OSError:
        pass


@linux
def test_many_that_ask_cost_the_holder_no_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "MOST_WAITING", 3)
    with alone_on_host(tmp_path):
        before = len([*Path("/proc/self/fd").iterdir()])
        for _ in range(30):
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(f"\0{os.environ[host_lock.LOCK_NAME]}")
                assert other.recv(4096).decode() == str(tmp_path)
        assert len([*Path("/proc/self/fd").iterdir()]) <= before + 5


@pytest.mark.usefixtures("by_file")
@pytest.mark.parametrize("planted", ["fifo", "link", "folder"])
def test_what_lies_in_a_lock_files_place_is_named(planted: str, tmp_path: Path) -> None:
    path = tmp_path / f"{os.environ[host_lock.LOCK_NAME]}.lock"
    if planted == "fifo":
        os.mkfifo(path)
    elif planted == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
    said = rf"^{path} can't be locked .* Have its owner remove it\.$"
    with pytest.raises(UserError, match=said), alone_on_host(tmp_path):
        pytest.fail("held")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("by_file")
def test_a_lock_file_is_for_all_users_whatever_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        with alone_on_host(tmp_path):
            (path,) = tmp_path.glob("*.lock")
            assert path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)
