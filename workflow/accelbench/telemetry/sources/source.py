"""What every source of telemetry is: a name, facts about itself, and one reading after the other."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from accelbench.jobs.process import WORKFLOW_PID, kept_processes
from accelbench.store.records import JsonObject


def _workflow() -> int | None:
    pid = os.environ.get(WORKFLOW_PID, "")
    return int(pid) if pid.isdigit() else None


@dataclass(frozen=True, slots=True)
class Watched:
    """What a recorder is told of the measurement beside it."""

    job: int = field(default_factory=os.getpid)
    """The process that started the program: the measuring job, or what keeps the server from one round to the next.

    What its guards started (its grandchildren and below) is the program.
    """
    workflow: int | None = field(default_factory=_workflow)
    """The process id of the workflow that the job belongs to: all its jobs are ours."""
    kept: Sequence[int] = field(default_factory=kept_processes)
    """The processes that the workflow keeps from one job to the next; they and what they started are ours."""
    cards: str | None = None
    """The CUDA_VISIBLE_DEVICES of the server, where the config sets it; else the job's own counts."""
    base_url: str | None = None
    """What is measured; a server that listens there on this machine is ours, too."""
    metrics_url: str | None = None
    """Where the server shows its own figures (Prometheus' text format)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Credentials for `metrics_url`."""


class Source(Protocol):
    """Something that can be read again and again, at little cost.

    Its constructor takes a `Watched`. What can't be read is None in `facts` or a reading, with the reason under `why`.
    """

    interval_s: float
    """How long at least lies between two readings."""
    shows_power: bool
    """Whether power or energy is read: then the idle machine is recorded before and after the measurement."""

    def facts(self) -> JsonObject:
        """Return what is read, and how."""
        ...

    def read(self) -> JsonObject:
        """Return one reading. Counters are given as they stand; their differences are for whoever reads the file."""
        ...
