"""Endpoints that mean harm: each model id is an attack; what they were asked with comes back in every form."""

import base64
import json
import re
import urllib.parse
from collections.abc import Callable

from tests.inference.endpoint_stand_in import (
    DONE,
    Script,
    Seen,
    chunked,
    delta,
    document,
    event,
    head,
    stream,
    usage,
)

TOKEN = "canary+Tok-6f1d9c0ab7~Zq"  # a header's name can hold it, and URLs escape it
PASSWORD = "canary Passphrase 81f3"
BASIC = base64.b64encode(f"someone:{PASSWORD}".encode()).decode()
KEY = "canary-Key-55e0b1"
SECRETS = (TOKEN, PASSWORD, BASIC, KEY)
ACTING = "\x1b]0;pwned\x07\x1b[2J\u202egnp.exe\u2066\x9b31m"
MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def said(seen: Seen) -> str:
    """Return all secrets that a request brought, as one text; of a Basic login the password, too."""
    brought = [value for value in seen.headers.values() if "canary" in value or BASIC in value]
    return " ".join([*brought, *([PASSWORD] if any(BASIC in value for value in brought) else [])])


def answers(*texts: str) -> Script:
    return chunked(*(delta(text) for text in texts), delta(finish_reason="stop"), usage(len(texts)), DONE)


def escaped(text: str) -> bytes:
    """Return an event whose content is all \\u00xx."""
    letters = "".join(f"\\u{ord(letter):04x}" for letter in text)
    return (
        b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}\n\n' % letters.encode()
    )


def whole(*events: bytes) -> Script:
    return chunked(*events, delta(finish_reason="stop"), usage(2), DONE)


def deep(levels: int) -> bytes:
    return b'{"choices": ' + b"[" * levels + b"]" * levels + b"}"


def counted(digits: int) -> bytes:
    number = b"9" * digits
    usages = b'"usage": {"prompt_tokens": %s, "completion_tokens": %s, "total_tokens": 1e308}' % (number, number)
    return b'data: {"choices": [], %s, "timings": {"predicted_ms": 1e308, "prompt_n": %s}}\n\n' % (usages, number)


ECHOES: dict[str, Callable[[Seen], Script]] = {
    "echo-plain": lambda seen: answers(said(seen)),
    "echo-escaped": lambda seen: whole(escaped(said(seen))),
    "echo-spread": lambda seen: answers(*said(seen)),
    "echo-two-fields": lambda seen: whole(
        *(delta(letter) if at % 2 else delta(reasoning_content=letter) for at, letter in enumerate(said(seen)))
    ),
    "echo-base64": lambda seen: answers(*(base64.b64encode(b"x" * n + said(seen).encode()).decode() for n in range(3))),
    "echo-hex": lambda seen: answers(said(seen).encode().hex(), said(seen).encode().hex().upper()),
    "echo-case": lambda seen: answers(said(seen).upper(), said(seen).swapcase()),
    "echo-url": lambda seen: answers(urllib.parse.quote(said(seen), safe=""), said(seen).replace("+", "%2b")),
    "echo-headers": lambda seen: document({}, 500, **{TOKEN: "1", "Server": said(seen)}),
    "echo-error": lambda seen: document({"error": {"message": f"bad key {said(seen)}", "code": said(seen)}}, 500),
    "echo-status": lambda seen: [b"HTTP/1.1 500 " + said(seen).encode() + b"\r\nContent-Length: 0\r\n\r\n"],
    "echo-cut": lambda seen: [*chunked(*map(delta, said(seen)), last=False), "reset"],
}  # fmt: skip
REGEXES = {
    "regex-stars": "**a ",
    "regex-commas": "1,",
    "regex-boxed": "\\boxed{",
    "regex-think": "<think>",
    "regex-dollars": "$a$ ",
    "regex-answer": "answer: the answer is ",
    "regex-blanks": " \t\n",
    "regex-links": "[](",
}
ATTACKS: dict[str, Callable[[Seen], Script]] = {
    **ECHOES,
    **{name: lambda _, text=text: answers(text * (160_000 // len(text))) for name, text in REGEXES.items()},
    "deep": lambda _: whole(event(deep(20_000)), delta("Paris")),
    "deep-error": lambda _: document(deep(300), 500),
    "counts": lambda _: chunked(delta("Paris"), delta(finish_reason="stop"), counted(400), DONE),
    "huge-counts": lambda _: chunked(delta("Paris"), delta(finish_reason="stop"), counted(100_000), DONE),
    "controls": lambda _: answers("Paris", ACTING, MARKUP),
    "controls-error": lambda _: document(
        {"error": {"message": ACTING + MARKUP, "type": ACTING}}, 400, Server="x", X_Note=MARKUP
    ),
    "drip": lambda _: drip(b"".join(step for step in stream(*["Paris "] * 150) if isinstance(step, bytes))),
    "retry": lambda _: document({}, 429, Retry_After="9" * 400),
    "no-http": lambda _: [ACTING.encode() * 100, "close"],
}


def drip(text: bytes) -> Script:
    """Return a text in writes of one byte."""
    return [text[at : at + 1] for at in range(len(text))]


def answer(seen: Seen) -> Script:
    """Do what the model's id says."""
    return ATTACKS[seen.json["model"]](seen)


def page(seen: Seen) -> Script:
    """List models; the page is hostile by itself, in the way that the port's path says."""
    entry = {"id": ACTING + MARKUP, "max_model_len": 10**400, "owned_by": said(seen)}
    listed = [{"id": name, "max_model_len": 4096, "root": said(seen), "note": ACTING} for name in ATTACKS]
    return document({"data": [*listed, entry], "said": said(seen)})


def deep_page(_: Seen) -> Script:
    return document(b'{"data": [{"id": "echo-plain", "x": ' + b"[" * 300 + b"]" * 300 + b"}]}")


def no_page(seen: Seen) -> Script:
    return [head(401, Content_Length="2000", Server=said(seen)) + (said(seen) + ACTING).encode().ljust(2000)]


def tells(content: bytes) -> list[str]:
    """Return the secrets that a content tells, in whatever form: plain, escaped, in base64, in hexadecimal."""
    text = content.decode(errors="replace")
    for _ in range(3):  # escapes of escapes
        text = re.sub(r"\\+u00([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    texts = [text.lower(), urllib.parse.unquote(text).lower()]
    found = []
    for secret in SECRETS:
        cores = [base64.b64encode(b"x" * n + secret.encode()).decode()[4:-4] for n in range(3)]
        forms = {secret.lower(), secret.encode().hex(), json.dumps(secret)[1:-1].lower(), *map(str.lower, cores)}
        found += [secret for form in forms if any(form in each for each in texts)]
    return found
