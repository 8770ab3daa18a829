"""The sections of the page: conclusions on endpoints, with their figures and reasons, and tables of the trainings."""

from collections.abc import Callable, Mapping, Sequence

from accelbench.analysis.economy import Economy
from accelbench.analysis.sweep import WINDOW, LossReached
from accelbench.report.inference_tables import AXIS, search_interval
from accelbench.report.page.tables import Table, TableCell, count_cell, figure, named
from accelbench.report.reasons import Reason, reasons, ruled_out
from accelbench.report.sentences import MAX_COMPARED
from accelbench.report.summary import Summary
from accelbench.report.text import DISTURBED, NONE, Shown, listed, number, unique
from accelbench.report.training_tables import (
    figure_notes,
    published_caption,
    published_columns,
    published_notes,
    resumed_notes,
    training_columns,
)
from accelbench.report.verdicts import crossovers, headline, metric_name, verdict_figures
from accelbench.store.records import TrainRunRecord

HOW = (
    "Intervals are 95 %, for this session, each by itself, not corrected for their number. Equal: two one-sided tests "
    "within the margin set in the config. p: the largest of t tests over passages, over rounds and over both, "
    "Holm-corrected over all tests in this report. Times are compared by their geometric means over answered requests; "
    "stragglers rarer than 3 in n may be missing."
)
LAW = (
    "a: the time of a request that does not depend on its output tokens; b: the time that each output token adds. "
    "Where b's interval contains 0 there is no decode speed. Intervals are 95 %, for this session, each by itself, "
    "not corrected; slow starts rarer than 3 in n may be missing. Tokens are as the server counts them: random "
    "counting errors make b too low, by more than its interval shows."
)
SPLIT = (
    "Network and gateway: the median of timed health calls, a lower bound for any request. Server: its own time up "
    "to the first token, minus b, which covers that token; without streaming, a minus the time outside the server. "
    "Rest: all other time. The parts are point estimates and add up to a."
)
WORDS = {"lower": "lower", "higher": "higher", "equivalent": "equal within the margin", "undecided": "undecided"}


def said(summary: Summary) -> list[str]:
    """Return the sentences below the plots: endpoints that the summary left out, and crossovers."""
    real = [each for each in summary.judged if not each.control]
    names = unique(each.pair.ours.name for each in real)
    left_out = [[each for each in real if each.pair.ours.name == name] for name in names[MAX_COMPARED:]]
    said = [headline(own, summary.labels) for own in left_out] + crossovers(real, summary.labels)
    return said + list(filter(None, [ruled_out(_reasons(summary))]))


def laws(summary: Summary) -> Table | None:
    """Return the latency law by endpoint and load, or why there is none."""
    rows = []
    for each in summary.evidence:
        name, law = named(each.endpoint, summary), each.law
        if law is None:
            rows.append([name, TableCell(each.cell), *[TableCell(NONE)] * 5, TableCell(each.why_no_law or NONE)])
            continue
        method = "TTFT and TPOT" if law.method == "stream" else "regression"
        rows.append(
            [
                name,
                TableCell(each.cell + (DISTURBED if each.disturbed else "")),
                _bounded(law.a_s, law.a_ci),
                _bounded(1000 * law.b_s_per_tok, law.b_ci and [1000 * end for end in law.b_ci]),
                _bounded(law.decode_tok_per_s, law.decode_ci) if law.decode_tok_per_s else TableCell(NONE),
                TableCell(f"{law.tokens_seen[0]:,} to {law.tokens_seen[1]:,}", law.tokens_seen[1]),
                count_cell(law.n),
                TableCell("; ".join(filter(None, [f"from {method}", law.why]))),
            ]
        )
    columns = [
        "endpoint", "load", "fixed cost a (s)", "per output token b (ms)", "decode tok/s, 1/b", "output tokens seen",
        "n", "how",
    ]  # fmt: skip
    return Table("latency-laws", "Latency = a + b · output tokens", columns, rows, [LAW]) if rows else None


def fixed_costs(summary: Summary) -> Table | None:
    """Return the parts of each fixed cost, as far as health calls and the server's own times show them."""
    rows = [
        [
            named(each.endpoint, summary),
            TableCell(each.cell + (DISTURBED if each.disturbed else "")),
            *(figure(part) for part in (cost.total_s, cost.floor_s, cost.server_s, cost.rest_s)),
            TableCell(cost.why_no_split or NONE),
        ]
        for each in summary.evidence
        if (cost := each.fixed_cost)
    ]
    columns = [
        "endpoint", "load", "fixed cost a (s)", "network and gateway (s)", "server, before its first token (s)",
        "rest: queue, gateway (s)", "not known",
    ]  # fmt: skip
    return Table("fixed-costs", "What the fixed cost is made of", columns, rows, [SPLIT]) if rows else None


def verdicts(summary: Summary) -> Table | None:
    """Return the verdict on every metric of every pair."""
    rows = [
        [
            named(each.pair.ours.name, summary),
            TableCell("itself: the noise floor") if each.control else named(each.pair.theirs.name, summary),
            TableCell(each.pair.ours.cell),
            TableCell(metric_name(metric) + (" (primary)" if metric == each.primary else "")),
            TableCell(WORDS[verdict.kind]),
            TableCell(verdict_figures(verdict)),
            TableCell("yes" if each.pair.paired else "no"),
            figure(verdict.p_value, 2),
            count_cell(verdict.needed.rounds if verdict.needed else None),
        ]
        for each in summary.judged
        for metric, verdict in each.verdicts.items()
    ]
    columns = [
        "endpoint", "against", "load", "metric", "verdict", "ratio or difference", "interleaved", "p, corrected",
        "rounds needed",
    ]  # fmt: skip
    return Table("verdicts", "All verdicts", columns, rows, [HOW]) if rows else None


def possible_reasons(summary: Summary) -> Table | None:
    """Return each candidate reason for a difference, and whether this run supports it."""
    loads: dict[tuple[str, str, str, str], list[str]] = {}
    for each in _reasons(summary):
        key = (each.candidate, each.endpoint, each.finding, each.evidence)
        loads.setdefault(key, []).append(each.cell)
    rows = [
        [
            TableCell(candidate),
            named(name, summary),
            TableCell(", ".join(cells)),
            TableCell(finding),
            TableCell(evidence),
        ]
        for (candidate, name, finding, evidence), cells in loads.items()
    ]
    columns = ["candidate", "endpoint", "load", "finding", "evidence"]
    notes = [
        "Supported, ruled out, open (the interval allows both), or not tested by this run. None of this is proof.",
        "accelbench why says what makes up each difference, and plans the measurements that would decide more.",
    ]
    return Table("possible-reasons", "Possible reasons", columns, rows, notes) if rows else None


def _reasons(summary: Summary) -> list[Reason]:
    twins = {each.pair.ours.name for each in summary.judged if each.control}
    own = [row for row in summary.inference if row.endpoint not in twins]
    evidence = [each for each in summary.evidence if each.endpoint not in twins]
    return reasons(own, evidence, summary.rounds)


def highest_loads(summary: Summary) -> Table | None:
    """Return the highest load at which each endpoint meets the objectives of a search."""
    rows = []
    for each in summary.searches:
        name, found = named(each.endpoint, summary), each.result
        if found is None:
            rows.append([name, TableCell(each.cell), *[TableCell(NONE)] * 4, TableCell(each.why or NONE)])
            continue
        levels = (TableCell(NONE if at is None else f"{at:g}", at) for at in (found.holds_at, found.fails_at))
        told = [search_interval(found), *found.labels]
        took = TableCell(f"{found.requests:,} in {found.rounds} rounds", found.requests)
        rows.append(
            [name, TableCell(each.cell), TableCell(found.objectives), *levels, took, TableCell("; ".join(told))]
        )
    if not rows:
        return None
    columns = ["endpoint", "scenario", "objectives", "holds at", "fails at", "requests", "how sure"]
    axes = unique(AXIS[each.result.axis] for each in summary.searches if each.result)
    loads = f"Loads: {listed(axes)}. " if axes else ""
    bisection = (
        f"{loads}A probabilistic bisection: a level is repeated while its rounds disagree, "
        "and the interval takes each round to be wrong with probability 1 in 4. Levels between the two are undecided."
    )
    return Table("searches", "The highest load within objectives", columns, rows, [bisection])


def economy_table(summary: Summary) -> Table | None:
    """Return goodput, cost, energy and the share of the bandwidth limit, where the config names any."""
    shown = [each for each in summary.economies if _says(each)]
    disturbed = {(row.endpoint, row.cell) for row in summary.inference if row.disturbed}
    rows = [
        [
            named(each.endpoint, summary),
            TableCell(each.cell + (DISTURBED if (each.endpoint, each.cell) in disturbed else "")),
            TableCell(NONE if each.met is None else f"{each.met}/{each.requests}", each.met),
            figure(each.goodput_per_s),
            TableCell(
                f"{number(each.price_per_mtok)} {each.currency}" if each.price_per_mtok else NONE, each.price_per_mtok
            ),
            figure(each.kwh_per_mtok),
            figure(each.hours_per_mtok),
            TableCell(_share(each), each.decode_tok_per_s),
        ]
        for each in shown
    ]
    columns = [
        "endpoint", "load", "met all limits", "goodput (requests/s)", "cost per million output tokens",
        "energy (kWh) per million", "hours per million", "decode tok/s, % of bandwidth limit",
    ]  # fmt: skip
    notes = list(dict.fromkeys(note for each in shown for note in each.notes))
    return Table("economy", "Goodput, cost and limits", columns, rows, notes) if rows else None


def _bounded(value: float, interval: Sequence[float | None] | None) -> TableCell:
    if interval is None:
        return TableCell(f"{number(value)} (no interval)", value)
    low, high = ("unbounded" if end is None else number(end) for end in interval)
    return TableCell(f"{number(value)} ({low} to {high})", value)


def _says(each: Economy) -> bool:
    return any(
        (each.goodput_per_s is not None, each.price_per_mtok, each.kwh_per_mtok, each.limit_tok_per_s, each.notes)
    )


def _share(each: Economy) -> str:
    if each.limit_tok_per_s is None or each.decode_tok_per_s is None:
        return NONE
    percent = 100 * each.decode_tok_per_s / each.limit_tok_per_s
    return f"{number(each.decode_tok_per_s)} of {number(each.limit_tok_per_s)}: {percent:.0f} %"


ONE_RUN = "Means over the completed runs. Figures from one run have no uncertainty."
_STEADY = "steady rate samples/s (lowest–highest)"
_SHORT = ("batch size", "micro batch", _STEADY, "total s", "not training", "final loss")
"""The columns of the first table; all are in the folded one."""
_OF_LENGTHS = ("sequence length", "tokens/s")
"""And these, if the sequence length is an axis of the sweep."""
_SHOWN_FROM_S = 0.05  # a phase needs this many seconds in some run to get a column


def training_table(summary: Summary) -> Table:
    """Return the sweep in a few columns: a row per platform and size."""
    short = _SHORT + (_OF_LENGTHS if any(row.length for row in summary.training) else ())
    columns = {name: cells for name, cells in training_columns(summary.training).items() if name in short}
    caption = "Training by platform and batch size"
    return Table("training", caption, ["platform", *columns], _rows(columns, summary), [ONE_RUN])


def training_in_full(summary: Summary) -> Table:
    """Return the sweep with every column that has a figure."""
    columns = training_columns(summary.training)
    notes = [ONE_RUN, *figure_notes(summary.training, summary.labels, summary.runs, summary.sweeps)]
    caption = "Training by platform and batch size, all columns"
    return Table("training-all", caption, ["platform", *columns], _rows(columns, summary), notes)


def _rows(columns: Mapping[str, Sequence[Shown]], summary: Summary) -> list[list[TableCell]]:
    return [
        [named(row.platform, summary), *(TableCell(*cells[place]) for cells in columns.values())]
        for place, row in enumerate(summary.training)
    ]


def phases(summary: Summary) -> Table | None:
    """Return where each run's seconds went, without phases that no log mentions."""
    runs = [run for run in summary.runs if run.logged.phases_s]
    names = runs[0].logged.phases_s if runs else {}
    axes = _axes(runs)
    phases = [name for name in names if any((run.logged.phases_s.get(name) or 0) >= _SHOWN_FROM_S for run in runs)]
    rows = [
        [
            *_size_cells(run, axes, summary),
            *(figure(run.logged.phases_s.get(name)) for name in phases),
            figure(run.logged.wall_s),
        ]
        for run in runs
    ]
    columns = ["platform", "batch size", *axes, "repeat", *(f"{name} (s)" for name in phases), "all (s)"]
    notes = resumed_notes(runs, summary.labels)
    return Table("phases", "Where the seconds of each run went", columns, rows, notes) if rows and phases else None


def published(summary: Summary) -> Table | None:
    """Return the published figures that the config names."""
    if summary.published is None:
        return None
    columns = published_columns(summary.published)
    rows = [[TableCell(*shown) for shown in row] for row in zip(*columns.values(), strict=True)]
    caption, notes = published_caption(summary.published), published_notes(summary.published)
    return Table("published", caption, list(columns), rows, notes)


def to_loss(summary: Summary) -> Table | None:
    """Return samples and seconds to the loss that all runs of a series reached."""
    reached = [row for sweep in summary.sweeps for row in sweep.reached]
    axes = _axes(reached)
    rows = [
        [*_size_cells(row, axes, summary), figure(row.target, 4), count_cell(row.samples), _seconds(row)]
        for row in reached
    ]
    columns = [
        "platform",
        "batch size",
        *axes,
        "repeat",
        "loss",
        "samples to that loss",
        "seconds of training to that loss",
    ]
    alike = listed(["the platform", *axes])
    notes = [
        f"The loss is the highest final loss of a run of {alike}, as the mean of {WINDOW} logged training losses. A "
        "run reaches it at the first progress line that shows it; start-up is left out. Sizes differ in learning "
        "rate per sample and in schedule position, and each run has one seed, so these figures do not rank batch "
        "sizes."
    ]
    caption = "Samples and seconds to a loss that all runs reached"
    return Table("to-loss", caption, columns, rows, notes) if rows else None


def _seconds(row: LossReached) -> TableCell:
    return TableCell(number(row.seconds) + (DISTURBED if row.disturbed and row.seconds else ""), row.seconds)


_Sized = TrainRunRecord | LossReached
_AXES: dict[str, Callable[[_Sized], int | None]] = {
    "micro batch": lambda size: size.micro_batch_size,
    "sequence length": lambda size: size.length,
}


def _axes(sizes: Sequence[_Sized]) -> list[str]:
    """Return the columns of a micro batch and a sequence length, if any is set."""
    return [name for name, value in _AXES.items() if any(map(value, sizes))]


def _size_cells(size: _Sized, axes: Sequence[str], summary: Summary) -> list[TableCell]:
    """Return the names of a run."""
    own = [count_cell(_AXES[name](size)) for name in axes]
    return [named(size.platform, summary), count_cell(size.batch_size), *own, count_cell(size.repeat)]
