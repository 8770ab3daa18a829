"""Why one endpoint may be slower: what else differs between endpoints, and what this run shows about each candidate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from accelbench.analysis.evidence import Evidence
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate, Proportion
from accelbench.foreign import as_number
from accelbench.report.text import Labels, interval, listed, number, unique
from accelbench.store.records import InferRoundRecord, ServerFacts

LOCAL = {"127.0.0.1", "localhost", "::1"}


def confounds(rounds: Sequence[InferRoundRecord], evidence: Sequence[Evidence], labels: Labels) -> list[str]:
    """Return the confounds of all measured endpoints, as parts of a sentence."""
    done = [record for record in rounds if record.state == "measured"]
    return [*_gateways(done, labels), *_efforts(done, labels), *_changes(done, labels), *_by_cell(done, evidence)]


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
        named = listed([f"{labels.get(n, n)} {effort or 'default'}" for n, effort in efforts.items()])
        yield f"different reasoning efforts ({named})"


def _changes(done: Sequence[InferRoundRecord], labels: Labels) -> Iterator[str]:
    """Yield how requests were changed for endpoints that refused parts of them."""
    changed = {r.endpoint: str(said) for r in done if (said := (r.facts or {}).get("request_changes"))}
    if changed:
        named = listed([f"{labels.get(name, name)} was asked {said}" for name, said in changed.items()])
        yield f"requests other than planned ({named})"


def _by_cell(done: Sequence[InferRoundRecord], evidence: Sequence[Evidence]) -> Iterator[str]:
    cells = unique(record.cell for record in done)
    asked = {cell: [each for each in evidence if each.cell == cell and each.attempts] for cell in cells}
    loads = {cell: next((r.scenario for r in done if r.cell == cell and r.scenario is not None), {}) for cell in cells}
    cold = [c for c in cells if asked[c] and not any(each.warm_ups for each in asked[c])]
    yield from _where("no warm-up", cold, cells)
    yield from _where(
        "only one passage", [c for c in cells if max((e.passages for e in asked[c]), default=0) == 1], cells
    )
    again = [c for c in cells if any(each.repeats_passages for each in asked[c])]
    repeated = [c for c in again if loads[c].get("nonce") is False]
    yield from _where(
        "passages repeated without a random prefix, so that a prefix cache may have helped", repeated, cells
    )
    hot = {c: float(as_number(loads[c].get("temperature")) or 0.0) for c in cells}
    for temperature in sorted({t for t in hot.values() if t > 0}):
        where = [c for c in cells if hot[c] == temperature]
        yield from _where(f"answers sampled at temperature {number(temperature, 2)}, once each", where, cells)


def _where(what: str, found: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    if found:
        yield what if len(found) == len(cells) else f"{what} ({listed(list(found))})"


ServerFigure = Literal[
    "most_waiting",
    "most_kv_share",
    "preemptions",
    "prefix_hit_share",
    "our_cached_share",
    "generated_tokens",
    "our_tokens",
]
ReasonState = Literal["supported", "ruled out", "not tested", "open"]
BATCHING, PREFIX_CACHE = "requests share the hardware (batching)", "a prefix cache"
COLD_CALL, LONGER_ANSWERS = "a cold first call", "longer answers"
SERVER_LIMITS = ("a queue in the server", "preempted requests", "a full KV cache")
RISES, FLAT = 1.5, 1.1  # of the system's throughput, from the lowest concurrency to the highest
LARGE, SMALL = 0.5, 0.1  # of the typical latency
COLD, LONG = 1.5, 1.1
NO_GAIN = 0.95  # of TTFT: a reused prefix that surely saves less than 5 %
EXPERIMENT = "why-"
"""How the names of loads, endpoints and platforms begin that only serve to decide reasons."""
HIT = 0.05  # of the prompt tokens: less is the template that all prompts share
FULL, ROOMY = 0.9, 0.5  # of a KV cache
OTHERS_TOKENS = 0.02  # of what a server generated: less may be tokens of answers that were given up
COUNTS = frozenset({"requests", "rounds", "warm_up", "ramp_up_s", "duration_s"})
AMOUNTS = COUNTS | {"concurrency", "max_tokens", "context_tokens"}


@dataclass(frozen=True, slots=True)
class Reason:
    """One candidate for one endpoint under one load, and the evidence."""

    candidate: str
    endpoint: str
    cell: str
    finding: ReasonState
    evidence: str


def reasons(
    rows: Sequence[InferenceRow], evidence: Sequence[Evidence], rounds: Sequence[InferRoundRecord]
) -> list[Reason]:
    """Return all candidates for all endpoints."""
    by_load = {(each.endpoint, each.cell): each for each in evidence}
    found: list[Reason] = []
    for name in unique(row.endpoint for row in rows):
        own = [row for row in rows if row.endpoint == name and row.successes]
        found += _batching(name, [row for row in own if not row.disturbed], rounds)
        found += [reason for each in evidence if each.endpoint == name for reason in _fixed_cost(each)]
        for row in own:
            found += _other_work(row)
            if not row.disturbed:
                found += _cold_call(row, by_load[name, row.cell].first_warm_up_s)
            shown = _shown_by_server(row, rounds)
            found += _prefix_cache(row, rounds, shown)
            found += _by_the_server(row, shown)
            found += _long_outputs(row, rows)
    return sorted(found, key=lambda reason: reason.candidate)


def ruled_out(found: Sequence[Reason]) -> str:
    """Name the candidates that this run rules out wherever it tested them, with the evidence where it is one."""
    tested = [reason for reason in found if reason.finding != "not tested"]
    said = []
    for candidate in unique(reason.candidate for reason in tested):
        own = [reason for reason in tested if reason.candidate == candidate]
        evidence = unique(reason.evidence for reason in own)
        if all(reason.finding == "ruled out" for reason in own):
            said.append(f"{candidate} ({evidence[0]})" if len(evidence) == 1 else candidate)
    return f"Ruled out: {'; '.join(said)}." if said else ""


def _batching(name: str, rows: Sequence[InferenceRow], rounds: Sequence[InferRoundRecord]) -> Iterator[Reason]:
    """Compare loads that differ only in the number of requests in flight; they may be of several scenarios."""
    candidate = BATCHING
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
        finding: ReasonState = "supported" if gain >= RISES else "ruled out" if gain < FLAT else "open"
        said = f"{number(speeds[low])} output tok/s at {low} in flight, {number(speeds[high])} at {high}"
        yield Reason(candidate, name, cells, finding, said)


def _other_work(row: InferenceRow) -> Iterator[Reason]:
    if row.disturbed:
        said = "the host was disturbed in all rounds, so nothing is concluded of times"
        yield Reason("other work on the host", row.endpoint, row.cell, "open", said)


def _what_is_asked(row: InferenceRow, rounds: Sequence[InferRoundRecord]) -> str:
    """Return the settings that a load's speed depends on, except the number in flight."""
    given = next((r.scenario for r in rounds if (r.endpoint, r.cell) == (row.endpoint, row.cell) and r.scenario), {})
    settings = {key: value for key, value in given.items() if key not in AMOUNTS}
    return repr((sorted(settings.items()), row.context_tokens, row.max_tokens))


def _fixed_cost(known: Evidence) -> Iterator[Reason]:
    candidate, law, typical = "a fixed cost of each request", known.law, known.median_latency_s
    if law is None or typical is None or known.disturbed:
        why = "the host was disturbed in all rounds" if known.disturbed else known.why_no_law or "no latencies"
        yield Reason(candidate, known.endpoint, known.cell, "not tested", why)
        return
    low, high = law.a_ci or (law.a_s, law.a_s)
    finding: ReasonState = (
        "open" if law.a_ci is None
        else "supported" if low > LARGE * typical
        else "ruled out" if high < SMALL * typical
        else "open"
    )  # fmt: skip
    interval = f" ({number(low)} to {number(high)})" if law.a_ci else " (no interval)"
    said = f"{number(law.a_s)} s{interval} of a median of {number(typical)} s"
    if known.floor_s is not None:
        said += f"; the network and gateway alone take {number(1000 * known.floor_s, 2)} ms"
    yield Reason(candidate, known.endpoint, known.cell, finding, said)


def _cold_call(row: InferenceRow, first_s: float | None) -> Iterator[Reason]:
    candidate = COLD_CALL
    median_s = row.latency.median if row.latency else None
    if first_s is None or median_s is None:
        yield Reason(candidate, row.endpoint, row.cell, "not tested", "no warm-up request was completed")
        return
    if row.concurrency != 1 or row.rate_per_s is not None:
        said = f"the first took {number(first_s)} s on its own; this load has no such requests to compare it with"
        yield Reason(candidate, row.endpoint, row.cell, "not tested", said)
        return
    finding: ReasonState = "supported" if first_s >= COLD * median_s else "ruled out"
    said = (
        f"the first took {number(first_s)} s, the median is {number(median_s)} s; the first is left out of the figures"
    )
    yield Reason(candidate, row.endpoint, row.cell, finding, said)


def _shown_by_server(row: InferenceRow, rounds: Sequence[InferRoundRecord]) -> list[ServerFacts]:
    """Return what the server showed of itself, a record per round; nothing unless it did in all of them."""
    own = [r for r in rounds if (r.endpoint, r.cell, r.state) == (row.endpoint, row.cell, "measured")]
    shown = [server for r in own if (server := (r.surroundings or {}).get("server"))]
    return shown if len(shown) == len(own) else []


def _by_the_server(row: InferenceRow, shown: Sequence[ServerFacts]) -> Iterator[Reason]:
    """Yield what a server's own figures support or rule out."""

    def reason(candidate: str, finding: ReasonState, said: str) -> Reason:
        return Reason(candidate, row.endpoint, row.cell, finding, f"{said}, as the server shows")

    queue, preempting, full = SERVER_LIMITS
    if (waiting := _largest(shown, "most_waiting")) is not None:
        said = f"up to {waiting:.0f} requests waited" if waiting else "none waited at any reading, once a second"
        yield reason(queue, "supported" if waiting else "ruled out", said)
    if (preempted := _sum(shown, "preemptions")) is not None:
        said = f"{preempted:.0f} preemptions"
        yield reason(preempting, "supported" if preempted else "ruled out", said)
    if (share := _largest(shown, "most_kv_share")) is not None:
        finding: ReasonState = "supported" if share >= FULL else "ruled out" if share < ROOMY else "open"
        yield reason(full, finding, f"at most {100 * share:.0f} % of it was used")
    generated, ours = _sum(shown, "generated_tokens"), _sum(shown, "our_tokens")
    if generated and ours is not None:
        others = generated - ours > OTHERS_TOKENS * generated
        said = f"it generated {generated:,.0f} tokens, of which {ours:,.0f} were ours"
        yield reason("other users of the server", "supported" if others else "ruled out", said)


def _largest(shown: Sequence[ServerFacts], key: ServerFigure) -> float | None:
    values = [each.get(key) for each in shown]
    return None if None in values else max(filter(None, values), default=0.0 if values else None)


def _sum(shown: Sequence[ServerFacts], key: ServerFigure) -> float | None:
    values = [each.get(key) for each in shown]
    return None if None in values or not values else sum(filter(None, values))


_NEW_PROMPTS = {"prefix": "unique", "nonce": True, "turns": 1}
"""What a scenario says of whose prompts no two begin alike."""


def _prefix_cache(
    row: InferenceRow, rounds: Sequence[InferRoundRecord], shown: Sequence[ServerFacts]
) -> Iterator[Reason]:
    own = [r.scenario for r in rounds if (r.endpoint, r.cell) == (row.endpoint, row.cell) and r.scenario is not None]
    effect, hits = row.figures.get("prefix_effect"), _hits(row, shown)
    if isinstance(effect, Estimate) and not row.disturbed:
        finding, said = _effect_of_reuse(effect, hits)
        yield Reason(PREFIX_CACHE, row.endpoint, row.cell, finding, said)
    elif hits is not None:
        share, said = hits
        yield Reason(PREFIX_CACHE, row.endpoint, row.cell, "supported" if share >= HIT else "ruled out", said)
    elif own and all(own[0].get(key, value) == value for key, value in _NEW_PROMPTS.items()):
        said = "every prompt begins with a random prefix"
        yield Reason(PREFIX_CACHE, row.endpoint, row.cell, "ruled out", said)
    elif own:
        said = "prompts may begin alike, and neither usage nor the server tells what was cached"
        yield Reason(PREFIX_CACHE, row.endpoint, row.cell, "not tested", said)


def _effect_of_reuse(effect: Estimate, hits: tuple[float, str] | None) -> tuple[ReasonState, str]:
    """Judge what a prefix that was sent before changed; it is put down to a cache unless none was hit."""
    said = f"TTFT with a prefix sent before was {interval(effect)} times that with a new one"
    share, told = hits or (1.0, "neither usage nor the server tells what was cached")
    if effect.low is None or effect.high is None:
        return "open", f"{said}; {told}"
    if effect.high < 1:
        return "supported" if share >= HIT else "open", f"{said}; {told}"
    return "ruled out" if effect.low > NO_GAIN else "open", f"{said}; {told}"


def _hits(row: InferenceRow, shown: Sequence[ServerFacts]) -> tuple[float, str] | None:
    """Return the largest share of a round's prompt tokens that was cached, by the server or else by usage."""
    by_server, by_usage = _largest(shown, "prefix_hit_share"), _largest(shown, "our_cached_share")
    if by_usage is None:
        cached = [row.figures.get(f"{prefix}_cached") for prefix in ("new_prefix", "reused_prefix")]
        by_usage = max((share.value for share in cached if isinstance(share, Proportion)), default=None)
    told = [
        f"{100 * share:.0f} % {whose}"
        for share, whose in ((by_server, "by the server's counters"), (by_usage, "by usage"))
        if share is not None
    ]
    if not told:
        return None
    share = by_server if by_server is not None else by_usage
    return share or 0.0, f"at most {' and '.join(told)} of the prompt tokens were cached"


def _long_outputs(row: InferenceRow, rows: Sequence[InferenceRow]) -> Iterator[Reason]:
    others = [r for r in rows if r.cell == row.cell and r.endpoint != row.endpoint and r.completion_tokens]
    if not others or not row.completion_tokens:
        return
    least = min(r.completion_tokens or 0.0 for r in others)
    ratio = row.completion_tokens / least
    finding: ReasonState = "supported" if ratio >= LONG else "ruled out"
    said = f"{number(row.completion_tokens)} output tokens on average, {number(ratio)} times the lowest of the others"
    yield Reason(LONGER_ANSWERS, row.endpoint, row.cell, finding, said)
