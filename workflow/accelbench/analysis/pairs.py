"""Two endpoints under one load: every metric compared, the laws crossed, and what all of it carries together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accelbench.analysis.crossover import Crossover, crossover
from accelbench.analysis.intervals import (
    Array,
    Comparison,
    Estimate,
    Influence,
    Key,
    Scale,
    compare_paired,
    compare_unpaired,
    contrast_of,
    counted,
)
from accelbench.analysis.sample import (
    SCORES,
    TIMES,
    Interleaving,
    Side,
    SideFigures,
    busy_rounds,
    hosts_of,
    interleaving,
)
from accelbench.analysis.verdicts import ALPHA, SCORE_MARGIN, TIME_MARGIN, Verdict, holm, judge
from accelbench.store.records import InferRoundRecord, RequestRecord

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


_METRICS = (*TIMES, "success", *SCORES)
TESTS_OF_A_PAIR = len(_METRICS) + 1
"""At most: of each metric, and of the laws."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours against theirs, in figures. `comparisons` by metric; only what both sides have."""

    ours: SideFigures
    theirs: SideFigures
    why_unpaired: str | None
    """Why the same prompts were not asked of both at about the same time; null where they were."""
    comparisons: Mapping[str, Comparison]
    crossover: Crossover
    ratio_of_means: Estimate | None = None
    """Of the latencies; null where a side has none."""
    difference_s: Estimate | None = None
    """The mean difference in latency over the prompts that both answered; null without any."""
    s_per_round: float | None = None
    """How long a round of both takes."""
    left_out: str | None = None
    """The rounds that count for neither, as the host was busy with other work during one of them."""

    @property
    def name(self) -> tuple[str, str, str]:
        """The two endpoints and their load."""
        return self.ours.name, self.theirs.name, self.ours.cell

    @property
    def paired(self) -> bool:
        """Whether the same prompts were asked of both at about the same time."""
        return self.why_unpaired is None


@dataclass(frozen=True, slots=True)
class Judged:
    """Two endpoints under one load, and what can be said of each metric, the primary one first of all.

    `control`: ours is the baseline's twin, so that the ratio is the noise floor. `scenario`: the load's in the config.
    """

    pair: Pair
    verdicts: Mapping[str, Verdict]
    primary: str = "e2e_s"
    scenario: str | None = None
    control: bool = False


def pair_up(ours: Side, theirs: Side, largest_gap_s: float) -> Pair:
    """Compare all metrics that both sides have; paired where they were really interleaved.

    A round during which the host was busy, for either side, counts for neither.
    """
    busy, asked = ours.busy | theirs.busy, ours.rounds | theirs.rounds
    left_out = f"{len(busy & asked)} of {counted(len(asked), 'round')}" if busy & asked else None
    ours, theirs = ours.without(busy), theirs.without(busy)
    met = interleaving(ours.asked, theirs.asked, largest_gap_s)
    laws = [side.law for side in (ours, theirs)]
    crossed = Crossover(None, why=next((why for law, why in laws if law is None), None))
    if laws[0][0] and laws[1][0]:
        crossed = crossover(laws[0][0], laws[1][0], paired=met.interleaved)
    compared = dict(_compared(ours, theirs, met))
    return Pair(
        ours=ours.figures,
        theirs=theirs.figures,
        why_unpaired=met.why_not,
        comparisons=compared,
        crossover=crossed,
        ratio_of_means=ratio_of_means(ours, theirs, met),
        difference_s=difference_s(ours, theirs, met, compared.get("e2e_s")),
        s_per_round=_s_per_round(ours, theirs),
        left_out=left_out,
    )


def difference_s(ours: Side, theirs: Side, met: Interleaving, latency: Comparison | None) -> Estimate | None:
    """Estimate the mean difference in latency over the prompts that both answered; None without any.

    It has an interval where the sides were interleaved, and where their `latency` has one.
    """
    one, other = ours.observations("e2e_s"), theirs.observations("e2e_s")
    keys = [key for key in one if key in other and (not met.interleaved or key in met.near)]
    if not keys:
        return None
    differences = [one[key].value - other[key].value for key in keys]
    passages, rounds = [one[key].passage for key in keys], [one[key].round for key in keys]
    found = contrast_of("difference", Influence.of_mean(differences, passages, rounds)).estimate()
    why = met.why_not or (latency and latency.why_no_interval)
    return replace(found, low=None, high=None, why_no_interval=why) if why else found


def _s_per_round(ours: Side, theirs: Side) -> float | None:
    each = [side.s_per_round() for side in (ours, theirs)]
    return sum(s for s in each if s is not None) if None not in each else None


def pairs_of(
    rounds: Sequence[InferRoundRecord],
    requests: Sequence[RequestRecord],
    baseline: str | None,
    largest_gap_s: float,
) -> list[Pair]:
    """Return each endpoint against the baseline, load by load, in the order of the config."""
    pairs = []
    for cell in dict.fromkeys(record.cell for record in rounds):
        names = list(dict.fromkeys(r.endpoint for r in rounds if r.cell == cell and r.state == "measured"))
        sides = {name: _side(name, cell, rounds, requests) for name in names}
        against = baseline if baseline in sides else names[0] if names else None
        pairs += [pair_up(sides[name], sides[against], largest_gap_s) for name in names if against and name != against]
    return pairs


def judge_all(
    pairs: Sequence[Pair],
    *,
    primary: str = "e2e_s",
    time_margin: float = TIME_MARGIN,
    score_margin: float = SCORE_MARGIN,
    controls: Collection[str] = (),
    others: int = 0,
) -> list[Judged]:
    """Judge every metric and every crossover of all pairs as one family, with the report's `others` tests.

    Pairs of a control (`controls`: the twins' names) say nothing of two endpoints: they are a family of their own.
    """
    margins = {"ratio": time_margin, "difference": score_margin}
    real = [pair for pair in pairs if pair.ours.name not in controls]
    twins = [pair for pair in pairs if pair.ours.name in controls]
    return [*_family(real, primary, margins, others), *_family(twins, primary, margins, control=True)]


def _family(
    pairs: Sequence[Pair], primary: str, margins: Mapping[str, float], others: int = 0, *, control: bool = False
) -> Iterator[Judged]:
    family = {
        f"{number} {metric}": compared
        for number, pair in enumerate(pairs)
        for metric, compared in pair.comparisons.items()
    }
    crossings = {f"{number} laws": pair.crossover.p_value for number, pair in enumerate(pairs)}
    adjusted = holm({**{name: each.p_value for name, each in family.items()}, **crossings}, others)
    verdicts = judge(family, {name: margins[each.scale] for name, each in family.items()}, crossings, others)
    for number, pair in enumerate(pairs):
        lasted_s, p = pair.s_per_round, adjusted[f"{number} laws"]
        own = {metric: _timed(verdicts[f"{number} {metric}"], lasted_s) for metric in pair.comparisons}
        told = pair if p is None or p <= ALPHA else replace(pair, crossover=Crossover("unbounded", p_value=p))
        yield Judged(told, own, primary, control=control)


def _timed(verdict: Verdict, s_per_round: float | None) -> Verdict:
    """Add how many minutes the further rounds would take."""
    if verdict.needed is None or s_per_round is None:
        return verdict
    return replace(verdict, needed=replace(verdict.needed, minutes=verdict.needed.more_rounds * s_per_round / 60))


def _compared(ours: Side, theirs: Side, met: Interleaving) -> Iterator[tuple[str, Comparison]]:
    for metric in _METRICS:
        found = contrast(ours, theirs, metric, met)
        if found is not None:
            yield metric, found


def _side(name: str, cell: str, rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord]) -> Side:
    own = [r for r in requests if (r.endpoint, r.cell) == (name, cell)]
    return Side.of(name, cell, own, hosts_of(name, cell, rounds), busy_rounds(name, cell, rounds))
