"""What the fixed cost of a request, the law's a, is made of: the way there and back, the server, and the rest."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FixedCost:
    """Parts of `total_s`, in seconds; null where they were not measured.

    `rest_s` is what neither the floor nor the server accounts for (queue, gateway's work per request); it is null
    when it would be negative, because the parts then exceed the whole.
    """

    total_s: float
    floor_s: float | None
    server_s: float | None
    rest_s: float | None
    why_no_rest: str | None


def fixed_cost(total_s: float, health_s: Sequence[float], server_s: Sequence[float]) -> FixedCost:
    """Split a into medians: of health calls (network and gateway) and of what the server says it took before decoding.

    Either may be empty.
    """
    floor_s = statistics.median(health_s) if health_s else None
    own_s = statistics.median(server_s) if server_s else None
    if floor_s is None:
        return FixedCost(total_s, None, own_s, None, "no health calls were timed")
    rest_s = total_s - floor_s - (own_s or 0.0)
    if rest_s < 0:
        return FixedCost(total_s, floor_s, own_s, None, "the parts exceed the fixed cost")
    return FixedCost(total_s, floor_s, own_s, rest_s, None)
