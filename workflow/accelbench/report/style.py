"""One house style for all plots: colours by endpoint and platform, fonts, a canvas measured in inches, files.

A canvas is narrow (a phone shows it at about full size) and stacks its panels. Title, legend, panels and notes
have places of their own, so that nothing overlaps whatever the labels are. Never touches pyplot's global state.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from accelbench.files import write_atomically
from accelbench.report.summary import Summary

INK, GREY, RULE = "#1f2328", "#57606a", "#d0d7de"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#3d3d3d")
"""Okabe and Ito's colours, the yellow (too light for paper) and the black replaced."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
RC: dict[str, Any] = {
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
WIDTH, LEFT, RIGHT, MARGIN = 5.4, 0.78, 0.18, 0.12  # inches, as all that follows
TITLE_LINE, LEGEND_LINE, NOTE_LINE = 0.19, 0.19, 0.15
PANEL_TITLE, AXIS_LABELS = 0.32, 0.5
TITLE_CHARS, PANEL_CHARS, NOTE_CHARS, LABEL_CHARS = 50, 66, 84, 34  # that fit into a line


@dataclass(frozen=True, slots=True)
class Look:
    """How an endpoint or a platform is drawn everywhere."""

    colour: str
    marker: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel to be drawn: what stands above it, and how high it is."""

    title: str
    height_in: float


def looks(summary: Summary) -> dict[str, Look]:
    """Return the look of each endpoint (colours from the front) and platform (from the back), in config order."""
    endpoints = list(dict.fromkeys(record.endpoint for record in summary.rounds))
    platforms = [name for name in dict.fromkeys(r.platform for r in summary.runs) if name not in endpoints]
    front = {name: _look(place) for place, name in enumerate(endpoints)}
    back = {name: _look(len(PALETTE) - 6 - place) for place, name in enumerate(platforms)}
    return front | back


def shades(colour: str, count: int) -> list[str]:
    """Return `count` shades of a colour, from light to dark."""
    amounts = [0.55 - 1.1 * place / max(1, count - 1) for place in range(count)] if count > 1 else [0.0]
    return [_mixed(colour, amount) for amount in amounts]


def short(label: str, chars: int = LABEL_CHARS) -> str:
    """Return a label that fits: one line, its end cut where it is too long."""
    line = " ".join(label.split())
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def mark(label: str, **drawn: Any) -> Line2D:
    """Return a legend entry."""
    return Line2D([], [], label=label, **{"linestyle": "none", "color": GREY, "markersize": 5, **drawn})


def canvas(
    title: str, panels: Sequence[Panel], *, legend: Sequence[Artist] = (), notes: Iterable[str] = ()
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title, a legend, panels from top to bottom, and notes under them."""
    headline = textwrap.wrap(title, TITLE_CHARS)
    small = [line for note in notes for line in textwrap.wrap(note, NOTE_CHARS)]
    columns = _legend_columns(legend)
    rows = math.ceil(len(legend) / columns)
    height = 2 * MARGIN + TITLE_LINE * len(headline) + LEGEND_LINE * rows + 0.06
    height += sum(PANEL_TITLE + panel.height_in + AXIS_LABELS for panel in panels) + NOTE_LINE * len(small)
    figure = Figure(figsize=(WIDTH, height))
    top = height - MARGIN
    _text(figure, MARGIN, top, headline, fontsize=11, fontweight="bold")
    top -= TITLE_LINE * len(headline) + 0.06
    if legend:
        at = (MARGIN / WIDTH, top / height)
        figure.legend(
            handles=list(legend), loc="upper left", bbox_to_anchor=at, ncols=columns, frameon=False,
            borderpad=0, borderaxespad=0, handletextpad=0.5, columnspacing=1.4, labelspacing=0.35, handlelength=1.4,
        )  # fmt: skip
        top -= LEGEND_LINE * rows
    axes = []
    for panel in panels:
        _text(figure, MARGIN, top - 0.1, [short(panel.title, PANEL_CHARS)], fontsize=9.5, color=INK)
        bottom = top - PANEL_TITLE - panel.height_in
        box = (LEFT / WIDTH, bottom / height, (WIDTH - LEFT - RIGHT) / WIDTH, panel.height_in / height)
        axes.append(figure.add_axes(box))
        top = bottom - AXIS_LABELS
    _text(figure, MARGIN, top, small, fontsize=7.5, color=GREY)
    return figure, axes


def save(figure: Figure, out: Path, name: str) -> None:
    """Write {name}.svg (the same figure gives the same bytes) and {name}.png, each whole or not at all."""
    with matplotlib.rc_context(RC):
        for kind, metadata in (("svg", {"Date": None}), ("png", None)):
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
            write_atomically(out / f"{name}.{kind}", stream.getvalue())


def _look(place: int) -> Look:
    return Look(PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)])


def _mixed(colour: str, amount: float) -> str:
    """Return a colour mixed with white (amount > 0) or black (< 0)."""
    end = 1.0 if amount > 0 else 0.0
    return to_hex([part + (end - part) * abs(amount) for part in to_rgb(colour)])


def _legend_columns(legend: Sequence[Artist]) -> int:
    longest = max((len(str(entry.get_label())) for entry in legend), default=0)
    return max(1, min(len(legend) or 1, int((WIDTH - 2 * MARGIN) / (0.42 + 0.078 * longest))))


def _text(figure: Figure, left: float, top: float, lines: Sequence[str], **font: Any) -> None:
    width, height = figure.get_size_inches()
    if lines:
        figure.text(left / width, top / height, "\n".join(lines), va="top", linespacing=1.25, **font)
