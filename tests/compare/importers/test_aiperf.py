"""aiperf's requests and its summary."""

from pathlib import Path
from typing import Any

import pytest

from .results import only_load, throughput, written


def line(number: int, **metadata: Any) -> dict[str, Any]:
    start = 10**18 + number * 10**9
    return {
        "metadata": {
            "session_num": number, "request_start_ns": start, "request_end_ns": start + 700_000_000,
            "benchmark_phase": "profiling", "was_cancelled": False, **metadata,
        },
        "metrics": {
            "time_to_first_token": {"value": 120.0, "unit": "ms"}, "request_latency": {"value": 0.7, "unit": "s"},
            "output_sequence_length": {"value": 30, "unit": "tokens"}, "input_sequence_length": {"value": 200},
        },
        "error": None,
    }  # fmt: skip


def test_a_line_is_a_request_in_the_units_it_names(tmp_path: Path) -> None:
    path = written(tmp_path / "profile_export.jsonl", *map(line, range(3)))
    load = only_load(path)
    for request in load.requests:
        assert (request.ttft_s, request.e2e_s, request.completion_tokens) == (0.120, pytest.approx(0.700), 30)
        assert request.tpot_s == pytest.approx(0.020)
    assert throughput(path)[0]["output_tok_per_s"] == pytest.approx(90 / 2.7, rel=1e-3)


def test_warm_up_is_kept_apart_and_what_was_cancelled_left_out(tmp_path: Path) -> None:
    lines = [line(0, benchmark_phase="warmup"), line(1), line(2, was_cancelled=True)]
    load = only_load(written(tmp_path / "a.jsonl", *lines))
    assert [r.warm_up for r in load.requests] == [True, False]
    assert load.notes == ["1 request left out: cancelled by the tool"]


def test_files_of_its_first_versions_are_read_too(tmp_path: Path) -> None:
    """They call phase and start otherwise, and tell of cancelled requests by their error."""

    def early(number: int, phase: str = "profiling") -> dict[str, Any]:
        metadata = {"x_request_id": str(number), "timestamp_ns": 10**18 + number * 10**9, "credit_phase": phase}
        return {**line(number), "metadata": metadata}

    error = {"code": 499, "type": "RequestCancellationError", "message": "Request was cancelled after 0.000 seconds"}
    load = only_load(written(tmp_path / "a.jsonl", early(0, "warmup"), early(1), early(2) | {"error": error}))
    assert [(r.warm_up, r.sent_unix_s, r.end_unix_s) for r in load.requests] == [
        (True, 1e9, pytest.approx(1e9 + 0.7)),
        (False, 1e9 + 1, pytest.approx(1e9 + 1.7)),
    ]
    assert load.notes == ["1 request left out: cancelled by the tool"]


def test_an_error_has_its_status(tmp_path: Path) -> None:
    failed = line(0) | {"error": {"code": 503, "type": "X", "message": "overloaded"}, "metrics": {}}
    (request,) = only_load(written(tmp_path / "a.jsonl", failed)).requests
    assert (request.class_, request.http_status, request.error_text) == ("http_5xx", 503, "overloaded")


def test_the_summary_is_a_side_under_its_last_phase(tmp_path: Path) -> None:
    phases = [
        {"name": "warmup", "exclude_from_results": True, "concurrency": 2},
        {"name": "profiling", "concurrency": 16},
    ]
    summary = {
        "request_count": {"avg": 96.0, "unit": "requests"},
        "request_latency": {"unit": "ms", "avg": 6726.0, "p50": 6478.0, "p99": 18625.0},
        "output_token_throughput": {"unit": "tokens/sec", "avg": 1172.1},
        "benchmark_duration": {"unit": "sec", "avg": 44.5},
        "input_config": {"phases": phases},
    }
    load = only_load(written(tmp_path / "profile_export_aiperf.json", summary))
    assert (load.load, load.summary.ok, load.summary.output_tok_per_s) == ("c16", 96, 1172.1)
    assert load.summary.latency_s.median == pytest.approx(6.478)
