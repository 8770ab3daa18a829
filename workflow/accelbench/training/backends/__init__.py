"""Training backends: a class each, in a module of its own, and one entry here (docs/extending.md)."""

from typing import Any

from accelbench.config import Config
from accelbench.training.backends.backend import Backend
from accelbench.training.backends.cerebras import Cerebras
from accelbench.training.backends.log import Log
from accelbench.training.backends.torch import Torch

BACKENDS: dict[str, type[Backend[Any]]] = {"torch": Torch, "cerebras": Cerebras, "log": Log}


def backend_of(config: Config, platform: str) -> Backend[Any]:
    """Return what trains on a platform of the config."""
    described = config.training.platforms[platform]
    return BACKENDS[described.backend](platform, described)
