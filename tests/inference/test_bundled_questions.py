"""The bundled questions: our own text in SQuAD v1.1's format, with answers that can be trusted."""

import json
from pathlib import Path
from typing import Any

import pytest

BUNDLED = Path(__file__).parents[2] / "workflow/accelbench/inference/bundled_questions.json"


@pytest.fixture(scope="module")
def bundled() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(BUNDLED.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def paragraphs(bundled: dict[str, Any]) -> list[dict[str, Any]]:
    return [paragraph for article in bundled["data"] for paragraph in article["paragraphs"]]


@pytest.fixture(scope="module")
def questions(paragraphs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [question for paragraph in paragraphs for question in paragraph["qas"]]


def test_every_question_has_an_answer(questions: list[dict[str, Any]]) -> None:
    assert [question["id"] for question in questions if not question["answers"]] == []


def test_every_answer_is_the_exact_span_at_its_offset(paragraphs: list[dict[str, Any]]) -> None:
    misplaced = [
        (question["id"], answer["text"])
        for paragraph in paragraphs
        for question in paragraph["qas"]
        for answer in question["answers"]
        if not answer["text"]
        or answer["answer_start"] < 0
        or not paragraph["context"].startswith(answer["text"], answer["answer_start"])
    ]
    assert misplaced == []


def test_there_are_60_questions_over_20_passages_and_10_articles(
    bundled: dict[str, Any],
    paragraphs: list[dict[str, Any]],
    questions: list[dict[str, Any]],
) -> None:
    assert len(questions) >= 60
    assert len({paragraph["context"] for paragraph in paragraphs}) >= 20
    assert len({article["title"] for article in bundled["data"]}) >= 10


def test_ids_are_unique(questions: list[dict[str, Any]]) -> None:
    assert len({question["id"] for question in questions}) == len(questions)


def test_no_question_is_asked_twice(questions: list[dict[str, Any]]) -> None:
    asked = {" ".join(question["question"].casefold().split()) for question in questions}
    assert len(asked) == len(questions)


def test_some_questions_have_several_different_gold_answers(
    questions: list[dict[str, Any]],
) -> None:
    texts = [{answer["text"] for answer in question["answers"]} for question in questions]
    assert sum(len(different) > 1 for different in texts) > 1


def test_it_never_calls_itself_squad(bundled: dict[str, Any]) -> None:
    names = [bundled["version"], *(article["title"] for article in bundled["data"])]
    assert [name for name in names if "squad" in name.casefold()] == []
