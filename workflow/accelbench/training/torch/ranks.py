"""The processes that train together (torchrun's ranks): each takes its share of every batch.

All hold the whole model (data parallel, DistributedDataParallel) and sum their gradients once per step, or each a part
of it (`sharding`): the weights are those of one process but for the rounding of sums. By itself, a trainer is the one
rank there is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from accelbench.training.torch.batches import MASK
from accelbench.training.torch.run import COLLECTIVES

WAIT = timedelta(hours=2)  # for the first rank to write a checkpoint; torchrun ends all ranks when one dies


def world_size() -> int:
    """Return how many ranks there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def ranks_here() -> int:
    """Return how many ranks there are on this node."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def own_device(kind: str) -> torch.device:
    """Return the device of this rank: the GPU of its number, where there are several ranks."""
    several = kind in COLLECTIVES and world_size() > 1
    return torch.device(kind, int(os.environ["LOCAL_RANK"])) if several else torch.device(kind)


def devices_here(kind: str) -> int:
    """Return how many devices of a kind this node has."""
    return int(torch.backends.mps.is_available() if kind == "mps" else torch.get_device_module(kind).device_count())


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[None]:
    """Let the ranks reach each other inside the block."""
    if world_size() == 1:
        yield
        return
    if device.type in COLLECTIVES:
        torch.get_device_module(device).set_device(device)
    distributed.init_process_group(COLLECTIVES.get(device.type, "gloo"), timeout=WAIT)
    yield
    distributed.destroy_process_group()


def parallel(model: Any) -> Any:
    """Return the model as it is trained: with several ranks, its gradients are the mean over all of them."""
    return DistributedDataParallel(model, gradient_as_bucket_view=True) if world_size() > 1 else model


def share(batch: np.ndarray, *, equal: bool) -> np.ndarray:
    """Return this rank's samples of a batch; `equal`: as many for all ranks, by samples of which no token counts."""
    if world_size() == 1:
        return batch
    own: np.ndarray = np.array_split(batch, world_size())[distributed.get_rank()]
    if equal and (lacking := -(-len(batch) // world_size()) - len(own)):
        filling = batch[:lacking].copy()
        filling[:, MASK] = 0
        own = np.concatenate([own, filling])
    return own


def total(value: torch.Tensor) -> torch.Tensor:
    """Sum a number over all ranks, in place."""
    if world_size() > 1:
        distributed.all_reduce(value)
    return value
