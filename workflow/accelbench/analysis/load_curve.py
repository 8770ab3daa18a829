"""An endpoint's load curve: output tokens per second of a user and of the system, its frontier and its knee."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import MIN_ROUNDS, Influence, counted
from accelbench.analysis.load import too_short, user_speed
from accelbench.analysis.sample import Side
from accelbench.analysis.verdicts import ALPHA

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One load (its name), in output tokens per second as one user sees them and of the system as a whole."""

    load: str
    user_tok_per_s: float
    system_tok_per_s: float


def pareto_frontier(points: Sequence[LoadPoint]) -> list[LoadPoint]:
    """Return the points that no other point equals or beats in both and beats in one, slowest for the user first."""
    best = [
        point
        for point in points
        if not any(
            other.user_tok_per_s >= point.user_tok_per_s
            and other.system_tok_per_s >= point.system_tok_per_s
            and (other.user_tok_per_s, other.system_tok_per_s) != (point.user_tok_per_s, point.system_tok_per_s)
            for other in points
        )
    ]
    return sorted(best, key=lambda point: (point.user_tok_per_s, point.load))


def knee(points: Sequence[LoadPoint]) -> LoadPoint | None:
    """Return the frontier's point farthest above the straight line between its ends, both axes scaled to 0…1.

    Beyond it, what the system gains costs users more than before. None where no point lies above the line.
    """
    frontier = pareto_frontier(points)
    if len(frontier) < 3:
        return None
    slow, fast = frontier[0], frontier[-1]
    highest = max(frontier[1:-1], key=lambda point: above_line(point, slow, fast))
    return highest if above_line(highest, slow, fast) > _TINY else None


def above_line(point: LoadPoint, slow: LoadPoint, fast: LoadPoint) -> float:
    """Return how far a point lies above the straight line between two, both axes scaled to 0…1 between them.

    Minus infinity where the two don't make a trade-off.
    """
    users, system = fast.user_tok_per_s - slow.user_tok_per_s, slow.system_tok_per_s - fast.system_tok_per_s
    if users <= 0 or system <= 0:
        return -math.inf
    of_users, of_system = point.user_tok_per_s - slow.user_tok_per_s, point.system_tok_per_s - fast.system_tok_per_s
    return of_users / users + of_system / system - 1


_Rows = list[InferenceRow]
_Sides = Mapping[tuple[str, str], Side]


@dataclass(frozen=True, slots=True)
class CurveLoad:
    """One load of a curve, its speeds over all rounds, and those of each round that has both."""

    row: InferenceRow
    point: LoadPoint
    by_round: Mapping[int, LoadPoint]


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """One endpoint's loads, by concurrency, and what stands out of them."""

    endpoint: str
    loads: tuple[CurveLoad, ...]
    frontier: tuple[LoadPoint, ...]
    knee: CurveLoad | None
    p_value: float | None
    """That the knee's load lies on the straight line between the frontier's ends, corrected for the loads between
    them and for the report's other tests; null where nothing was tested."""
    rounds: int
    """The rounds that measured every load on a quiet host."""
    why_no_knee: str | None
    """Why a knee of the mean speeds is not believed; null where there is none, too."""


def lists_over(
    rows: Sequence[InferenceRow], axis: Callable[[InferenceRow], Hashable], fixed: Callable[[InferenceRow], Hashable]
) -> list[_Rows]:
    """Return the rows of each scenario over whose list an endpoint walks along `axis`, where all `fixed` is equal."""
    groups: dict[Hashable, _Rows] = {}
    for row in rows:
        groups.setdefault((row.scenario, fixed(row)), []).append(row)
    return [
        group
        for group in groups.values()
        if any(len({axis(row) for row in group if row.endpoint == name}) > 1 for name in {r.endpoint for r in group})
    ]


def load_curves(rows: Sequence[InferenceRow], sides: _Sides, family: int = 1) -> list[list[LoadCurve]]:
    """Return the curves of each scenario and shape that was measured at two concurrencies or more, by endpoint.

    `family`: how many tests the report makes.
    """
    known = [row for row in rows if row.rate_per_s is None and row.system_output_tok_per_s and row.output_tok_per_s]
    groups = lists_over(known, lambda row: row.concurrency, lambda row: (row.context_tokens, row.max_tokens))
    return [
        [
            load_curve(sorted((r for r in group if r.endpoint == name), key=lambda row: row.concurrency), sides, family)
            for name in dict.fromkeys(row.endpoint for row in group)
        ]
        for group in groups
    ]


def load_curve(rows: Sequence[InferenceRow], sides: _Sides, family: int = 1) -> LoadCurve:
    """Return one endpoint's curve. A knee counts only if its rounds are significantly above the straight line."""
    loads = tuple(_load(row, sides[row.endpoint, row.cell]) for row in rows)
    points = [load.point for load in loads if not load.row.disturbed]
    frontier = pareto_frontier(points)
    whole = sorted(set.intersection(*(set(load.by_round) for load in loads)))
    found = next((load for load in loads if load.point == knee(points)), None)
    why = p = None
    if disturbed := [row.cell for row in rows if row.disturbed]:
        why = f"the host was disturbed in all rounds of {', '.join(disturbed)}"
    elif found:
        short = [row.cell for row in rows if _is_short(row, sides[row.endpoint, row.cell])]
        if short:
            why = f"too short for a throughput ({', '.join(short)})"
        elif len(whole) < MIN_ROUNDS:
            why = f"{counted(len(whole), 'round')}: a knee needs at least {MIN_ROUNDS}"
        else:
            ends = [next(load for load in loads if load.point == end) for end in (frontier[0], frontier[-1])]
            p = min(1.0, family * (len(frontier) - 2) * _p_straight(found, ends, whole))
            why = (
                None
                if p <= ALPHA
                else f"over {counted(len(whole), 'round')} it can't be distinguished from a straight line"
            )
    return LoadCurve(
        endpoint=rows[0].endpoint,
        loads=loads,
        frontier=tuple(frontier),
        knee=None if why else found,
        p_value=p,
        rounds=len(whole),
        why_no_knee=why,
    )


def _p_straight(bend: CurveLoad, ends: Sequence[CurveLoad], rounds: Sequence[int]) -> float:
    """Return the one-sided p-value of rounds in which a load lies no higher than the line between two others."""
    heights = [above_line(bend.by_round[n], ends[0].by_round[n], ends[1].by_round[n]) for n in rounds]
    if not all(map(math.isfinite, heights)):
        return 1.0
    own = Influence.of_runs(heights)
    return own.spreads()[0].p_above(own.centre)


def _load(row: InferenceRow, side: Side) -> CurveLoad:
    of_system = row.system_output_tok_per_s.mean if row.system_output_tok_per_s else 0.0
    by_round = {
        number: LoadPoint(row.cell, of_user, system)
        for number, system in side.speeds["completion_tokens"].items()
        if number not in row.left_out and (of_user := user_speed(side.by_round[number])) is not None
    }
    return CurveLoad(row, LoadPoint(row.cell, row.output_tok_per_s or 0.0, of_system), by_round)


def _is_short(row: InferenceRow, side: Side) -> bool:
    return any(too_short(own, row.concurrency) for number, own in side.by_round.items() if number not in row.left_out)
