"""The page's conclusions on endpoints: sentences, verdicts with their figures, possible reasons, what a load yields."""

from accelbench.analysis.economy import Economy
from accelbench.analysis.sides import Side
from accelbench.report.page_tables import Cell, Table, count, figure, named
from accelbench.report.reasons import reasons
from accelbench.report.summary import Summary
from accelbench.report.text import NONE, number
from accelbench.report.verdicts import NAMES, figures, sentences

HOW = (
    "Intervals are 95 %, for this session. Equal: two one-sided tests within the margin that the config names. "
    "p: sign flips over passages, corrected by Holm over all verdicts but the first pair's primary one."
)
WORDS = {"lower": "lower", "higher": "higher", "equivalent": "equal within the margin", "undecided": "undecided"}


def said(summary: Summary) -> list[str]:
    """Return all sentences on the pairs but their headlines, which stand in the summary."""
    return [
        sentence
        for each in summary.judged
        for sentence in sentences(each.pair, each.verdicts, summary.labels, each.primary)[1:]
    ]


def verdicts(summary: Summary) -> Table | None:
    """Return the verdict on every metric of every pair."""
    rows = [
        [
            named(each.pair.ours.name, summary),
            named(each.pair.theirs.name, summary),
            Cell(each.pair.ours.cell),
            Cell(NAMES[metric] + (" (primary)" if metric == each.primary else "")),
            Cell(WORDS[verdict.kind]),
            Cell(figures(verdict).strip("()")),
            Cell("yes" if each.pair.paired else "no"),
            figure(verdict.p_value, 2),
            count(verdict.needed.rounds if verdict.needed else None),
        ]
        for each in summary.judged
        for metric, verdict in each.verdicts.items()
    ]
    columns = [
        "endpoint", "against", "load", "metric", "verdict", "ratio or difference", "interleaved", "p, corrected",
        "rounds it would take",
    ]  # fmt: skip
    return Table("verdicts", "Every verdict", columns, rows, [HOW]) if rows else None


def possible_reasons(summary: Summary) -> Table | None:
    """Return each candidate reason for a difference, and whether this run supports it."""
    sides = [
        Side.of(
            row.endpoint,
            row.cell,
            [r for r in summary.requests if (r.endpoint, r.cell) == (row.endpoint, row.cell)],
            {},
        )
        for row in summary.inference
    ]
    found = reasons(summary.inference, sides, summary.requests, summary.rounds)
    rows = [
        [Cell(r.candidate), named(r.endpoint, summary), Cell(r.cell), Cell(r.finding), Cell(r.evidence)] for r in found
    ]
    columns = ["candidate", "endpoint", "load", "this run", "evidence"]
    notes = [
        "Supported, contradicted, open (the interval reaches both ways), or not tested by this run; none is a proof."
    ]
    return Table("possible-reasons", "Possible reasons", columns, rows, notes) if rows else None


def economy(summary: Summary) -> Table | None:
    """Return goodput, cost, energy and the share of the bandwidth limit, where the config names any."""
    shown = [each for each in summary.economies if _says(each)]
    rows = [
        [
            named(each.endpoint, summary),
            Cell(each.cell),
            Cell(NONE if each.met is None else f"{each.met}/{each.requests}", each.met),
            figure(each.goodput_per_s),
            Cell(
                f"{number(each.price_per_mtok)} {each.currency}" if each.price_per_mtok else NONE, each.price_per_mtok
            ),
            figure(each.kwh_per_mtok),
            figure(each.hours_per_mtok),
            Cell(_share(each), each.decode_tok_per_s),
        ]
        for each in shown
    ]
    columns = [
        "endpoint", "load", "met all limits", "goodput (requests/s)", "cost per million output tokens",
        "energy (kWh) per million", "hours per million", "decode tok/s, % of bandwidth limit",
    ]  # fmt: skip
    notes = list(dict.fromkeys(note for each in shown for note in each.notes))
    return Table("economy", "Goodput, cost and limits", columns, rows, notes) if rows else None


def _says(each: Economy) -> bool:
    return any(
        (each.goodput_per_s is not None, each.price_per_mtok, each.kwh_per_mtok, each.limit_tok_per_s, each.notes)
    )


def _share(each: Economy) -> str:
    if each.limit_tok_per_s is None or each.decode_tok_per_s is None:
        return NONE
    percent = 100 * each.decode_tok_per_s / each.limit_tok_per_s
    return f"{number(each.decode_tok_per_s)} of {number(each.limit_tok_per_s)}: {percent:.0f} %"
