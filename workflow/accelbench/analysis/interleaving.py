"""Were two endpoints asked the same prompts at about the same time, from the same host? Told from what was recorded.

Only then do slow changes of the network, the gateway and other users' load cancel out in a pair.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from accelbench.analysis.spread import counted

NEAR_SHARE = 0.9  # of the pairs: below, the endpoints weren't interleaved; above, the far pairs are left out

Key = tuple[Hashable, Hashable]


@dataclass(frozen=True, slots=True)
class Asked:
    """When a prompt was sent, and by which host; null where it was not recorded."""

    at_unix_s: float | None
    host: str | None


@dataclass(frozen=True, slots=True)
class Interleaving:
    """Which pairs may be compared as such. `widest_gap_s` is over all pairs whose times are known."""

    near: frozenset[Key]
    pairs: int
    widest_gap_s: float | None
    why_not: str | None

    @property
    def interleaved(self) -> bool:
        """Whether the endpoints may be compared in pairs: those of `near`."""
        return self.why_not is None


def interleaving(ours: Mapping[Key, Asked], theirs: Mapping[Key, Asked], largest_gap_s: float) -> Interleaving:
    """Judge the prompts, by (round, key), that both sides were asked."""
    keys = ours.keys() & theirs.keys()
    gaps_s = {key: gap_s for key in keys if (gap_s := _gap_s(ours[key], theirs[key])) is not None}
    one_host = {key for key in keys if ours[key].host is not None and ours[key].host == theirs[key].host}
    near = frozenset(key for key in one_host if gaps_s.get(key, largest_gap_s + 1) <= largest_gap_s)
    widest_s = max(gaps_s.values(), default=None)
    why = None
    if not keys:
        why = "no prompt of the same round was asked of both"
    elif len(near) < NEAR_SHARE * len(keys):
        why = _why(len(keys), len(gaps_s), len(one_host), widest_s, largest_gap_s)
    return Interleaving(near, len(keys), widest_s, why)


def _gap_s(one: Asked, other: Asked) -> float | None:
    if one.at_unix_s is None or other.at_unix_s is None:
        return None
    return abs(one.at_unix_s - other.at_unix_s)


def _why(pairs: int, timed: int, one_host: int, widest_s: float | None, largest_gap_s: float) -> str:
    if widest_s is None or timed < NEAR_SHARE * pairs:
        return f"of {counted(pairs, 'pair')}, {pairs - timed} have no recorded times"
    if one_host < NEAR_SHARE * pairs:
        return f"of {counted(pairs, 'pair')}, {pairs - one_host} were not sent from one known host"
    return f"the same prompt was asked up to {widest_s:.0f} s apart, and at most {largest_gap_s:.0f} s is allowed"
