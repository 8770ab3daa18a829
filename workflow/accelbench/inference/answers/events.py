"""What an attempt's bytes say: tokens and their times, the answer, usage, and one class.

Streams are server-sent events (WHATWG) of OpenAI's chat completions; unstreamed answers are one JSON document. Fields
are recognised by presence, never assumed: reasoning stands in fields of several names, in parts of the content or
between tags in it; usage in the last chunk, in every chunk, in its choice or nowhere; the word for the end has
dialects; errors arrive inside a 200 in several shapes (ALCF's gateway: an id `chatcmpl-api-error` or content that
begins with "[ERROR]"; vLLM: `"object": "error"`; llama.cpp: a line `error:`; others: `event: error`).

Thinking may stand inside an answer's text, between tags: servers without a parser for the model pass it on so. A block
counts when it is closed, or when its opening tag begins the text or a line and the answer ended within it. Chat
templates that open the block in the prompt leave the closing tag alone: all before the first one is thinking.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from accelbench import foreign
from accelbench.foreign import one_line
from accelbench.inference.api import CHAT_COMPLETIONS

CLASSES = (
    "ok", "truncated_length", "no_answer", "stream_cut", "stream_stalled", "error_event", "malformed", "http_4xx",
    "http_5xx", "rate_limited", "timeout_connect", "timeout_read", "timeout_total", "connection", "auth",
)  # fmt: skip
API_ERROR, ERROR_PREFIX = "chatcmpl-api-error", "[ERROR]"
ERROR_FIELDS = ("detail", "message", "error_code", "error_msg", "errors")  # of a document without choices
SERVER_TIMINGS = ("timings", "time_info", "response_time", "throughput_tokens_per_second")
_REASONING = ("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks")
PART_TEXTS = ("text", "thinking", "reasoning", "summary", "content", "refusal")
THOUGHT = re.compile("think|reason|thought")
BOM = b"\xef\xbb\xbf"
STREAM = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])(?:data|event|id|retry|error)?:")
OURS = (b"", b"message", b"error")  # names of events

# What is said in place of "stop", "length" and "tool_calls", by servers of HF, Mistral, Anthropic, Gemini, Cohere, …
NO_END = {"", "null", "none", "nil", "undefined", "unspecified", "not_finished", "unfinished", "in_progress", "running"}
_FAILED = re.compile(
    "abort|cancel|err(or)?(?![a-z])|fail|filter|safety|block|prohibit|toxic|recitation|spii|sensitive|time_?out|"
    "interrupt|insufficient|malformed|unexpected|exception|guardrail|refus|reject|violat|moderat|policy|unavailable|"
    "overload|preempt|shutdown|unload|disconnect"
)
LENGTH = re.compile(r"length|max_(\w{1,20}_)?tokens?|token_limit|context_window|max_output|truncat")
TOOL = re.compile("tool|function_call")
STOP = {"stop", "stopped", "eos", "eot", "end", "end_turn", "complete", "completed", "done", "finish", "finished"}

Read = tuple[float, bytes]
Ending = Literal["stop", "length", "tool", "failed", "unknown"]
_Kind = Literal["answer", "reasoning", "tool"]
MEANINGS: dict[Ending, re.Pattern[str]] = {"failed": _FAILED, "tool": TOOL, "length": LENGTH}


class TokenEvent(NamedTuple):
    """One event that brought tokens: the time of the read that completed it, its characters, and what they are."""

    at_s: float
    characters: int
    kind: _Kind


@dataclass(slots=True)
class Answer:
    """What the bytes of an HTTP 200 say. Of several choices, text and finish_reason are the first one's."""

    answer: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: dict[str, object] = field(default_factory=dict)
    server_timings: dict[str, object] = field(default_factory=dict)
    token_events: list[TokenEvent] = field(default_factory=list)
    error: str | None = None
    malformed: str | None = None
    note: str | None = None
    """What is odd about it and no failure."""
    ended: bool = False
    """Whether it says that it is over: by a word for the end, confirmed by usage or [DONE] where that is no proof."""
    done: bool = False


@dataclass(slots=True)
class Texts:
    """What is joined at the end, as adding each piece to the last takes n² time, or told only there.

    A piece of the answer or its reasoning comes with the place of its token event.
    """

    answer: list[tuple[int, str]] = field(default_factory=list)
    reasoning: list[tuple[int, str]] = field(default_factory=list)
    asides: list[str] = field(default_factory=list)
    """Documents without choices that hold a message: an error, where no answer is ended."""
    in_deltas: bool = False
    went_on: bool = False
    """Whether tokens came after a word for the end."""


def parse_answer(reads: Sequence[Read], *, streamed: bool) -> Answer:
    """Parse the body of an HTTP 200. Never raises.

    A body without any line of a stream is read as one document, even where a stream was asked for: some endpoints
    ignore the wish, and errors may come so.
    """
    answer, texts = Answer(), Texts()
    body = b"".join(data for _, data in reads)
    if streamed and STREAM.search(body):
        for at_s, name, data in _events(reads):
            if data == CHAT_COMPLETIONS.done:
                answer.done = True
                break  # whatever follows: whether it was read is chance
            if not data.startswith(b":"):  # a comment that a gateway put into a data line
                _add_document(answer, texts, data, at_s, name)
    else:
        _add_document(answer, texts, body.removeprefix(BOM), 0.0)
        answer.token_events = []  # one document tells no token's time
        answer.done = True
        if answer.finish_reason is None and answer.error is None:
            answer.malformed = answer.malformed or _excerpt(body) or "an empty answer"
    return _finished(answer, texts)


def ending(word: str) -> Ending:
    """Return what a server means by the word for the end of an answer; `unknown`: a word that nobody else uses."""
    plain = re.sub(r"[^a-z0-9]+", "_", word[:100].lower()).removeprefix("finish_reason_").strip("_")
    if meaning := next((meaning for meaning, words in MEANINGS.items() if words.search(plain)), None):
        return meaning
    return "stop" if plain in STOP or plain.startswith(("stop_", "eos_", "end_of_")) else "unknown"


def classified_as(error: str | None, status: int | None, answer: Answer | None, *, streamed: bool) -> str:
    """Return the one class of an attempt; `error` is the client's, `answer` that of an HTTP 200 only.

    What the network did counts before what was said. A redirect, which is not followed, is a request wrongly
    addressed (http_4xx); a success other than 200 holds no answer (malformed).
    """
    if error == "timeout_read" and status == 200 and streamed:
        return "stream_stalled"
    if error:
        return error
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
    if not answer.ended or answer.finish_reason is None:
        return "stream_cut"
    end = ending(answer.finish_reason)
    if end == "tool" or not answer.answer.strip():
        return "no_answer"
    return "truncated_length" if end == "length" else "ok"


def _events(reads: Iterable[Read]) -> Iterator[tuple[float, bytes, bytes]]:
    """Yield (time of the read that completed it, name, data) of each server-sent event.

    Lines that belong together by the standard, as no blank one parts them, and are no JSON together but each for
    itself, are events each. A last event without its closing blank line is yielded when it is whole, or an error;
    torn, it only says that the stream was cut.
    """
    name = b""
    data: list[tuple[float, bytes]] = []
    for at_s, line in _lines(reads):
        if line is None:  # the stream's end
            whole = b"\n".join(value for _, value in data).strip()
            if name != b"error" and whole != CHAT_COMPLETIONS.done and _loaded(whole) is None:
                data = [value for value in data if _is_event(value[1].strip())]
            yield from _dispatched(at_s, name, data)
            return
        key, _, value = line.partition(b":")
        if key in (b"data", b"error"):
            data.append((at_s, value.removeprefix(b" ")))
            name = key if key == b"error" else name
        elif key == b"event":
            name = value.strip()
        elif not line:
            yield from _dispatched(at_s, name, data)
            name, data = b"", []


def _lines(reads: Iterable[Read]) -> Iterator[tuple[float, bytes | None]]:
    """Yield (time of the read that completed it, line); they end with CRLF, LF or CR. None stands for the end."""
    rest: list[bytes] = []
    at_s, after_cr, first = 0.0, False, True
    for at_s, read in reads:
        chunk = read.removeprefix(b"\n") if after_cr else read
        after_cr = read.endswith(b"\r") if read else after_cr
        for piece in chunk.splitlines(keepends=True):
            rest.append(piece.rstrip(b"\r\n"))
            if piece[-1:] in b"\r\n":
                line, rest = b"".join(rest), []
                yield at_s, line.removeprefix(BOM) if first else line
                first = False
    if rest:
        line = b"".join(rest)
        yield at_s, line.removeprefix(BOM) if first else line
    yield at_s, None


def _dispatched(at_s: float, name: bytes, data: Sequence[tuple[float, bytes]]) -> Iterator[tuple[float, bytes, bytes]]:
    whole = b"\n".join(value for _, value in data).strip()
    own = [(line_s, value.strip()) for line_s, value in data if value.strip()]
    if len(own) > 1 and _loaded(whole) is None and _is_event(own[0][1]):
        for line_s, value in own:
            yield line_s, name, value
    elif whole:
        yield at_s, name, whole


def _is_event(data: bytes) -> bool:
    return data == CHAT_COMPLETIONS.done or isinstance(_loaded(data), dict)


def _loaded(data: bytes) -> object:
    """Return a JSON document, None if it is none.

    Servers in Python also write NaN, and some gateways halves of surrogate pairs: the standard library takes both.
    """
    try:
        return foreign.parse_json(data)
    except ValueError:
        pass
    try:
        return foreign.bounded(json.loads(data.decode(errors="replace")))
    except (ValueError, RecursionError):
        return None


def _add_document(answer: Answer, texts: Texts, data: bytes, at_s: float, name: bytes = b"") -> None:
    document = _loaded(data)
    if name == b"error":
        answer.error = answer.error or _excerpt(data) or "an error event"
    if not isinstance(document, dict):
        if name in OURS:  # what others carry may be anything
            answer.malformed = answer.malformed or _excerpt(data)
        return
    if document.get("error") or "error" in (document.get("object"), document.get("type")) or _is_refused(document):
        answer.error = answer.error or _excerpt(data)
    if not document.get("choices") and name in OURS and any(document.get(field) for field in ERROR_FIELDS):
        texts.asides.append(_excerpt(data))
    _add_usage(answer, document)
    answer.server_timings.update({key: document[key] for key in SERVER_TIMINGS if key in document})
    choices = document.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else []):
        if isinstance(choice, dict):
            _add_usage(answer, choice)  # Moonshot's
            _add_choice(answer, texts, choice, at_s, place, data)
    if document.get("id") == API_ERROR:
        answer.error = answer.error or "".join(text for _, text in texts.answer).strip() or API_ERROR


def _is_refused(document: dict[str, object]) -> bool:
    """Tell whether an extension's field holds an error: MiniMax's base_resp, Groq's x_groq."""
    base, groq = document.get("base_resp"), document.get("x_groq")
    return bool((isinstance(base, dict) and base.get("status_code")) or (isinstance(groq, dict) and groq.get("error")))


def _add_usage(answer: Answer, document: dict[str, object]) -> None:
    groq = document.get("x_groq")
    for usage in (groq.get("usage") if isinstance(groq, dict) else None, document.get("usage")):
        if isinstance(usage, dict):
            answer.usage.update({key: value for key, value in usage.items() if value is not None})


def _add_choice(answer: Answer, texts: Texts, choice: dict[str, object], at_s: float, place: int, data: bytes) -> None:
    delta = choice.get("delta")
    whole = None if texts.in_deltas else choice.get("message")  # MiniMax repeats the answer at the stream's end
    message = delta or whole or {}
    if not isinstance(message, dict):
        answer.malformed = answer.malformed or _excerpt(data)
        return
    text, reasoning = _texts(message.get("content"))
    text = text or (
        _text(message["refusal"]) if message.get("refusal") else ""
    )  # a refusal is an answer, and a wrong one
    reasoning = reasoning or next(
        (said for name in _REASONING if message.get(name) and (said := _text(message[name]))), ""
    )
    if text or reasoning:
        answer.token_events.append(TokenEvent(at_s, len(text) + len(reasoning), "answer" if text else "reasoning"))
    elif message.get("tool_calls") or message.get("function_call"):
        answer.token_events.append(TokenEvent(at_s, 1, "tool"))
    if choice.get("index", place) not in (0, None):
        return
    if text.startswith("\n\n" + ERROR_PREFIX):  # in the middle of an answer, too
        answer.error = answer.error or text.strip()
    if choice.get("error"):  # OpenRouter's
        answer.error = answer.error or _excerpt(data)
    if text or reasoning:
        texts.in_deltas = texts.in_deltas or bool(delta)
        texts.went_on = texts.went_on or answer.finish_reason is not None
        texts.answer += [(len(answer.token_events) - 1, text)] * bool(text)
        texts.reasoning += [(len(answer.token_events) - 1, reasoning)] * bool(reasoning)
    if word := _word(choice.get("finish_reason")):
        answer.finish_reason = word


def _word(finish_reason: object) -> str | None:
    """Return the word for the end as it was sent; None: the answer goes on."""
    said = finish_reason.get("type") if isinstance(finish_reason, dict) else finish_reason  # SGLang's own API has dicts
    if not said:
        return None
    word = said if isinstance(said, str) else "?"
    return None if word.strip().lower().removeprefix("finish_reason_") in NO_END else word


def _finished(answer: Answer, texts: Texts) -> Answer:
    """Look at the answer as a whole: an error's prefix may come in pieces, as may a tag or a surrogate pair."""
    pieces, reasoning_pieces = _increments(answer, texts.answer), _increments(answer, texts.reasoning)
    said, reasoning = "".join(text for _, text in pieces), "".join(text for _, text in reasoning_pieces)
    answer.answer, thought = split_thinking(said)
    if thought or answer.answer != said:
        answer.token_events = _relabelled(answer.token_events, pieces, thinking_spans(said))
    is_twice = bool(reasoning) and thought.strip() in reasoning  # MiniMax: between tags and in a field
    answer.reasoning = reasoning if is_twice else reasoning + thought
    if answer.answer.lstrip().startswith(ERROR_PREFIX):
        answer.error = answer.error or answer.answer.strip()
    answer.answer, answer.reasoning = _paired(answer.answer), _paired(answer.reasoning)
    answer.finish_reason = answer.finish_reason and _paired(answer.finish_reason)[:100]
    if texts.asides and answer.finish_reason is None:
        answer.error = answer.error or texts.asides[0]
    end = answer.finish_reason and ending(answer.finish_reason)
    is_proof = end != "unknown" and not texts.went_on  # some gateways send "stop" with every token
    answer.ended = bool(end) and (is_proof or answer.done or bool(answer.usage))
    if end == "failed":  # abort, content_filter, …: the answer was not finished
        answer.error = answer.error or f"finish_reason {answer.finish_reason}"
    elif end == "unknown":
        answer.note = f"an unknown finish_reason: {one_line(str(answer.finish_reason))}"
    answer.error = answer.error and _paired(answer.error)[:300]
    answer.malformed = answer.malformed and _paired(answer.malformed)[:300]
    return answer


def _increments(answer: Answer, pieces: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    """Return what each piece adds, where each (four at least) is the text so far, as DashScope's may be."""
    steps = list(pairwise(pieces))
    if len(steps) < 3 or not all(len(late) > len(early) and late.startswith(early) for (_, early), (_, late) in steps):
        return pieces
    added = [pieces[0], *((event, late[len(early) :]) for (_, early), (event, late) in steps)]
    for event, text in added:
        if event < len(answer.token_events):
            answer.token_events[event] = answer.token_events[event]._replace(characters=len(text))
    return added


def _relabelled(
    events: Sequence[TokenEvent], pieces: Sequence[tuple[int, str]], spans: Sequence[tuple[int, int]]
) -> list[TokenEvent]:
    """Return the token events, those that brought nothing but thinking (and blanks after it) as reasoning."""
    labelled, begin, place = list(events), 0, 0
    for event, text in pieces:
        end, left, at = begin + len(text), "", begin
        while place < len(spans) and spans[place][0] < end:
            left += text[at - begin : max(at, spans[place][0]) - begin]
            at = min(end, max(at, spans[place][1]))
            if spans[place][1] > end:
                break
            place += 1
        left += text[at - begin :]
        if event < len(labelled) and not left.strip():
            labelled[event] = labelled[event]._replace(kind="reasoning")
        begin = end
    return labelled


def _paired(text: str) -> str:
    """Join halves of surrogate pairs; a half alone becomes U+FFFD, so that the text can be written as UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _texts(value: object) -> tuple[str, str]:
    """Return answer and reasoning in a field of a message: a string, a part, or a list of parts."""
    if isinstance(value, str):
        return value, ""
    said: list[str] = []
    thought: list[str] = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict):
            text = next((text for name in PART_TEXTS if (text := _text(part.get(name)))), "")
            (thought if _is_thought(part) else said).append(text)
    return "".join(said), "".join(thought)


def _text(value: object) -> str:
    """Return all text of a field."""
    return "".join(_texts(value))


def _is_thought(part: dict[str, object]) -> bool:
    return part.get("thought") is True or bool(THOUGHT.search(str(part.get("type"))[:100]))


def _excerpt(data: bytes) -> str:
    return data[:300].decode(errors="replace")


PAIRS = {
    "<think>": "</think>",  # DeepSeek R1, Qwen 3, GLM, Phi 4
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # Gemini's compatible API
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # ByteDance Seed-OSS
    "[THINK]": "[/THINK]",  # Mistral's Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|START_THINKING|>": "<|END_THINKING|>",  # Cohere's Command A
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",  # gpt-oss
}
ALONE = ("assistantfinal",)  # gpt-oss's closing tag without its special tokens
CLOSING = {*PAIRS.values(), *ALONE}
TAG = re.compile("|".join(re.escape(tag) for tag in (*PAIRS, *CLOSING)))


def thinking_spans(text: str) -> list[tuple[int, int]]:
    """Return where thinking stands in a text, in order, tags included."""
    found: list[tuple[int, int]] = []
    begin, closing = 0, ""
    for tag in TAG.finditer(text):
        name = tag[0]
        if name == closing or (not closing and not found and name in CLOSING):
            found.append((begin, tag.end()))
            begin, closing = tag.end(), ""
        elif not closing and name in PAIRS:
            begin, closing = tag.start(), PAIRS[name]
    if closing and (begin == 0 or text[found[-1][1] if found else 0 : begin].strip() == "" or text[begin - 1] == "\n"):
        found.append((begin, len(text)))
    return found


def split_thinking(text: str) -> tuple[str, str]:
    """Return the answer and the thinking of a text, tags left out."""
    where = thinking_spans(text)
    if not where:
        return text, ""
    edges = [0, *(edge for span in where for edge in span), len(text)]
    answer = "".join(text[edges[place] : edges[place + 1]] for place in range(0, len(edges), 2))
    thinking = "".join(TAG.sub("", text[begin:end]) for begin, end in where)
    return answer.lstrip(), thinking
