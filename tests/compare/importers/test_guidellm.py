"""guidellm's benchmarks, with all requests, a sample of them, or none."""

from pathlib import Path
from typing import Any

import pytest

from accelbench.compare.importers import read_results

from .results import only_load, throughput, written

REQUEST = {
    "request_id": "a", "request_start_time": 1000.0, "request_end_time": 1002.0, "request_latency": 2.0,
    "time_to_first_token_ms": 300.0, "inter_token_latency_ms": 20.0, "prompt_tokens": 5, "output_tokens": 86,
}  # fmt: skip
METRICS = {
    "request_totals": {"successful": 20, "errored": 1, "incomplete": 3},
    "request_latency": {"successful": {"mean": 2.1, "median": 2.0, "percentiles": {"p99": 3.0}}},
    "output_tokens_per_second": {"successful": {"mean": 43.0}},
    "inter_token_latency_ms": {"successful": {"median": 20.0}},
}


def benchmark(strategy: dict[str, Any] | None = None, *, version: str = "config", **requests: Any) -> dict[str, Any]:
    settings = {version: {"strategy": strategy}} if strategy else {}
    return {"type_": "generative_benchmark", **settings, "requests": requests, "metrics": METRICS}


@pytest.mark.parametrize(("version", "kind"), [("config", "type_"), ("args", "type_"), ("config", "kind")])
def test_a_strategy_names_the_load(tmp_path: Path, version: str, kind: str) -> None:
    strategies = [
        {kind: "synchronous"}, {kind: "concurrent", "streams": 8}, {kind: "constant", "rate": 2.5},
        {kind: "throughput", "max_concurrency": 512},
    ]  # fmt: skip
    benchmarks = [benchmark(each, version=version, successful=[REQUEST]) for each in strategies]
    loads = read_results(written(tmp_path / "a.json", {"benchmarks": benchmarks})).loads
    assert [load.load for load in loads] == ["c1", "c8", "r2p5", "benchmark-4"]
    assert loads[3].concurrency is None


def test_what_its_time_limit_cut_off_is_left_out_and_counted(tmp_path: Path) -> None:
    failed = {"request_id": "b", "info": {"error": "ConnectError"}}
    each = benchmark(successful=[REQUEST], errored=[failed], incomplete=[{"request_id": "c"}] * 3)
    load = only_load(written(tmp_path / "a.json", {"benchmarks": [each]}))
    assert [(r.key, r.class_, r.error_text) for r in load.requests] == [
        ("a", "ok", None),
        ("b", "connection", "ConnectError"),
    ]
    assert load.notes == ["3 requests left out: cut off by the time limit"]


def test_what_lies_in_its_warm_up_or_cool_down_is_left_out_and_counted(tmp_path: Path) -> None:
    """Its own figures count what overlaps the measured time."""
    spans = {"before": (1, 9), "into": (5, 11), "in": (12, 18), "out of": (19, 25), "after": (21, 27)}
    requests = [
        REQUEST | {"request_id": name, "request_start_time": 1000.0 + a, "request_end_time": 1000.0 + b}
        for name, (a, b) in spans.items()
    ]
    measured = {"scheduler_metrics": {"measure_start_time": 1010.0, "measure_end_time": 1020.0}}
    load = only_load(written(tmp_path / "a.json", {"benchmarks": [benchmark(successful=requests) | measured]}))
    assert [r.key for r in load.requests] == ["into", "in", "out of"]
    assert load.notes == ["2 requests left out: of the tool's warm-up or cool-down"]
    assert load.summary.wall_s == 10.0


def test_without_samples_its_metrics_are_the_side(tmp_path: Path) -> None:
    load = only_load(written(tmp_path / "a.json", {"benchmarks": [benchmark({"type_": "synchronous"}, successful=[])]}))
    own = load.summary
    assert (own.requests, own.ok, own.latency_s.median, own.latency_s.p99) == (21, 20, 2.0, 3.0)
    assert own.tpot_s.median == pytest.approx(0.02)


def test_of_a_sample_the_throughput_is_the_files_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"benchmarks": [benchmark({"type_": "synchronous"}, successful=[REQUEST])]})
    assert throughput(path)[0]["output_tok_per_s"] == 43.0
    assert only_load(path).notes == ["guidellm: the file holds 1 of 20 successful requests"]


def test_benchmarks_without_requests_are_left_out_beside_others(tmp_path: Path) -> None:
    empty = {**benchmark({"type_": "synchronous"}), "metrics": {"request_totals": {"successful": 0, "errored": 0}}}
    whole = benchmark({"type_": "concurrent", "streams": 8}, successful=[REQUEST])
    load = only_load(written(tmp_path / "a.json", {"benchmarks": [empty, whole]}))
    assert (load.load, load.notes[0]) == ("c8", "guidellm: 1 of 2 loads hold no requests and are left out")
