"""Individual responses and summaries of llmperf, and of SambaNova's kit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.compare.importers import read_folder

from .results import only_load, throughput, written


def response(**changed: Any) -> dict[str, Any]:
    return {
        "error_code": None, "error_msg": "", "inter_token_latency_s": 0.011, "ttft_s": 0.25,
        "end_to_end_latency_s": 1.9, "number_output_tokens": 150, "number_input_tokens": 550, **changed,
    }  # fmt: skip


def test_a_refused_request_is_kept_with_its_status(tmp_path: Path) -> None:
    refused = response(
        error_code=429, error_msg="rate limited", ttft_s=0, end_to_end_latency_s=0, number_output_tokens=0
    )
    good, bad = only_load(written(tmp_path / "a.json", [response(), refused])).requests
    assert (good.ttft_s, good.e2e_s, good.completion_tokens, good.class_) == (0.25, 1.9, 150, "ok")
    assert good.tpot_s == pytest.approx(1.65 / 149)
    assert (bad.class_, bad.http_status, bad.e2e_s) == ("http_4xx", 429, None)


def test_sambanovas_times_of_day_go_on_after_midnight(tmp_path: Path) -> None:
    def sambanova(start: str) -> dict[str, Any]:
        times = {"client_ttft_s": 0.1, "client_end_to_end_latency_s": 2.0, "server_ttft_s": 0.05}
        return {"error_code": None, "error_msg": "", "start_time": start, "number_output_tokens": 100, **times}

    path = written(tmp_path / "a.json", [sambanova("23:59:59.000000"), sambanova("00:00:01.000000")])
    assert [(r.ttft_s, r.e2e_s) for r in only_load(path).requests] == [(0.1, 2.0), (0.1, 2.0)]
    assert throughput(path)[0]["output_tok_per_s"] == pytest.approx(50.0)


@pytest.mark.parametrize("kind", ["", "client_"])
def test_a_summary_is_a_side(tmp_path: Path, kind: str) -> None:
    summary = {
        f"results_{kind}end_to_end_latency_s_mean": 0.8, f"results_{kind}end_to_end_latency_s_quantiles_p50": 0.7,
        f"results_{kind}ttft_s_quantiles_p50": 0.2, f"results_{kind}ttft_s_mean": 0.2,
        "results_mean_output_throughput_token_per_s": 441.8, "num_concurrent_requests": 5,
        "results_num_requests_started": 150, "results_number_errors": 3, "results_acceptance_rate_mean": float("nan"),
    }  # fmt: skip
    load = only_load(written(tmp_path / "a_summary.json", summary))
    own = load.summary
    assert (load.load, own.requests, own.ok, own.output_tok_per_s) == ("c5", 150, 147, 441.8)
    assert (own.latency_s.median, own.ttft_s.median) == (0.7, 0.2)


def test_the_kits_mean_over_requests_is_not_the_speed_of_the_system(tmp_path: Path) -> None:
    summary = {
        "results_client_end_to_end_latency_s_mean": 0.36, "results_num_requests_started": 40,
        "results_number_errors": 0, "results_client_total_output_throughput": 255.0,
        "results_mean_output_throughput_token_per_s": 100.7,
    }  # fmt: skip
    assert only_load(written(tmp_path / "a_summary.json", summary)).summary.output_tok_per_s == 255.0


def test_summaries_beside_their_responses_tell_the_concurrency(tmp_path: Path) -> None:
    def results(slots: int, latency_s: float) -> Iterator[tuple[str, Any]]:
        yield "summary", {
            "results_client_end_to_end_latency_s_mean": latency_s, "results_client_ttft_s_mean": 0.25,
            "results_num_requests_started": 3, "results_number_errors": 1, "num_concurrent_requests": slots,
        }  # fmt: skip
        times = {"client_end_to_end_latency_s": latency_s, "client_ttft_s": 0.25}
        failed = {"error_code": "Error while running", "error_msg": "502 Server Error: Bad Gateway for url: x"}
        yield "individual_responses", [response(**times), response(**times), failed]

    for slots, latency_s in ((1, 1.0), (8, 4.0)):
        for name, document in results(slots, latency_s):
            written(tmp_path / f"run{slots}_{name}.json", document)
    loads = read_folder(tmp_path)
    assert [(load.load, [r.e2e_s for r in load.requests]) for load in loads] == [
        ("c1", [1.0, 1.0, None]), ("c8", [4.0, 4.0, None]),
    ]  # fmt: skip
    assert loads[0].requests[-1].class_ == "http_5xx" and not loads[0].notes
