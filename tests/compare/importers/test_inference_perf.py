"""inference-perf's requests and reports."""

from pathlib import Path
from typing import Any

import pytest

from .results import only_load, throughput, written


def metric(begun_s: float, *, nested: bool = False, error: Any = None) -> dict[str, Any]:
    answered = {"output_tokens": 5, "output_token_times": [begun_s + 0.5 + 0.1 * place for place in range(5)]}
    info = {"response_metrics": answered, "request_metrics": {"text": {"input_tokens": 20}}}
    plain = {"input_tokens": 20, **answered}
    return {
        "start_time": begun_s, "end_time": begun_s + 0.9, "request": "{}", "response": "x",
        "info": info if nested else plain, "error": error,
    }  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
def test_token_times_are_those_of_the_request(tmp_path: Path, nested: bool) -> None:
    path = written(tmp_path / "per_request.json", [metric(10.0, nested=nested), metric(11.0, nested=nested)])
    first = only_load(path).requests[0]
    assert (first.prompt_tokens, first.completion_tokens) == (20, 5)
    assert first.ttft_s == pytest.approx(0.5) and first.e2e_s == pytest.approx(0.9)
    assert first.tpot_s == pytest.approx(0.1) and first.event_times_s == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert throughput(path)[0]["output_tok_per_s"] == pytest.approx(10 / 1.9)


def test_an_error_is_kept(tmp_path: Path) -> None:
    failed = metric(10.0, error={"error_type": "ClientError", "error_msg": "refused"})
    (request,) = only_load(written(tmp_path / "a.json", [failed])).requests
    assert (request.class_, request.error_text, request.e2e_s) == ("connection", "refused", None)


def test_a_stages_report_is_a_side(tmp_path: Path) -> None:
    report = {
        "load_summary": {"count": 60, "requested_rate": 1.0},
        "successes": {
            "count": 59, "latency": {"request_latency": {"mean": 0.48, "median": 0.47, "p99": 0.6}},
            "throughput": {"output_tokens_per_sec": 62.2}, "output_len": {"mean": 62.35},
        },
        "failures": {"count": 1},
    }  # fmt: skip
    load = only_load(written(tmp_path / "stage_0_lifecycle_metrics.json", report))
    assert (load.load, load.summary.requests, load.summary.ok) == ("r1", 60, 59)
    assert (load.summary.latency_s.median, load.summary.output_tok_per_s) == (0.47, 62.2)
