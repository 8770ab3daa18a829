"""What the workflow needs to know of a way to train: how a params file becomes a process whose output is a log."""

import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from accelbench.config import Config, Platform
from accelbench.errors import Finding
from accelbench.foreign import Tree
from accelbench.plan.specs import TrainRun
from accelbench.store.files import write_json
from accelbench.store.records import ParsedLog, TrainerFacts

P = TypeVar("P", bound=Platform)


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that trains, how it is asked to stop, and what is run, with the log, when it was killed."""

    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop: signal.Signals = signal.SIGTERM
    afterwards: Sequence[str] = ()


class Backend(Generic[P]):
    """A way to train, on one platform of the config. What a backend does not define stays as it is here.

    Its trainer continues from the last checkpoint of its model_dir by itself.
    """

    trains_here: ClassVar[bool] = False
    """Whether the host that starts a run is what trains: a run then has it for itself, and its activity is recorded."""
    checkpoints_kept: ClassVar[int | None] = None
    """How many of a run's checkpoints stay; None: all."""

    def __init__(self, name: str, platform: P) -> None:
        """Take a platform by its name in the config."""
        self.name, self.platform = name, platform

    @property
    def key(self) -> str:
        """The platform's place in the config."""
        return f"training.platforms.{self.name}"

    @property
    def own_node(self) -> bool:
        """Whether each run has a node of its own."""
        return False

    @property
    def resources(self) -> Mapping[str, int | str]:
        """What a run takes of Snakemake's resources."""
        return {}

    @property
    def initial_weights(self) -> str | None:
        """How they are drawn; None: not known."""
        return None

    @property
    def compiles_first(self) -> bool:
        """Whether each size is compiled in a job of its own, before its runs."""
        return False

    def params(self, init: Tree) -> Tree:
        """Return what the platform sets in a base file's trainer.init; None takes a key out."""
        return {}

    def preflight(self, config: Config, runs: Sequence[TrainRun]) -> Iterator[Finding]:
        """Yield whether the planned runs could begin, as far as it is the backend that tells."""
        yield from ()

    def memory(self, run: TrainRun, params: Tree) -> Finding | None:
        """Return what a run needs of its device's memory, by its params file; None where that can't be told."""
        return None

    def at_most(self, config: Config, n_runs: int) -> str | None:
        """Say what bounds the time of so many runs; None where nothing does."""
        return None

    def require(self) -> None:
        """Raise UserError when what a run calls is not there."""

    def compile(self, params: Path, out: Path) -> None:
        """Compile what a params file will train, where `compiles_first` asks for it; record in `out` how that ended."""
        write_json(out, {"outcome": "not asked for"})

    def launch(self, params: Path, model_dir: Path) -> Launch:
        """Return the command that trains by one params file."""
        raise NotImplementedError(f"{self.key} trains nothing")

    def facts(self, model_dir: Path) -> TrainerFacts:
        """Return what the trainer leaves beside its log."""
        return {}

    def checkpoints(self, model_dir: Path) -> dict[str, int]:
        """Return the names and steps of the checkpoints in a model_dir that the trainer would go on from."""
        return {}

    def read(self, log: Path, run: TrainRun) -> ParsedLog:
        """Read the log of a run."""
        from accelbench.training.log.reader import read_log  # its expressions take long to compile

        return read_log(log, batch_size=run.batch)


def steps_of(paths: Iterable[Path], suffix: str) -> dict[str, int]:
    """Return the names and steps of checkpoints, named checkpoint_{step}[_{time}] + suffix."""
    name = re.compile(r"checkpoint_(\d+)(?:_\d{8}_\d{6})?" + re.escape(suffix))
    found = [name.fullmatch(path.name) for path in paths]
    return {match[0]: int(match[1]) for match in found if match}
