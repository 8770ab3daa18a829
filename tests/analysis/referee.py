"""Sessions of kinds that an independent referee simulated: how often a claim of the report is untrue.

Each model makes the project's own records, which go the way of the report: pairs, verdicts, sentences.

python -m tests.analysis.referee [simulations]      prints the table of docs/statistics.md anew
"""

import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.history import Trend, trends_of
from accelbench.analysis.intervals import Comparison, Estimate, compare_paired, counted, geometric_mean, proportion
from accelbench.analysis.latency_law import latency_law
from accelbench.analysis.pairs import Judged, Pair, judge_all, pair_up
from accelbench.analysis.sample import Side
from accelbench.analysis.sweep import sweeps_of
from accelbench.analysis.verdicts import judge
from accelbench.report.sentences_training import rates_differ
from accelbench.report.verdicts import headline, sentences
from accelbench.store.records import ParsedLog, TrainRunRecord
from accelbench.store.requests import Requests

from .coverage import GIVEN, Draw, holds, observed, true_share
from .knees import has_a_knee
from .records import failed, request
from .simulated import Asked, answers, crossed, drawn_logs, nested
from .test_history import entry_of, row_of

GAP_S, ROUND_S, PROMPT_S = 1800.0, 300.0, 5.0
WINNER = re.compile(r"\b(faster|slower|lower|higher)\b")
FALSELY, COVERED = 0.065, 0.93
Array = NDArray[np.float64]
PILOT = 12  # rounds
SEED, PART = 7, 100
Outcome = bool | None
"""What was asked of one session; None where the report makes no such claim."""


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the table. `least` and `most` bound the share of sessions in which `shows` is true."""

    what: str
    asked: str
    shows: Callable[[Draw], Outcome]
    least: float = 0.0
    most: float = 1.0
    simulations: int = 2000
    quick: int = 0
    """How many of them `make test` runs."""


@dataclass(frozen=True, slots=True)
class Found:
    """`share` of those sessions in which the report makes the claim at all; these are `given` of all."""

    simulations: int
    given: float
    share: float


def run(model: Model, simulations: int) -> Found:
    """Simulate a model."""
    return _found(_outcomes(model, simulations, 0))


def _outcomes(model: Model, simulations: int, part: int) -> list[Outcome]:
    """Simulate a part of a model; each part draws numbers of its own."""
    draw = np.random.default_rng([SEED, part])
    return [model.shows(draw) for _ in range(simulations)]


def _found(shown: Sequence[Outcome]) -> Found:
    claimed = [each for each in shown if each is not None]
    return Found(len(shown), len(claimed) / len(shown), float(np.mean(claimed)) if claimed else math.nan)


# --- records --------------------------------------------------------------------------------------------------


def side(
    name: str,
    asked: Sequence[Asked],
    e2e_s: Array,
    *,
    cell: str = "load",
    tokens: Array | None = None,
    tpot_s: Array | None = None,
    start_s: Callable[[int], float] = lambda number: ROUND_S * number,
    timeout_s: float = math.inf,
    lost: Array | None = None,
) -> Side:
    """Return what an endpoint did. `start_s`: when each round began; `lost`: which requests time out as well."""
    first = {number: asked.index(next(a for a in asked if a[1] == number)) for number in {n for _, n in asked}}
    requests = []
    for place, (passage, number) in enumerate(asked):
        sent_s = 1e9 + start_s(number) + PROMPT_S * (place - first[number])
        own = {"endpoint": name, "cell": cell, "round": number, "key": f"p{place}", "passage": str(passage)}
        own |= {"sent_unix_s": sent_s, "end_unix_s": sent_s + float(e2e_s[place])}
        if e2e_s[place] > timeout_s or (lost is not None and lost[place]):
            requests.append(failed("timeout_total", **own))
            continue
        n = 100 if tokens is None else int(tokens[place])
        tpot = None if tpot_s is None else float(tpot_s[place])
        requests.append(
            request(
                **own, e2e_s=float(e2e_s[place]), completion_tokens=n, tpot_s=tpot,
                ttft_s=None if tpot is None else max(0.01, float(e2e_s[place]) - tpot * n),
                streaming="unknown" if tpot is None else "faithful",
            )
        )  # fmt: skip
    return Side(name, cell, Requests.of(requests), dict.fromkeys(first, "box"))


def judged(*pairs: Pair) -> list[Judged]:
    return judge_all(list(pairs))


def names_a_winner(pairs: Sequence[Judged]) -> bool:
    return any(WINNER.search(sentence) for each in pairs for sentence in sentences(each, {}))


def bounds(found: Estimate | None) -> tuple[float, float] | None:
    return (found.low, found.high) if found and found.low is not None and found.high is not None else None


def streamed(draw: Draw, name: str, asked: list[Asked], cell: str, scale: float = 1.0) -> Side:
    own = answers(draw, asked, 0.5 * scale, 0.02 * scale, lengths=(60, 400))
    found = side(name, asked, own.e2e_s, cell=cell, tokens=own.tokens, tpot_s=own.tpot_s)
    hits = draw.random(len(asked)) < 0.8
    told = zip(found.recorded.records(), hits, strict=True)
    return replace(found, recorded=Requests.of(replace(r, contains_gold=bool(hit), f1=float(hit)) for r, hit in told))


# --- models ---------------------------------------------------------------------------------------------------


def itself(endpoints: int, loads: int, asked: list[Asked]) -> Callable[[Draw], Outcome]:
    """One endpoint measured as several: does any sentence name a winner?"""

    def shows(draw: Draw) -> Outcome:
        pairs = []
        for load in range(loads):
            sides = [streamed(draw, f"e{n}", asked, f"load{load}") for n in range(endpoints)]
            pairs += [pair_up(own, sides[0], GAP_S) for own in sides[1:]]
        return names_a_winner(judge_all(pairs))

    return shows


def twice_as_slow(asked: list[Asked]) -> Callable[[Draw], Outcome]:
    """A true difference of 2 under both of two loads: is it named under both?"""

    def shows(draw: Draw) -> Outcome:
        pairs = []
        for cell in ("one", "two"):
            shared = latencies_of(draw, asked, (0.3, 0.0, 0.0))
            sides = [
                side(name, asked, shared * latencies_of(draw, asked, (0.02, 0.02, 0.1), factor), cell=cell)
                for name, factor in (("a", 2.0), ("b", 1.0))
            ]
            pairs.append(pair_up(*sides, GAP_S))
        return all(each.verdicts["e2e_s"].kind == "higher" for each in judge_all(pairs))

    return shows


def latencies_of(draw: Draw, asked: list[Asked], sds: tuple[float, float, float], factor: float = 1.0) -> Array:
    return factor * np.exp(drawn_logs(draw, asked, *sds))


def power(tests: int) -> Callable[[Draw], Outcome]:
    """The n that a session says it takes, tried: is a difference of the margin told, as the first Holm step asks?"""

    def compared(draw: Draw, rounds: int, factor: float) -> Comparison:
        asked = nested(10, rounds)
        sides = (observed(latencies_of(draw, asked, (0.0, 0.0, 0.15), f), asked) for f in (factor, 1.0))
        found = compare_paired(*sides, "ratio")
        assert found is not None
        return found

    def shows(draw: Draw) -> Outcome:
        undecided = judge({"m": compared(draw, PILOT, 1.0)}, {"m": 0.05}, others=tests - 1)["m"]
        if undecided.needed is None:
            return None
        p = compared(draw, undecided.needed.rounds, 1.05).p_value
        return p is not None and p <= 0.05 / tests

    return shows


def uneven_passages() -> list[Asked]:
    """12 passages, the k-th asked 12/k times, over 5 rounds."""
    asked = [passage for passage in range(12) for _ in range(12 // (passage + 1))]
    return [(passage, place % 5) for place, passage in enumerate(asked)]


def uneven_rounds(*sizes: int) -> list[Asked]:
    return [((number, n), number) for number, size in enumerate(sizes) for n in range(size)]


def typical(asked: list[Asked], sds: tuple[float, float, float]) -> Callable[[Draw], Outcome]:
    def shows(draw: Draw) -> Outcome:
        found = geometric_mean(observed(latencies_of(draw, asked, sds), asked))
        return holds(bounds(found), 1.0)

    return shows


def ratio(asked: list[Asked], sds: tuple[float, float, float]) -> Callable[[Draw], Outcome]:
    def shows(draw: Draw) -> Outcome:
        sides = [side(name, asked, latencies_of(draw, asked, sds)) for name in "ab"]
        interval = pair_up(sides[0], sides[1], GAP_S).comparisons["typical_latency"].interval()
        return holds(interval, 1.0)

    return shows


def share_of(truth: float, asked: list[Asked], round_sd: float = 0.0) -> Callable[[Draw], Outcome]:
    odds = math.log(truth / (1 - truth))
    whole = true_share(odds, (0.0, round_sd, 0.0))

    def shows(draw: Draw) -> Outcome:
        chances = 1 / (1 + np.exp(-odds - drawn_logs(draw, asked, 0.0, round_sd, 0.0)))
        found = proportion(observed((draw.random(len(asked)) < chances).astype(float), asked))
        assert found is not None and found.low is not None and found.high is not None
        return holds((found.low, found.high), whole)

    return shows


def rare_slow(draw: Draw, asked: list[Asked], share: float, times: float) -> tuple[Pair, int]:
    """Return a comparison with a side of which a share of requests is many times slower, and how many came."""
    slow = draw.random(len(asked)) < share
    noise = (0.05, 0.03, 0.1)
    ours = latencies_of(draw, asked, noise) * np.where(slow, times, 1.0)
    return pair_up(side("a", asked, ours), side("b", asked, latencies_of(draw, asked, noise)), GAP_S), int(slow.sum())


def of_those_seen(
    share: float, times: float, asked: list[Asked], figure: str, *, of_all: bool = False
) -> Callable[[Draw], Outcome]:
    """Does the interval hold the ratio of requests like those seen, which is all that it claims to?

    `of_all`: or that of all, of which it says that it may not.
    """

    def shows(draw: Draw) -> Outcome:
        pair, came = rare_slow(draw, asked, share, times)
        found = pair.ratios["latency"] if figure == "mean" else pair.comparisons["typical_latency"].estimate()
        there = share if of_all else came / len(asked)
        truth = 1 + there * (times - 1) if figure == "mean" else times**there
        said = " ".join(headline(judged(pair), {}).split())
        interval = bounds(found)
        assert interval is None or "requests like those seen" in said
        return holds(interval, truth)

    return shows


def falsely_equivalent(share: float, times: float, asked: list[Asked]) -> Callable[[Draw], Outcome]:
    """Is a side with rare slow requests called equal without the condition that these may be missing?"""

    def shows(draw: Draw) -> Outcome:
        said = headline(judged(rare_slow(draw, asked, share, times)[0]), {})
        return "were equal" in said and "stragglers rarer than 1 in" not in said

    return shows


def drift_in_order(rounds: int, drift: float) -> Callable[[Draw], Outcome]:
    """Both sides slow down alike over the session, and one is always asked first."""
    asked = crossed(20, rounds)

    def shows(draw: Draw) -> Outcome:
        sides = []
        for place, name in enumerate("ab"):
            grown = np.array([1 + drift * (2 * number + place) / (2 * rounds - 1) for _, number in asked])
            start = lambda number, place=place: ROUND_S * (2 * number + place)  # noqa: E731
            sides.append(side(name, asked, grown * latencies_of(draw, asked, (0.1, 0.0, 0.03)), start_s=start))
        return names_a_winner(judged(pair_up(*sides, GAP_S)))

    return shows


def beside_other_work(rounds: int) -> Callable[[Draw], Outcome]:
    """One endpoint as two, while other programs run in most rounds of one side and in none of the other's.

    They take up to 60 % of the CPU time and slow all requests of the round by as much.
    """
    asked = nested(10, rounds)

    def shows(draw: Draw) -> Outcome:
        sides = []
        for name, chance in (("a", 0.7), ("b", 0.0)):
            taken = {number: draw.uniform(0, 0.6) * (draw.random() < chance) for number in {n for _, n in asked}}
            slowed = np.array([1 / (1 - taken[number]) for _, number in asked])
            busy = frozenset(number for number, share in taken.items() if disturbances({"share_of_others": share}))
            own = side(name, asked, slowed * latencies_of(draw, asked, (0.1, 0.0, 0.03)))
            sides.append(replace(own, busy=busy))
        return names_a_winner(judged(pair_up(*sides, GAP_S)))

    return shows


def one_after_the_other(rounds: int) -> Callable[[Draw], Outcome]:
    """All of A, then all of B within half an hour: is it paired?"""
    asked = crossed(10, rounds)

    def shows(draw: Draw) -> Outcome:
        sides = [
            side(n, asked, latencies_of(draw, asked, (0.1, 0.0, 0.1)), start_s=lambda r, at=at: at + 120.0 * r)
            for n, at in (("a", 0.0), ("b", 120.0 * rounds))
        ]
        return pair_up(*sides, GAP_S).paired

    return shows


def slope_of_miscounted(off: float) -> Callable[[Draw], Outcome]:
    """Token counts are off at random; None where the sentence says whose counts they are and the note what follows."""
    asked = nested(10, 5)

    def shows(draw: Draw) -> Outcome:
        own = answers(draw, asked, 0.5, 0.02, noise_sd=0.02, round_sd=0.02)
        tokens = own.tokens * np.exp(draw.normal(0, off, len(own)))
        pair = pair_up(*(side(n, asked, own.e2e_s, tokens=np.maximum(2, tokens)) for n in "ab"), GAP_S)
        said = " ".join(sentences(judged(pair)[0], {}))
        law = pair.ours.law
        if law is None or "as the server counts them" in said:
            return None
        return holds(law.b_ci, 0.02)

    return shows


def three_times_as_verbose(draw: Draw) -> Outcome:
    """One endpoint against itself; TPOT rises with the length, and ours answers at three times the length."""
    asked = nested(6, 5)
    sides = []
    for name, times in (("a", 3.0), ("b", 1.0)):
        tokens = np.maximum(2, times * np.exp(draw.uniform(math.log(60), math.log(400), len(asked)))).astype(int)
        tpot_s = 0.02 * (1 + tokens / 1000) * np.exp(drawn_logs(draw, asked, 0.02, 0.03, 0.03))
        sides.append(side(name, asked, 0.5 + tpot_s * tokens, tokens=tokens, tpot_s=tpot_s))
    return judged(pair_up(*sides, GAP_S))[0].pair.crossover.kind not in (None, "unbounded")


def cold_starts(asked: list[Asked], share: float) -> Callable[[Draw], Outcome]:
    """Does a's interval hold what requests like those seen take?"""

    def shows(draw: Draw) -> Outcome:
        own = answers(draw, asked, 0.5, 0.02, round_sd=0.05, noise_sd=0.05)
        cold = draw.random(len(own)) < share
        law, _ = latency_law(replace(own, e2e_s=own.e2e_s + 4.0 * cold), faithful=True)
        assert law is not None
        grown = math.exp((0.05**2 + 0.1**2) / 2)
        return holds(law.a_ci, 0.5 * grown + 4.0 * float(np.mean(cold)))

    return shows


def silent_timeouts(draw: Draw) -> Outcome:
    """Time-outs at 30 s cut off one side's slow tail: does a sentence tell a ratio without naming them?"""
    asked = nested(20, 5)
    sides = [
        side(n, asked, latencies_of(draw, asked, (0.0, 0.05, 0.8), f), timeout_s=30.0)
        for n, f in (("a", 16.0), ("b", 8.0))
    ]
    return _without_failures(pair_up(*sides, GAP_S))


def quicker_with_timeouts(draw: Draw) -> Outcome:
    """A is 10 % quicker and a tenth of its requests time out: is it called faster without saying so?"""
    asked = nested(20, 5)
    sides = [
        side(n, asked, latencies_of(draw, asked, (0.0, 0.02, 0.1), f), lost=draw.random(len(asked)) < lost)
        for n, f, lost in (("a", 0.9, 0.1), ("b", 1.0, 0.0))
    ]
    return _without_failures(pair_up(*sides, GAP_S))


def _without_failures(pair: Pair) -> bool:
    assert pair.ours.failures + pair.theirs.failures
    said = [part for text in sentences(judged(pair)[0], {}) for part in re.split(r"(?<=[a-z)])\. ", text)]
    claims = [part for part in said if WINNER.search(part) or "could be shown" in part or "were equal" in part]
    return any("failed and have no latency" not in part for part in claims)


def noisy_size(*runs: int) -> Callable[[Draw], Outcome]:
    """Batch sizes of one true rate, one of them five times as noisy: are they said to differ?"""

    def shows(draw: Draw) -> Outcome:
        records = [
            TrainRunRecord(
                "p", 2**size, n, "measured", None,
                log=ParsedLog(steady_rate_samples_per_s=math.exp(draw.normal(0, 0.05 if size == 0 else 0.01))),
            )
            for size, count in enumerate(runs)
            for n in range(count)
        ]  # fmt: skip
        return "differ more than" in rates_differ(sweeps_of(records), {})

    return shows


def trends(
    draw: Draw, reports: int, figures: int, rounds: int, session_sd: float = 0.0, moved: float = 0.0
) -> list[Trend]:
    """Simulate reports: the first figure of the later half is slower by `moved` standard errors of a report.

    `session_sd`: how much reports differ beyond what their rounds show, likewise.
    """
    round_sd, entries = 0.02, []
    for day in range(1, reports + 1):
        middles = draw.normal(0, session_sd, figures)
        middles[0] += moved if day > reports / 2 else 0.0
        logs = middles[:, None] * round_sd / math.sqrt(rounds) + draw.normal(0, round_sd, (figures, rounds))
        errors = logs.std(axis=1, ddof=1) / math.sqrt(rounds)
        told = enumerate(zip(np.exp(logs.mean(axis=1)).tolist(), errors.tolist(), strict=True))
        entries.append(entry_of(*(row_of(day, value, load=str(n), se=se, df=rounds - 1) for n, (value, se) in told)))
    return trends_of(entries)


def a_change_of_none(reports: int, figures: int, rounds: int, session_sd: float) -> Callable[[Draw], Outcome]:
    return lambda draw: any(trend.changes for trend in trends(draw, reports, figures, rounds, session_sd))


def a_change_found(moved: float) -> Callable[[Draw], Outcome]:
    def shows(draw: Draw) -> Outcome:
        first = trends(draw, 20, 8, 6, moved=moved)[0]
        return len(first.changes) == 1 and abs(first.stretches[0].reports - 10) <= 1

    return shows


SMALL, LOADS = nested(6, 5), "6 passages of its own in each of 5 rounds"
EVEN = (0.15, 0.08, 0.1)
MODELS = [
    Model("an endpoint against itself, 3 endpoints, 3 loads: a winner", LOADS, itself(3, 3, SMALL), most=FALSELY,
          quick=10),
    Model("an endpoint against itself, 8 endpoints, 6 loads: a winner", LOADS, itself(8, 6, SMALL), most=FALSELY),
    Model("true differences of 2 under two loads: both named", "6 passages in each of 5 rounds",
          twice_as_slow(crossed(6, 5)), least=0.95, quick=20),
    *(
        Model(f"power at the printed n, first of {tests} tests", "10 passages of its own in each round", power(tests),
              least=0.75, most=0.85)
        for tests in (5, 20, 41)
    ),
    Model("typical latency", "12 passages, the k-th 12/k times, 5 rounds", typical(uneven_passages(), (0.3, 0.05, 0.1)),
          least=COVERED, quick=200),
    Model("ratio", "12 passages, the k-th 12/k times, 5 rounds", ratio(uneven_passages(), (0.3, 0.05, 0.1)),
          least=COVERED),
    Model("typical latency", "rounds of 30, 3, 3, 3, 3", typical(uneven_rounds(30, 3, 3, 3, 3), (0.05, 0.3, 0.1)),
          least=COVERED, quick=200),
    Model("ratio", "rounds of 30, 3, 3, 3, 3", ratio(uneven_rounds(30, 3, 3, 3, 3), (0.05, 0.3, 0.1)), least=COVERED),
    Model("share of 50 %, standard deviation of rounds 1", "rounds of 30, 3, 3",
          share_of(0.5, uneven_rounds(30, 3, 3), 1.0), least=COVERED, quick=200),
    Model("success of 99 %", "5 passages in each of 3 rounds", share_of(0.99, crossed(5, 3)), least=COVERED, quick=200),
    Model("success of 99.5 %", "10 passages in each of 3 rounds", share_of(0.995, crossed(10, 3)), least=COVERED),
    Model("7 % five times slower, one side: mean ratio of those seen", "5 passages in each of 3 rounds",
          of_those_seen(0.07, 5, crossed(5, 3), "mean"), least=COVERED, quick=50),
    Model("7 % five times slower, one side: typical ratio of those seen", "5 passages in each of 3 rounds",
          of_those_seen(0.07, 5, crossed(5, 3), "typical"), least=COVERED),
    Model("2 % twenty times slower, one side: mean ratio of those seen", "5 passages in each of 3 rounds",
          of_those_seen(0.02, 20, crossed(5, 3), "mean"), least=COVERED),
    Model("2 % twenty times slower, one side: mean ratio of those seen", "12 passages in each of 3 rounds",
          of_those_seen(0.02, 20, crossed(12, 3), "mean"), least=COVERED),
    Model("7 % five times slower, one side: mean ratio of all", "5 passages in each of 3 rounds",
          of_those_seen(0.07, 5, crossed(5, 3), "mean", of_all=True)),
    Model("2 % twenty times slower, one side: mean ratio of all", "12 passages in each of 3 rounds",
          of_those_seen(0.02, 20, crossed(12, 3), "mean", of_all=True)),
    Model("3 % twenty times slower, one side: equivalent, without the condition", "6 passages in each of 3 rounds",
          falsely_equivalent(0.03, 20, crossed(6, 3)), most=0.05, quick=50),
    Model("3 % twenty times slower, one side: equivalent, without the condition", "10 passages in each of 3 rounds",
          falsely_equivalent(0.03, 20, crossed(10, 3)), most=0.05),
    Model("both drift by 20 %, one always first: a winner", "20 passages in each of 5 rounds", drift_in_order(5, 0.2),
          most=FALSELY, quick=50),
    Model("an endpoint against itself, other work beside one side's rounds: a winner",
          "10 passages of its own in each of 12 rounds", beside_other_work(12), most=FALSELY, quick=50),
    Model("all of A, then all of B: paired", "10 passages in each of 3 rounds", one_after_the_other(3), most=0.0,
          quick=5),
    Model("all of A, then all of B: paired", "10 passages in each of 5 rounds", one_after_the_other(5), most=0.0),
    Model("token counts off by 20 %: slope, where not said", "10 passages of its own in each of 5 rounds",
          slope_of_miscounted(0.2), least=COVERED, quick=5),
    Model("itself three times as verbose, TPOT rising: a crossover", LOADS, three_times_as_verbose, most=0.0, quick=20),
    Model("5 % cold starts of 4 s: a of those seen", "6 passages in each of 3 rounds", cold_starts(crossed(6, 3), 0.05),
          least=COVERED, quick=100),
    Model("5 % cold starts of 4 s: a of those seen", "12 passages in each of 3 rounds",
          cold_starts(crossed(12, 3), 0.05), least=COVERED),
    Model("time-outs cut one side's slow tail: not in the sentence", "20 passages of its own in each of 5 rounds",
          silent_timeouts, most=0.0, quick=10),
    Model("A is quicker and 10 % time out: not in the sentence", "20 passages of its own in each of 5 rounds",
          quicker_with_timeouts, most=0.0, quick=10),
    Model("one batch size five times as noisy: sizes differ", "2 runs of each of 4 sizes", noisy_size(2, 2, 2, 2),
          most=FALSELY, quick=50),
    Model("one batch size five times as noisy: sizes differ", "2, 5, 5 and 5 runs", noisy_size(2, 5, 5, 5),
          most=FALSELY),
    Model("one batch size five times as noisy: sizes differ", "3 runs of each of 4 sizes", noisy_size(3, 3, 3, 3),
          most=FALSELY),
    *(
        Model(f"reports without a change{varying}: a change", f"{reports} reports of {counted(figures, 'figure')}, "
              f"{rounds} rounds each", a_change_of_none(reports, figures, rounds, sd), most=0.05, quick=quick)
        for reports, figures, rounds, sd, varying, quick in (
            (2, 1, 3, 0, "", 0),
            (3, 8, 6, 0, "", 20),
            (20, 1, 3, 0, "", 20),
            (20, 8, 6, 0, "", 5),
            (20, 8, 6, 1, ", twice the variance between them", 0),
            (20, 8, 6, 3, ", ten times the variance between them", 5),
        )
    ),
    Model("one of 8 figures 4 standard errors slower from the 11th of 20 reports on: found there, within one report",
          "6 rounds each", a_change_found(4.0), least=0.9, quick=5),
    Model("a knee on a straight line", "4 loads, 3 rounds", has_a_knee(3), most=FALSELY, quick=50),
]  # fmt: skip


def table(rows: Sequence[tuple[Model, Found]]) -> str:
    """Return the rows as Markdown."""
    lines = ["| session | asked | simulations | share | bound |", "|---|---|---|---|---|"]
    for model, found in rows:
        bound = f"≥ {100 * model.least:g} %" if model.least else f"≤ {100 * model.most:g} %" if model.most < 1 else "–"
        bound = f"from {100 * model.least:g} to {100 * model.most:g} %" if model.least and model.most < 1 else bound
        said = "never claimed" if math.isnan(found.share) else f"{100 * found.share:.1f} %"
        given = f" (claimed in {100 * found.given:.0f} %)" if found.given <= GIVEN and found.given else ""
        lines.append(f"| {model.what} | {model.asked} | {found.simulations:,} | {said}{given} | {bound} |")
    return "\n".join(lines) + "\n"


def measured_all(simulations: int | None = None) -> list[tuple[Model, Found]]:
    """Simulate all models, in parts on all cores: each as often as it says, or as told."""
    parts = [
        (place, number, min(PART, (simulations or model.simulations) - PART * number))
        for place, model in enumerate(MODELS)
        for number in range(-(-(simulations or model.simulations) // PART))
    ]
    shown: dict[int, list[Outcome]] = {place: [] for place in range(len(MODELS))}
    spent_s = dict.fromkeys(shown, 0.0)
    with ProcessPoolExecutor() as pool:
        for (place, *_), (outcomes, cpu_s) in zip(parts, pool.map(_part, parts), strict=True):
            shown[place] += outcomes
            spent_s[place] += cpu_s
    for place, model in enumerate(MODELS):
        print(f"{spent_s[place]:,.1f} s of CPU: {model.what}", file=sys.stderr)
    return [(model, _found(shown[place])) for place, model in enumerate(MODELS)]


def _part(part: tuple[int, int, int]) -> tuple[list[Outcome], float]:
    place, number, n = part
    begun_s = time.process_time()
    return _outcomes(MODELS[place], n, number), time.process_time() - begun_s


if __name__ == "__main__":
    print(table(measured_all(int(sys.argv[1]) if sys.argv[1:] else None)), end="")
