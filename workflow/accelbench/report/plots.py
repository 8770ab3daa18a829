"""The four plots, each as SVG and PNG. A half without data gets a small figure that says so.

Points are single runs and single requests; means, medians and lines are drawn only over what one sees.
Warm-up requests and attempts that were repeated are left out, failures are shown or counted.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from accelbench.analysis.inference import SUCCESS
from accelbench.records import RequestRecord, TrainRunRecord
from accelbench.report import style
from accelbench.report.style import Look, Panel, canvas, from_zero, log2_axis, log_axis, mark, plain_numbers, short
from accelbench.report.summary import Summary
from accelbench.report.tables import number

CUT = "truncated_length"
MIN_FOR_LINE = 8  # requests; a line through fewer shows their accidents
STRIP_CHARS = 68  # that fit over a strip
MANY_POINTS = 1500  # more are drawn as pixels: a page must open on a phone
NO_TRAINING, NO_REQUESTS = "No training runs were measured.", "No requests were measured."


def write_plots(out: Path, summary: Summary) -> None:
    """Write all plots to a folder, as {name}.svg and {name}.png."""
    drawn: dict[str, Callable[[Summary], Figure]] = {
        "rate_vs_batch_size": _rate_vs_batch_size,
        "loss_vs_samples": _loss_vs_samples,
        "latency_by_request": _latency_by_request,
        "latency_vs_tokens": _latency_vs_tokens,
    }
    with matplotlib.rc_context(style.RC):
        for name, draw in drawn.items():
            style.save(draw(summary), out, name)


# --- training -----------------------------------------------------------------------------------------------


def _rate_vs_batch_size(summary: Summary) -> Figure:
    runs = [run for run in _measured(summary) if _logged(run, "steady_rate_samples_per_s") is not None]
    notes = _absent_runs(summary)
    if not runs:
        why = "No log has a steady rate: it takes two progress lines without a pause between them."
        return _nothing("Rate by batch size", why if _measured(summary) else NO_TRAINING, notes)
    rates = [_logged(run, "steady_rate_samples_per_s") or 0.0 for run in runs]
    legend = [
        *_names({run.platform for run in runs}, summary),
        mark("steady rate, one run", marker="o"),
        mark("steady rate, mean", linestyle="-", linewidth=1.6),
        mark("GlobalRate (logged), one run", marker="o", markersize=8.5, markerfacecolor="none"),
        mark("samples / total time, mean", linestyle=":", linewidth=1.2),
    ]
    notes.insert(0, "samples / total time counts start-up too: it measures more than the machine.")
    title = f"Steady rate by batch size: {_span(rates)} samples/s {_kept_together(_runs_each(runs))}"
    figure, (axes,) = canvas(title, [Panel("", 2.7)], legend=legend, notes=notes)
    looks, tops = style.looks(summary), list(rates)
    for platform in dict.fromkeys(run.platform for run in runs):
        own = sorted((run for run in runs if run.platform == platform), key=lambda run: run.batch_size)
        tops += _draw_rates(axes, own, looks[platform])
    from_zero(axes.yaxis, tops)
    log2_axis(axes, sorted({run.batch_size for run in runs}))
    axes.set_xlabel("batch size (samples per step)")
    axes.set_ylabel("samples/s")
    return figure


def _draw_rates(axes: Axes, runs: Sequence[TrainRunRecord], look: Look) -> list[float]:
    """Draw one platform; return all values drawn beside the steady rates."""
    steady = [(run.batch_size, _logged(run, "steady_rate_samples_per_s")) for run in runs]
    whole = [(run.batch_size, rate) for run in runs if (rate := _logged(run, "global_rate_samples_per_s"))]
    total = [(run.batch_size, rate) for run in runs if (rate := _rate_over_all(run))]
    if total:
        axes.plot(*zip(*_means(total), strict=True), color=look.colour, linestyle=":", linewidth=1.2)
    axes.plot(*zip(*_means(steady), strict=True), color=look.colour, linewidth=1.6)
    dots: dict[str, Any] = {"linestyle": "none", "color": look.colour, "clip_on": False}
    axes.plot(*zip(*steady, strict=True), marker="o", markersize=4.5, **dots)
    if whole:
        axes.plot(*zip(*whole, strict=True), marker="o", markersize=8.5, markerfacecolor="none", **dots)
    return [rate for _, rate in whole + total]


def _loss_vs_samples(summary: Summary) -> Figure:
    runs = [run for run in _measured(summary) if len(_losses(run, "steps")) > 0]
    notes = _absent_runs(summary)
    if not runs:
        why = "No log has losses." if _measured(summary) else NO_TRAINING
        return _nothing("Training loss by samples seen", why, notes)
    sizes = sorted({run.batch_size for run in runs})
    greys = dict(zip(sizes, style.shades("#6e7781", len(sizes)), strict=True))
    platforms = list(dict.fromkeys(run.platform for run in runs))
    looks = style.looks(summary)
    if len(platforms) == 1:
        greys = dict(zip(sizes, style.shades(looks[platforms[0]].colour, len(sizes)), strict=True))
    legend = [mark(f"batch {size:,}", color=greys[size], linestyle="-", linewidth=2) for size in sizes]
    if any(_losses(run, "held_out") for run in runs):
        legend.append(mark("held-out loss", marker="D", markersize=6))
    lost = sum(_not_finite(run) for run in runs)
    if lost:
        notes.insert(0, f"Not drawn, because nan or infinite: {lost} of the logged losses.")
    if len(sizes) > 1:
        notes.insert(0, "Compare sizes at equal samples seen (one vertical line), not at the ends of the lines.")
    seen = [points[-1][0] for run in runs if (points := _losses(run, "steps"))]
    last = [points[-1][1] for run in runs if (points := _losses(run, "steps"))]
    title = f"Training loss by samples seen: last values {_span(last)} after {_span(seen, 0)} samples"
    title += f" {_kept_together(_runs_each(runs))}"
    panels = [Panel(summary.labels.get(platform, platform), 2.6) for platform in platforms]
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    for platform, axes in zip(platforms, all_axes, strict=True):
        own_shades = dict(zip(sizes, style.shades(looks[platform].colour, len(sizes)), strict=True))
        for run in runs:
            if run.platform == platform:
                _draw_losses(axes, run, own_shades[run.batch_size])
        if max(seen) / min(seen) >= 4:
            log_axis(axes.xaxis)
        else:
            plain_numbers(axes.xaxis)
        axes.set_xlabel("training samples seen (step × batch size)")
        axes.set_ylabel("cross-entropy loss (nats per token)")
    return figure


def _draw_losses(axes: Axes, run: TrainRunRecord, colour: str) -> None:
    axes.plot(*zip(*_losses(run, "steps"), strict=True), color=colour, linewidth=1.1)
    held_out = _losses(run, "held_out")
    if held_out:
        at: dict[str, Any] = {"marker": "D", "markersize": 6, "markeredgecolor": "white", "zorder": 3}
        axes.plot(*held_out[-1], color=colour, clip_on=False, **at)


def _measured(summary: Summary) -> list[TrainRunRecord]:
    return [run for run in summary.runs if run.state == "measured" and run.log]


def _logged(run: TrainRunRecord, key: str) -> float | None:
    return _finite((run.log or {}).get(key))


def _rate_over_all(run: TrainRunRecord) -> float | None:
    samples, seconds = _logged(run, "processed_samples"), _logged(run, "processed_seconds")
    return samples / seconds if samples and seconds else None


def _losses(run: TrainRunRecord, rows: str) -> list[tuple[float, float]]:
    """Return (samples seen, loss) of each row that has both."""
    points = []
    for row in (run.log or {}).get(rows) or []:
        step, loss = _finite(row.get("step")), _finite(row.get("loss"))
        if step and loss is not None:
            points.append((step * run.batch_size, loss))
    return points


def _not_finite(run: TrainRunRecord) -> int:
    losses = [row.get("loss") for row in (run.log or {}).get("steps") or []]
    return sum(loss is not None and _finite(loss) is None for loss in losses)


def _absent_runs(summary: Summary) -> list[str]:
    absent = [run for run in summary.runs if run.state != "measured"]
    shown = [f"{run.platform} batch {run.batch_size} r{run.repeat} ({run.state})" for run in absent]
    return _not_there(shown)


def _kept_together(text: str) -> str:
    return f"({text})".replace(" ", "\N{NO-BREAK SPACE}")


def _runs_each(runs: Sequence[TrainRunRecord]) -> str:
    counts = Counter((run.platform, run.batch_size) for run in runs).values()
    least, most = min(counts), max(counts)
    if most == 1:
        return "one run each"
    return f"{most} runs each" if least == most else f"{least} to {most} runs each"


# --- inference ----------------------------------------------------------------------------------------------


def _latency_by_request(summary: Summary) -> Figure:
    asked, notes = _asked(summary), _absent_rounds(summary)
    if not asked:
        return _nothing("Latency by request", NO_REQUESTS, notes)
    good = [request for request in asked if _succeeded(request)]
    failed = [request for request in asked if not _succeeded(request)]
    legend = [mark("one request, first sent on top", marker="o")]
    legend += [mark("median", marker="|", markersize=11, markeredgewidth=2)] if good else []
    legend += [mark("cut at max_tokens", marker="o", markerfacecolor="none")] if any(map(_cut, good)) else []
    legend += [mark("failed, no latency", marker="x", markeredgewidth=1.6)] if failed else []
    cells = {cell: [e for e in _endpoints(summary) if _of(asked, e, cell)] for cell in _cells(summary)}
    panels = [Panel(_cell_title(summary, cell), 0.62 * len(names), 0.2) for cell, names in cells.items() if names]
    medians = [
        statistics.median(latencies)
        for cell, names in cells.items()
        for name in names
        if (latencies := [request.e2e_s or 0.0 for request in _of(good, name, cell)])
    ]
    middle = "none succeeded"
    if medians:
        middle = f"median{'s' if len(medians) > 1 else ''} {_span(medians)}\N{NO-BREAK SPACE}s"
    title = f"E2E latency of each request: {middle}"
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    latencies, looks = [request.e2e_s or 0.0 for request in good], style.looks(summary)
    for (cell, names), axes in zip(((c, n) for c, n in cells.items() if n), all_axes, strict=True):
        from_zero(axes.xaxis, latencies, room=1.08)
        for place, name in enumerate(names):
            label = summary.labels.get(name, name)
            _draw_strip(axes, _of(asked, name, cell), label, looks[name], place)
        axes.set_ylim(len(names), 0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("E2E latency (s)")
    return figure


def _draw_strip(axes: Axes, requests: Sequence[RequestRecord], label: str, look: Look, place: int) -> None:
    """Draw one endpoint's requests in the order they were sent, from the top of the strip to its bottom."""
    ordered = sorted(requests, key=lambda r: (r.round, r.sent_unix_s or r.dequeued_unix_s))
    heights = {id(r): place + 0.44 + 0.46 * (n + 0.5) / len(ordered) for n, r in enumerate(ordered)}
    good, across = [r for r in ordered if _succeeded(r)], axes.get_yaxis_transform()
    for cut in (False, True):
        points = [(r.e2e_s, heights[id(r)]) for r in good if _cut(r) is cut]
        _dots(axes, points, look, marker="o", hollow=cut)
    text = f": n = {len(ordered)}"
    if good:
        median = statistics.median(r.e2e_s or 0.0 for r in good)
        axes.plot([median, median], [place + 0.4, place + 0.94], color=style.INK, linewidth=2, zorder=4)
        text += f", median {number(median)} s"
    failures = Counter(r.class_ for r in ordered if not _succeeded(r))
    if failures:
        text += ", failed: " + ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items()))
        crosses = [heights[id(r)] for r in ordered if not _succeeded(r)]
        drawn: dict[str, Any] = {"color": look.colour, "marker": "x", "markersize": 5, "markeredgewidth": 1.6}
        axes.plot([0.985] * len(crosses), crosses, transform=across, linestyle="none", clip_on=False, **drawn)
    text = short(label, max(12, STRIP_CHARS - len(text))) + text
    axes.text(0.0, place + 0.21, short(text, STRIP_CHARS), transform=across, fontsize=8.5, va="center")


def _latency_vs_tokens(summary: Summary) -> Figure:
    notes = _absent_rounds(summary)
    good = [request for request in _asked(summary) if _succeeded(request)]
    counted = [request for request in good if request.completion_tokens]
    if not counted:
        why = "No request succeeded." if _asked(summary) else NO_REQUESTS
        why = "No answer came with a token count." if good else why
        return _nothing("Latency by output tokens", why, notes)
    if len(counted) < len(good):
        notes.insert(0, f"Left out, because without a token count: {len(good) - len(counted)} answers.")
    cells = [cell for cell in _cells(summary) if any(r.cell == cell for r in counted)]
    groups = {(cell, name): _of(counted, name, cell) for cell in cells for name in _endpoints(summary)}
    looks = style.looks(summary)
    named = [name for name in _endpoints(summary) if any(r.endpoint == name for r in counted)]
    legend = [mark(short(summary.labels.get(n, n)), color=looks[n].colour, marker=looks[n].marker) for n in named]
    if any(map(_cut, counted)):
        legend.append(mark("cut at max_tokens", marker="o", markerfacecolor="none"))
    if any(_has_line(group) for group in groups.values()):
        legend.append(mark("least squares", linestyle="-", linewidth=1.2))
        notes.insert(0, f"Lines need {MIN_FOR_LINE} or more requests of one endpoint under one load.")
    tokens = [request.completion_tokens or 0 for request in counted]
    title = f"E2E latency by output tokens: {len(counted):,} requests, {_span(tokens, 0)}\N{NO-BREAK SPACE}tokens"
    panels = [Panel(_cell_title(summary, cell), 2.1) for cell in cells]
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    for cell, axes in zip(cells, all_axes, strict=True):
        for name in named:
            _draw_against_tokens(axes, groups[cell, name], looks[name])
        from_zero(axes.yaxis, [r.e2e_s or 0.0 for r in counted if r.cell == cell])
        axes.set_xlim(0, max(tokens) * 1.06)
        plain_numbers(axes.xaxis)
        axes.set_xlabel("output tokens")
        axes.set_ylabel("E2E latency (s)")
    return figure


def _draw_against_tokens(axes: Axes, requests: Sequence[RequestRecord], look: Look) -> None:
    for cut in (False, True):
        points = [(r.completion_tokens, r.e2e_s) for r in requests if _cut(r) is cut]
        _dots(axes, points, look, marker=look.marker, hollow=cut)
    if _has_line(requests):
        tokens = [float(r.completion_tokens or 0) for r in requests]
        slope, start = statistics.linear_regression(tokens, [r.e2e_s or 0.0 for r in requests])
        ends = [min(tokens), max(tokens)]
        axes.plot(ends, [start + slope * end for end in ends], color=look.colour, linewidth=1.2)


def _has_line(requests: Sequence[RequestRecord]) -> bool:
    return len(requests) >= MIN_FOR_LINE and len({request.completion_tokens for request in requests}) > 1


def _asked(summary: Summary) -> list[RequestRecord]:
    return [request for request in summary.requests if request.last_attempt and not request.warm_up]


def _succeeded(request: RequestRecord) -> bool:
    return request.class_ in SUCCESS and request.e2e_s is not None


def _cut(request: RequestRecord) -> bool:
    return request.class_ == CUT


def _of(requests: Iterable[RequestRecord], endpoint: str, cell: str) -> list[RequestRecord]:
    return [request for request in requests if (request.endpoint, request.cell) == (endpoint, cell)]


def _cells(summary: Summary) -> list[str]:
    return list(dict.fromkeys(record.cell for record in summary.rounds))


def _endpoints(summary: Summary) -> list[str]:
    return list(dict.fromkeys(record.endpoint for record in summary.rounds))


def _cell_title(summary: Summary, cell: str) -> str:
    slots = next((row.concurrency for row in summary.inference if row.cell == cell), None)
    return cell if slots is None else f"{cell} ({slots} at a time)"


def _absent_rounds(summary: Summary) -> list[str]:
    absent = [record for record in summary.rounds if record.state != "measured"]
    shown = [f"{record.endpoint} {record.cell} round {record.round} ({record.state})" for record in absent]
    return _not_there(shown)


# --- both ---------------------------------------------------------------------------------------------------


def _nothing(what: str, why: str, notes: Sequence[str]) -> Figure:
    return canvas(f"{what}: nothing to draw", [], notes=[why, *notes])[0]


def _not_there(names: Sequence[str]) -> list[str]:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return [f"Not measured: {', '.join(names[:6])}{more}."] if names else []


def _names(platforms: Iterable[str], summary: Summary) -> list[Any]:
    looks, names = style.looks(summary), dict.fromkeys(run.platform for run in summary.runs)
    shown = [name for name in names if name in set(platforms)]
    return [mark(short(summary.labels.get(n, n)), color=looks[n].colour, marker="s", markersize=7) for n in shown]


def _dots(axes: Axes, points: Sequence[Any], look: Look, *, marker: str, hollow: bool) -> None:
    if points:
        face = "none" if hollow else look.colour
        axes.plot(
            *zip(*points, strict=True),
            color=look.colour,
            marker=marker,
            markerfacecolor=face,
            markersize=4.5,
            linestyle="none",
            alpha=0.75,
            zorder=3,
            rasterized=len(points) > MANY_POINTS,
        )


def _means(points: Iterable[tuple[int, Any]]) -> list[tuple[int, float]]:
    grouped: dict[int, list[float]] = {}
    for x, y in points:
        grouped.setdefault(x, []).append(y)
    return [(x, statistics.fmean(values)) for x, values in sorted(grouped.items())]


def _span(values: Sequence[float], digits: int = 3) -> str:
    """Return "41 to 97", or the one figure."""
    ends = (min(values), max(values))
    shown = [number(value, digits) if digits else f"{value:,.0f}" for value in ends]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def _finite(value: Any) -> float | None:
    """Return a figure of a log; "nan" and "inf" stand there as text."""
    if value is None:
        return None
    figure = float(value)
    return figure if math.isfinite(figure) else None
