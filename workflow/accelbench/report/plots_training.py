"""The training half's plots: rates, where the time went, losses.

Points and lines are single runs; means are drawn only over what one sees, or said to be means.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accelbench.records import TrainRunRecord
from accelbench.report import style
from accelbench.report.plots_shared import not_there, nothing, span
from accelbench.report.style import Look, Panel, canvas, from_zero, log2_axis, log_axis, mark, plain_numbers, short
from accelbench.report.summary import Summary
from accelbench.report.text import number

NO_TRAINING = "No training runs were measured."
PHASE_COLOURS = {
    "setup": "#a6cee3", "queue": "#e8998d", "compile": "#f6c177", "staging": "#cab2d6", "weights": "#b5d99c",
    "programming": "#d9b99b", "train": "#3f5873", "checkpoint": "#7fb0b2", "eval": "#93a8c7", "teardown": "#c9ccd1",
    "other": "#e6e8eb",
}  # fmt: skip
"""The phases of a log (training/timeline.py), in their order; the one that trains is the dark one."""
VISIBLE = 0.004  # of a bar


def rate_vs_batch_size(summary: Summary) -> Figure:
    """Draw steady rates, GlobalRates and samples over total time by batch size."""
    runs = [run for run in _measured(summary) if _logged(run, "steady_rate_samples_per_s") is not None]
    notes = _absent_runs(summary)
    if not runs:
        why = "No log has a steady rate: it takes two progress lines without a pause between them."
        return nothing("Rate by batch size", why if _measured(summary) else NO_TRAINING, notes)
    rates = [_logged(run, "steady_rate_samples_per_s") or 0.0 for run in runs]
    legend = [
        *_names({run.platform for run in runs}, summary),
        mark("steady rate, one run", marker="o"),
        mark("steady rate, mean", linestyle="-", linewidth=1.6),
        mark("GlobalRate (logged), one run", marker="o", markersize=8.5, markerfacecolor="none"),
        mark("samples / total time, mean", linestyle=":", linewidth=1.2),
    ]
    notes.insert(0, "samples / total time counts start-up too: it measures more than the machine.")
    title = f"Steady rate by batch size: {span(rates)} samples/s {_kept_together(_runs_each(runs))}"
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


def loss_vs_samples(summary: Summary) -> Figure:
    """Draw each run's losses by the samples it had seen, a panel per platform."""
    runs = [run for run in _measured(summary) if len(_losses(run, "steps")) > 0]
    notes = _absent_runs(summary)
    if not runs:
        why = "No log has losses." if _measured(summary) else NO_TRAINING
        return nothing("Training loss by samples seen", why, notes)
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
    title = f"Training loss by samples seen: last values {span(last)} after {span(seen, 0)} samples"
    title += f" {_kept_together(_runs_each(runs))}"
    panels = [Panel(summary.labels.get(platform, platform), 2.6) for platform in platforms]
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    for platform, axes in zip(platforms, all_axes, strict=True):
        own_shades = dict(zip(sizes, style.shades(looks[platform].colour, len(sizes)), strict=True))
        for run in runs:
            if run.platform == platform:
                _draw_losses(axes, run, own_shades[run.batch_size])
        if max(seen) / min(seen) >= 4:
            first = min(points[0][0] for run in runs if (points := _losses(run, "steps")))
            log_axis(axes.xaxis, max(seen) / first)
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


def phases_by_batch_size(summary: Summary) -> Figure:
    """Draw where the seconds of each batch size went, means over its runs, a panel per platform."""
    runs = [run for run in _measured(summary) if _phases(run)]
    notes = _absent_runs(summary)
    if not runs:
        why = "No log has lines with times." if _measured(summary) else NO_TRAINING
        return nothing("Where the time went by batch size", why, notes)
    platforms = list(dict.fromkeys(run.platform for run in runs))
    sizes = {name: sorted({run.batch_size for run in runs if run.platform == name}) for name in platforms}
    spent = {
        (p, size): _mean_phases([r for r in runs if (r.platform, r.batch_size) == (p, size)])
        for p in platforms
        for size in sizes[p]
    }
    visible = [{name for name, s in phases.items() if s > VISIBLE * sum(phases.values())} for phases in spent.values()]
    named = [name for name in PHASE_COLOURS if any(name in names for names in visible)]
    shares = [100 * phases["train"] / sum(phases.values()) for phases in spent.values()]
    legend = [mark(name, color=PHASE_COLOURS[name], marker="s", markersize=8) for name in named]
    notes.insert(
        0,
        "Means over the runs of a size, from the log's own times; phases too short to be seen have no colour here."
        + (" other: what the log does not say." if "other" in named else ""),
    )
    title = f"Where the time went: {span(shares, 0)} % of it was training {_kept_together(_runs_each(runs))}"
    panels = [Panel(summary.labels.get(name, name), 0.2 + 0.34 * len(sizes[name])) for name in platforms]
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    for platform, axes in zip(platforms, all_axes, strict=True):
        _draw_phases(axes, {size: spent[platform, size] for size in sizes[platform]}, named)
    return figure


def _draw_phases(axes: Axes, spent: Mapping[int, Mapping[str, float]], named: Sequence[str]) -> None:
    totals = {size: sum(phases.values()) for size, phases in spent.items()}
    for place, (size, phases) in enumerate(spent.items()):
        start = 0.0
        for name in named:
            seconds = phases[name]
            axes.barh(place, seconds, 0.68, start, color=PHASE_COLOURS[name], edgecolor="white", linewidth=0.5)
            start += seconds
        text = f" {number(totals[size])} s, {100 * phases['train'] / totals[size]:.0f} % training"
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
    """Return the seconds of each phase; nothing where the log has no times."""
    phases = {name: _finite(spent) or 0.0 for name, spent in ((run.log or {}).get("phases_s") or {}).items()}
    return phases if sum(phases.values()) > 0 else {}


def _mean_phases(runs: Sequence[TrainRunRecord]) -> dict[str, float]:
    return {name: statistics.fmean(_phases(run).get(name, 0.0) for run in runs) for name in PHASE_COLOURS}


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
    return not_there(shown)


def _kept_together(text: str) -> str:
    return f"({text})".replace(" ", "\N{NO-BREAK SPACE}")


def _runs_each(runs: Sequence[TrainRunRecord]) -> str:
    counts = Counter((run.platform, run.batch_size) for run in runs).values()
    least, most = min(counts), max(counts)
    if most == 1:
        return "one run each"
    return f"{most} runs each" if least == most else f"{least} to {most} runs each"


def _names(platforms: Iterable[str], summary: Summary) -> list[Any]:
    looks, names = style.looks(summary), dict.fromkeys(run.platform for run in summary.runs)
    shown = [name for name in names if name in set(platforms)]
    return [mark(short(summary.labels.get(n, n)), color=looks[n].colour, marker="s", markersize=7) for n in shown]


def _means(points: Iterable[tuple[int, Any]]) -> list[tuple[int, float]]:
    grouped: dict[int, list[float]] = {}
    for x, y in points:
        grouped.setdefault(x, []).append(y)
    return [(x, statistics.fmean(values)) for x, values in sorted(grouped.items())]


def _finite(value: Any) -> float | None:
    """Return a figure of a log; "nan" and "inf" stand there as text."""
    if value is None:
        return None
    figure = float(value)
    return figure if math.isfinite(figure) else None
