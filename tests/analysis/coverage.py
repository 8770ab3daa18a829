"""How often each printed interval holds the truth, by simulation: what docs/statistics.md shows and tests hold to.

python -m tests.analysis.coverage      prints the table anew
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from accelbench.analysis.crossover import crossover
from accelbench.analysis.intervals import (
    MIN_RUNS,
    Comparison,
    Estimate,
    Observations,
    compare_paired,
    compare_runs,
    compare_unpaired,
    geometric_mean,
    proportion,
)
from accelbench.analysis.latency_law import Fit, latency_law
from accelbench.analysis.metrics import compared_means
from accelbench.analysis.pairs import difference_s
from accelbench.analysis.percentiles import percentile
from accelbench.analysis.sample import Interleaving, Side
from accelbench.store.requests import Requests

from .records import request
from .simulated import Asked, answers, crossed, drawn_logs, nested

SIMULATIONS, SEED = 2000, 42
GIVEN = 0.995  # a share of simulations above that is not worth a word
Draw = np.random.Generator
Ends = tuple[float, float] | None
Sds = tuple[float, float, float]
"""Of passages, of rounds, of single requests; in logs, or in log odds."""

EVEN: Sds = (0.15, 0.08, 0.10)
TEXTS: Sds = (0.30, 0.02, 0.10)
TAILS: Sds = (0.10, 0.15, 0.30)
TIMES: Sds = (0.02, 0.30, 0.10)
NOISE: Sds = (0.0, 0.0, 0.2)
HITS: Sds = (0.7, 0.3, 0.0)
SMALLEST, OWN, MANY = crossed(5, 3), nested(5, 3), crossed(30, 12)


@dataclass(frozen=True, slots=True)
class Case:
    """One interval in one situation. `hits` says of one simulation, figure by figure, whether it holds the truth."""

    figure: str
    asked: str
    varies: str
    hits: Callable[[Draw], Sequence[bool | None]]
    figures: tuple[str, ...] = ("",)
    simulations: int = SIMULATIONS


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the table. `given`: the share of simulations that gave an interval; `covered`: of those."""

    figure: str
    asked: str
    varies: str
    simulations: int
    given: float
    covered: float


def measure(case: Case) -> list[Measured]:
    """Simulate a case."""
    draw = np.random.default_rng(SEED)
    hits = [case.hits(draw) for _ in range(case.simulations)]
    rows = []
    for place, figure in enumerate(shown(case)):
        there = [hit[place] for hit in hits if hit[place] is not None]
        rows.append(
            Measured(
                figure,
                case.asked,
                case.varies,
                case.simulations,
                len(there) / len(hits),
                float(np.mean(np.array(there))),
            )
        )
    return rows


def shown(case: Case) -> list[str]:
    """Return the names of a case's figures, as the table has them."""
    return [f"{case.figure}, {name}" if name else case.figure for name in case.figures]


def table(rows: Sequence[Measured]) -> str:
    """Return the rows as Markdown."""
    lines = ["| interval of | asked | what varies | simulations | coverage |", "|---|---|---|---|---|"]
    for row in rows:
        given = "" if row.given > GIVEN else f" (given in {100 * row.given:.0f} %)"
        lines.append(
            f"| {row.figure} | {row.asked} | {row.varies} | {row.simulations:,} | {100 * row.covered:.1f} %{given} |"
        )
    return "\n".join(lines) + "\n"


# --- drawn ----------------------------------------------------------------------------------------------------


def observed(values: NDArray[np.float64], asked: Sequence[Asked]) -> Observations:
    return Observations(values, [p for p, _ in asked], [r for _, r in asked])


def timed(draw: Draw, asked: Sequence[Asked], sds: Sds) -> Observations:
    return observed(np.exp(drawn_logs(draw, asked, *sds)), asked)


def scored(draw: Draw, asked: Sequence[Asked], typical: float, sds: Sds) -> Observations:
    return observed((draw.random(len(asked)) < expit(typical + drawn_logs(draw, asked, *sds))).astype(float), asked)


def true_share(typical: float, sds: Sds) -> float:
    places = ndtri((np.arange(20_000) + 0.5) / 20_000)
    return float(np.mean(expit(typical + math.hypot(*sds) * places)))


def holds(ends: Ends, truth: float) -> bool | None:
    return None if ends is None else ends[0] <= truth <= ends[1]


def ends_of(low: float | None, high: float | None) -> Ends:
    return None if low is None or high is None else (low, high)


# --- figures --------------------------------------------------------------------------------------------------


def typical_latency(asked: list[Asked], sds: Sds) -> Callable[[Draw], Sequence[bool | None]]:
    def hits(draw: Draw) -> Sequence[bool | None]:
        found = geometric_mean(timed(draw, asked, sds))
        assert found is not None
        return [holds(ends_of(found.low, found.high), 1.0)]

    return hits


def share(asked: list[Asked], typical: float, sds: Sds) -> Callable[[Draw], Sequence[bool | None]]:
    truth = true_share(typical, sds)

    def hits(draw: Draw) -> Sequence[bool | None]:
        found = proportion(scored(draw, asked, typical, sds))
        assert found is not None
        return [holds(ends_of(found.low, found.high), truth)]

    return hits


def mean_score(asked: list[Asked], typical: float, at_an_end: float) -> Callable[[Draw], Sequence[bool | None]]:
    """F1: `at_an_end` of the scores are 0 or 1, the others lie between."""
    sds = HITS
    truth = true_share(typical, sds)

    def hits(draw: Draw) -> Sequence[bool | None]:
        means = expit(typical + drawn_logs(draw, asked, *sds))
        between = draw.beta(4 * means, 4 * (1 - means))
        ends = (draw.random(len(asked)) < means).astype(float)
        found = proportion(observed(np.where(draw.random(len(asked)) < at_an_end, ends, between), asked))
        assert found is not None
        return [holds(ends_of(found.low, found.high), truth)]

    return hits


def percentile_of(percent: float, asked: list[Asked], sds: Sds) -> Callable[[Draw], Sequence[bool | None]]:
    truth = math.exp(ndtri(percent / 100) * math.hypot(*sds))

    def hits(draw: Draw) -> Sequence[bool | None]:
        found = percentile(timed(draw, asked, sds), percent)
        assert found is not None
        return [holds(ends_of(found.low, found.high), truth)]

    return hits


def interval_of(found: Comparison | None) -> Ends:
    assert found is not None
    return found.interval()


def compared(asked: list[Asked], ours: Sds, theirs: Sds) -> Callable[[Draw], Sequence[bool | None]]:
    def hits(draw: Draw) -> Sequence[bool | None]:
        one, other = timed(draw, asked, ours), timed(draw, asked, theirs)
        paired = compare_paired(one, other, "ratio")
        return [
            holds(interval_of(paired), 1.0),
            holds(interval_of(compare_unpaired(one, other, "ratio")), 1.0),
        ]

    return hits


def scores_compared(asked: list[Asked], typical: float) -> Callable[[Draw], Sequence[bool | None]]:
    def hits(draw: Draw) -> Sequence[bool | None]:
        one, other = (scored(draw, asked, typical, HITS) for _ in range(2))
        paired = compare_paired(one, other, "difference")
        return [
            holds(interval_of(paired), 0.0),
            holds(interval_of(compare_unpaired(one, other, "difference")), 0.0),
        ]

    return hits


def means_compared(asked: list[Asked], sds: Sds) -> Callable[[Draw], Sequence[bool | None]]:
    """Ratio 2 and difference of 1 s between mean latencies, as `compare` prints them."""
    places = np.arange(len(asked))
    blanks = [request(round=r, key=str((p, r)), passage=str(p)) for p, r in asked]
    ratio_of_means = compared_means("e2e_s", of="whole")
    mean = math.exp(math.hypot(*sds) ** 2 / 2)

    def hits(draw: Draw) -> Sequence[bool | None]:
        sides = [
            Side(
                name,
                "load",
                Requests.of(
                    replace(r, e2e_s=v * value)
                    for r, value in zip(blanks, timed(draw, asked, sds).values.tolist(), strict=True)
                ),
            )
            for name, v in (("ours", 2.0), ("theirs", 1.0))
        ]
        held: list[bool | None] = []
        for why in (None, "too far apart"):
            met = Interleaving(places, places, places >= 0, 1.0, why)
            ratio, difference = ratio_of_means(*sides, met), difference_s(*sides, met, None)
            held.append(holds(_ends(ratio and ratio.estimate()), 2.0))
            if why is None:
                held.append(holds(_ends(difference), mean))
        return held

    return hits


def _ends(found: Estimate | None) -> Ends:
    assert found is not None
    return ends_of(found.low, found.high)


def laws(asked: list[Asked]) -> Callable[[Draw], Sequence[bool | None]]:
    """Two streamed endpoints that cross at 150 tokens; 1/b and its inverted interval hold what b's hold."""
    round_sd = noise_sd = 0.05
    grow_a = math.exp((round_sd**2 + (2 * noise_sd) ** 2) / 2)
    grow_b = math.exp((round_sd**2 + noise_sd**2) / 2)

    def hits(draw: Draw) -> Sequence[bool | None]:
        both = [
            answers(draw, asked, a_s, b, round_sd=round_sd, noise_sd=noise_sd) for a_s, b in ((2.0, 0.01), (0.5, 0.02))
        ]
        one, other = (latency_law(own, faithful=True)[0] for own in both)
        regressed, _ = latency_law(both[0], faithful=False)
        assert one is not None and other is not None and regressed is not None
        turned = crossover(one, other, paired=False)
        at = 150 * grow_a / grow_b
        inside = turned.kind != "none" and (turned.low_tokens or 0.0) <= at <= (turned.high_tokens or math.inf)
        fits: list[Fit] = [one.fit, regressed.fit]
        return [
            *(holds(fit.interval((1, 0)), 2.0 * grow_a) for fit in fits),
            *(holds(fit.interval((0, 1)), 0.01 * grow_b) for fit in fits),
            None if turned.kind is None else inside,
        ]

    return hits


def runs_compared(ours: int, theirs: int, times_as_noisy: float) -> Callable[[Draw], Sequence[bool | None]]:
    def hits(draw: Draw) -> Sequence[bool | None]:
        rates = [np.exp(draw.normal(0, sd, n)) for sd, n in ((0.01 * times_as_noisy, ours), (0.01, theirs))]
        return [holds(interval_of(compare_runs(*(list(map(float, own)) for own in rates))), 1.0)]

    return hits


FIVE, EACH = "5 passages in each of 3 rounds", "5 passages of its own in each of 3 rounds"
LARGE = "30 passages in each of 12 rounds"
SIDES = ("paired", "unpaired")
CASES = [
    Case("typical latency", FIVE, "passages", typical_latency(SMALLEST, TEXTS)),
    Case("typical latency", FIVE, "rounds", typical_latency(SMALLEST, TIMES)),
    Case("typical latency", FIVE, "both", typical_latency(SMALLEST, (0.3, 0.23, 0.1))),
    Case("typical latency", FIVE, "single requests", typical_latency(SMALLEST, NOISE)),
    Case("typical latency", EACH, "rounds", typical_latency(OWN, TIMES)),
    Case("typical latency", LARGE, "both", typical_latency(MANY, (0.3, 0.19, 0.1)), simulations=1000),
    Case("ratio of latencies", FIVE, "both", compared(SMALLEST, EVEN, EVEN), SIDES),
    Case("ratio of latencies", FIVE, "single requests", compared(SMALLEST, NOISE, NOISE), SIDES),
    Case("ratio of latencies", EACH, "rounds, one side thrice", compared(OWN, (0.06, 0.6, 0.1), TIMES), SIDES),
    Case("mean latencies", FIVE, "both", means_compared(SMALLEST, EVEN),
         ("ratio, paired", "difference, paired", "ratio, unpaired")),
    Case("p50", "10 passages in each of 3 rounds", "both", percentile_of(50, crossed(10, 3), EVEN)),
    Case("p90", "12 passages of its own in each of 3 rounds", "both", percentile_of(90, nested(12, 3), TAILS)),
    Case("p95", "24 passages of its own in each of 3 rounds", "both", percentile_of(95, nested(24, 3), TAILS)),
    Case("p95", "20 passages, 4 times in each of 3 rounds", "both", percentile_of(95, crossed(20, 3, 4), TAILS)),
    Case("p95", "60 passages in each of 12 rounds", "both", percentile_of(95, crossed(60, 12), (0.2, 0.09, 0.2)),
         simulations=1000),
    Case("p99", "123 passages of its own in each of 3 rounds", "both", percentile_of(99, nested(123, 3), TAILS),
         simulations=1000),
    Case("share of 50 %", FIVE, "both", share(SMALLEST, 0, HITS)),
    Case("share of 50 %", EACH, "rounds", share(OWN, 0, (0.3, 0.7, 0.0))),
    Case("share of 86 %", FIVE, "both", share(SMALLEST, 2, HITS)),
    Case("share of 98 %", FIVE, "both", share(SMALLEST, 4, HITS)),
    Case("mean F1 of 0.86, nearly all 0 or 1", FIVE, "both", mean_score(SMALLEST, 2, 0.95)),
    Case("mean F1 of 0.98, nearly all 0 or 1", FIVE, "both", mean_score(SMALLEST, 4, 0.95)),
    Case("mean F1 of 0.5, none 0 or 1", FIVE, "both", mean_score(SMALLEST, 0, 0.0)),
    Case("difference of shares of 86 %", FIVE, "both", scores_compared(SMALLEST, 2), SIDES),
    Case("difference of shares of 50 %", "10 passages in each of 5 rounds", "both", scores_compared(crossed(10, 5), 0),
         SIDES),
    Case("latency law", FIVE, "both", laws(SMALLEST),
         ("a from TTFT and TPOT", "a by regression", "b and 1/b from TPOT", "b and 1/b by regression", "crossover")),
    Case("ratio of training rates", f"{MIN_RUNS} runs against {MIN_RUNS}", "runs",
         runs_compared(MIN_RUNS, MIN_RUNS, 1)),
    Case("ratio of training rates", f"{MIN_RUNS} runs against 10", "runs", runs_compared(MIN_RUNS, 10, 1)),
    Case("ratio of training rates", f"{MIN_RUNS} runs against {MIN_RUNS}", "runs, one side fourfold",
         runs_compared(MIN_RUNS, MIN_RUNS, 4)),
]  # fmt: skip


if __name__ == "__main__":
    print(table([row for case in CASES for row in measure(case)]), end="")
