"""Measured energy per token, request and correct answer: quotients of sums, with the round as what is independent."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from accelbench.analysis.intervals import MIN_ROUNDS, Comparison, Estimate, Influence, contrast_of, counted
from accelbench.analysis.sample import Interleaving, Side
from accelbench.store.requests import Requests

Count = Callable[[Requests], float]
"""What a round delivered: tokens, requests or correct answers."""


def tokens_answered(asked: Requests) -> float:
    """Count the tokens that were generated; NaN where an answer's are not known."""
    return float(asked.where(asked["is_success"])["completion_tokens"].sum())


def answers(asked: Requests) -> float:
    """Count the requests that succeeded."""
    return float(asked["is_success"].sum())


def correct_answers(asked: Requests) -> float:
    """Count the answers that contain a gold answer; NaN where none is scored."""
    scores = asked.where(asked["is_success"])["contains_gold"]
    return math.nan if np.isnan(scores).all() and len(scores) else float(np.nansum(scores))


def energy_per(count: Count) -> Callable[[Side], Estimate | None]:
    """Divide the energy of all rounds by what they delivered; infinite where they delivered nothing."""

    def value(side: Side) -> Estimate | None:
        rounds = _by_round(side, count)
        if not rounds:
            return None
        delivered = sum(counts for _, counts in rounds.values())
        if math.isnan(delivered):
            return None
        if not delivered:
            return Estimate(math.inf, None, None, len(rounds), "unbounded: there was none")
        return contrast_of("ratio", _influence(list(rounds.values()), [1, -1]), why=_why_not(len(rounds))).estimate()

    return value


def compared_energy(count: Count) -> Callable[[Side, Side, Interleaving], Comparison | None]:
    """Compare two sides whose energy is of the same scope, over the same rounds where they were interleaved."""

    def compare(ours: Side, theirs: Side, met: Interleaving) -> Comparison | None:
        one, other = _by_round(ours, count), _by_round(theirs, count)
        if met.interleaved:
            both = sorted(one.keys() & other.keys())
            one, other = ({number: own[number] for number in both} for own in (one, other))
        totals = [sum(counts for _, counts in own.values()) for own in (one, other)]
        if ours.energy_scope != theirs.energy_scope or not all(total > 0 for total in totals):
            return None
        why = _why_not(min(len(one), len(other)))
        if met.interleaved:
            parts = [[*one[number], *other[number]] for number in one]
            return contrast_of("ratio", _influence(parts, [1, -1, -1, 1]), why=why)
        mine, base = (_influence(list(own.values()), [1, -1]) for own in (one, other))
        return contrast_of("ratio", mine, base, why=why)

    return compare


def _by_round(side: Side, count: Count) -> Mapping[int, tuple[float, float]]:
    """Return the energy of each round in which it was measured, in joules, and what the round delivered."""
    asked = side.requests.by("round") if side.energy_j else {}
    return {number: (joules, count(asked[number])) for number, joules in side.energy_j.items() if number in asked}


def _influence(parts: Sequence[Sequence[float]], signs: Sequence[int]) -> Influence:
    places = range(len(parts))
    return Influence.of_means(np.array(parts, dtype=float), signs, places, places)


def _why_not(rounds: int) -> str | None:
    few = f"{counted(rounds, 'round')}: an interval needs at least {MIN_ROUNDS}"
    return few if rounds < MIN_ROUNDS else None
