"""InferenceX's (InferenceMAX's) aggregate: one object per point of its charts, throughput per GPU, times in seconds.

It keeps no single requests. Where prefill and decode have GPUs of their own, output tokens are per decoding GPU.
"""

from collections.abc import Sequence

from accelbench.compare.importers.imported import Distribution, Document, Imported, Summary, distribution
from accelbench.foreign_json import count, number

NAME = "InferenceX's aggregate"
KEEPS_REQUESTS = "take the results of the benchmark that it was made from"
PER_GPU = "tput_per_gpu"


def read(documents: Sequence[Document]) -> list[Imported] | None:
    """Return a load per point; None when these are no aggregates."""
    points = [_flat(each) for each in documents]
    return [_load(each) for each in points] if all(f"output_{PER_GPU}" in p or PER_GPU in p for p in points) else None


def _flat(document: Document) -> Document:
    metrics = document.get("metrics")
    return {**document, **metrics} if isinstance(metrics, dict) else document


def _load(point: Document) -> Imported:
    apart = bool(point.get("disagg"))
    prefill, decode = (count(point.get(f"num_{kind}_gpu")) for kind in ("prefill", "decode"))
    gpus = count(point.get("num_gpus")) or count(point.get("tp"))
    if apart:
        gpus = (prefill or 0) + (decode or 0) or None
    summary = Summary(
        output_tok_per_s=_all(point, f"output_{PER_GPU}", decode if apart else gpus),
        total_tok_per_s=_all(point, PER_GPU, gpus),
        latency_s=_times(point, "e2el"),
        ttft_s=_times(point, "ttft"),
        tpot_s=_times(point, "tpot"),
        prompt_tokens=number(point.get("isl")),
        completion_tokens=number(point.get("osl")),
    )
    return Imported([], summary, concurrency=count(point.get("conc")) or None, notes=[f"of {gpus or 'unknown'} GPUs"])


def _all(point: Document, name: str, gpus: int | None) -> float | None:
    each = number(point.get(name))
    return each * gpus if each is not None and gpus else None


def _times(point: Document, kind: str) -> Distribution:
    return distribution(point, names={name: f"{name}_{kind}" for name in Distribution.__slots__})
