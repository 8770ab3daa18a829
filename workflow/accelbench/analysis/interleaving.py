"""Were two endpoints asked the same prompts at about the same time, from the same host? Told from what was recorded.

Only then do slow changes of the network, the gateway and other users' load cancel out in a pair. Closeness is not
enough: rounds must have been asked in turn, and each side first about as often as the other, or a drift of the session
would look like a difference between the sides.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from accelbench.analysis.intervals import Key, counted

NEAR_SHARE = 0.9  # of the pairs: below, the endpoints weren't interleaved; above, the far pairs are left out

Spans = Mapping[Hashable, tuple[float, float]]
"""Round -> when its first and its last request was sent."""


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
    else:
        why = _order_fault([_spans_s(own, near) for own in (ours, theirs)])
    return Interleaving(near, len(keys), widest_s, why)


def _spans_s(asked: Mapping[Key, Asked], keys: Iterable[Key]) -> Spans:
    """Return when the first and the last of some prompts was sent, by round."""
    sent: dict[Hashable, list[float]] = defaultdict(list)
    for key in keys:
        sent[key[0]].append(asked[key].at_unix_s or 0.0)
    return {round_: (min(times), max(times)) for round_, times in sent.items()}


def _order_fault(sides: Sequence[Spans]) -> str | None:
    """Say what speaks against pairs in the order of rounds; sides whose requests alternate have no order."""
    one, other = sides
    starts = sorted((spans[round_][0], repr(round_)) for spans in sides for round_ in spans)
    if any(first[1] != second[1] for first, second in zip(starts[::2], starts[1::2], strict=True)):
        return "the rounds of one were not asked in turn with those of the other"
    firsts = sum(one[round_][1] < other[round_][0] for round_ in one)
    seconds = sum(other[round_][1] < one[round_][0] for round_ in one)
    if abs(firsts - seconds) > 1:
        most = f"{max(firsts, seconds)} of {counted(len(one), 'round')}"
        return f"one side was asked first in {most}, so that a drift would look like a difference"
    return None


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
