"""Energy over a span, from counters or samples of power."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from accelbench.foreign_json import as_number
from accelbench.store.records import EnergyFacts
from accelbench.telemetry.readings import Reading, Session
from accelbench.telemetry.recorder import IDLE_WAIT_S

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
