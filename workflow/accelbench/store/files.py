"""Files of results/: written whole or not at all, copied, digested, locked."""

import fcntl
import hashlib
import math
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from accelbench.errors import UserError

LARGEST_COPY_BYTES = 64 * 2**20
FICLONE = 0x40049409  # linux/fs.h


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file so that no reader ever sees half of it; `durable`: not even after a power cut."""
    with writing_atomically(path, durable=durable) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_atomically(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Write a file piece by piece; it appears when complete, and not at all if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # made with the umask, unlike tempfile's
    try:
        with partial.open("xb") as stream:
            yield stream
        if durable:
            sync(partial)
        partial.replace(path)
        if durable:
            sync(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise


def write_if_changed(path: Path, content: str) -> bool:
    """Write a file unless it already has this content; return whether it was written."""
    if path.exists() and path.read_bytes() == content.encode():
        return False
    write_atomically(path, content, durable=True)
    return True


def write_json(path: Path, record: Any) -> None:
    """Write a record as indented JSON, atomically; what was written survives a power cut."""
    write_atomically(path, orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), durable=True)


def read_json(path: Path) -> Any:
    """Read one JSON document."""
    return orjson.loads(path.read_bytes())


def read_record(path: Path) -> Any:
    """Read one JSON object; an empty one where the file is absent, empty, torn, or holds something else."""
    try:
        record = read_json(path)
    except (OSError, orjson.JSONDecodeError):
        return {}
    return record if isinstance(record, dict) else {}


def jsonable(value: Any) -> Any:
    """Return a record as JSON has it: dataclasses are objects, and what is not finite is "nan", "inf" or "-inf"."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    return [jsonable(item) for item in value] if isinstance(value, list | tuple) else value


def write_jsonl(path: Path, records: Iterable[Any], *, durable: bool = False) -> None:
    """Write one JSON object per line, atomically."""
    with writing_atomically(path, durable=durable) as stream:
        stream.writelines(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def append_line(path: Path, line: str) -> None:
    """Append a line, whole and in one write; behind a torn one it begins a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = "\n" if path.exists() and is_torn(path) else ""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{start}{line}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)


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
            raise UserError(f"{path}: line {number} is not valid JSON; restore the file, or delete it.") from None
    return records


def is_torn(path: Path) -> bool:
    """Whether the last line of a file lacks its end, so that `read_jsonl` leaves it out."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) not in (b"", b"\n")


def is_there(path: Path) -> bool:
    """Whether something has this path; an impossible one (too long a name) does not exist."""
    try:
        return path.exists()
    except OSError:
        return False


def sync(path: Path) -> None:
    """Sync a file's content, or a folder's entries, to disk. Folders only if the file system can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(handle)
    finally:
        os.close(handle)


def copy(source: Path, target: Path) -> None:
    """Copy a file so that damage to one is not damage to the other; on Btrfs, XFS and the like by sharing its blocks.

    Elsewhere a large file is hard-linked, because a copy would take too much space.
    """
    target.unlink(missing_ok=True)
    if not _cloned(source, target):
        if source.stat().st_size <= LARGEST_COPY_BYTES:
            shutil.copyfile(source, target)
        else:
            _link(source, target)


def _cloned(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    try:
        with source.open("rb") as one, target.open("wb") as other:
            fcntl.ioctl(other, FICLONE, one.fileno())
        return True
    except OSError:
        target.unlink(missing_ok=True)
        return False


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold an exclusive lock on `path` (the kernel frees it when the process dies); tell stderr when it must wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
