"""What a load yields: goodput at stated limits, cost, energy and node-hours per million tokens, share of a bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelbench.analysis.goodput import goodput
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.limits import bandwidth_limit, speculates
from accelbench.analysis.load import as_streamed
from accelbench.analysis.sides import Side
from accelbench.analysis.throughput import wall_s
from accelbench.config import DecodeLimit, Endpoint, Goodput
from accelbench.records import RequestRecord

LIMITED = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E"}
MILLION, S_PER_HOUR, J_PER_KWH = 1e6, 3600.0, 3.6e6


@dataclass(frozen=True, slots=True)
class Economy:
    """One endpoint under one load; null where config or records don't tell. `notes`: why, and the sources."""

    endpoint: str
    cell: str
    goodput_per_s: float | None
    met: int | None
    requests: int
    price_per_mtok: float | None
    currency: str | None
    kwh_per_mtok: float | None
    hours_per_mtok: float | None
    decode_tok_per_s: float | None
    limit_tok_per_s: float | None
    limit_withheld: bool
    """There is a limit, but the server guesses tokens ahead."""
    notes: tuple[str, ...]


def economy(
    row: InferenceRow, endpoint: Endpoint, limits: Goodput | None, attempts: Sequence[RequestRecord]
) -> Economy:
    """Return what one load yields. `attempts`: all of its rounds, warm-up left out."""
    notes: list[str] = []
    good = _goodput(attempts, limits, notes)
    speed = row.system_output_tok_per_s.mean if row.system_output_tok_per_s else None
    hours = MILLION / speed / S_PER_HOUR if speed else None
    cost = endpoint.cost
    if cost:
        notes.append(f"cost: {cost.source}")
    bound = endpoint.limit if row.concurrency == 1 and row.rate_per_s is None else None
    limit_withheld = bound is not None and any(speculates(request.server_timings) for request in attempts)
    limit, decode = None, None
    if limit_withheld:
        notes.append("% of limit withheld: the server reports that it guesses tokens ahead")
    elif bound:
        limit, decode = _limit(bound, Side.of(row.endpoint, row.cell, attempts, {}), notes)
    return Economy(
        endpoint=row.endpoint,
        cell=row.cell,
        goodput_per_s=good[1],
        met=good[0],
        requests=row.requests,
        price_per_mtok=cost.price_per_hour * hours if cost and cost.price_per_hour and hours else None,
        currency=cost.currency if cost and cost.price_per_hour else None,
        kwh_per_mtok=cost.power_w * hours / 1000 if cost and cost.power_w and hours else None,
        hours_per_mtok=hours if cost else None,
        decode_tok_per_s=decode,
        limit_tok_per_s=limit,
        limit_withheld=limit_withheld,
        notes=tuple(notes),
    )


def _goodput(
    attempts: Sequence[RequestRecord], limits: Goodput | None, notes: list[str]
) -> tuple[int | None, float | None]:
    if limits is None:
        return None, None
    stated = {key: value for key, value in limits.model_dump().items() if value is not None}
    notes.append("goodput counts " + " and ".join(f"{LIMITED[key]} ≤ {most:g} s" for key, most in stated.items()))
    asked = [r for r in attempts if r.last_attempt]
    by_round = {r.round for r in attempts}
    lasted_s = sum(wall_s([r for r in attempts if r.round == number]) or 0.0 for number in by_round)
    found = goodput([_times(r) for r in asked], stated, lasted_s)
    if found.why:
        notes.append(f"goodput: {found.why}")
    return found.met, found.requests_per_s


def _times(request: RequestRecord) -> Mapping[str, float | None] | None:
    if request.e2e_s is None:
        return None
    times = {"e2e_s": request.e2e_s, "ttft_s": as_streamed(request, request.ttft_s)}
    return times if request.completion_tokens == 1 else {**times, "tpot_s": as_streamed(request, request.tpot_s)}


def _limit(bound: DecodeLimit, side: Side, notes: list[str]) -> tuple[float, float | None]:
    """Return the bandwidth limit and the decode speed to hold against it."""
    known = bandwidth_limit(bound.machine, bound.count, bound.model)
    notes += [f"limit: {source}" for source in known.sources]
    law, _ = side.law
    return known.tok_per_s, law.decode_tok_per_s if law else None
