"""What an attempt's bytes say: tokens and their times, the answer, usage, and one class.

Streams are server-sent events of OpenAI's chat completions; unstreamed answers are one JSON document. Fields are
recognised by presence, never assumed: reasoning stands in `reasoning` or `reasoning_content`, usage in the last
chunk, in every chunk or nowhere; errors arrive inside a 200 in several shapes (ALCF's gateway: an id
`chatcmpl-api-error` or content that begins with "[ERROR]"; vLLM: `"object": "error"`; others: `event: error`).
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson

CLASSES = (
    "ok", "truncated_length", "no_answer", "stream_cut", "stream_stalled", "error_event", "malformed", "http_4xx",
    "http_5xx", "rate_limited", "timeout_connect", "timeout_read", "timeout_total", "connection", "auth",
)  # fmt: skip
ENDS = ("stop", "length")
TOOL_ENDS = ("tool_calls", "function_call")  # a whole generation, if no answer
API_ERROR, ERROR_PREFIX = "chatcmpl-api-error", "[ERROR]"
SERVER_TIMINGS = ("timings", "response_time", "throughput_tokens_per_second")
STREAM = re.compile(rb"^(data|event|id|retry)?:", re.MULTILINE)

Read = tuple[float, bytes]
Kind = Literal["answer", "reasoning", "tool"]


class TokenEvent(NamedTuple):
    """One event that brought tokens: the time of the read that completed it, its characters, and what they are."""

    at_s: float
    characters: int
    kind: Kind


@dataclass(slots=True)
class Answer:
    """What the bytes of an HTTP 200 say. Of several choices, text and finish_reason are the first one's."""

    answer: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    server_timings: dict[str, Any] = field(default_factory=dict)
    token_events: list[TokenEvent] = field(default_factory=list)
    error: str | None = None
    malformed: str | None = None
    done: bool = False


class Texts(NamedTuple):
    """The pieces of an answer and of its reasoning: joined at the end, as adding each to the last takes n² time."""

    answer: list[str]
    reasoning: list[str]


def parse_answer(reads: Sequence[Read], *, streamed: bool) -> Answer:
    """Parse the body of an HTTP 200. Never raises.

    A body without any line of a stream is read as one document, even where a stream was asked for: some endpoints
    ignore the wish, and errors may come so.
    """
    answer, texts = Answer(), Texts([], [])
    body = b"".join(data for _, data in reads)
    if streamed and STREAM.search(body):
        for at_s, name, data in _events(reads):
            if data == b"[DONE]":
                answer.done = True
            else:
                _add_document(answer, texts, data, at_s, is_error=name == b"error")
    else:
        _add_document(answer, texts, body, 0.0)
        answer.token_events = []  # one document tells no token's time
        if answer.finish_reason is None and answer.error is None:
            answer.malformed = answer.malformed or _excerpt(body) or "an empty answer"
    return _finished(answer, texts)


def classify(attempt: dict[str, Any], answer: Answer | None, *, streamed: bool) -> str:
    """Return the one class of an attempt (a record of the journal); `answer` for an HTTP 200 only.

    What the network did counts before what was said. A redirect, which is not followed, is a request wrongly
    addressed (http_4xx); a success other than 200 holds no answer (malformed).
    """
    error, status = attempt["error"], attempt["status"]
    if error == "timeout_read" and status == 200 and streamed:
        return "stream_stalled"
    if error:
        return str(error)
    if status == 200 and answer is not None:
        return _class_of(answer)
    if status in (401, 403):
        return "auth"
    if status == 429:
        return "rate_limited"
    if status is None or status < 300:
        return "malformed"
    return "http_5xx" if status >= 500 else "http_4xx"


def _class_of(answer: Answer) -> str:
    if answer.error:
        return "error_event"
    if answer.malformed:
        return "malformed"
    if answer.finish_reason is None:
        return "stream_cut"
    if answer.finish_reason in TOOL_ENDS or not answer.answer.strip():
        return "no_answer"
    return "truncated_length" if answer.finish_reason == "length" else "ok"


def _events(reads: Iterable[Read]) -> Iterator[tuple[float, bytes, bytes]]:
    """Yield (time of the read that completed it, name, data) of each server-sent event (WHATWG; LF or CRLF).

    A last event without its closing blank line is yielded when it is whole; torn, it only says that the stream
    was cut.
    """
    name, at_s = b"", 0.0
    rest: list[bytes] = []
    data: list[bytes] = []
    for at_s, chunk in reads:
        end, *lines = chunk.split(b"\n")
        rest.append(end)
        if not lines:
            continue
        lines.insert(0, b"".join(rest))
        rest = [lines.pop()]
        for line in (line.rstrip(b"\r") for line in lines):
            key, _, value = line.partition(b":")
            if key == b"data":
                data.append(value.removeprefix(b" "))
            elif key == b"event":
                name = value.strip()
            elif not line:
                if whole := b"\n".join(data).strip():
                    yield at_s, name, whole
                name, data = b"", []
    last = b"".join(rest).rstrip(b"\r")
    if last.startswith(b"data:"):
        data.append(last[5:].removeprefix(b" "))
    whole = b"\n".join(data).strip()
    if whole == b"[DONE]" or _loaded(whole) is not None:
        yield at_s, name, whole


def _loaded(data: bytes) -> Any:
    """Return a JSON document, None if it is none.

    Servers in Python also write NaN, and some gateways halves of surrogate pairs: the standard library takes both.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _add_document(answer: Answer, texts: Texts, data: bytes, at_s: float, *, is_error: bool = False) -> None:
    document = _loaded(data)
    if is_error:
        answer.error = answer.error or _excerpt(data) or "an error event"
    if not isinstance(document, dict):
        answer.malformed = answer.malformed or _excerpt(data)
        return
    if document.get("object") == "error" or document.get("error"):
        answer.error = answer.error or _excerpt(data)
    if isinstance(document.get("usage"), dict):
        answer.usage.update({key: value for key, value in document["usage"].items() if value is not None})
    answer.server_timings.update({key: document[key] for key in SERVER_TIMINGS if key in document})
    choices = document.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else []):
        if isinstance(choice, dict):
            _add_choice(answer, texts, choice, at_s, place, data)
    if document.get("id") == API_ERROR:
        answer.error = answer.error or "".join(texts.answer).strip() or API_ERROR


def _add_choice(answer: Answer, texts: Texts, choice: dict[str, Any], at_s: float, place: int, data: bytes) -> None:
    message = choice.get("delta") or choice.get("message") or {}
    if not isinstance(message, dict):
        answer.malformed = answer.malformed or _excerpt(data)
        return
    text = _text(message.get("content")) or _text(message.get("refusal"))  # a refusal is an answer, and a wrong one
    reasoning = _text(message.get("reasoning")) or _text(message.get("reasoning_content"))
    if text or reasoning:
        answer.token_events.append(TokenEvent(at_s, len(text) + len(reasoning), "answer" if text else "reasoning"))
    elif message.get("tool_calls") or message.get("function_call"):
        answer.token_events.append(TokenEvent(at_s, 1, "tool"))
    if choice.get("index", place) not in (0, None):
        return
    if text.startswith("\n\n" + ERROR_PREFIX):  # in the middle of an answer, too
        answer.error = answer.error or text.strip()
    texts.answer.append(text)
    texts.reasoning.append(reasoning)
    if ended := choice.get("finish_reason"):
        answer.finish_reason = ended if isinstance(ended, str) else "?"
        if ended not in (*ENDS, *TOOL_ENDS):  # abort, content_filter, …: the answer was not finished
            answer.error = answer.error or f"finish_reason {answer.finish_reason}"


def _finished(answer: Answer, texts: Texts) -> Answer:
    """Look at the answer as a whole: an error's prefix may come in pieces, as may a surrogate pair."""
    answer.answer, answer.reasoning = "".join(texts.answer), "".join(texts.reasoning)
    if answer.answer.lstrip().startswith(ERROR_PREFIX):
        answer.error = answer.error or answer.answer.strip()
    answer.answer, answer.reasoning = _paired(answer.answer), _paired(answer.reasoning)
    answer.finish_reason = answer.finish_reason and _paired(answer.finish_reason)[:100]
    answer.error = answer.error and _paired(answer.error)[:300]
    answer.malformed = answer.malformed and _paired(answer.malformed)[:300]
    return answer


def _paired(text: str) -> str:
    """Join halves of surrogate pairs; a half alone becomes U+FFFD, so that the text can be written as UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _text(value: Any) -> str:
    """Return the text of a message's field: a string, or a list of parts with texts."""
    if isinstance(value, list):
        texts = [part.get("text") for part in value if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) else ""


def _excerpt(data: bytes) -> str:
    return data[:300].decode(errors="replace")
