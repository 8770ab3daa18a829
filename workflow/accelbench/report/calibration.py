"""The client's own error, as tables and a sentence: how far to trust the measurements."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from accelbench.inference.calibration import (
    CLIENT_METRICS,
    PERCENTILES,
    CalibrationFile,
    LoadCalibration,
    PercentileError,
)
from accelbench.plan import specs
from accelbench.report.text import NONE, Shown, csv_text, listed, markdown, number
from accelbench.store import paths
from accelbench.store.files import read_record, write_atomically
from accelbench.store.paths import snakemake

TITLE = "The client's own error under each load"
CALIBRATION_COLUMNS = [
    "load", "requests",
    *(f"{name} {percent}" for name in CLIENT_METRICS.values() for percent in PERCENTILES),
    "the client",
]  # fmt: skip


def read_calibration() -> CalibrationFile | None:
    """Return what `accelbench calibrate` recorded in this folder, if it ran."""
    return read_record(Path(paths.CALIBRATION) / "calibration.json") or None


def write_calibration(tables: Path, record: CalibrationFile | None) -> None:
    """Write calibration.csv and .md to a folder of tables, or remove them where nothing was calibrated."""
    files = {"calibration.csv": _csv, "calibration.md": calibration_markdown}
    for name, text in files.items():
        if record is None:
            (tables / name).unlink(missing_ok=True)
        else:
            write_atomically(tables / name, text(record))


def calibration_markdown(record: CalibrationFile) -> str:
    """Return the errors as a table, a row per load, and notes."""
    body = [[text for text, _ in row] for row in rows(record)]
    return "\n".join([f"### {TITLE}\n", markdown(CALIBRATION_COLUMNS, body), *(f"{note}\n" for note in notes(record))])


def rows(record: CalibrationFile) -> list[list[Shown]]:
    """Return a row per load, its cells' names after it."""
    return [
        [
            (f"{row['load']} ({', '.join(row['cells'])})" if row["cells"] else row["load"], None),
            (number(row["requests"]), row["requests"]),
            *(_error(row[metric][percent]) for metric in CLIENT_METRICS for percent in PERCENTILES),
            (_client(row), None),
        ]
        for row in record["loads"]
    ]


def notes(record: CalibrationFile) -> list[str]:
    """Return in words how large the error is, where it was measured, and what it does not cover."""
    when, host = record["measured_at"][:16].replace("T", " "), record["host"]
    said = [f"{_size(record['loads'])} Measured {when} on {host['name']} (load average {host['load_1min']:g})."]
    said += [
        "Error: reported minus true, divided by true. True is when a server on the same machine wrote each token, so "
        "the error includes the loopback network and the server's reading. No p99 with fewer than 100 observations."
    ]
    if record["spec"]["client"] != _code():
        said.append(f"The client has changed since then: run `{snakemake()} --cores 4 calibrate` again.")
    said += [f"Not calibrated: {skipped['load']} ({skipped['why']})." for skipped in record["skipped"]]
    return said


def _code() -> str:
    from accelbench.inference.calibration import CLIENT

    return specs.code(*CLIENT)


def _size(loads: Sequence[LoadCalibration]) -> str:
    """State the largest error of each metric's median over all loads."""
    largest = {
        name: max((abs(error["error_share"]) for row in loads if (error := row[metric]["p50"])), default=None)
        for metric, name in CLIENT_METRICS.items()
    }
    told = [f"{100 * share:.2g} % of the median {name}" for name, share in largest.items() if share is not None]
    return f"The client's own error is at most {listed(told)}." if told else "No load was calibrated."


def _error(error: PercentileError | None) -> Shown:
    if error is None:
        return NONE, None
    return f"{error['error_ms']:+z.2f} ms ({100 * error['error_share']:+z.2f} %)", error["error_share"]


def _client(row: LoadCalibration) -> str:
    facts = row["client"]
    failed = f"{row['failed']} requests failed; " if row["failed"] else ""
    lag_s, share = facts["lag_p99_s"], facts["cpu_share"]
    if lag_s is None or share is None:
        return f"{failed}too short to tell"
    verdict = "was the limit" if facts["limited"] else "kept up"
    return f"{failed}{verdict}: lag p99 {1000 * lag_s:.1f} ms, {100 * share:.0f} % of a core"


def _csv(record: CalibrationFile) -> str:
    flat: list[dict[str, object]] = []
    for row in record["loads"]:
        line: dict[str, object] = {"load": row["load"], "cells": " ".join(row["cells"])}
        line |= {"requests": row["requests"], "failed": row["failed"]}
        for metric in CLIENT_METRICS:
            name = metric.removesuffix("_s")
            line |= {f"{name}_n": row[metric]["n"], f"{name}_worst_ms": row[metric]["worst_ms"]}
            for percent in PERCENTILES:
                error: Mapping[str, object] = row[metric][percent] or {}
                line |= {f"{name}_{percent}_{key}": error.get(key) for key in PercentileError.__annotations__}
        flat.append(line | row["client"])
    return csv_text(flat, list(flat[0]) if flat else ["load"])
