"""A BenchmarkReport of llm-d, version 0.2.1: the load, and what its requests amount to.

Source: llm-d/llm-d-benchmark 8bc9f1d, llmdbenchmark/analysis/benchmark_report/br_v0_2_1_json_schema.json. Percentiles
that so few requests don't support are left out.
"""

import statistics
from collections.abc import Iterable

from accelbench.analysis.percentiles import times
from accelbench.compare.exporters.exported import Exported, gaps_s
from accelbench.plan import specs
from accelbench.plan.measurement import versions
from accelbench.store.records import JsonObject

_VERSION = "0.2.1"
_PERCENTILES = ("p50", "p90", "p95", "p99")


def benchmark_report(exported: Exported) -> JsonObject:
    """Return a round as one report."""
    record, good = exported.record, exported.good
    failed = len(exported.requests) - len(good)
    spec = specs.canonical({"round": record.name, "started_at": record.started_at, "load": record.scenario})
    begun, ended = record.busy[0] if record.busy else (record.started_at, None)
    lengths = [each.prompt_tokens for each in good], [each.completion_tokens for each in good]
    each_token = [each.e2e_s / each.completion_tokens for each in good if each.e2e_s and each.completion_tokens]
    tokens = exported.prompt_tokens(), exported.completion_tokens()
    latency = {
        "time_to_first_token": _statistics((each.ttft_s for each in good), "s"),
        "normalized_time_per_output_token": _statistics(each_token, "s/token"),
        "time_per_output_token": _statistics((each.tpot_s for each in good), "s/token"),
        "inter_token_latency": _statistics((gap_s for each in good for gap_s in gaps_s(each)), "s/token"),
        "request_latency": _statistics((each.e2e_s for each in good), "s"),
    }
    return {
        "version": _VERSION,
        "run": {
            "uid": specs.digest(spec),
            "time": {"start": begun, "end": ended, "duration": f"PT{exported.wall_s:.6f}S"},
            "description": record.name,
        },
        "scenario": {
            "stack": [
                {
                    "metadata": {"label": record.endpoint, "cfg_id": specs.digest(specs.canonical(record.facts))},
                    "standardized": {"kind": "generic", "tool": "openai-api", "tool_version": "unknown"},
                    "native": {"config": record.facts},
                }
            ],
            "load": _load(exported, *lengths),
        },
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": {
                        "total": len(exported.requests),
                        "failures": failed,
                        "input_length": _statistics(lengths[0], "count"),
                        "output_length": _statistics(lengths[1], "count"),
                    },
                    "latency": latency,
                    "throughput": {
                        "input_token_rate": _rate(exported, tokens[0], "tokens/s"),
                        "output_token_rate": _rate(exported, tokens[1], "tokens/s"),
                        "total_token_rate": _rate(exported, sum(tokens), "tokens/s"),
                        "request_rate": _rate(exported, len(good), "queries/s"),
                    },
                }
            }
        },
    }


def _load(exported: Exported, prompts: list[int | None], answers: list[int | None]) -> JsonObject:
    settings, scenario = exported.record.scenario, exported.scenario
    return {
        "metadata": {"cfg_id": specs.digest(specs.canonical(settings)), "description": exported.record.cell},
        "standardized": {
            "tool": "accelbench",
            "tool_version": versions("accelbench")["accelbench"] or "unknown",
            "source": "sampled",
            "input_seq_len": _lengths(prompts) or {"distribution": "other", "value": 0},
            "output_seq_len": _lengths(answers),
            "rate_qps": scenario.rate_per_s if exported.is_open else None,
            "concurrency": None if exported.is_open else scenario.most_in_flight,
        },
        "native": {"config": settings},
    }


def _lengths(counts: list[int | None]) -> JsonObject | None:
    known = [count for count in counts if count]
    if not known:
        return None
    return {"distribution": "other", "value": statistics.fmean(known), "min": min(known), "max": max(known)}


def _statistics(values: Iterable[float | None], units: str) -> JsonObject | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    found = times(there)
    known = {name: getattr(found, name) for name in ("mean", "min", "max", *_PERCENTILES)}
    return {"units": units, "stddev": statistics.pstdev(there)} | {k: v for k, v in known.items() if v is not None}


def _rate(exported: Exported, amount: float, units: str) -> JsonObject:
    return {"units": units, "mean": exported.per_s(amount)}
