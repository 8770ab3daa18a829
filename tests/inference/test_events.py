"""What bytes say: server-sent events, classes of the fault matrix, and times by their definitions."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelbench.inference.events import CLASSES, Answer, Read, classify, parse_answer, timings

from .endpoint_stand_in import DONE, delta, event, tokens, usage

STREAM = b"".join(step for step in tokens("Par", "is") if isinstance(step, bytes))


def attempt(status: int | None = 200, error: str | None = None, **more: Any) -> dict[str, Any]:
    return {"status": status, "error": error, "sent_s": 1.0, "end_s": 9.0, "reads": [], **more}


def parsed(*parts: bytes, streamed: bool = True) -> Answer:
    return parse_answer([(float(at), part) for at, part in enumerate(parts, 2)], streamed=streamed)


def class_of(*parts: bytes, streamed: bool = True) -> str:
    return classify(attempt(), parsed(*parts, streamed=streamed))


def times_of(*reads: Read, streamed: bool = True) -> dict[str, float | None]:
    return timings(attempt(reads=reads), parse_answer(reads, streamed=streamed))


def document(message: dict[str, Any], finish_reason: str | None = "stop", **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}], **more}).encode()


# --- reading the bytes --------------------------------------------------------------------------------------


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


def test_float_created_and_empty_choices_are_taken() -> None:
    said = event({"created": 1764022114.35, "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]})
    assert class_of(said, usage(1)) == "ok"


def test_usage_in_every_chunk_ends_with_the_last() -> None:
    assert parsed(usage(1), usage(2)).usage["completion_tokens"] == 2


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
    assert classify(attempt(), answer) in CLASSES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "message", "content", "reasoning", "usage", "error", "finish_reason",
                         "completion_tokens", "object", "id"]),
        inner,
        max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.lists(json_values, max_size=4), st.booleans())
def test_any_json_is_parsed_classified_and_timed(values: list[Any], streamed: bool) -> None:
    parts = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]
    reads = [(float(at), part if streamed else part[6:]) for at, part in enumerate(parts, 2)] or [(2.0, b"")]
    answer = parse_answer(reads, streamed=streamed)
    assert classify(attempt(), answer) in CLASSES
    assert set(timings(attempt(reads=reads), answer)) == {"ttft_s", "ttfat_s", "tpot_s", "e2e_s"}


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
     (429, "rate_limited"), (500, "http_5xx"), (503, "http_5xx"), (504, "http_5xx")],
)  # fmt: skip
def test_a_status_has_one_class(status: int, kind: str) -> None:
    assert classify(attempt(status), None) == kind


@pytest.mark.parametrize("error", ["timeout_connect", "timeout_read", "timeout_total", "connection"])
def test_what_the_network_did_counts_before_what_was_said(error: str) -> None:
    assert classify(attempt(200, error), parsed(STREAM)) == error


# --- times --------------------------------------------------------------------------------------------------


def test_ttft_and_e2e_count_from_the_sent_request_to_the_first_and_last_token() -> None:
    times = times_of((1.2, delta(role="assistant")), (1.5, delta("a")), (3.0, delta("b")), (4.0, DONE))
    assert (times["ttft_s"], times["e2e_s"]) == (0.5, 2.0)


def test_ttft_takes_a_reasoning_token_and_ttfat_the_first_of_the_answer() -> None:
    times = times_of((1.5, delta(reasoning="hm")), (2.0, delta("a")))
    assert (times["ttft_s"], times["ttfat_s"]) == (0.5, 1.0)


def test_a_reasoning_only_answer_has_no_ttfat() -> None:
    assert times_of((1.5, delta(reasoning="hm")))["ttfat_s"] is None


def test_an_unstreamed_answer_has_only_e2e_to_its_last_byte() -> None:
    body = document({"content": "a"}, usage={"completion_tokens": 4})
    assert times_of((2.0, body[:9]), (3.0, body[9:]), streamed=False) == {
        "ttft_s": None,
        "ttfat_s": None,
        "tpot_s": None,
        "e2e_s": 2.0,
    }


def test_tpot_divides_by_the_tokens_after_the_first() -> None:
    reads = [(2.0 + 0.1 * n, delta("word")) for n in range(11)]
    assert times_of(*reads, (9.0, usage(11)))["tpot_s"] == pytest.approx(0.1)


def test_tpot_takes_usage_where_events_hold_several_tokens() -> None:
    reads = [(2.0 + n, delta("four tokens here now")) for n in range(5)]
    assert times_of(*reads, (9.0, usage(20)))["tpot_s"] == pytest.approx(4 / 16)


def test_tpot_leaves_out_all_tokens_of_the_first_read() -> None:
    reads = [(2.0, delta("word") * 20), *((2.0 + 0.1 * n, delta("word")) for n in range(1, 61))]
    assert times_of(*reads, (9.0, usage(80)))["tpot_s"] == pytest.approx(0.1)


@pytest.mark.parametrize(("first", "said"), [(25, True), (26, False)])
def test_tpot_is_null_when_the_first_event_held_more_than_a_quarter_of_the_tokens(first: int, said: bool) -> None:
    reads = [(2.0, delta("x" * first)), (3.0, delta("x" * (100 - first))), (4.0, usage(100))]
    assert (times_of(*reads)["tpot_s"] is not None) is said


def test_a_long_first_word_is_one_token_where_events_and_tokens_are_as_many() -> None:
    reads = [(2.0, delta("Photosynthesis")), *((2.0 + n, delta("a")) for n in range(1, 5))]
    assert times_of(*reads, (9.0, usage(6)))["tpot_s"] == pytest.approx(4 / 5)  # usage counts the end token


@pytest.mark.parametrize("count", [None, "12", -1, 2.5, True, {}, 0])
def test_tpot_is_null_without_a_usable_count(count: Any) -> None:
    reads = [(2.0 + n, delta("a")) for n in range(8)]
    assert times_of(*reads, (9.0, event({"usage": {"completion_tokens": count}})))["tpot_s"] is None


def test_tpot_is_null_when_all_came_at_once() -> None:
    assert times_of((2.0, STREAM))["tpot_s"] is None
