"""Text for people: foreign text is shown so that it can't control the terminal."""

import unicodedata

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
