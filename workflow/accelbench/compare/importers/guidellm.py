"""guidellm's benchmarks.json, of 0.3 to 0.8: benchmarks[].requests.{successful, errored, incomplete}, each a load.

Requests that its time limit cut off (incomplete) say nothing of the endpoint, and those that lie wholly in its warm-up
or cool-down are not in its figures: both are left out. Where it kept a sample of the requests, or none, the figures
over all stand in benchmarks[].metrics.
"""

import math
from collections.abc import Iterable, Sequence
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

_MS = 0.001
_TOP = {"type_", "metadata", "args", "benchmarks"}
"""The keys of a whole file: files of other tools have a list `benchmarks`, too."""


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return a load per benchmark; None when this is no file of this tool."""
    if not all(isinstance(d.get("benchmarks"), list) for d in documents):
        return None
    benchmarks = [each for document in documents for each in _benchmarks(document)]
    is_empty = all(d.keys() <= _TOP and not d["benchmarks"] for d in documents)
    return [_load(each, place) for place, each in enumerate(benchmarks, 1)] if benchmarks or is_empty else None


def _benchmarks(document: JsonDocument) -> list[JsonDocument]:
    benchmarks = document.get("benchmarks")
    if not isinstance(benchmarks, list) or not all(isinstance(each, dict) for each in benchmarks):
        return []
    return [each for each in benchmarks if "requests" in each or "metrics" in each]


def _load(benchmark: JsonDocument, place: int) -> Imported:
    kinds, requests = _part(benchmark, "requests"), ImportedRequests()
    measured_s = _measured_s(benchmark)
    for entry in _entries(kinds.get("successful")):
        _add(requests, entry, None, measured_s)
    for entry in _entries(kinds.get("errored")):
        _add(requests, entry, str(entry.get("error") or _part(entry, "info").get("error") or "errored"), measured_s)
    for _ in _entries(kinds.get("incomplete")):
        requests.leave_out("cut off by the time limit")
    settings = _part(benchmark, "config") or _part(benchmark, "args")
    strategy = _part(settings, "strategy")
    kind = strategy.get("type_", strategy.get("kind"))
    slots = 1 if kind == "synchronous" else as_count(strategy.get("streams")) if kind == "concurrent" else None
    rate = as_number(strategy.get("rate")) if kind in ("constant", "poisson", "async") else None
    model = _part(settings, "backend").get("model")
    return Imported(
        requests.kept(),
        _summary(benchmark),
        model=str(model) if model else None,
        cell=None if slots or rate else f"benchmark-{place}",
        concurrency=slots or None,
        rate_per_s=rate or None,
        notes=requests.notes(),
    )


def _add(requests: ImportedRequests, entry: JsonDocument, failure: str | None, measured_s: tuple[float, float]) -> None:
    timings = _part(_part(entry, "info"), "timings")
    begun_s = _first(entry.get("request_start_time"), entry.get("start_time"), timings.get("request_start"))
    ended_s = _first(entry.get("request_end_time"), entry.get("end_time"), timings.get("request_end"))
    if (as_number(ended_s) or math.inf) < measured_s[0] or (as_number(begun_s) or 0.0) > measured_s[1]:
        requests.leave_out("of the tool's warm-up or cool-down")
        return
    requests.add(
        str(entry.get("request_id") or ""),
        failure=failure,
        begun_s=begun_s,
        ended_s=ended_s,
        e2e_s=entry.get("request_latency"),
        ttft_s=_seconds(entry.get("time_to_first_token_ms")),
        tpot_s=_seconds(entry.get("inter_token_latency_ms")),
        answer=entry.get("output"),
        prompt_tokens=_first(entry.get("prompt_tokens"), _part(entry, "input_metrics").get("total_tokens")),
        completion_tokens=_first(entry.get("output_tokens"), _part(entry, "output_metrics").get("total_tokens")),
    )


def _summary(benchmark: JsonDocument) -> ToolSummary:
    metrics, scheduled = _part(benchmark, "metrics"), _part(benchmark, "scheduler_metrics")
    totals = _part(metrics, "request_totals") or _part(scheduled, "requests_made")
    totals = totals or _part(_part(benchmark, "run_stats"), "requests_made") or _part(benchmark, "request_totals")
    ok, errored = as_count(totals.get("successful")), as_count(totals.get("errored"))
    begun_s, ended_s = _measured_s(benchmark)
    measured_s = ended_s - begun_s if math.isfinite(ended_s - begun_s) else None
    return ToolSummary(
        requests=None if ok is None else ok + (errored or 0),
        ok=ok,
        wall_s=_first(measured_s, as_number(benchmark.get("duration"))),
        requests_per_s=_of_successes(metrics, "requests_per_second").mean,
        output_tok_per_s=_of_successes(metrics, "output_tokens_per_second").mean,
        total_tok_per_s=_of_successes(metrics, "tokens_per_second").mean,
        latency_s=_of_successes(metrics, "request_latency"),
        ttft_s=_of_successes(metrics, "time_to_first_token_ms", _MS),
        tpot_s=_of_successes(metrics, "inter_token_latency_ms", _MS),
        prompt_tokens=_of_successes(metrics, "prompt_token_count").mean,
        completion_tokens=_of_successes(metrics, "output_token_count").mean,
    )


def _measured_s(benchmark: JsonDocument) -> tuple[float, float]:
    """Return from when to when requests count, on its clock; without end where the file does not say."""
    scheduled = _part(benchmark, "scheduler_metrics")
    begun_s, ended_s = (as_number(scheduled.get(f"measure_{end}_time")) for end in ("start", "end"))
    return (-math.inf if begun_s is None else begun_s), (math.inf if ended_s is None else ended_s)


def _of_successes(metrics: JsonDocument, name: str, unit_s: float = 1.0) -> Any:
    figures = _part(_part(metrics, name), "successful")
    return distribution({**figures, **_part(figures, "percentiles")}, unit_s)


def _part(whole: JsonDocument, name: str) -> JsonDocument:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _entries(part: Any) -> Iterable[JsonDocument]:
    return [entry for entry in part if isinstance(entry, dict)] if isinstance(part, list) else []


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _seconds(milliseconds: Any) -> float | None:
    found = as_number(milliseconds)
    return None if found is None else found * _MS


GUIDELLM = Importer(
    "guidellm",
    _read,
    keeps_requests="leave out its sample_size (before 0.7: --sample-requests, before 0.4: --output-sampling)",
)
