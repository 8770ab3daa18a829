"""Two sides' means, or the speeds that their requests see: ratios of quotients of sums.

Their intervals come from what each request adds to the logarithm of the ratio, to first order: in pairs where the sides
were interleaved, else of two samples.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from accelbench.analysis.contrast import unanswered
from accelbench.analysis.interleaving import Interleaving
from accelbench.analysis.sides import Key, Side
from accelbench.analysis.spread import half_width, spreads_of, too_few, welch
from accelbench.analysis.statistics import Estimate
from accelbench.records import RequestRecord

Pair = tuple[RequestRecord, RequestRecord]
"""Ours and theirs."""


def ratio_of_means(ours: Side, theirs: Side, met: Interleaving) -> Estimate | None:
    """Estimate the ratio of the mean latencies; None where a side has none."""
    return compared(ours, theirs, met, (ours.whole, theirs.whole), "e2e_s")


def compared(
    ours: Side,
    theirs: Side,
    met: Interleaving,
    requests: tuple[Sequence[RequestRecord], Sequence[RequestRecord]],
    over: str,
    under: str | None = None,
) -> Estimate | None:
    """Estimate a ratio of quotients over some requests of two sides, in pairs only where these were interleaved."""
    by_prompt: list[dict[Key, RequestRecord]] = [{(r.round, r.key): r for r in own} for own in requests]
    one, other = by_prompt
    if met.interleaved:
        return ratio_of_quotients(
            [(one[key], other[key]) for key in one if key in met.near and key in other], over, under
        )
    lost = unanswered(ours, theirs, one, other)
    return ratio_of_separate_quotients(_without(lost, one), _without(lost, other), over, under)


def ratio_of_quotients(pairs: Sequence[Pair], over: str, under: str | None = None) -> Estimate | None:
    """Estimate the ratio of two quotients of sums (tokens over seconds), or of two means where nothing is `under`.

    Pairs without all figures are left out; None where none is left.
    """
    names = (over,) if under is None else (over, under)
    figures = ((one, [getattr(r, name) for r in (one, other) for name in names]) for one, other in pairs)
    known = [(one, own) for one, own in figures if None not in own]
    parts = np.array([own for _, own in known], dtype=float)
    means = parts.mean(axis=0) if known else np.zeros(1)
    if not (means > 0).all():
        return None
    signs = np.array([1, -1]) if under is None else np.array([1, -1, -1, 1])
    value = float(np.prod(means**signs))
    passages, rounds = [_passage(one) for one, _ in known], [one.round for one, _ in known]
    why = too_few(len(set(passages)), len(set(rounds)))
    if why:
        return Estimate(value, None, None, len(known), why)
    moves = parts / means @ signs
    factor = math.exp(half_width(spreads_of(moves.tolist(), passages, rounds)))
    return Estimate(value, value / factor, value * factor, len(known))


def ratio_of_separate_quotients(
    ours: Sequence[RequestRecord], theirs: Sequence[RequestRecord], over: str, under: str | None = None
) -> Estimate | None:
    """Estimate as `ratio_of_quotients` does, of two sides that share no conditions."""
    names = (over,) if under is None else (over, under)
    signs = np.array([1, -1])[: len(names)]
    values, moves, asked = [], [], []
    for own in (ours, theirs):
        known = [r for r in own if None not in [getattr(r, name) for name in names]]
        parts = np.array([[getattr(r, name) for name in names] for r in known], dtype=float)
        means = parts.mean(axis=0) if known else np.zeros(1)
        if not (means > 0).all():
            return None
        values.append(float(np.prod(means**signs)))
        moves.append((parts / means @ signs).tolist())
        asked.append(([_passage(r) for r in known], [r.round for r in known]))
    value, n = values[0] / values[1], sum(map(len, moves))
    why = too_few(*(min(len(set(own[place])) for own in asked) for place in (0, 1)))
    if why:
        return Estimate(value, None, None, n, why)
    sides = [spreads_of(own, *groups) for own, groups in zip(moves, asked, strict=True)]
    factor = math.exp(half_width(welch(one, other) for one, other in zip(*sides, strict=True)))
    return Estimate(value, value / factor, value * factor, n)


def _without(lost: Collection[Key], requests: dict[Key, RequestRecord]) -> list[RequestRecord]:
    return [request for key, request in requests.items() if key not in lost]


def _passage(request: RequestRecord) -> str:
    return request.passage or request.key
