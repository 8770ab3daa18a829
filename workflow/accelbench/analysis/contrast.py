"""Two sides, one figure: in pairs where they were interleaved, else as two samples.

Verdicts, tables and JSON all take a figure's interval from here, so that no page shows two of them for one ratio. A
prompt that both were asked in a round, and that one did not answer, counts for neither: else an endpoint that fails at
long answers would look fast.
"""

from collections.abc import Collection, Sequence

import numpy as np

from accelbench.analysis.interleaving import Interleaving
from accelbench.analysis.intervals import (
    Array,
    Comparison,
    Influence,
    Key,
    Scale,
    compare_paired,
    compare_unpaired,
    contrast_of,
)
from accelbench.analysis.sides import SCORES, Side
from accelbench.analysis.statistics import Estimate
from accelbench.records import RequestRecord

DIFFERENCES = ("success", *SCORES)
"""Metrics compared as a difference; all others are times, compared as a ratio."""


def contrast(ours: Side, theirs: Side, metric: str, met: Interleaving, scale: Scale | None = None) -> Comparison | None:
    """Compare one metric, on its own scale if none is given; None where a side doesn't have it, or no pair does."""
    scale = scale or ("difference" if metric in DIFFERENCES else "ratio")
    one, other = ours.observations(metric), theirs.observations(metric)
    if met.interleaved:
        return compare_paired({key: one[key] for key in one if key in met.near}, other, scale)
    lost = _unanswered(ours, theirs, one, other)
    kept = [[own[key] for key in own if key not in lost] for own in (one, other)]
    return compare_unpaired(kept[0], kept[1], scale)


def ratio_of_means(ours: Side, theirs: Side, met: Interleaving) -> Estimate | None:
    """Estimate the ratio of the mean latencies; None where a side has none."""
    return ratio_of_quotients(ours, theirs, met, (ours.whole, theirs.whole), "e2e_s")


def ratio_of_quotients(
    ours: Side,
    theirs: Side,
    met: Interleaving,
    requests: tuple[Sequence[RequestRecord], Sequence[RequestRecord]],
    over: str,
    under: str | None = None,
) -> Estimate | None:
    """Estimate the ratio of two quotients of sums (tokens over seconds), or of two means where nothing is `under`.

    Requests without all figures are left out; None where none is left on a side.
    """
    names = (over,) if under is None else (over, under)
    signs = [1, -1][: len(names)]
    one, other = ({(r.round, r.key): r for r in own if _has(r, names)} for own in requests)
    if met.interleaved:
        keys = [key for key in one if key in met.near and key in other]
        own = [one[key] for key in keys]
        parts = np.hstack([_parts(own, names), _parts([other[key] for key in keys], names)])
        paired = _influence(parts, [*signs, *(-sign for sign in signs)], own)
        return contrast_of("ratio", paired).estimate() if paired else None
    lost = _unanswered(ours, theirs, one, other)
    kept = [[request for key, request in own.items() if key not in lost] for own in (one, other)]
    mine, base = (_influence(_parts(own, names), signs, own) for own in kept)
    return contrast_of("ratio", mine, base).estimate() if mine and base else None


def _influence(parts: Array, signs: Sequence[int], requests: Sequence[RequestRecord]) -> Influence | None:
    if not requests or not (parts.mean(axis=0) > 0).all():
        return None
    return Influence.of_means(parts, signs, [r.passage or r.key for r in requests], [r.round for r in requests])


def _parts(requests: Sequence[RequestRecord], names: Sequence[str]) -> Array:
    return np.array([[getattr(r, name) for name in names] for r in requests], dtype=float).reshape(-1, len(names))


def _has(request: RequestRecord, names: Sequence[str]) -> bool:
    return all(getattr(request, name) is not None for name in names)


def _unanswered(ours: Side, theirs: Side, one: Collection[Key], other: Collection[Key]) -> set[Key]:
    """Return the prompts that both were asked, and that not both answered."""
    return {key for key in {*one, *other} if key in ours.asked and key in theirs.asked} - ({*one} & {*other})
