"""Seeded damage: the same seed gives the same broken text or tree."""

import copy
import random
from typing import Any

DEEP: list[Any] = []
for _ in range(110):  # more than any gate lets through, and no more than YAML can write
    DEEP = [DEEP]
NASTY_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**63, 10**400, 0.0, -0.0, 1e308, float("inf"), float("nan"), "", " ", "null",
    "x" * 5000, "../../etc", "$(touch pwned)", "a\nb", "\x00", "\ud800", "'\"", "%s{0}", "1e9", [], {}, [None],
    [[]], {"": {}},
    {"a": {"a": {"a": []}}}, list(range(500)), "http://[", "2024-01-01", b"\xff", DEEP,
    "\x1b]0;pwned\x07\u202e", "=1+1", "@SUM(A1)", "<script>", "|", "canary " * 20_000,
]  # fmt: skip
NASTY_BYTES = [
    b"", b"\n", b"\r\n", b"\n\n", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", "\u2028".encode(), b": ", b"- ", b"&a ", b"*a",
    b"!!python/object:os.system ", b"<<: *a\n", b"? ", b"{", b"}", b"[", b"]", b'"', b"'", b"|", b">", b"%", b"@", b"`",
    b"&a [*a]\n", b"&a {<<: *a}\n", b"!!int x\n", b"!!timestamp x\n", b"!!bool x\n", b" 2024-02-30\n", b"[" * 300,
    b"{a: " * 300, b"\x1b]0;pwned\x07", "\u202e".encode(), b"**a " * 20_000, b"9" * 5_000,
    b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400, b"null", b"true", b"data: ", b"event: error\n",
    b"data: [DONE]\n\n", b'{"key": 1}\n', b'{"choices": [{}]}', b'{"choices": [null]}', b"\\ud83d", b"\\u0000",
    b"Step=", b"Loss=nan,",
    b"Rate=inf samples/sec,", b"2024-02-30 25:61:61,999 INFO: ", b"TimeRemaining=-1:99:99",
    b"Traceback (most recent call last):\n",
]  # fmt: skip


def damaged_text(text: bytes, draw: random.Random) -> bytes:
    """Return the bytes with one to eight random injuries."""
    for _ in range(draw.randint(1, 8)):
        begin = draw.randrange(len(text) + 1)
        end = min(len(text), begin + int(draw.expovariate(1 / 20)))
        span = text[begin:end]
        new = draw.choice(
            (
                b"",
                span * draw.randint(2, 50),
                draw.choice(NASTY_BYTES),
                draw.choice(NASTY_BYTES) + span,
                draw.randbytes(draw.randint(1, 8)),
                bytes(byte ^ (1 << draw.randrange(8)) for byte in span),
            )
        )
        text = text[:begin] + new + text[end:]
        if draw.random() < 0.05:
            text = text[: draw.randrange(len(text) + 1)]
        if draw.random() < 0.1:
            lines = text.splitlines(keepends=True)
            draw.shuffle(lines)
            text = b"".join(lines)
    return text


def damaged_tree(tree: Any, draw: random.Random) -> Any:
    """Return a copy of the tree with one to four nodes replaced, removed, renamed or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.randint(1, 4)):
        places = list(_places(tree))
        if not places:
            return copy.deepcopy(draw.choice(NASTY_VALUES))
        holder, key = draw.choice(places)
        kind = draw.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw.choice(["", "x", f"{key}s", 7, None, True])] = holder.pop(key)
        elif kind == 2:
            other, there = draw.choice(places)
            holder[key] = copy.deepcopy(other[there])
        else:
            holder[key] = copy.deepcopy(draw.choice(NASTY_VALUES))
    return tree


def _places(node: Any) -> Any:
    """Yield (holder, key) of every node below this one."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    for key in keys:
        yield node, key
        yield from _places(node[key])
