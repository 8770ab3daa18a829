"""What the fixed cost of a request, the law's a, is made of: the way there and back, the server, and the rest.

The floor is what timed health calls take. What passed outside the server is, of a stream, the time to the first token
less the server's own, and otherwise the whole latency less the server's own; what of a remains is the server's: the
prompt, without the share of the first token, which b counts.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.latency_law import Law
from accelbench.analysis.sample import Side
from accelbench.store.records import RequestRecord


@dataclass(frozen=True, slots=True)
class FixedCost:
    """Parts of `total_s`, in seconds; null where they were not measured.

    `rest_s` is what neither the floor nor the server accounts for (queue, the gateway's work per request, and the
    server itself where it doesn't tell its times). `why_no_split` says why there are no parts, or none of the server.
    """

    total_s: float
    floor_s: float | None = None
    server_s: float | None = None
    rest_s: float | None = None
    why_no_split: str | None = None


def fixed_cost(side: Side, law: Law, health_s: Sequence[float]) -> FixedCost:
    """Split a. `health_s`: what the load's health calls took."""
    total_s = law.fit.a_s
    floor_s = statistics.median(health_s) if health_s else None
    outside_s = _outside_s(side, law)
    server_s = None if outside_s is None else total_s - outside_s
    if floor_s is None:
        return FixedCost(total_s, None, server_s, None, "no health calls were timed")
    rest_s = (total_s if outside_s is None else outside_s) - floor_s
    if rest_s < 0 or (server_s is not None and server_s < 0):
        return FixedCost(total_s, floor_s, None, None, "the parts exceed the fixed cost")
    why = "the server does not tell its times: the rest holds its own" if outside_s is None else None
    return FixedCost(total_s, floor_s, server_s, rest_s, why)


def _outside_s(side: Side, law: Law) -> float | None:
    """Return the mean time that the server's clock does not account for; None where an answer lacks its times."""
    if law.fit.method == "stream":
        times = [_streamed_s(r) for r in side.whole if r.tpot_s is not None]  # those that gave the law
    else:
        times = [r.overhead_s for r in side.whole]
    known = [seconds for seconds in times if seconds is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(times) else None


def _streamed_s(request: RequestRecord) -> float | None:
    ttft_s = request.as_streamed(request.ttft_s)
    return None if ttft_s is None or request.server_ttft_s is None else ttft_s - request.server_ttft_s
