"""One endpoint under one load as a sample: its observations by prompt and round, and whether another's pair with them.

Two samples are interleaved when recorded times and hosts show that the same prompts were asked at about the same time
from the same host.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.intervals import Observations, counted, numbered
from accelbench.analysis.latency_law import Law, LawFigures, Timed, latency_law
from accelbench.analysis.load import Load, speeds
from accelbench.foreign import as_number
from accelbench.store.records import InferRoundRecord, JsonObject
from accelbench.store.requests import Column, Requests
from accelbench.telemetry.energy import of_one_scope
from accelbench.telemetry.summary import peaks_gib

NEAR_SHARE = 0.9  # of the pairs: below, the endpoints weren't interleaved; above, the far pairs are left out

RoundSpans = Mapping[int, tuple[float, float]]
"""Round -> when its first and its last request was sent."""


@dataclass(frozen=True, slots=True, eq=False)
class Interleaving:
    """The prompts of the same round that both sides were asked, and which of these pairs may be compared as such.

    `ours` and `theirs` are their places among the requests of each side. `widest_gap_s` is over all pairs whose times
    are known.
    """

    ours: NDArray[np.intp]
    theirs: NDArray[np.intp]
    near: NDArray[np.bool_]
    widest_gap_s: float | None
    why_not: str | None

    @property
    def interleaved(self) -> bool:
        """Whether the endpoints may be compared in pairs: those of `near`."""
        return self.why_not is None

    def both(self, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the pairs of which both sides' requests are chosen; only near ones where they were interleaved."""
        chosen = ours[self.ours] & theirs[self.theirs]
        return chosen & self.near if self.interleaved else chosen


def interleaving(ours: "Side", theirs: "Side", largest_gap_s: float) -> Interleaving:
    """Judge the prompts of the same round that both sides were asked."""
    one, other = _both_asked(ours.requests, theirs.requests)
    pairs, rounds = len(one), ours.requests["round"][one]
    sent = [side.requests["sent_unix_s"][places] for side, places in ((ours, one), (theirs, other))]
    gaps_s = np.abs(sent[0] - sent[1])
    known_s = gaps_s[~np.isnan(gaps_s)]
    one_host = np.isin(rounds, [n for n, host in ours.hosts.items() if host and host == theirs.hosts.get(n)])
    near = one_host & (gaps_s <= largest_gap_s)
    widest_s = float(known_s.max()) if len(known_s) else None
    why = None
    if not pairs:
        why = "no prompt was asked of both in the same round"
    elif near.sum() < NEAR_SHARE * pairs:
        why = _why(pairs, len(known_s), int(one_host.sum()), widest_s, largest_gap_s)
    else:
        why = _order_fault([_spans_s(rounds[near], own[near]) for own in sent])
    return Interleaving(one, other, near, widest_s, why)


def _both_asked(ours: Requests, theirs: Requests) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of the requests of the same prompt in the same round, in our order."""
    keys, rounds = (numbered(np.concatenate([ours[name], theirs[name]])) for name in ("key", "round"))
    prompts = keys * (rounds.max(initial=0) + 1) + rounds
    _, one, other = np.intersect1d(prompts[: len(ours)], prompts[len(ours) :], return_indices=True)
    order = np.argsort(one)
    return one[order], other[order]


def _spans_s(rounds: Column, sent_unix_s: Column) -> RoundSpans:
    """Return when the first and the last of some prompts was sent, by round."""
    by_round = {number: sent_unix_s[rounds == number] for number in np.unique(rounds).tolist()}
    return {number: (float(own.min()), float(own.max())) for number, own in by_round.items()}


def _order_fault(sides: Sequence[RoundSpans]) -> str | None:
    """Return why the order of rounds rules out pairs; sides whose requests alternate have no order."""
    one, other = sides
    starts = sorted((spans[round_][0], repr(round_)) for spans in sides for round_ in spans)
    if any(first[1] != second[1] for first, second in zip(starts[::2], starts[1::2], strict=True)):
        return "the rounds of the two were not interleaved"
    firsts = sum(one[round_][1] < other[round_][0] for round_ in one)
    seconds = sum(other[round_][1] < one[round_][0] for round_ in one)
    if abs(firsts - seconds) > 1:
        most = f"{max(firsts, seconds)} of {counted(len(one), 'round')}"
        return f"one side was measured first in {most}, so a drift would look like a difference"
    return None


def _why(pairs: int, timed: int, one_host: int, widest_s: float | None, largest_gap_s: float) -> str:
    if widest_s is None or timed < NEAR_SHARE * pairs:
        return f"of {counted(pairs, 'pair')}, {pairs - timed} have no recorded times"
    if one_host < NEAR_SHARE * pairs:
        return f"of {counted(pairs, 'pair')}, {pairs - one_host} were not sent from one known host"
    return f"the same prompt was sent to the two up to {widest_s:.0f} s apart; at most {largest_gap_s:.0f} s is allowed"


Hosts = Mapping[int, str | None]
"""Round -> the host that sent it."""
SCORES = ("exact_match", "exact_match_folded", "f1", "f1_folded", "contains_gold")


@dataclass(frozen=True, slots=True)
class SideFigures:
    """One endpoint under one load, as a comparison describes it."""

    name: str
    cell: str
    requests: int
    failures: int
    timeouts: int
    law: LawFigures | None
    why_no_law: str | None


@dataclass(frozen=True, slots=True)
class Start:
    """How long an endpoint's own server takes to start: for each round, or once for all of a run."""

    lasts_s: float = 0.0
    is_kept: bool = False

    @classmethod
    def of(cls, facts: Iterable[JsonObject]) -> "Start":
        """Take it from what was recorded of the endpoint in its rounds."""
        found = list(facts)
        starts = [lasts_s for each in found if (lasts_s := as_number(each.get("start_up_s")))]
        return cls(statistics.fmean(starts) if starts else 0.0, any(each.get("kept_since") for each in found))


@dataclass(frozen=True)
class Side:
    """One endpoint under one load: all its attempts, with those of the warm-up, and the host of each round."""

    name: str
    cell: str
    recorded: Requests
    hosts: Hosts = field(default_factory=dict)
    busy: frozenset[int] = frozenset()
    """The rounds during which the host was disturbed."""
    slots: int | None = None
    """The concurrency of a closed loop; None: open loop, or not known."""
    start: "Start" = field(default_factory=lambda: Start())
    energy_j: Mapping[int, float] = field(default_factory=dict)
    """What was measured while each round ran, in joules, of `energy_scope`; only the rounds of which all is known."""
    energy_scope: str = ""
    energy_why: str | None = None
    """Of how many rounds it is unknown, and why."""
    idle_w: tuple[float | None, float | None] = (None, None)
    """The power before and after the load, of the same scope; means over rounds."""
    peak_gib: tuple[float | None, float | None] = (None, None)
    """The most memory in use in any round: by the local server, and on the fullest GPU."""

    def without(self, rounds: Collection[int]) -> "Side":
        """Return the side without some rounds."""
        left = ~np.isin(self.recorded["round"], list(rounds))
        energy_j = {number: joules for number, joules in self.energy_j.items() if number not in rounds}
        return self if left.all() else replace(self, recorded=self.recorded.where(left), energy_j=energy_j)

    @cached_property
    def quiet(self) -> "Side":
        """The side without the rounds during which the host was disturbed; all of it where none was quiet."""
        return self.without(self.busy) if self.rounds - self.busy else self

    @cached_property
    def attempts(self) -> Requests:
        """All attempts but those of the warm-up."""
        return self.recorded.where(~self.recorded["warm_up"])

    @cached_property
    def requests(self) -> Requests:
        """The last attempt of each request."""
        return self.attempts.where(self.attempts["last_attempt"])

    @cached_property
    def by_round(self) -> dict[int, Requests]:
        """The attempts round by round: above one at a time, the round is what is independent."""
        return dict(sorted(self.attempts.by("round").items()))

    @cached_property
    def speeds(self) -> dict[str, dict[int, float]]:
        """What the endpoint as a whole delivered per second (tokens by kind, requests), by round, where known."""
        found: dict[str, dict[int, float]] = {}
        for number, own in self.by_round.items():
            for kind, per_s in speeds(own, self.slots).items():
                found.setdefault(kind, {}).update({} if per_s is None else {number: per_s})
        return found

    @property
    def rounds(self) -> set[int]:
        """The rounds that were asked."""
        return set(self.by_round)

    @cached_property
    def failures(self) -> int:
        """How many requests gave no complete answer and so have no latency."""
        return len(self.requests) - len(self.whole)

    @cached_property
    def timeouts(self) -> int:
        """How many of them were given up because they took too long."""
        return sum(count for kind, count in self.classes.items() if kind.startswith("timeout"))

    @cached_property
    def classes(self) -> Counter[str]:
        """How many requests ended in each way."""
        return Counter(self.requests["class_"].tolist())

    @cached_property
    def whole(self) -> Requests:
        """The requests that carry latencies."""
        return self.requests.where(self.requests["is_timed"])

    @cached_property
    def good(self) -> Requests:
        """The successes."""
        return self.requests.where(self.requests["is_success"])

    @property
    def latencies_s(self) -> Column:
        """E2E of all complete answers."""
        return self.whole["e2e_s"]

    def values(self, field: str) -> Column:
        """Return a field of each request: times of what came whole, scores of successes; NaN where there is none."""
        if field == "success":
            return self.requests["is_success"].astype(float)
        if field in SCORES:
            return np.where(self.requests["is_success"], self.requests[field], np.nan)
        times_s = self.requests.seconds(field)
        return np.where(self.requests["is_timed"] & (times_s > 0), times_s, np.nan)

    def observed(self, values: Column, places: NDArray[Any] | None = None) -> Observations:
        """Return values, one per request, with passage and round: those at some places, or all that are there."""
        chosen = ~np.isnan(values) if places is None else places
        return Observations(values[chosen], self.requests["text_number"][chosen], self.requests["round"][chosen])

    def observations(self, field: str) -> Observations:
        """Return the values of a field that there are."""
        return self.observed(self.values(field))

    def tokens(self, kind: str) -> Column:
        """Return a token count of all successes; none at all if one of them lacks it."""
        counts = self.good[kind]
        return counts[:0] if np.isnan(counts).any() else counts

    def tok_per_s(self, kind: str) -> float | None:
        """Return the tokens of all successes per second of their latencies: the speed that one request sees."""
        counts, lasted_s = self.tokens(kind), float(np.nansum(self.good["e2e_s"]))
        return float(counts.sum()) / lasted_s if len(counts) and lasted_s > 0 else None

    @cached_property
    def law(self) -> tuple[Law | None, str | None]:
        """The latency law, or why there is none."""
        whole = self.whole
        counted = whole.where((whole["completion_tokens"] > 0) & (whole["e2e_s"] != 0) & ~whole["tokens_estimated"])
        columns = (counted[name] for name in ("completion_tokens", "e2e_s", "text", "round"))
        tokens, e2e_s, texts, rounds = columns
        answers = Timed(tokens, e2e_s, counted.seconds("tpot_s"), texts, rounds)
        streams = set(whole["streaming"])
        return latency_law(answers, faithful="faithful" in streams and "batched" not in streams)

    @property
    def figures(self) -> SideFigures:
        """The side without its requests."""
        law, why = self.law
        return SideFigures(
            self.name, self.cell, len(self.requests), self.failures, self.timeouts, law.figures if law else None, why
        )

    def s_per_round(self) -> float | None:
        """Return how long a round took, with the start of its server if it had one of its own; the mean over rounds."""
        sent, end = self.requests["sent_unix_s"], self.requests["end_unix_s"]
        known = self.requests.where((sent > 0) & (end > 0))
        spans = [own["end_unix_s"].max() - own["sent_unix_s"].min() for own in known.by("round").values()]
        return statistics.fmean(spans) + (0.0 if self.start.is_kept else self.start.lasts_s) if spans else None


def _with_energy(side: Side, rounds: Sequence[InferRoundRecord]) -> Side:
    """Add the energy of each round, of the one scope that most rounds have."""
    found = {r.round: spent for r in rounds if (spent := of_one_scope((r.surroundings or {}).get("energy") or []))}
    known = Counter(spent.scope for spent in found.values() if spent.joules is not None)
    if not found:
        return side
    scope = max(known, key=lambda name: known[name], default=next(iter(found.values())).scope)
    own = {number: spent for number, spent in found.items() if spent.scope == scope}
    whys = [spent.why or "not read" for spent in own.values() if spent.joules is None]
    return replace(
        side,
        energy_j={number: spent.joules for number, spent in own.items() if spent.joules is not None},
        energy_scope=scope,
        energy_why=f"unknown in {len(whys)} of {counted(len(own), 'round')} ({whys[0]})" if whys else None,
        idle_w=(
            _mean([spent.idle_before_w for spent in own.values()]),
            _mean([spent.idle_after_w for spent in own.values()]),
        ),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def sides_of(
    rounds: Iterable[InferRoundRecord], requests: Requests, loads: Mapping[str, Load]
) -> dict[tuple[str, str], Side]:
    """Return each endpoint under each load that was planned, cells together, in the order of the config."""
    planned: dict[tuple[str, str], list[InferRoundRecord]] = defaultdict(list)
    for record in rounds:
        planned[record.cell, record.endpoint].append(record)
    cells = list(dict.fromkeys(cell for cell, _ in planned))
    attempts = requests.by("endpoint", "cell")
    none = requests.where(np.zeros(len(requests), bool))
    sides = {}
    for cell, endpoint in sorted(planned, key=lambda key: cells.index(key[0])):
        own, key = planned[cell, endpoint], (endpoint, cell)
        hosts: Hosts = {r.round: str(r.host["name"]) for r in own if r.host}
        busy: frozenset[int] = frozenset(r.round for r in own if disturbances(r.host_activity))
        slots = loads[cell].slots if cell in loads else None
        start = Start.of(r.facts for rounds in planned.values() for r in rounds if r.facts and r.endpoint == endpoint)
        side = Side(endpoint, cell, attempts.get(key, none), hosts, busy, slots, start)
        sides[key] = _with_energy(replace(side, peak_gib=peaks_gib(r.surroundings for r in own)), own)
    return sides
