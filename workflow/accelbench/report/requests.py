"""The requests of all measured rounds, from their requests.jsonl: their figures at once, or whole, one after the other.

Statistics take the figures alone: of a million requests these fit into memory, and their texts don't.
"""

import gc
import sys
from array import array
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from operator import itemgetter
from typing import Any

import orjson

from accelbench import paths
from accelbench.analysis.limits import SPECULATION
from accelbench.records import InferRoundRecord, RequestRecord

LEFT_OUT = "…"
TEXTS = ("answer", "reasoning")
NO_GOLDS: list[str] = []
NO_TIMINGS: dict[str, Any] = {}
NAMES = ("endpoint", "cell", "article", "passage", "class_", "finish_reason", "streaming")  # shared by many: kept once
FIELDS = fields(RequestRecord)
DEFAULTS: dict[str, Any] = {field.name: field.default for field in FIELDS if field.default is not MISSING}
IN_ORDER = itemgetter(*(field.name for field in FIELDS))

Line = dict[str, Any]
"""A line of requests.jsonl: the fields of a RequestRecord."""


def read_figures(rounds: Sequence[InferRoundRecord]) -> list[RequestRecord]:
    """Return all requests without golds, `LEFT_OUT` for texts that there are, and event times as plain doubles.

    Of what servers say of themselves, only that they guess tokens ahead is kept.
    """
    return [RequestRecord(*IN_ORDER(_figures(line))) for line in read_lines(rounds)]  # by place: half the time


def read_lines(rounds: Sequence[InferRoundRecord], places: Container[int] | None = None) -> Iterator[Line]:
    """Yield each request as it is recorded, in the order of `read_figures`: all, or those at these places."""
    for place, text in enumerate(_lines(rounds)):
        if places is None or place in places:
            line = orjson.loads(text)
            yield line if len(line) == len(FIELDS) else DEFAULTS | line


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


def _lines(rounds: Sequence[InferRoundRecord]) -> Iterator[bytes]:
    for record in rounds:
        if record.state == "measured":
            path = paths.infer_round(record.endpoint, record.cell, record.round) / "requests.jsonl"
            with path.open("rb") as stream:
                yield from stream


def _figures(line: Line) -> Line:
    for name in TEXTS:
        line[name] = line[name] and LEFT_OUT
    for name in NAMES:
        if line.get(name):
            line[name] = sys.intern(line[name])
    timings = line["server_timings"]
    line["server_timings"] = {key: timings[key] for key in SPECULATION if key in timings} if timings else NO_TIMINGS
    line["golds"] = NO_GOLDS
    line["event_times_s"] = array("d", line["event_times_s"])
    return line
