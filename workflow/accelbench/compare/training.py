"""Training sweeps side by side, outside any workflow: release against release, last month against now.

A side is a log, or a folder of logs or of summaries (results/training/{platform}).
"""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError
from typing_extensions import TypedDict

from accelbench.analysis.disturbance import disturbances, disturbed_in_words
from accelbench.analysis.intervals import MIN_RUNS, Comparison, compare_runs
from accelbench.analysis.verdicts import TIME_MARGIN, Verdict, judge
from accelbench.compare.sides import names_of
from accelbench.config import Training
from accelbench.errors import UserError
from accelbench.report.sentences_training import rate_verdict
from accelbench.store.files import jsonable, read_json
from accelbench.store.records import Activity, JsonObject
from accelbench.telemetry.summary import telemetry_of
from accelbench.training.log.reader import read_logs

_SUMMARY = "summary.json"
_LOGS = {".log", ".md", ".out", ".txt"}
NOT_PROGRESS = {"job.log", "server.log", "compile.log"}
NOT_SHARED = {"batch_size", "kind", "platform.name", "repeat"}  # of a spec: what is compared, and what repeats vary
MAX_DIFFERENCES = 6
LEAST_RATE, MOST_RATE = 1e-9, 1e12  # samples/s: beyond, a file is broken


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A completed run: its steady rate, what it was asked to do (by dotted key), and what else its host did.

    Both as far as they are recorded.
    """

    rate_samples_per_s: float
    asked: JsonObject
    host_activity: Activity | None = None


class SizeRates(TypedDict):
    """The steady rates of the runs of one batch size."""

    batch_size: int
    n: int
    steady_rate_samples_per_s: float
    lowest: float
    highest: float


class ComparedSweep(TypedDict):
    """One side."""

    name: str
    rows: list[SizeRates]


class ComparedSize(TypedDict):
    """Two sides at one batch size."""

    a: str
    b: str
    batch_size: int
    ratio: float
    ratio_ci: tuple[float, float] | None
    n: Sequence[int]
    p_value: float | None
    verdict: list[str]
    notes: list[str]


class ComparedSweeps(TypedDict):
    """What `compare` finds of training sweeps."""

    sides: list[ComparedSweep]
    pairs: list[ComparedSize]
    notes: list[str]


def is_training(path: Path) -> bool:
    """Tell whether a side holds training runs, and no requests. A server's log beside its results is none."""
    if any(path.rglob("exchanges.jsonl")) or any(path.rglob("requests.jsonl")):
        return False
    return any(path.is_file() or file.name == _SUMMARY or read_logs(file)[0].is_a_log for file in _logs(path))


def compare_training(paths: Sequence[Path]) -> ComparedSweeps:
    """Compare the steady rates of training runs, batch size by batch size, each side with each earlier one."""
    names = names_of(paths)
    sides = dict(zip(names, map(_by_size, paths), strict=True))
    pairs = [
        (later, earlier, size)
        for earlier, later in itertools.combinations(names, 2)
        for size in sorted(sides[earlier].keys() & sides[later].keys())
    ]
    compared = {(a, b, size): _compared(sides[a][size], sides[b][size]) for a, b, size in pairs}
    family = {" ".join(map(str, pair)): comparison for pair, comparison in compared.items()}
    verdicts = dict(zip(pairs, judge(family, dict.fromkeys(family, TIME_MARGIN)).values(), strict=True))
    return {
        "sides": [
            {
                "name": name,
                "rows": [_described(size, _rates(_timed(runs))) for size, runs in sorted(own.items())],
            }
            for name, own in sides.items()
        ],
        "pairs": [
            _pair(a, b, size, [len(_timed(sides[name][size])) for name in (a, b)], verdicts[a, b, size])
            for a, b, size in pairs
        ],
        "notes": [
            "steady rates in samples/s; "
            f"an interval needs at least {MIN_RUNS} runs of a size on both sides (Welch's t, logs)",
            "runs on different days differ by a few per cent without a reason that a log shows",
            *(f"{a} and {b} have no batch size in common" for a, b in _apart(sides)),
            *_busy(sides),
            *_confounds(sides, pairs),
        ],
    }


def _timed(runs: Sequence[CompletedRun]) -> Sequence[CompletedRun]:
    """Return the runs on a quiet host; all of them where none was."""
    return [run for run in runs if not disturbances(run.host_activity)] or runs


def _compared(ours: Sequence[CompletedRun], theirs: Sequence[CompletedRun]) -> Comparison:
    """Compare the runs on a quiet host; where a side has none, nothing is concluded."""
    comparison = compare_runs(_rates(_timed(ours)), _rates(_timed(theirs)))
    if not any(disturbances(_timed(own)[0].host_activity) for own in (ours, theirs)):
        return comparison
    return replace(comparison, spreads=None, why_no_interval="the host was busy during all runs of a side")


def _busy(sides: Mapping[str, Mapping[int, Sequence[CompletedRun]]]) -> Iterator[str]:
    """Say which sides' hosts were busy."""
    for name, sizes in sides.items():
        if said := disturbed_in_words([run.host_activity for own in sizes.values() for run in own], "runs"):
            yield f"{name}, busy host: {said}; rates are those of quiet runs, if a size has any"


def _logs(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in _LOGS else []
    summaries = sorted(path.rglob(_SUMMARY))
    return summaries or sorted(file for file in path.rglob("*.log") if file.name not in NOT_PROGRESS)


def _by_size(path: Path) -> dict[int, list[CompletedRun]]:
    """Return the completed runs of a side, by batch size."""
    by_size: dict[int, list[CompletedRun]] = {}
    for said, activity in _said(path):
        size, rate = said.get("batch_size"), said.get("steady_rate_samples_per_s")
        if said.get("outcome") != "completed" or type(size) is not int or not isinstance(rate, int | float):
            continue
        if LEAST_RATE < rate < MOST_RATE:
            by_size.setdefault(size, []).append(CompletedRun(float(rate), _asked(said), activity))
    if not by_size:
        raise UserError(f"{path}: holds no completed training run with a batch size and a steady rate.")
    return by_size


def _said(path: Path) -> Iterator[tuple[JsonObject, Activity | None]]:
    """Yield what the runs of a side say, and what was recorded beside a summary; a log may hold several."""
    for file in _logs(path):
        if file.name == _SUMMARY:
            found = telemetry_of(file.parent)
            yield _summary(file), found.host_activity if found else None
        else:
            yield from ((jsonable(log), None) for log in read_logs(file))


def _summary(file: Path) -> JsonObject:
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: can't be read as JSON ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: holds no summary of a run, which is an object with a batch_size.")
    return found


def _rates(runs: Sequence[CompletedRun]) -> list[float]:
    return [run.rate_samples_per_s for run in runs]


def _described(batch_size: int, rates: Sequence[float]) -> SizeRates:
    return {
        "batch_size": batch_size,
        "n": len(rates),
        "steady_rate_samples_per_s": statistics.fmean(rates),
        "lowest": min(rates),
        "highest": max(rates),
    }


def _pair(a: str, b: str, size: int, runs: Sequence[int], verdict: Verdict) -> ComparedSize:
    found = verdict.comparison
    return {
        "a": a,
        "b": b,
        "batch_size": size,
        "ratio": found.value,
        "ratio_ci": found.interval(),
        "n": runs,
        "p_value": found.p_value,
        "verdict": [rate_verdict(verdict, size, a, b, runs)],
        "notes": [f"ratio_ci: {found.why_no_interval}"] if found.why_no_interval else [],
    }


# --- what else differs ----------------------------------------------------------------------------------------


def _apart(sides: Mapping[str, Mapping[int, object]]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in itertools.combinations(sides, 2) if not sides[a].keys() & sides[b].keys()]


def _asked(said: JsonObject) -> JsonObject:
    """Return what a run was asked to do: its spec, and what its log tells. Seeds are left out: repeats vary them."""
    spec = said.get("spec")
    asked = {}
    if isinstance(spec, dict):
        asked = dict(_leaves({"platform": _defaults(spec.get("platform"))})) | dict(_leaves(spec))
    told = {key: told for key in ("device", "micro_batch", "max_steps") if isinstance(told := said.get(key), str | int)}
    return {
        key: value
        for key, value in {**told, **asked}.items()
        if value is not None and key not in NOT_SHARED and not key.endswith("seed")
    }


def _defaults(platform: object) -> JsonObject:
    """Return all keys of a spec's platform, which leaves out those at their default; none where it is not known."""
    given = {key: value for key, value in platform.items() if key != "name"} if isinstance(platform, dict) else platform
    try:
        return Training.model_validate({"platforms": {"p": given}}).platforms["p"].model_dump()
    except ValidationError:
        return {}


def _leaves(tree: object) -> Iterator[tuple[str, object]]:
    """Yield what stands at the ends of a tree, by dotted key; without recursion, as a broken file may nest for ever."""
    waiting = [("", tree)]
    while waiting:
        key, node = waiting.pop()
        if isinstance(node, dict | list):
            children = node.items() if isinstance(node, dict) else enumerate(node)
            waiting += [(f"{key}.{name}".removeprefix("."), child) for name, child in children]
        else:
            yield key, node


def _confounds(
    sides: Mapping[str, Mapping[int, Sequence[CompletedRun]]], pairs: Sequence[tuple[str, str, int]]
) -> Iterator[str]:
    """Name what the runs of two sides were asked differently at one size, beside what they are compared for."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for later, earlier, size in pairs:
        before, after = (_values(sides[name][size]) for name in (earlier, later))
        for key in sorted(before.keys() & after.keys()):
            if before[key] != after[key]:
                shown = " and ".join(" or ".join(sorted(map(str, own[key]))) for own in (before, after))
                found.setdefault((earlier, later), {}).setdefault(key, shown)
    for (a, b), differences in found.items():
        named = [f"{key} ({shown})" for key, shown in itertools.islice(differences.items(), MAX_DIFFERENCES)]
        more = len(differences) - len(named)
        yield f"{a} and {b} differ in: {'; '.join(named)}" + (f"; and {more} more" if more else "")


def _values(runs: Sequence[CompletedRun]) -> dict[str, set[object]]:
    """Return the values of each key that all runs of a size record."""
    keys = set.intersection(*(set(run.asked) for run in runs))
    return {key: {run.asked[key] for run in runs} for key in keys}
