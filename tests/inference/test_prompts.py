"""Prompt sets: sources, columns, selections, wording, and the decision between the hub and the bundled sample."""

import json
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.config import ColumnMap, PromptSet
from accelbench.errors import UserError
from accelbench.inference.prompts import Prompt, make_prompts, read_prompts
from accelbench.plan.specs import digest

from .endpoint_stand_in import HANG, StandIn, document, error

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def row(number: int, article: str = "A", passage: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "title": article,
        "context": f"passage {passage or number}",
        "question": f"what {number}?",
        "answers": {"text": [f"answer {number}"]},
        **more,
    }


def squad(rows: Rows) -> dict[str, Any]:
    return {
        "data": [
            {
                "title": r["title"],
                "paragraphs": [
                    {
                        "context": r["context"],
                        "qas": [
                            {
                                "id": r["id"],
                                "question": r["question"],
                                "answers": [{"text": r["answers"]["text"][0]}] * 3,
                            }
                        ],
                    }
                ],
            }
            for r in rows
        ]
    }


def write(path: str, rows: Any) -> str:
    match Path(path).suffix:
        case ".jsonl":
            Path(path).write_text("".join(json.dumps(r) + "\n" for r in rows))
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
        case _:
            Path(path).write_text(json.dumps(rows))
    return path


def made(settings: PromptSet, count: int = 1) -> list[Prompt]:
    out = Path("results/prompts/questions.jsonl")
    make_prompts(settings, "questions", count, out)
    return read_prompts(out)


def from_rows(rows: Rows, count: int | None = None, **settings: Any) -> list[Prompt]:
    path = write("rows.jsonl", rows)
    settings = {"select": "first", **settings}
    return made(PromptSet(source="path", path=path, **settings), len(rows) if count is None else count)


def facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path("results/prompts/questions.json").read_text())
    return loaded


# --- sources ------------------------------------------------------------------------------------------------


def test_squads_own_json_is_read() -> None:
    path = write("squad.json", squad([row(1, "Super Bowl"), row(2)]))
    first, second = made(PromptSet(source="path", path=path, select="first"), 2)
    assert (first.id, first.article, first.question, first.answers) == ("q1", "Super Bowl", "what 1?", ["answer 1"])
    assert second.context == "passage 2"


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.parquet"])
def test_flat_files_say_the_same_as_squads_json(name: str) -> None:
    rows = [row(1), row(2)]
    expected = made(PromptSet(source="path", path=write("squad.json", squad(rows)), select="first"), 2)
    assert made(PromptSet(source="path", path=write(name, rows), select="first"), 2) == expected


def test_a_csv_is_read_as_text() -> None:
    path = write("rows.csv", [{"id": "007", "title": "NA", "context": "c", "question": "q?", "answers": "12"}])
    (prompt,) = made(PromptSet(source="path", path=path))
    assert (prompt.id, prompt.article, prompt.answers) == ("007", "NA", ["12"])


def test_the_bundled_questions_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert len(made(PromptSet(source="bundled"), 60)) == 60
    assert facts()["source"]["kind"] == "bundled"
    assert "not SQuAD" in facts()["source"]["name"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.json", None),
        ("rows.json", b"{"),
        ("rows.json", b"5"),
        ("rows.json", b'["question"]'),
        ("rows.json", b'{"rows": []}'),
        ("rows.json", b'{"data": [{"title": "A"}]}'),
        ("rows.json", b'{"data": ["A"]}'),
        ("rows.json", b'{"data": [{"title": "A", "paragraphs": [{"context": "c", "qas": [{"id": "1"}]}]}]}'),
        ("rows.jsonl", b"[1]\n"),
        ("rows.jsonl", b'{"question": "q"'),
        ("rows.csv", b""),
        ("rows.csv", b"\xff\xfe\x00"),
        ("rows.parquet", b"PAR?"),
        ("rows.xml", b"<rows/>"),
    ],
)
def test_a_file_that_cant_be_read_is_named(name: str, content: bytes | None) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        made(PromptSet(source="path", path=name))


def test_the_hub_failing_names_the_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("secret-canary")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(UserError, match=r"rajpurkar/squad.*HTTPS_PROXY.*source: bundled") as caught:
        made(PromptSet(source="hub"))
    assert "canary" not in str(caught.value)


def test_a_hub_data_set_is_asked_for_by_id_revision_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(dataset: str, **named: Any) -> Rows:
        asked.append((dataset, named))
        return [row(1)]

    monkeypatch.setattr("datasets.load_dataset", load)
    (prompt,) = made(PromptSet(source="hub", dataset="someone/questions", revision="abc", split="test"))
    assert prompt.id == "q1"
    assert asked == [("someone/questions", {"name": None, "split": "test", "revision": "abc"})]
    assert facts()["source"] == {"kind": "hub", "name": "someone/questions", "revision": "abc"}


# --- the decision of source: auto ---------------------------------------------------------------------------


def test_a_dead_hub_means_the_bundled_questions_at_once_and_for_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started_s = time.perf_counter()
    made(PromptSet(source="auto"))
    assert time.perf_counter() - started_s < 2
    assert "hub can't be reached" in capsys.readouterr().out
    with StandIn(lambda _: document({})) as hub:  # the hub is back, and the set stays as it was
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
        made(PromptSet(source="auto"), 2)
        assert hub.seen == []
    assert facts()["source"]["kind"] == "bundled"


def test_a_hub_that_never_answers_is_given_up_after_5_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn([], get=lambda _: [HANG]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
        started_s = time.perf_counter()
        made(PromptSet(source="auto"))
        assert 4 < time.perf_counter() - started_s < 6.5
    assert facts()["source"]["kind"] == "bundled"


@pytest.mark.parametrize(
    "answer", [document({}), document({}, 404, X_Error_Code="RepoNotFound")], ids=["known", "no such data set"]
)
def test_a_hub_that_answers_is_taken_even_if_it_knows_no_such_data_set(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("datasets.load_dataset", lambda dataset, **_: asked.append(dataset) or [row(1)])
    with StandIn([], get=lambda _: answer) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
        made(PromptSet(source="auto", dataset="someone/questions"))
        assert hub.seen[0].target.startswith("/api/datasets/someone/questions/revision/")
    assert asked == ["someone/questions"]


def test_a_proxy_that_forbids_the_hub_means_the_bundled_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn([], get=lambda _: error(403, "blocked")) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
        made(PromptSet(source="auto"))
    assert facts()["source"]["kind"] == "bundled"


# --- columns ------------------------------------------------------------------------------------------------


def test_columns_are_mapped_with_dots() -> None:
    rows = [{"uid": 4, "q": {"text": "what?"}, "doc": {"body": "c", "meta": {"topic": "T"}}, "gold": {"spans": ["x"]}}]
    columns = ColumnMap(id="uid", question="q.text", context="doc.body", answers="gold.spans", group="doc.meta.topic")
    (prompt,) = from_rows(rows, columns=columns)
    assert (prompt.id, prompt.question, prompt.context) == ("4", "what?", "c")
    assert (prompt.answers, prompt.article) == (["x"], "T")


def test_a_column_may_have_a_dot_in_its_own_name() -> None:
    (prompt,) = from_rows([{"q.text": "what?"}], columns=ColumnMap(question="q.text", context=None, answers=None))
    assert prompt.question == "what?"


@pytest.mark.parametrize("column", ["id", "question", "context", "answers", "group"])
def test_a_missing_column_is_named_with_those_there_are(column: str) -> None:
    with pytest.raises(UserError, match=r"no column text\.nope.*it has id, title.*columns"):
        from_rows([row(1)], columns=ColumnMap(**{column: "text.nope"}))


def test_context_answers_and_group_are_optional() -> None:
    columns = ColumnMap(context=None, answers=None, group=None)
    prompts = from_rows([{"question": "one?"}, {"question": "two?"}], columns=columns)
    assert [(p.context, p.answers, p.article) for p in prompts] == [("", [], "")] * 2
    assert len({p.passage for p in prompts}) == len({p.id for p in prompts}) == 2


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        ("x", ["x"]),
        (["x", "y", "x", ""], ["x", "y"]),
        ({"text": ["x"], "answer_start": [3]}, ["x"]),
        ([{"text": "x", "answer_start": 3}], ["x"]),
        (42, ["42"]),
        (None, []),
        ([], []),
        ({"text": []}, []),
    ],
)
def test_answers_come_in_many_shapes(value: Any, answers: list[str]) -> None:
    (prompt,) = from_rows([row(1, answers=value)])
    assert prompt.answers == answers


@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        ({"answer": ["Ada Byron", "Byron"]}, ["Ada Byron", "Byron"]),  # NQ open
        ({"answer": "2 + 3 = 5 #### 5"}, ["2 + 3 = 5 #### 5"]),  # GSM8K: scoring takes its end
        ({"gold_answer": "x"}, ["x"]),
        ({"answer": 2, "choices": ["v", "w", "x", "y"]}, ["x"]),  # MMLU
        ({"answer": 4, "choices": ["v", "w", "x", "y"]}, ["4"]),
        ({"answer": 2}, ["2"]),
        ({"answer": {"value": "x", "aliases": ["x", "y"], "normalized_value": "z"}}, ["x", "y"]),  # TriviaQA
        ({"answers": {"text": [], "answer_start": []}}, [""]),  # SQuAD 2, flat
        ({"answers": [], "is_impossible": True}, [""]),
        ({"is_impossible": True}, []),
        ({}, []),
    ],
    ids=str,
)
def test_gold_answers_are_found_where_data_sets_have_them(fields: dict[str, Any], answers: list[str]) -> None:
    (prompt,) = from_rows([{"question": "q?", "context": "c", **fields}])
    assert prompt.answers == answers


def test_that_no_gold_answers_were_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    from_rows([row(1)])
    assert capsys.readouterr().out == ""
    from_rows([{"question": "q?", "context": "c", "solution": "x"}])
    assert "rows.jsonl: no gold answers found (columns: answers, answer, gold_answers" in capsys.readouterr().out
    from_rows([row(1)], columns=ColumnMap(answers=None))
    assert "(columns: none); answers are not scored" in capsys.readouterr().out


def test_an_unanswerable_question_is_one_and_changes_no_measurement() -> None:
    item = {"id": "a", "question": "When?", "answers": [{"text": "1988", "answer_start": 21}], "is_impossible": False}
    none = {
        "id": "b",
        "question": "Who?",
        "answers": [],
        "is_impossible": True,
        "plausible_answers": [{"text": "1988"}],
    }
    bare = {"id": "c", "question": "Who?", "is_impossible": True}
    paragraphs = [{"context": "The bridge opened in 1988.", "qas": [item, none, bare]}]
    path = write("squad2.json", {"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]})
    prompts = made(PromptSet(source="path", path=path), 3)
    assert {prompt.id: prompt.answers for prompt in prompts} == {"a": ["1988"], "b": [""], "c": []}
    facts = json.loads(Path("results/prompts/questions.json").read_text())
    asked = [
        orjson.dumps({**asdict(prompt), "answers": [a for a in prompt.answers if a]}).decode() for prompt in prompts
    ]
    assert facts["digests"] == [digest(line) for line in asked]


HOTPOT = [["River A", ["River A is in Peru.", " It is long."]], ["River B", ["River B is in Peru."]]]


@pytest.mark.parametrize(
    "context",
    [
        HOTPOT,
        {
            "title": ["River A", "River B"],
            "sentences": [["River A is in Peru.", " It is long."], ["River B is in Peru."]],
        },
        ["River A\nRiver A is in Peru. It is long.\n\nRiver B\nRiver B is in Peru."],
    ],
    ids=["nested", "columns", "one"],
)
def test_nested_paragraphs_are_joined_as_text(context: Any) -> None:
    (prompt,) = from_rows([row(1, context=context)])
    assert prompt.context == "River A\nRiver A is in Peru. It is long.\n\nRiver B\nRiver B is in Peru."


def test_a_null_context_is_no_text() -> None:
    (prompt,) = from_rows([row(1, context=None)])
    assert "None" not in prompt.prompt


def test_ids_that_repeat_are_made_unique() -> None:
    prompts = from_rows([row(1), row(1), row(1)])
    assert len({p.id for p in prompts}) == 3


# --- selections ---------------------------------------------------------------------------------------------


def test_first_keeps_file_order() -> None:
    assert [p.id for p in from_rows([row(3), row(1), row(2)], 2)] == ["q3", "q1"]


def grid(articles: int, passages: int, questions: int) -> Rows:
    return [
        row(a * 100 + p * 10 + q, f"article {a}", f"{a}-{p}")
        for a in range(articles)
        for p in range(passages)
        for q in range(questions)
    ]


def test_stratified_neighbours_come_from_different_articles() -> None:
    prompts = from_rows(grid(4, 3, 2), select="stratified")
    assert all(one.article != other.article for one, other in pairwise(prompts))


def test_stratified_asks_no_passage_twice_before_all_were_asked() -> None:
    prompts = from_rows(grid(4, 3, 2), select="stratified")
    assert len({p.passage for p in prompts[:12]}) == len({p.passage for p in prompts[12:]}) == 12


sizes = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=4)


@given(sizes, st.integers(0, 5), st.data())
def test_a_longer_stratified_set_begins_with_the_shorter_one(
    articles: list[list[int]], seed: int, data: st.DataObject
) -> None:
    rows = [
        row(a * 100 + p * 10 + q, f"article {a}", f"{a}-{p}")
        for a, passages in enumerate(articles)
        for p, questions in enumerate(passages)
        for q in range(questions)
    ]
    count = data.draw(st.integers(1, len(rows)))
    whole = from_rows(rows, select="stratified", seed=seed)
    assert from_rows(rows, count, select="stratified", seed=seed) == whole[:count]
    assert sorted(p.id for p in whole) == sorted(r["id"] for r in rows)
    passages = sum(len(passages) for passages in articles)
    assert len({p.passage for p in whole[:passages]}) == passages


def test_the_seed_draws_the_order() -> None:
    ids = [[p.id for p in from_rows(grid(4, 3, 2), select="stratified", seed=seed)] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_too_few_questions_say_how_many_there_are() -> None:
    with pytest.raises(UserError, match=r"rows.jsonl has 1 questions, but the scenarios need 2"):
        from_rows([row(1)], 2)


# --- wording ------------------------------------------------------------------------------------------------


def test_the_reference_wording_is_the_published_one() -> None:
    assert from_rows([row(1)])[0].prompt == "Context: passage 1\n\nQuestion: what 1?\n\nAnswer:"


def test_a_template_of_ones_own_is_filled_in() -> None:
    assert from_rows([row(1)], template="Q: {question} {{json}}")[0].prompt == "Q: what 1? {json}"


def test_braces_in_the_data_stay_as_they_are() -> None:
    (prompt,) = from_rows([row(1, context="f{x} {question} {", question="{0}?")], template="short_span")
    assert "Passage: f{x} {question} {\n\nQuestion: {0}?" in prompt.prompt


def test_prompts_hold_no_nonce() -> None:
    assert from_rows([row(1)])[0].prompt.startswith("Context: passage 1")


def test_the_facts_digest_every_line() -> None:
    from_rows([row(1), row(2)])
    assert facts()["count"] == facts()["passages"] == len(set(facts()["digests"])) == 2
    assert facts()["articles"] == 1


def test_the_same_set_made_again_leaves_the_file_untouched() -> None:
    from_rows([row(1)])
    out = Path("results/prompts/questions.jsonl")
    before = out.stat().st_mtime_ns
    from_rows([row(1)])
    assert out.stat().st_mtime_ns == before
