"""A candidate reason for a difference between two sides, and what its effect shows.

An effect is the factor in time that the candidate makes up: a `Comparison` on the log scale, so that the factors of
independent candidates multiply to the whole ratio. A candidate is supported where the interval of its factor excludes
1, and ruled out where the interval lies within a tenth of the difference to explain, or by a recorded fact.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from accelbench.analysis.intervals import Comparison
from accelbench.report.reasons import ReasonState

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
