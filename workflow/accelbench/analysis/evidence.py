"""Evidence: what the requests of one endpoint under one load show in addition to the figures of its row.

The law's fixed cost a consists of the network, the server, and the rest. The floor is the duration of timed health
calls. The time outside the server is, for a stream, the time to the first token minus the server's own, and otherwise
the whole latency minus the server's own; the remainder of a is the server's: the prompt, without the share of the first
token, which b counts.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from accelbench.analysis.intervals import distinct
from accelbench.analysis.latency_law import Law, LawFigures
from accelbench.analysis.sample import Side
from accelbench.store.records import InferRoundRecord
from accelbench.store.requests import Column, Requests


@dataclass(frozen=True, slots=True)
class FailedRequests:
    """The requests of a load that failed in one way."""

    class_: str
    count: int
    first_error: str | None


@dataclass(frozen=True, slots=True)
class FixedCost:
    """Parts of `total_s`, in seconds; null where they were not measured.

    `rest_s` is what neither the floor nor the server accounts for (queue, the gateway's work per request, and the
    server itself if it doesn't report its times). `why_no_split` says why there are no parts, or none of the server.
    """

    total_s: float
    floor_s: float | None = None
    server_s: float | None = None
    rest_s: float | None = None
    why_no_split: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One endpoint under one load. Null: its requests don't show it."""

    endpoint: str
    cell: str
    attempts: int
    warm_ups: int
    first_warm_up_s: float | None
    """E2E of the first completed warm-up request of the first round."""
    passages: int
    repeats_passages: bool
    """Whether a passage was asked again, in the same round or in another."""
    most_prompt_tokens: int | None
    most_output_tokens: int | None
    median_latency_s: float | None
    floor_s: float | None
    law: LawFigures | None
    why_no_law: str | None
    fixed_cost: FixedCost | None
    failed: tuple[FailedRequests, ...]
    disturbed: bool = False
    """Whether the host was disturbed in all rounds: else times are of the others alone."""


def evidence_of(rounds: Sequence[InferRoundRecord], sides: Mapping[tuple[str, str], Side]) -> list[Evidence]:
    """Return the evidence of each endpoint and load."""
    planned: dict[tuple[str, str], list[InferRoundRecord]] = defaultdict(list)
    for record in rounds:
        planned[record.endpoint, record.cell].append(record)
    return [_evidence(side, planned[key]) for key, side in sides.items()]


def _evidence(side: Side, rounds: Sequence[InferRoundRecord]) -> Evidence:
    disturbed = bool(side.rounds) and side.rounds <= side.busy
    left_out = frozenset() if disturbed else side.busy
    health_s = [floor_s for r in rounds if r.round not in left_out for floor_s in r.floor_s or []]
    law, why = side.quiet.law
    attempts, latencies_s = side.recorded, side.quiet.latencies_s
    good = attempts.where(attempts["is_success"])
    known = side.requests["passage"][pd.notna(side.requests["passage"])]
    warm_ups = attempts.where(attempts["warm_up"])
    first_s = warm_ups["e2e_s"][(warm_ups["round"] == 1) & (warm_ups["e2e_s"] > 0)]
    passages = distinct(known)
    return Evidence(
        endpoint=side.name,
        cell=side.cell,
        attempts=len(attempts),
        warm_ups=len(warm_ups),
        first_warm_up_s=float(first_s[0]) if len(first_s) else None,
        passages=passages,
        repeats_passages=passages < len(known),
        most_prompt_tokens=_most(good["prompt_tokens"]),
        most_output_tokens=_most(good["completion_tokens"]),
        median_latency_s=float(np.median(latencies_s)) if len(latencies_s) else None,
        floor_s=statistics.median(health_s) if health_s else None,
        law=law.figures if law else None,
        why_no_law=why,
        fixed_cost=fixed_cost(side.quiet, law, health_s) if law else None,
        failed=_failed(side.requests),
        disturbed=disturbed,
    )


def _most(tokens: Column) -> int | None:
    return int(np.nanmax(tokens, initial=0)) or None


def _failed(requests: Requests) -> tuple[FailedRequests, ...]:
    by_class = requests.where(~requests["is_success"]).by("class_")
    return tuple(
        FailedRequests(kind, len(own), next(filter(None, own["error_text"]), None)) for kind, own in by_class.items()
    )


def fixed_cost(side: Side, law: Law, health_s: Sequence[float]) -> FixedCost:
    """Split a. `health_s`: what the load's health calls took."""
    total_s = law.fit.a_s
    floor_s = statistics.median(health_s) if health_s else None
    outside_s = _outside_s(side, law)
    server_s = None if outside_s is None else total_s - outside_s
    if floor_s is None:
        return FixedCost(total_s, None, server_s, None, "no health calls were timed")
    rest_s = (total_s if outside_s is None else outside_s) - floor_s
    if rest_s < 0 or (server_s is not None and server_s < 0):
        return FixedCost(total_s, floor_s, None, None, "the parts exceed the fixed cost")
    why = "the server does not report its times, so the rest includes them" if outside_s is None else None
    return FixedCost(total_s, floor_s, server_s, rest_s, why)


def _outside_s(side: Side, law: Law) -> float | None:
    """Return the mean time that the server's clock does not account for; None if an answer lacks its times."""
    whole = side.whole
    if law.fit.method == "stream":  # of those that gave the law
        outside_s = (whole.seconds("ttft_s") - whole["server_ttft_s"])[~np.isnan(whole["tpot_s"])]
    else:
        outside_s = whole["overhead_s"]
    return float(outside_s.mean()) if len(outside_s) and not np.isnan(outside_s).any() else None
