"""What the plots of both halves need: a figure that says that it is empty, notes on what is not there."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from accelbench.report import style
from accelbench.report.summary import Summary
from accelbench.report.text import number


def nothing(what: str, why: str, notes: Sequence[str]) -> Figure:
    """Return the small figure of a plot that has nothing to draw."""
    return style.canvas(f"{what}: nothing to draw", [], notes=[why, *notes])[0]


def not_there(names: Sequence[str]) -> list[str]:
    """Return the note that names what was not measured."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return [f"Not measured: {', '.join(names[:6])}{more}."] if names else []


def absent_rounds(summary: Summary) -> list[str]:
    """Return the note that names the rounds that were not measured."""
    absent = [record for record in summary.rounds if record.state != "measured"]
    return not_there([f"{record.endpoint} {record.cell} round {record.round} ({record.state})" for record in absent])


def span(values: Sequence[float], digits: int = 3) -> str:
    """Return "41 to 97", or the one figure."""
    ends = (min(values), max(values))
    shown = [number(value, digits) if digits else f"{value:,.0f}" for value in ends]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"
