"""Energy over a span, from counters or samples of power: the recorder's own, or others'.

Others' are a CSV of times and watts, such as a PDU or a facility's dashboard exports.
"""

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import NamedTuple

import numpy as np

from accelbench.errors import UserError
from accelbench.foreign import as_number
from accelbench.store import paths
from accelbench.store.records import EnergyFacts
from accelbench.telemetry.recorder import IDLE_WAIT_S, Reading, Session

_LONGEST_GAP_S = 15.0  # between readings; the recorder's own are 0.5 s, and 5 s after an hour, apart
SOURCES_OF_POWER = ("gpu", "powercap")
IMPORTED = "power_csv"
"""How power was read that others recorded: the key that names the file."""

Curve = tuple[Sequence[float], Sequence[float]]
"""Times (Unix, in seconds) and the energy spent until then, in joules."""


def energies(session: Session, begin_unix_s: float, end_unix_s: float) -> Iterator[EnergyFacts]:
    """Yield what each card and package took during a span, and in the idle seconds at both ends of the session."""
    for source in SOURCES_OF_POWER:
        scopes = session.facts.get(source, {}).get("scopes")
        for name, facts in (scopes if isinstance(scopes, dict) else {}).items():
            curve = curve_of(session.readings.get(source, []), name, as_number(facts.get("wraps_j")))
            joules, why = spent_j(curve, begin_unix_s, end_unix_s)
            first, last = (curve[0][0], curve[0][-1]) if curve[0] else (0.0, 0.0)
            yield EnergyFacts(
                scope=str(facts.get("scope")),
                read=str(facts.get("read") or "energy counter"),
                joules=joules,
                wall_s=round(end_unix_s - begin_unix_s, 3),
                idle_before_w=_watts(curve, first, first + IDLE_WAIT_S),
                idle_after_w=_watts(curve, last - IDLE_WAIT_S, last),
                why=why,
            )


def curve_of(readings: Sequence[Reading], name: str, wraps_j: float | None = None) -> Curve:
    """Return the energy that a card or package has spent over time: its counter's, else trapezoids over its power.

    A counter that falls has wrapped (at `wraps_j`), or, where it does not say at what, was set back to 0.
    """
    counted = [(r.at_unix_s, value) for r in readings if (value := r.number(f"{name}.energy_j")) is not None]
    if len(counted) > 1:
        steps = [_rise_j(before, after, wraps_j) for (_, before), (_, after) in itertools.pairwise(counted)]
        return [at_s for at_s, _ in counted], [0.0, *itertools.accumulate(steps)]
    return curve_of_power(
        [(r.at_unix_s, value) for r in readings if (value := r.number(f"{name}.power_w")) is not None]
    )


def curve_of_power(powers: Sequence[tuple[float, float]]) -> Curve:
    """Return the energy spent over time from samples of power (Unix time, watts), by trapezoids."""
    areas = [(after[0] - before[0]) * (before[1] + after[1]) / 2 for before, after in itertools.pairwise(powers)]
    return [at_s for at_s, _ in powers], [0.0, *itertools.accumulate(areas)] if powers else []


def _rise_j(before_j: float, after_j: float, wraps_j: float | None) -> float:
    if after_j >= before_j:
        return after_j - before_j
    return after_j if wraps_j is None else after_j - before_j + wraps_j


def spent_j(
    curve: Curve, begin_unix_s: float, end_unix_s: float, longest_gap_s: float = _LONGEST_GAP_S
) -> tuple[float | None, str | None]:
    """Return the energy spent during a span, or None and why it can't be told."""
    times, _ = curve
    if len(times) < 2 or times[0] > begin_unix_s or times[-1] < end_unix_s:
        return None, "it was not read over the whole span"
    gaps = [b - a for a, b in itertools.pairwise(times) if b > begin_unix_s and a < end_unix_s]
    if max(gaps, default=0.0) > longest_gap_s:
        return None, f"it was not read for {max(gaps):.0f} s"
    begin_j, end_j = np.interp([begin_unix_s, end_unix_s], *curve)
    return float(end_j - begin_j), None


def _watts(curve: Curve, begin_unix_s: float, end_unix_s: float) -> float | None:
    """Return the mean power over a span, where all of it was read."""
    joules, _ = spent_j(curve, begin_unix_s, end_unix_s)
    return None if joules is None else round(joules / (end_unix_s - begin_unix_s), 3)


class Spent(NamedTuple):
    """The energy of a measurement, of exactly one scope."""

    scope: str
    joules: float | None
    why: str | None
    """Why the energy is unknown."""
    idle_before_w: float | None
    idle_after_w: float | None


def of_one_scope(parts: Sequence[EnergyFacts]) -> Spent | None:
    """Choose what counts: an imported power, else all cards, else all packages; None where no power was read."""
    imported = [part for part in parts if part["read"] == IMPORTED]
    cards = [part for part in parts if part["scope"].startswith("GPU")]
    own = imported or cards or parts
    if not own:
        return None
    what = f"{len(own)} {'GPU' if cards else 'CPU package'}{'s' if len(own) > 1 else ''}"
    return Spent(
        f"{own[0]['scope']} ({IMPORTED})" if imported else what,
        _sum([part["joules"] for part in own]),
        next((part["why"] for part in own if part["why"]), None),
        _sum([part["idle_before_w"] for part in own]),
        _sum([part["idle_after_w"] for part in own]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum; None where one of the values is unknown."""
    return None if None in values else sum(filter(None, values))


_LONGEST_CSV_GAP_S = 150.0  # between readings; facilities read every 10 to 60 s
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
        joules, why = spent_j(self.curve, begin_unix_s, end_unix_s, _LONGEST_CSV_GAP_S)
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
