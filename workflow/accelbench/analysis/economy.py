"""What a load yields: goodput at stated limits, cost, energy and node-hours per million tokens, share of a bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load import wall_s
from accelbench.analysis.sample import Side
from accelbench.config import DecodeLimit, Endpoint, GoodputLimits
from accelbench.errors import UserError
from accelbench.foreign_yaml import complaint, read_yaml
from accelbench.store.paths import found
from accelbench.store.records import JsonObject, RequestRecord


@dataclass(frozen=True, slots=True)
class Goodput:
    """`met` of `n` requests met all limits; null with the reason if it is unknown."""

    n: int
    met: int | None
    requests_per_s: float | None
    why: str | None = None


def goodput(
    requests: Sequence[Mapping[str, float | None] | None], limits: Mapping[str, float], duration_s: float
) -> Goodput:
    """Count the requests within the limits (by name: ttft_s, tpot_s, …). A failed request is None.

    A figure that a request doesn't have (the TPOT of a single token) is left out of its mapping; one that should exist
    but is unknown is null, and makes the goodput unknown.
    """
    whole = [request for request in requests if request is not None]
    unknown = sorted({name for request in whole for name in limits if request.get(name, 0.0) is None})
    if unknown:
        return Goodput(len(requests), None, None, f"not every answer has a known {', '.join(unknown)}")
    met = sum(all((request.get(name) or 0.0) <= most for name, most in limits.items()) for request in whole)
    return Goodput(len(requests), met, met / duration_s if duration_s > 0 else None)


HARDWARE = Path("config/hardware.yaml")
SPECULATION = ("acceptance_rate", "draft_n", "accepted_prediction_tokens")  # SambaNova's, llama.cpp's and OpenAI's


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on the decode speed of one request, and where its figures come from."""

    tok_per_s: float
    sources: tuple[str, ...]


def bandwidth_limit(machine: str, count: int, model: str, known: Path = HARDWARE) -> Limit:
    """Return the bound of `count` machines that share a model's weights. Raises UserError if something is unknown."""
    known = found(known)
    try:
        hardware = read_yaml(known)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{known} can't be read: {error}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{known} can't be read: {complaint(error)}.") from None
    bandwidth = _entry(hardware, known, "machines", machine, "memory_gb_per_s")
    read = _entry(hardware, known, "models", model, "read_gb_per_token")
    return Limit(
        count * bandwidth["memory_gb_per_s"] / read["read_gb_per_token"], (bandwidth["source"], read["source"])
    )


def speculates(server_timings: JsonObject) -> bool:
    """Tell whether a server reports speculative decoding."""
    return any(server_timings.get(key) for key in SPECULATION)


def _entry(hardware: Any, known: Path, section: str, name: str, figure: str) -> dict[str, Any]:
    entries = hardware.get(section) if isinstance(hardware, dict) else None
    entry = entries.get(name) if isinstance(entries, dict) else None
    if entry is None:
        there = ", ".join(entries) if isinstance(entries, dict) else "nothing"
        raise UserError(f"{known}: {section} has no {name}; it has {there}. Add it, with its source.")
    value = entry.get(figure) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or not entry.get("source"):
        raise UserError(f"{known}: {section}.{name} must have {figure}, a number above 0, and its source.")
    return dict(entry)


LIMITED = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E"}
MILLION, S_PER_HOUR, J_PER_KWH = 1e6, 3600.0, 3.6e6


@dataclass(frozen=True, slots=True)
class Economy:
    """One endpoint under one load; null if config and records don't say. `notes`: why, and the sources."""

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
    """There is a limit, but the server uses speculative decoding."""
    notes: tuple[str, ...]


def economy(
    row: InferenceRow, endpoint: Endpoint, limits: GoodputLimits | None, attempts: Sequence[RequestRecord]
) -> Economy:
    """Return what one load yields. `attempts`: all of its rounds, warm-up left out."""
    notes: list[str] = []
    attempts = [r for r in attempts if r.round not in row.left_out]
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
        notes.append("% of limit withheld: the server reports speculative decoding")
    elif bound:
        limit, decode = _limit(bound, Side.of(row.endpoint, row.cell, attempts, {}), notes)
    return Economy(
        endpoint=row.endpoint,
        cell=row.cell,
        goodput_per_s=good[1],
        met=good[0],
        requests=sum(r.last_attempt for r in attempts),
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
    attempts: Sequence[RequestRecord], limits: GoodputLimits | None, notes: list[str]
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
    times = {"e2e_s": request.e2e_s, "ttft_s": request.as_streamed(request.ttft_s)}
    return times if request.completion_tokens == 1 else {**times, "tpot_s": request.as_streamed(request.tpot_s)}


def _limit(bound: DecodeLimit, side: Side, notes: list[str]) -> tuple[float, float | None]:
    """Return the bandwidth limit and the decode speed to compare with it."""
    known = bandwidth_limit(bound.machine, bound.count, bound.model)
    notes += [f"limit: {source}" for source in known.sources]
    law, _ = side.law
    return known.tok_per_s, law.decode_tok_per_s if law else None
