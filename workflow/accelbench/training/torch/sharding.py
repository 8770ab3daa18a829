"""What a model gives up for memory: whole weights on each rank (FSDP2's fully_shard), and activations.

Each decoder layer is a unit: it is gathered when it computes, checkpointed, and compiled, by itself. Weights, gradients
and the optimizer's moments are float32 and divided over the ranks; under bfloat16 the layers compute in it, and
gradients are summed in float32.
"""

from functools import partial
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from accelbench.training.torch import ranks
from accelbench.training.torch.run import Run


def arranged(run: Run, model: Any, device: torch.device) -> Any:
    """Return the model on its device, as the run has it sharded, checkpointed and compiled."""
    layers = model.model.layers
    for layer in layers:
        if run.compile:
            layer.forward = torch.compile(layer.forward)
        if run.activation_checkpointing == "full":
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if run.sharding == "none" or ranks.world_size() == 1:
        return model.to(device)
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    policy = half if run.dtype == "bfloat16" else MixedPrecisionPolicy()
    mesh = init_device_mesh(device.type, (ranks.world_size(),))
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    return model


def is_sharded(model: Any) -> bool:
    """Tell whether the ranks hold parts of the model, and must all take part in what reads or writes its weights."""
    return isinstance(model, FSDPModule)
