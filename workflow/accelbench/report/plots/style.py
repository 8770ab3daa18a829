"""One house style for all plots: colours by endpoint and platform, fonts, a canvas in inches, notes, files."""

import io
import math
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.economy import Economy
from accelbench.analysis.inference import InferenceRow
from accelbench.report.summary import Summary
from accelbench.report.text import number
from accelbench.store.files import write_atomically
from accelbench.store.requests import Requests

INK, GREY, RULE = "#1f2328", "#57606a", "#d0d7de"
PALETTE = ("#0072b2", "#d55e00", "#008f68", "#c2649a", "#b37b00", "#2f8fc7", "#6b4c9a", "#3d3d3d")
"""After Okabe and Ito; each has a contrast of at least 3:1 with white."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "accelbench",
    "text.color": INK,
    "text.parse_math": False,  # a label with $ in it is a label
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}
RoundKeys = Collection[tuple[str, str, int]]
"""Rounds by endpoint, load and number."""
MANY_POINTS = 3000  # more in one figure are drawn as pixels: a page must open on a phone
_LOG_FROM = 30.0  # a ratio of largest to smallest value from which on a linear axis hides the small ones
WIDE = 300.0  # a ratio from which on ticks at 1, 2, 5 of each decade would overlap
WIDTH, LEFT, RIGHT, BETWEEN, MARGIN = 5.4, 0.78, 0.18, 0.24, 0.12  # inches, as all that follows
TITLE_LINE, LEGEND_LINE, NOTE_LINE = 0.19, 0.2, 0.15
PANEL_TITLE, AXIS_LABELS = 0.32, 0.5
LEGEND_CHAR, LEGEND_HANDLE = 0.075, 0.42
TITLE_CHARS, PANEL_CHARS, NOTE_CHARS, LABEL_CHARS = 54, 66, 92, 34  # that fit into a line
TIP = "tip: "  # what ids begin with that become titles
TIPPED = re.compile(rf'<g id="{TIP}([^"]*)">'.encode())


@dataclass(frozen=True, slots=True)
class Look:
    """How an endpoint or a platform is drawn in all plots."""

    colour: str
    marker: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its title, its height, and where it begins."""

    title: str
    height_in: float
    left_in: float = LEFT
    columns: int = 1
    """The number of axes side by side in it."""
    between_in: float = BETWEEN
    titles: tuple[str, ...] = ()
    """A title for each of the axes, instead of the panel's own."""


def looks(summary: Summary) -> dict[str, Look]:
    """Return the look of each endpoint and platform, in the config's order.

    Endpoints take their colours from the front of the palette, platforms theirs from another place: the one
    half looks the same whether or not the other is there.
    """
    platforms = [n for n in dict.fromkeys(r.platform for r in summary.runs) if n not in summary.endpoints]
    front = {name: _look(place) for place, name in enumerate(summary.endpoints)}
    back = {name: _look(len(PALETTE) - 6 - place) for place, name in enumerate(platforms)}
    return front | back


def shades(colour: str, count: int) -> list[str]:
    """Return `count` shades of a colour, from light to dark."""
    amounts = [0.1 - 0.75 * place / max(1, count - 1) for place in range(count)] if count > 1 else [0.0]
    return [_mixed(colour, amount) for amount in amounts]


def short(label: str, chars: int = LABEL_CHARS) -> str:
    """Return a label that fits: one line, cut if it is too long."""
    line = " ".join(label.split())
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def mark(label: str, **drawn: Any) -> Line2D:
    """Return a legend entry."""
    return Line2D([], [], label=label, **{"linestyle": "none", "color": GREY, "markersize": 5, **drawn})


def face(colour: str, *, disturbed: bool) -> str:
    """Return what fills a point: nothing where the host was disturbed."""
    return "none" if disturbed else colour


def disturbed_legend(*, any_is: bool) -> list[Artist]:
    """Return the legend entry of hollow points, where there are any."""
    return [mark("measured on a busy host", marker="o", markerfacecolor="none")] if any_is else []


def disturbed_rounds(summary: Summary) -> RoundKeys:
    """Return the rounds during which the host was disturbed, by endpoint, load and number."""
    return {(r.endpoint, r.cell, r.round) for r in summary.rounds if disturbances(r.host_activity)}


def is_disturbed(requests: Requests, disturbed: RoundKeys) -> NDArray[np.bool_]:
    """Tell which requests are of disturbed rounds."""
    found = np.zeros(len(requests), bool)
    for endpoint, cell, round_ in disturbed:
        own = (requests["endpoint"] == endpoint) & (requests["cell"] == cell)
        found |= own & (requests["round"] == round_)
    return found


def quiet_of(requests: Requests, disturbed: RoundKeys) -> Requests:
    """Return the requests of quiet rounds; all of them where there are none."""
    quiet = ~is_disturbed(requests, disturbed)
    return requests.where(quiet) if quiet.any() else requests


def tip(artist: Artist, text: str) -> None:
    """Let an SVG show a text where one hovers over an artist."""
    artist.set_gid(TIP + " ".join(text.split()))


def canvas(
    title: str, panels: Sequence[Panel], *, legend: Sequence[Artist] = (), notes: Iterable[str] = ()
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title, a legend, panels from top to bottom, and notes under them.

    The axes come in the order of reading.
    """
    headline = textwrap.wrap(title, TITLE_CHARS)
    small = [line for note in notes for line in textwrap.wrap(note, NOTE_CHARS)]
    rows = _legend_rows(legend)
    height = 2 * MARGIN + TITLE_LINE * len(headline) + LEGEND_LINE * len(rows) + 0.1 + NOTE_LINE * len(small)
    height += sum(_above(panel) + panel.height_in + AXIS_LABELS for panel in panels)
    figure = Figure(figsize=(WIDTH, height))
    top = height - MARGIN
    _text(figure, top, headline, fontsize=11, fontweight="bold")
    top -= TITLE_LINE * len(headline) + 0.07
    for row in rows:
        at = (MARGIN / WIDTH, top / height)
        gaps = {"borderpad": 0, "borderaxespad": 0, "handletextpad": 0.5, "columnspacing": 1.4, "handlelength": 1.4}
        figure.legend(handles=row, loc="upper left", bbox_to_anchor=at, ncols=len(row), frameon=False, **gaps)
        top -= LEGEND_LINE
    axes = []
    for panel in panels:
        if not panel.titles:
            _text(figure, top - 0.1, [short(panel.title, PANEL_CHARS)], fontsize=9.5)
        bottom = top - _above(panel) - panel.height_in
        width = (WIDTH - panel.left_in - RIGHT - panel.between_in * (panel.columns - 1)) / panel.columns
        for column in range(panel.columns):
            left = panel.left_in + column * (width + panel.between_in)
            if column < len(panel.titles):
                text = short(panel.titles[column], PANEL_CHARS // panel.columns)
                figure.text(left / WIDTH, (top - 0.1) / height, text, va="top", fontsize=8.5)
            axes.append(figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, panel.height_in / height)))
        top = bottom - AXIS_LABELS
    _text(figure, top - 0.02, small, fontsize=7.5, color=GREY)
    return figure, axes


def from_zero(axis: Any, values: Sequence[float], room: float = 1.06) -> None:
    """Start an axis at 0, or make it logarithmic where that would hide the small values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    limits = getattr(axis.axes, f"set_{axis.axis_name}lim")
    if low > 0 and high / low > _LOG_FROM:
        log_axis(axis)
        limits(low / 1.5, high * 1.5)
    else:
        plain_numbers(axis)
        limits(0, high * room or 1.0)


def log_axis(axis: Any, ratio: float = 1.0) -> None:
    """Make an axis logarithmic, with ticks at 1, 2, 5, 10, …; at 1, 10, … where largest to smallest is a wide ratio."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < WIDE else (1.0,)))
    axis.set_minor_locator(NullLocator())
    plain_numbers(axis)


def plain_numbers(axis: Any) -> None:
    """Label an axis with plain numbers, thousands separated; minor ticks have no label."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def log2_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Make x logarithmic to base 2, with the sizes themselves as ticks (as many as fit)."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.25)
    gap = math.log2(max(sizes) / min(sizes)) / 10
    ticks: list[int] = []
    for size in sizes:
        if not ticks or math.log2(size / ticks[-1]) >= gap:
            ticks.append(size)
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def save_figure(figure: Figure, out: Path, name: str) -> None:
    """Write {name}.svg (the same figure gives the same bytes) and {name}.png, each whole or not at all."""
    with matplotlib.rc_context(RC):
        for kind, metadata in (("svg", {"Date": None}), ("png", None)):
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
            drawn = stream.getvalue()
            write_atomically(
                out / f"{name}.{kind}", TIPPED.sub(rb"<g><title>\1</title>", drawn) if kind == "svg" else drawn
            )


def _look(place: int) -> Look:
    return Look(PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)])


def _mixed(colour: str, amount: float) -> str:
    """Return a colour mixed with white (amount > 0) or black (< 0)."""
    end = 1.0 if amount > 0 else 0.0
    red, green, blue = (part + (end - part) * abs(amount) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def _legend_rows(legend: Sequence[Artist]) -> list[list[Artist]]:
    """Break the legend into rows that fit."""
    rows: list[list[Artist]] = []
    room = 0.0
    for entry in legend:
        width = LEGEND_HANDLE + LEGEND_CHAR * len(str(entry.get_label()))
        if not rows or width > room:
            rows.append([])
            room = WIDTH - 2 * MARGIN
        rows[-1].append(entry)
        room -= width
    return rows


def _above(panel: Panel) -> float:
    return PANEL_TITLE if panel.title or panel.titles else PANEL_TITLE / 2


def _text(figure: Figure, top: float, lines: Sequence[str], **font: Any) -> None:
    width, height = figure.get_size_inches()
    if lines:
        figure.text(MARGIN / width, top / height, "\n".join(lines), va="top", linespacing=1.25, **font)


MOST_PANELS = 40  # in one figure: more would be unreadable, and a PNG has at most 65,536 pixels in height
Item = TypeVar("Item")


def nothing(what: str, why: str, notes: Sequence[str]) -> Figure:
    """Return the small figure of a plot that has nothing to draw."""
    return canvas(f"{what}: nothing to draw", [], notes=[why, *notes])[0]


def not_there(names: Sequence[str]) -> list[str]:
    """Return the note that names what was not measured."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return [f"Not measured: {', '.join(names[:6])}{more}."] if names else []


def absent_rounds(summary: Summary) -> list[str]:
    """Return the note that names the rounds that were not measured."""
    absent = [record for record in summary.rounds if record.state != "measured"]
    return not_there([f"{record.endpoint} {record.cell} round {record.round} ({record.state})" for record in absent])


def spread_out(items: Iterable[Item], most: int = MOST_PANELS) -> list[Item]:
    """Return at most so many of the items, evenly spread, the first and the last among them."""
    every = list(items)
    if len(every) <= most:
        return every
    return [every[round(place * (len(every) - 1) / (most - 1))] for place in range(most)]


def left_out(drawn: Sequence[object], every: Sequence[object], what: str) -> list[str]:
    """Return the note that says how many were left out, if any."""
    if len(drawn) == len(every):
        return []
    return [f"Drawn: {len(drawn)} of {len(every):,} {what}, evenly spread; all are in the tables."]


def ends(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Return the least and the largest of some values; none of none."""
    return [float(np.min(values)), float(np.max(values))] if len(values) else []


def extent(values: Sequence[float] | NDArray[np.float64], digits: int = 3) -> str:
    """Return "41 to 97", or the one figure."""
    shown = [number(value, digits) if digits else f"{value:,.0f}" for value in ends(values)]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def label(summary: Summary, endpoint: str) -> str:
    """Return the label of an endpoint."""
    return summary.labels.get(endpoint, endpoint)


def endpoint_legend(summary: Summary, endpoints: Iterable[str]) -> list[Artist]:
    """Return a legend entry for each endpoint, once."""
    look = looks(summary)
    names = dict.fromkeys(endpoints)
    return [mark(short(label(summary, n)), color=look[n].colour, marker=look[n].marker) for n in names]


def shape_title(row: InferenceRow, axis: str) -> str:
    """Name a panel by scenario and shape, less the axis along which its rows differ."""
    shape = [] if axis == "concurrency" else [row.load]
    shape += [f"context {row.context_tokens:,} tokens"] if axis != "context" and row.context_tokens else []
    shape += [f"at most {row.max_tokens:,} output tokens"] if row.max_tokens else []
    return f"{row.scenario}: {', '.join(shape)}" if shape else str(row.scenario)


def limits_of(summary: Summary, cells: Iterable[str]) -> list[Economy]:
    """Return what is known of bandwidth limits under some loads."""
    wanted = set(cells)
    return [each for each in summary.economies if each.cell in wanted and each.limit_tok_per_s]


def limit_legend(summary: Summary, limits: Sequence[Economy]) -> list[Artist]:
    """Return a legend entry for the limit of each endpoint: the limit, and how much of it decoding reached."""
    look = looks(summary)
    entries: list[Artist] = []
    for name in dict.fromkeys(each.endpoint for each in limits):
        own = [each for each in limits if each.endpoint == name]
        bounds = [each.limit_tok_per_s for each in own if each.limit_tok_per_s]
        shares = [
            100 * each.decode_tok_per_s / bound
            for each, bound in zip(own, bounds, strict=True)
            if each.decode_tok_per_s
        ]
        reached = f"{extent(shares, 2)}\N{NO-BREAK SPACE}% reached" if shares else "decode speed unknown"
        text = f"limit of {short(label(summary, name), 22)}: {extent(bounds)} tok/s, {reached}"
        entries.append(mark(text, color=look[name].colour, linestyle="--", linewidth=1.2))
    return entries


def limit_notes(summary: Summary, cells: Iterable[str]) -> list[str]:
    """Return the notes on the limits under some loads, and which are withheld."""
    wanted = set(cells)
    own = [each for each in summary.economies if each.cell in wanted]
    withheld = dict.fromkeys(label(summary, each.endpoint) for each in own if each.limit_withheld)
    notes = [f"Limit withheld because of speculative decoding: {', '.join(withheld)}."] if withheld else []
    if any(each.limit_tok_per_s for each in own):
        notes.insert(
            0,
            "Limit: the output tok/s of one request in flight if reading the active weights from memory took all the "
            "time. Reached: its decode speed, 1/b in the table of latency laws, as a share of the limit.",
        )
    return notes
