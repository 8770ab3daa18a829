"""The server's own figures: Prometheus text of vLLM, SGLang, TGI and llama.cpp, asked in a thread of its own.

A page that is late is read with the next reading: it holds up no other source.
"""

import math
import re
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException, HTTPMessage
from typing import IO

from accelbench.store.records import JsonObject
from accelbench.telemetry.sources.source import Watched

_NAMES = {
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "tgi_batch_current_size",
        "llamacpp:requests_processing",
    ),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "tgi_queue_size", "llamacpp:requests_deferred"),
    "kv_share": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "llamacpp:kv_cache_usage_ratio",
    ),
    "preemptions": ("vllm:num_preemptions_total",),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total", "sglang:cached_tokens_total"),
    "prefix_queries": (
        "vllm:prefix_cache_queries_total",
        "vllm:gpu_prefix_cache_queries_total",
        "sglang:prompt_tokens_total",
    ),
    "prompt_tokens": (
        "vllm:prompt_tokens_total",
        "sglang:prompt_tokens_total",
        "tgi_request_input_length_sum",
        "llamacpp:prompt_tokens_total",
    ),
    "generated_tokens": (
        "vllm:generation_tokens_total",
        "sglang:generation_tokens_total",
        "tgi_request_generated_tokens_sum",
        "llamacpp:tokens_predicted_total",
    ),
    "requests": ("vllm:request_success_total", "sglang:num_requests_total", "tgi_request_success"),
}
"""Our names and the servers': the first that a page has counts. From the servers' sources and documentation."""
SHARES = {"kv_share"}  # of several engines the fullest; all else is their sum
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)", re.MULTILINE)
PAGE_BYTES, PAGE_TIMEOUT_S, WAIT_S = 4 << 20, 2.0, 0.3


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A page elsewhere is not the server's, and must not get its token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class ServerPage:
    """Reads what a server shows of itself; where it shows nothing, it is asked once."""

    shows_power = False

    def __init__(self, watched: Watched) -> None:
        """Ask once whether there is such a page."""
        self._url, self._headers = watched.metrics_url, dict(watched.headers)
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._pool = ThreadPoolExecutor(1)
        self._late: Future[JsonObject] | None = None
        self._why = "no metrics_url" if self._url is None else None
        if self._url is not None:
            first = self._asked()
            self._why = str(first["why"]) if "why" in first else None
        self.interval_s = 1.0 if self._why is None else math.inf

    def facts(self) -> JsonObject:
        """Return where the page is, or why there is none."""
        return {"url": self._url, "why": self._why}

    def read(self) -> JsonObject:
        """Return the figures that the page has; counters since the server was started."""
        if self._why is not None:
            return {}
        asked = self._late or self._pool.submit(self._asked)
        try:
            found, self._late = asked.result(WAIT_S), None
        except TimeoutError:
            found, self._late = {}, asked
        return found

    def _asked(self) -> JsonObject:
        request = urllib.request.Request(str(self._url), headers={"User-Agent": "accelbench", **self._headers})
        try:
            with self._opener.open(request, timeout=PAGE_TIMEOUT_S) as page:
                found = shown_figures(page.read(PAGE_BYTES).decode(errors="replace"))
        except urllib.error.HTTPError as error:
            return {"why": f"status {error.code}"}
        except (OSError, ValueError, HTTPException) as error:
            return {"why": f"no answer ({type(error).__name__})"}
        return found or {"why": "the page holds none of the known figures"}


def shown_figures(page: str) -> dict[str, float]:
    """Return the known figures of a page in Prometheus' text format, by our names."""
    values: dict[str, list[float]] = defaultdict(list)
    for name, value in SAMPLE.findall(page):
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number):
            values[name].append(number)
    found = {}
    for ours, names in _NAMES.items():
        name = next((name for name in names if name in values), None)
        if name is not None:
            found[ours] = max(values[name]) if ours in SHARES else sum(values[name])
    return found
