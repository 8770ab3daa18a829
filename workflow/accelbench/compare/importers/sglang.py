"""SGLang's benchmarks: bench_serving (a line of JSON per run, with --output-details or without), and bench_one_batch.

Its files hold Infinity where no rate was asked for. A batch is measured once: figures of one latency.
"""

from collections.abc import Sequence

from accelbench.compare.importers.imported import Distribution, Imported, Importer, JsonDocument, ToolSummary
from accelbench.compare.importers.vllm import is_serving, serving
from accelbench.foreign import as_count, as_number

_OWN = {"input_throughput", "total_output_tokens_retokenized", "mean_e2e_latency_ms", "accept_length", "output_details"}
_VLLM_OWN = {"burstiness", "tokenizer_id", "model_id", "total_token_throughput", "endpoint_type"}


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return a load per line; None when these are no results of this tool."""
    if all(map(_is_serving, documents)):
        return [serving(each, "e2e_latency") for each in documents]
    return [_batch(each) for each in documents] if all(map(_is_batch, documents)) else None


def _is_serving(document: JsonDocument) -> bool:
    named = str(document.get("backend")).startswith("sglang") and not _VLLM_OWN & document.keys()
    return is_serving(document) and (named or bool(_OWN & document.keys()))


def _is_batch(document: JsonDocument) -> bool:
    return {"batch_size", "overall_throughput"} <= document.keys() or {
        "batch_size", "input_len", "output_len", "output_throughput",
    } <= document.keys()  # fmt: skip


def _batch(document: JsonDocument) -> Imported:
    size = as_count(document.get("batch_size"))
    prompt, completion = (as_count(document.get(f"{kind}_len")) for kind in ("input", "output"))
    lasted_s = as_number(document.get("latency", document.get("total_latency")))
    ttft_s = as_number(document.get("last_ttft", document.get("prefill_latency")))
    output = size * completion / lasted_s if size and completion and lasted_s else None
    summary = ToolSummary(
        requests=size,
        ok=size,
        wall_s=lasted_s,
        requests_per_s=size / lasted_s if size and lasted_s else None,
        output_tok_per_s=output,
        latency_s=Distribution(mean=lasted_s),
        ttft_s=Distribution(mean=ttft_s),
        prompt_tokens=prompt,
        completion_tokens=completion,
    )
    return Imported([], summary, concurrency=size, notes=["bench_one_batch: one batch, measured once"])


SGLANG = Importer("sglang bench_serving", _read, keeps_requests="run bench_serving with --output-details")
