"""Two endpoints under one load: every metric compared, the laws crossed, and what all of it carries together."""

import math
import statistics
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from accelbench.analysis.comparison import Comparison, Scale, compare_paired, compare_unpaired
from accelbench.analysis.crossover import Crossover, crossover
from accelbench.analysis.interleaving import Interleaving, interleaving
from accelbench.analysis.sides import SCORES, TIMES, Side
from accelbench.analysis.spread import half_width, spreads_of, too_few
from accelbench.analysis.verdicts import SCORE_MARGIN, TIME_MARGIN, Verdict, judge
from accelbench.records import InferRoundRecord, RequestRecord

METRICS = (*TIMES, "success", *SCORES)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval, or the reason why there is none."""

    value: float
    low: float | None
    high: float | None
    why_not: str | None = None


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

    def ratio_of_means(self) -> Interval | None:
        """Return the ratio of the mean latencies, its interval on the log scale by linearising each request's part."""
        values = [side.latencies_s for side in (self.ours, self.theirs)]
        if not all(values):
            return None
        means = [statistics.fmean(own) for own in values]
        half, why = self._half_width(1 / means[0], 1 / means[1])
        ratio = means[0] / means[1]
        if half is None:
            return Interval(ratio, None, None, why)
        return Interval(ratio, ratio * math.exp(-half), ratio * math.exp(half))

    def difference_s(self) -> Interval | None:
        """Return the mean difference in latency over the prompts that both answered, in seconds."""
        ours, theirs = (side.observations("e2e_s") for side in (self.ours, self.theirs))
        both = ours.keys() & theirs.keys()
        if not both:
            return None
        mean = statistics.fmean(ours[key].value - theirs[key].value for key in both)
        half, why = self._half_width(1.0, 1.0) if self.paired else (None, self.interleaving.why_not)
        return Interval(mean, None, None, why) if half is None else Interval(mean, mean - half, mean + half)

    def _half_width(self, ours_scale: float, theirs_scale: float) -> tuple[float | None, str | None]:
        """Return half the interval of a difference of scaled means, or why there is none."""
        ours, theirs = (side.observations("e2e_s") for side in (self.ours, self.theirs))
        if self.paired:
            keys = [key for key in ours if key in theirs]
            parts = [
                ([ours[k].value * ours_scale - theirs[k].value * theirs_scale for k in keys], [ours[k] for k in keys])
            ]
        else:
            parts = [
                ([o.value * scale for o in own.values()], list(own.values()))
                for own, scale in ((ours, ours_scale), (theirs, theirs_scale))
            ]
        halves = []
        for values, observed in parts:
            passages, rounds = [o.passage for o in observed], [o.round for o in observed]
            why = too_few(len(set(passages)), len(set(rounds)))
            if why:
                return None, why
            halves.append(half_width(spreads_of(values, passages, rounds)))
        return math.hypot(*halves), None


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
    met = interleaving(ours.asked(), theirs.asked(), largest_gap_s)
    laws = [side.law() for side in (ours, theirs)]
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
        scale: Scale = "ratio" if metric in TIMES else "difference"
        one, other = ours.observations(metric), theirs.observations(metric)
        if met.interleaved:
            near = {key: one[key] for key in one if key in met.near}
            found = compare_paired(near, other, scale)
        else:
            found = compare_unpaired(list(one.values()), list(other.values()), scale)
        if found is not None:
            yield metric, found


def _side(name: str, cell: str, rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord]) -> Side:
    hosts: dict[Hashable, str | None] = {
        r.round: str(r.host["name"]) for r in rounds if (r.endpoint, r.cell) == (name, cell) and r.host
    }
    return Side.of(name, cell, [r for r in requests if (r.endpoint, r.cell) == (name, cell)], hosts)
