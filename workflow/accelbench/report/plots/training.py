"""The training half's plots by batch size: rates, and where the time went.

Points and lines are single runs; means are drawn only over visible points, or labelled as means.
"""

import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.training import Series, by_series, samples_seen, size_of, total_time_s
from accelbench.report.plots import style
from accelbench.report.plots.style import (
    Panel,
    canvas,
    extent,
    from_zero,
    left_out,
    log2_axis,
    mark,
    not_there,
    nothing,
    plain_numbers,
    short,
    spread_out,
)
from accelbench.report.summary import Summary
from accelbench.report.text import DISTURBED, number, runs_each, series_name
from accelbench.store.records import TrainRunRecord

NO_TRAINING = "No training runs were measured."
PHASE_COLOURS = {
    "setup": "#a6cee3", "queue": "#e8998d", "compile": "#f6c177", "staging": "#cab2d6", "weights": "#b5d99c",
    "programming": "#d9b99b", "train": "#3f5873", "checkpoint": "#7fb0b2", "eval": "#93a8c7", "teardown": "#c9ccd1",
    "other": "#e6e8eb",
}  # fmt: skip
"""The phases of a log (training/log/timeline.py), in their order; the one that trains is the dark one."""
_VISIBLE = 0.004  # of a bar


def rate_vs_batch_size(summary: Summary) -> Figure:
    """Draw steady rates, GlobalRates and samples over total time by batch size."""
    runs = [run for run in measured_runs(summary) if finite(run.logged.steady_rate_samples_per_s) is not None]
    notes = absent_runs(summary)
    if not runs:
        why = "No log has a steady rate: that needs two progress lines without a pause between them."
        return nothing("Rate by batch size", why if measured_runs(summary) else NO_TRAINING, notes)
    rates = [run.logged.steady_rate_samples_per_s or 0.0 for run in runs]
    disturbed = [bool(disturbances(run.host_activity)) for run in runs]
    quiet_rates = [rate for rate, busy in zip(rates, disturbed, strict=True) if not busy]
    legend = [
        *_names(shown_series(runs, summary), summary),
        mark("steady rate, one run", marker="o"),
        mark("steady rate, mean", linestyle="-", linewidth=1.6),
        mark("GlobalRate (logged), one run", marker="_", markersize=9),
        mark("samples / total time, mean", linestyle=":", linewidth=1.2),
        *style.disturbed_legend(any_is=any(disturbed)),
    ]
    notes.insert(0, "samples / total time includes start-up, so it is not the machine's speed.")
    title = f"Steady rate by batch size: {extent(quiet_rates or rates)} samples/s {each_size_has(runs)}"
    figure, (axes,) = canvas(title, [Panel("", 2.7)], legend=legend, notes=notes)
    colours, tops = _colours(summary), list(rates)
    for series, own in shown_series(runs, summary).items():
        tops += _draw_rates(axes, sorted(own, key=lambda run: run.batch_size), colours[series])
    from_zero(axes.yaxis, tops)
    log2_axis(axes, sorted({run.batch_size for run in runs}))
    axes.set_xlabel("batch size (samples per step)")
    axes.set_ylabel("samples/s")
    return figure


def _draw_rates(axes: Axes, runs: Sequence[TrainRunRecord], colour: str) -> list[float]:
    """Draw one series; return all values drawn beside the steady rates."""
    steady = [(run.batch_size, run.logged.steady_rate_samples_per_s or 0.0) for run in runs]
    whole = [(run.batch_size, rate) for run in runs if (rate := finite(run.logged.global_rate_samples_per_s))]
    timed = _timed(runs)
    total = [(run.batch_size, rate) for run in timed if (rate := _rate_over_all(run))]
    if total:
        axes.plot(*zip(*_means(total), strict=True), color=colour, linestyle=":", linewidth=1.2)
    means = _means((run.batch_size, run.logged.steady_rate_samples_per_s or 0.0) for run in timed)
    axes.plot(*zip(*means, strict=True), color=colour, linewidth=1.6)
    dots = partial(axes.plot, linestyle="none", color=colour, clip_on=False)
    for run, point in zip(runs, steady, strict=True):
        face = style.face(colour, disturbed=bool(disturbances(run.host_activity)))
        dots(*point, marker="o", markersize=4.5, markerfacecolor=face)
    if whole:
        dots(*zip(*whole, strict=True), marker="_", markersize=9)
    return [rate for _, rate in whole + total]


def _timed(runs: Sequence[TrainRunRecord]) -> list[TrainRunRecord]:
    """Return the quiet runs, and all of the sizes that have none."""
    sizes = {run.batch_size for run in runs if not disturbances(run.host_activity)}
    return [run for run in runs if run.batch_size not in sizes or not disturbances(run.host_activity)]


def phases_by_batch_size(summary: Summary) -> Figure:
    """Draw where the seconds of each batch size went, means over its runs, a panel per series."""
    runs = [run for run in measured_runs(summary) if _phases(run)]
    notes = absent_runs(summary)
    if not runs:
        why = "No log has timestamps." if measured_runs(summary) else NO_TRAINING
        return nothing("Where the time went by batch size", why, notes)
    shown = shown_series(runs, summary)
    every = {series: _phases_by_size(_timed(own)) for series, own in shown.items()}
    busy = {series: _without_quiet(own) for series, own in shown.items()}
    spent = {series: {size: sizes[size] for size in spread_out(sizes)} for series, sizes in every.items()}
    each = [phases for sizes in every.values() for phases in sizes.values()]
    for series, sizes in spent.items():
        notes += left_out(list(sizes), list(every[series]), f"batch sizes of {series_name(series, summary.labels)}")
    visible = [{name for name, s in phases.items() if s > _VISIBLE * sum(phases.values())} for phases in each]
    named = [name for name in PHASE_COLOURS if any(name in names for names in visible)]
    shares = [100 * phases["train"] / sum(phases.values()) for phases in each]
    legend = [mark(name, color=PHASE_COLOURS[name], marker="s", markersize=8) for name in named]
    notes.insert(
        0,
        "Means over a size's runs, of quiet ones if it has any, from the log's timestamps; the legend omits phases too "
        "short to be visible." + (" other: time that the log does not account for." if "other" in named else ""),
    )
    title = f"Where the time went: {extent(shares, 0)} % of it was training {each_size_has(runs)}"
    panels = [Panel(series_name(series, summary.labels), 0.2 + 0.34 * len(sizes)) for series, sizes in spent.items()]
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    for (series, sizes), axes in zip(spent.items(), all_axes, strict=True):
        _draw_phases(axes, sizes, named, busy[series])
    return figure


def _without_quiet(runs: Sequence[TrainRunRecord]) -> set[int]:
    """Return the sizes of which all runs were disturbed."""
    return {run.batch_size for run in _timed(runs) if disturbances(run.host_activity)}


def _phases_by_size(runs: Sequence[TrainRunRecord]) -> dict[int, dict[str, float]]:
    """Return a series' mean phases by batch size."""
    sizes = sorted({run.batch_size for run in runs})
    return {size: _mean_phases([run for run in runs if run.batch_size == size]) for size in sizes}


def _draw_phases(
    axes: Axes, spent: Mapping[int, Mapping[str, float]], named: Sequence[str], disturbed: Collection[int]
) -> None:
    totals = {size: sum(phases.values()) for size, phases in spent.items()}
    for place, (size, phases) in enumerate(spent.items()):
        start = 0.0
        for name in named:
            seconds = phases[name]
            axes.barh(place, seconds, 0.68, start, color=PHASE_COLOURS[name], edgecolor="white", linewidth=0.5)
            start += seconds
        text = f" {number(totals[size])} s, {100 * phases['train'] / totals[size]:.0f} % training"
        text += DISTURBED if size in disturbed else ""
        axes.text(totals[size], place, text, va="center", fontsize=8.5)
    axes.set_xlim(0, max(totals.values()) * 1.5)  # room for the text beside the longest bar
    axes.set_ylim(len(spent) - 0.45, -0.55)
    axes.set_yticks(range(len(spent)), [f"{size:,}" for size in spent])
    axes.grid(visible=False, axis="y")
    plain_numbers(axes.xaxis)
    axes.set_xlabel("seconds of a run")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel("batch size")


def _phases(run: TrainRunRecord) -> dict[str, float]:
    """Return the seconds of each phase, the time between a run's parts left out; nothing without times."""
    phases = {name: spent or 0.0 for name, spent in run.logged.phases_s.items()}
    if "other" in phases:
        phases["other"] = max(0.0, phases["other"] - run.logged.between_parts_s)
    return phases if sum(phases.values()) > 0 else {}


def _mean_phases(runs: Sequence[TrainRunRecord]) -> dict[str, float]:
    return {name: statistics.fmean(_phases(run).get(name, 0.0) for run in runs) for name in PHASE_COLOURS}


def measured_runs(summary: Summary) -> list[TrainRunRecord]:
    """Return the runs that have a log to be drawn."""
    return [run for run in summary.runs if run.state == "measured" and run.log]


def _rate_over_all(run: TrainRunRecord) -> float | None:
    samples, seconds = samples_seen(run), total_time_s(run.logged)
    return samples / seconds if samples and seconds else None


def absent_runs(summary: Summary) -> list[str]:
    """Return the note that names the runs without a result."""
    absent = [run for run in summary.runs if run.state != "measured"]
    shown = [f"{run.name} ({run.state})" for run in absent]
    return not_there(shown)


def each_size_has(runs: Sequence[TrainRunRecord]) -> str:
    """Return how many runs a size has, as a remark that is never split by a line break."""
    counts = Counter(map(size_of, runs)).values()
    return f"({runs_each(counts)})".replace(" ", "\N{NO-BREAK SPACE}")


def shown_series(runs: Sequence[TrainRunRecord], summary: Summary) -> dict[Series, list[TrainRunRecord]]:
    """Return the runs by the series of the whole sweep; those without a run are left out."""
    grouped = {series: [run for run in own if run in runs] for series, own in by_series(summary.runs).items()}
    return {series: own for series, own in grouped.items() if own}


def _colours(summary: Summary) -> dict[Series, str]:
    """Return the colour of each series: the platform's, or a shade of it per micro batch and length."""
    looks = style.looks(summary)
    colours: dict[Series, str] = {}
    all_series = list(by_series(summary.runs))
    for platform in dict.fromkeys(series.platform for series in all_series):
        own = [series for series in all_series if series.platform == platform]
        own.sort(key=lambda series: (series.micro or 0, series.length or 0))
        colours.update(zip(own, style.shades(looks[platform].colour, len(own)), strict=True))
    return colours


def _names(shown: Iterable[Series], summary: Summary) -> list[Any]:
    colours, square = _colours(summary), {"marker": "s", "markersize": 7}
    return [mark(_short(series, summary), color=colours[series], **square) for series in shown]


def _short(series: Series, summary: Summary) -> str:
    """Return a series' name that fits the legend; a long platform name is cut."""
    name = series_name(series, summary.labels)
    label = summary.labels.get(series.platform, series.platform)
    return f"{short(label, max(1, style.LABEL_CHARS - len(name) + len(label)))}{name[len(label) :]}"


def _means(points: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    grouped: dict[int, list[float]] = {}
    for x, y in points:
        grouped.setdefault(x, []).append(y)
    return [(x, statistics.fmean(values)) for x, values in sorted(grouped.items())]


def finite(value: float | None) -> float | None:
    """Return a figure that can be drawn."""
    return value if value is not None and math.isfinite(value) else None
