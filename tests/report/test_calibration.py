"""The client's error in words and tables."""

import csv
from pathlib import Path
from typing import Any

import pytest

from accelbench.inference.calibration import CLIENT
from accelbench.plan import specs
from accelbench.report.calibration import calibration_markdown, notes, read_calibration, write_calibration
from accelbench.report.page.tables import client_error_table
from accelbench.store.files import write_json


def error(share: float) -> dict[str, float]:
    return {"truth_ms": 200.0, "client_ms": 200 * (1 + share), "error_ms": 200 * share, "error_share": share}


def row(load: str = "8 at a time", share: float = 0.001, **changes: Any) -> dict[str, Any]:
    metric = {"n": 40, "p50": error(share), "p99": None, "worst_ms": 1.5}
    client = {"lag_p50_s": 0.0001, "lag_p99_s": 0.0021, "cpu_share": 0.25, "late_sends": 0, "limited": False}
    made = {"load": load, "cells": ["parallel"], "requests": 40, "failed": 0, "client": client}
    return {**made, "ttft_s": metric, "itl_s": metric, "e2e_s": metric, **changes}


def record(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = {
        "spec": {"client": specs.code(*CLIENT)},
        "measured_at": "2026-01-02T10:20:30+00:00",
        "host": {"name": "box", "load_1min": 0.5},
        "loads": rows or [row()],
        "skipped": [],
    }
    return {**made, **changes}


def test_a_row_names_the_load_its_cells_and_the_signed_error() -> None:
    text = calibration_markdown(record(row(share=-0.001)))
    assert "8 at a time (parallel)" in text
    assert "-0.20 ms (-0.10 %)" in text
    assert "kept up: lag p99 2.1 ms, 25 % of a core" in text
    assert "| –" in text  # the p99 that n does not support


def test_an_error_of_nothing_has_no_sign_of_minus() -> None:
    assert "+0.00 ms (+0.00 %)" in calibration_markdown(record(row(share=-1e-9)))


def test_the_sentence_tells_the_largest_error_of_all_loads_whatever_its_sign() -> None:
    said = notes(record(row(share=0.001), row("64 at a time", share=-0.02)))[0]
    assert "at most 2 % of the median TTFT, 2 % of the median ITL and 2 % of the median E2E" in said
    assert "2026-01-02 10:20 on box (load average 0.5)" in said


def test_failures_and_a_client_that_was_the_limit_are_told() -> None:
    limited = {**row()["client"], "limited": True}
    assert "3 requests failed; was the limit" in calibration_markdown(record(row(failed=3, client=limited)))


def test_a_load_that_was_skipped_is_told() -> None:
    told = notes(record(skipped=[{"load": "8 at a time, https", "why": "openssl is not installed"}]))
    assert "Not calibrated: 8 at a time, https (openssl is not installed)." in told


def test_a_calibration_of_another_client_says_so() -> None:
    assert not [note for note in notes(record()) if "has changed" in note]
    assert [note for note in notes(record(spec={"client": "older"})) if "has changed" in note]


def test_nothing_calibrated_leaves_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_calibration(tmp_path, record())
    write_calibration(tmp_path, read_calibration())
    assert client_error_table() is None
    assert list(tmp_path.iterdir()) == []


def test_the_csv_has_every_figure(tmp_path: Path) -> None:
    write_calibration(tmp_path, record())
    (line,) = csv.DictReader((tmp_path / "calibration.csv").read_text().splitlines())
    assert (line["cells"], line["ttft_p50_error_share"], line["ttft_p99_error_share"]) == ("parallel", "0.001", "")
    assert (line["itl_worst_ms"], line["limited"]) == ("1.5", "False")


def test_the_page_shows_what_was_calibrated_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "results/calibration/calibration.json", record())
    table = client_error_table()
    assert table is not None
    assert [cell.text for cell in table.rows[0]][:3] == ["8 at a time (parallel)", "40", "+0.20 ms (+0.10 %)"]
    assert table.rows[0][2].sort == 0.001
