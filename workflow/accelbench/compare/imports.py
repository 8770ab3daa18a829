"""Other tools' results as folders that `compare` reads: {endpoint}/requests.jsonl, and run.json with their origin.

All of a file is written, or nothing. A folder that holds another file's results is never touched.
"""

import hashlib
import shutil
import tempfile
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from accelbench.compare.importers import read_results
from accelbench.compare.importers.imported import Imported, ToolSummary
from accelbench.errors import UserError
from accelbench.store.files import is_there, read_json, sha256, write_json, write_jsonl
from accelbench.store.records import ImportedFrom, LoadRun, RequestRecord

_MOST_BYTES = 120  # of a folder's name
_SUMMARY = TypeAdapter(ToolSummary)
RECORD = "run.json"


def keep_imported(source: Path, out: Path) -> dict[str, int]:
    """Write the loads of a result file under `out`; return the requests of each endpoint, by its folder.

    Raises UserError when no format fits, or when a folder holds the results of another file.
    """
    results = read_results(source)
    digest = sha256(source)
    sides = _sides(results.loads, source.stem)
    for name in sides:
        _is_free(out / name, source, digest)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".importing-") as folder:
        for name, loads in sides.items():
            for load, place in zip(loads, _places(loads), strict=True):
                requests = [replace(request, endpoint=name, cell=load.load) for request in load.requests]
                write_jsonl(Path(folder, name, place, "requests.jsonl"), requests)
                origin = ImportedFrom(
                    file=str(source),
                    sha256=digest,
                    format=results.format,
                    endpoint=load.endpoint,
                    load=load.load,
                    concurrency=load.concurrency,
                    rate_per_s=load.rate_per_s,
                    summary=asdict(load.summary),
                    notes=load.notes,
                )
                write_json(Path(folder, name, place, RECORD), LoadRun(imported=origin))
        _move(Path(folder), out, list(sides))
    return {name: sum(len(load.requests) for load in loads) for name, loads in sides.items()}


def imported_of(run: LoadRun, requests: Sequence[RequestRecord]) -> Imported | None:
    """Return what a run.json says of an import; None where the requests are of this project's own."""
    origin = run.get("imported")
    if origin is None:
        return None
    try:
        summary = _SUMMARY.validate_python(origin.get("summary") or {})
    except ValidationError:
        summary = ToolSummary()
    notes = [str(note) for note in origin.get("notes") or ()]
    cell, slots, rate = origin.get("load"), origin.get("concurrency"), origin.get("rate_per_s")
    return Imported(
        list(requests),
        summary,
        cell=str(cell) if cell else None,
        concurrency=slots if isinstance(slots, int) else None,
        rate_per_s=rate if isinstance(rate, int | float) else None,
        notes=notes,
    )


def _sides(loads: Sequence[Imported], stem: str) -> dict[str, list[Imported]]:
    """Return the loads of each endpoint by the name of its folder; names that become equal are numbered."""
    named: dict[str, list[Imported]] = {}
    folders: dict[str | None, str] = {}
    for load in loads:
        if load.endpoint not in folders:
            folders[load.endpoint] = _new_name(load.endpoint or stem, named)
        named.setdefault(folders[load.endpoint], []).append(load)
    return named


def _new_name(name: str, taken: Collection[str]) -> str:
    first = folder_name(name)
    candidates = (first, *(f"{first}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def folder_name(name: str) -> str:
    """Return a name that stands in a path: what else it holds becomes a hyphen, and a long one is cut."""
    plain = unicodedata.normalize("NFC", name).casefold()
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in plain).strip(".-")
    if len(safe.encode()) > _MOST_BYTES:
        cut = safe.encode()[:_MOST_BYTES].decode(errors="ignore")
        safe = f"{cut}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
    return safe or "endpoint"


def _places(loads: Sequence[Imported]) -> list[str]:
    """Return each load's folder below its endpoint's: none where it is the only one."""
    return [""] if len(loads) == 1 else [folder_name(load.load) for load in loads]


def _is_free(folder: Path, source: Path, digest: str) -> None:
    """Refuse a folder unless this very file was imported there before."""
    if not is_there(folder):
        return
    if not all(origin == digest for origin in _origins(folder)) or not any(_origins(folder)):
        raise UserError(
            f"{folder} already exists and is not from {source}. Give another --out, or rename the file: a side is "
            "named after its endpoint, or else after its file."
        )


def _origins(folder: Path) -> Iterator[Any]:
    for record in folder.rglob(RECORD):
        try:
            found = read_json(record)
            yield found["imported"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            yield None


def _move(staged: Path, out: Path, names: Sequence[str]) -> None:
    """Move the folders to their places; should one fail, put back what was there."""
    before = staged / ".before"
    before.mkdir()
    moved: list[str] = []
    try:
        for name in names:
            if (out / name).exists():
                (out / name).rename(before / name)
            moved.append(name)
            (staged / name).rename(out / name)
    except OSError:
        for name in moved:
            shutil.rmtree(out / name, ignore_errors=True)
            if (before / name).exists():
                (before / name).rename(out / name)
        raise
