"""What an attempt's bytes say: tokens and their times, the answer, usage, and one class.

Streams are server-sent events of OpenAI's chat completions; unstreamed answers are one JSON document. Fields are
recognised by presence, never assumed: reasoning stands in `reasoning` or `reasoning_content`, usage in the last
chunk, in every chunk or nowhere; errors arrive inside a 200 in several shapes (ALCF's gateway: an id
`chatcmpl-api-error` or content that begins with "[ERROR]"; vLLM: `"object": "error"`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

FIRST_EVENT_SHARE = 0.25  # TPOT says nothing when the first event held more of the tokens than this
CLASSES = (
    "ok", "truncated_length", "no_answer", "stream_cut", "error_event", "malformed", "http_4xx", "http_5xx",
    "rate_limited", "timeout_connect", "timeout_read", "timeout_total", "connection", "auth",
)  # fmt: skip
ENDS = ("stop", "length")  # any other finish_reason (abort, content_filter, …): the answer was not finished
STREAM = re.compile(rb"^(data|event|id|retry)?:", re.MULTILINE)

Read = tuple[float, bytes]


@dataclass(slots=True)
class Answer:
    """What the bytes of an HTTP 200 say."""

    answer: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    server_timings: dict[str, Any] = field(default_factory=dict)
    token_events: list[tuple[float, int]] = field(default_factory=list)  # time, characters
    first_answer_s: float | None = None
    error: str | None = None
    malformed: str | None = None
    done: bool = False


def parse_answer(reads: Sequence[Read], *, streamed: bool) -> Answer:
    """Parse the body of an HTTP 200. Never raises.

    A body without any line of a stream is read as one document, even where a stream was asked for: some endpoints
    ignore the wish, and errors may come so.
    """
    answer = Answer()
    body = b"".join(data for _, data in reads)
    if not streamed or not STREAM.search(body):
        _add_document(answer, body, reads[-1][0] if reads else 0.0)
        answer.token_events, answer.first_answer_s = [], None  # one read tells no token's time
        if answer.finish_reason is None and answer.error is None:
            answer.malformed = answer.malformed or body[:200].decode(errors="replace") or "an empty answer"
        return answer
    for at_s, data in _events(reads):
        if data == b"[DONE]":
            answer.done = True
            continue
        _add_document(answer, data, at_s)
    return answer


def classify(attempt: dict[str, Any], answer: Answer | None) -> str:
    """Return the one class of an attempt (a record of the journal); `answer` for an HTTP 200 only."""
    if attempt["error"]:
        return str(attempt["error"])
    status = attempt["status"]
    if status in (401, 403):
        return "auth"
    if status == 429:
        return "rate_limited"
    if status != 200 or answer is None:
        return "http_5xx" if status >= 500 else "http_4xx"
    if answer.error:
        return "error_event"
    if answer.malformed:
        return "malformed"
    if answer.finish_reason is None:
        return "stream_cut"
    if not answer.answer.strip():
        return "no_answer"
    return "truncated_length" if answer.finish_reason == "length" else "ok"


def timings(attempt: dict[str, Any], answer: Answer) -> dict[str, float | None]:
    """Return TTFT, TTFAT, TPOT and E2E in seconds from the moment the request was written; null if unknown.

    Definitions: TTFT to the first token event of any kind, TTFAT to the first answer token, E2E to the last
    token event (unstreamed: to the last byte), TPOT = (E2E - TTFT) / tokens after the first event.
    """
    sent_s, events = attempt["sent_s"], answer.token_events
    if not events:
        return {"ttft_s": None, "ttfat_s": None, "tpot_s": None, "e2e_s": attempt["reads"][-1][0] - sent_s}
    first_s, last_s = events[0][0] - sent_s, events[-1][0] - sent_s
    return {
        "ttft_s": first_s,
        "ttfat_s": answer.first_answer_s - sent_s if answer.first_answer_s is not None else None,
        "tpot_s": _tpot(last_s - first_s, events, token_count(answer.usage, "completion_tokens")),
        "e2e_s": last_s,
    }


def token_count(usage: dict[str, Any], key: str) -> int | None:
    """Return a count of the usage; None when it is missing or no count."""
    value = usage.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 and value % 1 == 0 else None


def _tpot(span_s: float, events: list[tuple[float, int]], tokens: int | None) -> float | None:
    """Divide by the tokens after the first arrival: all events of the first read, their share by characters.

    Where events and tokens are as many (usage counts the end token, which no event shows), events are counted.
    """
    characters = sum(size for _, size in events)
    burst = [size for at_s, size in events if at_s == events[0][0]]
    if not tokens or len(events) < 2 or not characters:
        return None
    share = sum(burst) / characters if tokens > len(events) + 1 else len(burst) / tokens
    first = max(1.0, share * tokens)
    return span_s / (tokens - first) if first <= FIRST_EVENT_SHARE * tokens else None


def _events(reads: Iterable[Read]) -> Iterator[Read]:
    """Yield (time of the read that completed it, data) of each server-sent event (WHATWG's grammar; LF or CRLF).

    A last event without its closing blank line is yielded when it is whole; torn, it only says that the stream
    was cut.
    """
    buffer = bytearray()
    data: list[bytes] = []
    at_s = 0.0
    for at_s, chunk in reads:
        buffer += chunk
        *lines, rest = bytes(buffer).split(b"\n")
        buffer = bytearray(rest)
        for line in (line.rstrip(b"\r") for line in lines):
            if not line and data:
                yield at_s, b"\n".join(data)
                data = []
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
    last = bytes(buffer).rstrip(b"\r")
    if last.startswith(b"data:"):
        data.append(last[5:].removeprefix(b" "))
    if data and _is_whole(b"\n".join(data)):
        yield at_s, b"\n".join(data)


def _is_whole(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return data == b"[DONE]"
    return True


def _add_document(answer: Answer, data: bytes, at_s: float) -> None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        answer.malformed = answer.malformed or data[:200].decode(errors="replace")
        return
    if not isinstance(document, dict):
        answer.malformed = answer.malformed or str(document)[:200]
        return
    if document.get("object") == "error" or document.get("error"):
        answer.error = answer.error or str(document.get("error") or document.get("message"))[:300]
    if isinstance(document.get("usage"), dict):
        answer.usage.update(document["usage"])
    for key in ("timings", "response_time", "throughput_tokens_per_second"):
        if key in document:
            answer.server_timings[key] = document[key]
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict):
            _add_choice(answer, choice, document.get("id"), at_s)


def _add_choice(answer: Answer, choice: dict[str, Any], document_id: Any, at_s: float) -> None:
    message = choice.get("delta") or choice.get("message") or {}
    if not isinstance(message, dict):
        answer.malformed = answer.malformed or str(message)[:200]
        return
    text = _text(message.get("content"))
    reasoning = _text(message.get("reasoning") or message.get("reasoning_content"))
    if ended := choice.get("finish_reason"):
        answer.finish_reason = str(ended)
        if ended not in ENDS:
            answer.error = answer.error or f"finish_reason {ended}"[:300]
    if document_id == "chatcmpl-api-error" or (not answer.answer.strip() and text.lstrip().startswith("[ERROR]")):
        answer.error = answer.error or text.strip()[:300]
    answer.answer += text
    answer.reasoning += reasoning
    if text or reasoning:
        answer.token_events.append((at_s, len(text) + len(reasoning)))
    if text and answer.first_answer_s is None:
        answer.first_answer_s = at_s


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
