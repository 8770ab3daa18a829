"""Sentences on a pair: the other metrics, the laws, where the order turns; never more than the interval."""

import re
from dataclasses import replace

import pytest

from accelbench.analysis.crossover import Crossover
from accelbench.analysis.pairs import Judged, Pair, judge_all, pair_up
from accelbench.report.verdicts import (
    crossover_sentence,
    crossovers,
    headline,
    in_two_sentences,
    law_sentence,
    others,
    sentences,
)

from ..analysis.records import asked_rounds, failed, request, side

LABELS = {"a": "Alpha", "b": "Beta"}


def jitter(tokens: int) -> float:
    return 1 + 0.02 * ((tokens * 7919) % 11 - 5) / 5


def pair(a_s: float = 0.5, b_s: float = 0.01, **given: object) -> Pair:
    """Beta by its law against Alpha at 2 s + 5 ms per token."""
    ours = asked_rounds("b", lambda n: (a_s + b_s * n) * jitter(n), start_s=2.0, **given)
    theirs = asked_rounds("a", lambda n: (2.0 + 0.005 * n) * jitter(n + 3))
    return pair_up(side("b", ours), side("a", theirs), 60.0)


def judged(**given: object) -> Judged:
    return judge_all([pair(**given)])[0]


def test_all_that_is_said_of_a_pair_is_whole_sentences() -> None:
    said = sentences(judged(), LABELS)
    assert len(said) == 5
    assert all(sentence.endswith(".") and "  " not in sentence for sentence in said)


def test_a_winner_is_never_named_where_the_interval_contains_1() -> None:
    for factor in (0.9, 1.0, 1.1, 1.3, 2.0):
        each = judged(a_s=2.0 * factor, b_s=0.005 * factor)
        low, high = each.verdicts["e2e_s"].comparison.interval() or (0.0, 9.0)
        named = bool(re.search(r"was (faster|slower)", sentences(each, LABELS)[0]))
        assert not (named and low <= 1 <= high)
        assert named or factor in (1.0,)


def test_other_metrics_are_told_with_their_direction_and_interval() -> None:
    said = others(judged(contains_gold=False, f1=0.0), LABELS)
    assert said.startswith("Beta against Alpha in load, corrected for all comparisons: ")
    assert re.search(r"contains the gold answer lower difference -100 points \(95 % interval .* n = 40 pairs, p", said)


def test_the_law_gives_both_costs_and_the_decode_speed_with_intervals() -> None:
    said = law_sentence(pair().ours, LABELS)
    number = r"[\d.,]+"
    assert re.match(
        rf"Beta, load: latency = {number} s \({number} to {number}\) \+ {number} ms \({number} to {number}\) per "
        rf"output token \(by regression, n = 40, 20 to 137 tokens as the server counts them\)"
        rf"; it decodes {number} tok/s \({number} to "
        rf"{number}\)\.$",
        said,
    )


def test_no_decode_speed_is_claimed_where_tokens_cost_nothing_for_sure() -> None:
    said = law_sentence(pair(a_s=5.0, b_s=0.0).ours, LABELS)
    assert "no decode speed" in said and "it decodes" not in said


def test_without_a_law_the_reason_is_said() -> None:
    assert law_sentence(side("b", [request()]).figures, LABELS) == (
        "Beta, load: no latency law (fewer than two answers with a known length)."
    )


@pytest.mark.parametrize(
    ("crossed", "said"),
    [
        (
            Crossover("interval", 300.0, 280.0, 320.0, "ours", "theirs"),
            "load: Beta is faster below 280 output tokens and Alpha above 320; they cross at about 300 output tokens.",
        ),
        (
            Crossover("interval", 300.0, 280.0, 320.0, "ours", "theirs", extrapolated=True),
            "load: Beta is faster below 280 output tokens and Alpha above 320; they cross at about 300 output tokens "
            "(extrapolated beyond the lengths measured on both).",
        ),
        (
            Crossover("one_sided", 300.0, 280.0, None, "ours", None),
            "load: Beta is faster below 280 output tokens; above that, it is not known which is faster.",
        ),
        (
            Crossover("one_sided", 300.0, None, 320.0, None, "theirs"),
            "load: Alpha is faster above 320 output tokens; below that, it is not known which is faster.",
        ),
        (
            Crossover("unbounded"),
            "load: it is not known at which output length the latency laws of Beta and Alpha cross, if at all.",
        ),
        (
            Crossover("none", faster_below="theirs"),
            "load: Alpha is faster at every output length, according to both latency laws.",
        ),
    ],
)
def test_where_the_order_turns(crossed: Crossover, said: str) -> None:
    made = pair()
    assert crossover_sentence(replace(made, comparisons={}, crossover=crossed), LABELS) == said


def test_crossovers_that_can_not_be_said_are_said_together() -> None:
    made = [judged(rounds=1), judged(rounds=1)]
    (said,) = crossovers(made, LABELS)
    assert said.startswith("The crossover of Beta and Alpha is not known in load and load: only one round")


def test_what_is_undecided_stands_with_its_interval() -> None:
    text = others(judged(), {})
    assert re.search(r"success difference 0 points \(-[\d.]+ to \+[\d.]+ points\)", text)


def test_a_rounding_error_of_a_slope_is_no_cost() -> None:
    same = [replace(r, ttft_s=None, tpot_s=None, e2e_s=2.0) for r in asked_rounds("a", lambda n: 2.0)]
    text = law_sentence(side("a", same).figures, {})
    assert "e-" not in text and "0.0000" not in text


def test_failures_stand_in_the_sentence_that_names_the_faster_one() -> None:
    ours = asked_rounds("a", lambda n: 0.5 + n / 997 % 0.1)
    for place in (3, 9):
        own = ours[place]
        ours[place] = failed("timeout_total", endpoint="a", round=own.round, key=own.key, passage=own.passage)
    theirs = asked_rounds("b", lambda n: 1.0 + n / 997 % 0.1, start_s=2.0)
    (judged,) = judge_all([pair_up(side("a", ours), side("b", theirs), 60.0)])
    (first, *_) = [text for text in headline([judged], LABELS).split(". ") if "was faster" in text]
    assert "(2 of 40 requests of" in first and "including the slowest, which timed out)" in first


def test_rounds_on_a_busy_host_leave_too_few_to_name_anyone() -> None:
    ours = side("a", asked_rounds("a", lambda n: 0.5 + n / 997 % 0.1))
    theirs = side("b", asked_rounds("b", lambda n: 1.0 + n / 997 % 0.1, start_s=2.0))
    (judged,) = judge_all([pair_up(replace(ours, busy=frozenset({1, 2, 4})), theirs, 60.0)])
    said = headline([judged], LABELS)
    assert "no difference in E2E latency could be shown" in said
    assert "In load, 3 of 5 rounds were left out: the host was busy with other work." in said


def test_without_a_quiet_round_nothing_is_compared_and_the_reason_is_said() -> None:
    ours = side("a", asked_rounds("a", lambda n: 0.5 + n / 997 % 0.1))
    theirs = side("b", asked_rounds("b", lambda n: 1.0 + n / 997 % 0.1, start_s=2.0))
    (judged,) = judge_all([pair_up(replace(ours, busy=frozenset(range(1, 6))), theirs, 60.0)])
    assert headline([judged], LABELS).endswith("undecided in load: no round was quiet for both.")


def test_a_side_whose_requests_all_failed_is_said_to_have_failed() -> None:
    asked = asked_rounds("a", lambda _: 1.0)
    lost = [failed(endpoint="b", round=each.round, key=each.key, passage=each.passage) for each in asked]
    [each] = judge_all([pair_up(side("b", lost), side("a", asked), 60.0)])
    said = "(40 of 40 requests of Beta and 0 of 40 requests of Alpha failed and have no latency)."
    assert in_two_sentences(each, LABELS).endswith(f"E2E latency is not known for both {said}")
    assert said in headline([each], LABELS)


def test_an_interval_that_contains_1_is_no_tie() -> None:
    each = judged(a_s=2.0, b_s=0.005)
    open_ = replace(each, verdicts={"e2e_s": replace(each.verdicts["e2e_s"], kind="undecided")})
    assert in_two_sentences(open_, LABELS).startswith("Beta against Alpha: undecided (")


def test_stragglers_are_not_taken_for_too_few_rounds() -> None:
    ours = asked_rounds("b", lambda n: 30.0 if n == 20 else jitter(n), start_s=2.0)
    theirs = asked_rounds("a", lambda n: jitter(n + 3))
    [each] = judge_all([pair_up(side("b", ours), side("a", theirs), 60.0)])
    assert in_two_sentences(each, LABELS).startswith(
        "Beta against Alpha: undecided, as a few requests are far from the others. "
    )
