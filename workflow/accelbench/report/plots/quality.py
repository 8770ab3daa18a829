"""The plot of quality against speed: how many answers contain the gold answer against how long they take."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate, Proportion
from accelbench.report.plots import style
from accelbench.report.summary import Summary
from accelbench.report.text import number

_Rows = list[InferenceRow]
LEAST_PERCENT = 20.0  # the least span of the quality axis: a smaller one would exaggerate small differences


def quality_vs_speed(summary: Summary) -> Figure:
    """Draw the share of answers that contain the gold answer against typical latency, a panel per shape."""
    notes, every = style.absent_rounds(summary), comparable(summary.inference)
    if not every:
        return style.nothing(
            "Quality against speed", "No two endpoints have scored answers in the same scenario.", notes
        )
    groups = style.spread_out(every)
    notes += style.left_out(groups, every, "shapes")
    drawn = [row for rows in groups for row in rows]
    shares = [_percent(row.contains_share.value) for row in drawn if row.contains_share]
    counts = [row.contains_share.n for row in drawn if row.contains_share]
    bounded = [_has_interval(row) for row in drawn]
    said = "There are too few for intervals."
    if any(bounded):
        enough = "" if all(bounded) else ", where there are enough passages and rounds"
        said = f"Bars: 95 % intervals{enough}."
    figure, all_axes = style.canvas(
        f"Quality against speed: {style.extent(shares, 2)}\N{NO-BREAK SPACE}% contain the gold answer",
        [style.Panel(_title(rows), 2.1) for rows in groups],
        legend=[
            *style.endpoint_legend(summary, (row.endpoint for row in drawn)),
            *style.disturbed_legend(any_is=any(row.disturbed for row in drawn)),
        ],
        notes=[
            f"n = {style.extent(counts, 0)} answers a point. {said}",
            *(
                ["Numbers: requests in flight, or arrivals per second, at the lowest and the highest load."]
                if any(map(_is_list, groups))
                else []
            ),
            *notes,
        ],
    )
    looks = style.looks(summary)
    for rows, axes in zip(groups, all_axes, strict=True):
        _set_axes(axes, rows)
        for row in rows:
            numbered = _is_list(rows) and _is_end(row, rows)
            _draw(axes, row, looks[row.endpoint], style.label(summary, row.endpoint), numbered=numbered)
    return figure


def comparable(rows: Sequence[InferenceRow]) -> list[_Rows]:
    """Return the rows with a score and a latency by scenario and shape, where two endpoints or more have both."""
    groups: dict[tuple[object, ...], _Rows] = {}
    for row in rows:
        if row.contains_share and row.typical_latency:
            groups.setdefault((row.scenario, row.context_tokens, row.max_tokens), []).append(row)
    return [group for group in groups.values() if len({row.endpoint for row in group}) > 1]


def _draw(axes: Axes, row: InferenceRow, look: style.Look, name: str, *, numbered: bool) -> None:
    quality, latency = row.contains_share, row.typical_latency
    if quality is None or latency is None:
        return
    at = (latency.value, _percent(quality.value))
    reach = {"xerr": _reach(latency, 1), "yerr": _reach(quality, 100)}
    axes.errorbar(*at, fmt="none", ecolor=look.colour, elinewidth=0.9, alpha=0.6, **reach)  # type: ignore[arg-type]
    face = style.face(look.colour, disturbed=row.disturbed)
    (point,) = axes.plot(
        *at, color=look.colour, marker=look.marker, markersize=5.5, markerfacecolor=face, linestyle="none", zorder=3
    )
    style.tip(
        point,
        f"{name}, {row.load}: {number(at[1], 2)} % contain the gold answer, typical latency {number(at[0])} s "
        f"(n = {quality.n:,})",
    )
    if numbered:
        text = f"{row.concurrency:,}" if row.rate_per_s is None else f"{row.rate_per_s:g}/s"
        drawn = {"textcoords": "offset points", "fontsize": 7.5, "color": style.shades(look.colour, 3)[2]}
        axes.annotate(text, at, xytext=(5, 4), **drawn)  # type: ignore[arg-type]


def _set_axes(axes: Axes, rows: _Rows) -> None:
    latencies = [end for row in rows if row.typical_latency for end in _ends(row.typical_latency)]
    shares = [_percent(end) for row in rows if row.contains_share for end in _ends(row.contains_share)]
    style.from_zero(axes.xaxis, latencies, room=1.1)
    spare = max(0.0, LEAST_PERCENT - (max(shares) - min(shares))) / 2 + 2
    axes.set_ylim(max(-2.0, min(shares) - spare), min(102.0, max(shares) + spare))
    style.plain_numbers(axes.yaxis)
    axes.set_xlabel("typical E2E latency (s)")
    axes.set_ylabel("contain gold (%)")


def _title(rows: _Rows) -> str:
    return style.shape_title(rows[0], "concurrency" if _is_list(rows) else "")


def _is_list(rows: _Rows) -> bool:
    return len({row.load for row in rows}) > 1


def _is_end(row: InferenceRow, rows: _Rows) -> bool:
    """Tell whether a row is its endpoint's lowest or highest load."""
    loads = [(other.rate_per_s or 0.0, other.concurrency) for other in rows if other.endpoint == row.endpoint]
    return (row.rate_per_s or 0.0, row.concurrency) in (min(loads), max(loads))


def _has_interval(row: InferenceRow) -> bool:
    known = (row.contains_share, row.typical_latency)
    return all(each is not None and each.low is not None and each.high is not None for each in known)


def _ends(estimate: Estimate | Proportion) -> tuple[float, float]:
    low, high = estimate.low, estimate.high
    return (estimate.value, estimate.value) if low is None or high is None else (low, high)


def _reach(estimate: Estimate | Proportion, scale: float) -> list[list[float]]:
    low, high = _ends(estimate)
    return [[max(0.0, scale * (estimate.value - low))], [max(0.0, scale * (high - estimate.value))]]


def _percent(share: float) -> float:
    return 100 * share
