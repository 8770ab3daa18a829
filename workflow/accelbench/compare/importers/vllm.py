"""`vllm bench serve` (and benchmark_serving.py before it): --save-result, with --save-detailed or without.

A result has figures of its own and, with --save-detailed, a list per kind of figure over all requests, times in
seconds. --append-result and people put several into one file. Answers that were not streamed come with their latency
as TTFT.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

from accelbench.compare.importers.imported import (
    Distribution,
    Imported,
    ImportedRequests,
    Importer,
    JsonDocument,
    ToolSummary,
    distribution,
)
from accelbench.foreign import as_count, as_number

_OF_EACH = ("input_lens", "output_lens", "ttfts", "itls", "errors", "generated_texts", "start_times")
_NEEDED = ("ttfts", "itls")
_MS = 0.001
_SAME = 0.001
_NOT_STREAMED = "answers came whole, so that TTFT and TPOT are unknown"


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return a load per result; None when these are no results of this tool."""
    return list(map(serving, documents)) if all(map(is_serving, documents)) else None


def is_serving(document: JsonDocument) -> bool:
    """Tell whether a document is a result of vLLM's or of SGLang's benchmark: they have one ancestor."""
    named = "backend" in document or "endpoint_type" in document
    return set(_NEEDED) <= document.keys() or (
        named and any(key in document for key in (*_NEEDED, "output_throughput", "completed"))
    )


def serving(document: JsonDocument, latency: str = "e2el") -> Imported:
    """Return one result's load; `latency`: how its figures call the E2E latency."""
    summary = _summary(document, latency)
    streamed = not _came_whole(summary)
    requests = ImportedRequests()
    if any(isinstance(document.get(name), list) for name in _NEEDED):
        requests = _requests(document, streamed)
    rate, model = as_number(document.get("request_rate")), document.get("model_id")
    return Imported(
        requests.kept(),
        summary if streamed else replace(summary, ttft_s=Distribution(), tpot_s=Distribution()),
        model=str(model) if model else None,
        concurrency=as_count(document.get("max_concurrency")) or None,
        rate_per_s=rate if rate and rate > 0 else None,
        notes=[*requests.notes(), *([] if streamed else [_NOT_STREAMED])],
    )


def _came_whole(summary: ToolSummary) -> bool:
    """Tell whether the first token of an answer always came with its last."""
    first_s, last_s = summary.ttft_s.mean, summary.latency_s.mean
    several = (summary.completion_tokens or 0) > 1
    return bool(several and first_s and last_s and math.isclose(first_s, last_s, rel_tol=_SAME))


def _requests(document: JsonDocument, streamed: bool) -> ImportedRequests:
    lists = {name: document[name] for name in _OF_EACH if isinstance(document.get(name), list)}
    if missing := [name for name in _NEEDED if name not in lists]:
        raise ValueError(f"it has no list {missing[0]}")
    if len({len(own) for own in lists.values()}) > 1:
        raise ValueError("its lists are of different lengths")
    requests = ImportedRequests()
    rows = zip(*(lists.get(name) or repeat(None, len(lists["ttfts"])) for name in _OF_EACH), strict=True)
    for place, (prompt, completion, ttft_s, gaps_s, error, text, begun_s) in enumerate(rows):
        came = bool(ttft_s) or bool(gaps_s)
        requests.add(
            str(place),
            failure=str(error) if error else None if came else "no answer came",
            begun_s=begun_s,
            e2e_s=_e2e_s(ttft_s, gaps_s),
            ttft_s=ttft_s if streamed else None,
            gaps_s=gaps_s if isinstance(gaps_s, list) else (),
            answer=text,
            prompt_tokens=prompt,
            completion_tokens=completion,
        )
    return requests


def _e2e_s(ttft_s: Any, gaps_s: Any) -> float | None:
    """Return the time to the last token: to the first, and all the gaps after it."""
    parts = [as_number(part) for part in [ttft_s, *(gaps_s if isinstance(gaps_s, list) else [])]]
    return None if None in parts else sum(part for part in parts if part is not None)


def _summary(document: JsonDocument, latency: str) -> ToolSummary:
    ok, failed, asked = (as_count(document.get(name)) for name in ("completed", "failed", "num_prompts"))
    tokens = {name: as_count(document.get(f"total_{name}_tokens")) for name in ("input", "output")}
    total = document.get("total_token_throughput", document.get("total_throughput"))
    return ToolSummary(
        requests=asked if ok is None or failed is None else ok + failed,
        ok=ok,
        wall_s=as_number(document.get("duration")),
        requests_per_s=as_number(document.get("request_throughput")),
        output_tok_per_s=as_number(document.get("output_throughput")),
        total_tok_per_s=as_number(total),
        latency_s=_times(document, latency),
        ttft_s=_times(document, "ttft"),
        tpot_s=_times(document, "tpot"),
        prompt_tokens=tokens["input"] / ok if ok and tokens["input"] is not None else None,
        completion_tokens=tokens["output"] / ok if ok and tokens["output"] is not None else None,
    )


def _times(document: JsonDocument, kind: str) -> Distribution:
    named = {name: f"{name}_{kind}_ms" for name in Distribution.__slots__}
    return distribution(document, _MS, named)


VLLM = Importer("vllm bench serve", _read, keeps_requests="run it with --save-result --save-detailed")
