"""The endpoints in figures: one row per endpoint and cell, and each endpoint's ratio to the baseline.

Latency is E2E: from the moment the request was written to the last token. Successes carry latencies; failures
stay in the denominator of the success rate.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accelbench.analysis.statistics import (
    Description,
    Estimate,
    Observation,
    describe,
    geometric_mean,
    paired_ratio,
)
from accelbench.analysis.throughput import busy_speed
from accelbench.records import SUCCESS, InferRoundRecord, RequestRecord


@dataclass(frozen=True, slots=True)
class InferenceRow:
    """One endpoint under one load, over its measured rounds. Warm-up requests are left out everywhere.

    `total_tok_per_s` and `output_tok_per_s` divide the tokens (prompt + completion; completion) of all
    successes by the sum of their latencies: the speed one request sees. `system_output_tok_per_s` is the speed
    of the endpoint as a whole while all slots were busy. Scores are means over the answers that were delivered
    whole, an empty one counting as wrong. `ratio_to_baseline` is null for `baseline` itself, and without a pair.
    """

    endpoint: str
    cell: str
    concurrency: int
    rounds: int
    rounds_planned: int
    requests: int
    successes: int
    latency: Description | None
    typical_latency: Estimate | None
    ttft: Description | None
    tpot: Description | None
    total_tok_per_s: float | None
    output_tok_per_s: float | None
    system_output_tok_per_s: float | None
    prompt_tokens: float | None
    completion_tokens: float | None
    exact_match: float | None
    f1: float | None
    contains_gold: float | None
    failures: str | None
    missing: str | None
    ratio_to_baseline: Estimate | None
    baseline: str | None = None


def summarise(
    rounds: Sequence[InferRoundRecord],
    requests: Sequence[RequestRecord],
    concurrency: dict[str, int],
    baseline: str | None,
) -> list[InferenceRow]:
    """Return one row per endpoint and cell, cells together, in the order of the config."""
    asked = [r for r in requests if not r.warm_up and r.last_attempt]
    cells = dict.fromkeys(record.cell for record in rounds)
    rows = []
    for cell in cells:
        endpoints = list(dict.fromkeys(r.endpoint for r in rounds if r.cell == cell))
        against = baseline if baseline in endpoints else endpoints[0]
        base = _observations(r for r in asked if (r.endpoint, r.cell) == (against, cell))
        for endpoint in endpoints:
            own = [r for r in asked if (r.endpoint, r.cell) == (endpoint, cell)]
            planned = [r for r in rounds if (r.endpoint, r.cell) == (endpoint, cell)]
            ratio = None if endpoint == against else paired_ratio(_observations(own), base)
            rows.append(_row(planned, own, concurrency[cell], ratio, against))
    return rows


def _row(
    planned: Sequence[InferRoundRecord],
    asked: Sequence[RequestRecord],
    slots: int,
    ratio: Estimate | None,
    baseline: str,
) -> InferenceRow:
    good = [request for request in asked if request.class_ in SUCCESS]
    latencies = [request.e2e_s for request in good if request.e2e_s is not None]
    classes = sorted({r.class_ for r in asked} - set(SUCCESS))
    failures = [f"{sum(r.class_ == kind for r in asked)} {kind}" for kind in classes]
    missing = [f"round {r.round} {r.state}: {r.why}" for r in planned if r.state != "measured"]
    prompt, completion = _tokens(good, "prompt_tokens"), _tokens(good, "completion_tokens")
    return InferenceRow(
        endpoint=planned[0].endpoint,
        cell=planned[0].cell,
        concurrency=slots,
        rounds=len(planned) - len(missing),
        rounds_planned=len(planned),
        requests=len(asked),
        successes=len(good),
        latency=describe(latencies),
        typical_latency=geometric_mean(list(_observations(asked).values())),
        ttft=describe(request.ttft_s for request in good),
        tpot=describe(request.tpot_s for request in good),
        total_tok_per_s=_speed(prompt + completion, latencies) if prompt and completion else None,
        output_tok_per_s=_speed(completion, latencies),
        system_output_tok_per_s=_system_speed(asked, slots),
        prompt_tokens=_mean(prompt),
        completion_tokens=_mean(completion),
        exact_match=_mean(r.exact_match for r in asked),
        f1=_mean(r.f1 for r in asked),
        contains_gold=_mean(r.contains_gold for r in asked),
        failures=", ".join(failures) or None,
        missing="; ".join(missing) or None,
        ratio_to_baseline=ratio,
        baseline=baseline,
    )


def _observations(requests: Iterable[RequestRecord]) -> dict[tuple[object, object], Observation]:
    """Return the latency of each success, by round and prompt."""
    return {
        (r.round, r.key): Observation(r.e2e_s, r.passage or r.key, r.round)
        for r in requests
        if r.class_ in SUCCESS and r.e2e_s
    }


def _tokens(requests: Iterable[RequestRecord], kind: str) -> list[float]:
    """Return the token counts of all requests; none at all if one endpoint answer lacks its count."""
    counts = [getattr(request, kind) for request in requests]
    return [] if None in counts else counts


def _speed(tokens: Sequence[float], latencies: Sequence[float]) -> float | None:
    return sum(tokens) / sum(latencies) if tokens and sum(latencies) > 0 else None


def _system_speed(requests: Sequence[RequestRecord], slots: int) -> float | None:
    """Return the mean over rounds of output tokens per second while all slots were busy."""
    speeds = []
    for round_no in sorted({request.round for request in requests}):
        speed = busy_speed([r for r in requests if r.round == round_no], slots)
        if speed is not None:
            speeds.append(speed)
    return statistics.fmean(speeds) if speeds else None


def _mean(values: Iterable[float | None]) -> float | None:
    there = [float(value) for value in values if value is not None]
    return statistics.fmean(there) if there else None
