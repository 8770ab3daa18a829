"""The comparison of endpoints as tables: metrics down, endpoints across, and why a figure has no interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.economy import Economy
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import (
    MIN_PASSAGES,
    MIN_ROUNDS,
    RESTS_ON_CHANCE,
    Description,
    Estimate,
    Proportion,
    counted,
)
from accelbench.analysis.metrics import METRICS, Figure, Line, Metric, lines_in
from accelbench.analysis.percentiles import PERCENTS, Percentile, Percentiles, Tail, Times
from accelbench.report.text import DISTURBED, NONE, Labels, interval, listed, markdown, number, unique
from accelbench.store.records import SearchResult

HOW_RATIOS = (
    "÷ baseline, with its 95 % interval (each by itself, not corrected): over the prompts that both answered. For "
    "typical latency, TTFT, TTFAT and TPOT it is the geometric mean of the ratios per prompt, which can differ from "
    "the ratio of the medians shown. System throughput and requests per s are compared round by round. Endpoints "
    "that were not interleaved are compared over all that each answered, without the prompts that the other failed."
)
HOW_DISTURBED = (
    "Times and speeds are those of rounds on a quiet host, if an endpoint has any; else they are marked disturbed, and "
    "nothing is concluded of them. Scores and failures are those of all rounds."
)
HOW_PERCENTILES = (
    "Percentiles are order statistics; in their intervals, requests that share a passage or a round count for less. "
    "Where n is too small for a percentile, the maximum is given instead, and higher percentiles are left out."
)
HOW_ENERGY = (
    "Measured energy and power are gross, and of one scope for each endpoint: of an imported file (power_csv) if there "
    "is one, else of all GPUs, else of all CPU packages. Endpoints are compared only where their scopes are the same."
)
GOODPUT = ("met all limits", "goodput (requests per s that met all limits)")
NO_REASONING = "No answer contained reasoning, so TTFAT equals TTFT, and answer tok/s equal output tok/s."


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts, and the notes on its rows."""

    header: list[str]
    body: list[list[str]]
    notes: list[str]


def comparison(rows: Sequence[InferenceRow], labels: Labels, economies: Sequence[Economy] = ()) -> Grid:
    """Return the comparison of endpoints under one load."""
    repeated = [metric for metric in METRICS.values() if metric.same_as and _repeats(rows, metric.key, metric.same_as)]
    kept = [(metric, line) for metric, line in lines_in("comparison") if metric not in repeated]
    yields = {(each.endpoint, each.cell): _goodput(each) for each in economies if each.met is not None}
    header, body = ["metric"], [[line.label] for _, line in kept]
    below = [[name] for name in GOODPUT] if any((row.endpoint, row.cell) in yields for row in rows) else []
    for row in rows:
        name, is_baseline = labels.get(row.endpoint, row.endpoint), row.endpoint == row.baseline
        name += DISTURBED if row.disturbed else ""
        beside = len(rows) > 1 and not is_baseline
        header += [f"{name}, baseline"] if is_baseline and len(rows) > 1 else [name]
        header += [f"{name} ÷ baseline"] if beside else []
        for (metric, line), told in zip(kept, body, strict=True):
            told += [cell(row, metric, line)] + ([_ratio(row, metric, line)] if beside else [])
        for told, own in zip(below, yields.get((row.endpoint, row.cell), [NONE] * len(below)), strict=True):
            told += [own] + ([NONE] if beside else [])
    limits = [
        note for each in economies for note in each.notes if each.cell == rows[0].cell and note.startswith("goodput")
    ]
    notes = [HOW_RATIOS] if len(rows) > 1 else []
    notes += [HOW_DISTURBED] if any(row.busy_rounds for row in rows) else []
    notes += [NO_REASONING] if repeated and any("answer_tok_per_s" in row.figures for row in rows) else []
    return Grid(header, [*body, *below], [*notes, *dict.fromkeys(limits)])


def details(rows: Sequence[InferenceRow], labels: Labels) -> Grid:
    """Return what explains the figures of a load: the load itself, and percentiles."""
    loads = [_load(row) for row in rows]
    body = [[what, *(load[what] for load in loads)] for what in loads[0]]
    body += [[line.label, *(cell(row, metric, line) for row in rows)] for metric, line in lines_in("details")]
    told = [line for line in body if set("".join(line[1:])) - set(f"{NONE}, ")]
    names = [labels.get(row.endpoint, row.endpoint) for row in rows]
    energy = [f"{name}: {row.energy}" for name, row in zip(names, rows, strict=True) if row.energy]
    notes = [f"{HOW_ENERGY} {'. '.join(energy)}."] if energy else []
    return Grid(["metric", *names], told, [HOW_PERCENTILES, *notes])


def cell(row: InferenceRow, metric: Metric, line: Line) -> str:
    """Return the text of a line for an endpoint under a load."""
    figure = row.figures.get(metric.key)
    if metric.unit == "requests":
        return f"{row.successes}/{row.requests}{_between(figure) if isinstance(figure, Proportion) else ''}"
    if isinstance(figure, Percentiles):
        return _percentile(figure, line.statistic)
    if figure is not None and line.statistic:
        figure = getattr(figure, line.statistic)
    return _shown(figure, 1000 if metric.unit == "ms" else 1)


def _shown(figure: Figure | None, units: int) -> str:
    """Return a figure as a whole: with its interval, its range over rounds, or its percentiles."""
    if isinstance(figure, Estimate):
        return interval(figure)
    if isinstance(figure, Proportion):
        return f"{100 * figure.value:.0f} %{_between(figure)}, n = {figure.n}"
    if isinstance(figure, Description):
        mean = number(figure.mean)
        return mean if figure.n == 1 else f"{mean} ({number(figure.min)} to {number(figure.max)})"
    if isinstance(figure, Times | Tail):
        percentiles = [getattr(figure, f"p{percent}") for percent in PERCENTS]
        reached = [*percentiles, figure.max] if isinstance(figure, Times) else percentiles
        return ", ".join(_or_infinite(None if value is None else units * value) for value in reached)
    assert not isinstance(figure, Percentiles)
    return number(figure if figure is None or units == 1 else units * figure)


def _load(row: InferenceRow) -> dict[str, str]:
    """Return the load as configured, and as sent."""
    of_rate = [row.rate_per_s, row.due_per_s, row.sent_per_s]
    return {
        "arrivals per s: configured, drawn, sent": NONE if row.rate_per_s is None else ", ".join(map(number, of_rate)),
        "late sends": number(row.late_sends),
        "waits for a busy endpoint, total (s)": number(row.waited_s or None),
        "configured context (tokens)": number(row.context_tokens),
        "output tokens asked for" if row.output_tokens else "max_tokens": number(row.max_tokens),
        "prefix": row.prefix or NONE,
        "answers cut at max_tokens": number(row.truncated),
    }


def _goodput(each: Economy) -> list[str]:
    return [f"{each.met}/{each.requests}", number(each.goodput_per_s)]


def _repeats(rows: Sequence[InferenceRow], key: str, other: str) -> bool:
    """Tell whether a metric only repeats another."""
    return all(key not in row.figures or row.figures[key] == row.figures.get(other) for row in rows)


def _ratio(row: InferenceRow, metric: Metric, line: Line) -> str:
    return interval((row.ratio_to_baseline or {}).get(metric.key)) if line is metric.lines[0] else NONE


def _percentile(known: Percentiles, name: str) -> str:
    """Return a percentile with its interval; where n is too small, the maximum, and nothing for higher ones."""
    out = [f"p{percent}" for percent in PERCENTS if getattr(known, f"p{percent}").value is None]
    reached: Percentile = getattr(known, name)
    if name in out:
        return f"n too small; max {number(reached.max)}" if name == out[0] else NONE
    low, high = (_or_infinite(end) for end in (reached.low, reached.high))
    return f"{_or_infinite(reached.value)} ({low} to {high})"


def _or_infinite(value: float | None) -> str:
    return "∞" if value == math.inf else number(value)


def _between(share: Proportion) -> str:
    return "" if share.low is None or share.high is None else f" ({100 * share.low:.0f} to {100 * share.high:.0f} %)"


def no_intervals(rows: Sequence[InferenceRow], labels: Labels, *, planned: bool = True) -> list[str]:
    """Return a sentence per reason. `planned`: by a config, which can plan more rounds."""
    said: dict[str, list[str]] = {}
    for row in rows:
        why = row.typical_latency.why_no_interval if row.typical_latency else None
        if why:
            said.setdefault(_takes(row, why, planned=planned), []).append(_name(row, rows, labels))
    return [f"No interval for {listed(unique(names))}: {takes}" for takes, names in said.items()]


def _takes(row: InferenceRow, why: str, *, planned: bool) -> str:
    if row.rounds >= MIN_ROUNDS:
        if row.rounds - len(row.left_out) < MIN_ROUNDS:
            return f"{why}. {counted(len(row.left_out), 'round')} on a busy host counted for nothing."
        if not planned or RESTS_ON_CHANCE in why:
            return f"{why}."
        return f"{why}. {MIN_PASSAGES} passages are needed; increase requests to ask about more passages."
    there = f"{MIN_ROUNDS} rounds are needed; there {'was' if row.rounds == 1 else 'were'} {row.rounds}"
    if not planned:
        return f"{there}."
    if row.rounds_planned >= MIN_ROUNDS:
        missing = counted(row.rounds_planned - row.rounds, "missing round")
        return f"{there}: run again, which measures only the {missing}."
    new = counted(MIN_ROUNDS - row.rounds, "new one")
    return f"{there}: set rounds: {MIN_ROUNDS} and run again, which measures only the {new}."


def _name(row: InferenceRow, rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Name the endpoint, with its load if there are several."""
    name = labels.get(row.endpoint, row.endpoint)
    return f"{name} in {row.cell}" if len({each.cell for each in rows}) > 1 else name


SEARCHED = {"concurrency": "at a time", "rate_per_s": "requests per s"}
"""What a search for the highest load counts."""
AXIS = {"concurrency": "concurrency", "rate_per_s": "requests per s"}
"""What it varies."""


def search_text(found: SearchResult) -> str:
    """Return a table of the levels that a search tried, and what it found in a sentence."""
    rows = [
        [f"{level.at:g}", f"{level.held} of {level.rounds}", f"{level.requests:,}", level.missed or ""]
        for level in found.levels
    ]
    table = markdown([AXIS[found.axis], "rounds that held", "requests", "missed"], rows)
    said = f"{AXIS[found.axis]} for {found.objectives}: {search_sentence(found)}"
    return "\n".join([table, *(f"{line}\n" for line in (said, *found.labels))])


def search_sentence(found: SearchResult) -> str:
    """Say up to where the objectives are met, how sure that is, and what it took."""
    told = [
        f"holds at {found.holds_at:g}" if found.holds_at is not None else "",
        f"undecided at {listed([f'{at:g}' for at in found.undecided])}" if found.undecided else "",
        f"fails at {found.fails_at:g}" if found.fails_at is not None else "",
    ]
    took = f"{found.rounds} rounds, {found.requests:,} requests"
    return f"{', '.join(filter(None, told))}; {search_interval(found)}; {took}"


def search_interval(found: SearchResult) -> str:
    """Return the interval of the highest load, if both its ends were found."""
    if found.holds_at is None or found.fails_at is None:
        return "the maximum lies above" if found.fails_at is None else "the maximum lies below"
    return f"90 % interval {found.holds_at:g} to {found.fails_at:g}"
