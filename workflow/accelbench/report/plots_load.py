"""The plots of load shapes: throughput over a list of concurrencies, TTFT over a list of context lengths."""

import statistics
from collections.abc import Callable, Hashable, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load import as_streamed, is_whole
from accelbench.records import RequestRecord
from accelbench.report import style
from accelbench.report.plots_shared import absent_rounds, nothing, span
from accelbench.report.style import Look, Panel, canvas, from_zero, log2_axis, mark, plain_numbers, short
from accelbench.report.summary import Summary

Rows = list[InferenceRow]


def throughput_by_concurrency(summary: Summary) -> Figure:
    """Draw the tokens per second of the whole endpoint by concurrency, and by what one user sees of them."""
    notes = absent_rounds(summary)
    known = [row for row in summary.inference if row.system_output_tok_per_s and row.rate_per_s is None]
    groups = _lists(known, lambda row: row.concurrency, lambda row: (row.context_tokens, row.max_tokens))
    if not groups:
        why = "No scenario was measured at two concurrencies or more with all slots busy together."
        return nothing("Throughput by concurrency", why, notes)
    drawn = [row for rows in groups for row in rows]
    speeds = [_speed(row) for row in drawn]
    panels = [panel for rows in groups for panel in (Panel(_title(rows, "concurrency"), 2.0), Panel("", 2.0))]
    title = f"Throughput by concurrency: {span(speeds)}\N{NO-BREAK SPACE}output tokens per second"
    notes.insert(0, "Mean over rounds of the speed while all slots were busy; bars: lowest to highest round.")
    notes[1:1] = [f"{row.cell}, {_label(summary, row.endpoint)}: {row.labels}." for row in drawn if row.labels]
    figure, all_axes = canvas(title, panels, legend=_legend(summary, drawn), notes=notes)
    looks = style.looks(summary)
    for rows, by_slots, by_user in zip(groups, all_axes[::2], all_axes[1::2], strict=True):
        for name in dict.fromkeys(row.endpoint for row in rows):
            own = sorted((row for row in rows if row.endpoint == name), key=lambda row: row.concurrency)
            _draw_speeds(by_slots, own, [row.concurrency for row in own], looks[name])
            _draw_by_user(by_user, own, looks[name])
        log2_axis(by_slots, sorted({row.concurrency for row in rows}))
        for axes in (by_slots, by_user):
            from_zero(axes.yaxis, [row.system_output_tok_per_s.max for row in rows if row.system_output_tok_per_s])
            axes.set_ylabel("output tok/s, system")
        from_zero(by_user.xaxis, [row.output_tok_per_s for row in rows if row.output_tok_per_s], room=1.15)
        by_slots.set_xlabel("requests in flight")
        by_user.set_xlabel("output tok/s that one request sees (numbers: requests in flight)")
    return figure


def ttft_by_prompt_tokens(summary: Summary) -> Figure:
    """Draw each request's TTFT by the prompt tokens that the endpoint counted, a panel per list of contexts."""
    notes = absent_rounds(summary)
    filled = [row for row in summary.inference if row.context_tokens and row.ttft]
    groups = _lists(filled, lambda row: row.context_tokens, lambda row: (row.load, row.max_tokens))
    points = [[r for r in summary.requests if _is_of(r, rows)] for rows in groups]
    if not any(points):
        why = "No scenario with a list of context lengths was measured, streamed and counted."
        return nothing("TTFT by prompt tokens", why, notes)
    drawn = [row for rows in groups for row in rows]
    counted = [request.prompt_tokens or 0 for requests in points for request in requests]
    title = f"TTFT by prompt length: {span(counted, 0)}\N{NO-BREAK SPACE}tokens"
    panels = [Panel(_title(rows, "context"), 2.2) for rows in groups]
    notes.insert(0, "A point per request, at the tokens that the endpoint counted; lines join the medians.")
    figure, all_axes = canvas(title, panels, legend=_legend(summary, drawn), notes=notes)
    looks = style.looks(summary)
    for rows, requests, axes in zip(groups, points, all_axes, strict=True):
        for name in dict.fromkeys(row.endpoint for row in rows):
            cells = [row.cell for row in rows if row.endpoint == name]
            by_cell = [[r for r in requests if (r.endpoint, r.cell) == (name, cell)] for cell in cells]
            _draw_ttft(axes, [own for own in by_cell if own], looks[name])
        from_zero(axes.yaxis, [_ttft_s(request) or 0.0 for request in requests])
        axes.set_xlim(0, max((request.prompt_tokens or 0 for request in requests), default=1) * 1.06)
        plain_numbers(axes.xaxis)
        axes.set_xlabel("prompt tokens")
        axes.set_ylabel("TTFT (s)")
    return figure


def _lists(
    rows: Sequence[InferenceRow], axis: Callable[[InferenceRow], Hashable], fixed: Callable[[InferenceRow], Hashable]
) -> list[Rows]:
    """Return the rows of each scenario over whose list one walks along `axis`, all that is `fixed` being equal."""
    groups: dict[Hashable, Rows] = {}
    for row in rows:
        groups.setdefault((row.scenario, fixed(row)), []).append(row)
    return [group for group in groups.values() if len({axis(row) for row in group}) > 1]


def _draw_speeds(axes: Axes, rows: Rows, places: Sequence[float], look: Look) -> None:
    spreads = [row.system_output_tok_per_s for row in rows if row.system_output_tok_per_s]
    ends = [[s.mean - s.min for s in spreads], [s.max - s.mean for s in spreads]]
    axes.errorbar(
        places, [s.mean for s in spreads], yerr=ends, color=look.colour, marker=look.marker, markersize=5,
        linewidth=1.2, elinewidth=1.0, capsize=2.5,
    )  # fmt: skip


def _draw_by_user(axes: Axes, rows: Rows, look: Look) -> None:
    known = [row for row in rows if row.output_tok_per_s]
    places = [row.output_tok_per_s or 0.0 for row in known]
    _draw_speeds(axes, known, places, look)
    for row, place in zip(known, places, strict=True):
        at = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 7.5, "color": style.GREY}
        axes.annotate(f"{row.concurrency:,}", (place, _speed(row)), **at)  # type: ignore[arg-type]


def _draw_ttft(axes: Axes, by_cell: Sequence[Sequence[RequestRecord]], look: Look) -> None:
    points = [(r.prompt_tokens or 0, _ttft_s(r) or 0.0) for requests in by_cell for r in requests]
    drawn = {"color": look.colour, "marker": look.marker, "linestyle": "none"}
    axes.plot(*zip(*points, strict=True), markersize=4.5, alpha=0.75, zorder=3, **drawn)  # type: ignore[arg-type]
    middles = sorted(
        (statistics.median(r.prompt_tokens or 0 for r in own), statistics.median(_ttft_s(r) or 0.0 for r in own))
        for own in by_cell
    )
    axes.plot(*zip(*middles, strict=True), color=look.colour, linewidth=1.2)


def _is_of(request: RequestRecord, rows: Rows) -> bool:
    asked = request.last_attempt and not request.warm_up and is_whole(request)
    timed = request.prompt_tokens is not None and _ttft_s(request) is not None
    return asked and timed and any((r.endpoint, r.cell) == (request.endpoint, request.cell) for r in rows)


def _ttft_s(request: RequestRecord) -> float | None:
    return as_streamed(request, request.ttft_s)


def _title(rows: Rows, axis: str) -> str:
    first = rows[0]
    shape = [] if axis == "concurrency" else [first.load]
    shape += [f"context {first.context_tokens:,} tokens"] if axis != "context" and first.context_tokens else []
    shape += [f"at most {first.max_tokens:,} output tokens"] if first.max_tokens else []
    return f"{first.scenario}: {', '.join(shape)}"


def _legend(summary: Summary, rows: Rows) -> list[Artist]:
    looks = style.looks(summary)
    names = dict.fromkeys(row.endpoint for row in rows)
    return [mark(short(_label(summary, n)), color=looks[n].colour, marker=looks[n].marker) for n in names]


def _label(summary: Summary, name: str) -> str:
    return summary.labels.get(name, name)


def _speed(row: InferenceRow) -> float:
    return row.system_output_tok_per_s.mean if row.system_output_tok_per_s else 0.0
