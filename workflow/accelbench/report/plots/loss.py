"""The training losses of all runs against steps, samples, time and tokens.

A line is one run. Time begins with the training, without start-up; by time, a run on a busy host is dashed.
"""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.sweep import began_s
from accelbench.analysis.training import size_of
from accelbench.report.plots import style
from accelbench.report.plots.style import Panel, canvas, extent, log_axis, mark, nothing, plain_numbers, spread_out
from accelbench.report.plots.training import (
    NO_TRAINING,
    absent_runs,
    each_size_has,
    finite,
    measured_runs,
    shown_series,
)
from accelbench.report.summary import Summary
from accelbench.report.text import series_name
from accelbench.store.records import HeldOut, Step, TrainRunRecord

STEPS, SAMPLES, TIME_S, TOKENS = "steps", "samples seen", "seconds of training", "tokens seen (millions)"
MOST_IN_LEGEND = 16  # batch sizes, evenly spread: their shades go from light to dark
COSTS = (STEPS, SAMPLES, TIME_S, TOKENS)
COLUMNS, HEIGHT_IN = 2, 1.7
_LOG_FROM = 4  # the ratio of where lines end from which on short ones would be squeezed


def loss_curves(summary: Summary) -> Figure:
    """Draw each run's losses by each cost that is known, in panels of their own for each series."""
    runs = [run for run in measured_runs(summary) if _losses(run, run.logged.steps, SAMPLES)]
    notes = absent_runs(summary)
    if not runs:
        return nothing("Training loss", "No log has losses." if measured_runs(summary) else NO_TRAINING, notes)
    lengths = _sequence_lengths(summary)
    grouped, looks = shown_series(runs, summary), style.looks(summary)
    sizes = sorted({run.batch_size for run in runs})
    one_platform = len({series.platform for series in grouped}) == 1
    greys = _shades(looks[runs[0].platform].colour if one_platform else "#6e7781", sizes)
    shown = spread_out(sizes, MOST_IN_LEGEND)
    legend = [mark(f"batch {size:,}", color=greys[size], linestyle="-", linewidth=2) for size in shown]
    if any(_losses(run, run.logged.held_out, SAMPLES) for run in runs):
        legend.append(mark("held-out loss", marker="D", markersize=6))
    if any(disturbances(run.host_activity) for run in runs if _losses(run, run.logged.steps, TIME_S)):
        legend.append(mark("measured on a busy host", linestyle="--", linewidth=1.1))
    panels = [panel for series in grouped for panel in _panels(series_name(series, summary.labels))]
    figure, axes = canvas(_title(runs), panels, legend=legend, notes=[*_notes(runs, lengths), *notes])
    for place, (series, own) in enumerate(grouped.items()):
        colours = _shades(looks[series.platform].colour, sizes)
        _draw_series(axes[place * len(COSTS) : (place + 1) * len(COSTS)], own, colours, lengths)
    return figure


def _panels(title: str) -> Iterator[Panel]:
    yield Panel(title, HEIGHT_IN, columns=COLUMNS)
    yield Panel("", HEIGHT_IN, columns=COLUMNS)


def _title(runs: Sequence[TrainRunRecord]) -> str:
    ends = [_losses(run, run.logged.steps, SAMPLES)[-1] for run in runs]
    return (
        f"Training loss: last values {extent([loss for _, loss in ends])} after {extent([x for x, _ in ends], 0)} "
        f"samples {each_size_has(runs)}"
    )


def _notes(runs: Sequence[TrainRunRecord], lengths: Mapping[str, int | None]) -> Iterator[str]:
    if len({run.batch_size for run in runs}) > 1:
        yield "Compare sizes at equal samples seen (one vertical line), not at the ends of the lines."
    yield "Time: since training began, without start-up, including pauses."
    if lost := sum(_not_finite(run) for run in runs):
        yield f"Not drawn: {lost} of the logged losses, which are nan or infinite."
    if untimed := sum(not _losses(run, run.logged.steps, TIME_S) for run in runs):
        yield f"Not drawn by time: {untimed} of {len(runs)} runs, resumed, or with too few timestamps in the log."
    if untold := sum(not lengths[run.name] for run in runs):
        yield f"Not drawn by tokens: {untold} of {len(runs)} runs, whose sequence length is unknown."


def _draw_series(
    axes: Sequence[Axes],
    runs: Sequence[TrainRunRecord],
    colours: Mapping[int, str],
    lengths: Mapping[str, int | None],
) -> None:
    for place, (cost, own) in enumerate(zip(COSTS, axes, strict=True)):
        lines = {run.name: _losses(run, run.logged.steps, cost, lengths[run.name]) for run in runs}
        if not any(lines.values()):
            own.set_visible(False)
            continue
        for run in runs:
            if lines[run.name]:
                held_out = _losses(run, run.logged.held_out, cost, lengths[run.name])
                dashed = cost == TIME_S and bool(disturbances(run.host_activity))
                _draw_run(own, lines[run.name], held_out[-1:], colours[run.batch_size], "--" if dashed else "-")
        _set_x(own, [line for line in lines.values() if line], cost)
        own.sharey(axes[0])
        if place % COLUMNS:
            own.tick_params(labelleft=False)
        else:
            own.set_ylabel("loss (nats per token)")


def _draw_run(
    axes: Axes,
    losses: Sequence[tuple[float, float]],
    held_out: Sequence[tuple[float, float]],
    colour: str,
    linestyle: str,
) -> None:
    axes.plot(*zip(*losses, strict=True), color=colour, linewidth=1.1, linestyle=linestyle)
    for point in held_out:
        axes.plot(*point, marker="D", markersize=6, markeredgecolor="white", zorder=3, color=colour, clip_on=False)


def _set_x(axes: Axes, lines: Sequence[Sequence[tuple[float, float]]], cost: str) -> None:
    axes.set_xlabel(cost)
    ends, first = [line[-1][0] for line in lines], min(line[0][0] for line in lines)
    if first > 0 and max(ends) / min(ends) >= _LOG_FROM:
        log_axis(axes.xaxis, (max(ends) / first) ** COLUMNS)  # as wide a ratio on a column is as crowded as this on all
    else:
        plain_numbers(axes.xaxis)
        axes.xaxis.set_major_locator(MaxNLocator(4))


def _losses(
    run: TrainRunRecord, rows: Sequence[Step | HeldOut], cost: str, sequence_length: int | None = None
) -> list[tuple[float, float]]:
    """Return (cost, loss) of each row that has both."""
    began = began_s(run) if cost == TIME_S else None
    points: list[tuple[float, float]] = []
    for row in rows:
        loss = finite(row.loss)
        if not row.step or loss is None:
            continue
        samples = row.step * run.batch_size
        at = {
            STEPS: row.step,
            SAMPLES: samples,
            TIME_S: None if row.t_s is None or began is None else row.t_s - began,
            TOKENS: samples * sequence_length / 1e6 if sequence_length else None,
        }[cost]
        if at is not None:
            points.append((at, loss))
    return points


def _sequence_lengths(summary: Summary) -> dict[str, int | None]:
    """Return the tokens of a sample by run, as the rows of the table have it."""
    rows = {size_of(row): row.sequence_length for row in summary.training}
    return {run.name: rows.get(size_of(run)) for run in summary.runs}


def _not_finite(run: TrainRunRecord) -> int:
    return sum(row.loss is not None and finite(row.loss) is None for row in run.logged.steps)


def _shades(colour: str, sizes: Sequence[int]) -> dict[int, str]:
    return dict(zip(sizes, style.shades(colour, len(sizes)), strict=True))
