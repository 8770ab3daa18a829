"""Evidence: what the requests of one endpoint under one load show in addition to the figures of its row.

The law's fixed cost a consists of the network, the server, and the rest. The floor is the duration of timed health
calls. The time outside the server is, for a stream, the time to the first token minus the server's own, and otherwise
the whole latency minus the server's own; the remainder of a is the server's: the prompt, without the share of the first
token, which b counts.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.latency_law import Law, LawFigures
from accelbench.analysis.sample import Side
from accelbench.store.records import InferRoundRecord, RequestRecord


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


def evidence_of(rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord]) -> list[Evidence]:
    """Return the evidence of each endpoint and load, cells together; `requests` with the warm-up."""
    attempts: dict[tuple[str, str], list[RequestRecord]] = {}
    planned: dict[tuple[str, str], list[InferRoundRecord]] = {}
    for cell in dict.fromkeys(record.cell for record in rounds):
        for record in (r for r in rounds if r.cell == cell):
            attempts.setdefault((record.endpoint, cell), [])
            planned.setdefault((record.endpoint, cell), []).append(record)
    for request in requests:
        attempts[request.endpoint, request.cell].append(request)
    return [_evidence(key, planned[key], own) for key, own in attempts.items()]


def _evidence(key: tuple[str, str], rounds: Sequence[InferRoundRecord], attempts: Sequence[RequestRecord]) -> Evidence:
    busy = {r.round for r in rounds if disturbances(r.host_activity)}
    side = Side.of(*key, attempts, {}, busy)
    disturbed = bool(side.rounds) and side.rounds <= side.busy
    left_out = set() if disturbed else busy
    health_s = [floor_s for r in rounds if r.round not in left_out for floor_s in r.floor_s or []]
    law, why = side.quiet.law
    latencies_s = side.quiet.latencies_s
    good = [r for r in attempts if r.is_success]
    asked = {(r.round, r.key): r.passage for r in attempts if not r.warm_up and r.passage is not None}
    first = (r.e2e_s for r in attempts if r.warm_up and r.e2e_s and r.round == 1)
    return Evidence(
        endpoint=side.name,
        cell=side.cell,
        attempts=len(attempts),
        warm_ups=sum(r.warm_up for r in attempts),
        first_warm_up_s=next(first, None),
        passages=len(set(asked.values())),
        repeats_passages=len(set(asked.values())) < len(asked),
        most_prompt_tokens=max((r.prompt_tokens for r in good if r.prompt_tokens), default=None),
        most_output_tokens=max((r.completion_tokens for r in good if r.completion_tokens), default=None),
        median_latency_s=statistics.median(latencies_s) if latencies_s else None,
        floor_s=statistics.median(health_s) if health_s else None,
        law=law.figures if law else None,
        why_no_law=why,
        fixed_cost=fixed_cost(side.quiet, law, health_s) if law else None,
        failed=_failed(side.requests),
        disturbed=disturbed,
    )


def _failed(requests: Sequence[RequestRecord]) -> tuple[FailedRequests, ...]:
    failed = [r for r in requests if not r.is_success]
    by_class = {kind: [r for r in failed if r.class_ == kind] for kind in dict.fromkeys(r.class_ for r in failed)}
    return tuple(
        FailedRequests(kind, len(own), next((r.error_text for r in own if r.error_text), None))
        for kind, own in by_class.items()
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
    if law.fit.method == "stream":
        times = [_streamed_s(r) for r in side.whole if r.tpot_s is not None]  # those that gave the law
    else:
        times = [r.overhead_s for r in side.whole]
    known = [seconds for seconds in times if seconds is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(times) else None


def _streamed_s(request: RequestRecord) -> float | None:
    ttft_s = request.as_streamed(request.ttft_s)
    return None if ttft_s is None or request.server_ttft_s is None else ttft_s - request.server_ttft_s
