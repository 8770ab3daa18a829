"""Two endpoints under one load: pairs, ratios of means, differences, one family of verdicts."""

import statistics
from dataclasses import replace

import pytest

from accelbench.analysis.pairs import Pair, judge_all, pair_up, pairs_of

from .records import asked_rounds, failed, measured, request, side, sides

GAP_S = 60.0


def slow(tokens: int) -> float:
    return 2.0 + tokens / 89 % 0.1


def fast(tokens: int) -> float:
    return 1.0 + tokens / 97 % 0.1


def pair(apart_s: float = 2.0, **given: int) -> Pair:
    ours, theirs = asked_rounds("a", slow, start_s=apart_s, **given), asked_rounds("b", fast, **given)
    return pair_up(side("a", ours), side("b", theirs), GAP_S)


def test_the_ratio_of_means_is_that_of_the_means() -> None:
    sides = side("a", asked_rounds("a", slow, start_s=2.0)), side("b", asked_rounds("b", fast))
    compared = pair_up(*sides, GAP_S)
    ratio, means = compared.ratios.get("latency"), [statistics.fmean(each.latencies_s) for each in sides]
    assert compared.paired and ratio is not None
    assert ratio.value == pytest.approx(means[0] / means[1])
    assert ratio.low is not None and ratio.high is not None and ratio.low < ratio.value < ratio.high


def test_the_difference_is_over_prompts_that_both_answered() -> None:
    ours, theirs = asked_rounds("a", lambda n: 3.0), asked_rounds("b", lambda n: 1.0)
    theirs[0] = failed(endpoint="b", key=theirs[0].key, round=1)
    difference = pair_up(side("a", ours), side("b", theirs), GAP_S).difference_s
    assert difference is not None and difference.value == pytest.approx(2.0)


def test_endpoints_asked_too_far_apart_are_unpaired() -> None:
    compared = pair(apart_s=300.0)
    ratio, difference = compared.ratios.get("latency"), compared.difference_s
    assert not compared.paired and not compared.comparisons["typical_latency"].paired
    assert ratio is not None and ratio.low is not None
    assert difference is not None and difference.low is None and "s apart" in (difference.why_no_interval or "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"prompts": 1, "rounds": 4}, "an interval needs at least 5"),
        ({"rounds": 1}, "only one round, which says nothing"),
    ],
)
def test_too_few_passages_or_rounds_give_no_interval(given: dict[str, int], why: str) -> None:
    ratio = pair(**given).ratios["latency"]
    assert ratio is not None and ratio.low is ratio.high is None
    assert why in str(ratio.why_no_interval)


def test_a_side_without_latencies_has_no_ratio() -> None:
    compared = pair_up(side("a", [request()]), side("b", [failed(endpoint="b")]), GAP_S)
    assert compared.ratios.get("latency") is None and compared.difference_s is None
    assert "e2e_s" not in compared.tested and "success" in compared.tested


def test_only_metrics_of_both_sides_are_compared() -> None:
    assert set(pair().tested) == {"e2e_s", "success", "contains_gold", "f1"}


def test_pairs_are_against_the_baseline_load_by_load() -> None:
    rounds = [measured(name, 1, cell) for cell in ("x", "y") for name in ("a", "b", "c")]
    requests = [request(endpoint=r.endpoint, cell=r.cell) for r in rounds]
    found = pairs_of(rounds, sides(rounds, requests), "b", GAP_S)
    assert [p.name for p in found] == [("a", "b", "x"), ("c", "b", "x"), ("a", "b", "y"), ("c", "b", "y")]


def test_all_pairs_are_one_family_with_their_laws() -> None:
    judged = judge_all([pair(), pair()])
    raw = judged[0].pair.comparisons["typical_latency"].p_value
    adjusted = judged[0].verdicts["e2e_s"].p_value
    tests = sum(len(e.pair.tested) + (e.pair.crossover.p_value is not None) for e in judged)
    assert raw is not None and adjusted == pytest.approx(tests * raw)


def test_a_round_on_a_busy_host_counts_for_neither_side() -> None:
    ours = replace(side("a", asked_rounds("a", slow, start_s=2.0)), busy=frozenset({2}))
    found = pair_up(ours, side("b", asked_rounds("b", fast)), GAP_S)
    assert found.left_out == "1 of 5 rounds" and found.comparisons["typical_latency"].rounds == 4
    assert found.ours.requests == found.theirs.requests == len(ours.requests) * 4 / 5


def test_a_control_is_a_family_of_its_own() -> None:
    alone = judge_all([pair()])
    ours, theirs = asked_rounds("b-twin", fast, start_s=2.0), asked_rounds("b", fast)
    twin = pair_up(side("b-twin", ours), side("b", theirs), GAP_S)
    real, control = judge_all([pair(), twin], controls=["b-twin"])
    assert (real.control, control.control) == (False, True)
    assert [v.p_value for v in real.verdicts.values()] == [v.p_value for v in alone[0].verdicts.values()]


def test_further_rounds_are_given_in_minutes() -> None:
    verdict = judge_all([pair(rounds=2)])[0].verdicts["e2e_s"]
    assert verdict.kind == "undecided" and verdict.needed is not None and verdict.needed.minutes is not None
