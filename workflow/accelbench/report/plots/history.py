"""The plot of the history: each figure over dates, the means of its stretches, and where it changed."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from matplotlib import dates
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accelbench.analysis.history import Trend
from accelbench.analysis.intervals import counted
from accelbench.report.history import History, shift_in_words
from accelbench.report.plots import style
from accelbench.report.text import number

PANEL_IN = 1.1


def history(found: History) -> Figure:
    """Draw each figure over dates, a panel each; those that changed come first."""
    every = sorted(found.trends, key=lambda trend: not trend.changes)
    if not every:
        return style.nothing("History", "No report has a headline figure.", found.remarks)
    trends = every[: style.MOST_PANELS]
    changed, figures = sum(bool(trend.changes) for trend in every), len(every)
    title = f"{changed} of {counted(figures, 'figure')} changed over {counted(found.reports, 'report')}"
    any_is = any(figure.disturbed for trend in trends for _, figure in trend.points)
    legend: list[Artist] = [style.mark("a report, 95 % interval", marker="o")]
    legend += [style.mark("mean of a stretch", linestyle="-", linewidth=1.4)]
    legend += [style.mark("a change", linestyle="--", linewidth=1.0)] if changed else []
    more = [f"{figures - len(trends)} more figures are in the tables."] if figures > len(trends) else []
    figure, all_axes = style.canvas(
        title,
        [style.Panel(_title(trend), PANEL_IN) for trend in trends],
        legend=[*legend, *style.disturbed_legend(any_is=any_is)],
        notes=["The vertical axes do not begin at 0.", *more, *found.remarks],
    )
    span = style.ends([_when(row.measured_at) for trend in trends for row, _ in trend.points])
    names = list(dict.fromkeys(trend.row.name for trend in found.trends))
    for trend, axes in zip(trends, all_axes, strict=True):
        _draw(axes, trend, style.PALETTE[names.index(trend.row.name) % len(style.PALETTE)])
        margin = 0.03 * (span[1] - span[0]) or 0.5  # days
        axes.set_xlim(span[0] - margin, span[1] + margin)
    return figure


def _title(trend: Trend) -> str:
    return f"{trend.row.name}, {trend.row.load}: {trend.figure.label} ({trend.figure.unit})"


def _draw(axes: Axes, trend: Trend, colour: str) -> None:
    for row, figure in trend.points:
        at, value = _when(row.measured_at), figure.value
        if figure.low is not None and figure.high is not None:
            reach: Any = [[max(0.0, value - figure.low)], [max(0.0, figure.high - value)]]
            axes.errorbar(at, value, yerr=reach, fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.7)
        face = style.face(colour, disturbed=figure.disturbed)
        (point,) = axes.plot(at, value, color=colour, marker="o", markersize=4.5, markerfacecolor=face, zorder=3)
        busy = f"{row.rounds_disturbed} of {row.rounds} disturbed"
        style.tip(point, f"{row.measured_at}: {number(value)} {figure.unit}, n = {figure.n}, {busy}")
    edges = _edges(trend)
    for (start, end), stretch in zip(pairwise(edges), trend.stretches, strict=True):
        mean = stretch.estimate
        axes.plot([start, end], [mean.value] * 2, color=colour, linewidth=1.4)
        if mean.low is not None and mean.high is not None and stretch.reports > 1:
            axes.fill_between([start, end], mean.low, mean.high, color=colour, alpha=0.15, linewidth=0)
        if stretch.change:
            line = axes.axvline(start, color=style.INK, linestyle="--", linewidth=1.0)
            style.tip(line, "; ".join(stretch.causes) or "nothing that was recorded changed")
            place: Any = (start, 1.0)
            axes.annotate(
                shift_in_words(trend, stretch), place, xycoords=("data", "axes fraction"), xytext=(3, -9),
                textcoords="offset points", fontsize=8, fontweight="bold", color=style.INK,
            )  # fmt: skip
    axes.margins(y=0.2)
    style.plain_numbers(axes.yaxis)
    locator = dates.AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _edges(trend: Trend) -> Sequence[float]:
    """Return where stretches begin and end: halfway between their reports."""
    if not trend.stretches:
        return [0.0]
    spans = [(_when(stretch.begins_at), _when(stretch.ends_at)) for stretch in trend.stretches]
    between = [(before[1] + after[0]) / 2 for before, after in pairwise(spans)]
    return [spans[0][0], *between, spans[-1][1]]


def _when(moment: str) -> float:
    return float(dates.date2num(datetime.fromisoformat(moment)))  # type: ignore[no-untyped-call]
