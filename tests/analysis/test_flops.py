"""The arithmetic of one step against models whose parameters are known."""

from typing import Any

import pytest

from accelbench.analysis.training import flop_per_sample, multiplied_parameters, why_unknown

LLAMA2_7B: dict[str, Any] = {
    "name": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_heads": 32, "filter_size": 11008,
    "vocab_size": 32000, "nonlinearity": "swiglu", "share_embedding_weights": False,
}  # fmt: skip
SMALL = {**LLAMA2_7B, "hidden_size": 128, "num_hidden_layers": 4, "num_heads": 4, "filter_size": 344, "vocab_size": 512}


def test_llama2_7b_without_its_input_embedding_and_norms() -> None:
    published, embedding, norms = 6_738_415_616, 32000 * 4096, 65 * 4096
    assert multiplied_parameters(LLAMA2_7B) == published - embedding - norms


def test_the_small_model_has_the_parameters_that_its_trainer_counts() -> None:
    assert multiplied_parameters(SMALL) == 922_752 - 512 * 128 - 9 * 128


@pytest.mark.parametrize(("attention", "pflops"), [(False, 5.5), (True, 5.9)])
def test_llama2_7b_at_33_samples_a_second(attention: bool, pflops: float) -> None:
    # the published 5.5 and 5.9 count the input embedding too (2 % more)
    flop = flop_per_sample(LLAMA2_7B, 4096, attention=attention)
    assert flop is not None
    assert flop * 33.06 / 1e15 == pytest.approx(pflops, rel=0.025)
    embedding = 6.0 * 32000 * 4096 * 4096
    assert round((flop + embedding) * 33.06 / 1e15, 1) == pflops


def test_grouped_keys_and_values_have_fewer_parameters() -> None:
    grouped = {"attention_module": "multiquery_attention", "attention_module_kwargs": {"num_kv_groups": 8}}
    less = (multiplied_parameters(LLAMA2_7B) or 0) - (multiplied_parameters({**LLAMA2_7B, **grouped}) or 0)
    assert less == 32 * 2 * 4096 * 4096 * 3 // 4


def test_a_layer_without_a_gate_has_two_matrices() -> None:
    less = (multiplied_parameters(LLAMA2_7B) or 0) - (multiplied_parameters({**LLAMA2_7B, "nonlinearity": "gelu"}) or 0)
    assert less == 32 * 4096 * 11008


def test_without_a_sequence_length_nothing_is_counted() -> None:
    assert flop_per_sample({**LLAMA2_7B, "max_position_embeddings": 4096}, None) is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, "no readable params file"),
        ({**LLAMA2_7B, "filter_size": None}, "does not say filter_size"),
        ({**LLAMA2_7B, "hidden_size": "4096"}, "does not say hidden_size"),
        ({**LLAMA2_7B, "moe_params": {"num_experts": 8}}, "moe_params"),
    ],
)
def test_a_model_that_cant_be_counted_says_why(model: dict[str, Any] | None, reason: str) -> None:
    assert reason in (why_unknown(model) or "")
    assert flop_per_sample(model, 128) is None


def test_a_model_that_can_be_counted_has_no_reason() -> None:
    assert why_unknown(LLAMA2_7B) is None
