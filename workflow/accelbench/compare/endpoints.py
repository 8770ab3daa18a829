"""Measured endpoints side by side, outside any workflow: figures, and what they carry.

A side is a file or a folder: requests.jsonl, or exchanges.jsonl where nothing has been derived from it.
"""

import itertools
import statistics
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from accelbench import specs
from accelbench.analysis.crossover import Crossover
from accelbench.analysis.inference import InferenceRow, summarise
from accelbench.analysis.latency_law import Law
from accelbench.analysis.load import Load, due_per_s
from accelbench.analysis.pairs import Pair, judge_all, pair_up
from accelbench.analysis.sides import Side
from accelbench.analysis.statistics import Estimate
from accelbench.analysis.tail import tail
from accelbench.errors import UserError
from accelbench.files import read_json, read_jsonl
from accelbench.inference.classify import classify_round, recorded
from accelbench.inference.journal import EXCHANGES
from accelbench.records import InferRoundRecord, RequestRecord
from accelbench.report import verdicts
from accelbench.report.confounds import confounds
from accelbench.report.reasons import Reason, reasons

REQUESTS, RECORD = "requests.jsonl", "run.json"
SECTIONS = {"spec", "endpoint", "host", "client", "floor", "imported", "request_example"}  # of a run.json
LARGEST_GAP_S = 1800.0
RECORDS = TypeAdapter(list[RequestRecord])


@dataclass(frozen=True, slots=True)
class Compared:
    """What `compare` says: figures for programs, the requests behind them for tables, and what a reader must know."""

    sides: list[Side]
    pairs: list[Pair]
    rows: list[InferenceRow]
    document: dict[str, Any]
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One load of a side as its files have it: all attempts, and what is known of each round."""

    name: str
    cell: str
    attempts: list[RequestRecord]
    rounds: list[InferRoundRecord]

    def side(self) -> Side:
        """Return what is compared of it."""
        hosts: dict[Hashable, str | None] = {r.round: (r.host or {}).get("name") for r in self.rounds}
        return Side.of(self.name, self.cell, self.attempts, hosts)

    def under(self, cell: str) -> "Recorded":
        """Return it under another load's name."""
        attempts = [replace(attempt, cell=cell) for attempt in self.attempts]
        return Recorded(self.name, cell, attempts, [replace(record, cell=cell) for record in self.rounds])


def compare(paths: Sequence[Path]) -> Compared:
    """Compare each side with each later one, load by load; ratios and differences are the former against the latter.

    Raises UserError when a side holds no requests, or is named twice.
    """
    if twice := [path for place, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:place]}]:
        raise UserError(f"{twice[0]} is named twice; a side against itself says nothing. Name another measurement.")
    names = names_of(paths)
    records = [_recorded_loads(path, name) for path, name in zip(paths, names, strict=True)]
    if all(len(own) == 1 for own in records):  # one load each: compared, whatever they are called
        records = [[load.under(records[0][0].cell)] for [load] in records]
    loads = [{load.cell: load.side() for load in own} for own in records]
    sides = [side for own in loads for side in own.values()]
    pairs = [
        pair_up(ours[cell], theirs[cell], LARGEST_GAP_S)
        for ours, theirs in itertools.combinations(loads, 2)
        for cell in ours
        if cell in theirs
    ]
    if len(paths) > 1 and not pairs:
        listed = "; ".join(f"{path}: {', '.join(own)}" for path, own in zip(paths, loads, strict=True))
        raise UserError(f"no two sides have a load in common ({listed}).")
    judged = judge_all(pairs)
    requests = [attempt for own in records for load in own for attempt in load.attempts]
    rounds = [record for own in records for load in own for record in load.rounds]
    differ = [f"to be known of all sides: {what}" for what in confounds(rounds, requests, {})]
    remarks = list(dict.fromkeys([*_origins(paths), *_without_passages(sides), *differ]))
    shapes = {side.cell: _load([s for s in sides if s.cell == side.cell]) for side in sides}
    rows = summarise(rounds, requests, shapes, names[0], LARGEST_GAP_S)
    document = {
        "sides": [_side(side) for side in sides],
        "pairs": [{**_pair(each.pair), "verdict": verdicts.sentences(each, {})} for each in judged],
        "reasons": [_reason(each) for each in reasons(rows, sides, requests, rounds)] if pairs else [],
        "notes": list(dict.fromkeys([*remarks, *(note for pair in pairs for note in _notes(pair))])),
    }
    return Compared(sides, pairs, rows, document, remarks)


# --- as JSON ------------------------------------------------------------------------------------------------


def _side(side: Side) -> dict[str, Any]:
    latencies = side.latencies_s
    reached = tail(latencies)
    law, why = side.law
    return {
        "name": side.name,
        "load": side.cell,
        "n": len(side.requests),
        "ok": len(side.good),
        "latency_s": {
            "n": reached.n,
            "mean": statistics.fmean(latencies) if latencies else None,
            "median": statistics.median(latencies) if latencies else None,
            "min": min(latencies, default=None),
            "max": max(latencies, default=None),
            "p90": reached.p90,
            "p95": reached.p95,
            "p99": reached.p99,
        },
        "output_tok_per_s": side.tok_per_s("completion_tokens"),
        "total_tok_per_s": side.tok_per_s("total_tokens"),
        "completion_tokens_mean": side.tokens_mean("completion_tokens"),
        "prompt_tokens_mean": side.tokens_mean("prompt_tokens"),
        "law": _law(law) if law else None,
        "notes": [f"law: {why}"] if law is None else [f"law: {law.why}"] if law.why else [],
    }


def _law(law: Law) -> dict[str, Any]:
    return {
        "method": law.fit.method,
        "a_s": law.fit.a_s,
        "a_ci": law.a_ci,
        "b_s_per_tok": law.fit.b_s_per_tok,
        "b_ci": law.b_ci,
        "decode_tok_per_s": law.decode_tok_per_s,
        "decode_ci": law.decode_ci,
        "r2": law.r2,
        "tokens_seen": law.tokens_seen,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    ratio, difference, latency = pair.ratio_of_means(), pair.difference_s(), pair.comparisons.get("e2e_s")
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
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {
        "candidate": reason.candidate,
        "side": reason.endpoint,
        "load": reason.cell,
        "finding": reason.finding,
        "evidence": reason.evidence,
    }


def _bounds(interval: Estimate | None) -> list[float] | None:
    return (
        [interval.low, interval.high] if interval and interval.low is not None and interval.high is not None else None
    )


def _notes(pair: Pair) -> Iterator[str]:
    """Say why what is null is null."""
    ratio, difference, latency = pair.ratio_of_means(), pair.difference_s(), pair.comparisons.get("e2e_s")
    if not pair.paired:
        yield f"unpaired: {pair.interleaving.why_not}"
    if ratio is None:
        yield "ratio_of_means: a side has no latencies"
    if difference is None:
        yield "paired_diff_s: no prompt of the same round was answered by both"
    if ratio and ratio.why_no_interval:
        yield f"ratio_ci: {ratio.why_no_interval}"
    if difference and difference.why_no_interval:
        yield f"paired_diff_ci: {difference.why_no_interval}"
    if latency and latency.why_no_p:
        yield f"p_value: {latency.why_no_p}"
    if (crossed := _why(pair.crossover)) is not None:
        yield f"crossover: {crossed}"


def _without_passages(sides: Sequence[Side]) -> Iterator[str]:
    names = list(dict.fromkeys(side.name for side in sides if all(r.passage is None for r in side.requests)))
    if names:
        yield f"{', '.join(names)}: passages are not recorded, so each prompt counts as a text of its own"


def _why(crossed: Crossover) -> str | None:
    return "one side is faster at every output length" if crossed.kind == "none" else crossed.why


# --- sides --------------------------------------------------------------------------------------------------


def names_of(paths: Sequence[Path]) -> list[str]:
    """Name each side by its folder, or log; where several have one name, with the folder that tells them apart."""
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
    return path if path.is_dir() or path.suffix == ".log" else path.parent


def _load(sides: Sequence[Side]) -> Load:
    """Return the load that is common to some sides as their records tell: they hold no config."""
    first = sides[0].requests
    one_round = [r for r in first if r.round == first[0].round] if first else []
    return Load(sides[0].cell, max(_in_flight(side.requests) for side in sides), rate_per_s=due_per_s(one_round))


def _in_flight(requests: Sequence[RequestRecord]) -> int:
    """Return the most requests that were in flight at once, the concurrency of a closed loop."""
    marks = sorted(
        mark for r in requests if r.sent_unix_s and r.end_unix_s for mark in ((r.sent_unix_s, 1), (r.end_unix_s, -1))
    )
    return max(1, max(itertools.accumulate(change for _, change in marks), default=1))


def _recorded_loads(path: Path, name: str) -> list[Recorded]:
    """Return the loads that a file or folder holds."""
    attempts: list[RequestRecord] = []
    rounds: list[InferRoundRecord] = []
    for file in _files(path):
        own, run = _read(file), _run(file.parent)
        attempts += own
        rounds += [recorded(key, run) for key in dict.fromkeys((name, r.cell, r.round) for r in own)]
    if not attempts:
        raise UserError(
            f"{path}: holds no {REQUESTS} and no {EXCHANGES}. "
            "Name such a file, or a folder of them (under results/inference)."
        )
    if len(endpoints := sorted({r.endpoint for r in attempts})) > 1:
        raise UserError(f"{path}: holds {' and '.join(endpoints)}; name the folder of one of them.")
    attempts = [replace(attempt, endpoint=name) for attempt in attempts]
    return [
        Recorded(name, cell, [r for r in attempts if r.cell == cell], [r for r in rounds if r.cell == cell])
        for cell in dict.fromkeys(r.cell for r in attempts)
    ]


def _files(path: Path) -> list[Path]:
    """Return the record of each round: its requests.jsonl, else its exchanges.jsonl."""
    if path.is_file():
        return [path]
    folders = sorted({file.parent for name in (REQUESTS, EXCHANGES) for file in path.rglob(name)})
    return [folder / (REQUESTS if (folder / REQUESTS).exists() else EXCHANGES) for folder in folders]


def _read(file: Path) -> list[RequestRecord]:
    try:
        if file.name == EXCHANGES:
            number = int(file.parent.name[1:]) if file.parent.name[1:].isdigit() else 1
            item = specs.InferRound(file.parent.parent.parent.name, file.parent.parent.name, number)
            records = [asdict(request) for request in classify_round(item, file.parent, {}, streamed=True)]
        else:
            records = read_jsonl(file)
        return RECORDS.validate_python(records)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: can't be read; record {place}: {first['msg']} (counted from 0).") from None
    except (OSError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: can't be read as {REQUESTS} or {EXCHANGES} of this version ({error}).") from None


def _origins(paths: Sequence[Path]) -> Iterator[str]:
    """Say what a reader must know of figures that another tool measured."""
    for path in paths:
        for file in _files(path):
            yield from (_run(file.parent).get("imported") or {}).get("notes") or ()


def _run(folder: Path) -> dict[str, Any]:
    """Return the record beside a round's requests; empty where there is none."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, orjson.JSONDecodeError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {key: value for key, value in record.items() if key not in SECTIONS or isinstance(value, dict)}
