"""Files of results/: written whole or not at all, digested, locked."""

import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from accelbench.errors import UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that no reader ever sees half of it."""
    with writing_atomically(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write a file piece by piece; it appears when all is written, and not at all when that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException as error:
        Path(partial).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise


def write_if_changed(path: Path, content: str) -> bool:
    """Write a file unless it holds just this already; return whether it was written."""
    if path.exists() and path.read_bytes() == content.encode():
        return False
    write_atomically(path, content)
    return True


def write_json(path: Path, record: Any) -> None:
    """Write a record as indented JSON, atomically."""
    write_atomically(path, orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_json(path: Path) -> Any:
    """Read one JSON document."""
    return orjson.loads(path.read_bytes())


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Write one JSON object per line, atomically."""
    with writing_atomically(path) as stream:
        stream.writelines(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def read_jsonl(path: Path) -> list[Any]:
    """Read one JSON object per line; a torn last line (a process killed while writing) is dropped.

    Raises UserError, naming the line, when any other line is broken: what it held must not vanish silently.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise UserError(f"{path}: line {number} is no JSON; restore the file, or delete it.") from None
    return records


def is_there(path: Path) -> bool:
    """Whether something has this path; one that nothing can have (too long a name) is not there."""
    try:
        return path.exists()
    except OSError:
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold an exclusive lock on `path` (the kernel frees it when the process dies); say on stderr when it must wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
