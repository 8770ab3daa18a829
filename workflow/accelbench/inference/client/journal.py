"""exchanges.jsonl: raw record and journal of a round in one, appended line by line as attempts end.

The first line of each session that wrote to it is a header (spec digest, wall-clock time of the clock's zero); every
other line is one finished attempt with its bytes. (Before 2026-12 a last line told what else the host did.) Bytes stand
as latin-1 text: every byte survives, and ASCII stays readable. A torn last line (kill -9 while writing) is dropped on
reading.
"""

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from typing_extensions import TypedDict

from accelbench.errors import UserError
from accelbench.store import paths
from accelbench.store.files import read_jsonl, sha256

if TYPE_CHECKING:
    from accelbench.inference.client.load import Attempt

EXCHANGES = "exchanges.jsonl"
WARM_UP = "warm-up"


class SessionLine(TypedDict):
    """What a session began with."""

    session: int
    spec_digest: str
    started_unix_s: float
    """The wall-clock time of the clock's zero."""


class AttemptLine(TypedDict):
    """One finished attempt; `final` says that its request is not tried again. Its times are by the session's clock."""

    session: int
    key: str
    attempt: int
    final: bool
    scheduled_s: float | None
    dequeued_s: float
    reused: bool
    connected_s: float | None
    sent_s: float | None
    written_s: float | None
    first_byte_s: float | None
    headers_s: float | None
    end_s: float | None
    status: int | None
    headers: dict[str, str]
    error: str | None
    error_text: str | None
    reads: list[tuple[float, str]]
    """When bytes came, and which, as latin-1 text."""
    prefix: str | None
    """The code of the prefix of its prompt, if it has one."""
    turn: tuple[int, int] | None
    """Its number in its conversation, and how many that has."""
    output_tokens: int | None
    """The tokens that its answer must have, if that is fixed."""


class _ReopenedLine(TypedDict):
    session: int
    reopened: list[str]


class Journal:
    """The journal of one round, open for appending."""

    def __init__(self, path: Path, spec_digest: str, started_unix_s: float) -> None:
        """Open it, keeping what an interrupted session of the same spec wrote."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self.done = finished_keys(path)
        self.sessions = len(sessions(path)) + 1
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._write(SessionLine(session=self.sessions, spec_digest=spec_digest, started_unix_s=started_unix_s))

    def add(self, attempt: "Attempt", *, final: bool) -> None:
        """Append one attempt; `final` says that its request is not tried again."""
        exchange = attempt.exchange
        self._write(
            AttemptLine(
                session=self.sessions,
                key=attempt.key,
                attempt=attempt.number,
                final=final,
                scheduled_s=attempt.scheduled_s,
                dequeued_s=attempt.dequeued_s,
                reused=exchange.reused,
                connected_s=exchange.connected_s,
                sent_s=exchange.sent_s,
                written_s=exchange.written_s,
                first_byte_s=exchange.first_byte_s,
                headers_s=exchange.headers_s,
                end_s=exchange.end_s,
                status=exchange.status,
                headers=exchange.headers,
                error=exchange.error,
                error_text=exchange.error_text,
                reads=[(at_s, data.decode("latin-1")) for at_s, data in exchange.reads],
                prefix=attempt.prefix,
                turn=(attempt.turn.number, attempt.turn.of) if attempt.turn else None,
                output_tokens=attempt.output_tokens,
            )
        )

    def reopen(self, keys: list[str]) -> None:
        """Declare requests unfinished again: the endpoint was gone, which says nothing about them."""
        self._write(_ReopenedLine(session=self.sessions, reopened=keys))

    def close(self) -> None:
        """Flush to disk and close. Raises UserError when the disk did not take it all."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            os.close(self._file)
            self._file = -1

    def _write(self, record: SessionLine | AttemptLine | _ReopenedLine) -> None:
        """Append one line, whole or not at all. Raises UserError when the file is gone or takes no more."""
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        before = os.fstat(self._file)
        if before.st_nlink == 0:
            raise UserError(f"{self._path} was deleted while it was written. Run the same command to measure again.")
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            os.ftruncate(self._file, before.st_size)
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"{self._path}: {error.strerror}. What was measured before is kept in it; the same command continues "
            "from there once it can be written again."
        )


def attempts(path: Path) -> Iterator[AttemptLine]:
    """Yield all finished attempts of a journal."""
    return (record for record in read_jsonl(path) if "key" in record)


def sessions(path: Path) -> list[SessionLine]:
    """Return the headers of all sessions that wrote to a journal; more than one: the round was resumed."""
    return [record for record in read_jsonl(path) if "started_unix_s" in record] if path.exists() else []


def session_starts(path: Path) -> list[str]:
    """Return when each session began, as local time with its zone, in seconds."""
    begun = (datetime.datetime.fromtimestamp(header["started_unix_s"]).astimezone() for header in sessions(path))
    return [at.isoformat(timespec="seconds") for at in begun]


def spent_s(path: Path) -> float:
    """Return for how many seconds the sessions of a journal were under load, warm-ups and what lay between left out."""
    spans: dict[int, tuple[float, float]] = {}
    for attempt in attempts(path) if path.exists() else ():
        if not attempt["key"].startswith(WARM_UP) and (end_s := attempt["end_s"]) is not None:
            begin_s = attempt.get("scheduled_s") or attempt["dequeued_s"]
            first_s, last_s = spans.get(attempt["session"], (begin_s, end_s))
            spans[attempt["session"]] = min(first_s, begin_s), max(last_s, end_s)
    return sum(last_s - first_s for first_s, last_s in spans.values())


def finished_keys(path: Path) -> set[str]:
    """Return the requests that need not be sent again."""
    done: set[str] = set()
    for record in read_jsonl(path) if path.exists() else []:
        if record.get("final"):
            done.add(record["key"])
        done.difference_update(record.get("reopened", ()))
    return done


def set_aside(path: Path, spec_digest: str) -> None:
    """Make room for a measurement of a spec, unless the journal is of just that.

    Another spec's finished journal is left to the archive, which holds it; an unfinished one is moved there.
    """
    for header in sessions(path)[:1]:
        kept = paths.ARCHIVE / header["spec_digest"] / path.name
        if header["spec_digest"] == spec_digest:
            return
        if kept.exists() and sha256(kept) == sha256(path):
            path.unlink()
        else:
            aside = paths.ARCHIVE / f"unfinished-{header['spec_digest']}"
            aside.mkdir(parents=True, exist_ok=True)
            path.replace(aside / path.name)


def _drop_torn_line(path: Path) -> None:
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        content = path.read_bytes()
        with path.open("r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
