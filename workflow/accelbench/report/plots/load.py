"""The plots of load shapes: throughput over a list of concurrencies, TTFT over a list of context lengths."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load_curve import lists_over
from accelbench.report.plots import style
from accelbench.report.plots.style import (
    Look,
    Panel,
    absent_rounds,
    canvas,
    endpoint_legend,
    ends,
    extent,
    from_zero,
    label,
    left_out,
    log2_axis,
    mark,
    nothing,
    shape_title,
    spread_out,
    tip,
)
from accelbench.report.summary import Summary
from accelbench.report.text import number
from accelbench.store.requests import Requests

_Rows = list[InferenceRow]
MOST_LABELS = 6  # listed under a plot


def throughput_by_concurrency(summary: Summary) -> Figure:
    """Draw the tokens per second of the whole endpoint by concurrency."""
    notes = absent_rounds(summary)
    known = [row for row in summary.inference if row.system_output_tok_per_s and row.rate_per_s is None]
    every = lists_over(known, lambda row: row.concurrency, lambda row: (row.context_tokens, row.max_tokens))
    if not every:
        why = "No scenario was measured at two concurrencies or more with all slots busy together."
        return nothing("Throughput by concurrency", why, notes)
    groups = spread_out(every)
    notes += left_out(groups, every, "shapes")
    drawn = [row for rows in groups for row in rows]
    speeds = [_speed(row) for row in drawn]
    panels = [Panel(shape_title(rows[0], "concurrency"), 2.0) for rows in groups]
    title = f"Throughput by concurrency: {extent(speeds)}\N{NO-BREAK SPACE}output tokens per second"
    rounds = extent([row.rounds for row in drawn], 0)
    notes.insert(
        0,
        f"Mean over rounds (n = {rounds} a point) of the speed with all slots busy; bars: lowest to highest round.",
    )
    labelled = [row for row in drawn if row.labels]
    notes[1:1] = [f"{row.cell}, {label(summary, row.endpoint)}: {row.labels}." for row in labelled[:MOST_LABELS]]
    if len(labelled) > MOST_LABELS:
        notes.insert(MOST_LABELS + 1, f"{len(labelled) - MOST_LABELS} more loads have labels; see under the tables.")
    legend = endpoint_legend(summary, (row.endpoint for row in drawn))
    legend += style.disturbed_legend(any_is=any(row.disturbed for row in drawn))
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    looks = style.looks(summary)
    for rows, axes in zip(groups, all_axes, strict=True):
        for name in dict.fromkeys(row.endpoint for row in rows):
            own = sorted((row for row in rows if row.endpoint == name), key=lambda row: row.concurrency)
            _draw_speeds(axes, own, looks[name], label(summary, name))
        log2_axis(axes, sorted({row.concurrency for row in rows}))
        from_zero(axes.yaxis, [row.system_output_tok_per_s.max for row in rows if row.system_output_tok_per_s])
        axes.set_ylabel("output tok/s, system")
        axes.set_xlabel("requests in flight")
    return figure


def ttft_by_prompt_tokens(summary: Summary) -> Figure:
    """Draw each request's TTFT by the prompt tokens that the endpoint counted, a panel per list of contexts."""
    notes = absent_rounds(summary)
    filled = [row for row in summary.inference if row.context_tokens and "ttft" in row.figures]
    every = lists_over(filled, lambda row: row.context_tokens, lambda row: (row.load, row.max_tokens))
    groups = spread_out(every)
    notes += left_out(groups, every, "shapes")
    by_load = _timed(summary.requests).by("endpoint", "cell")
    keys = [[key for row in rows if (key := (row.endpoint, row.cell)) in by_load] for rows in groups]
    if not any(keys):
        why = "No scenario with a list of context lengths was measured with streamed answers and token counts."
        return nothing("TTFT by prompt tokens", why, notes)
    drawn = [row for rows in groups for row in rows]
    counted = np.concatenate([by_load[key]["prompt_tokens"] for own in keys for key in own])
    title = f"TTFT by prompt length: {extent(counted, 0)}\N{NO-BREAK SPACE}tokens"
    panels = [Panel(shape_title(rows[0], "context"), 2.2) for rows in groups]
    notes.insert(0, "By prompt tokens as the endpoint counts them; medians for each requested context length.")
    legend = endpoint_legend(summary, (row.endpoint for row in drawn))
    legend += [mark(f"one request (n = {len(counted):,})", marker="o", markersize=3), mark("medians", linestyle="-")]
    disturbed = style.disturbed_rounds(summary)
    legend += style.disturbed_legend(
        any_is=any(style.is_disturbed(by_load[k], disturbed).any() for own in keys for k in own)
    )
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    looks = style.looks(summary)
    for own, axes in zip(keys, all_axes, strict=True):
        for name in dict.fromkeys(endpoint for endpoint, _ in own):
            by_cell = [by_load[key] for key in own if key[0] == name]
            pixels = len(counted) > style.MANY_POINTS
            _draw_ttft(axes, by_cell, disturbed, looks[name], label(summary, name), pixels=pixels)
        from_zero(axes.yaxis, [end for key in own for end in ends(by_load[key]["ttft_s"])])
        from_zero(axes.xaxis, [end for key in own for end in ends(by_load[key]["prompt_tokens"])])
        axes.set_xlabel("prompt tokens")
        axes.set_ylabel("TTFT (s)")
    return figure


def _draw_speeds(axes: Axes, rows: _Rows, look: Look, name: str) -> None:
    known = [(row, row.system_output_tok_per_s) for row in rows if row.system_output_tok_per_s]
    places, means = [row.concurrency for row, _ in known], [speed.mean for _, speed in known]
    ends = [[speed.mean - speed.min for _, speed in known], [speed.max - speed.mean for _, speed in known]]
    axes.errorbar(places, means, yerr=ends, color=look.colour, linewidth=1.2, elinewidth=1.0, capsize=2.5)
    for row, speed in known:
        face = style.face(look.colour, disturbed=row.disturbed)
        (point,) = axes.plot(
            row.concurrency, speed.mean, color=look.colour, marker=look.marker, markersize=5, markerfacecolor=face
        )
        tip(point, f"{name}, {row.load}: {number(speed.mean)} output tok/s ({speed.n} rounds)")


def _draw_ttft(
    axes: Axes, by_cell: Sequence[Requests], disturbed: style.RoundKeys, look: Look, name: str, *, pixels: bool
) -> None:
    for hollow in (False, True):
        drawn = [own.where(style.is_disturbed(own, disturbed) == hollow) for own in by_cell]
        points = [np.concatenate([own[field] for own in drawn]) for field in ("prompt_tokens", "ttft_s")]
        axes.plot(
            *points, color=look.colour,
            marker=look.marker, linestyle="none", markersize=3, alpha=0.35, markeredgewidth=1 if hollow else 0,
            markerfacecolor=style.face(look.colour, disturbed=hollow), rasterized=pixels,
        )  # fmt: skip
    middles = sorted(
        (float(np.median(own["prompt_tokens"])), float(np.median(own["ttft_s"])), len(own))
        for own in (style.quiet_of(requests, disturbed) for requests in by_cell)
    )
    axes.plot(*zip(*[middle[:2] for middle in middles], strict=True), color=look.colour, linewidth=1.2)
    for tokens, ttft_s, count in middles:
        (point,) = axes.plot(
            tokens, ttft_s, color=look.colour, marker=look.marker, markersize=6, markeredgecolor="white", zorder=3
        )
        tip(point, f"{name}: median TTFT {number(ttft_s)} s at {tokens:,.0f} prompt tokens (n = {count:,})")


def _timed(requests: Requests) -> Requests:
    asked = requests["last_attempt"] & ~requests["warm_up"] & requests["is_whole"]
    return requests.where(asked & ~np.isnan(requests["prompt_tokens"]) & ~np.isnan(requests.seconds("ttft_s")))


def _speed(row: InferenceRow) -> float:
    return row.system_output_tok_per_s.mean if row.system_output_tok_per_s else 0.0
