"""The estimate of memory is what the trainer's own tensors hold, and decides what is divided."""

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("transformers")
from accelbench.training.params.memory import (
    Division,
    MemorySettings,
    division_that_fits,
    estimate,
    memory_need,
    smallest_that_fits,
)
from tests.training.accounting import llama, peak_of_a_step

GIB = 2**30
AUTO, NONE, FULL = Division("auto", "auto"), Division("none", "none"), Division("full", "full")


SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 172, "num_attention_heads": 4,
         "num_key_value_heads": 4, "num_hidden_layers": 3, "max_position_embeddings": 64}  # fmt: skip
LLAMA_2_7B = llama()


def settings(processes: int, micro: int = 1, division: Division = AUTO) -> MemorySettings:
    return MemorySettings(processes, 256, micro, "bfloat16", division)


@pytest.mark.parametrize(
    ("dtype", "division", "micro", "passes", "sizes"),
    [
        ("float32", NONE, 8, 1, {}),
        ("float32", Division("none", "full"), 8, 1, {}),
        ("float32", NONE, 1, 2, {"hidden_size": 128, "num_key_value_heads": 2}),
        ("bfloat16", NONE, 8, 1, {}),
        ("bfloat16", Division("none", "full"), 4, 2, {"tie_word_embeddings": True}),
    ],
)
def test_the_estimate_is_what_the_tensors_hold(
    dtype: str, division: Division, micro: int, passes: int, sizes: dict[str, Any]
) -> None:
    model = llama(**SMALL | sizes)
    need = memory_need(model, MemorySettings(1, micro * passes, micro, dtype, division))
    assert need.peak == pytest.approx(peak_of_a_step(model, micro, passes, dtype, division), rel=0.15)


def test_what_costs_least_time_is_chosen_of_what_fits() -> None:
    chosen = {gib: division_that_fits(LLAMA_2_7B, settings(8), AUTO, gib * GIB) for gib in (200, 80, 40)}
    assert chosen == {200: NONE, 80: Division("full", "none"), 40: FULL}


def test_what_the_config_fixes_is_not_chosen() -> None:
    assert division_that_fits(LLAMA_2_7B, settings(8), Division("none", "auto"), 40 * GIB) == Division("none", "full")
    assert division_that_fits(LLAMA_2_7B, settings(8), FULL, 1000 * GIB) == FULL
    assert division_that_fits(LLAMA_2_7B, settings(1), AUTO, 40 * GIB) == Division("none", "full")


def test_what_cannot_fit_is_refused_with_the_smallest_setting_that_does() -> None:
    refused = estimate("gpu: memory", LLAMA_2_7B, settings(1, 4), 40 * GIB)
    assert refused.verdict == "fails"
    assert refused.remedy == (
        "Set processes: 4 with sharding and activation_checkpointing auto, and micro_batch_size: 1."
    )
    assert estimate("gpu: memory", LLAMA_2_7B, settings(4), 40 * GIB).verdict == "ok"
    assert smallest_that_fits(LLAMA_2_7B, settings(1), GIB) is None


def test_a_device_that_is_not_known_refuses_nothing() -> None:
    found = estimate("gpu: memory", LLAMA_2_7B, settings(1), None)
    assert (found.verdict, " of " in found.text.partition(" GiB")[0]) == ("ok", False)
