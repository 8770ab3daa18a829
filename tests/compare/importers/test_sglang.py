"""Results of SGLang's benchmarks."""

import math
from pathlib import Path

import pytest

from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers import read_results

from .results import only_load, vllm, written

SUMMARY = {
    "backend": "sglang", "request_rate": math.inf, "max_concurrency": 8, "completed": 100, "duration": 31.2,
    "output_throughput": 410.3, "mean_ttft_ms": 88.1, "mean_tpot_ms": 18.9, "mean_e2e_latency_ms": 2400.0,
    "median_e2e_latency_ms": 2300.0,
}  # fmt: skip


def test_a_line_with_infinity_is_a_summary(tmp_path: Path) -> None:
    path = written(tmp_path / "online.jsonl", SUMMARY)
    assert "Infinity" in path.read_text()
    load = only_load(path)
    assert (load.load, load.requests, load.summary.output_tok_per_s) == ("c8", [], 410.3)
    assert load.summary.latency_s.median == pytest.approx(2.3) and load.summary.ttft_s.mean == pytest.approx(0.0881)
    assert any("--output-details" in note for note in compare_endpoints([path]).remarks)


def test_details_are_requests(tmp_path: Path) -> None:
    found = read_results(written(tmp_path / "a.jsonl", vllm(backend="sglang", total_token_throughput="left out")))
    assert found.format == "sglang bench_serving" and len(found.loads[0].requests) == 4


def test_sglangs_benchmark_of_another_server_is_still_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", SUMMARY | {"backend": "vllm"})
    assert read_results(path).format == "sglang bench_serving"


def test_one_batch_is_one_latency(tmp_path: Path) -> None:
    batch = {
        "run_name": "default", "batch_size": 16, "input_len": 1024, "output_len": 64, "latency": 2.0,
        "output_throughput": 700.0, "overall_throughput": 8700.0, "last_ttft": 0.3,
    }  # fmt: skip
    load = only_load(written(tmp_path / "a.jsonl", batch))
    assert (load.concurrency, load.summary.output_tok_per_s, load.summary.latency_s.mean) == (16, 512.0, 2.0)
    assert "one batch" in load.notes[0]


def test_answers_that_were_not_streamed_have_no_first_token(tmp_path: Path) -> None:
    whole = {
        "mean_ttft_ms": 222.39, "mean_e2e_latency_ms": 222.35, "mean_tpot_ms": -0.003, "completed": 2,
        "total_output_tokens": 36,
    }  # fmt: skip
    details = {
        "input_lens": [5, 5],
        "output_lens": [18, 18],
        "ttfts": [0.2, 0.24],
        "itls": [[], []],
        "errors": ["", ""],
    }
    for name, document in (("details", SUMMARY | whole | details), ("summary", SUMMARY | whole)):
        load = only_load(written(tmp_path / f"{name}.jsonl", document))
        assert load.summary.ttft_s.mean is load.summary.tpot_s.mean is None
        assert [(r.e2e_s, r.ttft_s, r.tpot_s) for r in load.requests] in ([], [(0.2, None, None), (0.24, None, None)])
        assert "answers came whole, so that TTFT and TPOT are unknown" in load.notes
