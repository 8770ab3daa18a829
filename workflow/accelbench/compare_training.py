"""Training sweeps side by side, outside any workflow: release against release, last month against now.

A side is a log, or a folder of logs or of summaries (results/training/{platform}).
"""

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accelbench.analysis.spread import Spread
from accelbench.compare import names_of
from accelbench.errors import UserError
from accelbench.files import read_json
from accelbench.training.log import parse_log

SUMMARY = "summary.json"
MIN_RUNS = 3  # of a size on each side: with 2 against 10, Welch's interval covers 90 %
NOT_PROGRESS = {"job.log", "server.log", "compile.log"}


def is_training(path: Path) -> bool:
    """Tell whether a side holds training runs, and no requests."""
    return bool(_logs(path)) and not any(path.rglob("exchanges.jsonl")) and not any(path.rglob("requests.jsonl"))


def compare_training(paths: Sequence[Path]) -> dict[str, Any]:
    """Compare the steady rates of training runs, batch size by batch size, each side with each later one."""
    names = names_of(paths)
    sides = [dict(_rates(path)) for path in paths]
    return {
        "sides": [
            {"name": name, "rows": [{"batch_size": size, **_described(rates)} for size, rates in sorted(own.items())]}
            for name, own in zip(names, sides, strict=True)
        ],
        "pairs": [
            {"a": a, "b": b, "batch_size": size, **ratio_of_rates(ours[size], theirs[size])}
            for (a, ours), (b, theirs) in itertools.combinations(zip(names, sides, strict=True), 2)
            for size in sorted(ours.keys() & theirs.keys())
        ],
        "notes": [
            "steady rates in samples/s; "
            f"an interval takes at least {MIN_RUNS} runs of a size on both sides (Welch's t, logs)",
            "runs of other days differ by a few per cent for no reason that a log names",
        ],
    }


def _logs(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".log" else []
    summaries = sorted(path.rglob(SUMMARY))
    return summaries or sorted(file for file in path.rglob("*.log") if file.name not in NOT_PROGRESS)


def _rates(path: Path) -> Iterator[tuple[int, list[float]]]:
    by_size: dict[int, list[float]] = {}
    for file in _logs(path):
        said = read_json(file) if file.name == SUMMARY else parse_log(file).to_json()
        size, rate = said.get("batch_size"), said.get("steady_rate_samples_per_s")
        if isinstance(size, int) and isinstance(rate, int | float) and said.get("outcome") == "completed":
            by_size.setdefault(size, []).append(float(rate))
    if not by_size:
        raise UserError(f"{path}: holds no completed training run with a batch size and a steady rate.")
    yield from by_size.items()


def _described(rates: Sequence[float]) -> dict[str, Any]:
    return {
        "n": len(rates),
        "steady_rate_samples_per_s": statistics.fmean(rates),
        "lowest": min(rates),
        "highest": max(rates),
    }


def ratio_of_rates(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return the ratio of the rates (geometric means) with Welch's interval over runs."""
    logs = [[math.log(rate) for rate in own] for own in (ours, theirs)]
    centre = statistics.fmean(logs[0]) - statistics.fmean(logs[1])
    known: dict[str, Any] = {"ratio": math.exp(centre), "ratio_ci": None, "n": [len(ours), len(theirs)]}
    if min(len(own) for own in logs) < MIN_RUNS:
        return known
    parts = [statistics.variance(own) / len(own) for own in logs]
    se = math.sqrt(sum(parts))
    if se == 0:
        return known
    df = se**4 / sum(part**2 / (len(own) - 1) for part, own in zip(parts, logs, strict=True))
    half = Spread(se, int(df)).half_width()
    return {**known, "ratio_ci": [math.exp(centre - half), math.exp(centre + half)]}
