"""Training backends: how a params file becomes a process whose output is a progress log.

A backend is one module with `launch`, `facts` and `last_checkpoint`, and one entry here. Its trainer continues from
the last checkpoint of its model_dir by itself.
"""

import re
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
    last_checkpoint: Callable[[Path], int | None]
    """The step of the last checkpoint in a model_dir."""
    require: Callable[[Any, str], None] = lambda platform, key: None
    """Raises UserError when what the platform (defined under `key`) calls is not there."""


def backend_of(platform: TorchPlatform | CerebrasPlatform) -> Backend:
    """Return the backend of a platform."""
    from accelbench.training.backends import cerebras, torch

    return {
        "torch": Backend(torch.launch, torch.facts, torch.last_checkpoint),
        "cerebras": Backend(cerebras.launch, cerebras.facts, cerebras.last_checkpoint, cerebras.require),
    }[platform.backend]


def last_step(model_dir: Path, suffix: str) -> int | None:
    """Return the highest step of the checkpoints in a model_dir, named checkpoint_{step}[_{time}] + suffix."""
    name = re.compile(r"checkpoint_(\d+)(?:_\d{8}_\d{6})?" + re.escape(suffix))
    found = [name.fullmatch(path.name) for path in model_dir.glob("checkpoint_*")]
    return max((int(match[1]) for match in found if match), default=None)
