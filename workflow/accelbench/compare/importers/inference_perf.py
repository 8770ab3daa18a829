"""Kubernetes' inference-perf: per_request_lifecycle_metrics.json, and stage_*/summary_lifecycle_metrics.json."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from accelbench.compare.importers.imported import (
    Imported,
    ImportedRequests,
    Importer,
    JsonDocument,
    ToolSummary,
    distribution,
)
from accelbench.foreign import as_count, as_number


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return the requests, or a load per summary; None when this is no file of this tool."""
    if all({"start_time", "end_time", "info"} <= d.keys() for d in documents):
        return [_load(documents)]
    if all("successes" in d and "load_summary" in d for d in documents):
        return [_summed_up(each) for each in documents]
    return None


def _load(metrics: Sequence[JsonDocument]) -> Imported:
    requests = ImportedRequests()
    for place, metric in enumerate(metrics):
        info, error, begun_s = _part(metric, "info"), metric.get("error"), as_number(metric.get("start_time"))
        answered = {**info, **_part(info, "response_metrics")}
        asked = _part(_part(info, "request_metrics"), "text")
        tokens_s = [at for each in answered.get("output_token_times") or [] if (at := as_number(each)) is not None]
        requests.add(
            str(place),
            failure=_text(error),
            begun_s=begun_s,
            ended_s=metric.get("end_time"),
            ttft_s=tokens_s[0] - begun_s if tokens_s and begun_s is not None else None,
            gaps_s=[after - before for before, after in pairwise(tokens_s)],
            prompt_tokens=info.get("input_tokens", asked.get("input_tokens")),
            completion_tokens=answered.get("output_tokens"),
        )
    return Imported(requests.kept(), notes=requests.notes())


def _summed_up(document: JsonDocument) -> Imported:
    good, load = _part(document, "successes"), _part(document, "load_summary")
    latency, speed = _part(good, "latency"), _part(good, "throughput")
    summary = ToolSummary(
        requests=as_count(load.get("count")),
        ok=as_count(good.get("count")),
        requests_per_s=as_number(speed.get("requests_per_sec")),
        output_tok_per_s=as_number(speed.get("output_tokens_per_sec")),
        total_tok_per_s=as_number(speed.get("total_tokens_per_sec")),
        latency_s=distribution(latency.get("request_latency")),
        ttft_s=distribution(latency.get("time_to_first_token")),
        tpot_s=distribution(latency.get("time_per_output_token")),
        prompt_tokens=distribution(good.get("prompt_len")).mean,
        completion_tokens=distribution(good.get("output_len")).mean,
    )
    slots = as_count(load.get("concurrency"))
    rate = as_number(load.get("requested_rate"))
    return Imported([], summary, concurrency=slots or None, rate_per_s=rate if rate and not slots else None)


def _part(whole: JsonDocument, name: str) -> JsonDocument:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _text(error: Any) -> str | None:
    if not error:
        return None
    return str(error.get("error_msg") or error.get("error_type") or error) if isinstance(error, dict) else str(error)


INFERENCE_PERF = Importer("inference-perf", _read, keeps_requests="set report.request_lifecycle.per_request: true")
