"""What the tensors of a training step hold at most: for the estimate to be held against."""

import weakref
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from accelbench.training.params.memory import Division
from accelbench.training.torch import loop, ranks
from accelbench.training.torch.llama import Llama, arranged, is_sharded
from accelbench.training.torch.run import LlamaArguments


def llama(**sizes: Any) -> LlamaArguments:
    """Return the arguments of Llama-2-7B, but for some sizes."""
    return {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
        "initializer_range": 0.02, "use_cache": False, **sizes,
    }  # type: ignore[typeddict-item, return-value]  # fmt: skip


class Accounting(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of all tensors that are there, after each operation: FSDP2 empties storages and fills them."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, weakref.ref[Any]] = {}
        self.peak = 0

    def see(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            storage = getattr(tensor, "_local_tensor", tensor).untyped_storage()
            key = storage._cdata
            if key not in self.known:
                self.known[key] = weakref.ref(storage, lambda _, key=key: self.known.pop(key, None))
        there = [storage for known in list(self.known.values()) if (storage := known()) is not None]
        self.peak = max(self.peak, sum(storage.nbytes() for storage in there))

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        self.see(each for each in tree_leaves((made, args)) if isinstance(each, torch.Tensor))
        return made


def peak_of_a_step(model_of: LlamaArguments, micro: int, passes: int, dtype: str, division: Division) -> int:
    """Return the peak of this rank's second step, whose optimizer has its moments."""
    run: Any = SimpleNamespace(
        model=model_of, dtype=dtype, micro_batch_size=micro, grad_accum_steps=1, compile=False, **division._asdict()
    )
    model = arranged(run, Llama(model_of), torch.device("cpu")).train()
    optimizer = torch.optim.AdamW(model.parameters())
    trained = model if is_sharded(model) else ranks.parallel(model)
    batch = np.ones((micro * passes * ranks.world_size(), 3, model_of["max_position_embeddings"]), np.int32)

    def step() -> None:
        loop.backward(run, trained, batch, last=True)
        optimizer.step()
        optimizer.zero_grad()

    step()
    with Accounting() as counted:
        counted.see([*model.parameters(), *tree_leaves(list(optimizer.state.values()))])
        step()
    return counted.peak
