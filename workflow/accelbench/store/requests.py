"""Requests as columns: a table of attempts of which each reader takes the columns that it needs.

classify writes requests.parquet, piece by piece. A column is read when it is first asked for; event times and answers,
which together may not fit into memory, are read a piece at a time. Records at hand are read as columns, too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from accelbench.errors import UserError
from accelbench.store import paths
from accelbench.store.files import writing_atomically
from accelbench.store.records import SUCCESS, JsonObject, RequestRecord

_PIECE = 1 << 14  # attempts of which texts and event times are in memory at once
_OBJECT = pa.string()  # an object is kept as its JSON
_KINDS = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), list[str]: pa.list_(pa.string()),
    Sequence[float]: pa.list_(pa.float64()), JsonObject: _OBJECT,
}  # fmt: skip
_HINTS = get_type_hints(RequestRecord)
NAMES = [field.name for field in fields(RequestRecord)]
_OBJECTS = [name for name in NAMES if _HINTS[name] == JsonObject]
_STREAMED = ("ttft_s", "ttfat_s", "tpot_s")

Column = NDArray[Any]
_Pieces = Callable[[Sequence[str], NDArray[np.intp]], Iterator[pa.Table]]
"""The rows of some columns, piece by piece."""


def _arrow_type(name: str) -> pa.DataType:
    hint = _HINTS[name]
    if hint in _KINDS:
        return _KINDS[hint]
    options = [option for option in hint.__args__ if option is not type(None)]
    return _KINDS.get(options[0], pa.string())  # a Literal is of words


SCHEMA = pa.schema([(name, _arrow_type(name)) for name in NAMES])


class Requests:
    """Attempts in the order of their records, by column. A null is NaN among numbers and None among texts.

    A choice of them shares the columns of all.
    """

    def __init__(self, pieces: _Pieces, columns: "_Columns", rows: NDArray[np.intp]) -> None:
        """Choose rows; `of` and `read` take all."""
        self._pieces, self._columns, self.rows = pieces, columns, rows
        is_stretch = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
        self._chosen = slice(rows[0], rows[-1] + 1) if is_stretch else rows  # a stretch is not copied

    @classmethod
    def of(cls, records: Iterable[RequestRecord]) -> "Requests":
        """Take records as columns."""
        there = list(records)

        def pieces(names: Sequence[str], rows: NDArray[np.intp]) -> Iterator[pa.Table]:
            if len(rows):
                yield _table(names, [there[row] for row in rows] if len(rows) < len(there) else there)

        return cls._all(pieces, len(there))

    @classmethod
    def read(cls, path: Path) -> "Requests":
        """Open requests.parquet. Raises UserError for one that is not there, is damaged, or is an earlier version's."""
        anew = f"`{paths.snakemake()} --cores 4 --forcerun classify` rebuilds it."
        try:
            file = parquet.ParquetFile(path)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            what = "is not there" if isinstance(error, FileNotFoundError) else "is damaged"
            raise UserError(f"{path} {what}; {anew}") from None
        if missing := set(NAMES) - set(file.schema_arrow.names):
            raise UserError(f"{path} was written by an earlier version: it has no {min(missing)}; {anew}")
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)

        def pieces(names: Sequence[str], rows: NDArray[np.intp]) -> Iterator[pa.Table]:
            bounds = np.searchsorted(rows, starts)
            for number, (first, last) in enumerate(pairwise(bounds)):
                if first < last:
                    piece = file.read_row_group(number, names)
                    chosen = rows[first:last] - starts[number]
                    yield piece if len(chosen) == len(piece) else piece.take(chosen)

        return cls._all(pieces, int(starts[-1]))

    @classmethod
    def _all(cls, pieces: _Pieces, count: int) -> "Requests":
        rows = np.arange(count)
        return cls(pieces, _Columns(lambda names: pieces(names, rows)), rows)

    def __len__(self) -> int:
        """Count them."""
        return len(self.rows)

    def __getitem__(self, name: str) -> Column:
        """Return a field of the records, or what is derived from some (`_DERIVED`)."""
        chosen: Column = self._columns[name][self._chosen]
        return chosen

    def where(self, chosen: NDArray[np.bool_]) -> "Requests":
        """Return those that are chosen."""
        return self if chosen.all() else self.at(np.flatnonzero(chosen))

    def at(self, places: Sequence[int] | NDArray[np.intp]) -> "Requests":
        """Return those at some places, which are in order."""
        return Requests(self._pieces, self._columns, self.rows[np.asarray(places, np.intp)])

    def by(self, *names: str) -> dict[Any, "Requests"]:
        """Return the requests by the values of some columns, in the order in which these come; a null has no group."""
        numbered = [pd.factorize(self[name]) for name in names]
        places = np.flatnonzero(np.logical_and.reduce([numbers >= 0 for numbers, _ in numbered]))
        if not len(places):
            return {}
        kinds = np.ravel_multi_index([numbers[places] for numbers, _ in numbered], [len(own) for _, own in numbered])
        groups = pd.factorize(kinds)[0]
        ends = np.cumsum(np.bincount(groups))
        found = {}
        for own in np.split(places[np.argsort(groups, kind="stable")], ends[:-1]):
            key = tuple(values[numbers[own[0]]] for numbers, values in numbered)
            plain = tuple(each.item() if isinstance(each, np.generic) else each for each in key)
            found[plain if len(names) > 1 else plain[0]] = self.at(own)
        return found

    def seconds(self, name: str) -> Column:
        """Return a time; NaN where it is between tokens that a gateway collected before it sent them: it is its own."""
        column = self[name]
        return np.where(self["is_batched"], np.nan, column) if name in _STREAMED else column

    def tables(self, *names: str) -> Iterator[pa.Table]:
        """Read columns as they are recorded, all or those named, a piece at a time."""
        return self._pieces(names or NAMES, self.rows)

    def records(self) -> Iterator[RequestRecord]:
        """Read them one by one."""
        for table in self.tables():
            for line in table.to_pylist():
                yield RequestRecord(**line | {name: orjson.loads(line[name]) for name in _OBJECTS})


class _Columns(dict[str, Column]):
    """All rows of columns, by name; each is read, or derived, when it is first asked for."""

    def __init__(self, pieces: Callable[[Sequence[str]], Iterator[pa.Table]]) -> None:
        super().__init__()
        self._pieces = pieces

    def __missing__(self, name: str) -> Column:
        if name == "has_reasoning":
            parts = [table.column("reasoning").to_numpy() != "" for table in self._pieces(["reasoning"])]
            column = np.concatenate([np.empty(0, bool), *parts])
        elif name in _DERIVED:
            column = _DERIVED[name](self)
        else:
            column = _plain([table.column(name) for table in self._pieces([name])], name)
        self[name] = _compact(column)
        return self[name]


def _plain(pieces: Sequence[pa.ChunkedArray], name: str) -> Column:
    kind = _plain_type(name)
    if kind is object:
        return _texts(pieces)
    plain = [(piece.cast(pa.float64()) if kind is float else piece).to_numpy() for piece in pieces]
    return np.concatenate([np.empty(0, kind), *plain]).astype(kind, copy=False)


def _texts(pieces: Sequence[pa.ChunkedArray]) -> Column:
    """Return texts as objects, one for all that are equal."""
    column = pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], pa.string())
    encoded = column.dictionary_encode().combine_chunks()
    texts = np.array([*encoded.dictionary.to_pylist(), None], object)  # a null is its last
    found: Column = texts[encoded.indices.fill_null(-1).to_numpy()]
    return found


def _compact(column: Column) -> Column:
    """Return a column in the memory of one value where all are equal."""
    if len(column) and ((column == column[0]).all() or (column.dtype == float and np.isnan(column).all())):
        return np.broadcast_to(column[:1].copy(), len(column))
    return column


def _plain_type(name: str) -> type:
    """Return what a column of the schema holds: a number that may be null is a float."""
    kind = SCHEMA.field(name).type
    if kind == pa.string():
        return object
    if type(None) in getattr(_HINTS[name], "__args__", ()) or kind == pa.float64():
        return float
    return int if kind == pa.int64() else bool


def _is_whole(of: _Columns) -> Column:
    """Tell which may have latencies: a success, or a generation that came whole and held no answer."""
    counted = (of["completion_tokens"] > 0) & ~of["tokens_estimated"]
    whole: Column = of["is_success"] | ((of["class_"] == "no_answer") & counted)
    return whole


def _answer_tokens(of: _Columns) -> Column:
    """Return the completion without its reasoning; NaN where that can't be told apart."""
    reasoning = of["reasoning_tokens"]
    unknown = np.isnan(reasoning)
    if unknown.any():
        reasoning = np.where(unknown & ~of["has_reasoning"], 0.0, reasoning)
    return of["completion_tokens"] - reasoning


_DERIVED: dict[str, Callable[[_Columns], Column]] = {
    "is_success": lambda of: (of["class_"] == SUCCESS[0]) | (of["class_"] == SUCCESS[1]),
    "is_whole": _is_whole,
    "is_batched": lambda of: of["streaming"] == "batched",
    "is_timed": lambda of: of["is_whole"] & ~np.isnan(of["e2e_s"]),
    "total_tokens": lambda of: of["prompt_tokens"] + of["completion_tokens"],
    "answer_tokens": _answer_tokens,
    "text": lambda of: np.where(of["passage"].astype(bool), of["passage"], of["key"]),
    "text_number": lambda of: pd.factorize(of["text"])[0],
}
"""What is told of a request beside its fields; `text`: its passage, else its prompt."""


@contextmanager
def writing_requests(path: Path) -> Iterator[Callable[[Iterable[RequestRecord]], None]]:
    """Write requests.parquet with what is given piece by piece; it appears when all is written."""
    waiting: list[RequestRecord] = []
    with writing_atomically(path) as stream, parquet.ParquetWriter(stream, SCHEMA) as writer:

        def add(records: Iterable[RequestRecord], *, least: int = _PIECE) -> None:
            waiting.extend(records)
            while len(waiting) >= least > 0:
                writer.write_table(_table(NAMES, waiting[:_PIECE]))
                del waiting[:_PIECE]

        yield add
        while waiting:
            add([], least=1)


def _table(names: Sequence[str], records: Sequence[RequestRecord]) -> pa.Table:
    columns = {name: [getattr(record, name) for record in records] for name in names}
    columns |= {name: [orjson.dumps(o).decode() for o in columns[name]] for name in _OBJECTS if name in columns}
    return pa.table({name: pa.array(own, SCHEMA.field(name).type) for name, own in columns.items()})
