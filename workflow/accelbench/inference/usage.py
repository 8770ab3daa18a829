"""What a server says of its own work: how many tokens it made, and how long that took by its clock.

Counts stand in `usage`; where it lacks them, stated estimates take their place and are marked. Times stand in
`response_time` (ALCF's Sophia, unstreamed), in `usage` (SambaNova) or in `timings` (llama.cpp).
"""

import math
from dataclasses import dataclass
from typing import Any

from accelbench.inference.events import Answer

CHARACTERS_PER_TOKEN = 4  # English prose, byte-pair tokenizers
CONTROL_TOKENS = 10  # that no event shows: gpt-oss's channel marks around reasoning and answer, and the end token
USAGE_TIMINGS = (
    "time_to_first_token", "total_latency", "completion_tokens_per_sec", "completion_tokens_after_first_per_sec",
    "total_tokens_per_sec", "acceptance_rate", "start_time", "end_time",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of one answer; null: unknown. Completion includes reasoning."""

    prompt: int | None
    completion: int | None
    reasoning: int | None
    estimated: bool
    reasoning_estimated: bool


@dataclass(frozen=True, slots=True)
class ServerTimes:
    """Seconds by the server's clock: the whole request, and up to its first token; null: it does not say."""

    total_s: float | None
    ttft_s: float | None


def tokens(answer: Answer, *, estimate: bool) -> Tokens:
    """Return the counts of an answer.

    Without a count in usage, and if `estimate` allows it, the completion has one token per event of the stream, or
    one per four characters of a document.
    """
    stated = token_count(answer.usage, "completion_tokens") or None  # 0 is no count of an answer
    completion = stated or (_estimate(answer) if estimate else None)
    reasoning, reasoning_estimated = _reasoning(answer, completion)
    prompt = token_count(answer.usage, "prompt_tokens")
    return Tokens(prompt, completion, reasoning, completion is not None and stated is None, reasoning_estimated)


def token_count(usage: dict[str, Any], key: str) -> int | None:
    """Return a count of the usage; None when it is missing or no count."""
    value = usage.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 and value % 1 == 0 else None


def server_times(answer: Answer) -> ServerTimes:
    """Return the server's own times, from wherever they stand."""
    said, usage, timings = answer.server_timings, answer.usage, answer.server_timings.get("timings")
    prompt_s, predicted_s = (_milliseconds(timings, key) for key in ("prompt_ms", "predicted_ms"))
    llama_cpp_s = prompt_s + predicted_s if prompt_s is not None and predicted_s is not None else None
    totals = (_seconds(said.get("response_time")), _seconds(usage.get("total_latency")), llama_cpp_s)
    first = (_seconds(usage.get("time_to_first_token")), prompt_s)
    return ServerTimes(
        next((total_s for total_s in totals if total_s is not None), None),
        next((ttft_s for ttft_s in first if ttft_s is not None), None),
    )


def raw_timings(answer: Answer) -> dict[str, Any]:
    """Return the server's timings as they came; what no figure can be (NaN, a text, less than 0) is left out."""
    timings = answer.server_timings.get("timings")
    return {
        **_numbers({key: value for key, value in answer.server_timings.items() if key != "timings"}),
        **({"timings": _numbers(timings)} if isinstance(timings, dict) else {}),
        **_numbers({key: answer.usage[key] for key in USAGE_TIMINGS if key in answer.usage}),
    }


def _estimate(answer: Answer) -> int | None:
    characters = len(answer.answer) + len(answer.reasoning)
    return len(answer.token_events) or math.ceil(characters / CHARACTERS_PER_TOKEN) or None


def _reasoning(answer: Answer, completion: int | None) -> tuple[int | None, bool]:
    """Return the reasoning tokens, and whether that is an estimate.

    Where usage does not tell them and each event is one token, they are the reasoning's share of the events.
    """
    details = answer.usage.get("completion_tokens_details")
    said = token_count(details, "reasoning_tokens") if isinstance(details, dict) else None
    if said is not None and completion is not None and said <= completion and (said or not answer.reasoning):
        return said, False
    if not answer.reasoning:
        return (None if completion is None else 0), False
    events = answer.token_events
    if completion is None or not events or not 0 <= completion - len(events) <= CONTROL_TOKENS:
        return None, False
    share = sum(event.kind == "reasoning" for event in events) / len(events)
    return round(share * completion), True


def _numbers(fields: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in fields.items() if key.isascii() and _seconds(value) is not None}


def _milliseconds(timings: Any, key: str) -> float | None:
    value = _seconds(timings.get(key)) if isinstance(timings, dict) else None
    return None if value is None else value / 1000


def _seconds(value: Any) -> float | None:
    """Return a number that a time can be; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return float(value)
