"""The history of reports: each finished one appends its headline figures; here they are read, told and shown as a page.

Lines are only ever appended, whole. Files of several checkouts can be joined line by line: twins count once.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from markupsafe import Markup
from pydantic import ValidationError

from accelbench.analysis.history import HistoryEntry, HistoryFigure, HistoryRow, Stretch, Trend, identity_of, trends_of
from accelbench.analysis.intervals import Estimate, counted
from accelbench.errors import UserError
from accelbench.plan.measurement import now, versions
from accelbench.report.inference_tables import Grid
from accelbench.report.summary import Summary
from accelbench.report.text import DISTURBED, NONE, change, change_between, markdown, number, unique
from accelbench.store import paths
from accelbench.store.files import append_line, write_atomically

_SHOWN = 20  # reports in the terminal's tables
_MOST_CAUSES = 6
BEGINS = "▸ "
_HOW = (
    f"{BEGINS.strip()} begins a stretch that differs from the one before by more than the reports' intervals and their "
    "scatter carry, corrected for all figures and places looked at. Figures of a busy host count for no stretch."
)


@dataclass(frozen=True, slots=True)
class History:
    """All figures over all reports, and what must be said of the files."""

    reports: int
    trends: list[Trend]
    remarks: list[str]


def remember(path: Path, summary: Summary) -> None:
    """Append the headline figures of a finished report, unless one of the same measurements is there."""
    entry = HistoryEntry(
        identity=identity_of(summary.headlines),
        reported_at=now(),
        title=summary.title,
        accelbench=versions("accelbench")["accelbench"] or "unknown",
        rows=summary.headlines,
    )
    path.touch()
    if entry.rows and entry.identity not in {each.identity for each in _entries(path)[0]}:
        append_line(path, entry.model_dump_json())


def read_history(places: Sequence[Path], metrics: Collection[str] = ()) -> History:
    """Read the history of files, or of results' folders, together. Raises UserError where there is none."""
    found: dict[str, HistoryEntry] = {}
    remarks = []
    for file in map(_file, places):
        entries, told = _entries(file)
        found |= {entry.identity: entry for entry in entries if entry.identity not in found}
        remarks += told
    trends = trends_of(found.values(), metrics)
    if metrics and (unknown := [name for name in metrics if name not in {t.figure.metric for t in trends}]):
        known = unique(trend.figure.metric for trend in trends_of(found.values()))
        raise UserError(f"--metric {unknown[0]} is in no report; choose from {', '.join(known) or 'none'}.")
    return History(len(found), trends, remarks)


def _file(place: Path) -> Path:
    name = Path(paths.HISTORY).name
    for path in (place, place / name, place / paths.HISTORY):
        if path.is_file():
            return path
    raise UserError(f"{place} has no {name}; a finished report (`{paths.snakemake()} --cores 4`) begins one.")


def _entries(file: Path) -> tuple[list[HistoryEntry], list[str]]:
    """Return the entries of a file, and which of its lines are left out."""
    entries, left_out = [], []
    for place, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            entries += [HistoryEntry.model_validate_json(line)] if line.strip() else []
        except ValidationError:
            left_out.append(f"{file}: line {place} is left out: it is torn, or of another version of accelbench.")
    return entries, left_out


# --- in words --------------------------------------------------------------------------------------------------


def history_text(found: History) -> str:
    """Return the changes, then a table per endpoint and load, platform and size, or pair, over dates."""
    parts = [*(f"- {line}" for line in told(found)), ""]
    for title, grid in grids(found.trends, _SHOWN):
        parts += [f"### {title}\n", markdown(grid.header, grid.body), *(f"- {note}\n" for note in grid.notes)]
    return "\n".join([*parts, _HOW, *found.remarks]) + "\n"


def told(found: History) -> list[str]:
    """Return a sentence per change, oldest first, or that there is none; and of how many figures nothing is known."""
    if not found.reports:
        return ["There is no report yet."]
    changes = [(stretch.begins_at, _change_told(trend, place)) for trend in found.trends
               for place, stretch in enumerate(trend.stretches) if place]  # fmt: skip
    none = f"No figure changed by more than its intervals carry, over {counted(found.reports, 'report')}."
    again = [trend for trend in found.trends if len(trend.points) > 1]
    lost = sum(sum(stretch.reports for stretch in trend.stretches) < 2 for trend in again)
    untold = f"Of {lost} of {counted(len(again), 'figure')} nothing can be said: at most one report was undisturbed."
    return [*([sentence for _, sentence in sorted(changes)] or [none]), *([untold] if lost else [])]


def _change_told(trend: Trend, place: int) -> str:
    before, after = trend.stretches[place - 1 : place + 1]
    shift = f"{shift_in_words(trend, after)}{_between(trend, after.change)}"
    moved = f"{number(before.estimate.value)} → {number(after.estimate.value)} {trend.figure.unit} ({shift})"
    since = f"since {_date(after.begins_at)}, after {counted(before.reports, 'report')}"
    return f"{_subject(trend)}: {trend.figure.label} {moved} {since}. {_causes(after)}"


def _causes(stretch: Stretch) -> str:
    if not stretch.causes:
        return "Nothing that was recorded changed."
    more = len(stretch.causes) - _MOST_CAUSES
    causes = [*stretch.causes[:_MOST_CAUSES], *([f"{more} more"] if more > 0 else [])]
    return f"Changed at that moment: {'; '.join([*causes, *(['same host'] if stretch.same_host else [])])}."


def _subject(trend: Trend) -> str:
    return f"{trend.row.name}, {trend.row.load}"


def shift_in_words(trend: Trend, stretch: Stretch) -> str:
    """Return how a stretch differs from the one before: "+19 %", or "−3 points"."""
    if stretch.change is None:
        return ""
    return _points(stretch.change.value) if trend.figure.scale == "difference" else change(stretch.change.value)


def _between(trend: Trend, found: Estimate | None) -> str:
    """Return the interval of a change."""
    if found is None or found.low is None or found.high is None:
        return ""
    if trend.figure.scale == "ratio":
        return f", {change_between(found.low, found.high)}"
    return f", {_points(found.low)} to {_points(found.high)}"


def _points(shift: float) -> str:
    return f"{'−' if shift < 0 else '+'}{number(abs(shift), 2)} points"


def _date(moment: str) -> str:
    return moment[:16].replace("T", " ")


def grids(trends: Sequence[Trend], most: int | None = None) -> list[tuple[str, Grid]]:
    """Return a table for each row that reports have, its figures across, dates down: the newest `most`."""
    groups: dict[tuple[str, str, str], list[Trend]] = defaultdict(list)
    for trend in trends:
        groups[trend.row.half, trend.row.name, trend.row.load].append(trend)
    return [(_subject(own[0]), _grid(own, most)) for own in groups.values()]


def _grid(trends: Sequence[Trend], most: int | None) -> Grid:
    rows = {row.measured_at: row for trend in trends for row, _ in trend.points}
    dates = sorted(rows, key=lambda at: datetime.fromisoformat(at).timestamp())
    shown = dates[-most:] if most else dates
    cells = [{row.measured_at: _cell(trend, row, figure) for row, figure in trend.points} for trend in trends]
    body = [
        [_date(at), *(column.get(at, NONE) for column in cells), f"{rows[at].rounds_disturbed} of {rows[at].rounds}"]
        for at in shown
    ]
    header = ["measured", *(f"{t.figure.label} ({t.figure.unit})" for t in trends), "disturbed"]
    earlier = len(rows) - len(shown)
    return Grid(header, body, [f"{counted(earlier, 'earlier report')} left out."] if earlier else [])


def _cell(trend: Trend, row: HistoryRow, figure: HistoryFigure) -> str:
    is_first = not figure.disturbed and any(stretch.begins_at == row.measured_at for stretch in trend.changes)
    ends = [number(end) for end in (figure.low, figure.high) if end is not None]
    between = f" ({' to '.join(ends)})" if ends else ""
    return f"{BEGINS if is_first else ''}{number(figure.value)}{between}{DISTURBED if figure.disturbed else ''}"


# --- as a page -------------------------------------------------------------------------------------------------

_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ {light} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
{css}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<ul class="findings">{changes}</ul>
<div class="plots"><div class="plot scroll">{drawing}</div></div>
{tables}
<p class="notes">{notes}</p>
</main>
</body>
</html>
""")
_TABLE = Markup(
    '<figure><figcaption><span>{title}</span></figcaption><div class="scroll"><table><thead><tr>{header}</tr></thead>'
    "<tbody>{body}</tbody></table></div></figure>"
)


def write_history_page(path: Path, found: History) -> None:
    """Write one self-contained page: the changes, the drawing, and a table per row."""
    from accelbench.report.page import document
    from accelbench.report.page.charts import DARK_PALETTE
    from accelbench.report.plots import style

    with TemporaryDirectory() as folder:
        write_drawing(Path(folder), found)
        drawing = document.inline_svg(Path(folder) / f"{DRAWING}.svg", "Each figure over dates; the tables follow.")
    light, dark = (
        " ".join(f"--c{place}: {colour};" for place, colour in enumerate(palette))
        for palette in (style.PALETTE, DARK_PALETTE)
    )
    page = _PAGE.format(
        title=f"History of {counted(found.reports, 'report')}",
        light=light,
        dark=dark,
        css=Markup((document.HERE / "page.css").read_text()),
        changes=_each("<li>{}</li>", told(found)),
        drawing=drawing,
        tables=Markup("").join(_table(title, grid) for title, grid in grids(found.trends)),
        notes=" ".join([_HOW, *found.remarks]),
    )
    write_atomically(path, page)


def _table(title: str, grid: Grid) -> Markup:
    rows = (_each('<th scope="row">{}</th>', row[:1]) + _each("<td>{}</td>", row[1:]) for row in grid.body)
    body = _each("<tr>{}</tr>", list(rows))
    return _TABLE.format(title=title, header=_each('<th scope="col">{}</th>', grid.header), body=body)


def _each(tag: str, texts: Sequence[str]) -> Markup:
    return Markup("").join(Markup(tag).format(text) for text in texts)


DRAWING = "history"


def write_drawing(folder: Path, found: History) -> None:
    """Write history.svg and history.png."""
    import matplotlib

    from accelbench.report.plots import style
    from accelbench.report.plots.history import history

    with matplotlib.rc_context(style.RC):
        style.save_figure(history(found), folder, DRAWING)
