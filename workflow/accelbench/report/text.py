"""Figures, names and tables as text: digits, intervals, lists, Markdown, LaTeX, CSV."""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TextIO

from accelbench.analysis.intervals import Estimate
from accelbench.analysis.sweep import Outlier, Sweep
from accelbench.analysis.training import Series, TrainingRow
from accelbench.store.records import TrainRunRecord

Labels = Mapping[str, str]

NONE = "–"
DISTURBED = " (disturbed)"
"""Beside a figure of rounds or runs of which none was quiet."""
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
"""What LaTeX would treat as a command, or can't set in every font."""
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet may run (OWASP, CSV injection), or that was quoted for it."""
HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")
"""Where a tag, a comment or an entity begins; a comparison (p < 0.001) is not one."""
_TIMES = 2.0  # a ratio from which on it is said as a multiple
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


def change(ratio: float) -> str:
    """Return a ratio of times as people say it: "−37 %", "+9 %", "2.4×" as long, or "4.3× less"."""
    if ratio >= _TIMES:
        return f"{number(ratio, 2)}×"
    if 0 < ratio <= 1 / _TIMES:
        return f"{number(1 / ratio, 2)}× less"
    return _percent(ratio)


def change_between(low: float, high: float) -> str:
    """Return an interval of a ratio as people say it, both ends in the same way: "−51 % to −16 %"."""
    in_percent = [1 / _TIMES < end < _TIMES for end in (low, high)]
    if any(in_percent) or (low < 1 < high):
        return f"{_percent(low)} to {_percent(high)}"
    return f"{change(low)} to {change(high)}"


def _percent(ratio: float) -> str:
    percent = round(100 * (ratio - 1))
    return f"{'−' if percent < 0 else '+' if percent else ''}{abs(percent):,} %"


def interval(estimate: Estimate | None, digits: int = 3) -> str:
    """Return an estimate with its 95 % interval, or the estimate alone."""
    if estimate is None:
        return NONE
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.value, digits)} (no interval)"
    return f"{number(estimate.value, digits)} ({number(estimate.low, digits)} to {number(estimate.high, digits)})"


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, padded so that it reads well as text too."""
    cells = [[markdown_line(cell).replace("|", "\\|") for cell in row] for row in [header, *body]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def markdown_line(text: str) -> str:
    """Return text that stays one line of text in a rendered page: no HTML, no link."""
    plain = HTML.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", text)
    return " ".join(plain.replace("](", "]\\(").split())


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
    """Return rows as CSV; unknown values are empty, and text is never a formula."""
    text = io.StringIO(newline="")
    write = csv_rows(text)
    write(columns)
    for row in rows:
        write([row.get(name) for name in columns])
    return text.getvalue()


def csv_rows(stream: TextIO) -> Callable[[Sequence[Any]], None]:
    """Return a function that writes a row to a stream: no text is a formula, and no carriage return ends a row."""
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(row: Sequence[Any]) -> None:
        cells = [inert(cell) if isinstance(cell, str) else cell for cell in row]
        broken = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if broken else plain).writerow(cells)

    return write


def inert(cell: str) -> str:
    """Return text that no spreadsheet treats as a formula: a quote goes in front of one that looks like it."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def as_written(cell: str) -> str:
    """Return the text that `inert` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def p_in_words(p: float, digits: int = 3) -> str:
    """Return a p-value with at most so many places."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.{digits}f}"


def unique(values: Iterable[str]) -> list[str]:
    """Return each value once, in order."""
    return list(dict.fromkeys(values))


def listed(items: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def span(values: Sequence[float], digits: int = 3) -> str:
    """Return "41 to 97", or the one figure."""
    return joined_range(number(min(values), digits), number(max(values), digits))


def runs_each(counts: Collection[int]) -> str:
    """Return how many runs each size has: "one run each", "2 to 3 runs each"."""
    least, most = min(counts), max(counts)
    return "one run each" if most == 1 else f"{joined_range(str(least), str(most))} runs each"


def joined_range(low: str, high: str) -> str:
    """Return "low to high", or the one text when both are the same."""
    return low if low == high else f"{low} to {high}"


def series_name(series: Series | Sweep, labels: Labels) -> str:
    """Return "CS-3", or "CS-3, micro batch 64, 4,096 tokens" where the platform has several."""
    return f"{labels.get(series.platform, series.platform)}{_axes(series.micro, series.length)}"


def size_name(size: TrainingRow | TrainRunRecord | Outlier, labels: Labels) -> str:
    """Return "CS-3, batch 256", with its micro batch where the config sets one."""
    name = labels.get(size.platform, size.platform)
    return f"{name}, batch {size.batch_size:,}{_axes(size.micro_batch_size, size.length)}"


def _axes(micro: int | None, length: int | None) -> str:
    return (f", micro batch {micro:,}" if micro else "") + (f", {length:,} tokens" if length else "")
