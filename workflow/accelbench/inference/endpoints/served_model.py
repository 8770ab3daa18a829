"""What an endpoint says about the model it serves: in `/models`, or on the status pages of its gateway (ALCF's)."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from accelbench.foreign_json import as_number
from accelbench.store.records import JsonObject
from accelbench.words import one_line

_NAMES = ("id", "model", "model_id", "name", "aliases")
LIMITS = {
    "max_context_tokens": (
        "max_model_len",  # vLLM
        "context_length",  # SambaNova, OpenRouter
        "context_window",  # ALCF
        "max_context_length",
        "max_context_tokens",
        "n_ctx",  # llama.cpp
    ),
    "max_num_seqs": ("max_num_seqs", "max_concurrency"),
    "default_reasoning_effort": ("default_reasoning_effort", "reasoning_effort"),
    "tokens_per_minute": ("rate_limit_token_per_minute",),
}
_REASONING = "reasoning"
ENTRY_BYTES = 4000
IDS_SHOWN, MOST_ID = 10, 100


def served_ids(document: Any) -> list[str]:
    """Return the ids that `/models` lists; [] when it lists none, or is no such page."""
    listed = document.get("data") if isinstance(document, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]


def first_of(ids: Sequence[str]) -> str:
    """Return the first of several ids, as a line that is safe to print."""
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return ", ".join(one_line(name, MOST_ID) for name in ids[:IDS_SHOWN]) + more


def entry_of(document: Any, model: str) -> JsonObject | None:
    """Return the innermost mapping that describes a model: one that names it, or one that stands under its name."""
    found = None
    for key, mapping in _mappings(document):
        names = [name for field in _NAMES for name in _listed(mapping.get(field))]
        if key == model or model in names:
            found = mapping
    return found


def model_facts(entry: JsonObject | None) -> JsonObject:
    """Return what an entry says: limits, what it tells of reasoning, and the entry itself, cut when it is long."""
    if entry is None:
        return {}
    facts: dict[str, object] = {}
    for fact, keys in LIMITS.items():
        said = next((value for key in keys for value in _values(entry, key)), None)
        if isinstance(said, str) or as_number(said) is not None:
            facts[fact] = said
    reasoning = {key: value for _, mapping in _mappings(entry) for key, value in mapping.items() if _REASONING in key}
    if reasoning:
        facts[_REASONING] = kept(reasoning)
    return {**facts, "entry": kept(entry)}


def kept(said: Any) -> Any:
    """Return what a page said, for the record: as it is, or the beginning of its text when it is long."""
    text = orjson.dumps(said)
    return said if len(text) <= ENTRY_BYTES else text[:ENTRY_BYTES].decode(errors="ignore") + " (cut)"


def _mappings(value: Any, key: str | None = None) -> Iterator[tuple[str | None, JsonObject]]:
    """Yield all mappings inside a document with the key each stands under, outer ones first."""
    if isinstance(value, dict):
        yield key, value
        for name, inner in value.items():
            yield from _mappings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _values(entry: JsonObject, key: str) -> Iterator[Any]:
    return (mapping[key] for _, mapping in _mappings(entry) if mapping.get(key) is not None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
