"""Servers' own figures: the names that each server gives them, faults, and whose token goes where."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from accelbench.telemetry.sources import server as module
from accelbench.telemetry.sources.server import ServerPage, shown_figures
from accelbench.telemetry.sources.source import Watched

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b{}"} 3.0
vllm:num_requests_running{engine="1",model_name="a b{}"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prefix_cache_queries_total{engine="0"} 4096.0
vllm:prefix_cache_hits_total{engine="0"} 1024.0
vllm:generation_tokens_total{engine="0"} 1.2e+04
vllm:request_success_total{finished_reason="stop"} 5.0
vllm:request_success_total{finished_reason="length"} 2.0
vllm:time_to_first_token_seconds_bucket{le="+Inf"} NaN
"""


def test_the_engines_of_a_server_are_summed_and_the_fullest_cache_counts() -> None:
    assert shown_figures(VLLM) == {
        "running": 4.0,
        "waiting": 2.0,
        "kv_share": 0.75,
        "prefix_hits": 1024.0,
        "prefix_queries": 4096.0,
        "generated_tokens": 12000.0,
        "requests": 7.0,
    }


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("sglang:num_queue_reqs 4\nsglang:token_usage 0.5\n", {"waiting": 4.0, "kv_share": 0.5}),
        ("tgi_queue_size 1\ntgi_request_generated_tokens_sum 90\n", {"waiting": 1.0, "generated_tokens": 90.0}),
        (
            "llamacpp:requests_deferred 1\nllamacpp:tokens_predicted_total 7\n",
            {"waiting": 1.0, "generated_tokens": 7.0},
        ),
        ("vllm:gpu_cache_usage_perc 0.1\n", {"kv_share": 0.1}),
        ("vllm:num_requests_running\nvllm:num_requests_waiting x\n<html>", {}),
    ],
)
def test_each_server_has_names_of_its_own(page: str, found: dict[str, float]) -> None:
    assert shown_figures(page) == found


class Page(BaseHTTPRequestHandler):
    status, body, location, hold = 200, VLLM.encode(), "", threading.Event()
    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        self.hold.wait(10)
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def page(**shown: object) -> Iterator[tuple[str, type[Page]]]:
    hold = threading.Event()
    hold.set()
    kind = type("Shown", (Page,), {"tokens": [], "hold": hold, **shown})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics", kind
        hold.set()
        server.shutdown()


def test_it_is_read_with_the_endpoints_credentials() -> None:
    with page() as (url, shown):
        source = ServerPage(Watched(metrics_url=url, headers={"Authorization": "Bearer t"}))
        assert source.facts() == {"url": url, "why": None} and source.interval_s == 1.0
        assert source.read()["waiting"] == 2.0
        assert shown.tokens == ["Bearer t", "Bearer t"]


@pytest.mark.parametrize(
    ("shown", "why"), [({"status": 404}, "status 404"), ({"body": b"<html>"}, "none of the known figures")]
)
def test_a_server_that_shows_nothing_is_asked_once(shown: dict[str, object], why: str) -> None:
    with page(**shown) as (url, kind):
        source = ServerPage(Watched(metrics_url=url))
        assert why in str(source.facts()["why"]) and source.read() == {}
        assert source.interval_s == float("inf") and len(kind.tokens) == 1


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with page() as (elsewhere, other), page(status=302, location=elsewhere) as (url, _):
        source = ServerPage(Watched(metrics_url=url, headers={"Authorization": "Bearer t"}))
        assert source.facts()["why"] == "status 302" and other.tokens == []


def test_a_page_that_is_late_holds_nothing_up_and_is_read_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    with page() as (url, shown):
        source = ServerPage(Watched(metrics_url=url))
        shown.hold.clear()
        assert source.read() == {}
        shown.hold.set()
        monkeypatch.setattr(module, "WAIT_S", 5.0)
        assert source.read()["waiting"] == 2.0 and len(shown.tokens) == 2


def test_no_address_and_no_answer_are_said() -> None:
    assert ServerPage(Watched()).facts()["why"] == "no metrics_url"
    assert "no answer" in str(ServerPage(Watched(metrics_url="http://127.0.0.1:1/metrics")).facts()["why"])
