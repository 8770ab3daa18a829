"""All plots are always there, honest about what they lack, and the same bytes for the same figures."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.load import Load
from accelbench.analysis.training import training_rows as summarise_training
from accelbench.report.plots import PLOTS, style, write_plots
from accelbench.report.plots.style import MOST_PANELS, spread_out
from accelbench.report.summary import Summary
from accelbench.store.records import InferRoundRecord, RequestRecord, TrainRunRecord

from ...analysis.records import log_of
from ...analysis.records import rows_of as rows_of_records
from ..summaries import summary_of


def run(batch: int, repeat: int, **changes: object) -> TrainRunRecord:
    steps = [{"step": step, "loss": 9.0 - step / 10} for step in (5, 10, 15)]
    rates = {"steady_rate_samples_per_s": 40.0 + batch, "global_rate_samples_per_s": 39.0}
    totals = {"processed_samples": 15 * batch, "processed_seconds": 3.0}
    log = {**rates, **totals, "steps": steps, "held_out": [{"step": 15, "t_s": None, "loss": 7.8}]}
    return replace(TrainRunRecord("cpu", batch, repeat, "measured", None, log=log_of(log)), **changes)


def request(endpoint: str, number: int, **changes: object) -> RequestRecord:
    made = RequestRecord(
        endpoint=endpoint, cell="one", round=1, key=f"q{number}", attempt=1, last_attempt=True, session=1,
        warm_up=False, article=None, passage=None, class_="ok", http_status=200, error_text=None,
        dequeued_unix_s=float(number), sent_unix_s=float(number), end_unix_s=number + 1.0, ttft_s=0.1, ttfat_s=None,
        tpot_s=0.01, e2e_s=0.2 + number / 10, events=None, prompt_tokens=9, completion_tokens=5 + number,
        finish_reason="stop", answer="yes", reasoning="", golds=[], exact_match=None, f1=None, contains_gold=None,
        server_timings={},
    )  # fmt: skip
    return replace(made, **changes)


def summary(
    runs: list[TrainRunRecord], requests: list[RequestRecord], absent: list[InferRoundRecord] | None = None
) -> Summary:
    endpoints = dict.fromkeys(r.endpoint for r in requests)
    rounds = [InferRoundRecord(name, "one", 1, "measured", None) for name in endpoints] + (absent or [])
    rows = rows_of_records(rounds, requests, {"one": Load("one", 1)}, None, 60.0)
    training = summarise_training(runs)
    return summary_of(rounds, requests, rows, runs=runs, training=training, labels={"a": "Alpha $x$ <b>"})


def svg(folder: Path, name: str) -> str:
    return (folder / f"{name}.svg").read_text()


FULL = ([run(4, 1), run(4, 2), run(16, 1)], [request(e, n) for e in "ab" for n in range(9)])


@pytest.mark.parametrize("half", ["both", "training", "inference", "neither"])
def test_all_files_are_written_whatever_there_is(tmp_path, half):
    runs, requests = FULL
    out = tmp_path / "plots"
    write_plots(
        out, summary(runs if half in ("both", "training") else [], requests if half in ("both", "inference") else [])
    )
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{n}.{k}" for n in PLOTS for k in ("png", "svg"))


def test_the_same_figures_give_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        write_plots(tmp_path / folder, summary(*FULL))
    for name in PLOTS:
        assert svg(tmp_path / "one", name) == svg(tmp_path / "two", name)


def test_a_half_without_data_says_so(tmp_path):
    write_plots(tmp_path, summary([], []))
    assert "No training runs were measured." in svg(tmp_path, "rate_vs_batch_size")
    assert "No requests were measured." in svg(tmp_path, "latency_by_request")


def test_failed_runs_and_missing_rounds_are_named(tmp_path):
    failed = TrainRunRecord("cpu", 64, 1, "failed", "out of memory")
    gone = InferRoundRecord("a", "one", 2, "missing", "not measured yet")
    write_plots(tmp_path, summary([run(4, 1), failed], [request("a", 1)], [gone]))
    assert "Not measured: cpu batch 64 repeat 1 (failed)." in svg(tmp_path, "loss_curves")
    assert "Not measured: a one round 2 (missing)." in svg(tmp_path, "latency_by_request")


def test_failed_requests_are_counted_and_cost_no_latency(tmp_path):
    requests = [request("a", 1), request("a", 2, class_="http_5xx", e2e_s=None, completion_tokens=None)]
    write_plots(tmp_path, summary([], requests))
    assert "n = 2, median 0.300 s, failed: 1 http_5xx" in svg(tmp_path, "latency_by_request")


def test_requests_that_all_failed_are_still_shown(tmp_path):
    write_plots(tmp_path, summary([], [request("a", n, class_="connection", e2e_s=None) for n in range(3)]))
    assert "none succeeded" in svg(tmp_path, "latency_by_request")
    assert "No request succeeded." in svg(tmp_path, "latency_vs_tokens")


def test_warm_up_is_left_out(tmp_path):
    write_plots(tmp_path, summary([], [request("a", 1), request("a", 2, warm_up=True)]))
    assert "n = 1," in svg(tmp_path, "latency_by_request")


def test_answers_without_a_token_count_are_said_to_be_left_out(tmp_path):
    write_plots(tmp_path, summary([], [request("a", 1), request("a", 2, completion_tokens=None)]))
    assert "Left out: 1 answers without a token count" in svg(tmp_path, "latency_vs_tokens")


@pytest.mark.parametrize(("count", "vary", "drawn"), [(8, True, True), (7, True, False), (8, False, False)])
def test_a_line_needs_eight_requests_of_varying_length(tmp_path, count, vary, drawn):
    requests = [request("a", n, completion_tokens=5 + n if vary else 5) for n in range(count)]
    write_plots(tmp_path, summary([], requests))
    assert ("least squares" in svg(tmp_path, "latency_vs_tokens")) is drawn


def test_a_loss_that_is_nan_is_counted_not_drawn(tmp_path):
    steps = [{"step": 5, "loss": 9.0}, {"step": 10, "loss": "nan"}]
    write_plots(tmp_path, summary([run(4, 1, log=log_of({"steps": steps}))], []))
    assert "1 of the logged losses, which are nan or infinite" in svg(tmp_path, "loss_curves")
    assert "No log has a steady rate" in svg(tmp_path, "rate_vs_batch_size")


def test_a_label_is_text_not_mathematics_or_markup(tmp_path):
    write_plots(tmp_path, summary(*FULL))
    assert "Alpha $x$ &lt;b&gt;" in svg(tmp_path, "latency_vs_tokens")


def test_an_endpoint_keeps_its_colour_without_the_other_half():
    assert style.looks(summary(*FULL))["b"] == style.looks(summary([], FULL[1]))["b"]


def test_platforms_and_endpoints_differ_in_colour():
    assert len({look.colour for look in style.looks(summary(*FULL)).values()}) == 3


def test_phases_are_shown_with_all_seconds_and_the_share_of_training(tmp_path):
    slow, fast = ({"phases_s": {"setup": s, "train": 6.0, "queue": None, "teardown": 0.001}} for s in (2.0, 6.0))
    write_plots(
        tmp_path, summary([run(4, 1, log=log_of(slow)), run(4, 2, log=log_of(fast)), run(8, 1, log=log_of(fast))], [])
    )
    text = svg(tmp_path, "phases_by_batch_size")
    assert "50 to 60 % of it was training" in text
    assert "10.0 s, 60 % training" in text and "12.0 s, 50 % training" in text
    assert "setup" in text and "queue" not in text and "teardown" not in text


def test_the_time_between_the_parts_of_a_resumed_run_is_no_part_of_its_bar(tmp_path):
    log = {"phases_s": {"setup": 2.0, "train": 6.0, "other": 600.0}, "between_parts_s": 600.0}
    write_plots(tmp_path, summary([run(4, 1, log=log_of(log))], []))
    assert "8.00 s, 75 % training" in svg(tmp_path, "phases_by_batch_size")


def test_a_log_without_times_has_no_phases(tmp_path):
    write_plots(tmp_path, summary([run(4, 1, log=log_of({"phases_s": {"train": None}}))], []))
    assert "No log has timestamps." in svg(tmp_path, "phases_by_batch_size")
    assert "nothing to draw" in svg(tmp_path, "phases_by_batch_size")


def test_many_loads_stand_side_by_side():
    for count, side_by_side in ((4, False), (5, True)):
        loads = {f"p{n}": Load(f"p{n}", 1) for n in range(count)}
        shown = shaped(loads, [request("a", n, cell=cell) for cell in loads for n in range(3)])
        for name in ("latency_by_request", "latency_vs_tokens"):
            visible = [axes.get_position() for axes in PLOTS[name].figure(shown).axes if axes.get_visible()]
            assert len(visible) == count
            assert bool(visible[0].y0 == visible[1].y0) is side_by_side


def test_a_fitted_line_is_a_curve_on_a_logarithmic_axis():
    long = {n: 5 + 100 * n for n in range(9)}
    shown = summary([], [request("a", n, completion_tokens=long[n], e2e_s=0.1 + 2 * n) for n in long])
    (axes,) = PLOTS["latency_vs_tokens"].figure(shown).axes
    (line,) = (line for line in axes.lines if line.get_linestyle() == "-")
    assert axes.get_yscale() == "log" and len(line.get_xdata()) > 2


def test_the_rules_read_the_list_of_plots_without_waiting_for_matplotlib():
    loaded = [sys.executable, "-c", "import sys, accelbench.report.plots; print('matplotlib' in sys.modules)"]
    assert subprocess.run(loaded, capture_output=True, text=True, check=True).stdout == "False\n"


def test_with_several_micro_batches_each_is_a_series_in_a_shade_of_its_platform(tmp_path):
    runs = [run(size, n, micro_batch_size=micro) for size in (4, 8) for micro in (2, 4) for n in (1, 2)]
    timed = [replace(r, log=replace(r.logged, phases_s={"train": 3.0})) for r in runs]
    write_plots(tmp_path, summary(timed, []))
    for name in ("rate_vs_batch_size", "phases_by_batch_size", "loss_curves"):
        drawn = svg(tmp_path, name)
        assert "cpu, micro batch 2<" in drawn and "cpu, micro batch 4<" in drawn
        assert "(2\N{NO-BREAK SPACE}runs\N{NO-BREAK SPACE}each)" in drawn
    light, dark = style.shades(style.looks(summary(timed, []))["cpu"].colour, 2)
    assert light in svg(tmp_path, "rate_vs_batch_size") and dark in svg(tmp_path, "rate_vs_batch_size")


def shaped(loads: dict[str, Load], requests: list[RequestRecord]) -> Summary:
    rounds = [InferRoundRecord("a", cell, 1, "measured", None) for cell in loads]
    own = [request for request in requests if request.cell in loads]
    return summary_of(rounds, own, rows_of_records(rounds, own, loads, None, 60.0))


def test_concurrencies_of_one_scenario_are_a_curve(tmp_path):
    loads = {f"p-c{slots}": Load("p", slots) for slots in (1, 2)}
    requests = [
        request("a", n, cell=f"p-c{slots}", sent_unix_s=1.0 + n // slots, end_unix_s=2.0 + n // slots, e2e_s=1.0)
        for slots in (1, 2)
        for n in range(4)
    ]
    write_plots(tmp_path, shaped(loads, requests))
    assert "Throughput by concurrency: " in svg(tmp_path, "throughput_by_concurrency")
    assert "requests in flight" in svg(tmp_path, "throughput_by_concurrency")
    write_plots(tmp_path, shaped({"p-c1": loads["p-c1"]}, requests))
    assert "nothing to draw" in svg(tmp_path, "throughput_by_concurrency")


def test_context_lengths_of_one_scenario_are_drawn_at_the_tokens_that_were_counted(tmp_path):
    loads = {f"long-in{asked}": Load("long", 1, context_tokens=asked) for asked in (100, 900)}
    requests = [request("a", n, cell=cell, prompt_tokens=load.context_tokens + 7) for n in range(3)
                for cell, load in loads.items()]  # fmt: skip
    write_plots(tmp_path, shaped(loads, requests))
    assert "TTFT by prompt length: 107 to 907" in svg(tmp_path, "ttft_by_prompt_tokens").replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_of_hundreds_of_loads_some_are_drawn_and_the_rest_is_named():
    loads = {f"p{n}": Load(f"p{n}", 1) for n in range(90)}
    shown = shaped(loads, [request("a", n, cell=cell) for cell in loads for n in range(3)])
    for name in ("latency_by_request", "latency_vs_tokens"):
        figure = PLOTS[name].figure(shown)
        assert len([axes for axes in figure.axes if axes.get_visible()]) == MOST_PANELS
        assert any("Drawn: 40 of 90 loads" in text.get_text() for text in figure.texts)


@given(st.integers(0, 300), st.integers(2, 50))
def test_what_is_drawn_is_spread_from_the_first_to_the_last(count, most):
    found = spread_out(range(count), most)
    assert found == sorted(set(found)) and len(found) == min(count, most)
    assert not count or (found[0], found[-1]) == (0, count - 1)


def test_of_hundreds_of_batch_sizes_some_are_drawn_and_the_rest_is_named(tmp_path):
    timed = [replace(r, log=replace(r.logged, phases_s={"train": 3.0})) for r in (run(n, 1) for n in range(1, 101))]
    figure = PLOTS["phases_by_batch_size"].figure(summary(timed, []))
    assert any("40 of 100 batch sizes" in text.get_text() for text in figure.texts)


def test_what_a_busy_host_measured_is_drawn_hollow_with_one_line_in_the_legend(tmp_path):
    runs, requests = FULL
    found, busy = summary(runs, requests), {"share_of_others": 0.8}
    hollow = replace(
        found,
        runs=[replace(run, host_activity=busy) if run.repeat == 2 else run for run in runs],
        rounds=[replace(record, host_activity=busy) for record in found.rounds],
    )
    for name in ("rate_vs_batch_size", "latency_by_request", "latency_vs_tokens"):
        drawn = [PLOTS[name].figure(each) for each in (found, hollow)]
        assert [_hollow(figure) for figure in drawn] == [0, _hollow(drawn[1])] and _hollow(drawn[1]) > 0
        legends = [text.get_text() for legend in drawn[1].legends for text in legend.get_texts()]
        assert legends.count("measured on a busy host") == 1


def test_phases_are_of_quiet_runs_and_marked_where_a_size_has_none():
    phases = ((4, 1, 6.0), (4, 2, 60.0), (8, 1, 7.0))
    runs = [replace(r, log=replace(r.logged, phases_s={"train": s})) for r, s in ((run(n, k), s) for n, k, s in phases)]
    busy = [replace(each, host_activity={"share_of_others": 0.8}) for each in runs[1:]]
    figure = PLOTS["phases_by_batch_size"].figure(summary([runs[0], *busy], []))
    bars = [text.get_text().strip() for axes in figure.axes for text in axes.texts]
    assert bars == ["6.00 s, 100 % training", "7.00 s, 100 % training (disturbed)"]


def _hollow(figure) -> int:
    return sum(line.get_markerfacecolor() == "none" for axes in figure.axes for line in axes.lines)
