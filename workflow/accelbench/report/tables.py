"""Tables: CSV with every figure at full precision, Markdown and LaTeX with sensible digits for reading and pasting."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from accelbench.analysis.economy import Economy
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import counted
from accelbench.analysis.metrics import METRICS
from accelbench.analysis.training import TrainingRow
from accelbench.report.calibration import read_calibration, write_calibration
from accelbench.report.inference_tables import Grid, comparison, details, no_intervals
from accelbench.report.requests import write_requests
from accelbench.report.summary import Summary
from accelbench.report.text import csv_text, latex, markdown, markdown_line, unique
from accelbench.report.training_tables import published_markdown, training_latex, training_markdown
from accelbench.store.files import write_atomically

RATIO, ENDS = "ratio_to_baseline", ("value", "low", "high")


def write_tables(out: Path, summary: Summary) -> None:
    """Write training.csv/.md/.tex, inference.csv/.md/.tex and requests.csv to a folder."""
    training, inference, labels = summary.training, summary.inference, summary.labels
    write_atomically(out / "training.csv", csv_text([_flat(row) for row in training], _columns(TrainingRow)))
    words = [training_markdown(training, labels, summary.runs, summary.sweeps)]
    words += [published_markdown(summary.published)] if summary.published else []
    write_atomically(out / "training.md", "\n".join(words))
    write_atomically(out / "inference.csv", inference_csv(inference))
    write_atomically(out / "inference.md", inference_markdown(inference, labels, summary.data_set, summary.economies))
    write_atomically(out / "training.tex", training_latex(training, labels))
    write_atomically(out / "inference.tex", inference_latex(inference, labels, summary.economies))
    write_requests(out / "requests.csv", summary.requests)
    write_calibration(out, read_calibration())


def inference_csv(rows: Sequence[InferenceRow]) -> str:
    """Return the load, then the statistics of each metric that have a column, then the ratios."""
    facts = [name for name in _columns(InferenceRow) if name not in ("figures", RATIO)]
    own = [column for metric in METRICS.values() for column in metric.csv_columns()]
    ratios = [f"{RATIO}_{key}_{end}" for key, metric in METRICS.items() if metric.ratio_column for end in ENDS]
    return csv_text([_inference_cells(row) for row in rows], [*facts, *own, *ratios])


def _inference_cells(row: InferenceRow) -> dict[str, object]:
    cells = _flat(row)
    for key, metric in METRICS.items():
        cells |= metric.cells(row.figures.get(key))
    for key, ratio in (row.ratio_to_baseline or {}).items():
        cells |= {f"{RATIO}_{key}_{end}": getattr(ratio, end) for end in ENDS}
    return cells


def inference_markdown(
    rows: Sequence[InferenceRow],
    labels: Mapping[str, str],
    data_set: str,
    economies: Sequence[Economy] = (),
    *,
    planned: bool = True,
) -> str:
    """Return two tables per cell: the comparison, each endpoint beside its ratio to the baseline, and its details.

    `planned`: the rounds were planned by a config, which could plan more.
    """
    if not rows:
        return "No endpoints are planned.\n"
    parts = [f"Questions: {data_set}. Latency is measured from the moment a request was written; n = requests.\n"]
    for cell in unique(row.cell for row in rows):
        own = [row for row in rows if row.cell == cell]
        parts.append(_cell_markdown(own, labels, comparison(own, labels, economies), planned=planned))
    return "\n".join(parts)


def inference_latex(rows: Sequence[InferenceRow], labels: Mapping[str, str], economies: Sequence[Economy] = ()) -> str:
    """Return one LaTeX table per cell."""
    tables = []
    for cell in unique(row.cell for row in rows):
        own = [row for row in rows if row.cell == cell]
        grid = comparison(own, labels, economies)
        tables.append(latex(f"{cell}: {own[0].load}", grid.header, grid.body))
    return "\n".join(tables)


def _cell_markdown(rows: Sequence[InferenceRow], labels: Mapping[str, str], grid: Grid, *, planned: bool) -> str:
    names = [labels.get(row.endpoint, row.endpoint) for row in rows]
    requests = ", ".join(f"{name} n = {row.requests}" for name, row in zip(names, rows, strict=True))
    title = f"### {rows[0].cell}: {rows[0].load}\n\n{requests}, in {counted(rows[0].rounds_planned, 'round')}.\n"
    notes = [
        f"{name}: {said}"
        for kind in ("labels", "failures", "missing")
        for name, row in zip(names, rows, strict=True)
        if (said := getattr(row, kind))
    ]
    notes += [*grid.notes, *no_intervals(rows, labels, planned=planned)]
    below = details(rows, labels)
    tables = [
        markdown(grid.header, grid.body),
        *(f"{markdown_line(note)}\n" for note in notes),
        markdown(below.header, below.body),
    ]
    tables += [f"{note}\n" for note in below.notes]
    return "\n".join([title, *tables])


def _columns(row_type: type) -> list[str]:
    """Return the CSV's columns: a nested record has one per figure."""
    columns = []
    for field, kind in get_type_hints(row_type).items():
        nested = next((each for each in (kind, *get_args(kind)) if isinstance(each, type) and is_dataclass(each)), None)
        columns += [f"{field}_{inner}" for inner in _columns(nested)] if nested else [field]
    return columns


def _flat(row: Any) -> dict[str, object]:
    flat: dict[str, object] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{field.name}_{key}": inner for key, inner in _flat(value).items()}
        elif value is not None:
            flat[field.name] = value
    return flat
