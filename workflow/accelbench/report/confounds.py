"""What differs between two endpoints beside the endpoint itself, and what else a reader must know of their figures.

Each of these made the conclusions of a published comparison wrong; each is told from the records.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from accelbench.records import InferRoundRecord, RequestRecord
from accelbench.report.text import Labels, listed, number, unique

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
