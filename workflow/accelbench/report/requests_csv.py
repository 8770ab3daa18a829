"""requests.csv: every attempt with all its columns, one after the other: together they may not fit into memory."""

import csv
import io
from collections.abc import Iterable
from dataclasses import fields
from operator import itemgetter
from pathlib import Path

import orjson

from accelbench.files import writing_atomically
from accelbench.records import RequestRecord
from accelbench.report.requests import Line

COLUMNS = [field.name for field in fields(RequestRecord) if field.name not in ("golds", "server_timings")]
TIMES = COLUMNS.index("event_times_s")


def write_requests(path: Path, requests: Iterable[Line]) -> None:
    """Write a line per attempt; what is not known is empty."""
    values = itemgetter(*COLUMNS)
    with writing_atomically(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for request in requests:
            row = list(values(request))
            row[TIMES] = listed(row[TIMES])
            writer.writerow(row)


def listed(values: list[float]) -> str:
    """Return a list as Python shows it, several times as fast unless a figure needs an exponent."""
    text = orjson.dumps(values).decode()
    return str(values) if "e" in text or "0.0000" in text else text.replace(",", ", ")
