"""What a server says of its own work: how many tokens it made, and how long that took by its clock.

Counts stand in `usage` (or llama.cpp's `timings`); where it lacks them, stated estimates take their place and are
marked. All that was generated counts, reasoning too: some servers (xAI, Gemini's compatible API) count it beside
`completion_tokens`, which `total_tokens` or the count of reasoning tells. A count that the stream contradicts is
replaced by an estimate, and the claim kept. Times stand in `response_time` (ALCF's Sophia, unstreamed), in `usage`
(SambaNova, Groq), in `time_info` (Cerebras) or in `timings` (llama.cpp).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from accelbench import foreign
from accelbench.inference.answers.events import Answer

_CHARACTERS_PER_TOKEN = 4  # English prose, byte-pair tokenizers
CONTROL_TOKENS = 10  # that no event shows: gpt-oss's channel marks around reasoning and answer, and the end token
MORE_EVENTS = 1.05  # than tokens: some servers cut a token's text in two, or leave the end token out
USAGE_TIMINGS = (
    "time_to_first_token", "total_latency", "completion_tokens_per_sec", "completion_tokens_after_first_per_sec",
    "total_tokens_per_sec", "acceptance_rate", "start_time", "end_time",
    "queue_time", "prompt_time", "completion_time", "total_time",
)  # fmt: skip
NESTED_TIMINGS = ("timings", "time_info")
DETAILS = ("completion_tokens_details", "output_tokens_details")
PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of one answer; null: unknown. Completion includes reasoning."""

    prompt: int | None
    completion: int | None
    reasoning: int | None
    estimated: bool
    reasoning_estimated: bool
    cached: int | None = field(default=None, compare=False)
    """Of the prompt's, those that a prefix cache held."""
    rule: str | None = field(default=None, compare=False)
    """How the completion was found."""
    claimed: int | None = field(default=None, compare=False)
    """What the server claims, where the stream contradicts it."""
    shown: int | None = field(default=None, compare=False)
    """Of the completion, those that the stream shows; null: it can't be told."""


@dataclass(frozen=True, slots=True)
class ServerTimes:
    """Seconds by the server's clock: the whole request, and up to its first token; null: it does not say.

    Cerebras' and Groq's time to the first token is that of the prompt; their queue stands in the raw timings.
    """

    total_s: float | None
    ttft_s: float | None


def tokens(answer: Answer, *, estimate: bool, most: int | None = None) -> Tokens:
    """Return the counts of an answer that was asked for at `most` so many tokens.

    Without a count, or with one that the stream contradicts, and if `estimate` allows it, the completion has one token
    per event of the stream, or one per four characters of a document.
    """
    prompt, cached = _prompt(answer), _cached(answer)
    stated, rule = _stated(answer, prompt, cached)
    claimed = stated if stated is not None and _contradicts(answer, stated, most) else None
    completion = stated
    if stated is None or claimed is not None:
        completion = _estimate(answer) if estimate else None
        rule = None if completion is None else "events" if answer.token_events else "characters"
    reasoning, reasoning_estimated = _reasoning(answer, completion, prompt)
    estimated = completion is not None and (stated is None or claimed is not None)
    shown = _shown(answer, completion, reasoning)
    return Tokens(prompt, completion, reasoning, estimated, reasoning_estimated, cached, rule, claimed, shown)


def _stated(answer: Answer, prompt: int | None, cached: int | None) -> tuple[int | None, str | None]:
    """Return how many tokens the server says it generated, and by what rule.

    `completion_tokens`, unless what is said beside it, or the stream, tells that reasoning is not in it.
    """
    completion, rule = _completion(answer)
    total, reasoning = foreign.as_count(answer.usage.get("total_tokens")), _told_reasoning(answer) or 0
    beyond = total - prompt - completion if total and prompt and total - prompt > completion else 0
    together = "completion_tokens + reasoning_tokens"
    kept_back = reasoning > completion and not answer.reasoning and total != (prompt or 0) + completion
    if reasoning and (beyond == reasoning or kept_back):
        return completion + reasoning, together
    if beyond and not reasoning and beyond != cached:
        return completion + beyond, "total_tokens - prompt_tokens"
    if reasoning and _has_more_events(answer, completion) and not _has_more_events(answer, completion + reasoning):
        return completion + reasoning, together
    return (completion, rule) if completion else (None, None)  # 0 is no count of an answer


def _contradicts(answer: Answer, count: int, most: int | None) -> bool:
    """Tell whether a count is none of its stream's: fewer tokens than events, or more than were asked for and came."""
    told = _told_reasoning(answer)
    is_told = told is not None or not answer.reasoning
    too_many = most is not None and is_told and count - (told or 0) > most >= len(answer.token_events)
    return too_many or _has_more_events(answer, count)


def _has_more_events(answer: Answer, count: int) -> bool:
    return len(answer.token_events) > MORE_EVENTS * count


def _completion(answer: Answer) -> tuple[int, str]:
    """Return the count of the completion and its name; 0: there is none."""
    said = {name: answer.usage.get(name) for name in ("completion_tokens", "output_tokens")}
    said["timings.predicted_n"] = _nested(answer, "timings").get("predicted_n")
    return next(((count, name) for name, value in said.items() if (count := foreign.as_count(value))), (0, ""))


def _prompt(answer: Answer) -> int | None:
    said = [answer.usage.get("prompt_tokens"), answer.usage.get("input_tokens")]
    said.append(_nested(answer, "timings").get("prompt_n"))
    return next((count for value in said if (count := foreign.as_count(value)) is not None), None)


def _detail(answer: Answer, groups: Sequence[str], keys: Sequence[str]) -> int | None:
    """Return a count from the details of the usage, or from beside them."""
    details = [answer.usage.get(group) for group in groups]
    places = [place for place in (*details, answer.usage) if isinstance(place, dict)]
    counts = (foreign.as_count(place.get(key)) for place in places for key in keys)
    return next((count for count in counts if count is not None), None)


def _told_reasoning(answer: Answer) -> int | None:
    return _detail(answer, DETAILS, ("reasoning_tokens",))


def _cached(answer: Answer) -> int | None:
    told = _detail(answer, PROMPT_DETAILS, CACHED)
    return foreign.as_count(_nested(answer, "timings").get("cache_n")) if told is None else told


def _shown(answer: Answer, completion: int | None, reasoning: int | None) -> int | None:
    """Return how many tokens came through the stream: not those of reasoning that was kept back.

    None where there are more than the text has bytes: some of them were, and nobody says how many.
    """
    if completion is None:
        return None
    shown = completion if answer.reasoning else completion - (reasoning or 0)
    size = len(answer.answer.encode()) + len(answer.reasoning.encode())
    return shown if shown <= max(size, len(answer.token_events)) + CONTROL_TOKENS else None


def server_times(answer: Answer) -> ServerTimes:
    """Return the server's own times, from wherever they stand."""
    usage, timings, info = answer.usage, _nested(answer, "timings"), _nested(answer, "time_info")
    prompt_s, predicted_s = _milliseconds(timings, "prompt_ms"), _milliseconds(timings, "predicted_ms")
    llama_cpp_s = prompt_s + predicted_s if prompt_s is not None and predicted_s is not None else None
    response_time = answer.server_timings.get("response_time")
    of_total = (response_time, usage.get("total_latency"), usage.get("total_time"), info.get("total_time"))
    of_first = (usage.get("time_to_first_token"), usage.get("prompt_time"), info.get("prompt_time"))
    return ServerTimes(
        _first_of([*map(_seconds, of_total), llama_cpp_s]), _first_of([*map(_seconds, of_first), prompt_s])
    )


def _first_of(times_s: Sequence[float | None]) -> float | None:
    return next((time_s for time_s in times_s if time_s is not None), None)


def _nested(answer: Answer, name: str) -> dict[str, object]:
    value = answer.server_timings.get(name)
    return value if isinstance(value, dict) else {}


def raw_timings(answer: Answer) -> dict[str, object]:
    """Return the server's timings as they came; what no figure can be (NaN, a text, less than 0) is left out."""
    said, usage = answer.server_timings, answer.usage
    nested = {name: _numbers(_nested(answer, name)) for name in NESTED_TIMINGS if name in said}
    nested = {name: own for name, own in nested.items() if own}
    flat = {key: value for key, value in said.items() if key not in NESTED_TIMINGS}
    return {**_numbers(flat), **nested, **_numbers({key: usage[key] for key in USAGE_TIMINGS if key in usage})}


def _estimate(answer: Answer) -> int | None:
    characters = len(answer.answer) + len(answer.reasoning)
    return len(answer.token_events) or math.ceil(characters / _CHARACTERS_PER_TOKEN) or None


def _reasoning(answer: Answer, completion: int | None, prompt: int | None) -> tuple[int | None, bool]:
    """Return the reasoning tokens, and whether that is an estimate.

    Where usage does not tell them and each event is one token, they are the reasoning's share of the events.
    """
    said = _told_reasoning(answer)
    if said is None:
        said = _beyond_completion(answer, completion, prompt)
    if said is not None and completion is not None and said <= completion and (said or not answer.reasoning):
        return said, False
    if not answer.reasoning:
        return (None if completion is None else 0), False
    events = answer.token_events
    if completion is None or not events or not 0 <= completion - len(events) <= CONTROL_TOKENS:
        return None, False
    share = sum(event.kind == "reasoning" for event in events) / len(events)
    return round(share * completion), True


def _beyond_completion(answer: Answer, completion: int | None, prompt: int | None) -> int | None:
    """Return what was generated beside `completion_tokens`, where total_tokens tells that something was."""
    alone, total = foreign.as_count(answer.usage.get("completion_tokens")), answer.usage.get("total_tokens")
    if alone is None or completion is None or prompt is None or completion != (foreign.as_count(total) or 0) - prompt:
        return None
    return completion - alone or None


def _numbers(fields: dict[str, object]) -> dict[str, float]:
    found = {key: foreign.as_number(value) for key, value in fields.items() if key.isascii()}
    return {key: value for key, value in found.items() if value is not None and value >= 0}


def _milliseconds(timings: dict[str, object], key: str) -> float | None:
    value = _seconds(timings.get(key))
    return None if value is None else value / 1000


def _seconds(value: object) -> float | None:
    """Return a number that a time can be; None: it is none."""
    found = foreign.as_number(value)
    return float(found) if found is not None and found >= 0 else None
