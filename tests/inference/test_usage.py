"""Token counts, stated and estimated, and the server's own times."""

import json
from typing import Any

import pytest

from accelbench.inference.events import parse_answer
from accelbench.inference.usage import ServerTimes, Tokens, raw_timings, server_times, tokens

from .endpoint_stand_in import delta, event, usage

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
        ({"response_time": "fast", "usage": {"total_latency": -1}, "timings": [1]}, ServerTimes(None, None)),
        ({}, ServerTimes(None, None)),
    ],
    ids=["Sophia", "SambaNova", "llama.cpp", "half of llama.cpp", "nonsense", "none"],
)
def test_a_servers_own_times_have_one_form(fields: dict[str, Any], server: ServerTimes) -> None:
    assert server_times(parse_answer([(2.0, document(**fields))], streamed=False)) == server


def test_raw_timings_are_kept_where_they_are_numbers() -> None:
    body = document(timings={"predicted_ms": 1, "bad": "x"}, response_time=10**30, usage={**SAMBANOVA, "other": 1})
    found = raw_timings(parse_answer([(2.0, body)], streamed=False))
    assert found == {"timings": {"predicted_ms": 1.0}, **SAMBANOVA}
