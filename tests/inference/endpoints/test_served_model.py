"""What servers say about their models: taken where it is, missed by nobody where it is not."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.inference.endpoints.served_model import ENTRY_BYTES, entry_of, model_facts, served_ids, short_enough

VLLM = {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 8192, "root": "/weights"}]}
LLAMA_CPP = {
    "models": [{"name": "m", "model": "m"}],
    "object": "list",
    "data": [{"id": "m", "aliases": ["m"], "meta": {"n_ctx_train": 2048, "n_ctx": 1024}}],
}
GATEWAY = {
    "models": {
        "other": {"context_window": 1},
        "m": {
            "context_window": 131072,
            "max_num_seqs": 32,
            "reasoning": {"supported": True, "default_reasoning_effort": "medium"},
            "rate_limit_token_per_minute": 60000,
        },
    }
}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (VLLM, {"max_context_tokens": 8192}),
        (LLAMA_CPP, {"max_context_tokens": 1024}),
        (
            GATEWAY,
            {
                "max_context_tokens": 131072,
                "max_num_seqs": 32,
                "default_reasoning_effort": "medium",
                "tokens_per_minute": 60000,
            },
        ),
    ],
)
def test_limits_are_found_under_each_servers_names(document: Any, expected: dict[str, Any]) -> None:
    facts = model_facts(entry_of(document, "m"))
    assert {key: facts[key] for key in expected} == expected


def test_what_is_told_of_reasoning_and_the_entry_itself_are_kept() -> None:
    facts = model_facts(entry_of(GATEWAY, "m"))
    assert facts["reasoning"]["reasoning"] == {"supported": True, "default_reasoning_effort": "medium"}
    assert facts["entry"] == GATEWAY["models"]["m"]


def test_a_long_entry_is_cut() -> None:
    text = short_enough({"text": "x" * 10_000})
    assert isinstance(text, str) and len(text) < ENTRY_BYTES + 10 and text.endswith("(cut)")


def test_ids_are_listed_and_an_empty_list_is_none() -> None:
    assert served_ids({"data": [{"id": "a"}, {"id": "b"}, {"no": "id"}]}) == ["a", "b"]
    assert served_ids({"data": []}) == served_ids(None) == served_ids({"detail": "no"}) == []


def test_a_model_that_is_not_described_has_no_facts() -> None:
    assert model_facts(entry_of(VLLM, "another")) == {}


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda e: st.lists(e) | st.dictionaries(
    st.sampled_from(["id", "data", "m", "models", "n_ctx", "reasoning"]), e)))  # fmt: skip
def test_any_document_is_read_without_an_error(document: Any) -> None:
    document = orjson.loads(json.dumps(document))  # as pages are read: integers beyond 64 bits become floats
    served_ids(document)
    model_facts(entry_of(document, "m"))
