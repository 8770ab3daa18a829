"""Prompt sets: from a data set to prompts.jsonl, one line per prompt, and the facts beside it.

The order of a set never depends on how many prompts are taken, so that a further round adds prompts and changes
none. Prompts hold no nonce: the client puts one in front when it asks.
"""

import hashlib
import itertools
import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import Any

import orjson

from accelbench.config import ColumnMap, PromptSet
from accelbench.errors import UserError
from accelbench.plan.specs import digest, measured_fields
from accelbench.store.files import read_json, write_if_changed, write_json
from accelbench.store.paths import found
from accelbench.store.records import PromptSetFacts, PromptSource

BUNDLED_NAME = "accelbench's bundled questions (not SQuAD)"
AUTO_WAIT_S = 5.0
PASSAGES = ".passages.json"
_BLANK_LINE = "\n\n"
_Row = Mapping[str, object]  # of a data set: any columns
ANSWERS = (
    "answers",
    "answer",
    "gold_answers",
    "gold_answer",
    "golds",
    "gold",
    "possible_answers",
    "target",
    "reference",
)
"""Columns that hold gold answers, unless the config names another."""
ASKERS = ("human", "user")  # of ShareGPT's messages
GOLDS = ("text", "value", "aliases", "spans", "answer")  # keys of a mapping
TEMPLATES = {
    "reference": "Context: {context}\n\nQuestion: {question}\n\nAnswer:",
    "short_span": (
        "Answer with the shortest span of the passage that answers the question, and nothing else.\n\n"
        "Passage: {context}\n\nQuestion: {question}\n\nShortest span:"
    ),
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question, worded. One that has no answer (SQuAD v2.0) has the empty text as its gold answer."""

    id: str
    article: str
    passage: str
    context: str
    question: str
    answers: list[str]
    prompt: str

    @property
    def conversation(self) -> str:
        """What questions that may be turns of one conversation have in common."""
        return self.passage if self.context else self.article or self.passage


def make_prompts(settings: PromptSet, name: str, count: int, out: Path) -> None:
    """Write `count` prompts of a set to `out`, beside it the facts about them (.json) and all passages.

    Raises UserError when the source can't be read or holds too few questions.
    """
    source, ordered = all_prompts(settings, out)
    if len(ordered) < count:
        raise UserError(
            f"inference.prompts.{name}: {source['name']} has {len(ordered)} questions, but the scenarios need {count} "
            "(rounds × requests). Lower requests or rounds, or use a larger data set."
        )
    prompts = ordered[:count]
    lines = [orjson.dumps(asdict(prompt)).decode() for prompt in prompts]
    asked = [orjson.dumps(asdict(_asked(prompt))).decode() for prompt in prompts]
    passages = passages_of(ordered)
    write_if_changed(out, "\n".join(lines) + "\n")
    write_json(out.with_suffix(PASSAGES), passages)
    facts = PromptSetFacts(
        set=name,
        spec=measured_fields(settings),
        source=source,
        template=settings.template,
        select=settings.select,
        seed=settings.seed,
        count=count,
        passages=len({prompt.passage for prompt in prompts}),
        articles=len({prompt.article for prompt in prompts}),
        digest=digest("".join(asked)),
        digests=[digest(line) for line in asked],
        passages_digest=digest("\n".join(passages)),
    )
    write_json(out.with_suffix(".json"), facts)


def all_prompts(settings: PromptSet, out: Path) -> tuple[PromptSource, list[Prompt]]:
    """Return where a set's questions come from, and all of them, worded and in order."""
    source, rows = _read(settings, out)
    template = TEMPLATES.get(settings.template, settings.template)
    prompts = _named([_prompt(row, settings.columns, template, number) for number, row in enumerate(rows)])
    if prompts and not any(prompt.answers for prompt in prompts):
        looked = ", ".join(ANSWERS) if settings.columns.answers in ANSWERS else settings.columns.answers or "none"
        print(f"{source['name']}: no gold answers found (columns: {looked}); answers are not scored.")
    order = {"first": lambda prompts, _: prompts, "stratified": _stratified, "passages": _by_conversation}
    return source, order[settings.select](prompts, settings.seed)


def _asked(prompt: Prompt) -> Prompt:
    """Return what the digest of a prompt is made of: that there is no answer changes no measurement."""
    return replace(prompt, answers=[answer for answer in prompt.answers if answer])


def passages_of(prompts: Sequence[Prompt]) -> list[str]:
    """Return all passages that prompts ask about."""
    return sorted({prompt.context for prompt in prompts} - {""})


def read_prompts(path: Path) -> list[Prompt]:
    """Read prompts.jsonl."""
    return [Prompt(**orjson.loads(line)) for line in path.read_bytes().splitlines()]


def read_passages(prompts: Path) -> list[str]:
    """Read all passages of the set whose prompts.jsonl is given: contexts are filled with them."""
    passages: list[str] = read_json(prompts.with_suffix(PASSAGES))
    return passages


# --- sources ------------------------------------------------------------------------------------------------


def _read(settings: PromptSet, out: Path) -> tuple[PromptSource, Iterable[_Row]]:
    kind = _decide_once(settings, out.with_suffix(".source")) if settings.source == "auto" else settings.source
    if kind == "bundled":
        resource = files("accelbench.inference") / "bundled_questions.json"
        document = orjson.loads(resource.read_bytes())
        source = PromptSource(kind="bundled", name=BUNDLED_NAME, revision=str(document["version"]))
        return source, _flatten_squad(document["data"])
    if kind == "path":
        path = found(str(settings.path))
        revision = hashlib.sha256(_bytes(path)).hexdigest()[:16]
        return PromptSource(kind="path", name=path.name, revision=revision), _read_file(path)
    return PromptSource(kind="hub", name=settings.dataset, revision=settings.revision), _read_hub(settings)


def _decide_once(settings: PromptSet, memory: Path) -> str:
    """Return hub or bundled, as decided the first time: a set never changes under a running comparison."""
    if memory.exists() and memory.read_text().strip() in ("hub", "bundled"):
        return memory.read_text().strip()
    decision = "hub" if _hub_answers(settings) else "bundled"
    if decision == "bundled":
        print(f"the Hugging Face hub can't be reached: asking {BUNDLED_NAME}; delete {memory} to try again.")
    write_if_changed(memory, decision + "\n")
    return decision


def _hub_answers(settings: PromptSet) -> bool:
    """Ask the hub for the data set; False unless it answers in time (a thread bounds slow name look-ups too).

    "No such data set" is an answer too: a mistyped name must not end in other questions being asked.
    """
    from accelbench.inference.endpoints.pages import get_page

    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{host}/api/datasets/{settings.dataset}/revision/{settings.revision}"
    answers: list[bool] = []

    def ask() -> None:
        page = get_page(url, timeout_s=AUTO_WAIT_S)
        answers.append(page.is_good or "x-error-code" in page.headers)  # the hub's own way to say what is wrong

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(AUTO_WAIT_S)
    return bool(answers and answers[0])


def _read_hub(settings: PromptSet) -> Iterable[_Row]:
    import datasets

    try:
        rows: Iterable[_Row] = datasets.load_dataset(
            settings.dataset, name=settings.subset, split=settings.split, revision=settings.revision
        )
    except Exception as error:  # the library raises dozens of unrelated types here
        raise UserError(
            f"inference.prompts: the data set {settings.dataset} (revision {settings.revision[:12]}, split "
            f"{settings.split}) can't be loaded from the Hugging Face hub: {type(error).__name__}. Behind a proxy set "
            "HTTPS_PROXY and HTTP_PROXY (at ALCF: http://proxy.alcf.anl.gov:3128), or use source: path with a local "
            "file, or source: bundled."
        ) from None
    return rows


def _read_file(path: Path) -> Iterable[_Row]:
    import pandas as pd

    kind = path.suffix.lower()
    try:
        if kind == ".json":
            document = orjson.loads(_bytes(path))
            return list(_flatten_squad(document["data"])) if isinstance(document, dict) else _rows(document)
        if kind == ".jsonl":
            return _rows([orjson.loads(line) for line in _bytes(path).splitlines() if line.strip()])
        if kind == ".csv":
            return _records(pd.read_csv(path, dtype=str, keep_default_na=False))
        if kind == ".parquet":
            return _records(pd.read_parquet(path))
    except KeyError as error:
        raise UserError(
            f"<prompts>: {path} is not a SQuAD file: {error} is missing.", prompts="inference.prompts"
        ) from None
    except (ValueError, TypeError, OSError) as error:
        raise UserError(
            f"<prompts>: {path} can't be read as {kind[1:]}: {error}", prompts="inference.prompts"
        ) from None
    raise UserError(f"<prompts>: {path} must end in .json, .jsonl, .csv or .parquet.", prompts="inference.prompts")


def _rows(document: Any) -> list[_Row]:
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise ValueError("it must hold one object per question")
    return list(_flatten_conversations(document)) if document and "conversations" in document[0] else document


def _flatten_conversations(document: Sequence[_Row]) -> Iterator[_Row]:
    """Yield one row per question of conversations in ShareGPT's shape; the reply is its gold answer."""
    for number, row in enumerate(document):
        messages: Any = row["conversations"]
        pairs = [(one["value"], other["value"]) for one, other in itertools.pairwise(messages) if one["from"] in ASKERS]
        name = str(row.get("id", number))
        for turn, (question, reply) in enumerate(pairs, 1):
            yield {"id": f"{name}-{turn}", "title": name, "context": "", "question": question, "answers": [reply]}


def _records(table: Any) -> list[_Row]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"<prompts>: {path} can't be read ({error.strerror}).", prompts="inference.prompts") from None


def _flatten_squad(articles: Any) -> Iterator[_Row]:
    """Yield one row per question of SQuAD's nested JSON, in the flat columns of its hub version."""
    for article in articles:
        for paragraph in article["paragraphs"]:
            for item in paragraph["qas"]:
                yield {
                    "id": item["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                    "question": item["question"],
                    "answers": _flat_answers(item.get("answers")),
                }


def _flat_answers(answers: Any) -> _Row | None:
    if answers is None:
        return None
    return {"text": [answer["text"] for answer in answers], "answer_start": [a.get("answer_start") for a in answers]}


def columns_of(path: Path) -> set[str]:
    """Return the columns that all rows of a file of questions have; one without questions has none."""
    rows = [set(row) for row in _read_file(path)]
    return set.intersection(*rows) if rows else set()


# --- rows to questions ----------------------------------------------------------------------------------------


def _prompt(row: _Row, columns: ColumnMap, template: str, number: int) -> Prompt:
    context = _text(_column(row, columns.context)) if columns.context else ""
    question = _text(_column(row, columns.question)).strip()
    grouped = columns.group and (columns.group in row or "group" in columns.model_fields_set)
    return Prompt(
        id=_text(_column(row, columns.id)) if columns.id else str(row.get("id", number)),
        article=_text(_column(row, str(columns.group))) if grouped else "",
        passage=digest(context)[:8] if context else str(number),
        context=context,
        question=question,
        answers=_answers(row, columns),
        prompt=template.format(context=context, question=question),
    )


def _answers(row: _Row, columns: ColumnMap) -> list[str]:
    """Return the gold answers, the empty text alone where the data say that the question has none."""
    usual = columns.answers in ANSWERS
    name = next((name for name in (columns.answers, *ANSWERS) if name in row), None) if usual else columns.answers
    if name is None:
        return []
    value = _chosen(_column(row, name), row.get("choices"))
    golds = list(dict.fromkeys(_texts(value)))
    has_none = row.get("is_impossible") in (True, "True", "true") or (
        isinstance(value, dict) and "answer_start" in value
    )
    return golds or ([""] if has_none and value is not None else [])


def _chosen(value: Any, choices: Any) -> Any:
    """Return the choice that an answer is the index of (MMLU: choices, answer); any other answer as it is."""
    is_index = isinstance(value, Integral) and not isinstance(value, bool) and _is_list(choices)
    return choices[value] if is_index and 0 <= value < len(choices) else value


def _column(row: _Row, name: str) -> Any:
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(
                f"<prompts>: the data has no column {name} (it has {', '.join(map(str, row))}); "
                "name the one to use under columns.",
                prompts="inference.prompts",
            )
        value = value[part]
    return value


def _texts(value: Any) -> Iterator[str]:
    """Yield the gold answers of a text, a number, a mapping ({"text": …}, {"aliases": …}), or a list of any of them."""
    if isinstance(value, dict):
        for key in GOLDS:
            yield from _texts(value.get(key))
    elif _is_list(value):
        for item in value:
            yield from _texts(item)
    elif _text(value):
        yield _text(value)


def _text(value: Any) -> str:
    """Return a cell as text; a missing one (null, NaN) is empty.

    Nested paragraphs (HotpotQA: [title, [sentences]], or columns of both) are joined: sentences by a blank, a title
    and its text by a line end, paragraphs by an empty line.
    """
    if isinstance(value, dict):
        columns = [list(column) for column in value.values() if _is_list(column)]
        return _text([list(row) for row in zip(*columns, strict=False)] if columns else list(value.values()))
    if _is_list(value):
        parts = [_text(part).strip() for part in value]
        nested = [_is_list(part) or isinstance(part, dict) for part in value]
        return (_BLANK_LINE if all(nested) else "\n" if any(nested) else " ").join(part for part in parts if part)
    return "" if value is None or value != value else str(value)


def _is_list(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes | dict)


def _named(prompts: list[Prompt]) -> list[Prompt]:
    """Make ids unique where the data's are not: a round knows its requests by them."""
    if len({prompt.id for prompt in prompts}) == len(prompts):
        return prompts
    return [replace(prompt, id=f"{prompt.id}-{number}") for number, prompt in enumerate(prompts, 1)]


def _stratified(prompts: list[Prompt], seed: int) -> list[Prompt]:
    """Order prompts so that neighbours come from different articles and passages repeat as late as possible."""
    draw = random.Random(f"prompts {seed}")
    articles: dict[str, dict[str, list[Prompt]]] = defaultdict(lambda: defaultdict(list))
    for prompt in prompts:
        articles[prompt.article][prompt.passage].append(prompt)
    columns = []
    for article in draw.sample(sorted(articles), len(articles)):
        passages = articles[article]
        shuffled = [draw.sample(passages[p], len(passages[p])) for p in draw.sample(sorted(passages), len(passages))]
        columns.append(_transposed(shuffled))
    layers = max((len(column) for column in columns), default=0)
    ordered = []
    for layer in range(layers):
        ordered += _transposed([column[layer] for column in columns if layer < len(column)])
    return list(itertools.chain.from_iterable(ordered))


def _by_conversation(prompts: list[Prompt], seed: int) -> list[Prompt]:
    """Order prompts by conversation, in a drawn order; those of one stay in file order."""
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt.conversation].append(prompt)
    drawn = random.Random(f"prompts {seed}").sample(sorted(groups), len(groups))
    return [prompt for name in drawn for prompt in groups[name]]


def _transposed(rows: list[list[Any]]) -> list[list[Any]]:
    """Turn rows of any length into columns: all firsts, all seconds, …"""
    longest = max((len(row) for row in rows), default=0)
    return [[row[i] for row in rows if i < len(row)] for i in range(longest)]
