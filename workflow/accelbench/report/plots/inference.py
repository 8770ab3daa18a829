"""The inference half's plots: each request's latency, in order and by output tokens.

Warm-up requests and attempts that were repeated are left out, failures are shown or counted.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from accelbench.analysis.economy import Economy
from accelbench.analysis.intervals import distinct
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
    limit_legend,
    limit_notes,
    limits_of,
    log_axis,
    mark,
    nothing,
    plain_numbers,
    short,
    spread_out,
    tip,
)
from accelbench.report.summary import Summary
from accelbench.report.text import number
from accelbench.store.requests import Column, Requests

CUT, CUT_MARKER = "truncated_length", ">"
MIN_FOR_LINE = 8  # requests; a line through fewer shows chance
STRIP_CHARS, NARROW_CHARS = 68, 39  # that fit over a strip, and over one of two side by side
STRIP_IN = 0.62  # inches
LINE_PARTS = 40
MANY_PANELS = 4  # more stand side by side in two columns
NO_REQUESTS = "No requests were measured."


def latency_by_request(summary: Summary) -> Figure:
    """Draw each request's latency, a panel per load, a strip per endpoint."""
    asked, notes = _asked(summary), absent_rounds(summary)
    if not len(asked):
        return nothing("Latency by request", NO_REQUESTS, notes)
    good, by_load = asked.where(_succeeded(asked)), asked.by("cell", "endpoint")
    legend: list[Artist] = [mark("one request, first sent on top", marker="o")]
    legend += [mark("median", marker="|", markersize=11, markeredgewidth=2)] if len(good) else []
    legend += [mark("cut at max_tokens", marker=CUT_MARKER)] if _cut(good).any() else []
    legend += [mark("failed, no latency", marker="x", markeredgewidth=1.6)] if len(good) < len(asked) else []
    disturbed = style.disturbed_rounds(summary)
    legend += style.disturbed_legend(any_is=bool(style.is_disturbed(good, disturbed).any()))
    asked_of = {cell: [e for e in summary.endpoints if (cell, e) in by_load] for cell in _cells(summary)}
    every = [cell for cell, names in asked_of.items() if names]
    cells = {cell: asked_of[cell] for cell in spread_out(every)}
    notes += left_out(list(cells), every, "loads")
    is_narrow = len(cells) > MANY_PANELS
    tallest = max(map(len, cells.values()))
    panels = [Panel(_cell_title(summary, cell), STRIP_IN * len(names), 0.2) for cell, names in cells.items()]
    if is_narrow:
        panels = _in_pairs(list(cells), STRIP_IN * tallest, left_in=0.2)
        legend = [*endpoint_legend(summary, (name for names in cells.values() for name in names)), *legend]
    latencies_s = [style.quiet_of(own, disturbed)["e2e_s"] for own in good.by("cell", "endpoint").values()]
    medians = [float(np.median(own)) for own in latencies_s]
    middle = "none succeeded"
    if medians:
        middle = f"median{'s' if len(medians) > 1 else ''} {extent(medians)}\N{NO-BREAK SPACE}s"
    title = f"E2E latency of each request: {middle}"
    figure, all_axes = canvas(title, panels, legend=legend, notes=notes)
    looks, pixels = style.looks(summary), len(asked) > style.MANY_POINTS
    for (cell, names), axes in zip(cells.items(), all_axes, strict=False):
        from_zero(axes.xaxis, ends(good["e2e_s"]), room=1.08)
        for place, name in enumerate(names):
            own, named = by_load[cell, name], label(summary, name)
            _draw_strip(axes, own, disturbed, named, looks[name], place, pixels=pixels, is_narrow=is_narrow)
        if is_narrow and axes.get_xscale() == "log":
            log_axis(axes.xaxis, style.WIDE)
        axes.set_ylim(tallest if is_narrow else len(names), 0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("E2E latency (s)")
    _hide(all_axes[len(cells) :])
    return figure


def _draw_strip(
    axes: Axes,
    requests: Requests,
    disturbed: style.RoundKeys,
    name: str,
    look: Look,
    place: int,
    *,
    pixels: bool,
    is_narrow: bool,
) -> None:
    """Draw one endpoint's requests in the order they were sent, from the top of the strip to its bottom."""
    count, across = len(requests), axes.get_yaxis_transform()
    sent, turn = requests["sent_unix_s"], requests["dequeued_unix_s"]
    order = np.lexsort((np.where(np.isnan(sent), turn, sent), requests["round"]))
    heights = np.empty(count)
    heights[order] = place + 0.44 + 0.46 * (np.arange(count) + 0.5) / count
    good = _succeeded(requests)
    for cut, hollow, alike in _alike(requests.where(good), disturbed):
        x, y = requests["e2e_s"][good][alike], heights[good][alike]
        _dots(axes, x, y, look, marker=CUT_MARKER if cut else "o", hollow=hollow, pixels=pixels)
    text = f": n = {count}"
    if good.any():
        timed_s = style.quiet_of(requests.where(good), disturbed)["e2e_s"]
        median = float(np.median(timed_s))
        (line,) = axes.plot([median, median], [place + 0.4, place + 0.94], color=style.INK, linewidth=2, zorder=4)
        tip(line, f"{name}: median {number(median)} s (n = {len(timed_s)})")
        text += f", median {number(median)} s"
    failures = Counter(requests["class_"][~_succeeded(requests)])
    if failures:
        text += ", failed: " + ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items()))
        crosses = heights[~good]
        axes.plot(
            np.full(len(crosses), 0.985), crosses, transform=across, linestyle="none", clip_on=False,
            color=look.colour, marker="x", markersize=5, markeredgewidth=1.6,
        )  # fmt: skip
    chars, font_points = (NARROW_CHARS, 7.5) if is_narrow else (STRIP_CHARS, 8.5)
    text = short(name, max(12, chars - len(text))) + text
    axes.text(0.0, place + 0.21, short(text, chars), transform=across, fontsize=font_points, va="center")


def latency_vs_tokens(summary: Summary) -> Figure:
    """Draw each request's latency by its output tokens, a panel per load."""
    notes = absent_rounds(summary)
    asked = _asked(summary)
    good = asked.where(_succeeded(asked))
    counted = good.where(good["completion_tokens"] > 0)
    if not len(counted):
        why = "No request succeeded." if len(asked) else NO_REQUESTS
        why = "No answer came with a token count." if len(good) else why
        return nothing("Latency by output tokens", why, notes)
    if len(counted) < len(good):
        notes.insert(0, f"Left out: {len(good) - len(counted)} answers without a token count.")
    by_load = counted.by("cell", "endpoint")
    every = [cell for cell in _cells(summary) if any(cell == key[0] for key in by_load)]
    cells = spread_out(every)
    notes += left_out(cells, every, "loads")
    groups = {key: own for key, own in by_load.items() if key[0] in cells}
    looks = style.looks(summary)
    named = [name for name in summary.endpoints if any(name == key[1] for key in by_load)]
    legend = endpoint_legend(summary, named)
    if _cut(counted).any():
        legend.append(mark("cut at max_tokens", marker=CUT_MARKER))
    disturbed = style.disturbed_rounds(summary)
    legend += style.disturbed_legend(any_is=bool(style.is_disturbed(counted, disturbed).any()))
    if any(_has_line(style.quiet_of(group, disturbed)) for group in groups.values()):
        legend.append(mark("least squares", linestyle="-", linewidth=1.2))
        notes.insert(0, f"Lines need {MIN_FOR_LINE} or more requests of one endpoint under one load.")
    tokens = ends(counted["completion_tokens"])
    limits = limits_of(summary, cells)
    legend += limit_legend(summary, limits)
    title = f"E2E latency by output tokens: {len(counted):,} requests, {extent(tokens, 0)}\N{NO-BREAK SPACE}tokens"
    figure, all_axes = canvas(
        title, _panels(summary, cells), legend=legend, notes=[*limit_notes(summary, cells), *notes]
    )
    for place, (cell, axes) in enumerate(zip(cells, all_axes, strict=False)):
        own = {name: groups[cell, name] for name in named if (cell, name) in groups}
        for name, requests in own.items():
            pixels = len(counted) > style.MANY_POINTS
            _draw_against_tokens(axes, requests, disturbed, looks[name], pixels=pixels)
        from_zero(axes.yaxis, [end for requests in own.values() for end in ends(requests["e2e_s"])])
        for each in (limit for limit in limits if limit.cell == cell):
            _draw_limit(axes, each, max(tokens), looks[each.endpoint])
        axes.set_xlim(0, max(tokens) * 1.06)
        plain_numbers(axes.xaxis)
        axes.set_xlabel("output tokens")
        if len(cells) <= MANY_PANELS or place % 2 == 0:
            axes.set_ylabel("E2E latency (s)")
    _hide(all_axes[len(cells) :])
    return figure


def _panels(summary: Summary, cells: Sequence[str]) -> list[Panel]:
    """Return a panel per cell, or rows of two where there are many."""
    if len(cells) <= MANY_PANELS:
        return [Panel(_cell_title(summary, cell), 2.1) for cell in cells]
    return _in_pairs(cells, 1.5, between_in=0.5)


def _in_pairs(cells: Sequence[str], height_in: float, **given: float) -> list[Panel]:
    """Return panels with two axes each, one per cell."""
    pairs = [tuple(cells[place : place + 2]) for place in range(0, len(cells), 2)]
    return [Panel("", height_in, columns=2, titles=pair, **given) for pair in pairs]


def _hide(left_over: Iterable[Axes]) -> None:
    for axes in left_over:
        axes.set_visible(False)


def _draw_limit(axes: Axes, limit: Economy, tokens: float, look: Look) -> None:
    """Draw the least time of each number of output tokens, by the bandwidth limit."""
    bound = limit.limit_tok_per_s or math.inf
    line = _line(axes, (1, tokens), lambda count: count / bound, color=look.colour, linestyle="--", linewidth=1.2)
    tip(line, f"bandwidth limit: {number(bound)} tok/s")
    if axes.get_yscale() == "log":
        axes.set_ylim(bottom=min(axes.get_ylim()[0], tokens / bound / 1.5))


def _line(axes: Axes, ends: Sequence[float], latency_s: Callable[[float], float], **drawn: Any) -> Line2D:
    """Draw a line through many points: on a logarithmic axis it is a curve."""
    counts = [ends[0] + (ends[1] - ends[0]) * place / LINE_PARTS for place in range(LINE_PARTS + 1)]
    (line,) = axes.plot(counts, [latency_s(count) for count in counts], **drawn)
    return line


def _draw_against_tokens(
    axes: Axes, requests: Requests, disturbed: style.RoundKeys, look: Look, *, pixels: bool
) -> None:
    tokens, latencies_s = requests["completion_tokens"], requests["e2e_s"]
    for cut, hollow, alike in _alike(requests, disturbed):
        marker = CUT_MARKER if cut else look.marker
        _dots(axes, tokens[alike], latencies_s[alike], look, marker=marker, hollow=hollow, pixels=pixels)
    timed = style.quiet_of(requests, disturbed)
    if _has_line(timed):
        slope, start = np.polyfit(timed["completion_tokens"], timed["e2e_s"], 1)
        ends_of_line = ends(timed["completion_tokens"])
        _line(axes, ends_of_line, lambda count: start + slope * count, color=look.colour, linewidth=1.2)


def _has_line(requests: Requests) -> bool:
    return len(requests) >= MIN_FOR_LINE and distinct(requests["completion_tokens"]) > 1


def _asked(summary: Summary) -> Requests:
    return summary.requests.where(summary.requests["last_attempt"] & ~summary.requests["warm_up"])


def _succeeded(requests: Requests) -> NDArray[np.bool_]:
    return requests["is_success"] & requests["is_timed"]


def _cut(requests: Requests) -> NDArray[np.bool_]:
    return np.asarray(requests["class_"] == CUT)


def _alike(requests: Requests, disturbed: style.RoundKeys) -> Iterator[tuple[bool, bool, NDArray[np.bool_]]]:
    """Return which requests are alike: cut or not, of disturbed rounds or not."""
    cut, hollow = _cut(requests), style.is_disturbed(requests, disturbed)
    for is_cut, is_hollow in itertools.product((False, True), repeat=2):
        yield is_cut, is_hollow, (cut == is_cut) & (hollow == is_hollow)


def _cells(summary: Summary) -> list[str]:
    return list(dict.fromkeys(record.cell for record in summary.rounds))


def _cell_title(summary: Summary, cell: str) -> str:
    load = next((row.load for row in summary.inference if row.cell == cell), None)
    return cell if load is None else f"{cell} ({load})"


def _dots(axes: Axes, x: Column, y: Column, look: Look, *, marker: str, hollow: bool, pixels: bool) -> None:
    if len(x):
        axes.plot(
            x,
            y,
            color=look.colour,
            marker=marker,
            markerfacecolor=style.face(look.colour, disturbed=hollow),
            markersize=4.5,
            linestyle="none",
            alpha=0.75,
            zorder=3,
            rasterized=pixels,
        )
