"""Files: whole or not at all, digested, locked."""

import hashlib
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.store import files
from accelbench.store.records import ParsedLog, Step

HOLDER = """
import sys
from pathlib import Path
from accelbench.store.files import locked
with locked(Path(sys.argv[1]), "waiting"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_written_piece_by_piece_appears_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with files.writing_atomically(path) as stream:
        stream.write(b"one\n")
        assert not path.exists()
        stream.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(ValueError, match="broken"), files.writing_atomically(path) as stream:
        stream.write(b"half")
        raise ValueError("broken")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.csv", b"one\ntwo\n")]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    unwritable: Any = 5
    with pytest.raises(TypeError):
        files.write_atomically(path, unwritable)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_disk_that_is_full_is_said_of_which_file(tmp_path: Path) -> None:
    limited = (
        "import resource, signal, sys; from pathlib import Path; from accelbench.store.files import write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: write_json(Path(sys.argv[1]), 'x' * 10_000)\n"
        "except OSError as error: print(error.filename, error.strerror, sep='|')\n"
    )
    path = tmp_path / "run.json"
    done = subprocess.run([sys.executable, "-c", limited, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}|File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_write_replaces_the_file_and_leaves_its_hard_links_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "kept").hardlink_to(tmp_path / "a")
    files.write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / "kept").read_text() == "old"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_written_file_is_readable_by_whom_the_umask_says_and_its_folder_is_made(
    mask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        files.write_atomically(tmp_path / "new" / "a", b"x")
        files.copy(tmp_path / "new" / "a", tmp_path / "new" / "b")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {mode}


def test_what_must_survive_a_power_cut_is_on_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, fsync = tmp_path / "run.json", [], os.fsync

    def noting(handle: int) -> None:
        found = Path(f"/dev/fd/{handle}").resolve() if sys.platform == "linux" else tmp_path
        synced.append((found == tmp_path, path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    files.write_json(path, {"a": 1})
    assert synced == [(False, False), (True, True)]
    files.write_atomically(tmp_path / "derived.csv", "a,b")
    assert len(synced) == 2


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"[1]", b"\x00" * 50, b"\xff"])
def test_a_record_that_is_absent_or_torn_is_empty(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert files.read_record(tmp_path / "a") == {}


@pytest.mark.parametrize("size", ["small", "large, no links", "large"])
def test_damage_to_a_copy_is_not_the_originals_unless_it_is_too_large(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("whole")
    other.write_text("old")
    if size != "small":
        monkeypatch.setattr(files, "LARGEST_COPY_BYTES", 2)
    if size == "large, no links":
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    files.copy(one, other)
    assert other.read_text() == "whole"
    if size != "large":
        os.truncate(one, 0)
        assert other.read_text() == "whole"


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert files.write_if_changed(path, "grün\n")
    inode = path.stat().st_ino
    assert not files.write_if_changed(path, "grün\n")
    assert path.stat().st_ino == inode
    assert files.write_if_changed(path, "blau\n")


RECORDS = st.lists(st.dictionaries(st.text("ab\u2028é\n"), st.integers(-9, 9) | st.text("a\r\n\u2028\x1c")))


@given(RECORDS)
def test_jsonl_reads_back(tmp_path_factory: pytest.TempPathFactory, records: list[Any]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    files.write_jsonl(path, records)
    assert files.read_jsonl(path) == records


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"n":1}\n{"n":2}\n{"n"')
    assert files.read_jsonl(tmp_path / "a") == [{"n": 1}, {"n": 2}]


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_lock_excludes_another_process_until_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "folder" / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(_Waited), files.locked(path, _RaisesWhenPrinted("waiting")):
            pytest.fail("two hold the lock")
        holder.kill()
    with files.locked(path, "not said"):
        assert capsys.readouterr() == ("", "")


def test_waiting_is_no_output_of_the_command_that_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands on stdout is read by others: a job's id by Snakemake, JSON by a script."""
    path = tmp_path / ".lock"

    def hold(entered: threading.Event) -> None:
        with files.locked(path, "waiting"):
            entered.set()

    entered = threading.Event()
    with files.locked(path, "not said"):
        second = threading.Thread(target=hold, args=[entered])
        second.start()
        assert not entered.wait(0.2)
    second.join()
    assert capsys.readouterr() == ("", "waiting\n")


class _Waited(Exception):
    pass


class _RaisesWhenPrinted(str):
    def __str__(self) -> str:
        raise _Waited


def test_a_record_as_json_has_what_is_not_finite_in_words() -> None:
    log = ParsedLog(final_loss=math.nan, steps=(Step(1, loss=-math.inf), Step(2, loss=3.5)))
    said = files.jsonable(log)
    assert (said["final_loss"], [step["loss"] for step in said["steps"]]) == ("nan", ["-inf", 3.5])
    assert json.loads(json.dumps(said, allow_nan=False)) == said
