"""Every fault that an endpoint or the way to it can have, planted in the stand-in: each lands in its one class.

A round asks one warm-up, which is answered well, and one request, which meets the fault; it runs as in the workflow.
The second table holds what is odd and no fault.
"""

import gzip
from dataclasses import dataclass, field
from typing import Any

import pytest

from accelbench.inference.answers.events import CLASSES
from accelbench.store.records import RequestRecord

from ..endpoint_stand_in import (
    CLOSE,
    DEAF,
    DONE,
    HANG,
    RESET,
    SHUT,
    Script,
    StandIn,
    Step,
    answer_document,
    chunked,
    delta,
    document,
    event,
    head,
    stream,
    tokens,
    usage,
)
from ..rounds import config_for, here, measure, requests_of  # noqa: F401

STREAM = b"".join(step for step in tokens("Par", "is") if isinstance(step, bytes))
CLOSING = chunked(STREAM, Connection="close")
CUT = b'data: {"choices": [{"del'
ENDED = delta(finish_reason="stop")
API_ERROR = {"id": "chatcmpl-api-error", "finish_reason": "stop"}


@dataclass(frozen=True)
class Fault:
    """What is planted, and the classes of the request's attempts. `before`: the warm-up's answer, if a special one."""

    name: str
    script: Script
    classes: str
    status: int | None = None
    streamed: bool = True
    before: Script = ()
    endpoint: dict[str, Any] = field(default_factory=dict)

    def requests(self) -> list[RequestRecord]:
        """Run the round and return the attempts of its request."""
        well = stream() if self.streamed else answer_document()
        scripts = iter([self.before or well, self.script])
        limits = {"timeout_connect_s": 0.3, "timeout_read_s": 0.3, "timeout_total_s": 0.9, **self.endpoint}
        with StandIn(lambda _: next(scripts, well)) as server:
            config = config_for(server.base_url, endpoint=limits, requests=1, rounds=1, stream=self.streamed)
            return [r for r in requests_of(config, measure(config)) if not r.warm_up]


def drip(step: bytes) -> list[Step]:
    """Return a step that comes again and again, never late enough for the next byte's limit."""
    return [step, 0.05] * 40


def length(body: bytes, stated: int) -> bytes:
    return head(Content_Length=str(stated), Content_Type="text/event-stream") + body


def refused(
    status: int, classes: str, name: str = "", *, endpoint: dict[str, Any] | None = None, **headers: str
) -> Fault:
    script = document({"error": {"code": status, "message": "no"}}, status, **headers)
    return Fault(name or f"status {status}", script, classes, status, endpoint=endpoint or {})


FAULTS = [
    # the way to the endpoint
    Fault("connection refused", [], "connection", before=[SHUT, *CLOSING, CLOSE]),
    Fault("connection not accepted", [], "timeout_connect", before=[DEAF, *CLOSING, CLOSE]),
    Fault("reset before the answer", [RESET], "connection", before=[*CLOSING, CLOSE]),
    Fault("reset, on a kept connection: sent again", [RESET], "connection, ok"),
    Fault("closed, on a kept connection: sent again", [CLOSE], "connection, ok"),
    Fault("reset in mid-answer", chunked(delta("a"), 0.05, RESET), "connection", 200),
    Fault("closed in mid-answer", chunked(delta("a"), CLOSE), "connection", 200),
    Fault("closed in the headers", [b"HTTP/1.1 200 OK\r\nContent-", CLOSE], "connection"),
    Fault("no HTTP", [b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE], "connection"),
    Fault("invalid chunk framing", [*chunked(delta("a"), last=False), b"zz\r\n"], "connection", 200),
    Fault("Content-Length too long", [length(delta("a"), 9999), CLOSE], "connection", 200),
    # time limits
    Fault("silence", [HANG], "timeout_read"),
    Fault("a stall after the headers", [*chunked(last=False), HANG], "stream_stalled", 200),
    Fault("a stall after a token", chunked(delta("a"), HANG), "stream_stalled", 200),
    Fault("a stall in a document", [length(b'{"cho', 99), HANG], "timeout_read", 200, streamed=False),
    Fault("a drip of tokens", chunked(*drip(delta("a"))), "timeout_total", 200),
    Fault("a drip of keep-alives", chunked(*drip(b": wait\n\n")), "timeout_total", 200),
    Fault("headers without end", [b"HTTP/1.1 200 OK\r\n", *drip(b"X: y\r\n" * 1000)], "timeout_total"),
    # statuses
    refused(307, "http_4xx", "a redirect, not followed", Location="http://127.0.0.1:9/v1/chat/completions"),
    refused(400, "http_4xx"),
    refused(401, "auth, ok", "a token that has ended: refreshed and sent again"),
    refused(403, "auth"),
    refused(404, "http_4xx"),
    refused(408, "http_4xx"),
    refused(422, "http_4xx"),
    refused(429, "rate_limited"),
    refused(429, "rate_limited, ok", "429, waited for unasked", endpoint={"busy_wait_s": 1.0}),
    refused(429, "rate_limited, ok", "429 with Retry-After", endpoint={"busy_wait_s": 1.0}, Retry_After="1"),
    refused(429, "rate_limited", "429 with too long a Retry-After", endpoint={"busy_wait_s": 1.0}, Retry_After="9"),
    refused(500, "http_5xx"),
    refused(502, "http_5xx"),
    refused(503, "http_5xx"),
    refused(503, "http_5xx, ok", "503, waited for", endpoint={"busy_wait_s": 1.0}),
    refused(504, "http_5xx"),
    Fault("204 without content", [head(204)], "malformed", 204),
    # errors inside a 200
    Fault("chatcmpl-api-error", chunked(delta("\n\n[ERROR] no", **API_ERROR), DONE), "error_event", 200),
    Fault("... after tokens", chunked(delta("a"), delta("no", **API_ERROR), DONE), "error_event", 200),
    Fault("... in a document", answer_document(id="chatcmpl-api-error"), "error_event", 200, streamed=False),
    Fault('"[ERROR]"', chunked(delta("[ERROR] CUDA"), ENDED, DONE), "error_event", 200),
    Fault('"[ERROR]" in a document', answer_document("[ERROR] CUDA"), "error_event", 200, streamed=False),
    Fault("object: error", chunked(event({"object": "error", "message": "no"})), "error_event", 200),
    Fault("object: error, after tokens", chunked(delta("a"), event({"object": "error"}), ENDED), "error_event", 200),
    Fault("an error without a stream", document({"error": {"message": "no"}}), "error_event", 200),
    Fault("a line error:", chunked(delta("a"), b'error: {"message": "no"}\n\n', DONE), "error_event", 200),
    Fault("event: error", chunked(delta("a"), b"event: error\ndata: no\n\n", ENDED), "error_event", 200),
    Fault("finish_reason abort", chunked(delta("a"), delta(finish_reason="abort"), DONE), "error_event", 200),
    # streams that end early
    Fault("a clean end half-way", chunked(delta("a"), delta("b")), "stream_cut", 200),
    Fault("... without framing", [head(Connection="close") + delta("a"), CLOSE], "stream_cut", 200),
    Fault("a silent [DONE]", chunked(delta("a"), DONE), "stream_cut", 200),
    Fault("usage and [DONE], no finish_reason", chunked(delta("a"), usage(1), DONE), "stream_cut", 200),
    Fault("a word that says no end", chunked(delta("a", finish_reason="null"), DONE), "stream_cut", 200),
    Fault("a torn last event", chunked(delta("a"), CUT), "stream_cut", 200),
    Fault("nothing but a keep-alive", chunked(b": wait\n\n"), "stream_cut", 200),
    Fault("Content-Length too short", [length(STREAM, len(STREAM) // 2)], "stream_cut", 200),
    # no answer of chat completions
    Fault("an empty 200", document(b""), "malformed", 200),
    Fault("an empty stream", chunked(), "malformed", 200),
    Fault("HTML", document(b"<html>log in</html>"), "malformed", 200),
    Fault("text", document(b"upstream timed out"), "malformed", 200),
    Fault("an event that is no JSON", chunked(delta("a"), event(b"{"), ENDED), "malformed", 200),
    Fault("half a document", document(b'{"choices": [{'), "malformed", 200, streamed=False),
    Fault("a document without finish_reason", document({"choices": []}), "malformed", 200, streamed=False),
    Fault("gzip unasked", document(gzip.compress(STREAM, mtime=0), Content_Encoding="gzip"), "malformed", 200),
    # whole generations
    Fault("max_tokens spent", chunked(delta("a"), delta(finish_reason="length"), DONE), "truncated_length", 200),
    Fault("only reasoning", chunked(delta(reasoning="hm"), delta(finish_reason="length"), usage(16)), "no_answer", 200),
    Fault("an empty answer", chunked(ENDED, usage(1), DONE), "no_answer", 200),
    Fault("content null", document({"choices": [{"message": {"content": None, "reasoning": "hm"}, "finish_reason":
          "length"}]}), "no_answer", 200, streamed=False),
    Fault("a tool's call", chunked(delta(tool_calls=[{}]), delta(finish_reason="tool_calls")), "no_answer", 200),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_has_its_class(fault: Fault) -> None:
    attempts = fault.requests()
    assert ", ".join(attempt.class_ for attempt in attempts) == fault.classes
    assert attempts[0].http_status == fault.status
    assert [attempt.last_attempt for attempt in attempts] == [False] * (len(attempts) - 1) + [True]
    first = attempts[0]
    if first.class_ not in ("truncated_length", "no_answer"):
        assert (first.ttft_s, first.tpot_s, first.e2e_s, first.f1) == (None, None, None, None)
        assert first.error_text or first.http_status == 204


def test_the_table_plants_every_class() -> None:
    assert {kind for fault in FAULTS for kind in fault.classes.split(", ")} == set(CLASSES)


# --- what is odd and no fault -------------------------------------------------------------------------------

UNICODE = delta("Zü🏔").replace(b"\\u00fc", "ü".encode()).replace(b"\\ud83c\\udfd4", "🏔".encode())
FLOAT_CREATED = event({"created": 1764022114.35, "choices": [{"delta": {"content": "Paris"}, "finish_reason": "stop"}]})

ODDITIES: dict[str, tuple[Script, bool, dict[str, Any]]] = {
    "CRLF": (chunked(STREAM.replace(b"\n", b"\r\n")), True, {"answer": "Paris", "completion_tokens": 2}),
    "comments and keep-alives": (chunked(b": hi\n\n", 0.05, b":\n\n" + STREAM), True, {"answer": "Paris"}),
    "empty data": (chunked(b"data:\n\n", STREAM), True, {"answer": "Paris"}),
    "[DONE], and the answer left open": (chunked(STREAM + ENDED + DONE, last=False), True, {"answer": "Paris"}),
    "[DONE], and closed without HTTP's end": (
        chunked(STREAM + ENDED, DONE, CLOSE, last=False),
        True,
        {"answer": "Paris"},
    ),
    "no space after the colon": (chunked(STREAM.replace(b"data: ", b"data:")), True, {"answer": "Paris"}),
    "UTF-8 split across reads": (
        chunked(*[step for place in range(len(UNICODE)) for step in (UNICODE[place : place + 1], 0.001)], ENDED),
        True,
        {"answer": "Zü🏔"},
    ),
    "role-only first chunk, content null": (
        chunked(delta(role="assistant"), delta(None, content=None), STREAM),
        True,
        {"answer": "Paris", "events": 2},
    ),
    "choices: []": (chunked(event({"choices": []}), STREAM), True, {"answer": "Paris"}),
    "a float created": (chunked(FLOAT_CREATED), True, {"answer": "Paris"}),
    "reasoning": (chunked(delta(reasoning="hm"), STREAM), True, {"answer": "Paris", "reasoning": "hm"}),
    "reasoning_content": (chunked(delta(reasoning_content="hm"), STREAM), True, {"answer": "Paris", "reasoning": "hm"}),
    "several tokens in an event": (chunked(delta("It is"), ENDED, usage(3)), True, {"completion_tokens": 3}),
    "usage in every chunk": (chunked(usage(1), STREAM), True, {"completion_tokens": 2, "tokens_estimated": False}),
    "no usage": (chunked(delta("Paris"), ENDED), True, {"completion_tokens": 1, "tokens_estimated": True}),
    "a document in place of a stream": (answer_document(), True, {"answer": "Paris", "streaming": "none"}),
    "event: ping": (chunked(b"event: ping\ndata: alive\n\n", STREAM), True, {"answer": "Paris"}),
    "a comment in a data line": (chunked(b"data: : PROCESSING\n\n", STREAM), True, {"answer": "Paris"}),
    "another word for stop": (
        chunked(delta("Paris"), delta(finish_reason="eos_token"), usage(1), DONE),
        True,
        {"answer": "Paris", "finish_reason": "eos_token", "note": None},
    ),
    "a word that nobody else uses": (
        chunked(delta("Paris"), delta(finish_reason="enough"), usage(1), DONE),
        True,
        {"finish_reason": "enough", "note": "an unknown finish_reason: enough"},
    ),
    "thinking in parts of the content": (
        chunked(delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]), STREAM),
        True,
        {"answer": "Paris", "reasoning": "hm"},
    ),
    "thinking between tags": (
        chunked(delta("<thi"), delta("nk>Rome?"), delta("</think>\n\n"), STREAM),
        True,
        {"answer": "Paris", "reasoning": "Rome?"},
    ),
    "a long header block": (chunked(STREAM, X_Long="x" * 200_000), True, {"answer": "Paris"}),
    "an interim answer": ([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", *stream()], True, {"answer": "Paris"}),
    "a refusal": (chunked(delta(None, refusal="No."), ENDED), True, {"answer": "No."}),
    "server's time": (answer_document(response_time=0.25), False, {"server_s": 0.25}),
}  # fmt: skip


@pytest.mark.parametrize("name", ODDITIES)
def test_what_is_odd_is_taken_as_it_is_meant(name: str) -> None:
    script, streamed, expected = ODDITIES[name]
    (request,) = Fault(name, script, "ok", 200, streamed=streamed).requests()
    assert request.class_ == "ok"
    assert request.e2e_s is not None
    assert {name: getattr(request, name) for name in expected} == expected
