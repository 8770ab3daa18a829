"""The tries of one run: an interrupted run goes on from its last checkpoint, any other begins anew.

One that failed twice from the same checkpoint, and saved no later one, begins anew too: the checkpoint may be why.

A run was interrupted when it ended without a result but for its own numbers: killed, timed out, cancelled, its machine
gone. A loss that is NaN comes again. The trainer finds the last checkpoint of its model_dir by itself, and max_steps
is the step to end at, so the params file stays as it is.
"""

import itertools
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path

import orjson
from typing_extensions import TypedDict

from accelbench.foreign import Tree
from accelbench.plan.measurement import now
from accelbench.store.files import read_json
from accelbench.store.records import Activity, DatasetFacts, Failure, HostFacts, JsonObject, TrainerFacts
from accelbench.training.log.grammar import Blocks, Lines
from accelbench.training.log.reader import read_log
from accelbench.training.log.timeline import Event
from accelbench.training.log.transcript import first_step_of
from accelbench.training.params.check import goes_on_until

FAILURES_FROM_A_STEP = 2
SIGNALS_FROM = 128  # a shell's exit status of a process that a signal ended


@dataclass(frozen=True, slots=True)
class Try:
    """One start of a run's trainer. Its end and status are null while it runs, and of one that nobody saw ending."""

    started_at: str
    from_step: int
    ended_at: str | None = None
    exit_status: int | None = None
    wall_s: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, and not well; one that was killed did not."""
        return bool(self.exit_status) and not is_of_a_signal(self.exit_status)

    def ended(self, exit_status: int | None, wall_s: float) -> "Try":
        """Return the try as it ended just now."""
        return replace(self, ended_at=now(), exit_status=exit_status, wall_s=round(wall_s, 3))


_FIELDS = {field.name for field in fields(Try)}  # earlier versions wrote others, too


class RunFile(TypedDict, total=False):
    """How a run was made and how it ended (run.json), with what the log does not say."""

    spec: JsonObject
    command: list[str] | None
    host: HostFacts | None
    dataset: DatasetFacts
    exit_status: int | None
    trainer: TrainerFacts
    outcome: str
    failure: Failure | None
    started_at: str
    ended_at: str | None
    wall_s: float
    between_tries_s: float
    pieced_together: bool
    host_activity: Activity | None
    """Of records made before 2026-12; later ones have telemetry.jsonl."""
    tries: list[Try]


def read_run_file(path: Path) -> RunFile:
    """Read run.json; the first version knew no tries. Raises what a broken file raises."""
    said = read_json(path)
    said["tries"] = [Try(**{key: one[key] for key in one.keys() & _FIELDS}) for one in said.get("tries", [])]
    found: RunFile = said
    return found


def is_of_a_signal(exit_status: int | None) -> bool:
    """Tell whether a process was ended by a signal."""
    return exit_status is not None and (exit_status < 0 or exit_status >= SIGNALS_FROM)


def earlier_tries(record: Path, log: Path, spec: str) -> list[Try]:
    """Return the tries of a run of this spec that has ended without a result; none where there is no such run.

    A try that was killed with all that watched it ended, as far as is known, when its log was last written.
    """
    try:
        said = read_run_file(record)
        tries = said["tries"]
        if said["spec"] != orjson.loads(spec) or said["outcome"] == "completed" or not tries:
            return []
        written = datetime.fromtimestamp(log.stat().st_mtime).astimezone()
        last = tries[-1]
        if last.ended_at is None:
            wall_s = max(0.0, (written - datetime.fromisoformat(last.started_at)).total_seconds())
            last = replace(last, ended_at=written.isoformat(timespec="seconds"), wall_s=round(wall_s, 3))
        return [*tries[:-1], last]
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return []


def step_to_resume_from(
    tries: Sequence[Try],
    params: Tree,
    log: Path,
    checkpoints: Mapping[str, int],
) -> int:
    """Return the step from which the earlier tries can go on; 0 when the run has to begin anew.

    That is the last of the checkpoints which the trainer would find and the log says were written whole.
    """
    end = goes_on_until(params)
    if not tries or end is None or not log.exists() or _is_nan(log):
        return 0
    step = max((checkpoints[name] for name in _saved(log) & checkpoints.keys()), default=0)
    failed = sum(one.from_step == step and one.failed for one in tries)
    return step if step < end and failed < FAILURES_FROM_A_STEP else 0


def keep_whole_checkpoints(log: Path, model_dir: Path) -> None:
    """Delete those that the log does not say were written whole: the trainer would load the last."""
    whole = _saved(log)
    for path in model_dir.glob("checkpoint_*"):
        if path.name not in whole:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def begun_from(log: Path, offset: int) -> int | None:
    """Return the step from which a trainer went on, by what it logged after so many bytes; None: it does not say."""
    with log.open("rb") as said:
        said.seek(offset)
        loops = (first_step_of(message) for event, _, message in Lines(Blocks(said)) if event is Event.LOOP)
        return next((first - 1 for _, first in filter(None, loops)), None)


def summary(tries: Sequence[Try]) -> RunFile:
    """Return when the tries of one run began and ended, and how long they took; the time between them apart."""
    between = [_apart_s(one, after) for one, after in itertools.pairwise(tries)]
    return {
        "started_at": tries[0].started_at,
        "ended_at": tries[-1].ended_at,
        "wall_s": round(sum(one.wall_s or 0.0 for one in tries), 3),
        "between_tries_s": sum(between),
        "pieced_together": len(tries) > 1,
        "tries": list(tries),
    }


def _apart_s(one: Try, after: Try) -> float:
    ended_at, started_at = (datetime.fromisoformat(moment) for moment in (one.ended_at or "", after.started_at))
    return max(0.0, (started_at - ended_at).total_seconds())


def _is_nan(log: Path) -> bool:
    said = read_log(log)
    diverged = any(step.loss is not None and not math.isfinite(step.loss) for step in said.steps)
    return diverged or (said.failure is not None and said.failure["class"] == "ApplianceNanError")


def _saved(log: Path) -> set[str]:
    """Return the names of the checkpoints that a log says were saved."""
    marker = b"Saved checkpoint "
    with log.open("rb") as lines:
        found = [line.partition(marker)[2] for line in lines if marker in line]
    return {Path(path.decode(errors="replace").strip()).name for path in found}
