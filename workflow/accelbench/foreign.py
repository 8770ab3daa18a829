"""What others wrote: JSON and YAML are read here and nowhere else, and foreign text is shown safely.

Endpoints, result files, records of other tools and config files may contain anything: trees too deep to be written as
JSON, counts of a thousand digits, infinities, characters that control a terminal. In YAML a small file can describe a
huge tree (aliases of aliases), an endless one, or a number that takes minutes to read: the parser's events, which need
neither memory nor recursion, are checked first, and such a file is refused before it is loaded. Whatever passes here
can be stored, written, computed with and printed.
"""

import json
import math
import re
import unicodedata
from pathlib import Path
from typing import Any

import orjson
import yaml

LINE_ENDS = {"\n", "\t"}
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode's categories of control, format (directions too), surrogate, private and line-separating characters."""


def printable(text: str) -> str:
    """Return foreign text with control and invisible characters as escapes (\\x1b).

    Line feeds and tabs stay. What is printable comes back as it is, whatever its alphabet.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(letter) if _acts(letter) else letter for letter in text)


def one_line(text: str, most: int | None = None) -> str:
    """Return foreign text as one printable line, with single spaces, cut after `most` characters."""
    line = printable(" ".join(text.split()))
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def _acts(letter: str) -> bool:
    return letter not in LINE_ENDS and unicodedata.category(letter) in _UNSEEN


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


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


Tree = dict[str, Any]
"""A mapping of such a file, whose keys and values are others' to choose."""
MOST_CHARACTERS = 500_000
MOST_NODES = 50_000  # aliases written out
_MOST_LEVELS = 64
LONGEST_NUMBER = 40  # characters
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|[0-9.][0-9_:.]*(?:[eE][-+]?[0-9]+)?)")
EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


def read_yaml(path: Path, loader: Any = yaml.SafeLoader) -> Any:
    """Read a file of one document. Raises OSError, UnicodeDecodeError, or YAMLError for any other fault."""
    with path.open(encoding="utf-8") as stream:
        text = stream.read(MOST_CHARACTERS + 1)
    return parse_yaml(text, loader, str(path))


def parse_yaml(text: str, loader: Any = yaml.SafeLoader, name: str = "<text>") -> Any:
    """Return the document. Raises YAMLError when it is not YAML, or too large."""
    if len(text) > MOST_CHARACTERS:
        raise yaml.MarkedYAMLError(problem=f"it has more than {MOST_CHARACTERS:,} characters")
    _check(text)
    try:
        reader = loader(text)
        reader.name = name
        return reader.get_single_data()
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:  # a date such as 2024-02-30
        raise yaml.MarkedYAMLError(problem=f"a value can't be read ({str(error) or type(error).__name__})") from None


def complaint(error: yaml.YAMLError) -> str:
    """Say in one line what is wrong in a file, and where."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if problem and "'\\t'" in problem:
        return f"{where}a tab; YAML is indented with spaces"
    return f"{where}{one_line(problem or str(error), 300)}"


def _check(text: str) -> None:
    """Raise YAMLError for a tree that is too deep, too large, or endless; other mistakes are left to the reader."""
    sizes: dict[str, int | None] = {}  # of what is anchored; None: not closed yet
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and how many nodes there were before
    nodes = 0
    events = yaml.parse(text, EVENTS)
    while event := _next(events):
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "", 0)
            if size is None:
                raise _refused("an anchor contains itself; write the value out", event)
            nodes += size
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if (
                len(event.value) > LONGEST_NUMBER
                and _NUMBER.fullmatch(event.value)
                and (event.implicit[0] or event.tag)
            ):
                raise _refused(f"a number of {len(event.value):,} characters; quote it if it is text", event)
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = None
            if len(open_nodes) > _MOST_LEVELS:
                raise _refused(f"it nests more than {_MOST_LEVELS} levels deep", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if nodes > MOST_NODES:
            raise _refused(f"it holds more than {MOST_NODES:,} values, aliases written out", event)


def _next(events: Any) -> Any:
    try:
        return next(events, None)
    except yaml.YAMLError:  # the loader's message is better
        return None


def _refused(problem: str, event: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
