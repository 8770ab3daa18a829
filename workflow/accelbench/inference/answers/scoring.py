"""Answer quality: SQuAD v1.1's own measures, and whether a gold answer stands in the answer.

`exact_match` and `f1` follow the official evaluate-v1.1.py on the answer as it came: lower case, no punctuation, no
articles, blanks folded; the best over the gold answers counts. The other measures look at its plain text, without
markdown and a leading "Answer:", and fold typographic characters in it and in the gold answers: models write
"1066–1087" and "co‑op" where the data set has ASCII. Reasoning is never scored, nor is what holds no answer.

A question without an answer (SQuAD v2.0; its one gold answer is the empty text) is answered rightly by whoever gives
none, and by no one else: the plain answer in normal form is empty, is one of `NOTHING`, or begins with one of
`NO_ANSWER`. All measures are then 1, else 0.

All takes time in proportion to the answer's length, whatever stands in it.
"""

import contextlib
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from accelbench import foreign

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
TYPOGRAPHIC = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "\u202f": " ", "—": " ", **dict.fromkeys("‐‑‒–―", "-")}
)
FENCE = re.compile(r"^[ \t]*(```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
LINE_MARK = re.compile(r"^[ \t]*(#{1,6}|[-*+•]|>)[ \t]+", re.MULTILINE)
BOLD = re.compile(r"\*\*|__|`"), {mark: re.compile(rf"(?<=\S){re.escape(mark)}") for mark in ("**", "__", "```", "`")}
ITALIC = re.compile(r"(?<!\w)[*_]"), {mark: re.compile(rf"(?<=\S){re.escape(mark)}(?!\w)") for mark in "*_"}
ANSWER = re.compile(r"\s*answer\s*:\s*", re.IGNORECASE)
MOST_MARKS = 30  # accents on one letter that are looked at (Unicode's stream-safe format): sorting more takes n² time
NOTHING = {"", "none", "unknown", "na", "null"}
NO_ANSWER = re.compile(
    "((this )?(it|this|answer|question|there|information) is |question |passage |context |text |this )?"
    "(no answer|no information|unanswerable|not answerable|(can not|cannot|cant) be (answered|determined)|does not |"
    "doesnt |not in |not (stated|mentioned|given|specified|provided|enough information)|i (do not|dont) know)"
)
FINAL = re.compile(r"####\s*(.+)")  # GSM8K's mark before the answer, after its derivation

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
    if not any(golds):
        right = says_nothing(said)
        return (
            Scores(contains_gold=right)
            if scoring == "contains"
            else Scores(right, float(right), right, float(right), right)
        )
    contained = contains_gold(said, wanted)
    if scoring == "contains":
        return Scores(contains_gold=contained)
    return Scores(exact_match(answer, golds), f1(answer, golds), exact_match(said, wanted), f1(said, wanted), contained)


def golds(answers: Sequence[str]) -> list[str]:
    """Return the gold answers that a data set's cells hold: of a derivation (GSM8K) the end."""
    return list(dict.fromkeys(gold for cell in answers for gold in _golds(cell)))


def says_nothing(said: str) -> bool:
    """Tell whether a plain answer says that there is none."""
    normal = normalise(said)
    return normal in NOTHING or NO_ANSWER.match(normal) is not None


def exact_match(answer: str, golds: Sequence[str]) -> bool:
    """Tell whether the answer is one of the gold answers."""
    normal = normalise(answer)
    return any(normal == normalise(gold) for gold in golds)


def f1(answer: str, golds: Sequence[str]) -> float:
    """Return the best word overlap (harmonic mean of precision and recall) with a gold answer, 0 to 1."""
    said = normalise(answer).split()
    return max(_f1(said, normalise(gold).split()) for gold in golds)


def contains_gold(answer: str, golds: Sequence[str]) -> bool:
    """Tell whether a gold answer occurs in the answer as whole words."""
    words = f" {normalise(answer)} "
    return any(f" {normalise(gold)} " in words for gold in golds if normalise(gold))


def normalise(text: str) -> str:
    """Return SQuAD's normal form of an answer."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def fold(text: str) -> str:
    """Return the text in NFKC with ASCII quotes, hyphens and blanks; an em dash becomes a blank."""
    return unicodedata.normalize("NFKC", _with_few_marks(text)).translate(TYPOGRAPHIC)


def plain(text: str) -> str:
    """Return the text without markdown (bold, italics, code, bullets, headings, quotes) and a leading "Answer:"."""
    text = LINE_MARK.sub("", FENCE.sub("", text))
    text = _unwrapped(_unwrapped(text, *BOLD), *ITALIC)
    return text[found.end() :] if (found := ANSWER.match(text)) else text


def _unwrapped(text: str, opening: re.Pattern[str], closings: Mapping[str, re.Pattern[str]]) -> str:
    """Return the text without the marks around words; a mark that nothing closes is looked for once."""
    kept, done, at, left = [], 0, 0, dict(closings)
    while found := opening.search(text, at):
        at = found.start() + 1
        for mark in [mark for mark in left if text.startswith(mark, found.start())]:
            inner = found.start() + len(mark)
            if text[inner : inner + 1].strip() == "":
                continue
            if (end := left[mark].search(text, inner + 1)) is None:
                del left[mark]
                continue
            kept += [text[done : found.start()], text[inner : end.start()]]
            done = at = end.end()
            break
    return "".join([*kept, text[done:]])


def _with_few_marks(text: str) -> str:
    if text.isascii():
        return text
    kept, marks = [], 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks <= MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


def _golds(cell: str) -> list[str]:
    if found := FINAL.search(cell):
        return [found[1].strip()]
    if cell[:1] == "[":
        with contextlib.suppress(ValueError):
            listed = foreign.parse_json(cell)
            if listed and all(isinstance(gold, str) for gold in listed):
                return list(listed)
    return [cell]


def _f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
