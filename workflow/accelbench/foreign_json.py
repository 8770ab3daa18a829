"""JSON from other programs: the only place where it is read.

Endpoints, result files and records of other tools may contain anything: trees too deep to be written as JSON, counts of
a thousand digits, infinities. Whatever passes here can be stored, written and computed with.
"""

import json
import math
import re
from typing import Any

import orjson

MOST_LEVELS = 100  # orjson reads 1,024 and writes 254
LARGEST_COUNT = 10**12
LARGEST_NUMBER = 1e15
MESSAGES = ("error", "message", "detail", "msg", "errors", "error_description", "title")  # in which errors say why
TORN_MESSAGE = re.compile(r'"(?:message|detail|msg|error)"\s*:\s*"((?:[^"\\]|\\.)*)')  # of a document that was cut
MARKUP = re.compile(r"<(?:script|style)\b[^>]*>[^<]*|<[^<>]*>", re.IGNORECASE)
MOST_DOCUMENT, MOST_TORN, MOST_MARKUP, MOST_ERRORS = 2**20, 2**16, 2**12, 5


def parse_json(text: bytes | str) -> Any:
    """Return the document. Raises ValueError when it is not valid JSON, or nests deeper than `MOST_LEVELS`."""
    document = orjson.loads(text)
    opened = text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")
    return document if opened <= MOST_LEVELS else bounded(document)


def parse_python(text: bytes | str) -> Any:
    """Return a document that may contain Python's extensions of JSON: Infinity and NaN become null.

    Half a character (a lone surrogate) becomes "?". Raises ValueError as `parse` does.
    """
    try:
        return parse_json(text)
    except orjson.JSONDecodeError as error:
        try:
            document = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
            plain = json.dumps(document, ensure_ascii=False).encode(errors="replace")
        except (ValueError, RecursionError):  # numbers of thousands of digits, too
            raise error from None
        return parse_json(plain)


def bounded(document: Any) -> Any:
    """Return a document as it is. Raises ValueError when it nests deeper than `MOST_LEVELS`."""
    level = [document]
    for _ in range(MOST_LEVELS):
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return document
    raise ValueError(f"the JSON nests more than {MOST_LEVELS} levels deep")


def message(body: bytes | str) -> str:
    """Return the message of an error document; of a page its text, of anything else the beginning."""
    text = body[:MOST_DOCUMENT] if isinstance(body, str) else body[:MOST_DOCUMENT].decode(errors="replace")
    try:
        return _message(parse_json(body)) or text
    except ValueError:
        pass
    if torn := TORN_MESSAGE.search(text[:MOST_TORN]):
        try:
            return str(json.loads(f'"{torn[1]}"')).encode(errors="replace").decode()  # half of a pair of surrogates
        except ValueError:  # cut within an escape
            return torn[1]
    if text[:1024].lstrip().startswith("<"):
        return " ".join(MARKUP.sub(" ", text[:MOST_MARKUP]).split())
    return text


def as_count(value: Any) -> int | None:
    """Return a whole number from 0 to `LARGEST_COUNT`; None for anything else."""
    found = as_number(value)
    return int(found) if found is not None and found == int(found) and 0 <= found <= LARGEST_COUNT else None


def as_number(value: Any) -> float | int | None:
    """Return a finite number of at most `LARGEST_NUMBER` either way; None for anything else, a truth value too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST_NUMBER else None  # neither of NaN, nor of an infinity


def _message(said: Any) -> str:
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return "; ".join(text for part in said[:MOST_ERRORS] if (text := _message(part)))
    if not isinstance(said, dict):
        return ""
    text = next((found for key in MESSAGES if (found := _message(said.get(key)))), "")
    where = said.get("loc")  # pydantic's
    return f"{'.'.join(map(str, where))}: {text}" if text and isinstance(where, list) else text


def _finite(digits: str) -> float | None:
    found = float(digits)
    return found if math.isfinite(found) else None


def _parts(whole: Any) -> list[Any]:
    if isinstance(whole, dict):
        return list(whole.values())
    return whole if isinstance(whole, list) else []
