"""Measurements of other tools, read as records, so that the same analysis judges them.

A format is one module with an `Importer`, and one entry in IMPORTERS.

`keep_imported` writes them as folders that `compare` reads: {endpoint}/requests.jsonl, and run.json with their origin.
All of a file is written, or nothing. A folder that holds another file's results is never touched.
"""

import hashlib
import math
import re
import shutil
import statistics
import tempfile
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from accelbench.compare.importers.accelbench import ACCELBENCH
from accelbench.compare.importers.aiperf import AIPERF
from accelbench.compare.importers.guidellm import GUIDELLM
from accelbench.compare.importers.imported import (
    UNNAMED,
    Distribution,
    Imported,
    Importer,
    JsonDocument,
    ToolSummary,
    mean_of,
)
from accelbench.compare.importers.inference_perf import INFERENCE_PERF
from accelbench.compare.importers.inferencex import INFERENCEX
from accelbench.compare.importers.llmperf import LLMPERF
from accelbench.compare.importers.published import PUBLISHED
from accelbench.compare.importers.sglang import SGLANG
from accelbench.compare.importers.vllm import VLLM
from accelbench.errors import UserError
from accelbench.foreign import one_line, parse_python
from accelbench.report.tables import read_requests
from accelbench.store.files import is_there, read_json, sha256, write_json, write_jsonl
from accelbench.store.records import ImportedFrom, LoadRun, RequestRecord

IMPORTERS: tuple[Importer, ...] = (
    ACCELBENCH, SGLANG, VLLM, GUIDELLM, AIPERF, LLMPERF, INFERENCE_PERF, INFERENCEX, PUBLISHED,
)  # fmt: skip
"""In this order: SGLang's results look like vLLM's."""
TORN = "its last line is cut off, and is left out"
LARGEST_FILE = 2 << 30
SHOWN = 200  # characters of what a file holds, in an error
_MOST_SAID = 3  # of the files that can't be read
_ROUNDED = 0.005  # by which a summary's means may differ from those of its requests
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Results:
    """What a result file holds: its format, and its loads, several of one endpoint told apart by name and round."""

    format: str
    loads: list[Imported]


def read_results(source: Path) -> Results:
    """Return the loads of a result file. Raises UserError when no format fits, or it holds no figures."""
    name, loads = _read(source)
    return Results(name, _together(loads))


def read_folder(folder: Path) -> list[Imported]:
    """Return the loads of all result files of a folder; what can't be read is left out, and said.

    What a sweep's summary has from other files is not taken twice. The summary of requests that another file holds is
    theirs.
    Raises UserError when none can be read.
    """
    loads: list[Imported] = []
    broken: list[str] = []
    for file in result_files(folder):
        try:
            loads += _read(file)[1]
        except UserError as error:
            broken.append(f"left out: {error}")
    if not loads:
        why = f" {broken[0].removeprefix('left out: ')}" if broken else ""
        raise UserError(
            f"{folder}: holds no requests.jsonl, no exchanges.jsonl and no result file of a known tool.{why}"
        )
    if len(broken) > _MOST_SAID:
        broken[_MOST_SAID:] = [f"left out: {len(broken) - _MOST_SAID} more files that can't be read"]
    return [replace(load, notes=[*load.notes, *broken]) for load in _together(_summed_up(loads))]


def result_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold results."""
    kinds = ("*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz")
    return sorted((file for kind in kinds for file in folder.rglob(kind)), key=in_order)


def in_order(path: Path) -> list[tuple[int, str]]:
    """Sort r2 before r10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,9})", str(path))]


def _read(source: Path) -> tuple[str, list[Imported]]:
    documents, notes = _documents(source)
    for importer in IMPORTERS:
        try:
            loads = importer.read(documents) if documents else None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            raise UserError(
                f"{source} looks like {importer.name}, but can't be read as such: {one_line(str(why), SHOWN)}."
            ) from None
        if loads is not None:
            return importer.name, [
                replace(load, notes=[*load.notes, *notes]) for load in _told(loads, importer, source)
            ]
    known = ", ".join(importer.name for importer in IMPORTERS)
    raise UserError(f"{source} is not in a format that can be read ({known}).")


def _documents(source: Path) -> tuple[Sequence[JsonDocument], list[str]]:
    """Return the JSON objects of a file (one, those of a list, or one a line), and what is wrong with it."""
    try:
        if source.stat().st_size > LARGEST_FILE:
            raise UserError(f"{source} has more than {LARGEST_FILE >> 30} GiB, the most that is read.")
        if source.suffix == ".csv":
            return read_requests(source), []
        content = _unpacked(source, source.read_bytes())
    except OSError as error:
        raise UserError(f"{source} can't be read ({error.strerror}).") from None
    except ValueError as error:
        raise UserError(f"{source} is not a requests.csv: {one_line(str(error), SHOWN)}.") from None
    if not content.strip():
        raise UserError(f"{source} is empty.")
    notes: list[str] = []
    try:
        found = parse_python(content)
    except ValueError as error:
        found, is_whole = _lines(source, content, error)
        notes = [] if is_whole else [f"{source}: {TORN}"]
    objects = found if isinstance(found, list) else [found]
    documents = [each for each in objects if isinstance(each, dict)]
    return documents if len(documents) == len(objects) else [], notes


def _unpacked(source: Path, content: bytes) -> bytes:
    """Return what a gzip file holds; any other as it is."""
    if not content.startswith(_GZIP):
        return content
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = stream.decompress(content, LARGEST_FILE)
    except zlib.error as error:
        raise UserError(f"{source} can't be unpacked ({error}).") from None
    if not stream.eof:
        raise UserError(f"{source} is cut off, or holds more than {LARGEST_FILE >> 30} GiB, the most that is read.")
    return found


def _not_json(source: Path, content: bytes, error: ValueError) -> str:
    if source.suffix in (".yaml", ".yml"):
        return "is YAML; results are read as JSON, so have the tool write that"
    if b"\0" in content:
        return "is not text; if it is packed, unpack it"
    return f"is {'cut off' if 'unexpected end' in str(error) else 'not valid JSON'}: {error}"


def _lines(source: Path, content: bytes, of_whole: ValueError) -> tuple[list[Any], bool]:
    """Return a document per line, and whether the last line is whole."""
    lines = [line for line in content.splitlines() if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(parse_python(line))
        except ValueError as error:
            if number == 1:
                raise UserError(f"{source} {_not_json(source, content, of_whole)}.") from None
            if number < len(lines):
                raise UserError(f"{source}: line {number} is not valid JSON: {error}.") from None
    return found, len(found) == len(lines)


def _together(loads: Sequence[Imported]) -> list[Imported]:
    """Return each load once: what was put on an endpoint several times is as many rounds, if it asked the same.

    Where it asked something else, the length of the prompts stands in the load's name.
    """
    loads = _by_model(_once(loads))
    asked = {id(each): _asks(each) for each in loads}
    kinds: dict[tuple[str | None, str], set[Any]] = defaultdict(set)
    for each in loads:
        kinds[each.endpoint, each.load].add(asked[id(each)])
    named: dict[tuple[str | None, str], list[Imported]] = {}
    for each in loads:
        _, length = own = asked[id(each)]
        several = len(kinds[each.endpoint, each.load]) > 1
        cell = f"{each.load}-in{float(length):g}" if several and length else each.load
        keys = [(each.endpoint, cell), *((each.endpoint, f"{cell}-{place}") for place in range(2, len(loads) + 2))]
        key = next(key for key in keys if key not in named or asked[id(named[key][0])] == own)
        named.setdefault(key, []).append(each)
    return [_as_rounds(own, cell) for (_, cell), own in named.items()]


def _once(loads: Sequence[Imported]) -> list[Imported]:
    """Return loads without copies of the same: a file and its copy are not two rounds."""
    found: list[Imported] = []
    for load in loads:
        if not any(_held(load) == _held(other) for other in found):
            found.append(load)
    copies = len(loads) - len(found)
    note = f"{copies} {'result is a copy' if copies == 1 else 'results are copies'} of another and left out"
    return [replace(load, notes=[*load.notes, note]) for load in found] if copies else found


def _held(load: Imported) -> Imported:
    return replace(load, notes=[])


def _summed_up(loads: Sequence[Imported]) -> list[Imported]:
    """Return loads of several files, requests and the summary of them as one."""
    summaries = [load for load in loads if not load.requests]
    found = []
    for load in loads:
        own = next((each for each in summaries if _is_of(each.summary, load)), None)
        if own:
            summaries.remove(own)
        if load.requests:
            found.append(replace(own, requests=load.requests, notes=load.notes) if own else load)
    return found + summaries


def _is_of(summary: ToolSummary, load: Imported) -> bool:
    """Tell whether a summary is of a load's requests: as many have succeeded, with the same means."""
    good = [r for r in load.requests if r.error_text is None and not r.warm_up]
    if load.summary.is_there or not good or summary.ok != len(good):
        return False
    means = ((summary.latency_s.mean, [r.e2e_s for r in good]), (summary.ttft_s.mean, [r.ttft_s for r in good]))
    return all(
        mean is not None and math.isclose(mean, statistics.fmean(s or 0.0 for s in own), rel_tol=_ROUNDED)
        for mean, own in means
    )


def _by_model(loads: Sequence[Imported]) -> Sequence[Imported]:
    """Return the loads under the names of their models, if these are several."""
    if len({load.model for load in loads if load.model}) < 2:
        return loads
    return [replace(load, endpoint=load.endpoint or load.model) for load in loads]


def _asks(load: Imported) -> tuple[int | None, str | None]:
    """Return what tells whether two runs of a load asked the same: how many requests, of about how long prompts."""
    lengths = [r.prompt_tokens for r in load.requests if r.prompt_tokens is not None]
    mean = statistics.fmean(lengths) if lengths else load.summary.prompt_tokens
    return load.summary.requests, None if mean is None else f"{mean:.2g}"


def _as_rounds(rounds: Sequence[Imported], cell: str) -> Imported:
    """Return runs of one load as its rounds; their own figures as one."""
    if len(rounds) == 1:
        return replace(rounds[0], cell=cell)
    requests = [replace(r, round=number) for number, own in enumerate(rounds, 1) for r in own.requests]
    notes = list(dict.fromkeys(note for each in rounds for note in each.notes))
    notes += [] if requests else [f"{cell}: figures are means over {len(rounds)} runs"]
    if rounds[0].load == UNNAMED:
        notes.append(f"{len(rounds)} results that name neither concurrency nor rate count as rounds of one load")
    return replace(rounds[0], requests=requests, summary=mean_of([r.summary for r in rounds]), cell=cell, notes=notes)


def _told(loads: Sequence[Imported], importer: Importer, source: Path) -> list[Imported]:
    """Return the loads that hold anything, with notes on what they lack. Raises UserError when none does."""
    way = f"; to have requests, {importer.keeps_requests}" if importer.keeps_requests else ""
    there = [_answered(load) for load in loads if load.requests or load.summary.is_there]
    if not there:
        raise UserError(f"{source} is from {importer.name}, but holds neither single requests nor figures{way}.")
    empty = len(loads) - len(there)
    left_out = [f"{importer.name}: {empty} of {len(loads)} loads hold no requests and are left out"] if empty else []
    return [replace(load, notes=[*load.notes, *left_out, *_lacks(load, importer.name, way)]) for load in there]


def _answered(load: Imported) -> Imported:
    """Return a load without the times of its answers if there were none: tools write 0."""
    if load.summary.ok != 0:
        return load
    none = Distribution()
    return replace(load, summary=replace(load.summary, latency_s=none, ttft_s=none, tpot_s=none))


def _lacks(load: Imported, tool: str, way: str) -> list[str]:
    """Say that a load has no single requests; or, where they are a sample, how many requests it stands for."""
    asked, kept = load.summary.ok, sum(r.error_text is None and not r.warm_up for r in load.requests)
    if not load.requests:
        return [
            f"{tool}: the file holds no single requests, so its own figures are shown, without intervals and tests{way}"
        ]
    if asked is not None and kept < asked and not load.notes:
        return [f"{tool}: the file holds {kept:,} of {asked:,} successful requests"]
    return []


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
