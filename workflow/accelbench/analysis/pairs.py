"""Two endpoints under one load: every metric compared, the laws crossed, and what all of it carries together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from accelbench.analysis.contrast import contrast, ratio_of_means
from accelbench.analysis.crossover import Crossover, crossover
from accelbench.analysis.interleaving import Interleaving, interleaving
from accelbench.analysis.intervals import Comparison, Influence, contrast_of, counted
from accelbench.analysis.sides import SCORES, TIMES, Side, busy_rounds, hosts_of
from accelbench.analysis.statistics import Estimate
from accelbench.analysis.verdicts import ALPHA, SCORE_MARGIN, TIME_MARGIN, Verdict, holm, judge
from accelbench.records import InferRoundRecord, RequestRecord

METRICS = (*TIMES, "success", *SCORES)
TESTS_OF_A_PAIR = len(METRICS) + 1
"""At most: of each metric, and of the laws."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours against theirs. `comparisons` by metric; only what both sides have."""

    ours: Side
    theirs: Side
    interleaving: Interleaving
    comparisons: Mapping[str, Comparison]
    crossover: Crossover
    left_out: str | None = None
    """The rounds that count for neither, as the host was busy with other work during one of them."""

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
        found = contrast_of("difference", Influence.of_mean(differences, passages, rounds)).estimate()
        latency = self.comparisons.get("e2e_s")
        why = self.interleaving.why_not or (latency and latency.why_no_interval)
        return replace(found, low=None, high=None, why_no_interval=why) if why else found


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
    return Pair(ours, theirs, met, dict(_compared(ours, theirs, met)), crossed, left_out)


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
    for metric in METRICS:
        found = contrast(ours, theirs, metric, met)
        if found is not None:
            yield metric, found


def _side(name: str, cell: str, rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord]) -> Side:
    own = [r for r in requests if (r.endpoint, r.cell) == (name, cell)]
    return Side.of(name, cell, own, hosts_of(name, cell, rounds), busy_rounds(name, cell, rounds))
