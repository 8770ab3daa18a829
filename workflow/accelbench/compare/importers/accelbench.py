"""This project's own requests.jsonl, under that name or another, and the tables' requests.csv."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from accelbench.compare.importers.imported import Imported, Importer, JsonDocument
from accelbench.foreign import as_number
from accelbench.store.records import RequestRecord

_RECORDS = TypeAdapter(list[RequestRecord])
_OWN = {"endpoint", "cell", "round", "key", "last_attempt", "class_"}
_TIMES = [name for name in RequestRecord.__slots__ if name.endswith("_s")]


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return a load per endpoint and cell; None when these are no records of this project."""
    if not all(d.keys() >= _OWN for d in documents):
        return None
    kept = request_records(documents)
    loads = dict.fromkeys((r.endpoint, r.cell) for r in kept)
    return [
        Imported([r for r in kept if (r.endpoint, r.cell) == load], endpoint=load[0], cell=load[1]) for load in loads
    ]


def request_records(documents: Sequence[Any]) -> list[RequestRecord]:
    """Return the records. Raises ValueError when one has an impossible time, or is there twice."""
    kept = _RECORDS.validate_python(documents)
    places: dict[tuple[Any, ...], int] = {}
    for place, record in enumerate(kept):
        attempt = (record.endpoint, record.cell, record.round, record.key, record.attempt, record.sent_unix_s)
        if record.sent_unix_s and (first := places.setdefault(attempt, place)) < place:
            raise ValueError(f"record {place} is the same as record {first} (counted from 0)")
        for name in _TIMES:
            given = getattr(record, name)
            if given is None or given == []:
                continue
            for at in (min(given), max(given)) if isinstance(given, list) else (given,):
                if as_number(at) is None or (name == "e2e_s" and at < 0):
                    raise ValueError(f"record {place}: {name} is {at:g}, which no request has (counted from 0)")
    return kept


ACCELBENCH = Importer("accelbench's requests", _read)
