"""Tables: digits, escapes, and nothing that is missing goes unnamed."""

import csv
import dataclasses
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.economy import economy
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import RESTS_ON_CHANCE, Estimate
from accelbench.analysis.load import Load
from accelbench.analysis.percentiles import Percentiles
from accelbench.analysis.training import TrainingRow
from accelbench.analysis.training import training_rows as summarise_training
from accelbench.config import Endpoint, GoodputLimits
from accelbench.report.inference_tables import Grid, comparison, details, no_intervals
from accelbench.report.summary import Summary
from accelbench.report.tables import inference_markdown, write_tables
from accelbench.report.text import as_written, csv_text, interval, latex, markdown, number
from accelbench.report.training_tables import training_markdown
from accelbench.store.records import InferRoundRecord, ParsedLog, TrainRunRecord

from ..analysis.records import failed, measured, request, rows_of, side, spanned
from .summaries import summary_of


def cells_of(table: str) -> dict[str, list[str]]:
    """Return the rows of the Markdown tables in a text by their first cell."""
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def lines_of(grid: Grid) -> dict[str, list[str]]:
    """Return the rows of a grid by their metric."""
    return {metric: cells for metric, *cells in grid.body}


# --- figures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (0.0, "0"),
        (1234567, "1,234,567"),
        (1.23456, "1.23"),
        (9.996, "10.0"),
        (0.99999, "1.00"),
        (0.000123456, "0.000123"),
        (12345.6, "12,346"),
        (-1.23456, "-1.23"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_a_figure_has_three_significant_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


@given(st.floats(1e-6, 1e9), st.integers(2, 6))
def test_a_figure_is_right_to_its_last_digit(value: float, digits: int) -> None:
    shown = number(value, digits)
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))
    if value < 0.9:
        assert len(shown.lstrip("0.")) == digits


def test_an_estimate_is_shown_with_its_interval_or_without_one() -> None:
    assert interval(Estimate(2.0, 1.5, 2.5, 20)) == "2.00 (1.50 to 2.50)"
    assert interval(Estimate(2.0, None, None, 4, "4 rounds")) == "2.00 (no interval)"
    assert interval(None) == "–"


# --- Markdown -----------------------------------------------------------------------------------------------


def test_a_bar_in_a_cell_is_escaped_and_a_line_break_folded() -> None:
    table = markdown(["a|b", "c"], [["1", "two\nlines"]])
    assert table.splitlines()[0].startswith("| a\\|b |")
    assert "| two lines |" in table
    assert len(table.splitlines()) == 3


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=4))
def test_every_row_of_a_table_has_every_column(body: list[list[str]]) -> None:
    lines = markdown(["x", "y"], body).split("\n")
    assert len(lines) == len(body) + 3
    assert {line.replace("\\|", "").count("|") for line in lines[:-1]} == {3}


def asked_of(
    *requests: object, endpoints: tuple[str, ...] = ("one", "two"), baseline: str = "one"
) -> list[InferenceRow]:
    return rows_of([measured(name) for name in endpoints], requests, {"load": Load("load", 1)}, baseline, 60.0)  # type: ignore[arg-type]


def test_endpoints_stand_side_by_side_under_their_labels() -> None:
    table = inference_markdown(asked_of(request(), request(endpoint="two")), {"one": "First | best"}, "SQuAD")
    header = next(line for line in table.replace("\\|", "/").splitlines() if line.startswith("| metric"))
    assert [cell.strip() for cell in header.split("|")[2:-1]] == ["First / best, baseline", "two", "two ÷ baseline"]
    assert "Questions: SQuAD" in table


def test_speeds_say_of_what() -> None:
    found = cells_of(inference_markdown(asked_of(request(), request(endpoint="two")), {}, "SQuAD"))
    assert found["throughput per request (total tok/s)"][0] == "50.0"
    assert found["throughput per request (output tok/s)"][0] == "5.00"
    assert found["mean latency (s)"][0] == "2.00"


def test_the_baseline_is_marked_even_where_another_endpoint_has_no_ratio() -> None:
    grid = comparison(asked_of(failed(), request(endpoint="two"), baseline="two"), {})
    assert grid.header == ["metric", "one", "one ÷ baseline", "two, baseline"]
    assert lines_of(grid)["mean latency (s)"] == ["–", "–", "2.00"]


def test_each_endpoint_stands_beside_its_ratios_where_they_mean_something() -> None:
    requests = [
        request(endpoint=name, round=number, key=f"p{n}", passage=f"p{n}", e2e_s=e2e_s, completion_tokens=tokens)
        for number in (1, 2, 3)
        for n in range(5)
        for name, e2e_s, tokens in (("one", 2.0, 10), ("two", 3.0, 30), ("three", 1.0, 10))
    ]
    grid = comparison(asked_of(*requests, endpoints=("one", "two", "three")), {"one": "First"})
    assert grid.header == ["metric", "First, baseline", "two", "two ÷ baseline", "three", "three ÷ baseline"]
    found = lines_of(grid)
    assert found["mean latency (s)"] == ["2.00", "3.00", "1.50 (1.50 to 1.50)", "1.00", "0.500 (0.500 to 0.500)"]
    assert found["throughput per request (output tok/s)"][1:3] == ["10.0", "2.00 (2.00 to 2.00)"]
    assert found["response length (output tokens)"][1:3] == ["30.0", "3.00 (3.00 to 3.00)"]
    assert found["median latency (s)"] == ["2.00", "3.00", "–", "1.00", "–"]
    assert found["exact match"][2] == "–"


def test_one_endpoint_alone_has_no_ratios() -> None:
    grid = comparison(asked_of(request(), endpoints=("one",)), {})
    assert grid.header == ["metric", "one"]
    assert not any("baseline" in note for note in grid.notes)


def test_reasoning_gives_answer_tokens_and_ttfat_their_own_rows() -> None:
    plain, thinking = request(), request(key="b", reasoning="so", reasoning_tokens=6, ttfat_s=1.5)
    without, with_ = (comparison(asked_of(asked, endpoints=("one",)), {}) for asked in (plain, thinking))
    assert "No answer contained reasoning, so TTFAT equals TTFT, and answer tok/s equal output tok/s." in without.notes
    assert not {"TTFAT, median (s)", "throughput per request (answer tok/s)"} & lines_of(without).keys()
    assert lines_of(with_)["TTFAT, median (s)"] == ["1.50"]
    assert lines_of(with_)["throughput per request (output tok/s)"] == ["5.00"]
    assert lines_of(with_)["throughput per request (answer tok/s)"] == ["2.00"]
    assert with_.notes == []


def test_goodput_has_its_rows_where_limits_are_stated() -> None:
    rows = asked_of(request(), request(key="b", e2e_s=9.0), endpoints=("one",))
    asked = [spanned(0, 1, 10), spanned(1, 3, 10)]
    server = Endpoint(base_url="http://h/v1", model="m")  # type: ignore[arg-type]
    found = economy(rows[0], server, GoodputLimits(e2e_s=2.0), side("one", asked))
    grid = comparison(rows, {}, [found])
    assert lines_of(grid)["met all limits"] == ["1/2"]
    assert lines_of(grid)["goodput (requests per s that met all limits)"] == [number(found.goodput_per_s)]
    assert "goodput counts E2E ≤ 2 s" in grid.notes
    assert "met all limits" not in lines_of(comparison(rows, {}))


def test_itl_is_shown_in_milliseconds_with_the_percentiles_that_its_gaps_support() -> None:
    times_s = [0.5, *(0.5 + n / 100 for n in range(1, 11))]  # ten gaps of 10 ms
    rows = asked_of(request(event_times_s=times_s), endpoints=("one",))
    assert lines_of(comparison(rows, {}))["ITL, median (ms)"] == ["10.0"]
    assert lines_of(details(rows, {}))["ITL p50, p90, p95, p99, max (ms), of all gaps"] == ["10.0, 10.0, –, –, 10.0"]


def test_failures_and_missing_rounds_are_named() -> None:
    rounds = [measured(), InferRoundRecord("one", "load", 2, "failed", "one is gone")]
    rows = rows_of(rounds, [request(), failed(key="b")], {"load": Load("load", 1)}, None, 60.0)
    table = inference_markdown(rows, {"one": "First"}, "SQuAD")
    assert cells_of(table)["success"] == ["1/2"]
    assert "First: 1 connection" in table
    assert "First: round 2 failed: one is gone" in table


def asked_in(rounds: int, planned: int, passages: int = 5) -> list[InferenceRow]:
    records = [
        measured(round_no=n) if n <= rounds else InferRoundRecord("one", "load", n, "missing", "?")
        for n in range(1, planned + 1)
    ]
    requests = [request(round=n, key=f"p{p}", passage=f"p{p}") for n in range(1, rounds + 1) for p in range(passages)]
    return rows_of(records, requests, {"load": Load("load", 1)}, None, 60.0)


@pytest.mark.parametrize(
    ("rounds", "planned", "what_to_do"),
    [
        (1, 1, "3 rounds are needed; there was 1: set rounds: 3 and run again, which measures only the 2 new ones."),
        (2, 2, "3 rounds are needed; there were 2: set rounds: 3 and run again, which measures only the 1 new one."),
        (1, 3, "3 rounds are needed; there was 1: run again, which measures only the 2 missing rounds."),
    ],
)
def test_without_an_interval_it_is_said_what_would_give_one(rounds: int, planned: int, what_to_do: str) -> None:
    table = inference_markdown(asked_in(rounds, planned), {"one": "First"}, "SQuAD")
    assert f"No interval for First: {what_to_do}" in table


def test_more_rounds_are_no_help_where_passages_are_few() -> None:
    (said,) = no_intervals(asked_in(3, 3, passages=1), {})
    assert said == (
        "No interval for one: only one passage, which says nothing about other texts. "
        "5 passages are needed; increase requests to ask about more passages."
    )


def test_more_passages_are_no_advice_where_rounds_were_left_out() -> None:
    (some,) = asked_in(3, 3)
    figures = some.figures | {"typical_latency": Estimate(1.0, None, None, 10, "5 passages and 2 rounds")}
    assert no_intervals([dataclasses.replace(some, busy_rounds=(3,), figures=figures)], {}) == [
        "No interval for one: 5 passages and 2 rounds. 1 round on a busy host counted for nothing."
    ]


def test_more_passages_are_no_advice_where_stragglers_are_the_reason() -> None:
    estimate = Estimate(1.0, None, None, 50, f"1 of 50 lie far from the others: {RESTS_ON_CHANCE}")
    rows = [dataclasses.replace(row, figures=row.figures | {"typical_latency": estimate}) for row in asked_in(3, 3)]
    assert no_intervals(rows, {}) == [f"No interval for one: {estimate.why_no_interval}."]


def test_files_that_were_compared_are_not_told_to_set_rounds() -> None:
    assert no_intervals(asked_in(1, 1), {}, planned=False) == ["No interval for one: 3 rounds are needed; there was 1."]


def test_enough_rounds_and_passages_need_no_excuse() -> None:
    assert no_intervals(asked_in(3, 3), {}) == []


def test_an_endpoint_without_any_answer_has_its_column() -> None:
    found = cells_of(inference_markdown(asked_of(request()), {}, "SQuAD"))
    assert found["success"] == ["1/1", "0/0", "–"]
    assert found["median latency (s)"] == ["2.00", "–", "–"]


def run(repeat: int = 1, batch_size: int = 4, samples: int = 200) -> TrainRunRecord:
    log = ParsedLog(steady_rate_samples_per_s=10.0 + repeat, processed_samples=samples, processed_seconds=20.0)
    return TrainRunRecord("p", batch_size, repeat, "measured", None, seed=1, log=log, trainer={"sequence_length": 128})


def test_repeats_are_shown_with_their_range() -> None:
    table = training_markdown(summarise_training([run(1), run(2)]), {"p": "CPU"})
    assert cells_of(table)["CPU"][:2] == ["4", "2/2"]
    assert "11.5 (11.0–12.0)" in table
    assert "has no uncertainty" not in table


def test_a_single_run_is_said_to_have_no_uncertainty() -> None:
    assert "A figure from one run (1/…) has no uncertainty." in training_markdown(summarise_training([run()]), {})


def test_losses_at_different_amounts_of_data_are_said_to_be_incomparable() -> None:
    note = "can't be compared"
    assert note in training_markdown(summarise_training([run(), run(batch_size=8, samples=400)]), {})
    assert note not in training_markdown(summarise_training([run(), run(batch_size=8)]), {})


def test_losses_from_differently_drawn_weights_are_said_to_be_incomparable() -> None:
    def runs(cpu: str) -> list[TrainingRow]:
        wafer = dataclasses.replace(run(), platform="wafer", initial_weights="modelzoo")
        return summarise_training([dataclasses.replace(run(), initial_weights=cpu), wafer])

    note = "those of CPU were drawn from a single normal"
    assert note in training_markdown(runs("normal"), {"p": "CPU", "wafer": "CS-3"})
    assert note not in training_markdown(runs("modelzoo"), {"p": "CPU", "wafer": "CS-3"})


def test_a_missing_run_is_named() -> None:
    records = [run(), TrainRunRecord("p", 4, 2, "failed", "out of memory")]
    table = training_markdown(summarise_training(records), {"p": "CPU"})
    assert cells_of(table)["CPU"][1] == "1/2"
    assert "CPU, batch 4: r2 failed: out of memory" in table


def test_what_an_endpoint_sent_instead_of_an_answer_is_no_html_in_the_notes():
    rounds = [measured("one", 1), InferRoundRecord("one", "load", 2, "failed", "<script src=x></script>")]
    requests = [request()]
    rows = rows_of(rounds, requests, {"load": Load("load", 1)}, None, 60.0)
    text = inference_markdown(rows, {}, "questions")
    assert "&lt;script" in text and "<script" not in text


# --- CSV ----------------------------------------------------------------------------------------------------


@given(st.lists(st.fixed_dictionaries({"a": st.text(st.characters(exclude_characters="\r\0")), "b": st.floats(0, 1)})))
def test_csv_round_trips_at_full_precision(rows: list[dict[str, object]]) -> None:
    back = list(csv.DictReader(io.StringIO(csv_text(rows, ["a", "b"]))))
    assert [(as_written(row["a"]), float(row["b"])) for row in back] == [(row["a"], row["b"]) for row in rows]


def summary(rounds: list[InferRoundRecord], *requests: object) -> Summary:
    return summary_of(
        rounds,
        requests,  # type: ignore[arg-type]
        rows_of(rounds, requests, {"load": Load("load", 1)}, None, 60.0),  # type: ignore[arg-type]
        training=summarise_training([run(), TrainRunRecord("p", 8, 1, "missing", "not run yet")]),
        prompts={"questions": {"source": {"name": "mine"}}},
    )


def test_all_tables_are_written_with_one_column_per_figure(tmp_path: Path) -> None:
    write_tables(tmp_path, summary([measured()], request(answer="two\nlines, and a comma"), failed(key="b")))
    (row,) = csv.DictReader((tmp_path / "inference.csv").open())
    assert (row["latency_n"], row["latency_median"], row["typical_latency_why_no_interval"][:16]) == (
        "1",
        "2.0",
        "only one passage",
    )
    assert row["ratio_to_baseline_typical_latency_value"] == ""
    assert (row["latency_percentiles_p95_value"], row["itl_median"]) == ("", "")
    assert (row["baseline"], row["failures"]) == ("one", "1 connection")
    requests = list(csv.DictReader((tmp_path / "requests.csv").open(newline="")))
    assert [r["class_"] for r in requests] == ["ok", "connection"]
    assert requests[0]["answer"] == "two\nlines, and a comma"
    training = list(csv.DictReader((tmp_path / "training.csv").open()))
    assert [r["missing"] for r in training] == ["", "r1 missing: not run yet"]
    assert "mine" in (tmp_path / "inference.md").read_text()
    assert "not run yet" in (tmp_path / "training.md").read_text()


def test_without_any_row_the_headers_are_still_there(tmp_path: Path) -> None:
    write_tables(tmp_path, summary([]))
    assert (tmp_path / "inference.csv").read_text().startswith("endpoint,cell,concurrency")
    assert (tmp_path / "inference.md").read_text() == "No endpoints are planned.\n"


def test_a_second_table_holds_the_tails_and_leaves_out_what_says_nothing() -> None:
    good = [request(key=f"p{n}") for n in range(8)]
    table = inference_markdown(asked_of(*good, failed(key="x"), failed(key="y"), endpoints=("one",)), {}, "SQuAD")
    found = cells_of(table)
    assert found["E2E p50 (s), 95 % interval"] == ["n too small; max 2.00"]
    assert "E2E p90 (s), 95 % interval" not in found
    assert found["E2E of all, failures as ∞: p50, p90, p95, p99 (s)"] == ["2.00, ∞, –, –"]
    assert "arrivals per s: configured, drawn, sent" not in found
    whole = cells_of(inference_markdown(asked_of(*good, endpoints=("one",)), {}, "SQuAD"))
    assert "E2E of all, failures as ∞: p50, p90, p95, p99 (s)" not in whole


def test_percentiles_stand_with_their_intervals_up_to_the_first_that_n_does_not_reach() -> None:
    asked = [
        request(round=number, key=f"p{n}", passage=f"p{n}", e2e_s=1 + (13 * n + number) % 40 / 40)
        for number in (1, 2, 3)
        for n in range(20)
    ]
    records = [measured(round_no=number) for number in (1, 2, 3)]
    rows = rows_of(records, asked, {"load": Load("load", 1)}, None, 60.0)
    found = lines_of(details(rows, {}))
    row, latency = rows[0].figures["latency_percentiles"], rows[0].latency
    assert isinstance(row, Percentiles) and latency is not None and row.p50.value == latency.median
    p50 = f"{number(latency.median)} ({number(row.p50.low)} to {number(row.p50.high)})"
    assert found["E2E p50 (s), 95 % interval"] == [p50]
    first_out = next(p for p in ("p90", "p95", "p99") if getattr(row, p).value is None)
    assert found[f"E2E {first_out} (s), 95 % interval"] == [f"n too small; max {number(row.p50.max)}"]
    assert "E2E p99 (s), 95 % interval" not in found


def test_labels_of_a_load_stand_under_its_table() -> None:
    rounds = [measured()]
    rows = rows_of(rounds, [request()], {"load": Load("load", 4)}, None, 60.0)
    assert "First: too short for a throughput: 0.25 requests per slot" in inference_markdown(
        rows, {"one": "First"}, "x"
    )


# --- LaTeX --------------------------------------------------------------------------------------------------


def test_a_latex_table_is_booktabs_with_what_latex_would_take_for_commands_escaped() -> None:
    assert latex("50 % of a_b", ["metric", "A & B"], [["x^2 \\ {n}", "~1 < 2 ÷ ∞ –"]]).splitlines() == [
        r"\begin{table}",
        r"\caption{50 \% of a\_b}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"metric & A \& B \\",
        r"\midrule",
        r"x\textasciicircum{}2 \textbackslash{} \{n\} & \textasciitilde{}1 \textless{} 2 $\div$ $\infty$ -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_latex_tables_stand_beside_the_markdown_with_the_same_cells(tmp_path: Path) -> None:
    write_tables(tmp_path, summary([measured()], request()))
    text = (tmp_path / "inference.tex").read_text()
    assert r"\caption{load: 1 at a time}" in text and r"mean latency (s) & 2.00 \\" in text
    assert r"\caption{Training by platform and batch size}" in (tmp_path / "training.tex").read_text()
