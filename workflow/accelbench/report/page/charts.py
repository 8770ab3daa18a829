"""The charts of the first screen: SVG whose colours are CSS variables of the page, so that they follow a dark one."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.intervals import Estimate
from accelbench.analysis.metrics import judged_metrics
from accelbench.report.page.cards import Whisker, load_name, real_pairs
from accelbench.report.plots import style
from accelbench.report.summary import Summary
from accelbench.report.text import listed, number

WIDTH, HEIGHT = 590, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 178, 20, 34, 46  # of the plotting area of intervals
_RATE_LEFT = 56  # of that of rates
_MOST_ROWS = 9
_CHARS = 22  # of a label that fits to the left
DARK_PALETTE = ("#4ba3e3", "#f28c4b", "#2bbf94", "#dd8fb9", "#e0a83e", "#7cc4f0", "#a68be0", "#b8bec6")
"""Of the palette's colours, those on a dark page."""
_COLOUR = re.compile(r"(?:(?<=: )|^)#[0-9a-f]{6}\b")
_VARIABLES = {
    **{colour: f"var(--c{place})" for place, colour in enumerate(style.PALETTE)},
    style.INK: "var(--ink)",
    style.GREY: "var(--soft)",
    style.RULE: "var(--rule)",
    "#ffffff": "var(--page)",
}


def themed(text: str) -> str:
    """Return a colour or SVG with the house style's colours as variables of the page, others lifted on a dark one."""
    return _COLOUR.sub(
        lambda found: _VARIABLES.get(found[0], f"color-mix(in srgb, {found[0]}, white var(--lift))"), text
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """An estimate in a chart of intervals, and the load that it belongs to."""

    group: str
    label: str
    found: Estimate
    colour: str


def charts(summary: Summary) -> list[Markup]:
    """Return at most two charts: ratios between endpoints, or their latencies, and rates by batch size."""
    drawn = [ratio_chart(summary), rate_chart(summary)]
    if not all(drawn):
        drawn.append(latency_chart(summary))
    return [chart for chart in drawn if chart][:2]


def ratio_chart(summary: Summary) -> Markup | None:
    """Draw the ratio of every load with its interval, against 1."""
    pairs = real_pairs(summary)
    keys = ("e2e_s", "ttft_s", "tpot_s") if len(pairs) * 3 <= _MOST_ROWS else (pairs[0].primary,)
    several = len({each.pair.ours.name for each in pairs}) > 1
    rows = []
    for each in pairs:
        load, name = load_name(each.pair.ours.cell, summary.inference), each.pair.ours.name
        called = summary.labels.get(name, name) if several else ""
        group = ", ".join(filter(None, [called, load])) if len(keys) > 1 else load
        for key in keys:
            if key in each.verdicts:
                label = judged_metrics()[key].label.removesuffix(" latency") if len(keys) > 1 else called
                rows.append(_Row(group, label, each.verdicts[key].comparison.estimate(), _colour(name, summary)))
    if not rows:
        return None
    what = judged_metrics()[keys[0]].label if len(keys) == 1 else "Time"
    names = {place: summary.labels.get(name, name) for place, name in enumerate(_sides(summary))}
    title = f"{names[0]} ÷ {names[1]}" if len(names) == 2 and not several else f"{what} ÷ the baseline's"
    return _intervals(title, rows, "ratio, 95 % interval; below 1: less time", against=1.0)


def latency_chart(summary: Summary) -> Markup | None:
    """Draw the typical latency of every endpoint and load with its interval."""
    told = [row for row in summary.inference if row.typical_latency and not row.disturbed]
    names = {row.endpoint: summary.labels.get(row.endpoint, row.endpoint) for row in told}
    rows = [
        _Row(
            load_name(row.cell, summary.inference),
            names[row.endpoint] if len(names) > 1 else "",
            row.typical_latency,
            _colour(row.endpoint, summary),
        )
        for row in sorted(told, key=lambda row: [each.cell for each in told].index(row.cell))
        if row.typical_latency
    ]
    title = f"Typical latency of {listed(list(names.values()))}" if len(names) == 1 else "Typical latency of an answer"
    return _intervals(title, rows, "seconds, 95 % interval") if rows else None


def rate_chart(summary: Summary) -> Markup | None:
    """Draw the steady rate of every run by batch size; a dash at the mean, hollow points of a busy host."""
    points = [
        (run.batch_size, rate, run.platform, bool(disturbances(run.host_activity)))
        for run in summary.runs
        if (rate := run.logged.steady_rate_samples_per_s) and math.isfinite(rate)
    ]
    if not points:
        return None
    sizes = sorted({size for size, *_ in points})
    most = max(rate for _, rate, *_ in points) * 1.05
    step = (WIDTH - _RATE_LEFT - _RIGHT) / len(sizes)

    def x(size: int) -> float:
        return _RATE_LEFT + step * (sizes.index(size) + 0.5)

    def y(rate: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * rate / most

    parts = [_text(16, 20, "Steady rate, a point per run", anchor="start", bold=True)]
    for tick in _ticks(most):
        parts += [_line(_RATE_LEFT, y(tick), WIDTH - _RIGHT, y(tick), "var(--rule)")]
        parts += [_text(_RATE_LEFT - 8, y(tick) + 4, number(tick, 2) if tick else "0", anchor="end", soft=True)]
    parts += [_text(x(size), HEIGHT - _BOTTOM + 18, f"{size:,}", soft=True) for size in sizes[:: -(-len(sizes) // 12)]]
    parts.append(_text((WIDTH + _RATE_LEFT) / 2, HEIGHT - 8, "batch size; rate in samples per second", soft=True))
    platforms = list(dict.fromkeys(platform for _, _, platform, _ in points))
    for place, platform in enumerate(platforms):
        colour, shift = _colour(platform, summary), 12 * (place - (len(platforms) - 1) / 2)
        if len(platforms) > 1:
            parts.append(_dot(250 + 170 * (place % 2), 16 + 16 * (place // 2), colour, platform))
            name = style.short(summary.labels.get(platform, platform), _CHARS)
            parts.append(_text(260 + 170 * (place % 2), 20 + 16 * (place // 2), name, anchor="start", soft=True))
        own = [point for point in points if point[2] == platform]
        for size in sizes:
            quiet = [rate for at, rate, _, busy in own if at == size and not busy]
            if quiet:
                mean = y(sum(quiet) / len(quiet))
                parts.append(_line(x(size) + shift - 14, mean, x(size) + shift + 14, mean, colour, 2))
        for size, rate, _, busy in own:
            name = f"{summary.labels.get(platform, platform)}, batch {size:,}: {number(rate)} samples/s"
            parts.append(_dot(x(size) + shift, y(rate), colour, name + (", busy host" if busy else ""), hollow=busy))
    return _svg("Steady rate in samples per second by batch size, a point per run", parts)


def whisker_strip(whisker: Whisker) -> Markup:
    """Draw a card's interval on a strip of its own, with the value that it is compared with."""
    ends = [whisker.low, whisker.high, *([whisker.against] if whisker.against else [])]
    low, high = min(ends), max(ends)
    room = (high - low or abs(high) or 1.0) * 0.08

    def x(value: float) -> float:
        return 4 + 212 * (value - low + room) / (high - low + 2 * room)

    parts = [_line(4, 9, 216, 9, "var(--rule)")]
    if whisker.against is not None:
        parts.append(_line(x(whisker.against), 1, x(whisker.against), 17, "var(--soft)", 1.5))
    parts.append(_line(x(whisker.low), 9, x(whisker.high), 9, "var(--c0)", 4))
    parts.append(_dot(x(whisker.value), 9, "var(--c0)", whisker.text))
    inside = Markup("").join(parts)
    return Markup('<svg role="img" aria-label="{}" class="strip" viewBox="0 0 220 18">{}</svg>').format(
        whisker.text, inside
    )


# --- drawing ------------------------------------------------------------------------------------------------


def _intervals(title: str, every: Sequence[_Row], unit: str, against: float | None = None) -> Markup:
    """Draw a row per estimate on a logarithmic axis."""
    rows = every[:_MOST_ROWS]
    values = [value for row in rows for value in (row.found.low, row.found.value, row.found.high) if value]
    ticks = _log_ticks(min([*values, against or math.inf]), max([*values, against or 0.0]))
    low, high = math.log(ticks[0]), math.log(ticks[-1])
    lines = _lines(rows)
    step = (HEIGHT - _TOP - _BOTTOM) / len(lines)

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (math.log(value) - low) / (high - low)

    parts = [_text(16, 20, style.short(title, 74), anchor="start", bold=True)]
    for tick in ticks:
        colour, width = ("var(--soft)", 1.5) if tick == against else ("var(--rule)", 1.0)
        parts += [_line(x(tick), _TOP, x(tick), HEIGHT - _BOTTOM, colour, width)]
        parts += [_text(x(tick), HEIGHT - _BOTTOM + 18, f"{tick:g}", soft=True)]
    more = len(every) - len(rows)
    parts.append(_text((WIDTH + _LEFT) / 2, HEIGHT - 8, unit + (f"; {more} more below" if more else ""), soft=True))
    for place, (label, row) in enumerate(lines):
        y = _TOP + step * (place + 0.5)
        if row is None:
            parts.append(_text(16, y + 4, style.short(label, 2 * _CHARS), anchor="start"))
            continue
        parts.append(_text(_LEFT - 8, y + 4, style.short(label, _CHARS), anchor="end", soft=True))
        if row.found.low and row.found.high:
            parts.append(_line(x(row.found.low), y, x(row.found.high), y, row.colour, 4))
        ends = f"{number(row.found.low, 2)} to {number(row.found.high, 2)}" if row.found.low else "no interval"
        parts.append(_dot(x(row.found.value), y, row.colour, f"{label}: {number(row.found.value, 2)} ({ends})"))
    return _svg(f"{title}: {unit}", parts)


def _lines(rows: Sequence[_Row]) -> list[tuple[str, _Row | None]]:
    """Return what stands in each line: rows with their labels, each group below a line with its name."""
    groups = list(dict.fromkeys(row.group for row in rows))
    if len(groups) == len(rows):
        return [(", ".join(filter(None, [row.group, row.label])), row) for row in rows]
    lines: list[tuple[str, _Row | None]] = []
    for group in groups:
        lines += [(group, None), *((row.label, row) for row in rows if row.group == group)]
    return lines


def _sides(summary: Summary) -> list[str]:
    return list(dict.fromkeys(n for each in real_pairs(summary) for n in (each.pair.ours.name, each.pair.theirs.name)))


def _colour(name: str, summary: Summary) -> str:
    looks = style.looks(summary)
    return themed(looks[name].colour if name in looks else style.GREY)


def _ticks(most: float) -> list[float]:
    """Return four or five round numbers from 0."""
    size = 10 ** math.floor(math.log10(most / 5))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= most / 5)
    return [step * place for place in range(int(most / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, … from one below the lowest to one above the highest; of a wide range only 1, 10, …"""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 200 else (1,)
    every = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    below, above = max(tick for tick in every if tick <= low), min(tick for tick in every if tick >= high)
    if below == above:
        above = every[every.index(below) + 1]
    return [tick for tick in every if below <= tick <= above]


def _svg(alt: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg role="img" aria-label="{}" class="chart" viewBox="0 0 {} {}">{}</svg>').format(
        alt, WIDTH, HEIGHT, Markup("").join(parts)
    )


def _text(x: float, y: float, said: str, *, anchor: str = "middle", bold: bool = False, soft: bool = False) -> Markup:
    kind = "bold" if bold else "soft" if soft else "plain"
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, kind, said)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> Markup:
    return Markup('<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" style="stroke:{};stroke-width:{}"/>').format(
        x1, y1, x2, y2, colour, width
    )


def _dot(x: float, y: float, colour: str, title: str, *, hollow: bool = False) -> Markup:
    fill = "var(--page)" if hollow else colour
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="5" style="fill:{};stroke:{}"><title>{}</title></circle>').format(
        x, y, fill, colour, title
    )
