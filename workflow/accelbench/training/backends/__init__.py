"""Training backends: how a params file becomes a process whose output is a progress log.

A backend is one module with `launch` and `facts`, and one entry here.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from accelbench.config import CerebrasPlatform, TorchPlatform


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that trains, how it is asked to stop, and what is run, with the log, when it was killed."""

    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop: signal.Signals = signal.SIGTERM
    afterwards: Sequence[str] = ()


class Backend(NamedTuple):
    """What the workflow needs to know of a way to train."""

    launch: Callable[[Any, Path, Path], Launch]
    facts: Callable[[Path], dict[str, Any]]


def backend_of(platform: TorchPlatform | CerebrasPlatform) -> Backend:
    """Return the backend of a platform."""
    from accelbench.training.backends import cerebras, torch

    return {
        "torch": Backend(torch.launch, torch.facts),
        "cerebras": Backend(cerebras.launch, cerebras.facts),
    }[platform.backend]
