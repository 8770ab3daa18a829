"""The requests of all measured rounds, from their requests.jsonl: their figures at once, or complete, one by one.

Statistics take the figures alone: of a million requests these fit into memory, and their texts don't.

requests.csv: every attempt with all its columns, one after the other: together they may not fit into memory.

Texts of endpoints are written so that no spreadsheet runs them, and read back as they were.
"""

import csv
import gc
import io
import sys
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from operator import itemgetter
from pathlib import Path
from typing import Any, get_args, get_type_hints

import orjson

from accelbench.analysis.economy import SPECULATION
from accelbench.report.text import as_written, csv_rows
from accelbench.store import paths
from accelbench.store.files import writing_atomically
from accelbench.store.records import InferRoundRecord, RequestRecord

LEFT_OUT = "…"
TEXTS = ("answer", "reasoning")
NO_GOLDS: list[str] = []
NO_TIMINGS: dict[str, Any] = {}
_NAMES = ("endpoint", "cell", "article", "passage", "class_", "finish_reason", "streaming")  # shared by many: kept once
FIELDS = fields(RequestRecord)
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in FIELDS if field.default is not MISSING}
IN_ORDER = itemgetter(*(field.name for field in FIELDS))

_Line = dict[str, Any]
"""A line of requests.jsonl: the fields of a RequestRecord."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from walking millions of new records, which hold no cycles, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@uncollected()
def read_figures(rounds: Sequence[InferRoundRecord]) -> list[RequestRecord]:
    """Return all requests without golds, `LEFT_OUT` for texts that there are, and event times as plain doubles.

    Of the server timings, only whether decoding was speculative is kept.
    """
    return [RequestRecord(*IN_ORDER(_figures(line))) for line in read_lines(rounds)]  # by place: half the time


def read_lines(rounds: Sequence[InferRoundRecord], places: Container[int] | None = None) -> Iterator[_Line]:
    """Yield each request as it is recorded, in the order of `read_figures`: all, or those at these places."""
    for place, text in enumerate(_lines(rounds)):
        if places is None or place in places:
            line = orjson.loads(text)
            yield line if len(line) == len(FIELDS) else _DEFAULTS | line


def _lines(rounds: Sequence[InferRoundRecord]) -> Iterator[bytes]:
    for record in rounds:
        if record.state == "measured":
            path = paths.infer_round(record.endpoint, record.cell, record.round) / "requests.jsonl"
            with path.open("rb") as stream:
                yield from stream


def _figures(line: _Line) -> _Line:
    for name in TEXTS:
        line[name] = line[name] and LEFT_OUT
    for name in _NAMES:
        if line.get(name):
            line[name] = sys.intern(line[name])
    timings = line["server_timings"]
    line["server_timings"] = {key: timings[key] for key in SPECULATION if key in timings} if timings else NO_TIMINGS
    line["golds"] = NO_GOLDS
    line["event_times_s"] = array("d", line["event_times_s"])
    return line


REQUEST_COLUMNS = [field.name for field in fields(RequestRecord) if field.name not in ("golds", "server_timings")]
_TIMES = REQUEST_COLUMNS.index("event_times_s")
TYPES = get_type_hints(RequestRecord)
NULLABLE = [name for name in REQUEST_COLUMNS if type(None) in get_args(TYPES[name])]
LARGEST_CELL = 1 << 28  # characters; Python's own limit is 131,072


def write_requests(path: Path, requests: Iterable[_Line]) -> None:
    """Write a line per attempt; what is not known is empty."""
    values = itemgetter(*REQUEST_COLUMNS)
    with writing_atomically(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        write = csv_rows(text)
        write(REQUEST_COLUMNS)
        for request in requests:
            row = list(values(request))
            row[_TIMES] = _listed(row[_TIMES])
            write(row)


def read_requests(path: Path) -> list[_Line]:
    """Return the attempts as far as the table holds them. Raises ValueError when it is no table."""
    csv.field_size_limit(LARGEST_CELL)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_line(row) for row in csv.DictReader(stream)]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def _line(row: dict[str, str]) -> _Line:
    """Return an attempt; an empty cell is null where a column may hold none."""
    line: _Line = {name: as_written(cell) for name in REQUEST_COLUMNS if (cell := row.get(name)) is not None}
    line |= {name: None for name in NULLABLE if line.get(name) == ""}
    return line | {"event_times_s": orjson.loads(row.get("event_times_s") or "[]"), "golds": [], "server_timings": {}}


def _listed(values: list[float]) -> str:
    """Return a list as Python shows it, several times as fast unless a figure needs an exponent."""
    text = orjson.dumps(values).decode()
    return str(values) if "e" in text or "0.0000" in text else text.replace(",", ", ")
