"""Speed per user against speed of the system: the load points that no other beats in both, and the knee among them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TINY = 1e-9


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
    return highest if above_line(highest, slow, fast) > TINY else None


def above_line(point: LoadPoint, slow: LoadPoint, fast: LoadPoint) -> float:
    """Return how far a point lies above the straight line between two, both axes scaled to 0…1 between them.

    Minus infinity where the two don't make a trade-off.
    """
    users, system = fast.user_tok_per_s - slow.user_tok_per_s, slow.system_tok_per_s - fast.system_tok_per_s
    if users <= 0 or system <= 0:
        return -math.inf
    of_users, of_system = point.user_tok_per_s - slow.user_tok_per_s, point.system_tok_per_s - fast.system_tok_per_s
    return of_users / users + of_system / system - 1
