"""The client's error from what it reports and what the server wrote."""

from dataclasses import replace

import pytest

from accelbench.inference.calibration import client_error, truth
from accelbench.store.records import RequestRecord

REQUEST = RequestRecord(
    endpoint="truth", cell="truth", round=1, key="0", attempt=1, last_attempt=True, session=1, warm_up=False,
    article=None, passage=None, class_="truncated_length", http_status=200, error_text=None, dequeued_unix_s=0.0,
    sent_unix_s=0.0, end_unix_s=1.0, ttft_s=0.2, ttfat_s=None, tpot_s=None, e2e_s=1.0, events=None, prompt_tokens=1,
    completion_tokens=3, finish_reason="length", answer="", reasoning="", golds=[], exact_match=None, f1=None,
    contains_gold=None, server_timings={},
)  # fmt: skip


def request(reported_s: list[float], arrived_s: float, written_s: list[float]) -> RequestRecord:
    answer = f"{arrived_s}:" + " ".join(str(instant) for instant in written_s) + " "
    return replace(REQUEST, event_times_s=reported_s, answer=answer)


def test_a_text_says_when_the_request_arrived_and_when_each_token_was_written() -> None:
    assert truth("10.0000000:10.2000000 10.2200000 ") == (10.0, [10.2, 10.22])


def test_the_error_is_the_reported_minus_the_true_over_the_true() -> None:
    found = client_error([request([0.21, 0.24, 0.25], 10.0, [10.20, 10.22, 10.24])] * 2)
    assert found["ttft_s"]["p50"] == {
        "truth_ms": pytest.approx(200), "client_ms": 210, "error_ms": pytest.approx(10), "error_share": 0.05,
    }  # fmt: skip
    assert found["itl_s"]["p50"]["error_share"] == pytest.approx(0)  # 30 and 10 ms for 20 and 20
    assert found["itl_s"]["worst_ms"] in (pytest.approx(10), pytest.approx(-10))
    assert found["e2e_s"]["p50"]["error_ms"] == pytest.approx(10)
    assert (found["ttft_s"]["n"], found["itl_s"]["n"], found["e2e_s"]["n"]) == (2, 4, 2)


def test_a_percentile_that_n_does_not_support_is_not_told() -> None:
    exact = request([0.2, 0.22], 10.0, [10.2, 10.22])
    assert client_error([exact] * 99)["ttft_s"]["p99"] is None
    assert client_error([exact] * 100)["ttft_s"]["p99"]["error_ms"] == pytest.approx(0)


def test_failed_requests_are_counted_and_carry_no_error() -> None:
    cut = replace(REQUEST, class_="stream_cut", event_times_s=[0.2], answer="10.0:")
    found = client_error([request([0.2], 10.0, [10.2]), cut])
    assert (found["requests"], found["failed"], found["ttft_s"]["n"]) == (2, 1, 1)


def test_without_any_success_there_is_no_error_to_tell() -> None:
    found = client_error([replace(REQUEST, class_="connection")])
    assert found["e2e_s"] == {"n": 0, "p50": None, "p99": None, "worst_ms": None}
