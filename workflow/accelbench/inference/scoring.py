"""Answer quality: SQuAD v1.1's own measures, and whether a gold answer stands in the answer.

`exact_match` and `f1` follow the official evaluate-v1.1.py on the answer as it came: lower case, no punctuation, no
articles, blanks folded; the best over the gold answers counts. The other measures look at its plain text, without
markdown and a leading "Answer:", and fold typographic characters in it and in the gold answers: models write
"1066–1087" and "co‑op" where the data set has ASCII. Reasoning is never scored, nor is what holds no answer.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = set(string.punctuation)
TYPOGRAPHIC = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "\u202f": " ", "—": " ", **dict.fromkeys("‐‑‒–―", "-")}
)
FENCE = re.compile(r"^[ \t]*(```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
LINE_MARK = re.compile(r"^[ \t]*(#{1,6}|[-*+•]|>)[ \t]+", re.MULTILINE)
BOLD = re.compile(r"(\*\*|__|```|`)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
ITALIC = re.compile(r"(?<!\w)([*_])(?=\S)(.+?)(?<=\S)\1(?!\w)", re.DOTALL)
ANSWER = re.compile(r"\s*answer\s*:\s*", re.IGNORECASE)

Scoring = Literal["squad", "contains", "none"]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one answer; null: not scored."""

    exact_match: bool | None = None
    f1: float | None = None
    exact_match_folded: bool | None = None
    f1_folded: float | None = None
    contains_gold: bool | None = None


def scores(answer: str, golds: Sequence[str], scoring: Scoring) -> Scores:
    """Score an answer. Without gold answers, or with scoring `none`, there is no score; `contains`: only that one."""
    if scoring == "none" or not golds:
        return Scores()
    said, wanted = fold(plain(answer)), [fold(gold) for gold in golds]
    contained = contains_gold(said, wanted)
    if scoring == "contains":
        return Scores(contains_gold=contained)
    return Scores(exact_match(answer, golds), f1(answer, golds), exact_match(said, wanted), f1(said, wanted), contained)


def exact_match(answer: str, golds: Sequence[str]) -> bool:
    """Tell whether the answer is one of the gold answers."""
    return any(normalise(answer) == normalise(gold) for gold in golds)


def f1(answer: str, golds: Sequence[str]) -> float:
    """Return the best word overlap (harmonic mean of precision and recall) with a gold answer, 0 to 1."""
    return max(_f1(answer, gold) for gold in golds)


def contains_gold(answer: str, golds: Sequence[str]) -> bool:
    """Tell whether a gold answer stands in the answer as whole words."""
    words = f" {normalise(answer)} "
    return any(f" {normalise(gold)} " in words for gold in golds if normalise(gold))


def normalise(text: str) -> str:
    """Return SQuAD's normal form of an answer."""
    bare = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def fold(text: str) -> str:
    """Return the text in NFKC with ASCII quotes, hyphens and blanks; an em dash becomes a blank."""
    return unicodedata.normalize("NFKC", text).translate(TYPOGRAPHIC)


def plain(text: str) -> str:
    """Return the text without markdown (bold, italics, code, bullets, headings, quotes) and a leading "Answer:"."""
    text = LINE_MARK.sub("", FENCE.sub("", text))
    text = ITALIC.sub(r"\2", BOLD.sub(r"\2", text))
    return text[found.end() :] if (found := ANSWER.match(text)) else text


def _f1(answer: str, gold: str) -> float:
    said, wanted = normalise(answer).split(), normalise(gold).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
