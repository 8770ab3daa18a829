"""Answer quality by SQuAD v1.1's own measures, and whether the answer contains a gold answer.

EM and F1 follow the official evaluate-v1.1.py: lower case, no punctuation, no articles, blanks folded; the best
over the gold answers counts. Reasoning is never scored.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = set(string.punctuation)


def normalise(text: str) -> str:
    """Return SQuAD's normal form of an answer."""
    bare = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def exact_match(answer: str, golds: Sequence[str]) -> bool | None:
    """Tell whether the answer is one of the gold answers; null when there is no gold answer."""
    return any(normalise(answer) == normalise(gold) for gold in golds) if golds else None


def f1(answer: str, golds: Sequence[str]) -> float | None:
    """Return the best word overlap (harmonic mean of precision and recall) with a gold answer, 0 to 1."""
    return max(_f1(answer, gold) for gold in golds) if golds else None


def contains_gold(answer: str, golds: Sequence[str]) -> bool | None:
    """Tell whether a gold answer stands in the answer as whole words."""
    words = f" {normalise(answer)} "
    return any(f" {normalise(gold)} " in words for gold in golds if normalise(gold)) if golds else None


def _f1(answer: str, gold: str) -> float:
    said, wanted = normalise(answer).split(), normalise(gold).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
