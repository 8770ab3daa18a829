"""Metrics: compared by hand, the coverage of their ratios' intervals, and that one entry is all that one takes."""

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelbench.analysis.inference import load_figures
from accelbench.analysis.intervals import Estimate, Proportion
from accelbench.analysis.load import Load
from accelbench.analysis.metrics import METRICS, Line, Metric, compared_means, judged_metrics, over_rounds, times_of
from accelbench.analysis.metrics import compared as compared_requests
from accelbench.analysis.pairs import pairs_of
from accelbench.analysis.sample import Side, sides_of
from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.tables import endpoints_text
from accelbench.report.page.document import write_page
from accelbench.report.tables import inference_csv, write_tables
from accelbench.report.terminal import load_table
from accelbench.store.files import write_jsonl
from accelbench.store.records import ClientFacts, RequestRecord
from accelbench.store.requests import Requests

from ..report.summaries import summary_of
from .records import all_near, asked_rounds, failed, measured, request, rows_of, sides, spanned


def side(*requests: RequestRecord) -> Side:
    return Side("one", "load", Requests.of(requests), slots=1)


def compared(ours: Sequence[RequestRecord], theirs: Sequence[RequestRecord]) -> dict[str, Estimate]:
    one, other = side(*ours), side(*theirs)
    met = all_near(one, other)
    found = {key: metric.compare(one, other, met) for key, metric in METRICS.items() if metric.compare}
    return {key: comparison.estimate() for key, comparison in found.items() if comparison}


OURS = [
    request(key="a", e2e_s=2.0, ttft_s=0.4, tpot_s=0.02, prompt_tokens=90, completion_tokens=10),
    request(key="b", e2e_s=4.0, ttft_s=0.1, tpot_s=0.04, prompt_tokens=30, completion_tokens=50),
]
THEIRS = [
    request(key="a", e2e_s=1.0, ttft_s=0.1, tpot_s=0.01, prompt_tokens=90, completion_tokens=20),
    request(key="b", e2e_s=1.0, ttft_s=0.1, tpot_s=0.01, prompt_tokens=30, completion_tokens=20),
]


def quotients(sides: Sequence[list[RequestRecord]], *names: str, why_not: str | None = None) -> Estimate | None:
    one, other = (side(*own) for own in sides)
    found = compared_means(*names)(one, other, all_near(one, other, why_not))
    return found and found.estimate()


def typical_rounds(ours: dict[int, float], theirs: dict[int, float], passages: int, *, paired: bool) -> Estimate | None:
    found = over_rounds(ours, theirs, passages, paired=paired)
    return found and found.estimate()


def value(found: Any) -> float:
    assert found is not None
    return float(found.value)


def test_each_metric_by_hand() -> None:
    found = compared(OURS, THEIRS)
    assert value(found["latency"]) == pytest.approx(3.0)  # (2 + 4) / 2 over 1
    assert value(found["typical_latency"]) == pytest.approx(math.sqrt(8))
    assert value(found["ttft"]) == pytest.approx(2.0)  # the typical one of 4 and 1
    assert value(found["tpot"]) == pytest.approx(math.sqrt(8))
    assert value(found["output_tok_per_s"]) == pytest.approx((60 / 6) / (40 / 2))
    assert value(found["total_tok_per_s"]) == pytest.approx((180 / 6) / (160 / 2))
    assert value(found["answer_tok_per_s"]) == pytest.approx((60 / 6) / (40 / 2))
    assert value(found["completion_tokens"]) == pytest.approx(1.5)


def test_only_prompts_that_both_answered_count() -> None:
    found = compared([*OURS, request(key="c", e2e_s=100.0)], [*THEIRS, failed(key="c")])
    assert "latency" in found
    assert (found["latency"].value, found["latency"].n) == (pytest.approx(3.0), 2)


def test_an_unknown_token_count_leaves_no_ratio_of_speeds() -> None:
    found = compared(OURS, [THEIRS[0], request(key="b", completion_tokens=None)])
    assert not {"output_tok_per_s", "completion_tokens"} & found.keys()
    assert "latency" in found


def test_times_of_batched_streams_are_not_compared() -> None:
    found = compared(OURS, [request(key=key, streaming="batched") for key in "ab"])
    assert not {"ttft", "tpot"} & found.keys()
    assert "typical_latency" in found


def test_throughput_is_compared_round_by_round() -> None:
    ours = [spanned(0, 1, 10, round=1), spanned(10, 1, 40, round=2)]
    theirs = [spanned(5, 1, 10, round=1), spanned(15, 1, 10, round=2)]
    found = compared(ours, theirs)
    assert (found["system_output_tok_per_s"].value, found["system_output_tok_per_s"].n) == (pytest.approx(2.0), 2)
    assert found["system_output_tok_per_s"].low is None


def test_the_interval_over_rounds_is_the_t_interval_of_logarithms() -> None:
    found = typical_rounds({1: 1.0, 2: math.e, 3: math.e**2}, dict.fromkeys((1, 2, 3), 1.0), 5, paired=True)
    assert found is not None and found.low is not None and found.high is not None
    half = 4.302653 / math.sqrt(3)  # t of 2 degrees of freedom, a deviation of 1
    assert math.log(found.value) == pytest.approx(1.0)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((1 - half, 1 + half), rel=1e-5)


@pytest.mark.parametrize(("by_round", "passages", "why"), [([2.0, 2.0], 9, "2 rounds"), ([2.0] * 4, 1, "one passage")])
def test_few_rounds_or_passages_give_no_interval(by_round: list[float], passages: int, why: str) -> None:
    numbered = dict(enumerate(by_round))
    found = typical_rounds(numbered, dict.fromkeys(numbered, 1.0), passages, paired=True)
    assert found is not None and found.low is None
    assert why in (found.why_no_interval or "")


def test_swapping_sides_inverts_ratio_and_interval() -> None:
    ours = asked_rounds("one", lambda tokens: 1 + tokens / 50)
    theirs = asked_rounds("two", lambda tokens: 2 + tokens / 100)
    one, other = compared(ours, theirs), compared(theirs, ours)
    for name in ("latency", "typical_latency", "output_tok_per_s"):
        here, there = one[name], other[name]
        assert (here.value, here.low, here.high) == pytest.approx((1 / there.value, 1 / there.high, 1 / there.low))


def test_the_interval_of_a_ratio_of_means_covers() -> None:
    draw, simulations, covered = np.random.default_rng(3), 400, 0
    for _ in range(simulations):
        passages = draw.normal(0, 0.3, 12)
        sides = []
        for typical in (3.0, 2.0):
            noise = draw.normal(0, 0.3, (4, 12)) + draw.normal(0, 0.1, (4, 1))
            took_s = (typical * np.exp(passages + noise)).tolist()
            cells = [(r, p) for r in range(4) for p in range(12)]
            sides.append([request(round=r, key=f"{r}.{p}", passage=f"p{p}", e2e_s=took_s[r][p]) for r, p in cells])
        found = quotients(sides, "e2e_s")
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= 1.5 <= found.high
    assert 0.93 <= covered / simulations <= 0.995


@pytest.mark.parametrize(("later_s", "paired"), [(1.0, True), (900.0, False)])
def test_a_table_and_a_verdict_have_one_interval_for_one_ratio(later_s: float, paired: bool) -> None:
    timed = {"ttft_s": 0.4, "streaming": "faithful"}
    ours = asked_rounds("one", lambda tokens: 1 + tokens / 50 + tokens % 7, start_s=later_s, **timed)
    theirs = asked_rounds("two", lambda tokens: 2 + tokens / 100, **timed)
    rounds = [measured(name, number) for name in ("one", "two") for number in range(1, 6)]
    (verdict,) = pairs_of(rounds, sides(rounds, [*ours, *theirs]), "two", 60.0)
    row = next(
        r for r in rows_of(rounds, [*ours, *theirs], {"load": Load("load", 1)}, "two", 60.0) if r.endpoint == "one"
    )
    assert verdict.paired is paired
    assert row.ratio_to_baseline is not None
    for metric, name in (("e2e_s", "typical_latency"), ("ttft_s", "ttft")):
        shown, said = row.ratio_to_baseline[name], verdict.tested[metric]
        assert (shown.value, shown.low, shown.high, shown.n) == (said.value, *(said.interval() or ()), said.n)


def test_pairs_that_did_not_meet_are_left_out_of_every_ratio() -> None:
    ours = asked_rounds("one", lambda tokens: 3.0)
    theirs = asked_rounds("two", lambda tokens: 2.0)
    theirs[0] = replace(theirs[0], sent_unix_s=1e9 + 5000, e2e_s=400.0)
    rounds = [measured(name, number) for name in ("one", "two") for number in range(1, 6)]
    _, row = sorted(
        rows_of(rounds, [*ours, *theirs], {"load": Load("load", 1)}, "two", 60.0),
        key=lambda r: r.endpoint == "one",
    )
    assert row.ratio_to_baseline is not None
    for found in (row.ratio_to_baseline["latency"], row.ratio_to_baseline["typical_latency"]):
        assert found is not None
        assert (found.value, found.n) == (pytest.approx(1.5), len(ours) - 1)


def test_rounds_that_did_not_meet_are_two_samples() -> None:
    ours, theirs = {1: 1.0, 2: math.e, 3: math.e**2}, dict.fromkeys(range(4), 1.0)
    found = typical_rounds(ours, theirs, 5, paired=False)
    assert found is not None and found.low is not None and found.high is not None
    assert (math.log(found.value), found.n) == (pytest.approx(1.0), 7)
    half = 4.302653 / math.sqrt(3)  # all of the variance is ours, and so are the degrees of freedom
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((1 - half, 1 + half), rel=1e-5)


def test_the_interval_of_a_ratio_of_separate_speeds_covers_at_the_smallest_n() -> None:
    draw, simulations, covered = np.random.default_rng(7), 600, 0
    for _ in range(simulations):
        sides = []
        for per_token_s in (0.03, 0.02):
            tokens = np.exp(draw.normal(4, 0.3, 5))[None, :] * np.exp(draw.normal(0, 0.1, (3, 5)))
            took_s = per_token_s * tokens * np.exp(draw.normal(0, 0.1, (3, 5)) + draw.normal(0, 0.1, (3, 1)))
            sides.append(
                [
                    request(
                        round=r, key=f"{r}.{p}", passage=f"p{p}", completion_tokens=round(tokens[r, p]),
                        e2e_s=float(took_s[r, p]),
                    )
                    for r in range(3)
                    for p in range(5)
                ]
            )  # fmt: skip
        found = quotients(sides, "completion_tokens", "e2e_s", why_not="apart")
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= 2 / 3 <= found.high
    assert 0.93 <= covered / simulations <= 0.995


# --- one entry ----------------------------------------------------------------------------------------------


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the server's own time, as docs/extending.md shows."""
    made = Metric(
        key="server",
        label="server time",
        value=times_of("server_s"),
        lines=[Line("server time, median (s)", "median", ["comparison", "overview"])],
        columns=["median", "p99"],
        compare=compared_requests("server_s"),
        ratio_column=True,
        tested_as="server_s",
        in_load="server_s",
    )
    monkeypatch.setitem(METRICS, made.key, made)


def served(name: str, server_s: float) -> list[RequestRecord]:
    return asked_rounds(name, lambda tokens: 3.0, server_s=server_s)


def test_what_a_reused_prefix_brings_is_its_ttft_over_that_of_new_ones() -> None:
    requests = [
        request(
            key=f"{reused} {n}",
            round=round_no,
            passage=f"{n}",
            prefix_reused=reused,
            ttft_s=(0.2 if reused else 0.8) * (1 + 0.02 * n),
            prompt_tokens=100,
            cached_tokens=75 if reused else 0,
        )
        for round_no in (1, 2, 3)
        for reused in (False, True)
        for n in range(6)
    ]
    (row,) = rows_of([measured(round_no=n) for n in (1, 2, 3)], requests, {"load": Load("load", 1)}, None, 60.0)
    effect, cached = row.figures["prefix_effect"], row.figures["reused_prefix_cached"]
    assert isinstance(effect, Estimate) and isinstance(cached, Proportion)
    assert effect.value == pytest.approx(0.25) and effect.low and effect.high and effect.low < 0.25 < effect.high
    assert (cached.value, row.figures["new_prefix_cached"].value) == (0.75, 0.0)  # type: ignore[union-attr]


def test_times_are_told_by_turn() -> None:
    requests = [request(key=f"{n}", turn=n, turns=2, ttft_s=0.1 * n, prompt_tokens=10, cached_tokens=n) for n in (1, 2)]
    (row,) = rows_of([measured()], requests, {"load": Load("load", 1)}, None, 60.0)
    assert [value(row.figures[f"turn_{n}_ttft"]) for n in (1, 2)] == pytest.approx([0.1, 0.2])
    assert [value(row.figures[f"turn_{n}_cached"]) for n in (1, 2)] == pytest.approx([0.1, 0.2])
    assert "turn_3_ttft" not in row.figures


def test_without_prefixes_nothing_is_said_of_them() -> None:
    (row,) = rows_of([measured()], [request()], {"load": Load("load", 1)}, None, 60.0)
    assert not [key for key in row.figures if "prefix" in key or "turn" in key]


@pytest.mark.usefixtures("toy")
def test_a_metric_of_one_entry_stands_in_all_tables_and_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host = {"name": "box", "cpu": "Xeon", "cores": 2, "load_1min": 0.5}
    rounds = [replace(measured(name, number), host=host) for name in ("one", "two") for number in range(1, 6)]
    requests = [*served("one", 1.0), *served("two", 1.5)]
    rows = rows_of(rounds, requests, {"load": Load("load", 1)}, "one", 60.0)
    shown = summary_of(rounds, requests, rows)
    write_tables(tmp_path, shown)
    write_page(tmp_path, shown)
    _, two = csv.DictReader((tmp_path / "inference.csv").open())
    assert float(two["server_median"]) == 1.5
    assert float(two["ratio_to_baseline_server_value"]) == pytest.approx(1.5)
    for file in ("inference.md", "inference.tex", "report.html"):
        assert "server time, median (s)" in (tmp_path / file).read_text()


@pytest.mark.usefixtures("toy")
def test_a_metric_of_one_entry_is_compared_and_judged(tmp_path: Path) -> None:
    for name, server_s in (("one", 1.0), ("two", 1.5)):
        write_jsonl(tmp_path / name / "requests.jsonl", served(name, server_s))
    found = compare_endpoints([tmp_path / "one", tmp_path / "two"])
    assert [side.metrics["server"].median for side in found.document.sides] == [1.0, 1.5]
    assert found.document.pairs[0].metrics["server"].value == pytest.approx(1.5)
    assert "server time" in " ".join(found.verdicts)
    assert "| server time, median (s) " in endpoints_text(found, full=True)


@pytest.mark.usefixtures("toy")
def test_a_metric_of_one_entry_is_in_what_load_prints() -> None:
    client = ClientFacts(lag_p99_s=None, cpu_share=None, limited=None)
    figures = load_figures(Requests.of(served("one", 1.0)), client, slots=1)
    assert figures.time("server_s").median == 1.0
    assert "| server time " in load_table(figures)


def test_inference_csv_is_narrow_enough_to_be_read() -> None:
    assert len(inference_csv([]).split(",")) <= 90


def test_every_metric_that_is_tested_has_a_name() -> None:
    assert all(metric.label for metric in judged_metrics().values())


# --- the baseline -------------------------------------------------------------------------------------------


def test_where_the_baseline_failed_tables_and_verdicts_compare_the_same_two() -> None:
    lost = [replace(measured("one", number), state="failed", why="is gone") for number in range(1, 6)]
    rounds = [*lost, *(measured(name, number) for name in ("two", "three") for number in range(1, 6))]
    requests = [*asked_rounds("two", lambda tokens: 2.0), *asked_rounds("three", lambda tokens: 3.0)]
    loads = {"load": Load("load", 1)}
    (pair,) = pairs_of(rounds, sides_of(rounds, Requests.of(requests), loads), "one", 60.0)
    rows = {row.endpoint: row for row in rows_of(rounds, requests, loads, "one", 60.0)}
    assert pair.name[:2] == ("three", rows["three"].baseline)
    assert rows["three"].ratio_to_baseline == pair.ratios
    assert rows["one"].ratio_to_baseline is rows["two"].ratio_to_baseline is None
