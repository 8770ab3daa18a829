"""InferenceX's (InferenceMAX's) aggregates: one object per point of its charts, throughput per GPU, times in seconds.

They keep no single requests. Where prefill and decode have GPUs of their own, output tokens are per decoding GPU. The
points of one chart are of many systems: each is an endpoint. Its experiments leave out the division by GPUs.
"""

from collections.abc import Sequence

from accelbench.compare.importers.imported import (
    Distribution,
    Imported,
    Importer,
    JsonDocument,
    ToolSummary,
    distribution,
)
from accelbench.foreign import as_count, as_number

_PER_GPU = "tput_per_gpu"
_SYSTEM = (
    "hw", "hardware", "framework", "model", "precision", "spec_method", "tp", "decode_tp", "ep", "num_prefill_gpu",
    "num_decode_gpu",
)  # fmt: skip


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return a load per point; None when these are no aggregates."""
    points = [_flat(each) for each in documents]
    if not all(map(_is_point, points)):
        return None
    systems = [" ".join(str(p[key]) for key in _SYSTEM if p.get(key) not in (None, "none", "")) for p in points]
    several = len(set(systems)) > 1
    return [_load(p, system if several else None) for p, system in zip(points, systems, strict=True)]


def _is_point(point: JsonDocument) -> bool:
    return f"output_{_PER_GPU}" in point or _PER_GPU in point or {"median_ttft", "output_throughput"} <= point.keys()


def _flat(document: JsonDocument) -> JsonDocument:
    metrics = document.get("metrics")
    return {**document, **metrics} if isinstance(metrics, dict) else document


def _load(point: JsonDocument, system: str | None) -> Imported:
    apart = bool(point.get("disagg"))
    prefill, decode = (as_count(point.get(f"num_{kind}_gpu")) for kind in ("prefill", "decode"))
    gpus = as_count(point.get("num_gpus")) or as_count(point.get("tp")) or decode
    if apart:
        gpus = (prefill or 0) + (decode or 0) or None
    of_all = as_number(point.get("output_throughput"))
    summary = ToolSummary(
        requests=as_count(point.get("num_prompts")),
        ok=as_count(point.get("completed")),
        wall_s=as_number(point.get("duration")),
        requests_per_s=as_number(point.get("request_throughput")),
        output_tok_per_s=_all(point, f"output_{_PER_GPU}", decode if apart else gpus) if of_all is None else of_all,
        total_tok_per_s=_all(point, _PER_GPU, gpus),
        latency_s=_times(point, "e2el"),
        ttft_s=_times(point, "ttft"),
        tpot_s=_times(point, "tpot"),
        prompt_tokens=as_number(point.get("isl")),
        completion_tokens=as_number(point.get("osl")),
    )
    slots = as_count(point.get("conc", point.get("max_concurrency"))) or None
    notes = [f"throughput of {gpus} GPUs together"] if gpus and of_all is None else []
    return Imported([], summary, endpoint=system, concurrency=slots, notes=notes)


def _all(point: JsonDocument, name: str, gpus: int | None) -> float | None:
    each = as_number(point.get(name))
    return each * gpus if each is not None and gpus else None


def _times(point: JsonDocument, kind: str) -> Distribution:
    return distribution(point, names={name: f"{name}_{kind}" for name in Distribution.__slots__})


INFERENCEX = Importer(
    "InferenceX's aggregate", _read, keeps_requests="use the results of the benchmark that it was made from"
)
