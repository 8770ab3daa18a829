"""What refusals say: the field that an endpoint does not take, in the words of many, and what may mend the rest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.foreign import printable
from accelbench.inference.api import CHAT_COMPLETIONS
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.refusals import in_words, is_at_fault, refused_field, remedy

PYDANTIC = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted",
            "input": {"include_usage": True, "max_tokens": 4}}  # fmt: skip
VALIDATION = "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]"
FIELDS = "`messages`, `model`, `reasoning_effort`, `max_tokens`, `stream_options`, `temperature`, `top_p`"


def answered(body: Any, status: int = 400, **headers: str) -> Exchange:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(status=status, headers=headers, reads=[(0.1, content[:7]), (0.2, content[7:])])


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": text, **more}}


@pytest.mark.parametrize(
    ("field", "status", "body"),
    [
        ("max_tokens", 400, said("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
         "'max_completion_tokens' instead.", param="max_tokens", code="unsupported_parameter")),
        ("max_tokens", 400, said("this model is not supported MaxTokens, please use MaxCompletionTokens")),
        ("temperature", 400, said("Unsupported value: 'temperature' does not support 0.0 with this model. Only the "
         "default (1) value is supported.", param="temperature")),
        ("temperature", 400, said("This parameter is not supported with this model.", param="temperature")),
        ("temperature", 422, {"error": "Input validation error: `temperature` must be strictly positive"}),
        ("temperature", 400, said("`temperature` is deprecated for this model.")),
        ("top_p", 400, said("`temperature` and `top_p` cannot both be specified for this model.")),
        ("stream_options", 400, said("Unrecognized request argument supplied: stream_options")),
        ("stream_options", 422, {"detail": [PYDANTIC]}),
        ("stream_options", 422, {"object": "error", "message": {"detail": [PYDANTIC]}, "param": None}),
        ("stream_options", 422, {"object": "Error", "detail": [PYDANTIC], "message": [PYDANTIC]}),
        ("stream_options", 400, {"object": "error", "message": VALIDATION, "code": 400}),
        ("stream_options", 400, said('Invalid JSON payload: Unknown name "stream_options": Cannot find field.')),
        ("stream_options", 400, {"message": 'json: unknown field "stream_options"'}),
        ("stream_options", 400, said(f"stream_options: unknown field, expected one of {FIELDS} at line 1 column 9")),
        ("reasoning_effort", 400, said("`reasoning_effort` is not supported with this model")),
        ("reasoning_effort", 400, {"code": "x", "error": "Model g does not support parameter reasoningEffort."}),
        ("reasoning_effort", 400, said("litellm.UnsupportedParamsError: openai does not support parameters: "
         "['reasoning_effort'], for model=m. To drop these, set `litellm.drop_params=True`")),
        ("reasoning_effort", 500, said("generate() got an unexpected keyword argument 'reasoning_effort'")),
        (None, 400, said("'max_tokens' is too large: 9999. This model supports at most 4096.", param="max_tokens")),
        (None, 400, said("max_tokens 9999 exceeds the limit, which is not supported")),
        (None, 400, said("temperature must be at most 2")),
        (None, 400, said("The model `m` does not exist or is not supported")),
        (None, 400, said(f"thinking: unknown field `thinking`, expected one of {FIELDS}")),
        (None, 429, said("Unsupported parameter: 'max_tokens'")),
        (None, 400, b"\xff\xfe"),
        (None, 400, b"[" * 5000),
    ],
)  # fmt: skip
def test_the_field_that_is_refused_is_found(field: str | None, status: int, body: Any) -> None:
    assert refused_field(answered(body, status), CHAT_COMPLETIONS.other_names) == field


@given(st.binary(max_size=300), st.sampled_from([200, 301, 400, 404, 422, 500]))
def test_whatever_is_answered_is_read(body: bytes, status: int) -> None:
    exchange = answered(body, status)
    refused_field(exchange, CHAT_COMPLETIONS.other_names)
    assert in_words(exchange) == printable(in_words(exchange))
    assert remedy(exchange, "http://h/v1", "m", ["a"], listed=True)
    remedy(exchange, "http://h/v1", "a", ["a"], listed=True)


@pytest.mark.parametrize(
    ("exchange", "fault"),
    [
        *[(answered({}, status), True) for status in (400, 401, 403, 404, 405, 422, 301, 302, 307, 308)],
        (answered(b"<!DOCTYPE html><html>", 200), True),
        (answered(b"log in", 200, content_type="text/html; charset=utf-8"), True),
        *[(answered({}, status), False) for status in (200, 408, 429, 500, 502, 503)],
        (Exchange(status=404, error="timeout_read"), False),
        (Exchange(), False),
    ],
)
def test_a_fault_of_the_request_is_none_of_the_endpoints(exchange: Exchange, fault: bool) -> None:
    assert is_at_fault(exchange) is fault


BASE = "http://h:8000/v1"


@pytest.mark.parametrize(
    ("exchange", "base_url", "ids", "listed", "mends"),
    [
        (answered({}, 404), "http://h:8000", [], False, "Is /v1 missing: http://h:8000/v1?"),
        (answered({}, 405), "http://h:8000", [], False, "Is /v1 missing"),
        (answered({}, 404), f"{BASE}/chat/completions", [], False, f"must end before /chat/completions: {BASE}."),
        (answered({}, 404), BASE, ["a", "b"], True, "It serves a, b: set <model> to one of them."),
        (answered({}, 404), BASE, [f"m{n}" for n in range(20)], True, "m9 and 10 more"),
        (answered({}, 404), BASE, ["\x1b[31m"], True, "serves \\x1b[31m"),
        (answered({}, 301, location="https://h/v1/chat/completions?x"), BASE, [], False, "Set <base_url> to https://h/v1"),
        (answered({}, 307, location="/api/v1/chat/completions"), BASE, [], False, "to http://h:8000/api/v1 if"),
        (answered(b"The plain HTTP request was sent to HTTPS port", 400), BASE, [], True, "write https://"),
        (answered({}, 403), BASE, [], True, "<token>"),
    ],
)  # fmt: skip
def test_a_cause_is_suggested(exchange: Exchange, base_url: str, ids: list[str], listed: bool, mends: str) -> None:
    assert mends in remedy(exchange, base_url, "m", ids, listed=listed)


def test_what_is_said_is_one_bounded_line() -> None:
    words = in_words(answered(said("\x1b[2Jno\nmore \u202e" + "x" * 5000), 400))
    assert words.startswith("400: \\x1b[2Jno more \\u202exxx") and len(words) <= 300
    page = b"<!doctype html><title>Sign in</title><style>p {}</style><p>Please <b>sign in</b></p>"
    assert in_words(answered(page, 200)) == "200, an HTML page: Sign in Please sign in."
    assert in_words(answered(b"", 302, location="http://a\x1b")) == "302, a redirect to http://a\\x1b."
