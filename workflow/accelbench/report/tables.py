"""Tables: CSV with every figure at full precision, Markdown with sensible digits for reading and pasting."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.statistics import Description, Estimate
from accelbench.analysis.training import TrainingRow
from accelbench.files import write_atomically
from accelbench.records import RequestRecord
from accelbench.report.summary import Summary

NONE = "–"
REQUEST_COLUMNS = [f.name for f in fields(RequestRecord) if f.name not in ("golds", "server_timings")]


def write_tables(out: Path, summary: Summary) -> None:
    """Write training.csv/.md, inference.csv/.md and requests.csv to a folder."""
    training, inference, labels = summary.training, summary.inference, summary.labels
    write_atomically(out / "training.csv", csv_text([_flat(row) for row in training], _columns(TrainingRow)))
    write_atomically(out / "training.md", training_markdown(training, labels))
    write_atomically(out / "inference.csv", csv_text([_flat(row) for row in inference], _columns(InferenceRow)))
    write_atomically(out / "inference.md", inference_markdown(inference, labels, summary.data_set))
    rows = [{name: getattr(request, name) for name in REQUEST_COLUMNS} for request in summary.requests]
    write_atomically(out / "requests.csv", csv_text(rows, REQUEST_COLUMNS))


def training_markdown(rows: Sequence[TrainingRow], labels: Mapping[str, str]) -> str:
    """Return the sweep as Markdown: the published table's columns, then what makes them comparable."""
    if not rows:
        return "No training runs are planned.\n"
    header = [
        "platform", "batch size", "runs", "steps", "Rate samples/s", "GlobalRate samples/s",
        "steady rate samples/s (lowest–highest)", "tokens/s", "total s", "samples/total s", "samples seen",
        "final loss", "held-out loss",
    ]  # fmt: skip
    body = [
        [
            labels.get(row.platform, row.platform),
            str(row.batch_size),
            f"{row.repeats}/{row.repeats_planned}",
            number(row.steps),
            number(row.rate_samples_per_s),
            number(row.global_rate_samples_per_s),
            _with_range(row),
            number(row.tokens_per_s),
            number(row.total_time_s),
            number(row.samples_per_total_s),
            number(row.samples_seen),
            number(row.final_loss, 4),
            number(row.held_out_loss, 4),
        ]
        for row in rows
    ]
    notes = [
        "Means over the completed runs. Rate: mean of the log's moving average; GlobalRate: samples / time since the "
        "first step; steady rate: from the timestamps of the progress lines; samples/total: start-up included."
    ]
    if len({row.samples_seen for row in rows if row.samples_seen}) > 1:
        notes.append(
            "The losses of different batch sizes can't be compared: at equal steps they saw different amounts of data."
        )
    if any(row.repeats == 1 for row in rows):
        notes.append("A figure from one run (1/…) has no uncertainty.")
    notes += [f"{labels.get(r.platform, r.platform)}, batch {r.batch_size}: {r.missing}" for r in rows if r.missing]
    return markdown(header, body) + "".join(f"\n{note}\n" for note in notes)


def inference_markdown(rows: Sequence[InferenceRow], labels: Mapping[str, str], data_set: str) -> str:
    """Return one table per cell: metrics down, endpoints across, ratios against the baseline."""
    if not rows:
        return "No endpoints are asked.\n"
    parts = [f"Questions: {data_set}. Latency is measured from the moment a request was written; n = requests.\n"]
    for cell in dict.fromkeys(row.cell for row in rows):
        parts.append(_cell_markdown([row for row in rows if row.cell == cell], labels))
    return "\n".join(parts)


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, padded so that it reads well as text too."""
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in [header, *body]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
        "system throughput (output tok/s)": number(row.system_output_tok_per_s),
        "response length (output tokens)": number(row.completion_tokens),
        "prompt length (tokens)": number(row.prompt_tokens),
        "success": f"{row.successes}/{row.requests}",
        "exact match": _percent(row.exact_match),
        "F1": _percent(row.f1),
        "contains the gold answer": _percent(row.contains_gold),
    }


def _cell_markdown(rows: Sequence[InferenceRow], labels: Mapping[str, str]) -> str:
    columns = [inference_metrics(row) for row in rows]
    header = ["metric", *(f"{labels.get(row.endpoint, row.endpoint)}" for row in rows)]
    body = [[metric, *(column[metric] for column in columns)] for metric in columns[0]]
    if len(rows) > 1:
        ratios = ["1 (baseline)" if r.endpoint == r.baseline else interval(r.ratio_to_baseline) for r in rows]
        body.append(["latency ÷ baseline's, same prompts, 95 % interval", *ratios])
    first = rows[0]
    requests = ", ".join(f"{labels.get(r.endpoint, r.endpoint)} n = {r.requests}" for r in rows)
    title = f"### {first.cell}: {first.concurrency} at a time\n\n{requests}, in {first.rounds_planned} rounds.\n"
    notes = [f"{labels.get(r.endpoint, r.endpoint)}: {r.failures}" for r in rows if r.failures]
    notes += [f"{labels.get(r.endpoint, r.endpoint)}: {r.missing}" for r in rows if r.missing]
    reasons = {r.typical_latency.why_no_interval for r in rows if r.typical_latency}
    notes += [f"No interval: {reason}." for reason in sorted(filter(None, reasons))]
    return f"{title}\n{markdown(header, body)}" + "".join(f"\n{note}\n" for note in notes)


def _with_range(row: TrainingRow) -> str:
    middle = number(row.steady_rate_samples_per_s)
    if row.repeats < 2 or row.steady_rate_lowest is None:
        return middle
    return f"{middle} ({number(row.steady_rate_lowest)}–{number(row.steady_rate_highest)})"


def _of(description: Description | None, key: str) -> str:
    return NONE if description is None else number(getattr(description, key))


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"


def _columns(row_type: type) -> list[str]:
    """Return the CSV's columns: a nested description or estimate has one per figure."""
    columns = []
    for field in fields(row_type):
        nested = next((t for t in (Description, Estimate) if t.__name__ in str(field.type)), None)
        columns += [f"{field.name}_{inner.name}" for inner in fields(nested)] if nested else [field.name]
    return columns


def _flat(row: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{field.name}_{key}": inner for key, inner in asdict(value).items()}
        elif not any(t.__name__ in str(field.type) for t in (Description, Estimate)):
            flat[field.name] = value
    return flat
