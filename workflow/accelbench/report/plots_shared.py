"""What the plots of both halves need: a figure that says that it is empty, notes on what is not there."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from accelbench.analysis.economy import Economy
from accelbench.analysis.inference import InferenceRow
from accelbench.report import style
from accelbench.report.style import mark, short
from accelbench.report.summary import Summary
from accelbench.report.text import number

MOST_PANELS = 40  # in one figure: more are a wall of small pictures, and no PNG is higher than 65,536 pixels
Item = TypeVar("Item")


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
    return [f"Drawn: {len(drawn)} of {len(every):,} {what}, evenly spread; all of them stand in the tables."]


def span(values: Sequence[float], digits: int = 3) -> str:
    """Return "41 to 97", or the one figure."""
    ends = (min(values), max(values))
    shown = [number(value, digits) if digits else f"{value:,.0f}" for value in ends]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def label(summary: Summary, endpoint: str) -> str:
    """Return how an endpoint is called."""
    return summary.labels.get(endpoint, endpoint)


def endpoint_legend(summary: Summary, endpoints: Iterable[str]) -> list[Artist]:
    """Return a legend entry for each endpoint, once."""
    looks = style.looks(summary)
    names = dict.fromkeys(endpoints)
    return [mark(short(label(summary, n)), color=looks[n].colour, marker=looks[n].marker) for n in names]


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
    looks = style.looks(summary)
    entries: list[Artist] = []
    for name in dict.fromkeys(each.endpoint for each in limits):
        own = [each for each in limits if each.endpoint == name]
        bounds = [each.limit_tok_per_s for each in own if each.limit_tok_per_s]
        shares = [
            100 * each.decode_tok_per_s / bound
            for each, bound in zip(own, bounds, strict=True)
            if each.decode_tok_per_s
        ]
        reached = f"{span(shares, 2)}\N{NO-BREAK SPACE}% reached" if shares else "decode speed unknown"
        text = f"limit of {short(label(summary, name), 22)}: {span(bounds)} tok/s, {reached}"
        entries.append(mark(text, color=looks[name].colour, linestyle="--", linewidth=1.2))
    return entries


def limit_notes(summary: Summary, cells: Iterable[str]) -> list[str]:
    """Return what must be said of the limits under some loads, and whose is withheld."""
    wanted = set(cells)
    own = [each for each in summary.economies if each.cell in wanted]
    withheld = dict.fromkeys(label(summary, each.endpoint) for each in own if each.limit_withheld)
    notes = [f"Limit withheld, because the server guesses tokens ahead: {', '.join(withheld)}."] if withheld else []
    if any(each.limit_tok_per_s for each in own):
        notes.insert(
            0,
            "Limit: the output tok/s of one request in flight if reading the active weights from memory were all that "
            "takes time; reached by its decode speed, 1/b in the table of latency laws.",
        )
    return notes
