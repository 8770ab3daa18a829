"""The plot of system throughput against speed per user, with frontier and knee."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accelbench.analysis.load_curve import CurveLoad, LoadCurve
from accelbench.report.plots import style
from accelbench.report.summary import Summary
from accelbench.report.text import number

WORSE_SIZE = 3.0
FAR = 3.0  # times the fastest user: a limit beyond it would squeeze all points on a linear axis


def system_vs_user_speed(summary: Summary) -> Figure:
    """Draw output tokens per second of the system against those per user, a panel per shape, a series per endpoint."""
    notes = style.absent_rounds(summary)
    every = summary.curves
    if not every:
        why = "No scenario was measured at two concurrencies or more with all slots busy together."
        return style.nothing("System and user speed", why, notes)
    groups = style.spread_out(every)
    notes += style.left_out(groups, every, "shapes")
    curves = [curve for group in groups for curve in group]
    cells = [load.row.cell for curve in curves for load in curve.loads]
    limits = style.limits_of(summary, cells)
    legend = [*style.endpoint_legend(summary, (curve.endpoint for curve in curves)), *_marks(curves)]
    legend += style.limit_legend(summary, limits)
    figure, all_axes = style.canvas(
        _headline(curves),
        [style.Panel(style.shape_title(group[0].loads[0].row, "concurrency"), 2.1) for group in groups],
        legend=legend,
        notes=[*_notes(summary, curves), *style.limit_notes(summary, cells), *notes],
    )
    looks = style.looks(summary)
    for group, axes in zip(groups, all_axes, strict=True):
        own_cells = {load.row.cell for curve in group for load in curve.loads}
        bounds = [(each.endpoint, each.limit_tok_per_s or 0.0) for each in limits if each.cell in own_cells]
        _set_axes(axes, group, [bound for _, bound in bounds])
        for name, bound in bounds:
            line = axes.axvline(bound, color=looks[name].colour, linestyle="--", linewidth=1.2)
            style.tip(line, f"{style.label(summary, name)}: bandwidth limit {number(bound)} tok/s at 1 in flight")
        for curve in group:
            _draw(axes, curve, looks[curve.endpoint], style.label(summary, curve.endpoint))
    return figure


def _draw(axes: Axes, curve: LoadCurve, look: style.Look, name: str) -> None:
    ends = [(point.user_tok_per_s, point.system_tok_per_s) for point in curve.frontier]
    axes.plot(*zip(*ends, strict=True), color=look.colour, linewidth=1.4)
    best = {point.load for point in curve.frontier}
    for load in curve.loads:
        at = (load.point.user_tok_per_s, load.point.system_tok_per_s)
        users, systems = _spans(load)
        reach = {"xerr": _reach(at[0], users), "yerr": _reach(at[1], systems)}
        axes.errorbar(*at, fmt="none", ecolor=look.colour, elinewidth=0.9, alpha=0.7, **reach)  # type: ignore[arg-type]
        (point,) = axes.plot(
            *at,
            color=look.colour,
            marker=look.marker,
            markersize=5.5 if load.row.cell in best else WORSE_SIZE,
            markerfacecolor=style.face(look.colour, disturbed=load.row.disturbed),
            linestyle="none",
            zorder=3,
        )
        style.tip(point, _told(load, name))
        number_at = {"textcoords": "offset points", "color": style.shades(look.colour, 3)[2]}
        if curve.knee and load.row.cell == curve.knee.row.cell:
            axes.plot(
                *at, color=style.INK, marker="o", markersize=12, markerfacecolor="none", linestyle="none", zorder=4
            )
            text = f"knee: {load.row.concurrency:,}"
            axes.annotate(text, at, xytext=(7, 7), fontsize=8, fontweight="bold", **number_at)  # type: ignore[arg-type]
        else:
            axes.annotate(f"{load.row.concurrency:,}", at, xytext=(5, 4), fontsize=7.5, **number_at)  # type: ignore[arg-type]


def _set_axes(axes: Axes, curves: Sequence[LoadCurve], limits: Sequence[float]) -> None:
    spans = [_spans(load) for curve in curves for load in curve.loads]
    users, systems = [end for span_, _ in spans for end in span_], [end for _, span_ in spans for end in span_]
    style.from_zero(axes.yaxis, systems, room=1.12)
    style.from_zero(axes.xaxis, [*users, *limits], room=1.12)
    if max(limits, default=0.0) > FAR * max(users):
        style.log_axis(axes.xaxis)
        axes.set_xlim(min(users) / 1.5, max(limits) * 1.5)
    axes.set_xlabel("output tok/s that one request sees (numbers: requests in flight)")
    axes.set_ylabel("output tok/s, system")


def _marks(curves: Sequence[LoadCurve]) -> list[Artist]:
    entries: list[Artist] = [style.mark("Pareto frontier", linestyle="-", linewidth=1.4)]
    rows = [load.row for curve in curves for load in curve.loads]
    if sum(len(curve.frontier) for curve in curves) < sum(not row.disturbed for row in rows):
        entries.append(style.mark("worse in both than another load", marker="o", markersize=WORSE_SIZE))
    entries += style.disturbed_legend(any_is=any(row.disturbed for row in rows))
    if any(curve.knee for curve in curves):
        entries.append(style.mark("knee", marker="o", markersize=9, markerfacecolor="none", color=style.INK))
    return entries


def _headline(curves: Sequence[LoadCurve]) -> str:
    points = [load.point for curve in curves for load in curve.loads]
    users, systems = [p.user_tok_per_s for p in points], [p.system_tok_per_s for p in points]
    return f"Output tok/s of the system ({style.extent(systems)}) against those of a user ({style.extent(users)})"


def _notes(summary: Summary, curves: Sequence[LoadCurve]) -> list[str]:
    loads = [load for curve in curves for load in curve.loads]
    requests, rounds = [load.row.requests for load in loads], [len(load.by_round) for load in loads]
    in_rounds = f"{style.extent(rounds, 0)} round{'s' if max(rounds) > 1 else ''}"
    notes = [
        f"n = {style.extent(requests, 0)} requests a point, in {in_rounds}. System: mean over rounds of the speed with "
        "all slots busy; bars: lowest to highest round."
    ]
    if any(curve.knee for curve in curves):
        notes.append(
            "Knee: the frontier's point farthest above the straight line between its ends (on linear axes), named only "
            "where its rounds are significantly above that line."
        )
    notes += [
        f"No knee is named for {style.label(summary, curve.endpoint)} in "
        f"{style.shape_title(curve.loads[0].row, 'concurrency')}: {curve.why_no_knee}."
        for curve in curves
        if curve.why_no_knee
    ]
    return notes


def _spans(load: CurveLoad) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the lowest and highest round's speed of a user, and of the system; of one round, the point itself."""
    rounds = [*load.by_round.values()] or [load.point]
    users, systems = [p.user_tok_per_s for p in rounds], [p.system_tok_per_s for p in rounds]
    return (min(users), max(users)), (min(systems), max(systems))


def _reach(value: float, ends: tuple[float, float]) -> list[list[float]]:
    return [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]


def _told(load: CurveLoad, name: str) -> str:
    point = load.point
    n = f"n = {load.row.requests:,} requests, {len(load.by_round)} rounds"
    return (
        f"{name}, {load.row.load}: {number(point.user_tok_per_s)} output tok/s per user, "
        f"{number(point.system_tok_per_s)} of the system ({n})"
    )
