"""llmperf's *_individual_responses.json and *_summary.json, and those of SambaNova's benchmarking kit, made from it.

Only llmperf's mean_output_throughput is that of the system; the kit's own of this name is a mean over requests.
Its responses hold no moments (SambaNova's: the time of day), and its inter_token_latency_s has the first token in it:
TPOT is derived. SambaNova's client times are taken, not its server's.
"""

from collections.abc import Sequence
from datetime import time
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

_LATENCIES = ("end_to_end_latency_s", "client_end_to_end_latency_s")
_SPEEDS = ("client_total_output_throughput", "mean_output_throughput_token_per_s")
_DAY_S = 86400.0


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return the responses, or a load per summary; None when this is no file of this tool."""
    if all(any(name in d for name in _LATENCIES) or "error_code" in d for d in documents):
        return [_load(documents)]
    return [_summed_up(each) for each in documents] if all(map(_is_summary, documents)) else None


def _load(responses: Sequence[JsonDocument]) -> Imported:
    requests, before_s = ImportedRequests(), None
    for place, response in enumerate(responses):
        code, said = response.get("error_code"), response.get("error_msg")
        begun_s = _moment_s(response.get("start_time"), before_s)
        before_s = begun_s if begun_s is not None else before_s
        requests.add(
            str(place),
            failure=None if code is None and not said else str(said or f"error {code}"),
            http_status=as_count(code),
            begun_s=begun_s,
            e2e_s=_either(response, "end_to_end_latency_s"),
            ttft_s=_either(response, "ttft_s"),
            prompt_tokens=response.get("number_input_tokens"),
            completion_tokens=response.get("number_output_tokens"),
        )
    return Imported(requests.kept(), notes=requests.notes())


def _is_summary(document: JsonDocument) -> bool:
    return any(f"results_{name}_mean" in document for name in _LATENCIES)


def _summed_up(document: JsonDocument) -> Imported:
    asked, failed = (as_count(document.get(f"results_{name}")) for name in ("num_requests_started", "number_errors"))
    per_min = as_number(document.get("results_num_completed_requests_per_min"))
    speeds = [as_number(document.get(f"results_{name}")) for name in _SPEEDS]
    summary = ToolSummary(
        requests=asked,
        ok=None if asked is None else asked - (failed or 0),
        requests_per_s=None if per_min is None else per_min / 60,
        output_tok_per_s=next((speed for speed in speeds if speed is not None), None),
        latency_s=_times(document, "end_to_end_latency_s"),
        ttft_s=_times(document, "ttft_s"),
        prompt_tokens=as_number(document.get("results_number_input_tokens_mean")),
        completion_tokens=as_number(document.get("results_number_output_tokens_mean")),
    )
    slots = as_count(document.get("num_concurrent_requests", document.get("num_concurrent_workers"))) or None
    model, rate = document.get("model"), as_number(document.get("qps"))
    return Imported([], summary, model=str(model) if model else None, concurrency=slots, rate_per_s=rate or None)


def _either(response: JsonDocument, name: str) -> Any:
    """Return a figure of llmperf's, or SambaNova's client's."""
    return response.get(f"client_{name}", response.get(name))


def _times(document: JsonDocument, name: str) -> Distribution:
    start = f"results_client_{name}" if f"results_client_{name}_mean" in document else f"results_{name}"
    plain = {own: f"{start}_{own}" for own in ("mean", "min", "max")}
    percentiles = {"median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
    return distribution(document, names=plain | {own: f"{start}_quantiles_{p}" for own, p in percentiles.items()})


def _moment_s(clock: Any, before_s: float | None) -> float | None:
    """Return a time of day as seconds; one that is far before the last is of the next day."""
    try:
        at = time.fromisoformat(clock)
    except (TypeError, ValueError):
        return None
    at_s = at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6
    days = 0.0 if before_s is None else round((before_s - at_s) / _DAY_S)
    return at_s + days * _DAY_S


LLMPERF = Importer("llmperf", _read, keeps_requests="use *_individual_responses.json, which is next to the summary")
