"""Power that others recorded: a CSV of times and watts, such as a PDU or a facility's dashboard exports."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from accelbench.errors import UserError
from accelbench.store import paths
from accelbench.store.records import EnergyFacts
from accelbench.telemetry.energy import IMPORTED, Curve, curve_of_power, spent_j

_LONGEST_GAP_S = 150.0  # between readings; facilities read every 10 to 60 s
LEAST_READINGS = 2  # within a span: fewer are its neighbours' rather than its own
_LATEST_UNIX_S = 1e11  # beyond: milliseconds


@dataclass(frozen=True, slots=True)
class PowerCsv:
    """The power of what the user says it is of, over time."""

    file: str
    scope: str
    curve: Curve

    def energy(self, spans: Sequence[tuple[float, float]]) -> EnergyFacts:
        """Return what was spent while the load ran (from when to when, in Unix time); unknown outside of the file."""
        spent = [self._spent_j(*span) for span in spans]
        known = [joules for joules, _ in spent if joules is not None]
        why = next((why for _, why in spent if why), None if spans else "it is not known when the load ran")
        return EnergyFacts(
            scope=self.scope,
            read=IMPORTED,
            joules=None if why else sum(known),
            wall_s=round(sum(end - begin for begin, end in spans), 3),
            idle_before_w=None,
            idle_after_w=None,
            why=why,
        )

    def _spent_j(self, begin_unix_s: float, end_unix_s: float) -> tuple[float | None, str | None]:
        times, _ = self.curve
        if not times:
            return None, f"{self.file} is not there yet"
        joules, why = spent_j(self.curve, begin_unix_s, end_unix_s, _LONGEST_GAP_S)
        within = sum(begin_unix_s <= at_s <= end_unix_s for at_s in times)
        if joules is not None and within < LEAST_READINGS:
            joules, why = None, f"too few readings in {end_unix_s - begin_unix_s:.0f} s ({within})"
        return joules, f"{self.file}: {why}" if why else None


def read_power(path: str | None, scope: str) -> PowerCsv | None:
    """Return the power that a config names; None where it names none. A file that isn't there yet holds no times.

    The first two columns count; a first line without figures is a header. Raises UserError for any other text.
    """
    if path is None:
        return None
    file = paths.found(path)
    if not file.is_file():
        return PowerCsv(path, scope, ([], []))
    readings: dict[float, float] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            for number, row in enumerate(csv.reader(text), start=1):
                if not any(map(str.strip, row)) or (number == 1 and not any(map(_is_figure, row[:2]))):
                    continue
                if len(row) > 1 and not row[1].strip():
                    continue  # a reading that failed; the gap it leaves counts
                at_s, watts = _reading(row, f"{path}, line {number}")
                if readings.setdefault(at_s, watts) != watts:
                    raise UserError(f"{path}, line {number}: {row[0]} has two readings; a file holds one power.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} can't be read as CSV: {error}.") from None
    return PowerCsv(path, scope, curve_of_power(sorted(readings.items())))


def _reading(row: Sequence[str], where: str) -> tuple[float, float]:
    """Return Unix time and watts of a line."""
    if len(row) < 2:
        raise UserError(f"{where}: must have a time and watts, separated by a comma.")
    if not _is_figure(row[1]) or float(row[1]) < 0:
        raise UserError(f"{where}: {row[1].strip()!r} is not a power in watts.")
    return _unix_s(row[0].strip(), where), float(row[1])


def _unix_s(text: str, where: str) -> float:
    if _is_figure(text):
        if not 0 <= float(text) < _LATEST_UNIX_S:
            raise UserError(f"{where}: {text} is not a Unix time in seconds.")
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{where}: {text!r} is neither an ISO time nor a Unix time in seconds.") from None
    if moment.tzinfo is None:
        raise UserError(f"{where}: {text} has no time zone; write {text}Z, or {text}+01:00.")
    return moment.timestamp()


def _is_figure(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
