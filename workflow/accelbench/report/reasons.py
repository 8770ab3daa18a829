"""Why one endpoint may be slower: candidates, and whether this run supports, contradicts or did not test each."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.sides import Side
from accelbench.records import InferRoundRecord, RequestRecord
from accelbench.report.text import listed, number, unique

Finding = Literal["supported", "contradicted", "not tested", "open"]
RISES, FLAT = 1.5, 1.1  # of the system's throughput, from the lowest concurrency to the highest
LARGE, SMALL = 0.5, 0.1  # of the typical latency
COLD, LONG = 1.5, 1.1
AMOUNTS = {"concurrency", "requests", "rounds", "warm_up", "ramp_up_s", "duration_s", "max_tokens", "context_tokens"}


@dataclass(frozen=True, slots=True)
class Reason:
    """One candidate for one endpoint under one load, and the evidence."""

    candidate: str
    endpoint: str
    cell: str
    finding: Finding
    evidence: str


def reasons(
    rows: Sequence[InferenceRow], sides: Sequence[Side], requests: Sequence[RequestRecord],
    rounds: Sequence[InferRoundRecord],
) -> list[Reason]:  # fmt: skip
    """Return all candidates for all endpoints; `requests` with the warm-up."""
    found: list[Reason] = []
    for name in unique(row.endpoint for row in rows):
        own = [row for row in rows if row.endpoint == name and row.successes]
        found += _batching(name, own, rounds)
        found += [reason for side in sides if side.name == name for reason in _fixed_cost(side, rounds)]
        for row in own:
            found += _cold_call(row, [r for r in requests if (r.endpoint, r.cell) == (name, row.cell)])
            found += _prefix_cache(row, rounds)
            found += _long_outputs(row, rows)
    return sorted(found, key=lambda reason: reason.candidate)


def _batching(name: str, rows: Sequence[InferenceRow], rounds: Sequence[InferRoundRecord]) -> Iterator[Reason]:
    """Compare loads that ask the same, but for how many requests are in flight; they may be of several scenarios."""
    candidate = "requests share the hardware (batching)"
    alike: dict[str, list[InferenceRow]] = {}
    for row in rows:
        if row.system_output_tok_per_s and row.concurrency and row.rate_per_s is None:
            alike.setdefault(_what_is_asked(row, rounds), []).append(row)
    for own in alike.values():
        cells = listed([row.cell for row in own])
        speeds = {row.concurrency: row.system_output_tok_per_s.mean for row in own if row.system_output_tok_per_s}
        if len(speeds) < 2:
            yield Reason(candidate, name, cells, "not tested", "only one concurrency was measured")
            continue
        low, high = min(speeds), max(speeds)
        gain = speeds[high] / speeds[low]
        finding: Finding = "supported" if gain >= RISES else "contradicted" if gain < FLAT else "open"
        said = f"{number(speeds[low])} output tok/s at {low} in flight, {number(speeds[high])} at {high}"
        yield Reason(candidate, name, cells, finding, said)


def _what_is_asked(row: InferenceRow, rounds: Sequence[InferRoundRecord]) -> str:
    """Return the settings of a load that its speed depends on, the number in flight apart."""
    given = next((r.scenario for r in rounds if (r.endpoint, r.cell) == (row.endpoint, row.cell) and r.scenario), {})
    settings = {key: value for key, value in given.items() if key not in AMOUNTS}
    return repr((sorted(settings.items()), row.context_tokens, row.max_tokens))


def _fixed_cost(side: Side, rounds: Sequence[InferRoundRecord]) -> Iterator[Reason]:
    candidate = "a fixed cost of each request"
    law, why = side.law
    if law is None or not side.latencies_s:
        yield Reason(candidate, side.name, side.cell, "not tested", why or "no latencies")
        return
    typical = statistics.median(side.latencies_s)
    low, high = law.a_ci or (law.fit.a_s, law.fit.a_s)
    finding: Finding = (
        "open" if law.a_ci is None
        else "supported" if low > LARGE * typical
        else "contradicted" if high < SMALL * typical
        else "open"
    )  # fmt: skip
    interval = f" ({number(low)} to {number(high)})" if law.a_ci else " (no interval)"
    floor = _floor_s(side, rounds)
    known = f"; the network and gateway alone take {number(1000 * floor, 2)} ms" if floor is not None else ""
    yield Reason(
        candidate, side.name, side.cell, finding,
        f"{number(law.fit.a_s)} s{interval} of a median of {number(typical)} s{known}",
    )  # fmt: skip


def _floor_s(side: Side, rounds: Sequence[InferRoundRecord]) -> float | None:
    own = [record for record in rounds if (record.endpoint, record.cell) == (side.name, side.cell)]
    calls = [seconds for record in own for seconds in record.floor_s or []]
    return statistics.median(calls) if calls else None


def _cold_call(row: InferenceRow, requests: Sequence[RequestRecord]) -> Iterator[Reason]:
    candidate = "a cold first call"
    first = [r.e2e_s for r in requests if r.warm_up and r.e2e_s and r.round == 1]
    if not first or row.latency is None:
        yield Reason(candidate, row.endpoint, row.cell, "not tested", "there was no warm-up request that came whole")
        return
    if row.concurrency != 1 or row.rate_per_s is not None:
        said = f"the first took {number(first[0])} s alone; under this load there is none like it to compare with"
        yield Reason(candidate, row.endpoint, row.cell, "not tested", said)
        return
    finding: Finding = "supported" if first[0] >= COLD * row.latency.median else "contradicted"
    said = f"the first took {number(first[0])} s, the median is {number(row.latency.median)} s; it is left out"
    yield Reason(candidate, row.endpoint, row.cell, finding, said)


def _prefix_cache(row: InferenceRow, rounds: Sequence[InferRoundRecord]) -> Iterator[Reason]:
    scenario = next(
        (r.scenario for r in rounds if (r.endpoint, r.cell) == (row.endpoint, row.cell) and r.scenario is not None),
        None,
    )
    if scenario is None:
        return
    unique_starts = scenario.get("nonce", True)
    finding: Finding = "contradicted" if unique_starts else "not tested"
    said = "each prompt began with a code of its own" if unique_starts else "prompts were sent without a nonce"
    yield Reason("a prefix cache", row.endpoint, row.cell, finding, said)


def _long_outputs(row: InferenceRow, rows: Sequence[InferenceRow]) -> Iterator[Reason]:
    others = [r for r in rows if r.cell == row.cell and r.endpoint != row.endpoint and r.completion_tokens]
    if not others or not row.completion_tokens:
        return
    least = min(r.completion_tokens or 0.0 for r in others)
    ratio = row.completion_tokens / least
    finding: Finding = "supported" if ratio >= LONG else "contradicted"
    said = f"{number(row.completion_tokens)} output tokens on average, {number(ratio)} times the least of the others"
    yield Reason("longer answers", row.endpoint, row.cell, finding, said)
