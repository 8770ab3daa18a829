"""How long measurements took before, by the finished ones that the archive keeps.

A run takes about as long as earlier ones of its size on its platform, a round as long as earlier ones of its load on
its endpoint. A measurement whose platform or load was changed meanwhile counts, too, until newer ones outnumber it.
"""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from accelbench.plan.specs import InferRound, TrainRun
from accelbench.store import paths
from accelbench.store.files import read_json

LATEST = 5


@dataclass(frozen=True, slots=True)
class Past:
    """One finished measurement; `of`: its batch size, or its cell."""

    name: str
    of: int | str
    ended_at: datetime
    duration_s: float


def past() -> Iterator[Past]:
    """Yield the finished measurements of this folder and of those that it shares the archive with."""
    for record in paths.ARCHIVE.glob("*/run.json"):
        try:
            run = read_json(record)
            spec = run["spec"]
            began_at, ended_at = (datetime.fromisoformat(run[key]) for key in ("started_at", "ended_at"))
            duration_s = run.get("wall_s") or (ended_at - began_at).total_seconds()
            train = spec["kind"] == "train"
            name = spec["platform" if train else "endpoint"]["name"]
            yield Past(name, spec["batch_size" if train else "cell"], ended_at, float(duration_s))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of another version, or damaged: it tells nothing


def past_of(item: TrainRun | InferRound, duration_s: float) -> Past:
    """Return the measurement that has ended just now."""
    return Past(*_kind(item), datetime.now().astimezone(), duration_s)


def usual_s(item: TrainRun | InferRound, finished: Iterable[Past]) -> float | None:
    """Return the median duration of the latest measurements like `item`; None where there is none."""
    kind = _kind(item)
    alike = sorted((each for each in finished if (each.name, each.of) == kind), key=lambda each: each.ended_at)
    return statistics.median(each.duration_s for each in alike[-LATEST:]) if alike else None


def _kind(item: TrainRun | InferRound) -> tuple[str, int | str]:
    return (item.platform, item.batch) if isinstance(item, TrainRun) else (item.endpoint, item.cell)


def together_s(items: Iterable[TrainRun | InferRound], finished: Sequence[Past]) -> tuple[float, bool]:
    """Return how long measurements take one after another, and whether that is known of all of them."""
    each_s = [usual_s(item, finished) for item in items]
    return sum(filter(None, each_s)), None not in each_s


def measured_in(folder: Path) -> TrainRun | InferRound | None:
    """Return the measurement that a folder of results is for; None for another one."""
    with suppress(ValueError):
        match folder.parts:
            case (*_, "training", platform, size, number):
                batch, *axes = paths.parse_size(size)
                return TrainRun(platform, batch, int(number[1:]), *axes)
            case (*_, "inference", endpoint, cell, number):
                return InferRound(endpoint, cell, int(number[1:]))
    return None
