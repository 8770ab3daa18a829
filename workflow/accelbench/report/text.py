"""Figures, names and tables as text: digits, intervals, lists, Markdown, LaTeX, CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accelbench.analysis.statistics import Estimate

NONE = "–"
TEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "÷": r"$\div$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
}
"""What LaTeX would take for a command, or can't set in every font."""
Shown = tuple[str, float | None]
"""A figure as it is shown, and what it is sorted by."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure with `digits` significant digits and thousands separated; – when there is none."""
    if value is None:
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or value in (float("inf"), float("-inf")) or value == 0:
        return f"{value:g}"
    places = max(0, digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1]))
    return f"{value:,.{places}f}"


def interval(estimate: Estimate | None, digits: int = 3) -> str:
    """Return an estimate with its 95 % interval, or the estimate alone."""
    if estimate is None:
        return NONE
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.value, digits)} (no interval)"
    return f"{number(estimate.value, digits)} ({number(estimate.low, digits)} to {number(estimate.high, digits)})"


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, padded so that it reads well as text too."""
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in [header, *body]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def latex(caption: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX table (booktabs), the first column flush left, the others flush right."""
    lines = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in [header, *body]]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in " ".join(text.split()))


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def unique(values: Iterable[str]) -> list[str]:
    """Return each value once, in order."""
    return list(dict.fromkeys(values))


def listed(items: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def span(values: Sequence[float], digits: int = 3) -> str:
    """Return "41 to 97", or the one figure."""
    return joined_range(number(min(values), digits), number(max(values), digits))


def joined_range(low: str, high: str) -> str:
    """Return "low to high", or the one text when both are the same."""
    return low if low == high else f"{low} to {high}"
