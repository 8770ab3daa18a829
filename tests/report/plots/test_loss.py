"""Losses by steps, samples, time and tokens: what is drawn where, and what is said to be left out."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure

from accelbench.analysis.training import training_rows
from accelbench.config import Training
from accelbench.report.plots import style
from accelbench.report.plots.loss import COSTS, TIME_S, loss_curves
from accelbench.report.summary import Summary
from accelbench.store.records import TrainRunRecord

from ...analysis.records import log_of

AT_S = 100.0  # when training begins, by the log's clock: two seconds a step


def run(batch: int, repeat: int = 1, **log: Any) -> TrainRunRecord:
    steps = [{"step": step, "t_s": AT_S + 2 * step, "loss": 9.0 - step / 10} for step in (5, 10, 15)]
    said = {"steady_rate_samples_per_s": batch / 2, "steps": steps, "held_out": [{"step": 15, "t_s": 135, "loss": 8}]}
    return TrainRunRecord("cpu", batch, repeat, "measured", None, log=log_of({**said, **log}))


def drawn(*runs: TrainRunRecord, **training: Any) -> Figure:
    rows = training_rows(runs, Training.model_validate(training))
    with matplotlib.rc_context(style.RC):
        return loss_curves(Summary("t", list(runs), [], rows, [], {}, {}, {}))


def x_by_cost(figure: Figure) -> dict[str, list[list[float]]]:
    """Return the x of each line and held-out loss, by what the axis counts."""
    visible = [axes for axes in figure.axes if axes.get_visible()]
    return {axes.get_xlabel(): [list(map(float, line.get_xdata())) for line in axes.lines] for axes in visible}


def text_of(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


def test_each_run_is_drawn_by_all_that_it_cost() -> None:
    assert x_by_cost(drawn(run(4), sequence_length=1000)) == {
        "steps": [[5, 10, 15], [15]],
        "samples seen": [[20, 40, 60], [60]],
        "seconds of training": [[10, 20, 30], [35]],
        "tokens seen (millions)": [[0.02, 0.04, 0.06], [0.06]],
    }


def test_tokens_are_drawn_only_where_the_sequence_length_is_known() -> None:
    figure = drawn(run(4))
    assert tuple(x_by_cost(figure)) == COSTS[:3]
    assert "Not drawn by tokens: 1 of 1 runs" in text_of(figure)


def test_a_run_that_was_resumed_has_no_time_of_training() -> None:
    figure = drawn(run(4), run(8, resumed_from_steps=[10], last_step=15), sequence_length=8)
    assert {cost: len(lines) for cost, lines in x_by_cost(figure).items()} == dict(
        zip(COSTS, (4, 4, 2, 4), strict=True)
    )
    assert "Not drawn by time: 1 of 2 runs, resumed, or" in text_of(figure)


def test_all_panels_of_a_series_share_their_losses_axis() -> None:
    figure = drawn(run(4), sequence_length=8)
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_each_micro_batch_has_panels_of_its_own() -> None:
    figure = drawn(*(replace(run(4), micro_batch_size=micro) for micro in (2, 4)))
    assert len(figure.axes) == 2 * len(COSTS)


@pytest.mark.parametrize(("batches", "scale"), [((4, 8), "linear"), ((4, 16), "log")])
def test_samples_of_far_apart_sizes_stand_on_a_logarithmic_axis(batches: tuple[int, int], scale: str) -> None:
    axes = drawn(*map(run, batches)).axes
    assert [each.get_xscale() for each in axes[:2]] == ["linear", scale]


def test_labels_of_a_column_do_not_overlap(tmp_path: Path) -> None:
    figure = drawn(*map(run, (256, 512, 1024, 2048)), sequence_length=4096)
    figure.savefig(tmp_path / "drawn.png")
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [
            label.get_window_extent()
            for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
            if low <= at <= high
        ]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(shown))


def test_a_run_on_a_busy_host_is_dashed_by_time_alone() -> None:
    busy = replace(run(4, 2), host_activity={"share_of_others": 0.8, "cores": 2})
    figure = drawn(run(4), busy)
    dashed = {axes.get_xlabel(): [line.get_linestyle() for line in axes.lines].count("--") for axes in figure.axes}
    assert dashed == {cost: int(cost == TIME_S) for cost in dashed}
    assert "measured on a busy host" in legend_of(figure) and "busy" not in legend_of(drawn(run(4)))


def legend_of(figure: Figure) -> str:
    return " ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())
