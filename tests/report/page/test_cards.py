"""The answer cards: what each question's answer is, and that none is given where nothing was decided."""

from dataclasses import replace

from accelbench.analysis.crossover import Crossover
from accelbench.analysis.intervals import Estimate
from accelbench.analysis.pairs import Judged
from accelbench.analysis.sweep import RateSpread, Sweep
from accelbench.report.page.cards import MOST_CARDS, Card, cards
from accelbench.report.page.charts import charts
from accelbench.report.summary import Summary
from accelbench.store.records import SearchRecord, SearchResult

from ..test_sentences import LABELS, judged, row, size

EMPTY = Summary("t", [], [], [], [], LABELS, {}, {})


def answers(*found: Judged, **given: object) -> list[Card]:
    cells = [each.pair.ours.cell for each in found]
    rows = [row(name, cell, scenario="load") for cell in cells for name in "ab"]
    return cards(replace(EMPTY, judged=list(found), **{"inference": rows, **given}))


def opposed() -> Judged:
    """Judge an endpoint with a quick first token, and slow ones from there on."""
    slow, quick = (judged(factor=factor).verdicts["e2e_s"] for factor in (2.4, 0.4))
    tie = judged(rounds=4, factor=1.0)
    crossed = Crossover("interval", 20.0, 17.0, 24.0, "ours", "theirs")
    verdicts = {"e2e_s": replace(tie.verdicts["e2e_s"], kind="undecided"), "ttft_s": quick, "tpot_s": slow}
    return replace(tie, pair=replace(tie.pair, crossover=crossed), verdicts=verdicts)


def test_a_winner_is_named_with_its_interval() -> None:
    (card,) = answers(judged(factor=2.5))
    assert card.question == "1 at a time: which endpoint is faster?" and card.figure == "2.5×"
    assert card.sentence.startswith("Beta took 2.5 times as long as Alpha per answer")
    assert card.interval and card.interval.low < card.interval.value < card.interval.high
    assert card.n == "40 pairs" and card.href == "#inference"


def test_equal_endpoints_are_equal() -> None:
    (card,) = answers(judged(factor=1.0))
    assert card.figure == "equal" and card.sentence.startswith("Beta and Alpha: equal within ±5 %")


def test_too_few_rounds_decide_nothing() -> None:
    (card,) = answers(judged(rounds=2))
    assert card.figure == "too few rounds" and card.interval is None
    assert "To resolve 5 %: " in card.sentence and " more." in card.sentence


def test_what_was_decided_is_said_and_not_only_the_primary_metric() -> None:
    (card,) = answers(opposed())
    assert card.figure == "turns at 20 tokens" and card.interval and card.interval.text == "17 to 24 tokens"
    assert card.sentence == (
        "Beta against Alpha: first token 2.5 times sooner, each further one 2.4 times slower; "
        "they cross near 20 tokens."
    )


def test_what_only_decides_reasons_is_no_answer() -> None:
    found = judged(factor=2.5)
    experiment = replace(found, pair=replace(found.pair, ours=replace(found.pair.ours, cell="why-unique-load")))
    assert len(answers(found, experiment)) == len(answers(found)) == 1


def test_a_crossover_beside_a_winner_is_a_card_of_its_own() -> None:
    won = judged(factor=0.5)
    crossed = Crossover("interval", 20.0, 17.0, 24.0, "ours", "theirs")
    first, second = answers(replace(won, pair=replace(won.pair, crossover=crossed)))
    assert "which endpoint is faster" in first.question and "where does the order turn" in second.question
    assert second.sentence == "Beta is faster for short answers, Alpha for long ones."


def test_a_busy_host_leaves_it_undecided() -> None:
    busy = judged()
    (card,) = answers(replace(busy, pair=replace(busy.pair, left_out="5 of 5 rounds"), verdicts={}))
    assert card.figure == "undecided" and "no round was quiet for both" in card.sentence
    others = [row(name, "one", scenario="load") for name in "abc"]
    assert answers(replace(busy, verdicts={}), inference=others)[0].n == f"{2 * others[0].requests} requests"


def test_one_endpoint_is_described() -> None:
    (card,) = answers(inference=[row("a")])
    assert card.question == "1 at a time: how fast is Alpha?" and card.figure == "0.95 s"
    assert card.interval and card.interval.text == "0.90 to 1.0 s"


def test_an_endpoint_on_a_busy_host_has_no_speed() -> None:
    (card,) = answers(inference=[row("a", busy_rounds=(1, 2, 3, 4, 5))])
    assert card.figure == "undecided"


def test_training_alone_says_whether_batch_size_matters() -> None:
    spread = RateSpread(2, 6, 0.27, 0.05, 30.0, 0.018)
    sweep = Sweep("cpu", None, 2, 0, spread, None, [], [])
    sizes = [size(4), size(8, steady_rate_samples_per_s=51.0, steady_rate_lowest=50.0, steady_rate_highest=52.0)]
    (card,) = answers(training=sizes, sweeps=[sweep], inference=[])
    assert card.question == "Which batch size trains fastest?" and card.figure == "51 samples/s"
    assert card.sentence == "Batch size matters (p = 0.018). The highest mean rate was at batch size 8."
    (tie,) = answers(training=sizes, sweeps=[replace(sweep, spread=replace(spread, p=0.4))], inference=[])
    assert tie.sentence.startswith("No effect of batch size shown: sizes differ by 27 %, repeats of one size by 5.0 %.")


def test_sizes_on_a_busy_host_are_undecided() -> None:
    sweep = Sweep("cpu", None, 1, 2, None, None, [], [])
    (card,) = answers(training=[size(4, disturbed_repeats=2)], sweeps=[sweep], inference=[])
    assert card.figure == "undecided" and "busy" in card.sentence


def test_energy_is_a_card_where_it_was_measured() -> None:
    figures = {"energy_per_token": Estimate(0.42, 0.40, 0.45, 5)}
    *_, card = answers(judged(), inference=[replace(row("a"), figures=figures), row("b")])
    assert card.figure == "0.42 J" and card.sentence == "Alpha took 0.42 J per output token."


def test_training_tells_what_a_sample_takes() -> None:
    sizes = [size(4, joules_per_sample=2.5, joules_per_sample_lowest=2.4, joules_per_sample_highest=2.6)]
    sweep = Sweep("cpu", None, 1, 0, None, None, [], [])
    *_, card = answers(training=sizes, sweeps=[sweep], inference=[])
    assert card.figure == "2.5 J" and card.interval and card.interval.text == "its runs: 2.4 to 2.6 J"


def test_there_are_at_most_four_cards() -> None:
    assert len(answers(*(judged(cell=f"c{n}") for n in range(6)))) == MOST_CARDS


def test_nothing_measured_is_no_card_and_no_chart() -> None:
    assert cards(EMPTY) == [] and charts(EMPTY) == []


def test_a_maximum_that_lies_beyond_what_was_tried_is_a_bound() -> None:
    ends = {"a": (8, None), "b": (None, 1), "c": (4, 6)}
    found = {
        name: SearchResult(
            "concurrency", "success>0.9", holds, fails, (), 9, 90, (), ("busy host: more may be possible",)
        )
        for name, (holds, fails) in ends.items()
    }
    searches = [SearchRecord(name, "users", "measured", result=result) for name, result in found.items()]
    (card,) = answers(searches=searches, inference=[])
    assert card.figure == "≥ 8 · < 1 · 4"
