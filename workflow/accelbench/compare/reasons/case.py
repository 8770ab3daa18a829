"""What could explain a difference between two sides, and two endpoints under one load as such reasons see them.

An effect is the factor in time that a candidate makes up: a `Comparison` on the log scale, so that the factors of
independent candidates multiply to the whole ratio. A candidate is supported where the interval of its factor excludes
1, and ruled out where the interval lies within a tenth of the difference to explain, or by a recorded fact.

A control is a load that differs from the one in question only in what a candidate acts through. What the ratio of the
two endpoints changes between load and control is the candidate's effect. Phases add up instead: each has the share of
the time that the logarithmic means of both sides give it (LMDI).
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from accelbench.analysis.intervals import MIN_ROUNDS, Comparison
from accelbench.analysis.pairs import Judged
from accelbench.analysis.sample import Interleaving, Side
from accelbench.config import Config, Scenario
from accelbench.foreign import as_number
from accelbench.plan.specs import Cell, measured_fields
from accelbench.report.reasons import COUNTS, EXPERIMENT, Reason, ReasonState
from accelbench.report.text import listed, number, unique
from accelbench.store.records import InferRoundRecord

NEGLIGIBLE = 0.1  # of the difference to explain
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Known:
    """What the records say of a candidate: a fact that rules it out, an effect, or why neither is known."""

    evidence: str
    effect: Comparison | None = None
    excludes: bool = False
    """Whether the evidence is a fact that rules it out."""
    at_most: bool = False
    """Whether the effect is only its upper bound, which may rule it out."""

    def finding(self, explained: float, confidence: float) -> ReasonState:
        """Judge it as the reason of a difference, the log of a ratio."""
        bounds = self.effect and self.effect.interval(confidence)
        if self.excludes:
            return "ruled out"
        if not bounds:
            return "open"
        low, high = map(math.log, bounds)
        if max(abs(low), abs(high)) <= NEGLIGIBLE * explained:
            return "ruled out"
        return "supported" if not self.at_most and (low > 0 or high < 0) else "open"


@dataclass(frozen=True, slots=True)
class Experiment:
    """A measurement to add to a config. It takes about as long as one of the `like` side under the `like` load."""

    name: str
    tree: Mapping[str, Any]
    like_side: str | None = None
    like_load: str | None = None
    times: float = 1.0
    """How much longer one of its requests takes."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[C]):
    """One possible reason. Where it is open, its experiments would decide it; `otherwise` says how without one."""

    name: str
    predicts: str
    known: Callable[[C], Known]
    experiments: Callable[[C], Iterator[Experiment]]
    otherwise: str = ""


def log_mean(one: float, other: float) -> float:
    """Return the logarithmic mean: (one - other) / log(one / other), with which parts of a ratio add up to its log."""
    if min(one, other) <= 0:
        return 0.0
    return one if math.isclose(one, other) else (one - other) / math.log(one / other)


@dataclass(frozen=True, eq=False)
class Case:
    """Two endpoints under one load: the quiet rounds of both, what is recorded of them, and their other loads."""

    judged: Judged
    ours: Side
    theirs: Side
    met: Interleaving
    load: Cell
    config: Config
    facts: Mapping[tuple[str, str, str], Reason]
    """What the report says of a candidate, an endpoint and a load."""
    rounds: tuple[InferRoundRecord, ...]
    all: Mapping[tuple[str, str, str], "Case"] = field(repr=False)
    """By ours, theirs and load."""

    @property
    def cell(self) -> str:
        """The load's name."""
        return self.load.name

    @property
    def scenario(self) -> Scenario:
        """The load's settings."""
        return self.load.load

    @property
    def ratios(self) -> Mapping[str, Comparison]:
        """Ours against theirs, by metric."""
        return self.judged.pair.comparisons

    def said(self, candidate: str) -> list[Reason]:
        """Return what the report says of a candidate, of the sides that it speaks of."""
        found = (self.facts.get((candidate, side.name, self.cell)) for side in (self.ours, self.theirs))
        return [reason for reason in found if reason]

    def controls(self, keys: Collection[str], fits: Callable[[Cell], bool]) -> "list[Case]":
        """Return the same two under each load that differs from this one only in some keys."""
        own, names = _asked(self.scenario, keys), self.judged.pair.name[:2]
        beside = (case for name, case in self.all.items() if name[:2] == names and case is not self)
        return [case for case in beside if fits(case.load) and _asked(case.scenario, keys) == own]

    def control(self, keys: Collection[str], fits: Callable[[Cell], bool]) -> "Case | None":
        """Return the first of them."""
        return next(iter(self.controls(keys, fits)), None)

    @cached_property
    def streamed(self) -> "Case | None":
        """It, or else the same load streamed: where the first token is timed."""
        if "ttft" in self.ratios and "tpot" in self.ratios:
            return self
        return None if self.scenario.stream else self.control({"stream"}, lambda load: load.load.stream)

    def means(self, times: str) -> tuple[float, float]:
        """Return the mean of a request's field on both sides."""
        one, other = (float(np.nanmean(side.values(times))) for side in (self.ours, self.theirs))
        return one, other

    @cached_property
    def whole_s(self) -> float:
        """The logarithmic mean of both sides' time per answer."""
        return log_mean(*self.means("e2e_s"))

    @cached_property
    def phases(self) -> tuple[float, float]:
        """The shares of the time before the first token and after it."""
        firsts, wholes = self.means("ttft_s"), self.means("e2e_s")
        rest = [whole - first for first, whole in zip(firsts, wholes, strict=True)]
        return log_mean(*firsts) / self.whole_s, log_mean(*rest) / self.whole_s

    @cached_property
    def explained(self) -> float:
        """The difference to explain, as the log of a ratio: the largest of those decided; 0 without any."""
        before, after = self.phases if self.streamed is self else (0.0, 0.0)
        weights = {"e2e_s": 1.0, "ttft_s": before, "tpot_s": after}
        return max(
            (
                weights[name] * abs(verdict.comparison.centre)
                for name, verdict in self.judged.verdicts.items()
                if name in weights and verdict.kind in ("lower", "higher")
            ),
            default=0.0,
        )

    def tokens(self, kind: str) -> tuple[float, float] | None:
        """Return the mean tokens of prompts or answers on both sides."""
        one, other = (side.tokens(kind) for side in (self.ours, self.theirs))
        return (float(one.mean()), float(other.mean())) if len(one) and len(other) else None

    @property
    def room_tokens(self) -> float:
        """The most tokens that a prompt and its answer may have; without end where that is not known."""
        servers = [self.config.inference.endpoints[side.name].server for side in (self.ours, self.theirs)]
        told = [server.context_tokens for server in servers if server and server.context_tokens]
        told += [int(tokens) for r in self.rounds if (tokens := as_number((r.facts or {}).get("max_context_tokens")))]
        return min(told, default=np.inf)

    def varied(
        self, control: "Case | None", what: str, changes: Mapping[str, Any], times: float = 1.0
    ) -> Iterator[Experiment]:
        """Yield the same load with changed keys, of as many rounds as an interval needs; null leaves a key out.

        Where such a control was measured, and was not enough: twice as many rounds of both.
        """
        if control:
            scenarios = {each.load.scenario: {"rounds": 2 * each.scenario.rounds} for each in (self, control)}
            yield Experiment(f"more rounds of {listed(list(scenarios))}", {"inference": {"scenarios": scenarios}})
            return
        name, rounds = f"{EXPERIMENT}{what}-{self.cell}", max(self.scenario.rounds, MIN_ROUNDS)
        keys = {**self.scenario.model_dump(exclude_defaults=True), "rounds": rounds, **changes}
        scenario = {key: value for key, value in keys.items() if value is not None}
        tree = {"inference": {"scenarios_run": [name], "scenarios": {name: scenario}}}
        yield Experiment(name, tree, like_load=self.cell, times=times)

    def against(self, control: "Case | None", otherwise: str = "") -> Known:
        """Return what the ratio of the two changes between load and control; `otherwise` is said without one."""
        if control is None:
            return Known(otherwise)
        now, then = (each.ratios.get("typical_latency") for each in (self, control))
        if not now or not then:
            return Known(f"no answers to compare in {control.cell}")
        return Known(f"ratio {number(now.value)}, in {control.cell} {number(then.value)}", now.minus(then))

    def excluded(self, *candidates: str) -> str | None:
        """Return why the report rules out all of some candidates for both sides."""
        found = [self.said(candidate) for candidate in candidates]
        if not all(len(own) == 2 and all(each.finding == "ruled out" for each in own) for own in found):
            return None
        whys = unique(each.evidence for own in found for each in own)
        alike = len(whys) == len(candidates)
        return "; ".join(whys if alike else [f"{each.endpoint}: {each.evidence}" for own in found for each in own])


def _asked(load: Scenario, keys: Collection[str]) -> dict[str, Any]:
    """Return the settings that a load's times depend on, without some keys."""
    return {key: value for key, value in measured_fields(load).items() if key not in COUNTS.union(keys)}
