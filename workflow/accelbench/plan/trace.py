"""Traces: when requests came to a service, and how many tokens they and their answers had.

A shape of file is one entry in `SHAPES`: the columns of csv, or the keys of jsonl. Rows whose answer has no tokens
(BurstGPT's failures) are left out.
"""

import csv
import datetime
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from accelbench.errors import UserError
from accelbench.store.paths import found


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace; `at_s` counts from the first."""

    at_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of one kind of trace, and how its times become seconds."""

    time: str
    input_tokens: str
    output_tokens: str
    seconds: Callable[[Any], float]


def _moment_s(text: str) -> float:
    moment = datetime.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


SHAPES = {
    "accelbench": Shape("at_s", "input_tokens", "output_tokens", float),
    "Mooncake": Shape("timestamp", "input_length", "output_length", lambda ms: float(ms) / 1000),
    "Azure": Shape("TIMESTAMP", "ContextTokens", "GeneratedTokens", _moment_s),
    "BurstGPT": Shape("Timestamp", "Request tokens", "Response tokens", float),
}


def read_trace(path: str, count: int, time_scale: float = 1.0) -> list[Arrival]:
    """Return the first `count` requests of a trace, their times multiplied by `time_scale`.

    Raises UserError when the file can't be read as a trace, or has too few requests.
    """
    try:
        file = found(path)
        arrivals = _read(file, file.stat().st_mtime_ns, count)
    except OSError as error:
        raise UserError(f"trace: {path} can't be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"trace: {path} can't be read as a trace: {error}.") from None
    if len(arrivals) < count:
        raise UserError(f"trace: {path} has {len(arrivals):,} requests with an answer, but requests is {count:,}.")
    return [Arrival(each.at_s * time_scale, each.input_tokens, each.output_tokens) for each in arrivals]


@functools.lru_cache
def _read(path: Path, _modified_ns: int, count: int) -> list[Arrival]:
    with path.open(encoding="utf-8-sig") as lines:
        rows = (
            csv.DictReader(lines) if path.suffix == ".csv" else (orjson.loads(line) for line in lines if line.strip())
        )
        told = list(itertools.islice(_arrivals(rows), count))
    first_s = min((each.at_s for each in told), default=0.0)
    return sorted(
        (Arrival(each.at_s - first_s, each.input_tokens, each.output_tokens) for each in told),
        key=lambda each: each.at_s,
    )


def _arrivals(rows: Iterator[Mapping[str, Any]]) -> Iterator[Arrival]:
    shape: Shape | None = None
    for row in rows:
        shape = shape or _shape(row)
        arrival = Arrival(shape.seconds(row[shape.time]), int(row[shape.input_tokens]), int(row[shape.output_tokens]))
        if arrival.output_tokens > 0:
            yield arrival


def _shape(row: Mapping[str, Any]) -> Shape:
    """Return the shape whose columns a row has. Raises ValueError when it is none's."""
    for shape in SHAPES.values():
        if {shape.time, shape.input_tokens, shape.output_tokens} <= row.keys():
            return shape
    known = "; ".join(
        f"{each.time}, {each.input_tokens}, {each.output_tokens} ({name})" for name, each in SHAPES.items()
    )
    raise ValueError(f"it has {', '.join(row)}, not one of: {known}")
