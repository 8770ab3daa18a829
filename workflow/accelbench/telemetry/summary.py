"""From readings to what a measurement's record says of its host and its other surroundings."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from accelbench.foreign import as_number
from accelbench.store.records import Activity, EnergyFacts, ServerFacts, Surroundings
from accelbench.telemetry.energy import SOURCES_OF_POWER, PowerCsv, energies
from accelbench.telemetry.recorder import IDLE_WAIT_S, TELEMETRY, Reading, Session, read_telemetry

SHORTEST_S = 0.5  # CPU time is counted in hundredths of a second: below, one of them is more than 1 % of two cores

UnixSpan = tuple[float, float]
"""From when to when, in Unix time."""


class Telemetry(NamedTuple):
    """What telemetry says of a measurement: fields of its record."""

    host_activity: Activity | None
    surroundings: Surroundings


def telemetry_of(folder: Path, spans: Sequence[UnixSpan] | None = None) -> Telemetry | None:
    """Return what was recorded around a measurement; None where nothing was.

    `spans`: when each session was under load; without, all of it is meant. Of several sessions, the one in which
    others took most tells what else the host did.
    """
    found = [(session, _span(session, spans)) for session in read_telemetry(folder / TELEMETRY)]
    if not found:
        return None
    programs = [_peak(session.between("host", *span), ("program_bytes",)) for session, span in found]
    cards = [_peak(session.between("gpu", *span), _memory_of_cards(session)) for session, span in found]
    shares = [session.recorder_share for session, _ in found if session.recorder_share is not None]
    return Telemetry(
        worst([_activity(session, span) for session, span in found]),
        Surroundings(
            energy=_together([list(energies(session, *span)) for session, span in found]),
            program_peak_bytes=max(filter(None, programs), default=None),
            gpu_peak_bytes=max(filter(None, cards), default=None),
            server=_server([session for session, _ in found]),
            recorder_share=max(shares, default=None),
        ),
    )


def with_power(seen: Surroundings | None, power: PowerCsv | None, spans: Sequence[UnixSpan]) -> Surroundings | None:
    """Add the energy that others recorded while the load ran, if they recorded any."""
    if power is None:
        return seen
    return {**(seen or {}), "energy": [*(seen or {}).get("energy", []), power.energy(spans)]}


def peaks_gib(seen: Iterable[Surroundings | None]) -> tuple[float | None, float | None]:
    """Return the most memory in use in any of some measurements: by the program, and on the fullest GPU."""
    known = [each for each in seen if each]
    programs = [each.get("program_peak_bytes") for each in known]
    return _most_gib(programs), _most_gib(each.get("gpu_peak_bytes") for each in known)


def _most_gib(peaks: Iterable[int | None]) -> float | None:
    most = max(filter(None, peaks), default=None)
    return None if most is None else most / 2**30


def _together(sessions: Sequence[list[EnergyFacts]]) -> list[EnergyFacts]:
    """Return the energy of all sessions of a measurement, by scope; unknown where it is of one."""
    by_scope: dict[str, list[EnergyFacts]] = defaultdict(list)
    for each in itertools.chain(*sessions):
        by_scope[each["scope"]].append(each)
    whole = []
    for parts in by_scope.values():
        known = [part["joules"] for part in parts if part["joules"] is not None]
        joules = sum(known) if len(known) == len(sessions) else None
        unknown = None if joules is not None else "not read in each session"
        why = next((part["why"] for part in parts if part["why"]), unknown)
        wall_s = sum(part["wall_s"] for part in parts)
        whole.append(EnergyFacts(**{**parts[-1], "joules": joules, "wall_s": wall_s, "why": why}))
    return whole


def _server(sessions: Sequence[Session]) -> ServerFacts | None:
    """Return what the server showed of itself; None where it showed nothing in one of the sessions."""
    read = [session.readings.get("server", []) for session in sessions]
    if not all(len(readings) > 1 for readings in read):
        return None

    def most(key: str) -> float | None:
        return max((value for readings in read for r in readings if (value := r.number(key)) is not None), default=None)

    def rise(key: str) -> float | None:
        rises = [_spent(readings, key) for readings in read]
        return None if None in rises else sum(filter(None, rises))

    hits, queries = rise("prefix_hits"), rise("prefix_queries")
    return ServerFacts(
        most_running=most("running"),
        most_waiting=most("waiting"),
        most_kv_share=most("kv_share"),
        preemptions=rise("preemptions"),
        prefix_hit_share=hits / queries if hits is not None and queries else None,
        prompt_tokens=rise("prompt_tokens"),
        generated_tokens=rise("generated_tokens"),
        requests=rise("requests"),
    )


def _memory_of_cards(session: Session) -> Sequence[str]:
    scopes = session.facts.get("gpu", {}).get("scopes")
    return [f"{name}.memory_bytes" for name in scopes] if isinstance(scopes, dict) else []


def worst(activities: Sequence[Activity | None]) -> Activity | None:
    """Return what is recorded of the session in which others took most; `why` says if it is not known of all."""
    known = [(share, found) for found in activities if found and (share := found["share_of_others"]) is not None]
    if not known:
        return next(filter(None, activities), None)
    _, most = max(known, key=itemgetter(0))
    unknown = len(activities) - len(known)
    return {**most, "why": f"not known of {unknown} of {len(activities)} sessions"} if unknown else most


def _span(session: Session, spans: Sequence[UnixSpan] | None) -> UnixSpan:
    """Return the part of a session that was under load; where none is named, all but the idle seconds at both ends."""
    times = [reading.at_unix_s for reading in session.readings.get("host", [])] or [0.0]
    whole = (times[0], times[-1])
    within = [span for span in spans or () if span[0] < whole[1] and span[1] > whole[0]]
    if within:
        return min(begin for begin, _ in within), max(end for _, end in within)
    idle_s = IDLE_WAIT_S if any(session.facts.get(name, {}).get("scopes") for name in SOURCES_OF_POWER) else 0.0
    return (whole[0] + idle_s, whole[1] - idle_s) if whole[1] - whole[0] > 2 * idle_s else whole


def _activity(session: Session, span: UnixSpan) -> Activity | None:
    readings = session.between("host", *span)
    if len(readings) < 2:
        return None
    facts, first, last = session.facts["host"], readings[0], readings[-1]
    wall_s = last.at_unix_s - first.at_unix_s
    cores = int(as_number(facts.get("cores")) or 1)
    busy_s, own_s, steal_s = (_spent(readings, key) for key in ("busy_s", "own_s", "steal_s"))
    why = str(facts["why"]) if facts.get("why") else None
    if wall_s < SHORTEST_S:
        why = f"less than {SHORTEST_S:g} s: too short to tell"
    unknown = why or busy_s is None or own_s is None
    return Activity(
        share_of_others=None if unknown else _share((busy_s or 0.0) - (own_s or 0.0), cores * wall_s),
        steal_share=None if steal_s is None or wall_s < SHORTEST_S else _share(steal_s, cores * wall_s),
        waiting_share=_waiting(first, last, wall_s),
        wall_s=round(wall_s, 3),
        cores=cores,
        throttled=_spent(readings, "throttled"),
        cgroup_throttled_s=_spent(readings, "cgroup_throttled_s"),
        least_available_bytes=_least(readings, "available_bytes"),
        why=why,
    )


def _spent(readings: Iterable[Reading], key: str) -> float | None:
    """Return by how much a counter rose; None where it was not read twice."""
    shown = [value for reading in readings if (value := reading.number(key)) is not None]
    return shown[-1] - shown[0] if len(shown) > 1 else None


def _peak(readings: Iterable[Reading], keys: Sequence[str]) -> int | None:
    shown = (reading.number(key) for reading in readings for key in keys)
    return max((int(value) for value in shown if value), default=None)


def _least(readings: Iterable[Reading], key: str) -> int | None:
    return min((int(v) for reading in readings if (v := reading.number(key)) is not None), default=None)


def _waiting(first: Reading, last: Reading, wall_s: float) -> dict[str, float] | None:
    """Return in which share of the time some task waited for a resource."""
    before, after = first.shown.get("pressure_s"), last.shown.get("pressure_s")
    if not isinstance(before, dict) or not isinstance(after, dict) or wall_s < SHORTEST_S:
        return None
    return {name: _share(after[name] - before[name], wall_s) for name in after}


def _share(spent_s: float, core_s: float) -> float:
    return round(min(1.0, max(0.0, spent_s / core_s)), 4)
