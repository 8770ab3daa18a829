"""Training backends: how a params file becomes a process whose output is a progress log.

A backend is one module with `launch`, `facts` and `checkpoints`, and one entry here. Its trainer continues from
the last checkpoint of its model_dir by itself.
"""

import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    checkpoints: Callable[[Path], dict[str, int]]
    """The names and steps of the checkpoints in a model_dir that the trainer would go on from."""
    require: Callable[[Any, str], None] = lambda platform, key: None
    """Raises UserError when what the platform (defined under `key`) calls is not there."""


def backend_of(platform: TorchPlatform | CerebrasPlatform) -> Backend:
    """Return the backend of a platform."""
    from accelbench.training.backends import cerebras, torch

    return {
        "torch": Backend(torch.launch, torch.facts, torch.checkpoints),
        "cerebras": Backend(cerebras.launch, cerebras.left_behind, cerebras.checkpoints, cerebras.require),
    }[platform.backend]


def steps_of(paths: Iterable[Path], suffix: str) -> dict[str, int]:
    """Return the names and steps of checkpoints, named checkpoint_{step}[_{time}] + suffix."""
    name = re.compile(r"checkpoint_(\d+)(?:_\d{8}_\d{6})?" + re.escape(suffix))
    found = [name.fullmatch(path.name) for path in paths]
    return {match[0]: int(match[1]) for match in found if match}
