"""YAML from outside: the only place where config files, params files and published figures are read.

In YAML a small file can describe a huge tree (aliases of aliases), an endless one, one too deep for Python, or a number
that takes minutes to read. The parser's events, which need neither memory nor recursion, are checked first, and such a
file is refused before it is loaded.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from accelbench.words import one_line

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
