"""Measured endpoints read from files: each side a folder or a file, each load of it with its attempts and rounds.

A side is requests.jsonl, exchanges.jsonl where nothing has been derived from it, or a result file of another tool
(compare/importers).
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from accelbench.compare.importers import (
    RECORD,
    TORN,
    imported_of,
    in_order,
    read_folder,
    read_results,
    result_files,
)
from accelbench.compare.importers.accelbench import ACCELBENCH, request_records
from accelbench.compare.importers.imported import Imported, ToolSummary, mean_of
from accelbench.errors import UserError
from accelbench.foreign import one_line
from accelbench.inference.answers.classify import classify_round, round_record, with_telemetry
from accelbench.inference.client.journal import EXCHANGES
from accelbench.load import loadtest
from accelbench.plan import specs
from accelbench.report.text import listed, unique
from accelbench.store.files import is_there, is_torn, read_jsonl, read_record
from accelbench.store.records import InferRoundRecord, LoadRun, LoadSpec, RequestRecord
from accelbench.telemetry.recorder import TELEMETRY

_REQUESTS = "requests.jsonl"
_RECORDS = {_REQUESTS, EXCHANGES, TELEMETRY}
SECTIONS = {"spec", "endpoint", "host", "client", "floor", "imported", "request_example"}  # of a run.json
MOST_SIDES = 30
ROUND = re.compile(r"r(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One load of a side as its files have it: all attempts, what is known of each round, and of an import."""

    name: str
    cell: str
    attempts: list[RequestRecord]
    rounds: list[InferRoundRecord]
    imported: Imported | None = None
    notes: Sequence[str] = ()
    """What a reader must know of its files."""

    def under(self, cell: str) -> "Recorded":
        """Return it under another load's name."""
        attempts = [replace(attempt, cell=cell) for attempt in self.attempts]
        return replace(
            self, cell=cell, attempts=attempts, rounds=[replace(record, cell=cell) for record in self.rounds]
        )

    @property
    def at(self) -> tuple[str, str]:
        """Its side and its load."""
        return self.name, self.cell

    @property
    def summary(self) -> ToolSummary:
        """The file's own figures, where it is another tool's."""
        return self.imported.summary if self.imported else ToolSummary()

    @property
    def slots(self) -> int:
        """Requests in flight: as an import names them, else as they were; 0: not known."""
        if self.imported is None:
            return _in_flight([r for r in self.attempts if not r.warm_up])
        slots = self.imported.concurrency or 0
        return slots if slots <= len(self.attempts) else 0


def read_sides(paths: Sequence[Path]) -> list[list[Recorded]]:
    """Return the loads of each side. Raises UserError when one holds no requests, or is named twice."""
    sides = [side for path, name in zip(paths, names_of(paths), strict=True) for side in _sides(path, name)]
    if len(sides) > MOST_SIDES:
        raise UserError(f"{len(sides)} sides are too many; import them, and name the folders of up to {MOST_SIDES}.")
    return sides


def names_of(paths: Sequence[Path]) -> list[str]:
    """Name each side by its folder or file; where several have one name, with the folder that tells them apart.

    Raises UserError if one is named twice.
    """
    whole = [_named(path.resolve()) for path in paths]
    if twice := next((path for path, own in zip(paths, whole, strict=True) if whole.count(own) > 1), None):
        raise UserError(f"{twice} is named twice; comparing a side with itself says nothing. Name another measurement.")
    names = [path.name for path in whole]
    if len(set(names)) == len(names):
        return names
    depth = min(len(path.parts) for path in whole)
    for above in range(2, depth):
        telling = [path.parts[-above] for path in whole]
        if len(set(telling)) == len(telling):
            between = "/" if above == 2 else "/…/"
            return [f"{folder}{between}{name}" for folder, name in zip(telling, names, strict=True)]
    return [str(path) for path in paths]


def _named(path: Path) -> Path:
    return path.parent if path.name in _RECORDS else path


def _in_flight(requests: Sequence[RequestRecord]) -> int:
    """Return the most requests that were in flight at once, the concurrency of a closed loop."""
    marks = sorted(
        mark for r in requests if r.sent_unix_s and r.end_unix_s for mark in ((r.sent_unix_s, 1), (r.end_unix_s, -1))
    )
    return max(1, max(itertools.accumulate(change for _, change in marks), default=1))


def _sides(path: Path, name: str) -> list[list[Recorded]]:
    """Return what a file or folder holds: the loads of each endpoint."""
    if not is_there(path):
        raise UserError(f"{path}: is not there. Name a file or a folder of requests, or a result file.")
    if path.is_file() and path.name not in _RECORDS:
        found = read_results(path)
        sides = _foreign(found.loads, name)
        own = found.format == ACCELBENCH.name
        return [[replace(load, imported=None) for load in side] for side in sides] if own else sides
    files = _files(path)
    if not files and path.is_dir():
        return _foreign(read_folder(path), name)
    return [_own(path, files, name)]


def _foreign(loads: Sequence[Imported], name: str) -> list[list[Recorded]]:
    """Return the loads of each endpoint of a file; several are named by it, those that look alike by number."""
    by_endpoint: dict[str | None, list[Imported]] = defaultdict(list)
    for load in loads:
        by_endpoint[load.endpoint].append(load)
    if len(by_endpoint) == 1:
        return [[_recorded(one_line(name), load) for load in loads]]
    names: list[str] = []
    for endpoint in by_endpoint:
        shown = one_line(f"{name}: {endpoint}" if endpoint else name)
        names.append(shown if shown not in names else f"{shown} ({len(names) + 1})")
    return [[_recorded(n, load) for load in own] for n, own in zip(names, by_endpoint.values(), strict=True)]


def _recorded(name: str, load: Imported) -> Recorded:
    cell = one_line(load.load)
    attempts = [replace(request, endpoint=name, cell=cell) for request in load.requests]
    rounds = [round_record((name, cell, number), {}) for number in dict.fromkeys(r.round for r in attempts)]
    return Recorded(name, cell, attempts, rounds, load, load.notes)


def _own(path: Path, files: Sequence[Path], name: str) -> list[Recorded]:
    """Return the loads of this project's own records, and of imports that were written as such."""
    parts = [(file.parent, load) for file in files for load in _of_file(file)]
    if len(endpoints := sorted({load.name for _, load in parts if load.attempts})) > 1:
        raise UserError(f"{path}: holds {' and '.join(map(one_line, endpoints))}; name the folder of one of them.")
    held = [(load.cell, number) for _, load in parts for number in {r.round for r in load.attempts} or {1}]
    if len(set(held)) < len(held):  # told apart by their folders alone
        parts = [(folder, _placed(load, folder.relative_to(path))) for folder, load in parts]
    by_cell: dict[str, list[Recorded]] = defaultdict(list)
    for _, load in parts:
        by_cell[load.cell].append(load)
    if not by_cell:
        raise UserError(f"{path}: holds no requests.")
    loads = [_joined(name, one_line(cell), own) for cell, own in by_cell.items()]
    return [replace(loads[0], notes=[*loads[0].notes, *_not_read(path)]), *loads[1:]]


def _not_read(path: Path) -> list[str]:
    """Name the result files that lie beside a side's records."""
    others = [file for file in result_files(path) if file.name not in _RECORDS]
    named = [str(file.relative_to(path)) for file in others if _is_a_result(file)]
    return [f"{listed(named)} next to the records: not read; compare it as a separate side"] if named else []


def _is_a_result(file: Path) -> bool:
    try:
        return bool(read_results(file).loads)
    except UserError:
        return False


def _of_file(file: Path) -> list[Recorded]:
    """Return the loads of one file, each under the endpoint and the load that it names."""
    attempts, run = _read(file), _run(file.parent)
    imported = imported_of(run, attempts)
    notes = [*(imported.notes if imported else ()), *([f"{file}: {TORN}"] if is_torn(file) else ())]
    keys = dict.fromkeys((r.endpoint, r.cell) for r in attempts) or ([("", imported.load)] if imported else [])
    loads = []
    for endpoint, cell in keys:
        own = [r for r in attempts if (r.endpoint, r.cell) == (endpoint, cell)]
        loads.append(Recorded(endpoint, cell, own, _rounds(file.parent, run, own), imported, notes))
    return loads


def _placed(load: Recorded, folder: Path) -> Recorded:
    """Return a load under the name and the round that its folders have: c8/r2, and r30/r2 of a rate."""
    rounds = [place for place, part in enumerate(folder.parts) if ROUND.fullmatch(part)]
    if not rounds:
        return replace(load, cell="/".join(folder.parts) or load.cell)
    last = rounds[-1]
    number, others = int(folder.parts[last][1:]), (*folder.parts[:last], *folder.parts[last + 1 :])
    attempts = [replace(request, round=number) for request in load.attempts]
    records = [replace(record, round=number) for record in load.rounds[:1]]
    return replace(load, cell="/".join(others) or load.cell, attempts=attempts, rounds=records)


def _rounds(folder: Path, run: LoadRun, attempts: Sequence[RequestRecord]) -> list[InferRoundRecord]:
    """Return the rounds that a folder holds of one load, with what was recorded around them."""
    by_round: dict[tuple[str, str, int], list[RequestRecord]] = defaultdict(list)
    for attempt in attempts:
        by_round[attempt.endpoint, attempt.cell, attempt.round].append(attempt)
    return [with_telemetry(round_record(named, run), folder, own) for named, own in by_round.items()]


def _joined(name: str, cell: str, parts: Sequence[Recorded]) -> Recorded:
    """Return one load of a side from its files."""
    imports = [part.imported for part in parts if part.imported]
    imported = imports[0] if imports else None
    if imported and len(imports) > 1:
        imported = replace(imported, summary=mean_of([each.summary for each in imports]))
    attempts = [replace(r, endpoint=name, cell=cell) for part in parts for r in part.attempts]
    rounds = [replace(r, endpoint=name, cell=cell) for part in parts for r in part.rounds]
    return Recorded(name, cell, attempts, rounds, imported, unique(note for part in parts for note in part.notes))


def _files(path: Path) -> list[Path]:
    """Return the record of each round."""
    if path.is_file():
        return [path]
    folders = sorted({file.parent for name in _RECORDS for file in path.rglob(name)}, key=in_order)
    return list(map(_record_in, folders))


def _record_in(folder: Path) -> Path:
    """Return the requests.jsonl of a round unless a power cut left it empty, else its exchanges.jsonl."""
    there = [file for file in (folder / _REQUESTS, folder / EXCHANGES) if file.exists()]
    return next((file for file in there if file.stat().st_size), there[0])


def _read(file: Path) -> list[RequestRecord]:
    try:
        if file.name == EXCHANGES:
            records = [asdict(r) for r in classify_round(_round_in(file.parent), file.parent, {}, streamed=True)]
        else:
            records = read_jsonl(file)
        return request_records(records)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: can't be read; record {place}: {first['msg']} (counted from 0).") from None
    except (OSError, TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{file}: can't be read as {_REQUESTS} or {EXCHANGES} of this version ({error}).") from None


def _round_in(folder: Path) -> specs.InferRound:
    """Return what `load` calls its round, else what the folders of the workflow say: endpoint/cell/r2."""
    if _run(folder).get("spec", LoadSpec()).get("kind") == "load":
        return specs.InferRound(loadtest.NAME, loadtest.CELL, 1)
    number = int(folder.name[1:]) if folder.name[1:].isdigit() else 1
    return specs.InferRound(folder.parent.parent.name, folder.parent.name, number)


def _run(folder: Path) -> LoadRun:
    """Return the record beside a round's requests; empty where there is none."""
    record = read_record(folder / RECORD).items()
    return cast(LoadRun, {key: value for key, value in record if key not in SECTIONS or isinstance(value, dict)})
