"""Requests and rounds by hand, with what a test doesn't care about filled in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from accelbench.analysis.inference import InferenceRow, inference_rows
from accelbench.analysis.load import Load
from accelbench.analysis.pairs import pairs_of
from accelbench.analysis.sample import Interleaving, Side, _both_asked, sides_of
from accelbench.store.records import InferRoundRecord, ParsedLog, RequestRecord
from accelbench.store.requests import Requests

DEFAULTS: dict[str, Any] = {
    "endpoint": "one",
    "cell": "load",
    "round": 1,
    "key": "p1",
    "attempt": 1,
    "last_attempt": True,
    "session": 1,
    "warm_up": False,
    "article": "A",
    "passage": "P",
    "class_": "ok",
    "http_status": 200,
    "error_text": None,
    "dequeued_unix_s": 100.0,
    "sent_unix_s": 100.0,
    "end_unix_s": 102.0,
    "ttft_s": 0.5,
    "ttfat_s": 0.5,
    "tpot_s": 0.1,
    "e2e_s": 2.0,
    "events": 10,
    "prompt_tokens": 90,
    "completion_tokens": 10,
    "finish_reason": "stop",
    "answer": "x",
    "reasoning": "",
    "golds": ["x"],
    "exact_match": True,
    "f1": 1.0,
    "contains_gold": True,
    "server_timings": {},
}
NOTHING = dict.fromkeys(
    ["ttft_s", "ttfat_s", "tpot_s", "e2e_s", "completion_tokens", "exact_match", "f1", "contains_gold"]
)


def log_of(said: Mapping[str, Any]) -> ParsedLog:
    """Return a parsed log as its summary.json has it."""
    return TypeAdapter(ParsedLog).validate_python(said)


def request(**given: Any) -> RequestRecord:
    return RequestRecord(**{**DEFAULTS, **given})


def failed(class_: str = "connection", **given: Any) -> RequestRecord:
    return request(**{"class_": class_, "http_status": None, "error_text": "no", **NOTHING, **given})


def spanned(start_s: float, e2e_s: float, tokens: int, **given: Any) -> RequestRecord:
    """Return a success that was sent at `start_s`; its tokens come evenly from then on."""
    times = {"sent_unix_s": 1e9 + start_s, "end_unix_s": 1e9 + start_s + e2e_s, "e2e_s": e2e_s, "ttft_s": None}
    return request(**{"completion_tokens": tokens, "key": f"at {start_s}", **times, **given})


def measured(endpoint: str = "one", round_no: int = 1, cell: str = "load") -> InferRoundRecord:
    return InferRoundRecord(endpoint, cell, round_no, "measured", None, host={"name": "box"})


def asked_rounds(
    endpoint: str,
    latency_s: Callable[[int], float],
    *,
    rounds: int = 5,
    prompts: int = 8,
    start_s: float = 0.0,
    **given: Any,
) -> list[RequestRecord]:
    """Return the requests of several rounds, a minute apart; each prompt has a passage and a length of its own.

    `latency_s` takes the output tokens; `start_s` is the first round's start.
    """
    requests = []
    for number in range(rounds):
        for place in range(prompts):
            tokens = 20 + 15 * place + 3 * number
            e2e_s, sent = latency_s(tokens), 1e9 + start_s + 60 * number + 5 * place
            own = {
                "round": number + 1,
                "key": f"r{number}p{place}",
                "passage": f"P{number}.{place}",
                "endpoint": endpoint,
            }
            times = {"sent_unix_s": sent, "end_unix_s": sent + e2e_s, "e2e_s": e2e_s, "ttft_s": None, "tpot_s": None}
            requests.append(request(**{**own, **times, "completion_tokens": tokens, **given}))
    return requests


def side(name: str, requests: list[RequestRecord], host: str | None = "box") -> Side:
    """Return the requests as a side, all rounds from one host."""
    return Side(name, requests[0].cell, Requests.of(requests), {r.round: host for r in requests})


def sides(
    rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord], rows: Sequence[InferenceRow] = ()
) -> dict[tuple[str, str], Side]:
    """Return the sides of a report on these requests, under the loads of its rows."""
    loads = {row.cell: Load(row.cell, row.concurrency, row.rate_per_s) for row in rows}
    return sides_of(rounds, Requests.of(requests), loads)


def all_near(ours: Side, theirs: Side, why_not: str | None = None) -> Interleaving:
    """Return two sides as asked in turn, or what speaks against it."""
    one, other = _both_asked(ours.requests, theirs.requests)
    return Interleaving(one, other, np.full(len(one), True), 0.0, why_not)


def rows_of(
    rounds: Sequence[InferRoundRecord],
    requests: Sequence[RequestRecord],
    loads: Mapping[str, Load],
    baseline: str | None,
    largest_gap_s: float,
) -> list[InferenceRow]:
    """Return the rows of a report on these requests."""
    sides = sides_of(rounds, Requests.of(requests), loads)
    return inference_rows(rounds, sides, pairs_of(rounds, sides, baseline, largest_gap_s), loads, baseline)
