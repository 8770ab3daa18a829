"""Two endpoints under one load: every metric compared, the laws crossed, and what all of it carries together."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accelbench.analysis.crossover import Crossover, crossover
from accelbench.analysis.intervals import Comparison, Estimate, Influence, contrast_of, counted
from accelbench.analysis.metrics import METRICS, judged_metrics
from accelbench.analysis.sample import Interleaving, Side, SideFigures, interleaving
from accelbench.analysis.verdicts import ALPHA, SCORE_MARGIN, TIME_MARGIN, Verdict, holm, judge
from accelbench.store.records import InferRoundRecord


def tests_of_a_pair() -> int:
    """Return how many tests a pair makes at most: one of each metric, and one of the laws."""
    return len(judged_metrics()) + 1


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours against theirs, in figures. `comparisons` by metric, compared once: only what both sides have."""

    ours: SideFigures
    theirs: SideFigures
    why_unpaired: str | None
    """Why the same prompts were not asked of both at about the same time; null where they were."""
    comparisons: Mapping[str, Comparison]
    crossover: Crossover
    difference_s: Estimate | None = None
    """The mean difference in latency over the prompts that both answered; null without any."""
    s_per_round: float | None = None
    """How long a round of both takes, with servers that are started for it."""
    start_s: float = 0.0
    """How long it takes to start servers that are kept for all rounds of a run."""
    left_out: str | None = None
    """How many rounds count for neither, as the host was disturbed during one of them, out of how many."""

    @property
    def name(self) -> tuple[str, str, str]:
        """The two endpoints and their load."""
        return self.ours.name, self.theirs.name, self.ours.cell

    @property
    def paired(self) -> bool:
        """Whether the same prompts were asked of both at about the same time."""
        return self.why_unpaired is None

    @property
    def ratios(self) -> dict[str, Estimate]:
        """Ours / theirs by metric, as far as it is compared as a ratio."""
        return {key: found.estimate() for key, found in self.comparisons.items() if found.scale == "ratio"}

    def minutes(self, rounds: int) -> float | None:
        """Return how long so many further rounds take, start-up included; None where a round's duration is unknown."""
        return None if self.s_per_round is None else (self.start_s + rounds * self.s_per_round) / 60

    @property
    def tested(self) -> dict[str, Comparison]:
        """The metrics that verdicts are made on, by name."""
        found = {name: self.comparisons.get(metric.key) for name, metric in judged_metrics().items()}
        return {name: comparison for name, comparison in found.items() if comparison}


@dataclass(frozen=True, slots=True)
class Judged:
    """Two endpoints under one load, and the verdict on each metric, the primary one first.

    `control`: ours is the baseline's twin, so that the ratio is the noise floor. `scenario`: the load's in the config.
    """

    pair: Pair
    verdicts: Mapping[str, Verdict]
    primary: str = "e2e_s"
    scenario: str | None = None
    control: bool = False


def pair_up(ours: Side, theirs: Side, largest_gap_s: float) -> Pair:
    """Compare all metrics that both sides have; paired if they were really interleaved.

    A round during which the host was disturbed, for either side, counts for neither.
    """
    busy, asked = ours.busy | theirs.busy, ours.rounds | theirs.rounds
    left_out = f"{len(busy & asked)} of {counted(len(asked), 'round')}" if busy & asked else None
    ours, theirs = ours.without(busy), theirs.without(busy)
    met = interleaving(ours, theirs, largest_gap_s)
    laws = [side.law for side in (ours, theirs)]
    crossed = Crossover(None, why=next((why for law, why in laws if law is None), None))
    if laws[0][0] and laws[1][0]:
        crossed = crossover(laws[0][0], laws[1][0], paired=met.interleaved)
    each = {key: metric.compare(ours, theirs, met) for key, metric in METRICS.items() if metric.compare}
    compared = {key: found for key, found in each.items() if found}
    return Pair(
        ours=ours.figures,
        theirs=theirs.figures,
        why_unpaired=met.why_not,
        comparisons=compared,
        crossover=crossed,
        difference_s=difference_s(ours, theirs, met, compared.get("typical_latency")),
        s_per_round=_s_per_round(ours, theirs),
        start_s=sum(side.start.lasts_s for side in (ours, theirs) if side.start.is_kept),
        left_out=left_out,
    )


def difference_s(ours: Side, theirs: Side, met: Interleaving, latency: Comparison | None) -> Estimate | None:
    """Estimate the mean difference in latency over the prompts that both answered; None without any.

    It has an interval where the sides were interleaved, and where their `latency` has one.
    """
    compared = seconds_apart("e2e_s", ours, theirs, met)
    if compared is None:
        return None
    found, why = compared.estimate(), met.why_not or (latency and latency.why_no_interval)
    return replace(found, low=None, high=None, why_no_interval=why) if why else found


def seconds_apart(field: str, ours: Side, theirs: Side, met: Interleaving) -> Comparison | None:
    """Compare the means of a time over the prompts that both answered, by their difference; None without any."""
    one, other = ours.values(field), theirs.values(field)
    pairs = met.both(~np.isnan(one), ~np.isnan(other))
    if not pairs.any():
        return None
    own = ours.observed(one, met.ours[pairs])
    return contrast_of("difference", Influence.of_mean(own.values - other[met.theirs[pairs]], own.passages, own.rounds))


def _s_per_round(ours: Side, theirs: Side) -> float | None:
    each = [side.s_per_round() for side in (ours, theirs)]
    return sum(s for s in each if s is not None) if None not in each else None


def baseline_of(cell: str, rounds: Iterable[InferRoundRecord], wanted: str | None) -> str:
    """Return the endpoint that others are compared with under a load.

    The configured one, or else the first that was measured, or else the first that was planned.
    """
    planned = [r for r in rounds if r.cell == cell]
    names = [r.endpoint for r in planned if r.state == "measured"] or [r.endpoint for r in planned]
    return wanted if wanted in names else names[0]


def pairs_of(
    rounds: Sequence[InferRoundRecord],
    sides: Mapping[tuple[str, str], Side],
    baseline: str | None,
    largest_gap_s: float,
) -> list[Pair]:
    """Return each endpoint that was measured against the baseline, load by load, in the order of the config."""
    measured = {(r.endpoint, r.cell) for r in rounds if r.state == "measured"}
    against = {cell: baseline_of(cell, rounds, baseline) for _, cell in sides}
    return [
        pair_up(side, sides[against[cell], cell], largest_gap_s)
        for (name, cell), side in sides.items()
        if name != against[cell] and (name, cell) in measured
    ]


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

    Pairs of a control (`controls`: the twins' names) say nothing about two endpoints: they are a separate family.
    """
    margins = {"ratio": time_margin, "difference": score_margin}
    real = [pair for pair in pairs if pair.ours.name not in controls]
    twins = [pair for pair in pairs if pair.ours.name in controls]
    return [*_family(real, primary, margins, others), *_family(twins, primary, margins, control=True)]


def _family(
    pairs: Sequence[Pair], primary: str, margins: Mapping[str, float], others: int = 0, *, control: bool = False
) -> Iterator[Judged]:
    family = {
        f"{number} {metric}": compared for number, pair in enumerate(pairs) for metric, compared in pair.tested.items()
    }
    crossings = {f"{number} laws": pair.crossover.p_value for number, pair in enumerate(pairs)}
    adjusted = holm({**{name: each.p_value for name, each in family.items()}, **crossings}, others)
    verdicts = judge(family, {name: margins[each.scale] for name, each in family.items()}, crossings, others)
    for number, pair in enumerate(pairs):
        p = adjusted[f"{number} laws"]
        own = {metric: _timed(verdicts[f"{number} {metric}"], pair) for metric in pair.tested}
        told = pair if p is None or p <= ALPHA else replace(pair, crossover=Crossover("unbounded", p_value=p))
        yield Judged(told, own, primary, control=control)


def _timed(verdict: Verdict, pair: Pair) -> Verdict:
    """Add how many minutes the further rounds would take."""
    if verdict.needed is None:
        return verdict
    return replace(verdict, needed=replace(verdict.needed, minutes=pair.minutes(verdict.needed.more_rounds)))
