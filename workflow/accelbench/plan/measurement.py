"""One measuring job: alone on its host, finished once, kept for good.

A finished measurement is a folder with raw files and measured.json (its spec and the digests of the raw files),
written last. The archive holds copies of all finished ones under the digest of their spec, so that undoing
an edit of the config restores instead of measuring again.
"""

import datetime
import os
import platform
import secrets
import shlex
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
import psutil

from accelbench.errors import UserError
from accelbench.jobs.host_lock import alone_on_host
from accelbench.jobs.process import end_what_was_left, end_with_workflow
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.store.files import copy, locked, read_json, sha256, sync, write_json
from accelbench.store.records import HostFacts, MeasuredFile

MEASURED = "measured.json"
MEASURING_RULES = ("train", "train_log", "infer", "infer_on_node", "infer_endpoint", "search", "search_on_node")


class OtherSpecError(UserError):
    """A finished measurement that is not the one that the config requires."""

    def __init__(self, differences: str, text: str) -> None:
        """Keep the differences in addition to the message."""
        super().__init__(text)
        self.differences = differences


@contextmanager
def measuring(folder: Path, *, shares_host: bool = False) -> Iterator[None]:
    """Lock the folder and, unless another machine is measured, the host: measurements never overlap."""
    end_with_workflow()
    waiting = f"{folder}: another process is measuring this; waiting until it ends."
    with locked(folder / ".lock", waiting), nullcontext() if shares_host else alone_on_host(folder):
        end_what_was_left()
        yield


def finish(folder: Path, spec: str, raw: Sequence[str]) -> None:
    """Declare the folder's raw files a finished measurement of `spec`, and keep it in the archive."""
    record = MeasuredFile(
        spec=orjson.loads(spec),
        spec_digest=specs.digest(spec),
        raw_sha256={name: sha256(folder / name) for name in raw},
        measured_at=now(),
        restored_at=None,
    )
    _sync(folder, raw)
    write_json(folder / MEASURED, record)
    _keep(folder, specs.digest(spec), [*raw, MEASURED])


def restore(folder: Path, spec: str) -> bool:
    """Restore a finished measurement of `spec` from the archive, if there is an intact one."""
    kept = paths.ARCHIVE / specs.digest(spec)
    try:
        record: MeasuredFile = read_json(kept / MEASURED)
        sound = specs.canonical(record["spec"]) == spec and all(
            sha256(kept / name) == total for name, total in record["raw_sha256"].items()
        )
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return False
    if not sound:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for name in record["raw_sha256"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(kept / name, folder / name)
    _sync(folder, record["raw_sha256"])
    write_json(folder / MEASURED, {**record, "restored_at": now()})
    print(f"{folder}: measured on {record['measured_at']}, restored from {kept}.")
    return True


def is_of(folder: Path, spec: str) -> bool:
    """Tell whether a folder holds a finished measurement of `spec`, by what its measured.json says."""
    try:
        return specs.canonical(read_json(folder / MEASURED)["spec"]) == spec
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check(folder: Path, spec: str, target: Path | None = None) -> MeasuredFile:
    """Return measured.json of a finished measurement whose raw files are as they were when it ended.

    `target`: what a rule makes, where that is not this measured.json. Raises UserError for one that was measured under
    another spec, is missing, or is incomplete.
    """
    path = folder / MEASURED
    target = target or path
    try:
        record: MeasuredFile = read_json(path)
        differences = list(_differences(record["spec"], orjson.loads(spec)))
        changed = [] if differences else _changed(folder, record["raw_sha256"])
    except FileNotFoundError:
        raise UserError(f"{path} is missing. {how_to_measure(target)}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is broken. {_anew(target)} measures it again.") from None
    if differences:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if differences[3:] else "")
        raise OtherSpecError(
            shown,
            f"{path} was measured with another spec: {shown}. {_anew(target)} measures what the config says "
            f"(`--forcerun {' '.join(MEASURING_RULES)}` does so for all of them); or restore the config.",
        )
    if changed:
        raise UserError(
            f"{folder / changed[0]} was deleted or changed after the measurement. {_anew(target)} measures it again, "
            f"or restores it from {paths.ARCHIVE}."
        )
    return record


def how_to_measure(target: Path, site: str | None = None, profile: str | None = None) -> str:
    """Return the command that makes a result, where, if known, and with which cluster profile."""
    where = f" on {site}" if site else ""
    how = f"--profile {paths.profile(profile)}" if profile else "--cores 4"
    return f"`{paths.snakemake()} {how} {target}`{where}, with the same config files, measures it."


def _changed(folder: Path, digests: dict[str, str]) -> list[str]:
    """Return the raw files that are not what was measured."""
    return [name for name, digest in digests.items() if not (folder / name).exists() or sha256(folder / name) != digest]


def _anew(target: Path) -> str:
    """Return the command for a result that Snakemake considers up to date."""
    return f"`{paths.snakemake()} --cores 4 --forcerun {target}`, with the same config files,"


def host() -> HostFacts:
    """Describe this machine: a measurement is only valid for it."""
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str | None]:
    """Return the installed versions of packages; null where one is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def now() -> str:
    """Return the local time with its zone, in seconds."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def share_archive(folder: str | None) -> None:
    """Make results/archive a link to a shared folder, or, for None, a folder of its own again.

    Raises UserError if it already has measurements of its own.
    """
    own = paths.ARCHIVE
    if own.is_symlink():
        own.unlink()
    if folder is None:
        return
    shared = Path(folder).expanduser().absolute()
    shared.mkdir(parents=True, exist_ok=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    if own.is_dir():
        if any(own.iterdir()):
            move = f"mv {own}/* {shlex.quote(str(shared))} && rmdir {own}"
            raise UserError(
                f"archive_dir is {folder}, but {own} already holds measurements. `{move}` moves them there."
            )
        own.rmdir()
    own.symlink_to(shared)


def _keep(folder: Path, name: str, files: Sequence[str]) -> None:
    paths.ARCHIVE.mkdir(parents=True, exist_ok=True)
    partial = paths.ARCHIVE / f".partial-{secrets.token_hex(4)}"
    partial.mkdir()
    for file in files:
        (partial / file).parent.mkdir(parents=True, exist_ok=True)
        copy(folder / file, partial / file)
    shutil.rmtree(paths.ARCHIVE / name, ignore_errors=True)
    try:
        partial.rename(paths.ARCHIVE / name)
    except OSError:  # another working directory that shares the archive was faster, with the same measurement
        shutil.rmtree(partial)


def _sync(folder: Path, raw: Iterable[str]) -> None:
    """Sync the raw files to disk before measured.json declares them."""
    for name in raw:
        sync(folder / name)


def _differences(was: Any, is_now: Any, key: str = "") -> Iterator[str]:
    """Yield `key was X, the config says Y` for each leaf that differs."""
    if isinstance(was, dict) and isinstance(is_now, dict):
        for name in sorted({*was, *is_now}):
            yield from _differences(was.get(name), is_now.get(name), f"{key}.{name}" if key else name)
    elif was != is_now:
        left, right = ("default" if value is None else str(value)[:60] for value in (was, is_now))
        yield f"{key} was {left}, the config says {right}"


def cpu_model() -> str:
    """Return the name that its maker gave this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
