"""Requests as they might have been: passages and rounds that shift what is measured, and noise."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelbench.analysis.intervals import Observations
from accelbench.analysis.latency_law import Timed

Asked = tuple[object, int]


class Observation(NamedTuple):
    value: float
    passage: object
    round: object


def observed(rows: Iterable[Observation]) -> Observations:
    """Return single observations as columns."""
    there = list(rows)
    values, passages, rounds = zip(*there, strict=True) if there else ((), (), ())
    return Observations(np.array(values, dtype=float), passages, rounds)


def timed(rows: Iterable[tuple[float, float, float | None, object, object]]) -> Timed:
    """Return answers as columns: each its tokens, E2E, TPOT, passage and round."""
    there = list(rows)
    numbers = (np.array([row[place] for row in there], dtype=float) for place in range(3))
    return Timed(*numbers, *(np.fromiter((row[place] for row in there), object, len(there)) for place in (3, 4)))


def crossed(passages: int, rounds: int, each: int = 1) -> list[Asked]:
    """Ask the same passages in each round."""
    return [(p, r) for r in range(rounds) for p in range(passages) for _ in range(each)]


def nested(passages: int, rounds: int) -> list[Asked]:
    """Ask passages of its own in each round."""
    return [((r, p), r) for r in range(rounds) for p in range(passages)]


def shifts(draw: np.random.Generator, groups: Sequence[object], sd: float) -> list[float]:
    """Draw one shift per group; return that of each request."""
    own = {group: draw.normal(0, sd) for group in dict.fromkeys(groups)}
    return [own[group] for group in groups]


def logs(
    draw: np.random.Generator, asked: Sequence[Asked], passage_sd: float, round_sd: float, noise_sd: float
) -> list[float]:
    """Draw one figure around 0 per request."""
    by_passage, by_round = (
        shifts(draw, [p for p, _ in asked], passage_sd),
        shifts(draw, [r for _, r in asked], round_sd),
    )
    noise = draw.normal(0, noise_sd, len(asked))
    return [p + r + e for p, r, e in zip(by_passage, by_round, noise, strict=True)]


def drawn_logs(
    draw: np.random.Generator, asked: Sequence[Asked], passage_sd: float, round_sd: float, noise_sd: float
) -> NDArray[np.float64]:
    """Draw as `logs` does, all at once."""
    shifts_of = np.zeros(len(asked))
    for groups, sd in (([p for p, _ in asked], passage_sd), ([r for _, r in asked], round_sd)):
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        shifts_of += draw.normal(0, sd, len(places))[[places[group] for group in groups]]
    return shifts_of + draw.normal(0, noise_sd, len(asked))


def latencies(
    draw: np.random.Generator, asked: Sequence[Asked], passage_sd: float, round_sd: float, noise_sd: float
) -> Observations:
    """Draw latencies around 1 s."""
    drawn = logs(draw, asked, passage_sd, round_sd, noise_sd)
    return observed(Observation(math.exp(value), p, r) for value, (p, r) in zip(drawn, asked, strict=True))


def answers(
    draw: np.random.Generator,
    asked: Sequence[Asked],
    a_s: float,
    b_s_per_tok: float,
    *,
    round_sd: float = 0.05,
    noise_sd: float = 0.05,
    stuck: float = 0.0,
    lengths: tuple[float, float] = (20, 400),
) -> Timed:
    """Draw answers whose typical latency is a + b · tokens. `stuck`: the share that took three times as long."""
    by_round = shifts(draw, [r for _, r in asked], round_sd)
    middles = shifts(draw, [p for p, _ in asked], 0.3)
    drawn = []
    for (passage, round_no), shift, middle in zip(asked, by_round, middles, strict=True):
        tokens = max(2, int(math.exp(draw.uniform(math.log(lengths[0]), math.log(lengths[1])) + middle)))
        tpot_s = b_s_per_tok * math.exp(shift + draw.normal(0, noise_sd))
        e2e_s = a_s * math.exp(shift + draw.normal(0, 2 * noise_sd)) + tpot_s * tokens
        drawn.append((tokens, e2e_s * (3 if draw.random() < stuck else 1), tpot_s, passage, round_no))
    return timed(drawn)
