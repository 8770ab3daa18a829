"""The highest concurrency, or rate, at which an endpoint meets service-level objectives, with its 90 % interval.

This is a probabilistic bisection (Horstein, 1963; Waeber, Frazier and Henderson, 2013): a round that meets the
objectives says that the maximum lies above its level, and is taken to be wrong with a fixed probability. The next
round is measured where it tells most. So a level whose rounds disagree is repeated, and one far from the maximum is
measured once.
"""

import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from accelbench.config import Config, Endpoint, PromptSet, Scenario
from accelbench.config.fields import Objective, objectives_of
from accelbench.config.inference import AXES
from accelbench.errors import UserError, keys_called
from accelbench.inference.client.journal import EXCHANGES
from accelbench.inference.infer import FAILURE, RECORD, kept_for, write_failure
from accelbench.inference.prompts import Prompt, read_prompts
from accelbench.jobs.scheduler import end_explained
from accelbench.load.loadtest import CELL, NAME, PER_SLOT, figures_of, measure_load, option_of, questions_of
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, finish, host, now, restore
from accelbench.plan.specs import InferRound
from accelbench.store.files import read_record, write_json
from accelbench.store.records import RequestRecord, SearchLevel, SearchResult
from accelbench.telemetry.recorder import recorded

if TYPE_CHECKING:
    from accelbench.analysis.sample import Side

_WRONG = 0.25  # of a round's verdicts: of simulated noisy searches, more than 90 % then cover the maximum
_CREDIBLE = 0.9
_MOST_ROUNDS = 6  # at one level; if they still disagree, it is undecided
_RATES = 64  # the highest rate over the lowest
_UNITS = {"concurrency": "concurrency", "rate_per_s": "requests per s"}


def measure_search(config: Config, item: specs.Search, spec: str, prompts: Path, folder: Path) -> None:
    """Search as the workflow planned it, go on where it was interrupted, or restore the finished one of the same spec.

    Raises UserError, and leaves failure.json, when the endpoint can't be measured.
    """
    for left in (MEASURED, FAILURE):
        (folder / left).unlink(missing_ok=True)
    begun = read_record(folder / RECORD)
    if not config.restore or begun.get("spec") != orjson.loads(spec) or "ended_at" in begun:
        for level in folder.glob("*/"):
            shutil.rmtree(level)
        begun = {"spec": orjson.loads(spec), "started_at": now(), "host": host()}
    if config.restore and restore(folder, spec):
        return
    write_json(folder / RECORD, begun)
    try:
        with end_explained(lambda reason: write_failure(folder, spec, UserError(reason))):
            found = search_levels(
                item.endpoint,
                config.inference.endpoints[item.endpoint],
                specs.scenario_of(config, item.cell),
                read_prompts(prompts),
                folder,
                waits=config.measurement.when_busy == "wait",
                kept_for=kept_for(config, item),
            )
    except UserError as error:
        write_failure(folder, spec, error)
        raise
    write_json(folder / RECORD, {**begun, "ended_at": now(), **asdict(found)})
    rounds = sorted(path.parent for path in folder.glob(f"*/*/{RECORD}"))
    raw = [str(path.relative_to(folder) / name) for path in rounds for name in (EXCHANGES, RECORD, *recorded(path))]
    finish(folder, spec, [RECORD, *raw])
    from accelbench.report.inference_tables import search_sentence  # heavy: not before the first request

    print(f"{folder}: {search_sentence(found)}", flush=True)


def find_max(
    endpoint: Endpoint, scenario: Scenario, prompts: PromptSet, folder: Path, *, quiet: bool = False
) -> SearchResult:
    """Search outside any workflow. Raises UserError as a load test does."""
    with keys_called(option_of):
        return search_levels(NAME, endpoint, scenario, questions_of(prompts, folder), folder, quiet=quiet)


def search_levels(
    name: str,
    endpoint: Endpoint,
    scenario: Scenario,
    questions: Sequence[Prompt],
    folder: Path,
    *,
    quiet: bool = False,
    waits: bool = False,
    kept_for: Mapping[str, str] | None = None,
) -> SearchResult:
    """Search up to the scenario's concurrency or, in open loop, its rate.

    Each round is a load test of its own in `folder`/c24/r1; finished ones are kept. `waits`, `kept_for`: as of
    `measure_load`. Raises UserError as it does.
    """
    axis = "concurrency" if scenario.arrivals == "closed" else "rate_per_s"
    objectives = objectives_of(str(scenario.find_max))
    fewest = max(scenario.requests, *(each.requests for each in objectives))
    levels = _levels(axis, scenario)
    cheapest = sum(at * PER_SLOT <= fewest for at in levels) - 1  # more in flight take more requests, fewer more time
    belief = _Belief(len(levels), max(0, cheapest) if axis == "concurrency" else len(levels) // 2)
    tried: dict[int, list[_Round]] = defaultdict(list)
    while (place := belief.next_place()) is not None:
        at, number = levels[place], len(tried[place]) + 1
        requests = max(fewest, int(at * PER_SLOT)) if axis == "concurrency" else fewest
        load = scenario.model_copy(update={axis: at, "requests": requests, "find_max": None})
        head = f"{_UNITS[axis]} {at:g}, round {number}: "
        print(f"{head}{requests} requests", file=sys.stderr, flush=True)
        own = folder / f"{AXES[axis]}{at:g}".replace(".", "p") / f"r{number}"
        records = measure_load(
            InferRound(name, CELL, number), endpoint, load, questions, own, head=head, quiet=quiet,
            ends_when_busy=True, waits=waits, kept_for=kept_for,
        )  # fmt: skip
        tried[place].append(_judged(records, load, own, objectives))
        belief.learn(place, holds=not tried[place][-1].missed)
    return _result(axis, objectives, levels, tried, belief)


def _levels(axis: str, scenario: Scenario) -> list[float]:
    """Return the powers of two, and those times 1.5, up to the highest level."""
    highest = getattr(scenario, axis)
    lowest = 1 if axis == "concurrency" else highest / _RATES
    powers = [2.0**power for power in range(math.floor(math.log2(lowest)), math.ceil(math.log2(highest)))]
    grid = [at for power in powers for at in (power, 1.5 * power) if lowest <= at < highest]
    return [*([int(at) for at in grid if at.is_integer()] if axis == "concurrency" else grid), highest]


@dataclass(frozen=True, slots=True)
class _Round:
    missed: str | None
    requests: int
    disturbed: bool
    limited: bool


def _judged(records: Sequence[RequestRecord], load: Scenario, folder: Path, objectives: Sequence[Objective]) -> _Round:
    """Judge one round. It also fails when the endpoint's 429 or 503 ended it, or when requests were held back."""
    from accelbench.analysis.load import held_back
    from accelbench.analysis.sample import Side
    from accelbench.store.requests import Requests

    figures, side = figures_of(records, load, folder), Side("", "", Requests.of(records))
    busy = f"the endpoint was busy (429 or 503) after {figures.n} requests" if figures.n < load.requests else None
    missed = [*(_missed(each, side) for each in objectives), busy, held_back(side.attempts)]
    return _Round(
        "; ".join(filter(None, missed)) or None, figures.n, figures.disturbed, bool(figures.client["limited"])
    )


def _missed(objective: Objective, side: "Side") -> str | None:
    """Say that a load missed an objective; None: it is met. Raises UserError where that can't be told."""
    from accelbench.analysis.economy import within

    asked = len(side.requests)
    met, unknown = (len(side.good), 0) if objective.limit is None else within(side, objective.limit)
    enough = objective.share * asked - 1e-9
    if met < enough <= met + unknown:
        raise UserError(
            f"{objective.text} can't be judged: the time of {unknown} of {asked} requests is not known, "
            "as their answers were not streamed, or came all at once."
        )
    failed = f" ({side.failures} failed)" if objective.limit is not None and side.failures else ""
    return None if met >= enough else f"{objective.text}: {met} of {asked}{failed}"


class _Belief:
    """Where the maximum lies: the probability of each gap between levels, those below and above all included."""

    def __init__(self, levels: int, begin: int) -> None:
        """Begin with a level, all gaps being equally probable."""
        self._gaps = [1 / (levels + 1)] * (levels + 1)
        self._rounds = [0] * levels
        self._begin, self._verdicts = begin, set[bool]()

    def learn(self, place: int, *, holds: bool) -> None:
        """Take account of a round at a level."""
        weighed = [mass * (1 - _WRONG if (gap > place) == holds else _WRONG) for gap, mass in enumerate(self._gaps)]
        self._gaps = [mass / sum(weighed) for mass in weighed]
        self._rounds[place] += 1
        self._verdicts.add(holds)

    def next_place(self) -> int | None:
        """Return the level to measure next; None: the interval is found, or what lies in it is undecided."""
        if not self._verdicts:
            return self._begin
        if len(self._verdicts) == 1:  # double, or halve, until there is a level on either side
            tried = [place for place, count in enumerate(self._rounds) if count]
            wanted = max(tried) + 2 if True in self._verdicts else min(tried) - 2
            place = min(max(wanted, 0), len(self._rounds) - 1)
            if not self._rounds[place]:
                return place
        first, last = self.interval()
        open_ = [place for place in range(first, last) if self._rounds[place] < _MOST_ROUNDS]
        return min(open_, key=lambda place: abs(sum(self._gaps[: place + 1]) - 0.5), default=None)

    def interval(self) -> tuple[int, int]:
        """Return the first and the last gap of the shortest credible interval whose ends were measured."""
        count = len(self._gaps)
        runs = [(first, last) for first in range(count) for last in range(first, count)]
        credible = [run for run in runs if self._mass(*run) >= _CREDIBLE]
        first, last = min(credible, key=lambda run: (run[1] - run[0], -self._mass(*run)))
        while first > 0 and not self._rounds[first - 1]:
            first -= 1
        while last < count - 1 and not self._rounds[last]:
            last += 1
        return first, last

    def _mass(self, first: int, last: int) -> float:
        return sum(self._gaps[first : last + 1])


def _result(
    axis: str,
    objectives: Sequence[Objective],
    levels: Sequence[float],
    tried: dict[int, list[_Round]],
    belief: _Belief,
) -> SearchResult:
    first, last = belief.interval()
    rounds = [each for own in tried.values() for each in own]
    disturbed, limited = sum(each.disturbed for each in rounds), sum(each.limited for each in rounds)
    labels = [
        f"busy host in {disturbed} of {len(rounds)} rounds: more may be possible" if disturbed else "",
        f"the client was the bottleneck in {limited} of {len(rounds)} rounds: more may be possible" if limited else "",
    ]
    found = [
        SearchLevel(
            at=levels[place],
            rounds=len(own),
            held=sum(not each.missed for each in own),
            requests=sum(each.requests for each in own),
            missed=next((each.missed for each in reversed(own) if each.missed), None),
        )
        for place, own in sorted(tried.items())
    ]
    return SearchResult(
        axis=axis,
        objectives=", ".join(each.text for each in objectives),
        holds_at=levels[first - 1] if first else None,
        fails_at=levels[last] if last < len(levels) else None,
        undecided=tuple(levels[first:last]),
        rounds=len(rounds),
        requests=sum(each.requests for each in rounds),
        levels=tuple(found),
        labels=tuple(filter(None, labels)),
    )
