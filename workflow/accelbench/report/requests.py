"""requests.csv: every attempt with all its columns.

Texts of endpoints are written so that no spreadsheet runs them, and read back as they were.
"""

import csv
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import orjson
import pyarrow as pa

from accelbench.report.text import as_written, inert
from accelbench.store.files import writing_atomically
from accelbench.store.records import RequestRecord
from accelbench.store.requests import NAMES, Requests

REQUEST_COLUMNS = [name for name in NAMES if name not in ("golds", "server_timings")]
TYPES = get_type_hints(RequestRecord)
NULLABLE = [name for name in REQUEST_COLUMNS if type(None) in get_args(TYPES[name])]
_QUOTED = re.compile('[,"\n\r]')
LARGEST_CELL = 1 << 28  # characters; Python's own limit is 131,072


def write_requests(path: Path, requests: Requests) -> None:
    """Write a line per attempt; what is not known is empty."""
    with writing_atomically(path) as stream:
        stream.write(f"{','.join(REQUEST_COLUMNS)}\n".encode())
        for table in requests.tables(*REQUEST_COLUMNS):
            columns = [_cells(column.combine_chunks()) for column in table.itercolumns()]
            stream.writelines(f"{','.join(cells)}\n".encode() for cells in zip(*columns, strict=True))


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
        flat, ends = column.flatten().to_numpy(), np.cumsum(column.value_lengths().to_numpy()).tolist()
        lists = _json([flat[start:end] for start, end in pairwise([0, *ends])])[2:-2].split("],[")
        return [_quoted(f"[{_shown(own)}]") for own in lists]
    text = _json(column.to_numpy() if column.null_count == 0 else column.to_pylist())
    cells = text[1:-1].split(",")
    return ["" if cell == "null" else cell for cell in (map(_shown, cells) if _needs_exponent(text) else cells)]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _json(values: Any) -> str:
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _shown(figures: str) -> str:
    """Return figures of JSON as Python lists them."""
    if not _needs_exponent(figures):
        return figures.replace(",", ", ")
    return ", ".join(figure if figure == "null" else repr(float(figure)) for figure in figures.split(","))


def _needs_exponent(figures: str) -> bool:
    """Tell whether Python may show one with another exponent than JSON, or with one."""
    return "e" in figures or "0.0000" in figures


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
