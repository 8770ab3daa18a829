"""Small result files in the shapes of other tools, of this project's own writing."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers import read_results
from accelbench.compare.importers.imported import Imported


def written(path: Path, *documents: Any) -> Path:
    """Write one JSON document, or one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(document) for document in documents) + "\n")
    return path


def only_load(path: Path) -> Imported:
    """Return the one load that a file holds."""
    (load,) = read_results(path).loads
    return load


def throughput(*paths: Path) -> list[dict[str, Any]]:
    """Return the speeds that `compare` prints of each load."""
    return [asdict(each) for each in compare_endpoints(paths).document.throughput]


def vllm(**changed: Any) -> dict[str, Any]:
    """Return a detailed result of `vllm bench serve`: 4 requests, all at once, 400 tokens in 40 s."""
    result = {
        "backend": "vllm", "request_rate": "inf", "max_concurrency": None, "duration": 40.0, "completed": 4,
        "failed": 0, "output_throughput": 10.0, "request_throughput": 0.1, "total_token_throughput": 11.0,
        "mean_ttft_ms": 8750.0, "median_ttft_ms": 10000.0, "p99_ttft_ms": 10000.0, "input_lens": [10, 10, 10, 10],
        "output_lens": [10, 130, 130, 130], "ttfts": [5.0, 10.0, 10.0, 10.0], "itls": [[5.0], [30.0], [30.0], [30.0]],
        "start_times": [1000.0] * 4, "errors": [""] * 4, "generated_texts": ["a", "b", "c", "d"],
    }  # fmt: skip
    return {key: value for key, value in (result | changed).items() if value != "left out"}


DETAILS = dict.fromkeys(
    ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors", "generated_texts"), "left out"
)
"""What `vllm` changes to have a summary alone."""


def steady(slots: int, requests: int, tokens: int = 20, latency_s: float = 2.0, **changed: Any) -> dict[str, Any]:
    """Return a detailed result of vLLM's under a closed loop: so many slots, each request as long as the others."""
    turns = [place // slots for place in range(requests)]
    lasted_s = latency_s * (turns[-1] + 1)
    return vllm(
        max_concurrency=slots, duration=lasted_s, completed=requests, output_throughput=requests * tokens / lasted_s,
        request_throughput=requests / lasted_s, input_lens=[10] * requests, output_lens=[tokens] * requests,
        ttfts=[0.1] * requests, itls=[[(latency_s - 0.1) / (tokens - 1)] * (tokens - 1)] * requests,
        start_times=[1000.0 + latency_s * turn for turn in turns], errors=[""] * requests,
        generated_texts=["x"] * requests, **changed,
    )  # fmt: skip
