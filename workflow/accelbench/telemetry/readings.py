"""telemetry.jsonl read back: one session for each time that its measurement was begun or resumed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from accelbench import foreign_json
from accelbench.store.records import JsonObject


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source showed at a time."""

    at_unix_s: float
    shown: JsonObject

    def number(self, key: str) -> float | None:
        """Return a figure of the reading; None where it is none, or isn't there."""
        return foreign_json.as_number(self.shown.get(key))


@dataclass(frozen=True, slots=True)
class Session:
    """All readings of a recorder, by source, in order, and what each source says of itself."""

    facts: dict[str, JsonObject]
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    recorder_share: float | None = None
    """The recorder's own CPU time, as a share of one core; None where it did not end by itself."""

    def between(self, source: str, begin_unix_s: float, end_unix_s: float) -> Sequence[Reading]:
        """Return a source's readings during a span, with the last before it and the first after it."""
        own = self.readings.get(source, [])
        first = max((n for n, reading in enumerate(own) if reading.at_unix_s <= begin_unix_s), default=0)
        last = min((n for n, reading in enumerate(own) if reading.at_unix_s >= end_unix_s), default=len(own) - 1)
        return own[first : last + 1]


def read_telemetry(path: Path) -> list[Session]:
    """Return all sessions of a file; none where there is no file. What a recorder left torn is left out."""
    found: list[Session] = []
    offset_s = begun_s = 0.0
    for line in _lines(path):
        if "started_unix_s" in line:
            begun_s, offset_s = line["at_s"], line["started_unix_s"] - line["at_s"]
            found.append(Session({name: facts for name, facts in line.items() if isinstance(facts, dict)}))
        elif found and "ended_s" in line:
            lasted_s = line["ended_s"] - begun_s
            found[-1] = _ended(found[-1], line["recorder_s"] / lasted_s if lasted_s > 0 else None)
        elif found and "at_s" in line:
            for name in found[-1].facts.keys() & line.keys():
                found[-1].readings.setdefault(name, []).append(Reading(line["at_s"] + offset_s, line[name]))
    return found


def _ended(session: Session, recorder_share: float | None) -> Session:
    return Session(session.facts, session.readings, recorder_share)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            yield found
