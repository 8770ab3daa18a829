"""Tables: CSV with every figure at full precision, Markdown with sensible digits for reading and pasting."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.statistics import Description, Estimate
from accelbench.analysis.training import TrainingRow
from accelbench.files import write_atomically
from accelbench.records import RequestRecord
from accelbench.report.micro_batches import micro_batches_markdown
from accelbench.report.summary import Summary
from accelbench.report.text import NONE, csv_text, interval, markdown, number
from accelbench.report.training_tables import published_markdown, training_markdown

REQUEST_COLUMNS = [f.name for f in fields(RequestRecord) if f.name not in ("golds", "server_timings")]


def write_tables(out: Path, summary: Summary) -> None:
    """Write training.csv/.md, inference.csv/.md and requests.csv to a folder."""
    training, inference, labels = summary.training, summary.inference, summary.labels
    write_atomically(out / "training.csv", csv_text([_flat(row) for row in training], _columns(TrainingRow)))
    words = [training_markdown(training, labels, summary.runs)]
    words += filter(None, [micro_batches_markdown(training, labels)])
    words += [published_markdown(summary.published)] if summary.published else []
    write_atomically(out / "training.md", "\n".join(words))
    write_atomically(out / "inference.csv", csv_text([_flat(row) for row in inference], _columns(InferenceRow)))
    write_atomically(out / "inference.md", inference_markdown(inference, labels, summary.data_set))
    rows = [{name: getattr(request, name) for name in REQUEST_COLUMNS} for request in summary.requests]
    write_atomically(out / "requests.csv", csv_text(rows, REQUEST_COLUMNS))


def inference_markdown(rows: Sequence[InferenceRow], labels: Mapping[str, str], data_set: str) -> str:
    """Return one table per cell: metrics down, endpoints across, ratios against the baseline."""
    if not rows:
        return "No endpoints are asked.\n"
    parts = [f"Questions: {data_set}. Latency is measured from the moment a request was written; n = requests.\n"]
    for cell in dict.fromkeys(row.cell for row in rows):
        parts.append(_cell_markdown([row for row in rows if row.cell == cell], labels))
    return "\n".join(parts)


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
