"""Candidate reasons: supported, ruled out, or not tested by what was measured."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.evidence import evidence_of
from accelbench.analysis.load import Load
from accelbench.report.reasons import Reason, reasons, ruled_out
from accelbench.store.records import RequestRecord, ServerFacts, Surroundings

from ..analysis.records import asked_rounds, measured, request, rows_of, sides, spanned

BATCHING, FIXED, COLD = "requests share the hardware (batching)", "a fixed cost of each request", "a cold first call"


def found(requests: list[RequestRecord], cells: dict[str, int] | None = None, **given: Any) -> dict[str, str]:
    """Return the finding of each candidate for endpoint one."""
    loads = {cell: Load("s", slots) for cell, slots in (cells or {"load": 1}).items()}
    kinds = dict.fromkeys((r.endpoint, r.round, r.cell) for r in requests)
    rounds = [replace(measured(*kind), **given) for kind in kinds]
    rows = rows_of(rounds, requests, loads, None, 60.0)
    known = evidence_of(rounds, sides(rounds, requests))
    return {r.candidate: r.finding for r in reasons(rows, known, rounds) if r.endpoint == "one"}


@pytest.mark.parametrize(("at_4", "finding"), [(4, "supported"), (1, "ruled out"), (1.3, "open")])
def test_batching_is_told_by_throughput_at_rising_concurrency(at_4: float, finding: str) -> None:
    alone = [spanned(n, 1.0, 10, cell="c1") for n in range(40)]
    four = [spanned(n // 4 * 4 / at_4, 4 / at_4, 10, cell="c4", key=f"p{n}") for n in range(160)]
    assert found([*alone, *four], {"c1": 1, "c4": 4})[BATCHING] == finding


def test_batching_is_told_across_scenarios_that_ask_the_same() -> None:
    alone = [spanned(n, 1.0, 10, cell="c1") for n in range(40)]
    four = [spanned(n // 4 * 4 / 4, 1.0, 10, cell="c4", key=f"p{n}") for n in range(160)]
    loads = {"c1": Load("sequential", 1), "c4": Load("parallel", 4)}
    asked = {cell: {"prompts": "p", "concurrency": slots} for cell, slots in {"c1": 1, "c4": 4}.items()}
    rounds = [replace(measured("one", r, cell), scenario=asked[cell]) for cell, r in (("c1", 1), ("c4", 1))]
    rows = rows_of(rounds, [*alone, *four], loads, None, 60.0)

    def batching() -> list[tuple[str, str]]:
        known = evidence_of(rounds, sides(rounds, [*alone, *four]))
        return [(r.cell, r.finding) for r in reasons(rows, known, rounds) if r.candidate == BATCHING]

    assert batching() == [("c1 and c4", "supported")]
    asked["c4"]["prompts"] = "q"
    assert batching() == [("c1", "not tested"), ("c4", "not tested")]


def test_a_cold_call_is_not_told_from_a_load_of_several_requests() -> None:
    requests = [request(), request(key="w", warm_up=True, e2e_s=9.0)]
    assert found(requests, {"load": 4})[COLD] == "not tested"


def test_batching_is_not_tested_at_one_concurrency() -> None:
    assert found([request()])[BATCHING] == "not tested"


@pytest.mark.parametrize(
    ("latency_s", "finding"),
    [(lambda n: 5 + n / 1000, "supported"), (lambda n: 0.001 + n / 100, "ruled out"), (lambda n: 1.0, "supported")],
)
def test_a_fixed_cost_is_told_by_the_latency_law(latency_s: Callable[[int], float], finding: str) -> None:
    assert found(asked_rounds("one", latency_s))[FIXED] == finding


def test_a_fixed_cost_is_not_tested_where_lengths_are_alike() -> None:
    assert found(asked_rounds("one", lambda n: 1.0, completion_tokens=50))[FIXED] == "not tested"


@pytest.mark.parametrize(("first_s", "finding"), [(9.0, "supported"), (2.0, "ruled out")])
def test_a_cold_call_is_told_by_the_first_warm_up(first_s: float, finding: str) -> None:
    assert found([request(), request(key="w", warm_up=True, e2e_s=first_s)])[COLD] == finding


def test_a_cold_call_is_not_tested_without_a_warm_up() -> None:
    assert found([request()])[COLD] == "not tested"


@pytest.mark.parametrize(
    ("scenario", "finding"),
    [
        ({}, "ruled out"),
        ({"nonce": False}, "not tested"),
        ({"prefix": "shared"}, "not tested"),
        ({"turns": 3}, "not tested"),
    ],
)
def test_a_prefix_cache_is_ruled_out_by_a_nonce(scenario: dict[str, Any], finding: str) -> None:
    assert found([request()], scenario=scenario)["a prefix cache"] == finding


def with_prefixes(reused_s: float, cached: int | None) -> list[RequestRecord]:
    return [
        request(
            key=f"{reused} {n}",
            round=round_no,
            passage=f"{n}",
            prefix_reused=reused,
            ttft_s=(reused_s if reused else 0.8) * (1 + 0.001 * n),
            prompt_tokens=100,
            cached_tokens=cached if reused or cached is None else 0,
        )
        for round_no in (1, 2, 3)
        for reused in (False, True)
        for n in range(6)
    ]


@pytest.mark.parametrize(
    ("reused_s", "cached", "finding"),
    [(0.2, 75, "supported"), (0.2, 0, "open"), (0.8, 0, "ruled out"), (0.2, None, "supported")],
)
def test_a_prefix_cache_is_told_by_ttft_with_a_reused_prefix(reused_s: float, cached: int | None, finding: str) -> None:
    requests = with_prefixes(reused_s, cached)
    assert found(requests, scenario={"prefix": "cold-then-warm"})["a prefix cache"] == finding


@pytest.mark.parametrize(("cached", "finding"), [(75, "supported"), (0, "ruled out"), (None, "not tested")])
def test_on_a_busy_host_only_counts_tell_of_a_prefix_cache(cached: int | None, finding: str) -> None:
    told = {"scenario": {"prefix": "cold-then-warm"}, "host_activity": {"share_of_others": 0.8}}
    assert found(with_prefixes(0.2, cached), **told)["a prefix cache"] == finding


@pytest.mark.parametrize(("others", "finding"), [(5, "supported"), (10, "ruled out")])
def test_longer_answers_are_told_by_the_others_lengths(others: int, finding: str) -> None:
    assert found([request(), request(endpoint="two", completion_tokens=others)])["longer answers"] == finding


def test_alone_no_answers_are_longer() -> None:
    assert "longer answers" not in found([request()])


QUIET = ServerFacts(
    most_waiting=0, preemptions=0, most_kv_share=0.2, prefix_hit_share=0.0, generated_tokens=100, our_tokens=99
)
CANDIDATES = {
    "a queue in the server": ({"most_waiting": 3}, "supported"),
    "preempted requests": ({"preemptions": 2}, "supported"),
    "a full KV cache": ({"most_kv_share": 0.95}, "supported"),
    "a prefix cache": ({"prefix_hit_share": 0.6}, "supported"),
    "other users of the server": ({"generated_tokens": 150}, "supported"),
}


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_a_server_supports_or_rules_out_reasons_by_its_own_figures(candidate: str) -> None:
    shown, finding = CANDIDATES[candidate]
    told = {"scenario": {"nonce": False}}
    busy = found([request()], surroundings=Surroundings(server={**QUIET, **shown}), **told)
    assert busy[candidate] == finding
    quiet = found([request()], surroundings=Surroundings(server=QUIET), **told)
    assert all(quiet[name] == "ruled out" for name in CANDIDATES)


def test_without_the_servers_figures_in_every_round_they_say_nothing() -> None:
    known = found([request()], surroundings=Surroundings(server={**QUIET, "our_tokens": None, "most_kv_share": None}))
    assert not {"other users of the server", "a full KV cache"} & known.keys()
    rounds = [replace(measured("one", n), surroundings=Surroundings(server=QUIET) if n == 1 else None) for n in (1, 2)]
    requests = [request(round=n) for n in (1, 2)]
    rows = rows_of(rounds, requests, {"load": Load("s", 1)}, None, 60.0)
    told = {r.candidate for r in reasons(rows, evidence_of(rounds, sides(rounds, requests)), rounds)}
    assert not told & set(CANDIDATES) - {"a prefix cache"}


def test_what_is_ruled_out_everywhere_is_named() -> None:
    cache = Reason("a prefix cache", "one", "load", "ruled out", "every prompt begins with a random prefix")
    open_ = Reason("a fixed cost of each request", "one", "load", "ruled out", "0.1 s")
    found = [cache, replace(cache, endpoint="two"), open_, replace(open_, endpoint="two", finding="open")]
    assert ruled_out(found) == "Ruled out: a prefix cache (every prompt begins with a random prefix)."
    assert ruled_out([replace(cache, finding="not tested")]) == ""
