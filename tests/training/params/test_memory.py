"""The estimate of memory is what the trainer's own tensors hold, and decides what is divided."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("transformers")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from accelbench.training.params.memory import (  # noqa: E402
    Division,
    MemorySettings,
    division_that_fits,
    estimate,
    memory_need,
    smallest_that_fits,
)
from accelbench.training.torch import loop  # noqa: E402
from accelbench.training.torch.llama import Llama, arranged  # noqa: E402
from accelbench.training.torch.run import LlamaArguments  # noqa: E402

GIB = 2**30
AUTO, NONE, FULL = Division("auto", "auto"), Division("none", "none"), Division("full", "full")


def llama(**sizes: Any) -> LlamaArguments:
    return {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
        "initializer_range": 0.02, "use_cache": False, **sizes,
    }  # type: ignore[typeddict-item, return-value]  # fmt: skip


SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 172, "num_attention_heads": 4,
         "num_key_value_heads": 4, "num_hidden_layers": 3, "max_position_embeddings": 64}  # fmt: skip
LLAMA_2_7B = llama()


def settings(processes: int, micro: int = 1, division: Division = AUTO) -> MemorySettings:
    return MemorySettings(processes, 256, micro, "bfloat16", division)


class Accounting(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of all tensors that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.now = self.peak = 0

    def see(self, tensors: Any) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def gone(self, storage: int, n_bytes: int) -> None:
        self.known.discard(storage)
        self.now -= n_bytes

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        self.see(each for each in torch.utils._pytree.tree_leaves(made) if isinstance(each, torch.Tensor))
        return made


def peak_of_a_step(model_of: LlamaArguments, micro: int, passes: int, dtype: str, division: Division) -> int:
    """The second step, whose optimizer has its moments."""
    run: Any = SimpleNamespace(
        model=model_of, dtype=dtype, micro_batch_size=micro, grad_accum_steps=1, compile=False, **division._asdict()
    )
    model = arranged(run, Llama(model_of), torch.device("cpu")).train()
    optimizer = torch.optim.AdamW(model.parameters())
    batch = np.ones((micro * passes, 3, model_of["max_position_embeddings"]), np.int32)
    gc.collect()
    with Accounting() as counted:
        counted.see(model.parameters())
        for _ in range(2):
            counted.peak = 0
            loop.backward(run, model, batch, last=True)
            optimizer.step()
            optimizer.zero_grad()
    return counted.peak


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
