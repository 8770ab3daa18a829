"""One endpoint under one load as a sample: its observations by prompt and round, and whether another's pair with them.

Two samples are interleaved when recorded times and hosts show that the same prompts were asked at about the same time
from the same host.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.intervals import Key, Observation, counted
from accelbench.analysis.latency_law import Law, LawFigures, Timed, latency_law
from accelbench.analysis.load import Load, speeds
from accelbench.foreign_json import as_number
from accelbench.store.records import InferRoundRecord, JsonObject, RequestRecord

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
    """Judge the prompts, by (round, key), that both sides were sent."""
    keys = ours.keys() & theirs.keys()
    gaps_s = {key: gap_s for key in keys if (gap_s := _gap_s(ours[key], theirs[key])) is not None}
    one_host = {key for key in keys if ours[key].host is not None and ours[key].host == theirs[key].host}
    near = frozenset(key for key in one_host if gaps_s.get(key, largest_gap_s + 1) <= largest_gap_s)
    widest_s = max(gaps_s.values(), default=None)
    why = None
    if not keys:
        why = "no prompt was asked of both in the same round"
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


def _gap_s(one: Asked, other: Asked) -> float | None:
    if one.at_unix_s is None or other.at_unix_s is None:
        return None
    return abs(one.at_unix_s - other.at_unix_s)


def _why(pairs: int, timed: int, one_host: int, widest_s: float | None, largest_gap_s: float) -> str:
    if widest_s is None or timed < NEAR_SHARE * pairs:
        return f"of {counted(pairs, 'pair')}, {pairs - timed} have no recorded times"
    if one_host < NEAR_SHARE * pairs:
        return f"of {counted(pairs, 'pair')}, {pairs - one_host} were not sent from one known host"
    return f"the same prompt was sent to the two up to {widest_s:.0f} s apart; at most {largest_gap_s:.0f} s is allowed"


Hosts = Mapping[Hashable, str | None]
"""Round -> the host that sent it."""
STREAMED = ("ttft_s", "ttfat_s", "tpot_s")
"""Times between tokens: not the request's own where its stream came in batches."""
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
    """One endpoint under one load: all attempts but those of the warm-up, and the host of each round."""

    name: str
    cell: str
    attempts: Sequence[RequestRecord]
    hosts: Hosts = field(default_factory=dict)
    busy: frozenset[Hashable] = frozenset()
    """The rounds during which the host was disturbed."""
    slots: int | None = None
    """The concurrency of a closed loop; None: open loop, or not known."""
    start: "Start" = field(default_factory=lambda: Start())

    @classmethod
    def of(
        cls,
        name: str,
        cell: str,
        attempts: Iterable[RequestRecord],
        hosts: Hosts,
        busy: Collection[Hashable] = (),
        slots: int | None = None,
    ) -> "Side":
        """Take a load from all its attempts."""
        return cls(name, cell, [r for r in attempts if not r.warm_up], hosts, frozenset(busy), slots)

    def without(self, rounds: Collection[Hashable]) -> "Side":
        """Return the side without some rounds."""
        return replace(self, attempts=[r for r in self.attempts if r.round not in rounds]) if rounds else self

    @cached_property
    def quiet(self) -> "Side":
        """The side without the rounds during which the host was disturbed; all of it where none was quiet."""
        return self.without(self.busy) if self.rounds - self.busy else self

    @cached_property
    def requests(self) -> list[RequestRecord]:
        """The last attempt of each request."""
        return [r for r in self.attempts if r.last_attempt]

    @cached_property
    def by_round(self) -> dict[int, list[RequestRecord]]:
        """The attempts round by round: above one at a time, the round is what is independent."""
        rounds: dict[int, list[RequestRecord]] = defaultdict(list)
        for attempt in self.attempts:
            rounds[attempt.round].append(attempt)
        return {number: rounds[number] for number in sorted(rounds)}

    @cached_property
    def speeds(self) -> dict[str, dict[int, float]]:
        """What the endpoint as a whole delivered per second (tokens by kind, requests), by round, where known."""
        found: dict[str, dict[int, float]] = {}
        for number, own in self.by_round.items():
            for kind, per_s in speeds(own, self.slots).items():
                found.setdefault(kind, {}).update({} if per_s is None else {number: per_s})
        return found

    @property
    def rounds(self) -> set[Hashable]:
        """The rounds that were asked."""
        return {r.round for r in self.requests}

    @cached_property
    def failures(self) -> int:
        """How many requests gave no complete answer and so have no latency."""
        return len(self.requests) - len(self.whole)

    @cached_property
    def timeouts(self) -> int:
        """How many of them were given up because they took too long."""
        return sum(r.class_.startswith("timeout") for r in self.requests)

    @cached_property
    def whole(self) -> list[RequestRecord]:
        """The requests that carry latencies."""
        return [r for r in self.requests if r.is_whole and r.e2e_s is not None]

    @cached_property
    def good(self) -> list[RequestRecord]:
        """The successes."""
        return [r for r in self.requests if r.is_success]

    @property
    def latencies_s(self) -> list[float]:
        """E2E of all complete answers."""
        return [r.e2e_s for r in self.whole if r.e2e_s is not None]

    def observations(self, field: str) -> dict[Key, Observation]:
        """Return the values of a request's field by (round, prompt): times of complete answers, scores of successes."""
        if field == "success":
            return _observed((r, float(r.is_success)) for r in self.requests)
        if field in SCORES:
            scores = ((r, getattr(r, field)) for r in self.good)
            return _observed((r, float(score)) for r, score in scores if score is not None)
        values = zip(self.whole, self.times_s(field), strict=True)
        return _observed((r, seconds) for r, seconds in values if seconds and seconds > 0)

    def times_s(self, field: str) -> Iterator[float | None]:
        """Return a time of each complete answer; None if it is not the request's own."""
        streamed = field in STREAMED
        return (r.as_streamed(getattr(r, field)) if streamed else getattr(r, field) for r in self.whole)

    @cached_property
    def asked(self) -> dict[Key, Asked]:
        """When and from where each prompt was asked."""
        return {(r.round, r.key): Asked(r.sent_unix_s, self.hosts.get(r.round)) for r in self.requests}

    def tokens(self, kind: str) -> list[int]:
        """Return a token count of all successes; none at all if one of them lacks it."""
        counts = [getattr(r, kind) for r in self.good]
        return [] if None in counts else counts

    def tok_per_s(self, kind: str) -> float | None:
        """Return the tokens of all successes per second of their latencies: the speed that one request sees."""
        counts, lasted_s = self.tokens(kind), math.fsum(r.e2e_s for r in self.good if r.e2e_s is not None)
        return sum(counts) / lasted_s if counts and lasted_s > 0 else None

    @cached_property
    def law(self) -> tuple[Law | None, str | None]:
        """The latency law, or why there is none."""
        answers = [
            Timed(r.completion_tokens, r.e2e_s, r.as_streamed(r.tpot_s), r.passage or r.key, r.round)
            for r in self.whole
            if r.completion_tokens and r.e2e_s and not r.tokens_estimated
        ]
        streams = {r.streaming for r in self.whole}
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
        spans = []
        for number in {r.round for r in self.requests}:
            own = [r for r in self.requests if r.round == number and r.sent_unix_s and r.end_unix_s]
            if own:
                spans.append(max(r.end_unix_s or 0.0 for r in own) - min(r.sent_unix_s or math.inf for r in own))
        return statistics.fmean(spans) + (0.0 if self.start.is_kept else self.start.lasts_s) if spans else None


def sides_of(
    rounds: Iterable[InferRoundRecord], requests: Iterable[RequestRecord], loads: Mapping[str, Load]
) -> dict[tuple[str, str], Side]:
    """Return each endpoint under each load that was planned, cells together, in the order of the config."""
    planned: dict[tuple[str, str], list[InferRoundRecord]] = defaultdict(list)
    for record in rounds:
        planned[record.cell, record.endpoint].append(record)
    cells = list(dict.fromkeys(cell for cell, _ in planned))
    attempts: dict[tuple[str, str], list[RequestRecord]] = defaultdict(list)
    for request in requests:
        attempts[request.endpoint, request.cell].append(request)
    sides = {}
    for cell, endpoint in sorted(planned, key=lambda key: cells.index(key[0])):
        own, key = planned[cell, endpoint], (endpoint, cell)
        hosts: Hosts = {r.round: str(r.host["name"]) for r in own if r.host}
        busy = {r.round for r in own if disturbances(r.host_activity)}
        slots = loads[cell].slots if cell in loads else None
        start = Start.of(r.facts for rounds in planned.values() for r in rounds if r.facts and r.endpoint == endpoint)
        sides[key] = replace(Side.of(endpoint, cell, attempts[key], hosts, busy, slots), start=start)
    return sides


def _observed(values: Iterable[tuple[RequestRecord, float]]) -> dict[Key, Observation]:
    return {(r.round, r.key): Observation(value, r.passage or r.key, r.round) for r, value in values}
