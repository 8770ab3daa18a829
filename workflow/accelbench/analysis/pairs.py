"""Two endpoints under one load: every metric compared, the laws crossed, and what all of it carries together."""

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from accelbench.analysis.comparison import Comparison
from accelbench.analysis.contrast import contrast
from accelbench.analysis.crossover import Crossover, crossover
from accelbench.analysis.interleaving import Interleaving, interleaving
from accelbench.analysis.quotients import ratio_of_means
from accelbench.analysis.sides import SCORES, TIMES, Side, hosts_of
from accelbench.analysis.spread import half_width, spreads_of, too_few
from accelbench.analysis.statistics import Estimate
from accelbench.analysis.verdicts import SCORE_MARGIN, TIME_MARGIN, Verdict, judge
from accelbench.records import InferRoundRecord, RequestRecord

METRICS = (*TIMES, "success", *SCORES)


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours against theirs. `comparisons` by metric; only what both sides have."""

    ours: Side
    theirs: Side
    interleaving: Interleaving
    comparisons: Mapping[str, Comparison]
    crossover: Crossover

    @property
    def name(self) -> tuple[str, str, str]:
        """The two endpoints and their load."""
        return self.ours.name, self.theirs.name, self.ours.cell

    @property
    def paired(self) -> bool:
        """Whether the same prompts were asked of both at about the same time."""
        return self.interleaving.interleaved

    @property
    def s_per_round(self) -> float | None:
        """How long a round of both takes."""
        each = [side.s_per_round() for side in (self.ours, self.theirs)]
        return sum(s for s in each if s is not None) if None not in each else None

    def ratio_of_means(self) -> Estimate | None:
        """Return the ratio of the mean latencies; None where a side has none."""
        return ratio_of_means(self.ours, self.theirs, self.interleaving)

    def difference_s(self) -> Estimate | None:
        """Return the mean difference in latency over the prompts that both answered; None without any."""
        ours, theirs = (side.observations("e2e_s") for side in (self.ours, self.theirs))
        keys = [key for key in ours if key in theirs and (not self.paired or key in self.interleaving.near)]
        if not keys:
            return None
        differences = [ours[key].value - theirs[key].value for key in keys]
        passages, rounds = [ours[key].passage for key in keys], [ours[key].round for key in keys]
        mean, why = statistics.fmean(differences), too_few(len(set(passages)), len(set(rounds)))
        if why or not self.paired:
            return Estimate(mean, None, None, len(keys), self.interleaving.why_not or why)
        half = half_width(spreads_of(differences, passages, rounds))
        return Estimate(mean, mean - half, mean + half, len(keys))


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
    """Compare all metrics that both sides have; paired where they were really interleaved."""
    met = interleaving(ours.asked, theirs.asked, largest_gap_s)
    laws = [side.law for side in (ours, theirs)]
    crossed = Crossover(None, why=next((why for law, why in laws if law is None), None))
    if laws[0][0] and laws[1][0]:
        crossed = crossover(laws[0][0], laws[1][0], paired=met.interleaved)
    return Pair(ours, theirs, met, dict(_compared(ours, theirs, met)), crossed)


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
) -> list[Judged]:
    """Judge every metric of every pair as one family; the first pair's `primary` metric alone is spared correction.

    Pairs of a control (`controls`: the twins' names) say nothing of two endpoints: they are a family of their own.
    """
    margins = {"ratio": time_margin, "difference": score_margin}
    real = [pair for pair in pairs if pair.ours.name not in controls]
    twins = [pair for pair in pairs if pair.ours.name in controls]
    return [*_family(real, primary, margins), *_family(twins, primary, margins, control=True)]


def _family(
    pairs: Sequence[Pair], primary: str, margins: Mapping[str, float], *, control: bool = False
) -> Iterator[Judged]:
    family = {
        f"{number} {metric}": compared
        for number, pair in enumerate(pairs)
        for metric, compared in pair.comparisons.items()
    }
    verdicts = judge(family, {name: margins[each.scale] for name, each in family.items()}, f"0 {primary}")
    for number, pair in enumerate(pairs):
        lasted_s = pair.s_per_round
        own = {metric: _timed(verdicts[f"{number} {metric}"], lasted_s) for metric in pair.comparisons}
        yield Judged(pair, own, primary, control=control)


def _timed(verdict: Verdict, s_per_round: float | None) -> Verdict:
    """Add how many minutes the further rounds would take."""
    if verdict.needed is None or s_per_round is None:
        return verdict
    return replace(verdict, needed=replace(verdict.needed, minutes=verdict.needed.more_rounds * s_per_round / 60))


def _compared(ours: Side, theirs: Side, met: Interleaving) -> Iterator[tuple[str, Comparison]]:
    for metric in METRICS:
        found = contrast(ours, theirs, metric, met)
        if found is not None:
            yield metric, found


def _side(name: str, cell: str, rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord]) -> Side:
    return Side.of(
        name, cell, [r for r in requests if (r.endpoint, r.cell) == (name, cell)], hosts_of(name, cell, rounds)
    )
