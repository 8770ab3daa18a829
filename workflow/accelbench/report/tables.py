"""Tables: CSV with every figure at full precision, Markdown and LaTeX with sensible digits for reading and pasting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.percentiles import Percentile
from accelbench.analysis.proportions import Proportion
from accelbench.analysis.statistics import Description, Estimate
from accelbench.analysis.tail import Tail
from accelbench.analysis.training import TrainingRow
from accelbench.files import write_atomically
from accelbench.records import RequestRecord
from accelbench.report.calibration import read_calibration, write_calibration
from accelbench.report.micro_batches import micro_batches_markdown
from accelbench.report.summary import Summary
from accelbench.report.text import NONE, csv_text, interval, latex, markdown, number, unique
from accelbench.report.training_tables import published_markdown, training_latex, training_markdown

NESTED = (Description, Estimate, Percentile, Proportion, Tail)
REQUEST_COLUMNS = [f.name for f in fields(RequestRecord) if f.name not in ("golds", "server_timings")]


def write_tables(out: Path, summary: Summary) -> None:
    """Write training.csv/.md/.tex, inference.csv/.md/.tex and requests.csv to a folder."""
    training, inference, labels = summary.training, summary.inference, summary.labels
    write_atomically(out / "training.csv", csv_text([_flat(row) for row in training], _columns(TrainingRow)))
    words = [training_markdown(training, labels, summary.runs)]
    words += filter(None, [micro_batches_markdown(training, labels)])
    words += [published_markdown(summary.published)] if summary.published else []
    write_atomically(out / "training.md", "\n".join(words))
    write_atomically(out / "inference.csv", csv_text([_flat(row) for row in inference], _columns(InferenceRow)))
    write_atomically(out / "inference.md", inference_markdown(inference, labels, summary.data_set))
    write_atomically(out / "training.tex", training_latex(training, labels))
    write_atomically(out / "inference.tex", inference_latex(inference, labels))
    rows = [{name: getattr(request, name) for name in REQUEST_COLUMNS} for request in summary.requests]
    write_atomically(out / "requests.csv", csv_text(rows, REQUEST_COLUMNS))
    write_calibration(out, read_calibration())


def inference_markdown(rows: Sequence[InferenceRow], labels: Mapping[str, str], data_set: str) -> str:
    """Return one table per cell: metrics down, endpoints across, ratios against the baseline."""
    if not rows:
        return "No endpoints are asked.\n"
    parts = [f"Questions: {data_set}. Latency is measured from the moment a request was written; n = requests.\n"]
    for cell in dict.fromkeys(row.cell for row in rows):
        parts.append(_cell_markdown([row for row in rows if row.cell == cell], labels))
    return "\n".join(parts)


def inference_latex(rows: Sequence[InferenceRow], labels: Mapping[str, str]) -> str:
    """Return one LaTeX table per cell."""
    tables = []
    for cell in unique(row.cell for row in rows):
        own = [row for row in rows if row.cell == cell]
        tables.append(latex(f"{cell}: {own[0].load}", *_grid(own, labels)))
    return "\n".join(tables)


def inference_metrics(row: InferenceRow) -> dict[str, str]:
    """Return the published table's rows, then what they left out, for one endpoint in one cell."""
    return {
        "mean latency (s)": _of(row.latency, "mean"),
        "median latency (s)": _of(row.latency, "median"),
        "min latency (s)": _of(row.latency, "min"),
        "max latency (s)": _of(row.latency, "max"),
        "typical latency (s), 95 % interval": interval(row.typical_latency),
        "TTFT, median (s)": _of(row.ttft, "median"),
        "TPOT, median (ms)": number(row.tpot.median * 1000) if row.tpot else NONE,
        "throughput per request (total tok/s)": number(row.total_tok_per_s),
        "throughput per request (output tok/s)": number(row.output_tok_per_s),
        "system throughput (output tok/s), over rounds": over_rounds(row.system_output_tok_per_s),
        "response length (output tokens)": number(row.completion_tokens),
        "prompt length (tokens)": number(row.prompt_tokens),
        "success": f"{row.successes}/{row.requests}{_between(row.success_rate)}",
        "exact match": _share(row.exact_match_share),
        "F1": _share(row.f1_mean),
        "contains the gold answer": _share(row.contains_share),
    }


def inference_details(row: InferenceRow) -> dict[str, str]:
    """Return what explains the figures of one endpoint in one cell: the load as it was, and the tails."""
    of_rate = [row.rate_per_s, row.due_per_s, row.sent_per_s]
    return {
        "arrivals per s: asked for, drawn, sent": NONE if row.rate_per_s is None else ", ".join(map(number, of_rate)),
        "late sends": number(row.late_sends),
        "E2E from schedule, median (s)": _of(row.from_schedule_latency, "median"),
        "requests per s, over rounds": over_rounds(row.requests_per_s),
        "waits for a busy endpoint, all together (s)": number(row.waited_s or None),
        "context asked for (tokens)": number(row.context_tokens),
        "prompt as counted by the endpoint (tokens)": number(row.prompt_tokens),
        "most output asked for (tokens)": number(row.max_tokens),
        "answers cut there": number(row.truncated),
        "exact match, typography folded": _share(row.exact_match_folded),
        "F1, typography folded": _share(row.f1_folded),
        "TTFAT, median (s)": _of(row.ttfat, "median"),
        "E2E p95, 95 % interval (s)": _percentile(row.latency_p95),
        "E2E p50, p90, p95, p99 (s)": shown(row.latency_tail),
        "E2E of all, failures as ∞: p50, p90, p95, p99 (s)": shown(row.latency_of_all),
        "TTFT p50, p90, p95, p99 (s)": shown(row.ttft_tail),
        "TTFT of all, failures as ∞: p50, p90, p95, p99 (s)": shown(row.ttft_of_all),
    }


def told(columns: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return the rows of a table, metrics down; those that say nothing of any endpoint are left out."""
    rows = [[metric, *(column[metric] for column in columns)] for metric in columns[0]]
    return [row for row in rows if set("".join(row[1:])) - set(f"{NONE}, ")]


def shown(tail: Tail | None) -> str:
    """Return the percentiles that n supports; ∞ where so many requests failed."""
    if tail is None:
        return NONE
    reached = [tail.p50, tail.p90, tail.p95, tail.p99]
    return ", ".join("∞" if value == math.inf else number(value) for value in reached)


def over_rounds(speeds: Description | None) -> str:
    """Return the mean over rounds, and the lowest and the highest."""
    if speeds is None:
        return NONE
    mean = number(speeds.mean)
    return mean if speeds.n == 1 else f"{mean} ({number(speeds.min)} to {number(speeds.max)})"


def _grid(rows: Sequence[InferenceRow], labels: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    columns = [inference_metrics(row) for row in rows]
    header = ["metric", *(f"{labels.get(row.endpoint, row.endpoint)}" for row in rows)]
    body = [[metric, *(column[metric] for column in columns)] for metric in columns[0]]
    if len(rows) > 1:
        ratios = ["1 (baseline)" if r.endpoint == r.baseline else interval(r.ratio_to_baseline) for r in rows]
        body.append(["latency ÷ baseline's, same prompts, 95 % interval", *ratios])
    return header, body


def _cell_markdown(rows: Sequence[InferenceRow], labels: Mapping[str, str]) -> str:
    header, body = _grid(rows, labels)
    first = rows[0]
    requests = ", ".join(f"{labels.get(r.endpoint, r.endpoint)} n = {r.requests}" for r in rows)
    title = f"### {first.cell}: {first.load}\n\n{requests}, in {first.rounds_planned} rounds.\n"
    notes = [f"{labels.get(r.endpoint, r.endpoint)}: {r.labels}" for r in rows if r.labels]
    notes += [f"{labels.get(r.endpoint, r.endpoint)}: {r.failures}" for r in rows if r.failures]
    notes += [f"{labels.get(r.endpoint, r.endpoint)}: {r.missing}" for r in rows if r.missing]
    reasons = {r.typical_latency.why_no_interval for r in rows if r.typical_latency}
    notes += [f"No interval: {reason}." for reason in sorted(filter(None, reasons))]
    details = markdown(header, told([inference_details(row) for row in rows]))
    return "\n".join([title, markdown(header, body), *(f"{note}\n" for note in notes), details])


def _of(description: Description | None, key: str) -> str:
    return NONE if description is None else number(getattr(description, key))


def _percentile(reached: Percentile | None) -> str:
    """Return a percentile with its interval; where n does not reach it, the maximum, said so."""
    if reached is None:
        return NONE
    if reached.value is None or reached.low is None or reached.high is None:
        return f"not reached; max {number(reached.max)}"
    return f"{number(reached.value)} ({number(reached.low)} to {number(reached.high)})"


def _share(share: Proportion | None) -> str:
    """Return a share with its 95 % interval."""
    return NONE if share is None else f"{100 * share.value:.0f} %{_between(share)}"


def _between(share: Proportion | None) -> str:
    if share is None or share.low is None or share.high is None:
        return ""
    return f" ({100 * share.low:.0f} to {100 * share.high:.0f} %)"


def _columns(row_type: type) -> list[str]:
    """Return the CSV's columns: a nested description or estimate has one per figure."""
    columns = []
    for field in fields(row_type):
        nested = next((t for t in NESTED if t.__name__ in str(field.type)), None)
        columns += [f"{field.name}_{inner.name}" for inner in fields(nested)] if nested else [field.name]
    return columns


def _flat(row: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{field.name}_{key}": inner for key, inner in asdict(value).items()}
        elif not any(t.__name__ in str(field.type) for t in NESTED):
            flat[field.name] = value
    return flat
