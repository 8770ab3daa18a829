"""Tables: CSV with every figure at full precision, Markdown and LaTeX with sensible digits for reading and pasting.

requests.csv has every attempt with all its columns. Texts of endpoints are written so that no spreadsheet runs them,
and read back as they were.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import orjson
import pyarrow as pa

from accelbench.analysis.economy import Economy
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import counted
from accelbench.analysis.metrics import METRICS
from accelbench.analysis.training import TrainingRow
from accelbench.report.calibration import read_calibration, write_calibration
from accelbench.report.inference_tables import Grid, comparison, details, no_intervals, search_text
from accelbench.report.summary import Summary
from accelbench.report.text import as_written, csv_text, inert, latex, markdown, markdown_line, unique
from accelbench.report.training_tables import published_markdown, training_latex, training_markdown
from accelbench.store.files import write_atomically, writing_atomically
from accelbench.store.records import RequestRecord, SearchRecord, SearchResult
from accelbench.store.requests import NAMES, Requests

RATIO, ENDS = "ratio_to_baseline", ("value", "low", "high")


def write_tables(out: Path, summary: Summary) -> None:
    """Write training.csv/.md/.tex, inference.csv/.md/.tex and requests.csv to a folder."""
    training, inference, labels = summary.training, summary.inference, summary.labels
    write_atomically(out / "training.csv", csv_text([_flat(row) for row in training], _columns(TrainingRow)))
    words = [training_markdown(training, labels, summary.runs, summary.sweeps)]
    words += [published_markdown(summary.published)] if summary.published else []
    write_atomically(out / "training.md", "\n".join(words))
    write_atomically(out / "inference.csv", inference_csv(inference))
    words = [_search_markdown(each, labels) for each in summary.searches]
    if inference or not words:
        words.insert(0, inference_markdown(inference, labels, summary.data_set, summary.economies))
    write_atomically(out / "inference.md", "\n".join(words))
    write_atomically(out / "training.tex", training_latex(training, labels))
    write_atomically(out / "inference.tex", inference_latex(inference, labels, summary.economies))
    write_requests(out / "requests.csv", summary.requests)
    write_calibration(out, read_calibration())
    write_searches(out / "searches.csv", summary.searches)


def write_searches(path: Path, searches: Sequence[SearchRecord]) -> None:
    """Write a row per level that was tried, or remove the file where nothing was searched."""
    rows = [
        {"endpoint": each.endpoint, "scenario": each.cell, **_flat_search(each.result), **asdict(level)}
        for each in searches
        if each.result
        for level in each.result.levels
    ]
    if rows:
        write_atomically(path, csv_text(rows, list(rows[0])))
    else:
        path.unlink(missing_ok=True)


def _search_markdown(search: SearchRecord, labels: Mapping[str, str]) -> str:
    found = search_text(search.result) if search.result else f"No result: {search.why}\n"
    return f"### {search.cell}: the highest load of {labels.get(search.endpoint, search.endpoint)}\n\n{found}"


def _flat_search(found: SearchResult) -> dict[str, object]:
    return {"axis": found.axis, "objectives": found.objectives, "holds_at": found.holds_at, "fails_at": found.fails_at}


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


REQUEST_COLUMNS = [name for name in NAMES if name not in ("golds", "server_timings")]
TYPES = get_type_hints(RequestRecord)
NULLABLE = [name for name in REQUEST_COLUMNS if type(None) in get_args(TYPES[name])]
_QUOTED = re.compile('[,"\n\r]')
_FIGURE = re.compile(r"-?\d[\d.e+-]*")
_SMALL, _LARGE = 1e-4, 1e16  # Python shows smaller figures, and those from here on, with an exponent
LARGEST_CELL = 1 << 28  # characters; Python's own limit is 131,072


def write_requests(path: Path, requests: Requests) -> None:
    """Write a line per attempt; what is not known is empty."""
    with writing_atomically(path) as stream:
        stream.write(f"{','.join(REQUEST_COLUMNS)}\n".encode())
        for table in requests.tables(*REQUEST_COLUMNS):
            columns = [_cells(column.combine_chunks()) for column in table.itercolumns()]
            lines = map(",".join, zip(*columns, strict=True))
            stream.writelines(f"{line}\n".encode() for line in lines)


def _cells(column: pa.Array) -> list[str]:
    """Return a column as Python's csv writes it."""
    if column.null_count == len(column):
        return [""] * len(column)
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        texts = [*(_quoted(inert(text)) for text in encoded.dictionary.to_pylist()), ""]  # a null is its last
        return [texts[place] for place in encoded.indices.fill_null(-1).to_pylist()]
    if pa.types.is_boolean(column.type):
        return ["" if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_list(column.type):
        flat, ends = column.flatten(), np.cumsum(column.value_lengths().to_numpy()).tolist()
        plain = flat.to_numpy()
        lists = _json([plain[start:end] for start, end in pairwise([0, *ends])], flat).replace(",", ", ")
        return [f'"[{own}]"' if "," in own else f"[{own}]" for own in lists[2:-2].split("], [")]
    cells = _json(column.to_numpy() if column.null_count == 0 else column.to_pylist(), column)[1:-1].split(",")
    return ["" if cell == "null" else cell for cell in cells]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _json(values: Any, figures: pa.Array) -> str:
    """Return values as JSON, but their figures as Python shows them."""
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return _FIGURE.sub(lambda found: repr(float(found[0])), text) if _has_exponents(figures) else text


def _has_exponents(figures: pa.Array) -> bool:
    """Tell whether Python shows any with an exponent: JSON writes these in another way."""
    if not pa.types.is_floating(figures.type):
        return False
    sizes = np.abs(figures.to_numpy(zero_copy_only=False))
    return bool((((sizes > 0) & (sizes < _SMALL)) | (sizes >= _LARGE)).any())


def read_requests(path: Path) -> list[dict[str, Any]]:
    """Return the attempts as far as the table holds them. Raises ValueError when it is no table."""
    csv.field_size_limit(LARGEST_CELL)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_line(row) for row in csv.DictReader(stream)]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def _line(row: dict[str, str]) -> dict[str, Any]:
    """Return an attempt; an empty cell is null where a column may hold none."""
    line: dict[str, Any] = {name: as_written(cell) for name in REQUEST_COLUMNS if (cell := row.get(name)) is not None}
    line |= {name: None for name in NULLABLE if line.get(name) == ""}
    return line | {"event_times_s": orjson.loads(row.get("event_times_s") or "[]"), "golds": [], "server_timings": {}}
