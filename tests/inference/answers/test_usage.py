"""Token counts, stated and estimated, and the server's own times."""

import json
from typing import Any

import pytest

from accelbench.inference.answers.events import parse_answer
from accelbench.inference.answers.usage import ServerTimes, Tokens, raw_timings, server_times, tokens

from ..endpoint_stand_in import delta, event, usage

CEREBRAS = {"queue_time": 0.0001, "prompt_time": 0.001, "completion_time": 0.0057, "total_time": 0.0222, "created": 17}
GROQ = {"queue_time": 0.037, "prompt_time": 0.0006, "completion_time": 0.4609, "total_time": 0.4615}
SAMBANOVA = {"time_to_first_token": 0.1628, "total_latency": 0.6135, "completion_tokens_per_sec": 208.65}


def counted(*parts: bytes, estimate: bool = True) -> Tokens:
    return tokens(parse_answer([(2.0, part) for part in parts], streamed=True), estimate=estimate)


def document(content: str = "Paris", **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}], **more}).encode()


def said(details: Any, completion: int = 9) -> bytes:
    return event({"usage": {"completion_tokens": completion, "completion_tokens_details": details}})


def test_stated_counts_are_taken() -> None:
    assert counted(delta("a"), usage(9)) == Tokens(7, 9, 0, estimated=False, reasoning_estimated=False)


@pytest.mark.parametrize("count", [None, "12", -1, 2.5, True, {}, 0, float("nan"), float("inf"), 1e300])
def test_what_is_no_count_is_estimated_by_the_events(count: Any) -> None:
    found = counted(*[delta("word")] * 8, event({"usage": {"completion_tokens": count}}))
    assert (found.completion, found.estimated) == (8, True)


def test_a_document_without_usage_has_a_token_per_four_characters() -> None:
    found = counted(document("x" * 41))
    assert (found.completion, found.estimated) == (11, True)


def test_nothing_is_estimated_where_nothing_was_delivered() -> None:
    found = counted(delta("a"), estimate=False)
    assert (found.completion, found.reasoning, found.estimated) == (None, None, False)


def test_reasoning_tokens_are_the_servers_own() -> None:
    found = counted(delta(reasoning="hm"), delta("a"), said({"reasoning_tokens": 6}))
    assert (found.reasoning, found.reasoning_estimated) == (6, False)


@pytest.mark.parametrize("details", [None, {}, {"reasoning_tokens": 0}, {"reasoning_tokens": 99}, [1]])
def test_reasoning_that_usage_does_not_tell_is_its_share_of_the_events(details: Any) -> None:
    found = counted(*[delta(reasoning="hm")] * 3, delta("a"), said(details, 12))
    assert (found.reasoning, found.reasoning_estimated) == (9, True)


def test_reasoning_in_events_of_several_tokens_cant_be_told_apart() -> None:
    assert counted(delta(reasoning="hm " * 20), delta("a"), usage(30)).reasoning is None
    reasoned = {"choices": [{"message": {"content": "a", "reasoning": "hm"}, "finish_reason": "stop"}]}
    assert counted(json.dumps({**reasoned, "usage": {"completion_tokens": 9}}).encode()).reasoning is None


@pytest.mark.parametrize(
    ("fields", "server"),
    [
        ({"response_time": 0.5, "throughput_tokens_per_second": 90.0}, ServerTimes(0.5, None)),
        ({"usage": SAMBANOVA}, ServerTimes(0.6135, 0.1628)),
        ({"timings": {"prompt_ms": 200, "predicted_ms": 300.0}}, ServerTimes(0.5, 0.2)),
        ({"timings": {"prompt_ms": 200}}, ServerTimes(None, 0.2)),
        ({"time_info": CEREBRAS}, ServerTimes(0.0222, 0.001)),
        ({"usage": GROQ}, ServerTimes(0.4615, 0.0006)),
        ({"x_groq": {"id": "req_1", "usage": GROQ}}, ServerTimes(0.4615, 0.0006)),
        ({"response_time": "fast", "usage": {"total_latency": -1}, "timings": [1]}, ServerTimes(None, None)),
        ({}, ServerTimes(None, None)),
    ],
    ids=[
        "Sophia",
        "SambaNova",
        "llama.cpp",
        "half of llama.cpp",
        "Cerebras",
        "Groq",
        "Groq's stream",
        "nonsense",
        "none",
    ],
)
def test_a_servers_own_times_have_one_form(fields: dict[str, Any], server: ServerTimes) -> None:
    assert server_times(parse_answer([(2.0, document(**fields))], streamed=False)) == server


def test_raw_timings_are_kept_where_they_are_numbers() -> None:
    body = document(timings={"predicted_ms": 1, "bad": "x"}, response_time=10**30, usage={**SAMBANOVA, "other": 1})
    found = raw_timings(parse_answer([(2.0, body)], streamed=False))
    assert found == {"timings": {"predicted_ms": 1.0}, **SAMBANOVA}


def test_the_queue_stands_in_the_raw_timings() -> None:
    for fields in ({"time_info": CEREBRAS}, {"usage": GROQ}):
        found = raw_timings(parse_answer([(2.0, document(**fields))], streamed=False))
        assert found.get("time_info", found)["queue_time"] > 0


# --- dialects of the counts ---------------------------------------------------------------------------------------

SHOWN = [*[delta(reasoning="hm ")] * 30, *[delta("word ")] * 5]
BOTH, TOTAL = "completion_tokens + reasoning_tokens", "total_tokens - prompt_tokens"


def usage_of(completion: int | None, total: int | None = None, reasoning: int | None = None, **more: Any) -> bytes:
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return event(
        {"usage": {"prompt_tokens": 12, "completion_tokens": completion, "total_tokens": total} | details | more}
    )


@pytest.mark.parametrize(
    ("stream", "said", "completion", "reasoning", "rule"),
    [
        (SHOWN, usage_of(35, 47, 30), 35, 30, "completion_tokens"),
        (SHOWN, usage_of(35, None, 30), 35, 30, "completion_tokens"),
        (SHOWN, usage_of(5, 47, 30), 35, 30, BOTH),
        (SHOWN, usage_of(5, None, 30), 35, 30, BOTH),
        (SHOWN, usage_of(5, 47), 35, 30, TOTAL),
        (SHOWN[30:], usage_of(5, 17), 5, 0, "completion_tokens"),
        (SHOWN[30:], usage_of(5, 47), 35, 30, TOTAL),
        (SHOWN[30:], usage_of(35, 47, 30), 35, 30, "completion_tokens"),
        (SHOWN[30:], usage_of(5, None, 30), 35, 30, BOTH),
        (SHOWN[30:], usage_of(0, 72, 60), 60, 60, BOTH),
        (SHOWN[30:], usage_of(None, 72), 60, 0, TOTAL),
        (SHOWN[30:], usage_of(35, None, None, reasoning_tokens=30), 35, 30, "completion_tokens"),
        (SHOWN[30:], usage_of(5, 117, prompt_tokens_details={"cached_tokens": 100}), 5, 0, "completion_tokens"),
        (SHOWN[30:], usage_of(5, 3), 5, 0, "completion_tokens"),
        (SHOWN[30:], event({"usage": {"input_tokens": 12, "output_tokens": 5}}), 5, 0, "output_tokens"),
        (SHOWN[30:], event({"timings": {"prompt_n": 12, "predicted_n": 5}}), 5, 0, "timings.predicted_n"),
        (SHOWN[30:], event({"choices": [{"delta": {}, "usage": {"completion_tokens": 5}}]}), 5, 0, "completion_tokens"),
        (SHOWN[30:], event({"x_groq": {"usage": {"completion_tokens": 5}}}), 5, 0, "completion_tokens"),
        (SHOWN[30:], usage_of(0, 0, prompt_tokens=0), 5, 0, "events"),
    ],
    ids=["OpenAI", "without a total", "xAI", "xAI without a total", "Gemini, thoughts shown", "no reasoning", "Gemini",
         "hidden", "hidden, beside it", "hidden, and all", "no completion", "SGLang", "a cached prompt beside it",
         "a total that is none", "Anthropic's names", "llama.cpp", "Moonshot", "Groq", "zeros"],
)  # fmt: skip
def test_all_that_was_generated_counts(
    stream: list[bytes], said: bytes, completion: int, reasoning: int, rule: str
) -> None:
    found = counted(*stream, said)
    assert (found.completion, found.rule, found.claimed) == (completion, rule, None)
    assert found.reasoning == reasoning
    assert found.estimated == (rule == "events")


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 8}},
        {"input_tokens_details": {"cached_tokens": 8}},
        {"cached_tokens": 8},
        {"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 4},
        {"cache_read_input_tokens": 8},
    ],
)
def test_cached_tokens_of_the_prompt_are_read(details: dict[str, Any]) -> None:
    assert counted(delta("a"), usage_of(1, **details)).cached == 8
    assert counted(delta("a"), usage_of(1)).cached is None


@pytest.mark.parametrize(
    ("events", "said", "most", "claimed"),
    [
        (40, 1, None, 1),
        (40, 38, None, 38),
        (40, 39, None, None),
        (4, 40, 4, 40),
        (40, 40, 4, None),
        (4, 40, 64, None),
    ],
)
def test_a_count_that_its_stream_contradicts_is_replaced_and_kept(
    events: int, said: int, most: int | None, claimed: int | None
) -> None:
    answer = parse_answer([(2.0, part) for part in [*[delta("word word ")] * events, usage_of(said)]], streamed=True)
    found = tokens(answer, estimate=True, most=most)
    assert (found.claimed, found.estimated) == (claimed, claimed is not None)
    assert found.completion == (said if claimed is None else events)


def test_tokens_of_hidden_reasoning_are_not_among_those_shown() -> None:
    assert counted(*SHOWN[30:], usage_of(35, 47, 30)).shown == 5
    assert counted(*SHOWN, usage_of(35, 47, 30)).shown == 35
    assert counted(*SHOWN[30:], usage_of(900)).shown is None
