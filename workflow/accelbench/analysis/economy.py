"""What a load yields: goodput at stated limits, cost, energy and node-hours per million tokens, share of a bound."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load import wall_s
from accelbench.analysis.sample import Side
from accelbench.config import DecodeLimit, Endpoint, GoodputLimits
from accelbench.errors import UserError
from accelbench.foreign import complaint, read_yaml
from accelbench.store.paths import found
from accelbench.store.records import JsonObject
from accelbench.store.requests import Column


@dataclass(frozen=True, slots=True)
class Goodput:
    """`met` of `n` requests met all limits; null with the reason if it is unknown."""

    n: int
    met: int | None
    requests_per_s: float | None
    why: str | None = None


def goodput(answers: Mapping[str, Column], n: int, limits: Mapping[str, float], duration_s: float) -> Goodput:
    """Count the answers within the limits (by name: ttft_s, tpot_s, …), of `n` requests.

    A time that an answer doesn't have (the TPOT of a single token) is 0; one that should exist but is unknown is NaN,
    and makes the goodput unknown.
    """
    unknown = sorted(name for name in limits if np.isnan(answers[name]).any())
    if unknown:
        return Goodput(n, None, None, f"not every answer has a known {', '.join(unknown)}")
    met = int(np.logical_and.reduce([answers[name] <= most for name, most in limits.items()]).sum())
    return Goodput(n, met, met / duration_s if duration_s > 0 else None)


def goodput_of(side: Side, limits: Mapping[str, float]) -> Goodput:
    """Count the requests of a side that were answered within the limits (by name: ttft_s, tpot_s, e2e_s)."""
    lasted_s = sum(wall_s(attempts) or 0.0 for attempts in side.by_round.values())
    return goodput(_limited_s(side, limits), len(side.requests), limits, lasted_s)


def within(side: Side, limits: Mapping[str, float]) -> tuple[int, int]:
    """Count the requests of a side that were answered within the limits, and those of which that is not known."""
    times = [(times_s, limits[name]) for name, times_s in _limited_s(side, limits).items()]
    met = int(np.logical_and.reduce([times_s <= most for times_s, most in times]).sum())
    return met, int(np.logical_and.reduce([~(times_s > most) for times_s, most in times]).sum()) - met


def _limited_s(side: Side, limits: Mapping[str, float]) -> dict[str, Column]:
    """Return the times of all answers that have limits; the TPOT of a single token is 0."""
    answered = side.requests.where(~np.isnan(side.requests["e2e_s"]))
    times_s = {name: answered.seconds(name) for name in limits}
    if "tpot_s" in limits:
        times_s["tpot_s"] = np.where(answered["completion_tokens"] == 1, 0.0, times_s["tpot_s"])
    return times_s


HARDWARE = Path("config/hardware.yaml")
SPECULATION = ("acceptance_rate", "draft_n", "accepted_prediction_tokens")  # SambaNova's, llama.cpp's and OpenAI's


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on the decode speed of one request, and where its figures come from."""

    tok_per_s: float
    sources: tuple[str, ...]


def bandwidth_limit(machine: str, count: int, model: str, known: Path = HARDWARE) -> Limit:
    """Return the bound of `count` machines that share a model's weights. Raises UserError if something is unknown."""
    bandwidth = _entry(known, "machines", machine, "memory_gb_per_s")
    read = _entry(known, "models", model, "read_gb_per_token")
    return Limit(
        count * bandwidth["memory_gb_per_s"] / read["read_gb_per_token"], (bandwidth["source"], read["source"])
    )


def device_memory_bytes(machine: str, known: Path = HARDWARE) -> int:
    """Return the memory of one device. Raises UserError if it is not known."""
    return int(_entry(known, "machines", machine, "memory_gib")["memory_gib"] * 2**30)


def speculates(server_timings: JsonObject) -> bool:
    """Tell whether a server reports speculative decoding."""
    return any(server_timings.get(key) for key in SPECULATION)


def _entry(known: Path, section: str, name: str, figure: str) -> dict[str, Any]:
    known = found(known)
    try:
        hardware = read_yaml(known)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{known} can't be read: {error}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{known} can't be read: {complaint(error)}.") from None
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
MILLION, S_PER_HOUR = 1e6, 3600.0


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


def economy(row: InferenceRow, endpoint: Endpoint, limits: GoodputLimits | None, side: Side) -> Economy:
    """Return what one load yields."""
    notes: list[str] = []
    side = side.without(row.left_out)
    good = _goodput(side, limits, notes)
    speed = row.system_output_tok_per_s.mean if row.system_output_tok_per_s else None
    hours = MILLION / speed / S_PER_HOUR if speed else None
    cost = endpoint.cost
    if cost:
        notes.append(f"cost: {cost.source}")
    bound = endpoint.limit if row.concurrency == 1 and row.rate_per_s is None else None
    limit_withheld = bound is not None and _speculates(side)
    limit, decode = None, None
    if limit_withheld:
        notes.append("% of limit withheld: the server reports speculative decoding")
    elif bound:
        limit, decode = _limit(bound, side, notes)
    return Economy(
        endpoint=row.endpoint,
        cell=row.cell,
        goodput_per_s=good[1],
        met=good[0],
        requests=len(side.requests),
        price_per_mtok=cost.price_per_hour * hours if cost and cost.price_per_hour and hours else None,
        currency=cost.currency if cost and cost.price_per_hour else None,
        kwh_per_mtok=cost.power_w * hours / 1000 if cost and cost.power_w and hours else None,
        hours_per_mtok=hours if cost else None,
        decode_tok_per_s=decode,
        limit_tok_per_s=limit,
        limit_withheld=limit_withheld,
        notes=tuple(notes),
    )


def _speculates(side: Side) -> bool:
    texts = (text for table in side.attempts.tables("server_timings") for text in table.column(0).unique().to_pylist())
    return any(speculates(orjson.loads(text)) for text in texts)


def _goodput(side: Side, limits: GoodputLimits | None, notes: list[str]) -> tuple[int | None, float | None]:
    if limits is None:
        return None, None
    stated = {key: value for key, value in limits.model_dump().items() if value is not None}
    notes.append("goodput counts " + " and ".join(f"{LIMITED[key]} ≤ {most:g} s" for key, most in stated.items()))
    found = goodput_of(side, stated)
    if found.why:
        notes.append(f"goodput: {found.why}")
    return found.met, found.requests_per_s


def _limit(bound: DecodeLimit, side: Side, notes: list[str]) -> tuple[float, float | None]:
    """Return the bandwidth limit and the decode speed to compare with it."""
    known = bandwidth_limit(bound.machine, bound.count, bound.model)
    notes += [f"limit: {source}" for source in known.sources]
    law, _ = side.law
    return known.tok_per_s, law.decode_tok_per_s if law else None
