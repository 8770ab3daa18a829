"""The comparison of endpoints as tables: metrics down, endpoints across, and why a figure has no interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelbench.analysis.economy import Economy
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import MIN_PASSAGES, MIN_ROUNDS, Description, Estimate, Proportion, counted
from accelbench.analysis.percentiles import Percentile, Percentiles
from accelbench.analysis.tail import PERCENTS, Gaps, Tail
from accelbench.report.text import NONE, Labels, interval, listed, number, unique

SAME_WITHOUT_REASONING = {
    "TTFAT, median (s)": "TTFT, median (s)",
    "throughput per request (answer tok/s)": "throughput per request (output tok/s)",
    "system throughput (answer tok/s), over rounds": "system throughput (output tok/s), over rounds",
}
"""What only answers with reasoning tell apart."""
RATIOS = {
    "mean latency (s)": "mean_latency",
    "typical latency (s), 95 % interval": "typical_latency",
    "TTFT, median (s)": "ttft",
    "TTFAT, median (s)": "ttfat",
    "TPOT, median (ms)": "tpot",
    "throughput per request (total tok/s)": "total_tok_per_s",
    "throughput per request (output tok/s)": "output_tok_per_s",
    "throughput per request (answer tok/s)": "answer_tok_per_s",
    "system throughput (total tok/s), over rounds": "system_total_tok_per_s",
    "system throughput (output tok/s), over rounds": "system_output_tok_per_s",
    "system throughput (answer tok/s), over rounds": "system_answer_tok_per_s",
    "requests per s, over rounds": "requests_per_s",
    "response length (output tokens)": "completion_tokens",
}
"""Metric -> its ratio."""
HOW_RATIOS = (
    "÷ baseline, with its 95 % interval (each by itself, not corrected): over the prompts that both answered. Typical "
    "latency, TTFT, TTFAT and TPOT: "
    "the geometric mean of the prompts' own ratios, which need not be the ratio of the medians beside it. System "
    "throughput and requests per s: round by round. Of endpoints that were not interleaved: over all that each "
    "answered, without the prompts that the other failed."
)
HOW_PERCENTILES = (
    "Percentiles are order statistics; for their intervals, requests that share a passage or a round count for less. "
    "Where n is too small for one, the maximum stands in its place, and higher ones are left out."
)
NO_REASONING = "No answer held reasoning: TTFAT is TTFT, and answer tok/s are output tok/s."


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of words, and what has to be said of its rows."""

    header: list[str]
    body: list[list[str]]
    notes: list[str]


def comparison(rows: Sequence[InferenceRow], labels: Labels, economies: Sequence[Economy] = ()) -> Grid:
    """Return the comparison of endpoints under one load."""
    yields = {(each.endpoint, each.cell): each for each in economies}
    columns = [metrics(row) | _goodput(yields.get((row.endpoint, row.cell))) for row in rows]
    kept = [metric for metric in columns[0] if _says_more(metric, columns)]
    header, body = ["metric"], [[metric] for metric in kept]
    for row, column in zip(rows, columns, strict=True):
        name, compared = labels.get(row.endpoint, row.endpoint), len(rows) > 1
        is_baseline = row.endpoint == row.baseline
        header += [f"{name}, baseline"] if compared and is_baseline else [name]
        header += [f"{name} ÷ baseline"] if compared and not is_baseline else []
        for metric, line in zip(kept, body, strict=True):
            line += [column[metric]] + ([] if not compared or is_baseline else [_ratio(row, metric)])
    limits = [
        note for each in economies for note in each.notes if each.cell == rows[0].cell and note.startswith("goodput")
    ]
    notes = [HOW_RATIOS] if len(rows) > 1 else []
    notes += [NO_REASONING] if _without_reasoning(columns) else []
    return Grid(header, body, [*notes, *dict.fromkeys(limits)])


def details(rows: Sequence[InferenceRow], labels: Labels) -> Grid:
    """Return what explains the figures of a load: the load as it was, and the tails."""
    columns = [detail(row) for row in rows]
    body = [[metric, *(column[metric] for column in columns)] for metric in columns[0]]
    told = [line for line in body if set("".join(line[1:])) - set(f"{NONE}, ")]
    return Grid(["metric", *(labels.get(row.endpoint, row.endpoint) for row in rows)], told, [HOW_PERCENTILES])


def metrics(row: InferenceRow) -> dict[str, str]:
    """Return the published table's rows, then what they left out, for one endpoint in one cell."""
    return {
        "mean latency (s)": _of(row.latency, "mean"),
        "median latency (s)": _of(row.latency, "median"),
        "min latency (s)": _of(row.latency, "min"),
        "max latency (s)": _of(row.latency, "max"),
        "typical latency (s), 95 % interval": interval(row.typical_latency),
        "TTFT, median (s)": _of(row.ttft, "median"),
        "TTFAT, median (s)": _of(row.ttfat, "median"),
        "TPOT, median (ms)": number(row.tpot.median * 1000) if row.tpot else NONE,
        "ITL, median (ms)": _milliseconds(row.itl.median) if row.itl else NONE,
        "throughput per request (total tok/s)": number(row.total_tok_per_s),
        "throughput per request (output tok/s)": number(row.output_tok_per_s),
        "throughput per request (answer tok/s)": number(row.answer_tok_per_s),
        "system throughput (total tok/s), over rounds": _over_rounds(row.system_total_tok_per_s),
        "system throughput (output tok/s), over rounds": _over_rounds(row.system_output_tok_per_s),
        "system throughput (answer tok/s), over rounds": _over_rounds(row.system_answer_tok_per_s),
        "requests per s, over rounds": _over_rounds(row.requests_per_s),
        "response length (output tokens)": number(row.completion_tokens),
        "prompt length (tokens)": number(row.prompt_tokens),
        "success": f"{row.successes}/{row.requests}{_between(row.success_rate)}",
        "exact match": _share(row.exact_match_share),
        "F1": _share(row.f1_mean),
        "contains the gold answer": _share(row.contains_share),
    }


def detail(row: InferenceRow) -> dict[str, str]:
    """Return what explains the figures of one endpoint in one cell."""
    of_rate = [row.rate_per_s, row.due_per_s, row.sent_per_s]
    some_failed = row.latency_of_all is not None and row.latency_tail != row.latency_of_all
    return {
        "arrivals per s: asked for, drawn, sent": NONE if row.rate_per_s is None else ", ".join(map(number, of_rate)),
        "late sends": number(row.late_sends),
        "E2E from schedule, median (s)": _of(row.from_schedule_latency, "median"),
        "waits for a busy endpoint, all together (s)": number(row.waited_s or None),
        "context asked for (tokens)": number(row.context_tokens),
        "most output asked for (tokens)": number(row.max_tokens),
        "answers cut there": number(row.truncated),
        "exact match, typography folded": _share(row.exact_match_folded),
        "F1, typography folded": _share(row.f1_folded),
        **_reached("E2E", row.latency_percentiles),
        "E2E of all, failures as ∞: p50, p90, p95, p99 (s)": _tail(row.latency_of_all) if some_failed else NONE,
        **_reached("TTFT", row.ttft_percentiles),
        "TTFT of all, failures as ∞: p50, p90, p95, p99 (s)": _tail(row.ttft_of_all) if some_failed else NONE,
        "ITL p50, p90, p95, p99, max (ms), of all gaps": _gaps(row.itl),
    }


def _goodput(each: Economy | None) -> dict[str, str]:
    if each is None or each.met is None:
        return {"met all limits": NONE, "goodput (requests per s that met all limits)": NONE}
    return {
        "met all limits": f"{each.met}/{each.requests}",
        "goodput (requests per s that met all limits)": number(each.goodput_per_s),
    }


def _says_more(metric: str, columns: Sequence[Mapping[str, str]]) -> bool:
    """Tell whether a row belongs into the table: one of the published, or one that says something of its own."""
    if metric in SAME_WITHOUT_REASONING:
        return any(column[metric] not in (NONE, column[SAME_WITHOUT_REASONING[metric]]) for column in columns)
    return metric not in _goodput(None) or any(column[metric] != NONE for column in columns)


def _without_reasoning(columns: Sequence[Mapping[str, str]]) -> bool:
    known = any(column["throughput per request (answer tok/s)"] != NONE for column in columns)
    return known and not any(_says_more(metric, columns) for metric in SAME_WITHOUT_REASONING)


def _ratio(row: InferenceRow, metric: str) -> str:
    if row.ratio_to_baseline is None or metric not in RATIOS:
        return NONE
    estimate: Estimate | None = getattr(row.ratio_to_baseline, RATIOS[metric])
    return interval(estimate)


def _reached(what: str, known: Percentiles | None) -> dict[str, str]:
    """Return a row per percentile with its interval; where n does not reach one, the maximum, said so, and no more."""
    rows, reached = {}, known is not None
    for percent in PERCENTS:
        own: Percentile | None = getattr(known, f"p{percent}") if known and reached else None
        rows[f"{what} p{percent} (s), 95 % interval"] = _percentile(own)
        reached = own is not None and own.value is not None
    return rows


def _percentile(reached: Percentile | None) -> str:
    if reached is None:
        return NONE
    if reached.value is None or reached.low is None or reached.high is None:
        return f"n too small; max {number(reached.max)}"
    return f"{_or_infinite(reached.value)} ({_or_infinite(reached.low)} to {_or_infinite(reached.high)})"


def _tail(tail: Tail | None) -> str:
    """Return the percentiles that n supports; ∞ where so many requests failed."""
    return NONE if tail is None else ", ".join(map(_or_infinite, (tail.p50, tail.p90, tail.p95, tail.p99)))


def _gaps(gaps: Gaps | None) -> str:
    if gaps is None or not gaps.n:
        return NONE
    return ", ".join(map(_milliseconds, (gaps.p50, gaps.p90, gaps.p95, gaps.p99, gaps.max)))


def _milliseconds(seconds: float | None) -> str:
    return number(None if seconds is None else 1000 * seconds)


def _or_infinite(value: float | None) -> str:
    return "∞" if value == math.inf else number(value)


def _over_rounds(speeds: Description | None) -> str:
    """Return the mean over rounds, and the lowest and the highest."""
    if speeds is None:
        return NONE
    mean = number(speeds.mean)
    return mean if speeds.n == 1 else f"{mean} ({number(speeds.min)} to {number(speeds.max)})"


def _of(description: Description | None, key: str) -> str:
    return NONE if description is None else number(getattr(description, key))


def _share(share: Proportion | None) -> str:
    """Return a share with its 95 % interval, and of how many."""
    return NONE if share is None else f"{100 * share.value:.0f} %{_between(share)}, n = {share.n}"


def _between(share: Proportion | None) -> str:
    if share is None or share.low is None or share.high is None:
        return ""
    return f" ({100 * share.low:.0f} to {100 * share.high:.0f} %)"


def no_intervals(rows: Sequence[InferenceRow], labels: Labels, *, planned: bool = True) -> list[str]:
    """Return a sentence per reason. `planned`: by a config, which can plan more; else the rounds are what there is."""
    said: dict[str, list[str]] = {}
    for row in rows:
        why = row.typical_latency.why_no_interval if row.typical_latency else None
        if why:
            said.setdefault(_takes(row, why, planned=planned), []).append(_name(row, rows, labels))
    return [f"No interval for {listed(unique(names))}: {takes}" for takes, names in said.items()]


def _takes(row: InferenceRow, why: str, *, planned: bool) -> str:
    if row.rounds >= MIN_ROUNDS:
        more = f" A larger requests: asks more passages; {MIN_PASSAGES} are needed." if planned else ""
        return f"{why}.{more}"
    there = f"{MIN_ROUNDS} rounds are needed; there {'was' if row.rounds == 1 else 'were'} {row.rounds}"
    if not planned:
        return f"{there}."
    if row.rounds_planned >= MIN_ROUNDS:
        missing = counted(row.rounds_planned - row.rounds, "missing round")
        return f"{there}: run again, which measures only the {missing}."
    new = counted(MIN_ROUNDS - row.rounds, "new one")
    return f"{there}: set rounds: {MIN_ROUNDS} and run again, which measures only the {new}."


def _name(row: InferenceRow, rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Name the endpoint, with its load where several are told of."""
    name = labels.get(row.endpoint, row.endpoint)
    return f"{name} in {row.cell}" if len({each.cell for each in rows}) > 1 else name
