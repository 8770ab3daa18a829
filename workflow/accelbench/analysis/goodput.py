"""Goodput: requests that met all stated limits, per second. Failures and requests over a limit count as nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goodput:
    """`met` of `n` requests met all limits; null with the reason where it can't be told."""

    n: int
    met: int | None
    requests_per_s: float | None
    why: str | None = None


def goodput(
    requests: Sequence[Mapping[str, float | None] | None], limits: Mapping[str, float], duration_s: float
) -> Goodput:
    """Count the requests within the limits (by name: ttft_s, tpot_s, …). A failed request is None.

    A figure that a request doesn't have (the TPOT of a single token) is left out of its mapping; one that should be
    there and is not known is null, and then nothing can be said.
    """
    whole = [request for request in requests if request is not None]
    unknown = sorted({name for request in whole for name in limits if request.get(name, 0.0) is None})
    if unknown:
        return Goodput(len(requests), None, None, f"not every answer has a known {', '.join(unknown)}")
    met = sum(all((request.get(name) or 0.0) <= most for name, most in limits.items()) for request in whole)
    return Goodput(len(requests), met, met / duration_s if duration_s > 0 else None)
