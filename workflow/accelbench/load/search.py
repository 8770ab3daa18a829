"""The highest concurrency, or rate, at which an endpoint meets service-level objectives, with its 90 % interval.

This is a probabilistic bisection (Horstein, 1963; Waeber, Frazier and Henderson, 2013): a round that meets the
objectives says that the maximum lies above its level, and is taken to be wrong with a fixed probability. The next
round is measured where it tells most. So a level whose rounds disagree is repeated, and one far from the maximum is
measured once.
"""

import math
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accelbench.config import Endpoint, PromptSet, Scenario
from accelbench.config.inference import AXES
from accelbench.errors import UserError, keys_called
from accelbench.load.loadtest import CELL, NAME, PER_SLOT, figures_of, measure_load, option_of, questions_of
from accelbench.plan.specs import InferRound
from accelbench.store.records import JsonObject, RequestRecord

if TYPE_CHECKING:
    from accelbench.analysis.sample import Side

_WRONG = 0.25  # of a round's verdicts: of simulated noisy searches, more than 90 % then cover the maximum
_CREDIBLE = 0.9
_MOST_ROUNDS = 6  # at one level; if they still disagree, it is undecided
_RATES = 64  # the highest rate over the lowest
_AXES = {"concurrency": "concurrency", "rate_per_s": "requests per s"}
_OBJECTIVE = re.compile(r"(ttft|tpot|e2e)_p(\d+\.?\d*)<=?(\d*\.?\d+)|success>=?(\d*\.?\d+)")


@dataclass(frozen=True, slots=True)
class Objective:
    """The least share of all requests that must succeed or, with a limit, be answered within it."""

    text: str
    share: float
    limit: dict[str, float] | None = None
    """A latency and its most seconds."""

    @property
    def requests(self) -> int:
        """The fewest requests that can tell: of so many, one may miss it."""
        return math.ceil(1 / (1 - self.share) - 1e-9)

    def missed(self, side: "Side") -> str | None:
        """Say that a load missed it; None: it is met. Raises UserError where that can't be told."""
        from accelbench.analysis.economy import goodput_of

        met, why = len(side.good), None
        if self.limit is not None:
            good = goodput_of(side, self.limit)
            met, why = good.met or 0, good.why
        if why:
            raise UserError(f"{self.text} can't be judged: {why}.")
        return None if met >= self.share * len(side.requests) - 1e-9 else f"{self.text}: {met} of {len(side.requests)}"


def objectives_of(text: str) -> list[Objective]:
    """Read "ttft_p95<0.5,tpot_p95<0.05,success>0.99". Raises ValueError, which says how it is written."""
    found = []
    for part in text.replace(" ", "").split(","):
        match = _OBJECTIVE.fullmatch(part)
        latency, percent, most_s, success = match.groups() if match else (None, "0", "0", None)
        share = float(success) if success else float(percent) / 100
        if not 0 < share < 1:
            raise ValueError(f"--find-max: write {part!r} like ttft_p95<0.5, tpot_p95<0.05, e2e_p99<20 or success>0.99")
        found.append(Objective(part, share, {f"{latency}_s": float(most_s)} if latency else None))
    return found


@dataclass(frozen=True, slots=True)
class Level:
    """A concurrency or rate that was tried, and in how many of its rounds all objectives were met."""

    at: float
    rounds: int
    held: int
    requests: int
    missed: str | None
    """What the last round missed that missed any."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The 90 % interval of the highest level at which the objectives are met, and all levels that were tried."""

    axis: str
    """`concurrency` or `rate_per_s`."""
    objectives: str
    holds_at: float | None
    """The lower end; None: they are missed even at the lowest level."""
    fails_at: float | None
    """The upper end; None: they are met even at the highest level."""
    undecided: tuple[float, ...]
    """The levels in between: too many of their rounds disagree."""
    rounds: int
    requests: int
    levels: tuple[Level, ...]
    labels: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """Return all of it as one object."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a table of the levels, and the result in a sentence."""
        from accelbench.report.text import markdown

        rows = [
            [f"{level.at:g}", f"{level.held} of {level.rounds}", f"{level.requests:,}", level.missed or ""]
            for level in self.levels
        ]
        table = markdown([_AXES[self.axis], "rounds that held", "requests", "missed"], rows)
        return table + "\n".join([self._sentence(), *self.labels]) + "\n"

    def _sentence(self) -> str:
        found = [
            f"holds at {self.holds_at:g}" if self.holds_at is not None else "",
            f"undecided at {' and '.join(f'{at:g}' for at in self.undecided)}" if self.undecided else "",
            f"fails at {self.fails_at:g}" if self.fails_at is not None else "",
        ]
        ends = (self.holds_at, self.fails_at)
        known = f"90 % interval {ends[0]:g} to {ends[1]:g}" if None not in ends else "the maximum lies beyond"
        said = f"{_AXES[self.axis]} for {self.objectives}: {', '.join(filter(None, found))}; {known}; "
        return f"{said}{self.rounds} rounds, {self.requests:,} requests"


def find_max(
    endpoint: Endpoint,
    scenario: Scenario,
    prompts: PromptSet,
    folder: Path,
    objectives: Sequence[Objective],
    *,
    quiet: bool = False,
) -> SearchResult:
    """Search up to the scenario's concurrency or, in open loop, its rate.

    Each round is a load test of its own in `folder`/c24/r1; finished ones are kept. Raises UserError as a load test
    does.
    """
    axis = "concurrency" if scenario.arrivals == "closed" else "rate_per_s"
    fewest = max(scenario.requests, *(each.requests for each in objectives))
    levels = _levels(axis, scenario)
    cheapest = sum(at * PER_SLOT <= fewest for at in levels) - 1  # more in flight take more requests, fewer more time
    belief = _Belief(len(levels), max(0, cheapest) if axis == "concurrency" else len(levels) // 2)
    tried: dict[int, list[_Round]] = defaultdict(list)
    with keys_called(option_of):
        questions = questions_of(prompts, folder)
        while (place := belief.next_place()) is not None:
            at, number = levels[place], len(tried[place]) + 1
            requests = max(fewest, int(at * PER_SLOT)) if axis == "concurrency" else fewest
            load = scenario.model_copy(update={axis: at, "requests": requests})
            head = f"{_AXES[axis]} {at:g}, round {number}: "
            print(f"{head}{requests} requests", file=sys.stderr, flush=True)
            own = folder / f"{AXES[axis]}{at:g}".replace(".", "p") / f"r{number}"
            item = InferRound(NAME, CELL, number)
            records = measure_load(item, endpoint, load, questions, own, head=head, quiet=quiet, ends_when_busy=True)
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
    missed = [*(each.missed(side) for each in objectives), busy, held_back(side.attempts)]
    return _Round(
        "; ".join(filter(None, missed)) or None, figures.n, figures.disturbed, bool(figures.client["limited"])
    )


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
        Level(
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
