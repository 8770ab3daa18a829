"""What bytes say: server-sent events and classes."""

import json
from dataclasses import asdict
from time import process_time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelbench.inference.answers.classify import arrival_times
from accelbench.inference.answers.events import CLASSES, Answer, classified_as, parse_answer
from accelbench.inference.answers.usage import raw_timings, server_times, tokens

from ..endpoint_stand_in import DONE, delta, event, usage
from ..endpoint_stand_in import tokens as token_steps

STREAM = b"".join(step for step in token_steps("Par", "is") if isinstance(step, bytes))
ENDED = delta(finish_reason="stop")


def parsed(*parts: bytes, streamed: bool = True) -> Answer:
    return parse_answer([(float(at), part) for at, part in enumerate(parts, 2)], streamed=streamed)


def class_of(*parts: bytes, streamed: bool = True) -> str:
    return classified_as(None, 200, parsed(*parts, streamed=streamed), streamed=streamed)


def document(message: dict[str, Any], finish_reason: str | None = "stop", **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}], **more}).encode()


# --- reading the bytes --------------------------------------------------------------------------------------


def test_a_long_answer_takes_no_longer_per_piece() -> None:
    """16 MB in 100,000 events, or in one event of 4,000 reads: seconds, where copying what came before took minutes."""
    piece, pieces = b"x" * 160, 100_000
    many = b'data: {"choices": [{"delta": {"content": "' + piece + b'"}}]}\n\n'
    one = b'data: {"choices": [{"delta": {"content": "' + piece * pieces + b'"}}]}\n\n'
    begun_s = process_time()
    assert len(parsed(*[many] * pieces).answer) == len(piece) * pieces
    assert len(parsed(*(one[at : at + 4096] for at in range(0, len(one), 4096))).answer) == len(piece) * pieces
    assert process_time() - begun_s < 20


def test_a_stream_gives_answer_usage_and_end() -> None:
    answer = parsed(STREAM)
    assert (answer.answer, answer.finish_reason, answer.done) == ("Paris", "stop", True)
    assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.mark.parametrize(
    "written",
    [
        STREAM.replace(b"\n", b"\r\n"),
        STREAM.replace(b"data: ", b"data:"),
        b": keep-alive\n\n" + STREAM.replace(b"\n\n", b"\n\n: keep-alive\n\n"),
        STREAM.replace(b"data: ", b"event: message\nid: 4\ndata: "),
        STREAM.removesuffix(b"\n\n"),
        STREAM.removesuffix(b"\n"),
    ],
    ids=["CRLF", "no blank after the colon", "comments", "other fields", "no last blank line", "no last line end"],
)
def test_all_ways_to_write_a_stream_say_the_same(written: bytes) -> None:
    assert parsed(written) == parsed(STREAM)


def test_one_event_may_stretch_over_several_data_lines() -> None:
    assert parsed(b'data: {"choices":\ndata: [{"delta": {"content": "a"}}]}\n\n').answer == "a"


def test_utf_8_split_across_reads_is_whole_again() -> None:
    whole = delta("Zürich 🏔").replace(b"\\u00fc", "ü".encode()).replace(b"\\ud83c\\udfd4", "🏔".encode())
    assert parsed(*(bytes([byte]) for byte in whole)).answer == "Zürich 🏔"


def test_reasoning_is_kept_apart_under_either_name() -> None:
    assert parsed(delta(reasoning="so"), delta("a")).reasoning == "so"
    assert parsed(delta(reasoning_content="so"), delta("a")).reasoning == "so"
    assert parsed(delta(reasoning="so"), delta("a")).answer == "a"


def test_a_role_only_chunk_and_empty_deltas_are_no_tokens() -> None:
    assert parsed(delta(role="assistant", content=""), delta(), delta(None, content=None)).token_events == []


def test_a_text_in_parts_is_one_text() -> None:
    assert parsed(delta(None, content=[{"type": "text", "text": "Par"}, {"text": "is"}, {}])).answer == "Paris"


def test_a_refusal_is_an_answer() -> None:
    assert parsed(delta(None, content=None, refusal="I can't."), delta(finish_reason="stop")).answer == "I can't."


def test_of_several_choices_the_first_is_the_answer_and_all_have_tokens() -> None:
    second = event({"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "length"}]})
    answer = parsed(delta("a"), second, delta(finish_reason="stop"), usage(2))
    assert (answer.answer, answer.finish_reason, len(answer.token_events)) == ("a", "stop", 2)
    document = {"choices": [{"message": {"content": text}, "finish_reason": "stop"} for text in "ab"]}
    assert parsed(json.dumps(document).encode(), streamed=False).answer == "a"


def test_halves_of_a_surrogate_pair_are_joined_and_a_half_alone_can_be_written() -> None:
    assert parsed(delta("\ud83c"), delta("\udfd4")).answer == "🏔"
    assert parsed(delta("\ud83c")).answer == "\ufffd"


def test_numbers_that_json_has_not_are_taken() -> None:
    said = event(b'{"usage": {"completion_tokens": 2, "completion_tokens_per_sec": NaN}}')
    assert class_of(STREAM, said) == "ok"


def test_float_created_and_empty_choices_are_taken() -> None:
    said = event({"created": 1764022114.35, "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]})
    assert class_of(said, usage(1)) == "ok"


def test_usage_in_every_chunk_ends_with_the_last() -> None:
    nothing = event({"choices": [], "usage": {"completion_tokens": None}})
    assert parsed(usage(1), usage(2), nothing).usage["completion_tokens"] == 2


def test_server_timings_are_taken_where_they_are() -> None:
    said = document({"content": "a"}, response_time=0.5, throughput_tokens_per_second=9.0, timings={"predicted_ms": 1})
    assert parsed(said, streamed=False).server_timings == {
        "response_time": 0.5,
        "throughput_tokens_per_second": 9.0,
        "timings": {"predicted_ms": 1},
    }


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_parsing_never_raises(parts: list[bytes], streamed: bool) -> None:
    answer = parsed(*parts, streamed=streamed)
    assert classified_as(None, 200, answer, streamed=streamed) in CLASSES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "message", "content", "reasoning", "usage", "error", "finish_reason",
                         "completion_tokens", "object", "id", "index", "refusal", "tool_calls", "timings", "prompt_ms",
                         "response_time", "total_latency", "completion_tokens_details", "reasoning_tokens"]),
        inner,
        max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.lists(json_values, max_size=4), st.booleans())
def test_any_json_has_one_class_times_counts_and_a_record_that_can_be_written(
    values: list[Any], streamed: bool
) -> None:
    parts = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]
    reads = [(float(at), part if streamed else part[6:]) for at, part in enumerate(parts, 2)] or [(2.0, b"")]
    answer = parse_answer(reads, streamed=streamed)
    assert classified_as(None, 200, answer, streamed=streamed) in CLASSES
    counted = tokens(answer, estimate=True)
    timed = arrival_times(answer, counted.completion, sent_s=1.0, last_byte_s=reads[-1][0])
    told = [answer.answer, answer.reasoning, answer.error, answer.malformed, answer.finish_reason]
    orjson.dumps([*told, asdict(counted), asdict(timed), asdict(server_times(answer)), raw_timings(answer)])


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from([delta("Ja"), delta("ü🏔"), delta(reasoning="hm"), usage(3), DONE, b": x\n\n", b"data: {\n\n",
                         delta(finish_reason="stop"), b"\r\n", b"data: {\"ch", b"garbage"]),
        max_size=8,
    ),
    st.data(),
)  # fmt: skip
def test_an_answer_does_not_depend_on_how_its_bytes_were_split(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    whole, split = parse_answer([(2.0, body)], streamed=True), parse_answer([(2.0, p) for p in pieces], streamed=True)
    assert split == whole
    assert classified_as(None, 200, split, streamed=True) == classified_as(None, 200, whole, streamed=True)


@given(st.binary(max_size=60), st.integers(0, 60), st.booleans())
def test_any_bytes_cut_anywhere_say_the_same(body: bytes, cut: int, streamed: bool) -> None:
    body = b"data: " + body
    pieces = [(2.0, body[:cut]), (2.0, body[cut:])]
    assert parse_answer(pieces, streamed=streamed) == parse_answer([(2.0, body)], streamed=streamed)


@pytest.mark.parametrize("depth", [500, 1500, 100_000])
def test_a_document_of_any_depth_is_taken(depth: int) -> None:
    for body in (b"[" * depth + b"]" * depth, b'{"error": ' + b"[" * depth + b"]" * depth + b"}"):
        assert class_of(body, streamed=False) in ("malformed", "error_event")
    for name in (b"message", b"finish_reason", b"usage", b"timings"):
        nested = b'{"%s": ' % name * depth + b"1" + b"}" * depth
        assert class_of(b'data: {"choices": [%s]}\n\n' % nested) in ("malformed", "error_event", "stream_cut")


# --- classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([STREAM], "ok"),
        ([delta("a"), delta(finish_reason="length")], "truncated_length"),
        ([delta(reasoning="hm"), delta(finish_reason="length"), usage(9)], "no_answer"),
        ([delta(" \n"), delta(finish_reason="stop")], "no_answer"),
        ([delta("a"), delta("b")], "stream_cut"),
        ([delta("a"), DONE], "stream_cut"),
        ([delta("a"), b'data: {"choices": [{"del'], "stream_cut"),
        ([b'data: {"cho'], "stream_cut"),
        ([b": keep-alive\n\n"], "stream_cut"),
        ([STREAM, b"data:\n\n", b"data: \n\n"], "ok"),
        ([delta(None, tool_calls=[{"function": {}}]), delta(finish_reason="tool_calls"), usage(9)], "no_answer"),
        ([delta("Let me see"), delta(finish_reason="tool_calls")], "no_answer"),
        ([b"event: error\ndata: upstream failed\n\n"], "error_event"),
        ([delta("a"), b'event: error\ndata: {"message": "CUDA"}\n\n', delta(finish_reason="stop")], "error_event"),
        ([delta("["), delta("ERROR] no"), delta(finish_reason="stop")], "error_event"),
        ([delta("a"), delta("\n\n[ERROR] no"), delta(finish_reason="stop")], "error_event"),
        ([delta("a log line: "), delta("[ERROR] is red"), delta(finish_reason="stop")], "ok"),
        ([delta("a"), event({"object": "error", "message": "CUDA"})], "error_event"),
        ([delta("a"), event({"error": {"message": "no"}}), DONE], "error_event"),
        ([delta("a"), delta("\n\n[ERROR] no", id="chatcmpl-api-error", finish_reason="stop")], "error_event"),
        ([delta("\n\n[ERROR] no", finish_reason="stop")], "error_event"),
        ([delta("\n"), delta("[ERROR] no", finish_reason="stop")], "error_event"),
        ([delta("a"), delta(finish_reason="abort")], "error_event"),
        ([delta("a"), delta(finish_reason="content_filter")], "error_event"),
        ([json.dumps({"error": {"message": "no"}}).encode()], "error_event"),
        ([b""], "malformed"),
        ([], "malformed"),
        ([b"<html>log in</html>"], "malformed"),
        ([delta("a"), b"data: <html>\n\n", delta(finish_reason="stop")], "malformed"),
        ([document({"content": "a"})], "ok"),
    ],
)
def test_a_stream_has_one_class(parts: list[bytes], kind: str) -> None:
    assert class_of(*parts) == kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (document({"content": "a"}), "ok"),
        (document({"content": "a"}, "length"), "truncated_length"),
        (document({"content": None, "reasoning": "hm"}, "length"), "no_answer"),
        (document({"content": "[ERROR] no"}), "error_event"),
        (document({"content": "a"}, id="chatcmpl-api-error"), "error_event"),
        (b'{"object": "error", "message": "CUDA"}', "error_event"),
        (document({"content": "a"}, None), "malformed"),
        (document({"content": "a"})[:-5], "malformed"),
        (b"", "malformed"),
        (b"[1]", "malformed"),
        (b"<html>", "malformed"),
    ],
)
def test_a_document_has_one_class(body: bytes, kind: str) -> None:
    assert class_of(body, streamed=False) == kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "http_4xx"), (401, "auth"), (403, "auth"), (404, "http_4xx"), (408, "http_4xx"), (422, "http_4xx"),
     (429, "rate_limited"), (500, "http_5xx"), (503, "http_5xx"), (504, "http_5xx"), (204, "malformed"),
     (301, "http_4xx"), (307, "http_4xx"), (None, "malformed")],
)  # fmt: skip
def test_a_status_has_one_class(status: int | None, kind: str) -> None:
    assert classified_as(None, status, None, streamed=True) == kind


@pytest.mark.parametrize(
    ("status", "streamed", "kind"),
    [(200, True, "stream_stalled"), (200, False, "timeout_read"), (None, True, "timeout_read"),
     (500, True, "timeout_read")],
)  # fmt: skip
def test_a_stream_stalls_once_it_has_begun(status: int | None, streamed: bool, kind: str) -> None:
    assert classified_as("timeout_read", status, parsed(delta("a")), streamed=streamed) == kind


@pytest.mark.parametrize("error", ["timeout_connect", "timeout_total", "connection"])
def test_what_the_network_did_counts_before_what_was_said(error: str) -> None:
    assert classified_as(error, 200, parsed(STREAM), streamed=True) == error


# --- dialects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("first", [b"", b"\xef\xbb\xbf"])
@given(cuts=st.lists(st.integers(1, 12), min_size=1))
def test_lines_end_as_the_standard_says_wherever_reads_are_cut(end: bytes, first: bytes, cuts: list[int]) -> None:
    body, parts = first + (delta("Par") + b": hi\n\n" + delta("is") + ENDED + usage(2) + DONE).replace(b"\n", end), []
    for length in cuts * (1 + len(body)):
        if body:
            parts.append(body[:length])
            body = body[length:]
    assert (parsed(*parts).answer, class_of(*parts)) == ("Paris", "ok")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_that_one_line_end_parts_are_events_with_times_of_their_own(end: bytes) -> None:
    events = [delta("Par"), delta("is"), ENDED, usage(2), DONE]
    answer = parsed(*(said.removesuffix(b"\n\n") + end for said in events))
    assert (answer.answer, answer.finish_reason, answer.done) == ("Paris", "stop", True)
    assert [event.at_s for event in answer.token_events] == [2.0, 3.0]
    torn = parsed(*(said.removesuffix(b"\n\n") + end for said in events[:2]), b'data: {"choi')
    assert (torn.answer, torn.malformed, torn.finish_reason) == ("Paris", None, None)


@pytest.mark.parametrize(
    "aside",
    [
        b"event: ping\ndata: alive\n\n",
        b'event: ping\ndata: {"type": "ping", "message": "hi"}\n\n',
        b"data: : PROCESSING\n\n",
        b"data:: keep-alive\n\n",
        b": comment\n\n",
        b":\n\n",
        b"retry: 3000\n\n",
        b"id\n\n",
        b"nonsense: x\n\n",
        b'data: {"choices": [], "message": "warming up"}\n\n',
    ],
)
def test_what_is_no_chunk_is_passed_over(aside: bytes) -> None:
    assert class_of(aside, delta("a"), aside, ENDED, usage(1), aside, DONE, aside) == "ok"


def test_a_named_event_that_holds_a_chunk_is_one() -> None:
    assert parsed(b"event: chunk\n" + delta("a")).answer == "a"


@pytest.mark.parametrize("after", [b"<html>", b"data: {\n\n", b"event: error\ndata: x\n\n", delta("b")])
def test_nothing_counts_after_done(after: bytes) -> None:
    assert (parsed(delta("a"), ENDED, DONE + after).answer, class_of(delta("a"), ENDED, DONE, after)) == ("a", "ok")


@pytest.mark.parametrize(
    "said",
    [
        b'error: {"code":500,"message":"slot unavailable"}\n\n',
        b'error: {"code":500,"message":"slot unavailable"}',
        b"event: error\ndata: slot unavailable",
        b'event: error\ndata: {"message":"slot unavailable"}\n\n',
        b'data: {"type":"error","error":{"message":"slot unavailable"}}\n\n',
        b'data: {"code":500,"message":"slot unavailable"}\n\n',
        b'data: {"detail":"slot unavailable"}\n\n',
        b'data: {"error_code":18,"error_msg":"slot unavailable"}\n\n',
        event({"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "slot unavailable"}}]}),
    ],
)
def test_an_error_is_seen_in_each_of_its_forms(said: bytes) -> None:
    for parts in ([said], [delta("The"), said], [delta("The"), said + b"\n\n", DONE]):
        assert class_of(*parts) == "error_event"
        assert "slot unavailable" in str(parsed(*parts).error)


WHOLE = ["stop", "eos", "eos_token", "stop_sequence", "end_turn", "STOP", "COMPLETE", "stop_str", "FINISH_REASON_STOP"]
CUT_OFF = ["length", "model_length", "MAX_TOKENS", "max_tokens", "max_length", "max_output_tokens", "token_limit",
           "max_new_tokens", "FINISH_REASON_MAX_TOKENS", "model_context_window_exceeded"]  # fmt: skip
FAILURES = ["content_filter", "abort", "aborted", "cancelled", "error", "ERROR_TOXIC", "SAFETY", "RECITATION",
            "timeout", "insufficient_system_resource", "network_error", "sensitive"]  # fmt: skip
DIALECTS = [(word, kind) for kind, words in
            (("ok", WHOLE), ("truncated_length", CUT_OFF), ("error_event", FAILURES),
             ("no_answer", ["tool_calls", "function_call", "tool_use", "TOOL_CALL"])) for word in words]  # fmt: skip


@pytest.mark.parametrize(("word", "kind"), DIALECTS)
def test_a_word_for_the_end_has_one_meaning_and_is_kept_as_sent(word: str, kind: str) -> None:
    parts = [delta("The"), delta(finish_reason=word), usage(1), DONE]
    assert (class_of(*parts), parsed(*parts).finish_reason, parsed(*parts).note) == (kind, word, None)
    assert class_of(document({"content": "The"}, word), streamed=False) == kind


@pytest.mark.parametrize("word", ["null", "None", "", "NOT_FINISHED", "FINISH_REASON_UNSPECIFIED"])
def test_a_word_for_no_end_is_none(word: str) -> None:
    parts = [delta("The", finish_reason=word), delta(" cat", finish_reason=word)]
    assert (class_of(*parts), class_of(*parts, ENDED), parsed(*parts, ENDED).finish_reason) == (
        "stream_cut",
        "ok",
        "stop",
    )


def test_an_unknown_word_ends_a_whole_stream_with_a_note_and_no_cut_one() -> None:
    said = [delta("The"), delta(finish_reason="enough")]
    assert class_of(*said) == "stream_cut"
    for end in ([DONE], [usage(1)]):
        assert class_of(*said, *end) == "ok"
        assert parsed(*said, *end).note == "an unknown finish_reason: enough"


THINKING = [
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},  # Mistral
    {"content": [{"type": "thinking", "thinking": "hm"}]},  # Anthropic, Databricks
    {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]},  # Databricks
    {"content": [{"thought": True, "text": "hm"}]},  # Gemini
    {"content": None, "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},  # OpenRouter
    {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
    {"reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},  # LiteLLM
    {"reasoning": "hm", "reasoning_content": "hm"},  # vLLM, while it renamed the field
]


@pytest.mark.parametrize("fields", THINKING, ids=str)
def test_thinking_is_reasoning_wherever_it_stands(fields: dict[str, Any]) -> None:
    text = [{"type": "text", "text": "Rome"}] if isinstance(fields.get("content"), list) else "Rome"
    answer = parsed(delta(**fields), delta(**fields), delta(content=text), ENDED)
    assert (answer.answer, answer.reasoning) == ("Rome", "hmhm")
    timed = arrival_times(answer, 3, sent_s=1.0, last_byte_s=9.0)
    assert (timed.ttft_s, timed.ttfat_s) == (1.0, 3.0)
    both = {**fields, "content": [*(fields.get("content") or []), {"type": "text", "text": "Rome"}]}
    whole = parsed(document(both), streamed=False)
    assert (whole.answer, whole.reasoning) == ("Rome", "hm")


def test_a_stream_that_repeats_the_whole_message_at_its_end_holds_it_once() -> None:
    """MiniMax: a last chat.completion with message in the place of delta, and the usage."""
    last = document({"content": "Paris", "reasoning_content": "hm"}, "stop", usage={"completion_tokens": 3})
    answer = parsed(delta(reasoning_content="hm"), delta("Par"), delta("is"), b"data: " + last + b"\n\n", DONE)
    assert (answer.answer, answer.reasoning, len(answer.token_events)) == ("Paris", "hm", 3)
    assert (answer.finish_reason, answer.usage) == ("stop", {"completion_tokens": 3})


def test_a_stream_of_messages_is_one() -> None:
    said = [event({"choices": [{"message": {"content": text}}]}) for text in ("Par", "is")]
    assert parsed(*said, ENDED).answer == "Paris"


def test_deltas_that_hold_the_text_so_far_count_once() -> None:
    """DashScope without incremental_output."""
    answer = parsed(*[delta("The cat sat on mats"[:end]) for end in (3, 7, 11, 14, 19)], ENDED)
    assert (answer.answer, [event.characters for event in answer.token_events]) == (
        "The cat sat on mats",
        [3, 4, 4, 3, 5],
    )
    assert parsed(*[delta("ha ")] * 5).answer == "ha " * 5
    assert parsed(delta("1"), delta("1 "), delta("1 2"), delta("1")).answer == "11 1 21"


def test_thinking_that_is_sent_twice_is_kept_once() -> None:
    """MiniMax M3: between tags and in a field of its own."""
    said = [delta("<think>hm", reasoning_content="hm"), delta("</think>Rome"), ENDED]
    assert (parsed(*said).answer, parsed(*said).reasoning) == ("Rome", "hm")


def test_a_stop_with_every_token_proves_no_end() -> None:
    """Gateways to Gemini."""
    said = [delta(reasoning_content="hm", finish_reason="stop"), delta("Rome", finish_reason="stop")]
    assert [class_of(*said), class_of(*said, DONE), class_of(*said, usage(2))] == ["stream_cut", "ok", "ok"]


@pytest.mark.parametrize(
    "refusal",
    [
        {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}},  # MiniMax
        {"choices": [], "x_groq": {"id": "req_1", "error": "login fail"}},  # Groq
    ],
)
def test_an_error_in_an_extension_is_one(refusal: dict[str, Any]) -> None:
    assert class_of(event(refusal)) == class_of(json.dumps(refusal).encode(), streamed=False) == "error_event"
    assert "login fail" in str(parsed(delta("a"), event(refusal)).error)
    assert class_of(event({"base_resp": {"status_code": 0, "status_msg": ""}}), STREAM) == "ok"


WORST = [b"data: {\n", b"error: x\r\r", delta("<think>a</think>b"), delta(finish_reason="a" * 999), b'{"a":']


@pytest.mark.parametrize("piece", WORST, ids=lambda piece: repr(piece[:40]))
def test_a_megabyte_of_anything_is_parsed_in_seconds(piece: bytes) -> None:
    count = 10**6 // len(piece)
    one = b"data: " + json.dumps({"choices": [{"delta": {"content": (piece * count).decode("latin-1")}}]}).encode()
    begun_s = process_time()
    for reads in ([(1.0, piece)] * count, [(1.0, piece * count)], [(1.0, one + b"\n\n")]):
        classified_as(None, 200, parse_answer(reads, streamed=True), streamed=True)
    assert process_time() - begun_s < 20


@pytest.mark.parametrize("text", ["<think>", "<think>a</think>", "assistantfinal", "<thi"])
def test_a_megabyte_of_tags_is_parted_in_seconds(text: str) -> None:
    begun_s = process_time()
    parsed(document({"content": text * (10**6 // len(text))}), streamed=False)
    parsed(*[delta(text)] * 2000)
    assert process_time() - begun_s < 10
