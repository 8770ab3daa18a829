"""SQuAD's measures against an independent writing of evaluate-v1.1.py and its well-known examples."""

import collections
import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accelbench.inference.scoring import contains_gold, exact_match, f1, normalise

texts = st.lists(
    st.sampled_from(
        ["the", "a", "An", "Denver", "Broncos", "broncos!", "1,066", "co-op", "L'Été", "”", "  ", "theatre"]
    ),
    max_size=6,
).map(" ".join) | st.text(max_size=20)
golds = st.lists(texts, min_size=1, max_size=3)


def reference_normal_form(text: str) -> str:
    lowered = text.lower()
    excluded = set(string.punctuation)
    without_punctuation = "".join(ch for ch in lowered if ch not in excluded)
    without_articles = re.sub(r"\b(a|an|the)\b", " ", without_punctuation)
    return " ".join(without_articles.split())


def reference_f1(prediction: str, truth: str) -> float:
    said, true = reference_normal_form(prediction).split(), reference_normal_form(truth).split()
    same = sum((collections.Counter(said) & collections.Counter(true)).values())
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(said), 1.0 * same / len(true)
    return (2 * precision * recall) / (precision + recall)


@given(texts, golds)
def test_em_and_f1_are_those_of_evaluate_v1_1(answer: str, golds: list[str]) -> None:
    assert exact_match(answer, golds) == max(reference_normal_form(answer) == reference_normal_form(g) for g in golds)
    assert f1(answer, golds) == pytest.approx(max(reference_f1(answer, gold) for gold in golds))


@given(texts, golds)
def test_an_exact_match_has_f1_1_and_contains_the_gold_answer(answer: str, golds: list[str]) -> None:
    assume(all(normalise(gold) for gold in golds))
    if exact_match(answer, golds):
        assert f1(answer, golds) == 1
        assert contains_gold(answer, golds)


@given(texts, golds)
def test_f1_lies_between_0_and_1(answer: str, golds: list[str]) -> None:
    score = f1(answer, golds)
    assert score is not None
    assert 0 <= score <= 1


@pytest.mark.parametrize(
    ("answer", "gold", "em", "overlap"),
    [
        ("Denver Broncos", "Denver Broncos", True, 1.0),
        ("the Denver Broncos!", "Denver Broncos", True, 1.0),
        ("Broncos", "Denver Broncos", False, 2 / 3),
        ("Carolina Panthers", "Denver Broncos", False, 0.0),
        ("February 7, 2016", "February 7 2016", True, 1.0),
    ],
)
def test_super_bowl_answers_score_as_they_do_officially(answer: str, gold: str, em: bool, overlap: float) -> None:
    assert exact_match(answer, [gold]) is em
    assert f1(answer, [gold]) == pytest.approx(overlap)


def test_the_best_gold_answer_counts() -> None:
    assert f1("Levi's Stadium", ["Santa Clara", "Levi's Stadium"]) == 1


def test_a_gold_answer_inside_a_sentence_is_contained_but_no_exact_match() -> None:
    assert contains_gold("It was the Denver Broncos, of course.", ["Denver Broncos"])
    assert exact_match("It was the Denver Broncos, of course.", ["Denver Broncos"]) is False


def test_part_of_a_word_is_not_contained() -> None:
    assert contains_gold("1066000", ["1066"]) is False


def test_without_gold_answers_there_is_no_score() -> None:
    assert (exact_match("x", []), f1("x", []), contains_gold("x", [])) == (None, None, None)
