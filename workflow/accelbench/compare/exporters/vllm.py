"""A result as `vllm bench serve --save-result --save-detailed` writes it.

Source: vllm 0.11 to 0.14, vllm/benchmarks/serve.py. What only vLLM's benchmark knows (its tokenizer, goodput) is null.
A failed request has zeros and its error, as there.
"""

import datetime
import statistics
from collections.abc import Sequence

import numpy as np

from accelbench.analysis.percentiles import quantile, times
from accelbench.compare.exporters.exported import Exported, gaps_s
from accelbench.store.records import SUCCESS, JsonObject, RequestRecord

_MS = 1000


def vllm_result(exported: Exported) -> JsonObject:
    """Return a round as one result."""
    good, scenario = exported.good, exported.scenario
    kinds: dict[str, Sequence[float | None]] = {
        "ttft": [each.ttft_s for each in good],
        "tpot": [each.tpot_s for each in good],
        "itl": [gap_s for each in good for gap_s in gaps_s(each)],
        "e2el": [each.e2e_s for each in good],
    }
    started_at = exported.record.started_at
    return {
        "date": datetime.datetime.fromisoformat(started_at).strftime("%Y%m%d-%H%M%S") if started_at else None,
        "endpoint_type": "openai-chat",
        "backend": "openai-chat",
        "label": exported.record.name,
        "model_id": exported.model,
        "tokenizer_id": None,
        "num_prompts": len(exported.requests),
        "request_rate": scenario.rate_per_s if exported.is_open else "inf",
        "burstiness": 1.0,
        "max_concurrency": scenario.most_in_flight,
        "duration": exported.wall_s,
        "completed": len(good),
        "failed": len(exported.requests) - len(good),
        "total_input_tokens": exported.prompt_tokens(),
        "total_output_tokens": exported.completion_tokens(),
        "request_throughput": exported.per_s(len(good)),
        "request_goodput": None,
        "output_throughput": exported.per_s(exported.completion_tokens()),
        "total_token_throughput": exported.per_s(exported.prompt_tokens() + exported.completion_tokens()),
        "input_lens": [each.prompt_tokens or 0 for each in exported.requests],
        "output_lens": [each.completion_tokens or 0 for each in exported.requests],
        "ttfts": [_first_s(each) for each in exported.requests],
        "itls": [gaps_s(each) for each in exported.requests],
        "latencies": [each.e2e_s or 0.0 for each in exported.requests],
        "start_times": [each.sent_unix_s or 0.0 for each in exported.requests],
        "generated_texts": [each.answer for each in exported.requests],
        "errors": ["" if each.class_ in SUCCESS else each.error_text or each.class_ for each in exported.requests],
        **{key: value for kind, own in kinds.items() for key, value in _figures(kind, own).items()},
    }


def _first_s(request: RequestRecord) -> float:
    """Return the time to the first token; of an answer that was no stream, to its end, as there."""
    return request.ttft_s or request.e2e_s or 0.0


def _figures(kind: str, values: Sequence[float | None]) -> JsonObject:
    there = [value * _MS for value in values if value is not None]
    if not there:
        return {}
    found = times(there)
    return {
        f"mean_{kind}_ms": found.mean,
        f"median_{kind}_ms": found.median,
        f"std_{kind}_ms": statistics.pstdev(there),
        f"p99_{kind}_ms": quantile(np.asarray(there), 0.99),
    }
