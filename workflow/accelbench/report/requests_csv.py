"""requests.csv: every attempt with all its columns, one after the other: together they may not fit into memory.

Texts of endpoints are written so that no spreadsheet runs them, and read back as they were.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import fields
from operator import itemgetter
from pathlib import Path
from typing import get_args, get_type_hints

import orjson

from accelbench.files import writing_atomically
from accelbench.records import RequestRecord
from accelbench.report.requests import Line
from accelbench.report.text import as_written, csv_rows

COLUMNS = [field.name for field in fields(RequestRecord) if field.name not in ("golds", "server_timings")]
TIMES = COLUMNS.index("event_times_s")
TYPES = get_type_hints(RequestRecord)
NULLABLE = [name for name in COLUMNS if type(None) in get_args(TYPES[name])]
LARGEST_CELL = 1 << 28  # characters; Python's own limit is 131,072


def write_requests(path: Path, requests: Iterable[Line]) -> None:
    """Write a line per attempt; what is not known is empty."""
    values = itemgetter(*COLUMNS)
    with writing_atomically(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        write = csv_rows(text)
        write(COLUMNS)
        for request in requests:
            row = list(values(request))
            row[TIMES] = listed(row[TIMES])
            write(row)


def read_requests(path: Path) -> list[Line]:
    """Return the attempts as far as the table holds them. Raises ValueError when it is no table."""
    csv.field_size_limit(LARGEST_CELL)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_line(row) for row in csv.DictReader(stream)]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def _line(row: dict[str, str]) -> Line:
    """Return an attempt; an empty cell is null where a column may hold none."""
    line: Line = {name: as_written(cell) for name in COLUMNS if (cell := row.get(name)) is not None}
    line |= {name: None for name in NULLABLE if line.get(name) == ""}
    return line | {"event_times_s": orjson.loads(row.get("event_times_s") or "[]"), "golds": [], "server_timings": {}}


def listed(values: list[float]) -> str:
    """Return a list as Python shows it, several times as fast unless a figure needs an exponent."""
    text = orjson.dumps(values).decode()
    return str(values) if "e" in text or "0.0000" in text else text.replace(",", ", ")
