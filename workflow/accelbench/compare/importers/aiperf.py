"""NVIDIA's aiperf: profile_export.jsonl (a line per request), and the summary profile_export_aiperf.json.

Each figure has its unit beside it. Requests of the warm-up phase are kept as such; cancelled ones are left out. Early
versions (0.2) call phase and start otherwise.
"""

from collections.abc import Sequence
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

_CANCELLED = "RequestCancellationError"
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return the requests, or a load per summary; None when this is no file of this tool."""
    if all(isinstance(d.get("metadata"), dict) and isinstance(d.get("metrics"), dict) for d in documents):
        return [_load(documents)]
    return [_summed_up(each) for each in documents] if all(map(_is_summary, documents)) else None


def _load(lines: Sequence[JsonDocument]) -> Imported:
    requests = ImportedRequests()
    for place, line in enumerate(lines):
        metadata, metrics, error = line["metadata"], line["metrics"], line.get("error")
        if metadata.get("was_cancelled") or (isinstance(error, dict) and error.get("type") == _CANCELLED):
            requests.leave_out("cancelled by the tool")
            continue
        code = as_count(error.get("code")) if isinstance(error, dict) else None
        requests.add(
            str(metadata.get("x_request_id") or place),
            failure=_text(error),
            http_status=code,
            begun_s=_from_ns(metadata.get("request_start_ns", metadata.get("timestamp_ns"))),
            ended_s=_from_ns(metadata.get("request_end_ns")),
            e2e_s=_time(metrics.get("request_latency")),
            ttft_s=_time(metrics.get("time_to_first_token")),
            ttfat_s=_time(metrics.get("time_to_first_output_token")),
            prompt_tokens=_value(metrics.get("input_sequence_length")),
            completion_tokens=_value(metrics.get("output_sequence_length")),
            reasoning_tokens=_value(metrics.get("reasoning_token_count")),
            warm_up="warmup" in (metadata.get("benchmark_phase"), metadata.get("credit_phase")),
        )
    return Imported(requests.kept(), notes=requests.notes())


def _is_summary(document: JsonDocument) -> bool:
    latency = _records(document).get("request_latency")
    return isinstance(latency, dict) and "avg" in latency


def _summed_up(document: JsonDocument) -> Imported:
    figures, settings = _records(document), document.get("input_config")
    ok, failed = (as_count(_average(figures.get(name))) for name in ("request_count", "error_request_count"))
    load = _phase(settings if isinstance(settings, dict) else {})
    summary = ToolSummary(
        requests=None if ok is None else ok + (failed or 0),
        ok=ok,
        wall_s=_average(figures.get("benchmark_duration")),
        requests_per_s=_average(figures.get("request_throughput")),
        output_tok_per_s=_average(figures.get("output_token_throughput")),
        total_tok_per_s=_average(figures.get("total_token_throughput")),
        latency_s=_times(figures.get("request_latency")),
        ttft_s=_times(figures.get("time_to_first_token")),
        tpot_s=_times(figures.get("inter_token_latency")),
        prompt_tokens=_average(figures.get("input_sequence_length")),
        completion_tokens=_average(figures.get("output_sequence_length")),
    )
    rate = as_number(load.get("rate", load.get("request_rate")))
    return Imported([], summary, concurrency=as_count(load.get("concurrency")) or None, rate_per_s=rate or None)


def _records(document: JsonDocument) -> JsonDocument:
    """Return where the figures stand: at the top, in early versions under `records`."""
    records = document.get("records")
    return records if isinstance(records, dict) else document


def _phase(settings: JsonDocument) -> JsonDocument:
    """Return what the load was asked to be: the last phase that counts, in early versions `loadgen`."""
    phases = settings.get("phases")
    counting = [p for p in phases if isinstance(p, dict) and not p.get("exclude_from_results")] if phases else []
    load = counting[-1] if counting else settings.get("loadgen")
    return load if isinstance(load, dict) else {}


def _times(figures: Any) -> Distribution:
    unit = figures.get("unit") if isinstance(figures, dict) else None
    return distribution(figures, _SECONDS.get(str(unit), _SECONDS["ms"]), {"mean": "avg", "median": "p50"})


def _average(figures: Any) -> float | None:
    return as_number(figures.get("avg")) if isinstance(figures, dict) else None


def _value(metric: Any) -> Any:
    return metric.get("value") if isinstance(metric, dict) else metric


def _time(metric: Any) -> float | None:
    unit = metric.get("unit") if isinstance(metric, dict) else None
    value = as_number(_value(metric))
    return None if value is None else value * _SECONDS.get(str(unit), _SECONDS["ms"])


def _from_ns(moment: Any) -> float | None:
    """Return a moment in seconds: in nanoseconds the clock's own figures are beyond what is taken for a number."""
    return as_number(moment / 1e9) if isinstance(moment, int | float) and abs(moment) < 1e24 else None


def _text(error: Any) -> str | None:
    if not error:
        return None
    return str(error.get("message") or error.get("type") or error) if isinstance(error, dict) else str(error)


AIPERF = Importer(
    "aiperf",
    _read,
    keeps_requests="use profile_export.jsonl, which is next to the summary (--export-level records)",
)
