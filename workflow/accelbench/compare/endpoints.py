"""Measured endpoints side by side, outside any workflow: figures, and what they carry.

A side is a file or a folder: requests.jsonl, exchanges.jsonl where nothing has been derived from it, or a result file
of another tool (compare/importers). What has no single requests is shown by its own figures, and never tested.
"""

import itertools
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from accelbench.analysis.crossover import Crossover
from accelbench.analysis.evidence import evidence_of
from accelbench.analysis.inference import InferenceRow, inference_rows
from accelbench.analysis.intervals import Description, Estimate, describe
from accelbench.analysis.latency_law import LawFigures
from accelbench.analysis.load import Load, _counted, due_per_s
from accelbench.analysis.metrics import METRICS, Figure, as_json
from accelbench.analysis.pairs import Judged, Pair, judge_all, pair_up
from accelbench.analysis.sample import Side, sides_of
from accelbench.analysis.tail import Times
from accelbench.compare.importers import TORN, in_order, read_folder, read_results
from accelbench.compare.importers.accelbench import ACCELBENCH, request_records
from accelbench.compare.importers.imported import Imported, ToolSummary, mean_of
from accelbench.compare.imports import RECORD, imported_of
from accelbench.errors import UserError
from accelbench.inference.answers.classify import classify_round, round_record, with_telemetry
from accelbench.inference.client.journal import EXCHANGES
from accelbench.load import loadtest
from accelbench.plan import specs
from accelbench.report import verdicts
from accelbench.report.reasons import Reason, confounds, reasons
from accelbench.report.text import listed, unique
from accelbench.store.files import is_there, is_torn, read_jsonl, read_record
from accelbench.store.records import InferRoundRecord, LoadRun, LoadSpec, RequestRecord
from accelbench.telemetry.recorder import TELEMETRY
from accelbench.words import one_line

_REQUESTS = "requests.jsonl"
_RECORDS = {_REQUESTS, EXCHANGES, TELEMETRY}
SECTIONS = {"spec", "endpoint", "host", "client", "floor", "imported", "request_example"}  # of a run.json
LARGEST_GAP_S = 1800.0
MOST_SIDES = 30
AGREE = 0.01  # our throughput and a file's own: beyond, it is said by how much they differ
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


@dataclass(frozen=True, slots=True)
class Compared:
    """What `compare` says: figures for programs, the requests behind them for tables, and what a reader must know."""

    loads: list[Recorded]
    verdicts: list[str]
    """What each pair carries, without the laws behind it."""
    rows: list[InferenceRow]
    document: dict[str, Any]
    remarks: list[str]


def compare_endpoints(paths: Sequence[Path]) -> Compared:
    """Compare each side with each earlier one, load by load; ratios and differences are against the earlier.

    Raises UserError when a side holds no requests, or is named twice.
    """
    if twice := [path for place, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:place]}]:
        raise UserError(f"{twice[0]} is named twice; a side against itself says nothing. Name another measurement.")
    sides = [side for path, name in zip(paths, names_of(paths), strict=True) for side in _sides(path, name)]
    if len(sides) > MOST_SIDES:
        raise UserError(f"{len(sides)} sides are too many; import them, and name the folders of up to {MOST_SIDES}.")
    apart = _called_apart(sides)
    if all(len(own) == 1 for own in sides):  # one load each: compared, whatever they are called
        sides = [[load.under(sides[0][0].cell)] for [load] in sides]
    met, loads = _met(sides), [load for own in sides for load in own]
    requests = [attempt for load in loads for attempt in load.attempts]
    rounds = [record for load in loads for record in load.rounds]
    shapes = {
        cell: _load([load for load in loads if load.cell == cell]) for cell in unique(each.cell for each in loads)
    }
    placed = sides_of(rounds, requests, shapes)
    tested = {at: placed[at] for load in loads if load.attempts and (at := (load.name, load.cell))}
    pairs = [
        pair_up(tested[a.name, a.cell], tested[b.name, b.cell], LARGEST_GAP_S)
        for a, b in met
        if a.attempts and b.attempts
    ]
    verdict = iter(judge_all(pairs))
    found = [_found(a, b, next(verdict) if a.attempts and b.attempts else None) for a, b in met]
    measured = inference_rows(rounds, placed, pairs, shapes, sides[0][0].name)
    rows, evidence = _with_own_speeds(measured, loads), evidence_of(rounds, requests)
    figures = {(row.endpoint, row.cell): row.figures for row in measured}
    differ = [f"all sides: {what}" for what in confounds(rounds, evidence, {})]
    counts = [f"{load.name}: {label}" for load in loads for label in _counted(load.attempts)]
    told = [
        *apart,
        *_origins(loads),
        *counts,
        *_speeds_that_differ(measured, loads),
        *_without_passages(tested.values()),
    ]
    remarks = unique(map(one_line, [*told, *differ]))
    document = {
        "sides": [
            _side(tested[at], figures[at]) if (at := (load.name, load.cell)) in tested else _summed_up(load)
            for load in loads
        ],
        "pairs": [pair for pair, _ in found],
        "throughput": [_throughput(load, rows) for load in loads],
        "reasons": [_reason(each) for each in reasons(rows, evidence, rounds)] if pairs else [],
        "notes": unique([*remarks, *(note for pair in pairs for note in _notes(pair))]),
    }
    return Compared(loads, [said for _, sentences in found for said in sentences if said], rows, document, remarks)


def _called_apart(sides: Sequence[Sequence[Recorded]]) -> list[str]:
    """Say that loads of different names are compared as one, where each side has one."""
    if any(len(own) > 1 for own in sides) or len({own[0].cell for own in sides}) == 1:
        return []
    named = listed([f"{own[0].name} {own[0].cell}" for own in sides])
    return [f"the loads are called differently, and are compared as one: {named}"]


def _met(sides: Sequence[Sequence[Recorded]]) -> list[tuple[Recorded, Recorded]]:
    """Return each load of a side with the same one of each earlier side."""
    met = [
        (later, earlier)
        for first, second in itertools.combinations(sides, 2)
        for earlier, later in itertools.product(first, second)
        if earlier.cell == later.cell
    ]
    if len(sides) > 1 and not met:
        held = "; ".join(f"{own[0].name}: {', '.join(load.cell for load in own)}" for own in sides)
        raise UserError(f"no two sides have a load in common ({held}).")
    return met


# --- as JSON ------------------------------------------------------------------------------------------------


def _side(side: Side, found: Mapping[str, Figure]) -> dict[str, Any]:
    law, why = side.law
    return {
        "name": side.name,
        "load": side.cell,
        "n": len(side.requests),
        "ok": len(side.good),
        "latency_s": {key: value for key, value in as_json(found.get("latency", Times(0))).items() if key != "p50"},
        "output_tok_per_s": found.get("output_tok_per_s"),
        "total_tok_per_s": found.get("total_tok_per_s"),
        "completion_tokens_mean": found.get("completion_tokens"),
        "prompt_tokens_mean": found.get("prompt_tokens"),
        "law": _law(law.figures) if law else None,
        "notes": [f"law: {why}"] if law is None else [f"law: {law.why}"] if law.why else [],
        "metrics": {key: as_json(found.get(key)) for key in METRICS},
    }


def _law(law: LawFigures) -> dict[str, Any]:
    return {
        "method": law.method,
        "a_s": law.a_s,
        "a_ci": law.a_ci,
        "b_s_per_tok": law.b_s_per_tok,
        "b_ci": law.b_ci,
        "decode_tok_per_s": law.decode_tok_per_s,
        "decode_ci": law.decode_ci,
        "r2": law.r2,
        "tokens_seen": law.tokens_seen,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    ratio, difference = pair.ratios.get("latency"), pair.difference_s
    latency = pair.comparisons.get("typical_latency")
    crossed = pair.crossover
    return {
        "a": pair.ours.name,
        "b": pair.theirs.name,
        "load": pair.ours.cell,
        "paired": pair.paired,
        "ratio_of_means": ratio.value if ratio else None,
        "ratio_ci": _bounds(ratio),
        "paired_diff_s": difference.value if difference else None,
        "paired_diff_ci": _bounds(difference),
        "p_value": latency.p_value if latency else None,
        "crossover_tokens": crossed.tokens,
        "crossover_ci": [crossed.low_tokens, crossed.high_tokens]
        if crossed.kind in ("interval", "one_sided", "unbounded")
        else None,
        "crossover_kind": crossed.kind,
        "crossover_extrapolated": crossed.extrapolated,
        "notes": list(_notes(pair)),
        "metrics": {key: as_json(found.estimate()) for key, found in pair.comparisons.items()},
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {
        "candidate": reason.candidate,
        "side": reason.endpoint,
        "load": reason.cell,
        "finding": reason.finding,
        "evidence": reason.evidence,
    }


def _summed_up(load: Recorded) -> dict[str, Any]:
    """Return a side of which only the file's own figures are known."""
    own = load.summary
    return {
        "name": load.name,
        "load": load.cell,
        "n": own.requests,
        "ok": own.ok,
        "latency_s": {"n": own.ok, **asdict(own.latency_s)},
        "output_tok_per_s": None,
        "total_tok_per_s": None,
        "completion_tokens_mean": own.completion_tokens,
        "prompt_tokens_mean": own.prompt_tokens,
        "law": None,
        "notes": ["law: there are no single requests"],
        "metrics": dict.fromkeys(METRICS),
    }


def _found(ours: Recorded, theirs: Recorded, each: Judged | None) -> tuple[dict[str, Any], list[str]]:
    """Return a pair with all that is said of it, and the verdicts alone."""
    if each is None:
        pair = _untested(ours, theirs)
        return pair, pair["verdict"]
    sentences = verdicts.sentences(each, {})
    return {**_pair(each.pair), "verdict": sentences}, [verdicts.headline([each], {}), verdicts.others(each, {})]


def _untested(ours: Recorded, theirs: Recorded) -> dict[str, Any]:
    """Return a pair of which one side has no single requests: the ratio of the means, without interval or test."""
    means = [_mean_latency_s(load) for load in (ours, theirs)]
    ratio = means[0] / means[1] if means[0] and means[1] else None
    without = " and ".join(load.name for load in (ours, theirs) if not load.attempts)
    found = f"ratio of mean latencies {ratio:.3g}" if ratio else "no mean latency is known of both"
    return {
        **dict.fromkeys(PAIR),
        "a": ours.name,
        "b": theirs.name,
        "load": ours.cell,
        "paired": False,
        "ratio_of_means": ratio,
        "crossover_extrapolated": False,
        "notes": [f"ratio_ci, p_value: {without}: no single requests"],
        "verdict": [f"{ours.name} against {theirs.name}: not tested: no single requests of {without}; {found}."],
    }


PAIR = (
    "a", "b", "load", "paired", "ratio_of_means", "ratio_ci", "paired_diff_s", "paired_diff_ci", "p_value",
    "crossover_tokens", "crossover_ci", "crossover_kind", "crossover_extrapolated", "notes", "metrics", "verdict",
)  # fmt: skip


def _mean_latency_s(load: Recorded) -> float | None:
    latencies_s = Side.of(load.name, load.cell, load.attempts, {}).latencies_s
    return statistics.fmean(latencies_s) if latencies_s else load.summary.latency_s.mean


def _throughput(load: Recorded, rows: Sequence[InferenceRow]) -> dict[str, Any]:
    """Return the speeds of an endpoint as a whole, beside those that another tool's file says."""
    own = load.summary
    row = next((r for r in rows if (r.endpoint, r.cell) == (load.name, load.cell)), None)
    kinds = ("output_tok_per_s", "total_tok_per_s")
    speeds = {kind: row.figures.get(f"system_{kind}") for kind in kinds} if row else {}
    ours = {kind: speed.mean if isinstance(speed, Description) else None for kind, speed in speeds.items()}
    return {
        "name": load.name,
        "load": load.cell,
        **{kind: ours[kind] if row else getattr(own, kind) for kind in kinds},
        "requests_per_s": row.requests_per_s.mean if row and row.requests_per_s else own.requests_per_s,
        "in_the_file": {"output_tok_per_s": own.output_tok_per_s, "wall_s": own.wall_s} if load.imported else None,
    }


def _bounds(interval: Estimate | None) -> list[float] | None:
    return (
        [interval.low, interval.high] if interval and interval.low is not None and interval.high is not None else None
    )


def _notes(pair: Pair) -> Iterator[str]:
    """Say why what is null is null."""
    ratio, difference = pair.ratios.get("latency"), pair.difference_s
    latency = pair.comparisons.get("typical_latency")
    if not pair.paired:
        yield f"unpaired: {pair.why_unpaired}"
    if ratio is None:
        yield "ratio_of_means: a side has no latencies"
    if difference is None:
        yield "paired_diff_s: no prompt of the same round was answered by both"
    if ratio and ratio.why_no_interval:
        yield f"ratio_ci: {ratio.why_no_interval}"
    if difference and difference.why_no_interval:
        yield f"paired_diff_ci: {difference.why_no_interval}"
    if latency and latency.why_no_interval:
        yield f"p_value: {latency.why_no_interval}"
    if (crossed := _why(pair.crossover)) is not None:
        yield f"crossover: {crossed}"


def _without_passages(sides: Iterable[Side]) -> Iterator[str]:
    names = list(dict.fromkeys(side.name for side in sides if all(r.passage is None for r in side.requests)))
    if names:
        yield f"{', '.join(names)}: passages are not recorded, so each prompt counts as a text of its own"


def _why(crossed: Crossover) -> str | None:
    return "one side is faster at every output length" if crossed.kind == "none" else crossed.why


# --- sides --------------------------------------------------------------------------------------------------


def names_of(paths: Sequence[Path]) -> list[str]:
    """Name each side by its folder or file; where several have one name, with the folder that tells them apart."""
    whole = [_named(path.resolve()) for path in paths]
    if twice := next((path for path, own in zip(paths, whole, strict=True) if whole.count(own) > 1), None):
        raise UserError(f"{twice}: is given twice; a side is compared with others.")
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


def _load(loads: Sequence[Recorded]) -> Load:
    """Return the load that is common to some sides as their records tell: they hold no config.

    Where an import does not say how many requests were in flight, or sides say otherwise, the number counts as unknown:
    then the speed of all is told by the whole time.
    """
    told = {load.slots for load in loads if load.attempts}
    first = loads[0].attempts
    one_round = [r for r in first if r.round == first[0].round and r.last_attempt] if first else []
    rate = next((load.imported.rate_per_s for load in loads if load.imported), None) or due_per_s(one_round)
    if any(load.imported for load in loads):
        return Load(loads[0].cell, told.pop() if len(told) == 1 else 0, rate_per_s=rate)
    return Load(loads[0].cell, max(told, default=1), rate_per_s=rate)


def _origins(loads: Sequence[Recorded]) -> list[str]:
    """Say what a reader must know of the files, and of which side where there are several."""
    of_note: dict[str, list[str]] = defaultdict(list)
    for load in loads:
        for note in load.notes:
            of_note[one_line(note)].append(load.name)
    several = len({load.name for load in loads}) > 1
    return [f"{listed(unique(names))}: {note}" if several else note for note, names in of_note.items()]


def _with_own_speeds(rows: Sequence[InferenceRow], loads: Sequence[Recorded]) -> list[InferenceRow]:
    """Take the file's own speed where its requests can't tell it: they hold no moments, or are a sample."""
    by_name = {(load.name, load.cell): load for load in loads if load.imported and load.summary.is_there}
    return [
        _at_own_speed(row, by_name[row.endpoint, row.cell].summary) if (row.endpoint, row.cell) in by_name else row
        for row in rows
    ]


def _at_own_speed(row: InferenceRow, own: ToolSummary) -> InferenceRow:
    if row.system_output_tok_per_s and row.successes >= (own.ok or 0):
        return row
    speeds = {
        "system_output_tok_per_s": describe([own.output_tok_per_s]),
        "system_total_tok_per_s": describe([own.total_tok_per_s]),
        "system_answer_tok_per_s": None,
        "requests_per_s": describe([own.requests_per_s]),
    }
    known = {key: figure for key, figure in row.figures.items() if key not in speeds}
    return replace(row, figures=known | {key: speed for key, speed in speeds.items() if speed})


def _speeds_that_differ(rows: Sequence[InferenceRow], loads: Sequence[Recorded]) -> list[str]:
    """Say where a throughput is the file's own, or differs from it."""
    by_name = {(row.endpoint, row.cell): row for row in rows}
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for load in loads:
        row = by_name.get((load.name, load.cell))
        if row and load.imported and (said := _beside_the_file(row, load.summary)):
            cells[load.name, said].append(load.cell)
    return [f"{name}, {listed(own)}: {said}" for (name, said), own in cells.items()]


def _beside_the_file(row: InferenceRow, summary: ToolSummary) -> str | None:
    speed, own = row.system_output_tok_per_s, summary.output_tok_per_s
    if speed is None and own is None:
        return "no system throughput: its requests hold no moments"
    if speed is None or row.successes < (summary.ok or 0):
        return "the system throughput is the file's own: its requests can't tell it"
    if not own or abs(speed.mean / own - 1) <= AGREE:
        return None
    closed = row.concurrency and row.rate_per_s is None
    how = f"while {row.concurrency} were in flight" if closed else "from the first request to the last answer"
    return (
        f"system throughput {speed.mean:.4g} output tok/s, {how}; the file itself says {own:.4g} "
        f"({100 * (speed.mean / own - 1):+.1f} % off)"
    )


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
        shown = one_line(f"{name}: {endpoint}")
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
    others = [file for kind in ("*.json", "*.jsonl") for file in path.rglob(kind) if file.name not in _RECORDS]
    named = [str(file.relative_to(path)) for file in sorted(others, key=in_order) if _is_a_result(file)]
    return [f"{listed(named)} beside the records: not read; compare it as a side of its own"] if named else []


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
    return [
        Recorded(
            endpoint,
            cell,
            [r for r in attempts if (r.endpoint, r.cell) == (endpoint, cell)],
            _rounds(file.parent, run, [r for r in attempts if (r.endpoint, r.cell) == (endpoint, cell)]),
            imported,
            notes,
        )
        for endpoint, cell in keys
    ]


def _placed(load: Recorded, folder: Path) -> Recorded:
    """Return a load under the name and the round that its folders have: c8/r2."""
    numbers = [int(match[1]) for part in folder.parts if (match := ROUND.fullmatch(part))]
    cell = "/".join(part for part in folder.parts if not ROUND.fullmatch(part)) or load.cell
    if not numbers:
        return replace(load, cell=cell)
    attempts = [replace(request, round=numbers[-1]) for request in load.attempts]
    return replace(load, cell=cell, attempts=attempts, rounds=[replace(r, round=numbers[-1]) for r in load.rounds[:1]])


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
