"""Why one endpoint may be slower: what differs beside the endpoint itself, and what this run says of each candidate."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.sample import Side
from accelbench.report.text import Labels, listed, number, unique
from accelbench.store.records import InferRoundRecord, RequestRecord

LOCAL = {"127.0.0.1", "localhost", "::1"}


def confounds(rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord], labels: Labels) -> list[str]:
    """Return what can be told of all measured endpoints, as parts of a sentence."""
    done = [record for record in rounds if record.state == "measured"]
    return [*_gateways(done, labels), *_efforts(done, labels), *_changes(done, labels), *_by_cell(done, requests)]


def _gateways(done: Sequence[InferRoundRecord], labels: Labels) -> Iterator[str]:
    hosts = {
        record.endpoint: host
        for record in done
        if (host := urlsplit(str((record.facts or {}).get("base_url") or "")).hostname)
    }
    distant = {name: host for name, host in hosts.items() if host not in LOCAL}
    if len(set(hosts.values())) > 1 and distant:
        named = listed([f"{labels.get(name, name)} through {host}" for name, host in hosts.items()])
        yield f"different gateways ({named})"


def _efforts(done: Sequence[InferRoundRecord], labels: Labels) -> Iterator[str]:
    efforts = {r.endpoint: (r.request_example or {}).get("reasoning_effort") for r in done if r.request_example}
    if len(set(efforts.values())) > 1:
        named = listed([f"{labels.get(n, n)} {effort or 'its own'}" for n, effort in efforts.items()])
        yield f"different reasoning efforts ({named})"


def _changes(done: Sequence[InferRoundRecord], labels: Labels) -> Iterator[str]:
    """Yield what endpoints refused of the planned request, and were asked instead."""
    changed = {r.endpoint: str(said) for r in done if (said := (r.facts or {}).get("request_changes"))}
    if changed:
        named = listed([f"{labels.get(name, name)} was asked {said}" for name, said in changed.items()])
        yield f"requests other than planned ({named})"


def _by_cell(done: Sequence[InferRoundRecord], requests: Sequence[RequestRecord]) -> Iterator[str]:
    cells = unique(record.cell for record in done)
    asked = {cell: [r for r in requests if r.cell == cell] for cell in cells}
    loads = {cell: next((r.scenario for r in done if r.cell == cell and r.scenario is not None), {}) for cell in cells}
    yield from _where("no warm-up", [c for c in cells if asked[c] and not any(r.warm_up for r in asked[c])], cells)
    yield from _where("one passage", [c for c in cells if len(_passages(asked[c])) == 1], cells)
    repeated = [c for c in cells if _repeats(asked[c]) and loads[c].get("nonce") is False]
    yield from _where("passages asked again without a nonce, so that a prefix cache may have answered", repeated, cells)
    hot = {c: float(loads[c].get("temperature", 0.0)) for c in cells}
    for temperature in sorted({t for t in hot.values() if t > 0}):
        where = [c for c in cells if hot[c] == temperature]
        yield from _where(f"answers drawn at temperature {number(temperature, 2)}, once each", where, cells)


def _where(what: str, found: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    if found:
        yield what if len(found) == len(cells) else f"{what} ({listed(list(found))})"


def _passages(requests: Sequence[RequestRecord]) -> set[Any]:
    return {r.passage for r in requests if not r.warm_up and r.passage is not None}


def _repeats(requests: Sequence[RequestRecord]) -> bool:
    first = {(r.endpoint, r.round, r.key): r.passage for r in requests if not r.warm_up and r.passage is not None}
    by_endpoint = {name: [p for (e, _, _), p in first.items() if e == name] for name, _, _ in first}
    return any(len(set(passages)) < len(passages) for passages in by_endpoint.values())


ReasonState = Literal["supported", "contradicted", "not tested", "open"]
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
    finding: ReasonState
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
        finding: ReasonState = "supported" if gain >= RISES else "contradicted" if gain < FLAT else "open"
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
    finding: ReasonState = (
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
    finding: ReasonState = "supported" if first[0] >= COLD * row.latency.median else "contradicted"
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
    finding: ReasonState = "contradicted" if unique_starts else "not tested"
    said = "each prompt began with a code of its own" if unique_starts else "prompts were sent without a nonce"
    yield Reason("a prefix cache", row.endpoint, row.cell, finding, said)


def _long_outputs(row: InferenceRow, rows: Sequence[InferenceRow]) -> Iterator[Reason]:
    others = [r for r in rows if r.cell == row.cell and r.endpoint != row.endpoint and r.completion_tokens]
    if not others or not row.completion_tokens:
        return
    least = min(r.completion_tokens or 0.0 for r in others)
    ratio = row.completion_tokens / least
    finding: ReasonState = "supported" if ratio >= LONG else "contradicted"
    said = f"{number(row.completion_tokens)} output tokens on average, {number(ratio)} times the least of the others"
    yield Reason("longer answers", row.endpoint, row.cell, finding, said)
