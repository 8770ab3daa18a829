"""The journal: what was written is read back, whatever happened to the process in between."""

import datetime
import errno
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.errors import UserError
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.journal import (
    Journal,
    attempts,
    finished_keys,
    session_starts,
    sessions,
    set_aside,
    spent_s,
)
from accelbench.inference.client.load import Attempt

SPEC = "0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "r1" / "exchanges.jsonl"


def attempt(key: str, *reads: bytes) -> Attempt:
    return Attempt(key, 1, 0.1, Exchange(0.1, 0.2, 0.3, 0.4, 200, {"A": "ü"}, [(0.3, data) for data in reads]))


def write(path: Path, *keys: str, spec: str = SPEC, final: bool = True) -> None:
    """Write one session."""
    journal = Journal(path, spec, 1000.0)
    for key in keys:
        journal.add(attempt(key, b"said"), final=final)
    journal.close()


def test_attempts_come_back_as_they_were_written(path: Path) -> None:
    write(path, "a", "b")
    assert [(record["key"], record["status"], record["reads"]) for record in attempts(path)] == [
        ("a", 200, [[0.3, "said"]]),
        ("b", 200, [[0.3, "said"]]),
    ]


@given(st.lists(st.binary(max_size=50), max_size=5), st.text(max_size=10))
def test_any_bytes_and_any_key_survive(reads: list[bytes], key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exchanges.jsonl"
        journal = Journal(path, SPEC, 1000.0)
        journal.add(attempt(key, *reads), final=True)
        journal.close()
        (record,) = attempts(path)
        assert [text.encode("latin-1") for _, text in record["reads"]] == reads
        assert finished_keys(path) == {key}


def test_ascii_stays_readable(path: Path) -> None:
    write(path, "a")
    assert '"said"' in path.read_text()


def test_what_is_not_final_is_not_finished(path: Path) -> None:
    write(path, "a")
    write(path, "b", final=False)
    assert finished_keys(path) == {"a"}


def test_a_later_session_knows_what_is_finished_and_goes_on_below(path: Path) -> None:
    write(path, "a")
    journal = Journal(path, SPEC, 2000.0)
    assert (journal.done, journal.sessions) == ({"a"}, 2)
    journal.add(attempt("b"), final=True)
    journal.close()
    assert [(record["key"], record["session"]) for record in attempts(path)] == [("a", 1), ("b", 2)]
    assert [header["started_unix_s"] for header in sessions(path)] == [1000.0, 2000.0]


@pytest.mark.parametrize("torn", range(1, 30))
def test_a_torn_last_line_is_dropped_and_its_request_is_unfinished(path: Path, torn: int) -> None:
    write(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-torn])
    journal = Journal(path, SPEC, 2000.0)
    assert journal.done == {"a"}
    journal.add(attempt("b"), final=True)
    journal.close()
    assert [record["key"] for record in attempts(path)] == ["a", "b"]
    for line in path.read_text().splitlines():
        json.loads(line)


def test_a_torn_last_line_is_dropped_on_reading_too(path: Path) -> None:
    write(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-20])
    assert [record["key"] for record in attempts(path)] == ["a"]


def test_a_torn_first_line_starts_afresh(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"session":1,"sp')
    journal = Journal(path, SPEC, 2000.0)
    journal.close()
    assert (journal.done, journal.sessions) == (set(), 1)


def test_reopened_requests_are_unfinished_until_they_are_asked_again(path: Path) -> None:
    journal = Journal(path, SPEC, 1000.0)
    for key in ("a", "b"):
        journal.add(attempt(key), final=True)
    journal.reopen(["b"])
    journal.close()
    assert finished_keys(path) == {"a"}
    write(path, "b")
    assert finished_keys(path) == {"a", "b"}


def test_another_specs_unfinished_journal_goes_to_the_archive(path: Path) -> None:
    write(path, "a", spec="other")
    before = path.read_bytes()
    set_aside(path, SPEC)
    assert not path.exists()
    assert Path("results/archive/unfinished-other/exchanges.jsonl").read_bytes() == before


def test_the_journal_of_an_interrupted_session_stays(path: Path) -> None:
    write(path, "a")
    set_aside(path, SPEC)
    assert finished_keys(path) == {"a"}


@pytest.mark.parametrize("spec", [SPEC, "other"])
def test_another_specs_finished_journal_is_left_to_the_archive_and_ones_own_stays(path: Path, spec: str) -> None:
    """Its own: if the archive can't restore it (run.json emptied by a power cut), nothing is asked a second time."""
    write(path, "a", spec=spec)
    kept = Path("results/archive") / spec / "exchanges.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(path.read_bytes())
    set_aside(path, SPEC)
    assert path.exists() == (spec == SPEC)
    assert finished_keys(kept) == {"a"}
    assert [folder.name for folder in Path("results/archive").iterdir()] == [spec]


def test_a_line_that_the_disk_takes_only_in_part_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path, SPEC, 1000.0)
    journal.add(attempt("a"), final=True)
    before, write = path.read_bytes(), os.write

    def nearly_full(handle: int, data: bytes) -> int:
        if len(data) > 20:
            return write(handle, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", lambda handle, data: nearly_full(handle, data[:30]))
    with pytest.raises(UserError, match=r"exchanges\.jsonl: No space left on device"):
        journal.add(attempt("b"), final=True)
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "write", write)
    journal.add(attempt("c"), final=True)
    journal.close()
    assert finished_keys(path) == {"a", "c"}


def test_a_disk_that_fails_at_the_end_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(path, SPEC, 1000.0)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UserError, match=r"Input/output error\. What was measured before is kept"):
        journal.close()


def test_a_journal_that_was_deleted_is_said(path: Path) -> None:
    journal = Journal(path, SPEC, 1000.0)
    path.unlink()
    with pytest.raises(UserError, match="deleted while it was written"):
        journal.add(attempt("a"), final=True)


def test_sessions_say_when_they_began(path: Path) -> None:
    for _ in range(2):
        write(path, "a")
    begun = [datetime.datetime.fromisoformat(at).timestamp() for at in session_starts(path)]
    assert begun == [1000.0, 1000.0]


def test_the_time_under_load_adds_up_over_sessions_without_warm_ups(path: Path) -> None:
    assert spent_s(path) == 0
    for keys in (["warm-up-1", "a", "b"], ["c"]):
        write(path, *keys)
    assert spent_s(path) == pytest.approx(2 * 0.3)  # each attempt's turn was at 0.1 s, its end at 0.4 s


def test_an_attempt_is_on_disk_before_the_next_begins(path: Path) -> None:
    journal = Journal(path, SPEC, 1000.0)
    journal.add(attempt("a"), final=True)
    assert finished_keys(path) == {"a"}  # as kill -9 would leave it
    journal.close()
