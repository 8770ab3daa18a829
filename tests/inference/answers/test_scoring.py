"""SQuAD's measures against independent writings of evaluate-v1.1.py, its well-known examples, folding and markdown."""

import collections
import re
import string
from time import process_time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelbench.inference.answers.scoring import (
    Scores,
    contains_gold,
    exact_match,
    f1,
    fold,
    golds,
    normalise,
    plain,
    says_nothing,
    scores,
)

texts = st.lists(
    st.sampled_from(
        ["the", "a", "An", "Denver", "Broncos", "broncos!", "1,066", "co-op", "L'Été", "”", "  ", "theatre"]
    ),
    max_size=6,
).map(" ".join) | st.text(max_size=20)
gold_answers = st.lists(texts, min_size=1, max_size=3)


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


@given(texts, gold_answers)
def test_em_and_f1_are_those_of_evaluate_v1_1(answer: str, golds: list[str]) -> None:
    assert exact_match(answer, golds) == max(reference_normal_form(answer) == reference_normal_form(g) for g in golds)
    assert f1(answer, golds) == pytest.approx(max(reference_f1(answer, gold) for gold in golds))


@settings(max_examples=200, deadline=None)
@given(texts, gold_answers)
def test_em_and_f1_are_those_of_torchmetrics(answer: str, golds: list[str]) -> None:
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    assume(all(normalise(text) for text in (answer, *golds)))  # empty ones it scores as v2.0 does
    target = [{"answers": {"answer_start": [0] * len(golds), "text": golds}, "id": "1"}]
    theirs = squad([{"prediction_text": answer, "id": "1"}], target)
    assert 100 * exact_match(answer, golds) == theirs["exact_match"].item()
    assert 100 * f1(answer, golds) == pytest.approx(theirs["f1"].item(), rel=1e-6)


@given(texts, gold_answers)
def test_an_exact_match_has_f1_1_and_contains_the_gold_answer(answer: str, golds: list[str]) -> None:
    assume(all(normalise(gold) for gold in golds))
    if exact_match(answer, golds):
        assert f1(answer, golds) == 1
        assert contains_gold(answer, golds)


@given(texts, gold_answers)
def test_f1_lies_between_0_and_1(answer: str, golds: list[str]) -> None:
    assert 0 <= f1(answer, golds) <= 1


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


@pytest.mark.parametrize(
    ("typographic", "ascii_text"),
    [
        ("Levi’s ‘x’ “y”", "Levi's 'x' \"y\""),
        ("1066–1087, co‑op, co‐op, 3‒4, x―y", "1066-1087, co-op, co-op, 3-4, x-y"),
        ("Paris—the city", "Paris the city"),
        ("5\u202fkm and\u00a0more", "5 km and more"),
        ("ﬁre Ｗｉｄｅ e\u0301", "fire Wide é"),
    ],
)
def test_folding_gives_ascii_where_there_is_some(typographic: str, ascii_text: str) -> None:
    assert fold(typographic) == ascii_text


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert normalise(fold(fold(text))) == normalise(fold(text))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("**Paris**", "Paris"),
        ("**Answer:** Paris", "Paris"),
        ("**Answer**: Paris", "Paris"),
        ("answer : Paris", "Paris"),
        ("## Answer: Paris", "Paris"),
        ("- *Paris*\n- `Rome`", "Paris\nRome"),
        ("```\nParis\n```", "\nParis\n"),
        ("```Paris```", "Paris"),
        ("The __capital__ is _Paris_.", "The capital is Paris."),
        ("snake_case_name and 2*3*4", "snake_case_name and 2*3*4"),
        ("-5 °C", "-5 °C"),
        ("1. FC Köln", "1. FC Köln"),
        ("The answer: Paris", "The answer: Paris"),
    ],
)
def test_markdown_and_a_leading_answer_are_taken_off(answer: str, text: str) -> None:
    assert plain(answer) == text


@given(st.text(st.sampled_from("*_`#-> \nab:"), max_size=40))
def test_taking_markdown_off_keeps_all_words(text: str) -> None:
    assert [c for c in plain(text) if c in "ab"] == [c for c in text if c in "ab"]


def test_official_scores_see_the_answer_as_it_came_and_folded_ones_its_plain_text() -> None:
    found = scores("**Answer:** 1066–1087", ["1066-1087"], "squad")
    assert found == Scores(False, 0.0, exact_match_folded=True, f1_folded=1.0, contains_gold=True)


def test_a_gold_answer_is_found_in_typographic_text() -> None:
    assert scores("It was Levi’s Stadium—in Santa Clara.", ["Levi's Stadium"], "contains") == Scores(contains_gold=True)


def test_without_gold_answers_or_wish_there_is_no_score() -> None:
    assert scores("x", [], "squad") == scores("x", ["x"], "none") == Scores()


# --- what the data sets write -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["Ada Byron", "Byron"], ["Ada Byron", "Byron"]),
        (["2 + 3 = 5 #### 5"], ["5"]),
        (["6 * 3 = <<6*3=18>>18\n#### 18"], ["18"]),
        (['["Ada Byron", "Byron"]'], ["Ada Byron", "Byron"]),
        (["[sic]", "[1, 2]", "[]"], ["[sic]", "[1, 2]", "[]"]),
        ([""], [""]),
        ([], []),
    ],
    ids=["aliases", "GSM8K", "with a derivation", "a JSON list", "brackets", "no answer", "none"],
)
def test_gold_answers_are_what_the_cells_mean(cells: list[str], found: list[str]) -> None:
    assert golds(cells) == found


@pytest.mark.parametrize(
    "answer",
    ["", " \n", "None", "**No answer.**", "Answer: unanswerable", "N/A", "The question cannot be answered.",
     "I don’t know", "The passage does not say who paid for it.", "This information is not provided.",
     "It is not stated.", "There is no answer in the passage.", "Not mentioned in the passage"],
)  # fmt: skip
def test_whoever_gives_no_answer_is_right_where_there_is_none(answer: str) -> None:
    assert says_nothing(fold(plain(answer)))
    assert scores(answer, [""], "squad") == Scores(
        True, 1.0, exact_match_folded=True, f1_folded=1.0, contains_gold=True
    )
    assert scores(answer, [""], "contains") == Scores(contains_gold=True)


@pytest.mark.parametrize("answer", ["1988", "The unknown soldier", "Nonetheless, Ann did", "An answer", "known"])
def test_whoever_gives_an_answer_is_wrong_where_there_is_none(answer: str) -> None:
    wrong = Scores(False, 0.0, exact_match_folded=False, f1_folded=0.0, contains_gold=False)
    assert scores(answer, [""], "squad") == wrong


def test_to_say_nothing_is_wrong_where_there_is_an_answer() -> None:
    assert scores("No answer.", ["1988"], "squad").f1 == 0.0


# --- time ---------------------------------------------------------------------------------------------------------

WORST = ["*a ", "**a ", "`a ", "**`_*", "a**", "# ", "\t\n", "```\n", "answer : ", "the", "‘—", "\u0301\u0316",
         "no answer ", " "]  # fmt: skip


@pytest.mark.parametrize("piece", WORST, ids=ascii)
def test_a_megabyte_is_scored_in_seconds(piece: str) -> None:
    """Most are answers that some regular expression or a sort took minutes or hours for."""
    text = piece * (10**6 // len(piece))
    begun_s = process_time()
    scores(text, ["the city of Paris"], "squad")
    scores(text, [""], "squad")
    assert process_time() - begun_s < 15


BOLD = re.compile(r"(\*\*|__|```|`)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
ITALIC = re.compile(r"(?<!\w)([*_])(?=\S)(.+?)(?<=\S)\1(?!\w)", re.DOTALL)


@settings(max_examples=500)
@given(st.text(st.sampled_from("*_`a b"), max_size=30))
def test_marks_are_taken_off_as_these_expressions_say(text: str) -> None:
    """They take quadratic time."""
    assert plain(f"x{text}") == ITALIC.sub(r"\2", BOLD.sub(r"\2", f"x{text}"))
